//! Pure: a restored database held against the facts of its backup, to zero tolerance.

use super::report::{Check, DatabaseResult, Verdict};
use crate::facts::{Contents, DEPARSED, DatabaseFacts, DatabaseProperties, Objects, Schema};
use crate::human;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// What was found in a restored database.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its schema.
    pub schema: Schema,
    /// Rows, fingerprints and values.
    pub contents: Contents,
    /// Its properties, and which of them could not be given to it.
    pub properties: DatabaseProperties,
    /// Why properties could not be given to it.
    pub unapplied: Vec<String>,
    /// Validated foreign keys, and rows that have no row to refer to.
    pub orphans: (usize, BTreeMap<String, u64>),
    /// What the health check said; none when there is none.
    pub health: Option<Result<String, String>>,
    /// Each SQL check, and whether it was true; none when there are none.
    pub queries: Option<Vec<(String, Result<bool, String>)>>,
    /// Seconds that restoring took.
    pub restore_seconds: f64,
}

/// What may be expected of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Both servers are of one major: text that they made of their own trees is the same.
    pub same_major: bool,
    /// Owners and privileges were restored.
    pub owners: bool,
    /// The dump leaves something out on purpose.
    pub partial: bool,
}

/// All fourteen checks.
pub fn compare(expected: &DatabaseFacts, found: &Found, terms: Terms) -> DatabaseResult {
    let checks = vec![
        migration_version(&expected.schema, &found.schema),
        migration_dirty(&expected.schema, &found.schema),
        tables(expected, found, terms),
        of_kind(4, "enum type", &expected.schema.catalogue.enums, &found.schema.catalogue.enums, terms),
        indexes(expected, found, terms),
        foreign_keys(expected, found, terms),
        row_counts(expected, found),
        health(found),
        orphans(found),
        sequences(expected, found, terms),
        code(expected, found, terms),
        fingerprints(expected, found),
        queries(found),
        properties(expected, found, terms),
    ];
    let checks = if expected.snapshot.exported { checks } else { checks.into_iter().map(excuse).collect() };
    DatabaseResult {
        database: expected.name.clone(),
        restore_seconds: Some(found.restore_seconds),
        tables: found.contents.tables.len() as u64,
        rows: found.contents.tables.values().map(|table| table.rows).sum(),
        checks,
    }
}

/// Where the server could not export a snapshot the catalogue may have changed before the dump began; rows and values
/// come from the dump itself and are not excused.
fn excuse(check: Check) -> Check {
    const OF_CATALOGUE: &[u8] = &[1, 2, 3, 4, 5, 6, 11];
    if check.verdict != Verdict::Failed || !OF_CATALOGUE.contains(&check.number) {
        return check;
    }
    let mut details = vec!["the source could not export a snapshot, and may have changed before the dump".to_owned()];
    details.extend(check.details);
    Check { verdict: Verdict::Warning, details, ..check }
}

/// Every check failed or without sense because there is nothing to compare.
pub fn not_restored(database: &str, reason: &str) -> DatabaseResult {
    let checks = (1..=14).map(|number| Check::not_applicable(number, reason)).collect();
    DatabaseResult { database: database.to_owned(), restore_seconds: None, tables: 0, rows: 0, checks }
}

fn verdict_of(differences: &[String], warnings: &[String]) -> Verdict {
    match (differences.is_empty(), warnings.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, false) => Verdict::Warning,
        (true, true) => Verdict::Ok,
    }
}

/// A check over things that can be counted.
fn counted(
    number: u8,
    what: &str,
    counts: (usize, usize),
    mut differences: Vec<String>,
    warnings: Vec<String>,
) -> Check {
    let verdict = verdict_of(&differences, &warnings);
    differences.extend(warnings);
    Check::new(number, verdict, human::count(counts.0, what), human::count(counts.1, what), differences)
}

fn short(value: impl Display) -> String {
    let text = value.to_string();
    let text = human::one_line(&text);
    if text.chars().count() > 80 { text.chars().take(79).collect::<String>() + "…" } else { text.into_owned() }
}

/// What differs between two sets of objects.
#[derive(Default)]
struct Difference {
    /// Objects that are not there.
    missing: Vec<String>,
    /// Everything else.
    other: Vec<String>,
}

impl Difference {
    fn between(expected: &Objects, found: &Objects, same_major: bool) -> Self {
        let mut difference = Self::default();
        for (name, properties) in expected {
            match found.get(name) {
                None => difference.missing.push(name.clone()),
                Some(found) => difference.other.extend(
                    changes(&comparable(properties, same_major), &comparable(found, same_major))
                        .into_iter()
                        .map(|change| format!("{}: {change}", human::one_line(name))),
                ),
            }
        }
        let surplus = found.keys().filter(|name| !expected.contains_key(*name));
        difference.other.extend(surplus.map(|name| format!("{} is there and should not be", human::one_line(name))));
        difference
    }

    /// Differences, and warnings: from a dump that leaves things out on purpose, nobody can tell what is missing.
    fn judge(self, terms: Terms) -> (Vec<String>, Vec<String>) {
        let missing = |name: &String| format!("{} is missing", human::one_line(name));
        let left_out =
            |name: &String| format!("{} is not there; the dump leaves things out on purpose", human::one_line(name));
        let mut differences = self.other;
        if terms.partial {
            return (differences, self.missing.iter().map(left_out).collect());
        }
        differences.splice(0..0, self.missing.iter().map(missing));
        (differences, Vec::new())
    }
}

fn changes(expected: &Map<String, Value>, found: &Map<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let changed = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
    let show = |value: Option<&Value>| value.map_or("none".to_owned(), short);
    let change = |name: &String| match (expected.get(name), found.get(name)) {
        (Some(Value::Array(expected)), Some(Value::Array(found))) if name == "columns" => {
            column_changes(expected, found)
        }
        (expected, found) => vec![format!("{name} is {}, expected {}", show(found), show(expected))],
    };
    changed.flat_map(change).collect()
}

/// What differs between the columns of two tables: theirs, or only their order.
fn column_changes(expected: &[Value], found: &[Value]) -> Vec<String> {
    let by_name = |columns: &[Value]| -> Objects {
        let named = columns
            .iter()
            .filter_map(|column| Some((column.get("name")?.as_str()?.to_owned(), column.as_object()?.clone())));
        named.collect()
    };
    let difference = Difference::between(&by_name(expected), &by_name(found), true);
    let missing = difference.missing.iter().map(|name| format!("column {} is missing", human::one_line(name)));
    let changes: Vec<String> =
        missing.chain(difference.other.into_iter().map(|change| format!("column {change}"))).collect();
    if changes.is_empty() { vec!["the columns are in another order".to_owned()] } else { changes }
}

/// The properties that can be compared.
fn comparable(properties: &Map<String, Value>, same_major: bool) -> Map<String, Value> {
    let mut properties = properties.clone();
    if !same_major {
        properties.retain(|name, _| !DEPARSED.contains(&name.as_str()));
    }
    let inherits = properties.contains_key("parents");
    if let Some(Value::Array(columns)) = properties.get_mut("columns") {
        for column in columns.iter_mut().filter_map(Value::as_object_mut).filter(|_| !same_major) {
            column.retain(|name, _| !DEPARSED.contains(&name.as_str()));
        }
        // what was made to inherit later has its columns in another order once it is restored
        if inherits {
            columns.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        }
    }
    properties
}

fn of_kind(number: u8, what: &str, expected: &Objects, found: &Objects, terms: Terms) -> Check {
    if expected.is_empty() && found.is_empty() {
        return Check::not_applicable(number, &format!("the database has no {what}"));
    }
    let (differences, warnings) = Difference::between(expected, found, terms.same_major).judge(terms);
    counted(number, what, (expected.len(), found.len()), differences, warnings)
}

fn migration_version(expected: &Schema, found: &Schema) -> Check {
    if expected.migrations.is_empty() && found.migrations.is_empty() {
        return Check::not_applicable(1, "no migration tool's table is there");
    }
    let versions = |schema: &Schema| -> BTreeMap<String, String> {
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
        schema.migrations.iter().map(|m| (format!("{} ({})", m.tool, m.table), version(&m.version))).collect()
    };
    let (expected, found) = (versions(expected), versions(found));
    let show = |versions: &BTreeMap<String, String>| {
        versions.iter().map(|(tool, version)| format!("{tool}: {version}")).collect::<Vec<_>>().join(", ")
    };
    let verdict = if expected == found { Verdict::Ok } else { Verdict::Failed };
    Check::new(1, verdict, show(&expected), show(&found), Vec::new())
}

fn migration_dirty(expected: &Schema, found: &Schema) -> Check {
    if expected.migrations.is_empty() && found.migrations.is_empty() {
        return Check::not_applicable(2, "no migration tool's table is there");
    }
    let dirty = |schema: &Schema| -> Vec<String> {
        schema.migrations.iter().filter(|m| m.dirty).map(|m| m.table.clone()).collect()
    };
    let (expected, found) = (dirty(expected), dirty(found));
    let verdict = match (expected == found, expected.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, false) => Verdict::Warning,
        (true, true) => Verdict::Ok,
    };
    let details = expected.iter().map(|table| format!("{table}: a migration broke off at the source")).collect();
    let show = |tables: &[String]| if tables.is_empty() { "not dirty".to_owned() } else { tables.join(", ") };
    Check::new(2, verdict, show(&expected), show(&found), details)
}

fn tables(expected: &DatabaseFacts, found: &Found, terms: Terms) -> Check {
    let (wanted, there) = (&expected.schema.catalogue.tables, &found.schema.catalogue.tables);
    if wanted.is_empty() && there.is_empty() {
        return Check::not_applicable(3, "the database has no table");
    }
    let mut difference = Difference::between(wanted, there, terms.same_major);
    // its rows are in the dump, so it is not left out
    let (lost, left_out): (Vec<String>, Vec<String>) =
        difference.missing.drain(..).partition(|name| expected.contents.tables.contains_key(name));
    difference.missing = left_out;
    let (mut differences, warnings) = difference.judge(terms);
    differences.splice(0..0, lost.iter().map(|name| format!("{} is missing", human::one_line(name))));
    counted(3, "table", (wanted.len(), there.len()), differences, warnings)
}

fn indexes(expected: &DatabaseFacts, found: &Found, terms: Terms) -> Check {
    let (mut wanted, mut there) = (expected.schema.catalogue.indexes.clone(), found.schema.catalogue.indexes.clone());
    if wanted.is_empty() && there.is_empty() {
        return Check::not_applicable(5, "the database has no index");
    }
    let counts = (wanted.len(), there.len());
    let is_valid = |index: &Map<String, Value>| index.get("valid") == Some(&Value::Bool(true));
    // pg_dump leaves most of them out
    let invalid: Vec<String> =
        wanted.iter().filter(|(_, index)| !is_valid(index)).map(|(name, _)| name.clone()).collect();
    for name in &invalid {
        wanted.remove(name);
        there.remove(name);
    }
    let (differences, mut warnings) = Difference::between(&wanted, &there, terms.same_major).judge(terms);
    warnings.extend(invalid.iter().map(|name| format!("{} was invalid at the source already", human::one_line(name))));
    counted(5, "index", counts, differences, warnings)
}

fn foreign_keys(expected: &DatabaseFacts, found: &Found, terms: Terms) -> Check {
    let (wanted, there) = (&expected.schema.catalogue.foreign_keys, &found.schema.catalogue.foreign_keys);
    if wanted.is_empty() && there.is_empty() {
        return Check::not_applicable(6, "the database has no foreign key");
    }
    let (differences, mut warnings) = Difference::between(wanted, there, terms.same_major).judge(terms);
    let unvalidated = wanted.iter().filter(|(_, key)| key.get("validated") != Some(&Value::Bool(true)));
    warnings.extend(
        unvalidated.map(|(name, _)| format!("{} was not validated at the source either", human::one_line(name))),
    );
    counted(6, "foreign key", (wanted.len(), there.len()), differences, warnings)
}

fn row_counts(expected: &DatabaseFacts, found: &Found) -> Check {
    let (wanted, there) = (&expected.contents.tables, &found.contents.tables);
    let mut details = Vec::new();
    for (table, rows) in wanted {
        let (found, table, rows) = (there.get(table), human::one_line(table), rows.rows);
        match found.map(|found| found.rows) {
            Some(found) if found == rows => {}
            Some(found) => details.push(format!("{table}: {rows} expected, {found} found")),
            None => details.push(format!("{table}: {rows} expected, and they cannot be read")),
        }
    }
    let excluded: Vec<String> =
        excluded(expected).map(|table| format!("{}: excluded, no rows in the dump", human::one_line(table))).collect();
    if wanted.is_empty() {
        let reason = "the dump has no rows of any table".to_owned();
        let details = std::iter::once(reason).chain(excluded).collect();
        return Check::new(7, Verdict::NotApplicable, String::new(), String::new(), details);
    }
    let sum = |tables: &BTreeMap<String, crate::facts::TableRows>| {
        let rows: u64 = tables.values().map(|table| table.rows).sum();
        format!("{rows} rows in {}", human::count(tables.len(), "table"))
    };
    let verdict = verdict_of(&details, &[]);
    details.extend(excluded);
    Check::new(7, verdict, sum(wanted), sum(there), details)
}

/// Tables whose rows are not in the dump, neither by themselves nor through the table they are a partition of.
fn excluded(expected: &DatabaseFacts) -> impl Iterator<Item = &String> {
    let (tables, contents) = (&expected.schema.catalogue.tables, &expected.contents.tables);
    tables.iter().filter(|(_, table)| table.get("kind").is_some_and(|kind| kind == "r")).map(|(name, _)| name).filter(
        move |name| {
            let mut current = vec![name.as_str()];
            while let Some(name) = current.pop() {
                if contents.contains_key(name) {
                    return false;
                }
                let table = tables.get(name).filter(|table| table.contains_key("bound") || table.contains_key("key"));
                let parents = table.and_then(|table| table.get("parents")?.as_array());
                current.extend(parents.into_iter().flatten().filter_map(Value::as_str));
            }
            true
        },
    )
}

fn health(found: &Found) -> Check {
    let (verdict, text) = match &found.health {
        None => return Check::not_applicable(8, "VERIFY_HEALTH_URL is not set"),
        Some(Ok(answer)) => (Verdict::Ok, answer.clone()),
        Some(Err(cause)) => (Verdict::Failed, cause.clone()),
    };
    Check::new(8, verdict, "an answer 2xx".to_owned(), text, Vec::new())
}

fn orphans(found: &Found) -> Check {
    let (keys, orphans) = &found.orphans;
    if *keys == 0 {
        return Check::not_applicable(9, "the database has no validated foreign key");
    }
    let details: Vec<String> =
        orphans.iter().map(|(key, count)| format!("{}: {count} rows refer to nothing", human::one_line(key))).collect();
    let sum: u64 = orphans.values().sum();
    let expected = format!("no orphan rows in {}", human::count(*keys, "foreign key"));
    Check::new(9, verdict_of(&details, &[]), expected, format!("{sum} orphan rows"), details)
}

fn sequences(expected: &DatabaseFacts, found: &Found, terms: Terms) -> Check {
    let (wanted, there) = (&expected.schema.catalogue.sequences, &found.schema.catalogue.sequences);
    if wanted.is_empty() && there.is_empty() {
        return Check::not_applicable(10, "the database has no sequence");
    }
    let (mut differences, warnings) = Difference::between(wanted, there, terms.same_major).judge(terms);
    for (name, value) in &expected.contents.sequences {
        let show = |value: &crate::facts::SequenceValue| {
            format!("{}{}", value.value, if value.is_called { "" } else { " (not called yet)" })
        };
        let found = found.contents.sequences.get(name);
        if found != Some(value) {
            let found = found.map_or("none".to_owned(), show);
            differences.push(format!("{}: value is {found}, expected {}", human::one_line(name), show(value)));
        }
    }
    counted(10, "sequence", (wanted.len(), there.len()), differences, warnings)
}

fn code(expected: &DatabaseFacts, found: &Found, terms: Terms) -> Check {
    let (wanted, there) = (&expected.schema.catalogue, &found.schema.catalogue);
    let version = |all: &Objects| -> Objects {
        let mut all = all.clone();
        all.values_mut().for_each(|extension| drop(extension.remove("version")));
        all
    };
    let (extensions, found_extensions) = (version(&wanted.extensions), version(&there.extensions));
    let kinds = [
        ("view", &wanted.views, &there.views),
        ("function", &wanted.functions, &there.functions),
        ("trigger", &wanted.triggers, &there.triggers),
        ("policy", &wanted.policies, &there.policies),
        ("extension", &extensions, &found_extensions),
    ];
    let (mut differences, mut warnings) = (Vec::new(), Vec::new());
    for (what, wanted, there) in &kinds {
        let (different, warned) = Difference::between(wanted, there, terms.same_major).judge(terms);
        differences.extend(different.into_iter().map(|text| format!("{what} {text}")));
        warnings.extend(warned.into_iter().map(|text| format!("{what} {text}")));
    }
    for (name, extension) in &wanted.extensions {
        let version = |extension: &Map<String, Value>| extension.get("version").map(short).unwrap_or_default();
        let found = there.extensions.get(name).map(version);
        if let Some(found) = found.filter(|found| *found != version(extension)) {
            warnings.push(format!("extension {name}: version {found} here, {} at the source", version(extension)));
        }
    }
    let count = |side: usize| {
        let counts = kinds.iter().map(|(what, wanted, there)| human::count([wanted.len(), there.len()][side], what));
        counts.collect::<Vec<_>>().join(", ")
    };
    if kinds.iter().all(|(_, wanted, there)| wanted.is_empty() && there.is_empty()) {
        return Check::not_applicable(11, "the database has none of them");
    }
    let verdict = verdict_of(&differences, &warnings);
    differences.extend(warnings);
    Check::new(11, verdict, count(0), count(1), differences)
}

fn fingerprints(expected: &DatabaseFacts, found: &Found) -> Check {
    let (wanted, there) = (&expected.contents, &found.contents);
    if wanted.tables.is_empty() && wanted.large_objects.count == 0 {
        return Check::not_applicable(12, "the dump has no rows of any table");
    }
    let mut details = Vec::new();
    for (table, rows) in &wanted.tables {
        let found = there.tables.get(table).map(|found| found.fingerprint);
        if found != Some(rows.fingerprint) {
            let found = found.map_or("nothing".to_owned(), |found| found.to_string());
            details.push(format!("{}: {} expected, {found} found", human::one_line(table), rows.fingerprint));
        }
    }
    if wanted.large_objects != there.large_objects {
        let show = |all: &crate::facts::LargeObjects| format!("{} ({})", all.count, all.fingerprint);
        details.push(format!(
            "large objects: {} expected, {} found",
            show(&wanted.large_objects),
            show(&there.large_objects)
        ));
    }
    let all = human::count(wanted.tables.len(), "table");
    let same = wanted.tables.len().saturating_sub(details.len());
    Check::new(12, verdict_of(&details, &[]), format!("{all} as dumped"), format!("{same} as dumped"), details)
}

fn queries(found: &Found) -> Check {
    let Some(queries) = &found.queries else { return Check::not_applicable(13, "VERIFY_QUERIES_FILE is not set") };
    let wrong = |(query, result): &(String, Result<bool, String>)| match result {
        Ok(true) => None,
        Ok(false) => Some(format!("{}: not true", short(query))),
        Err(cause) => Some(format!("{}: {cause}", short(query))),
    };
    let details: Vec<String> = queries.iter().filter_map(wrong).collect();
    let all = human::count(queries.len(), "query");
    let verdict = verdict_of(&details, &[]);
    Check::new(13, verdict, format!("{all} true"), format!("{} true", queries.len() - details.len()), details)
}

fn properties(expected: &DatabaseFacts, found: &Found, terms: Terms) -> Check {
    let all = |properties: &DatabaseProperties| match serde_json::to_value(properties) {
        Ok(Value::Object(all)) => all,
        _ => Map::new(),
    };
    let (mut wanted, mut there) = (all(&expected.properties), all(&found.properties));
    let mut warnings = found.unapplied.clone();
    let versions = (wanted.remove("collation_version"), there.remove("collation_version"));
    if versions.0 != versions.1 {
        let show = |value: Option<Value>| value.map_or("none".to_owned(), short);
        let versions = (show(versions.1), show(versions.0));
        warnings.push(format!("collation_version is {} here, {} at the source", versions.0, versions.1));
    }
    // the comment of a scratch database is its mark
    let mut left_out = vec!["comment"];
    if !terms.owners {
        left_out.extend(["owner", "privileges", "connection_limit"]);
        warnings.push("owner, privileges and connection limit were not restored".to_owned());
    }
    if !found.unapplied.is_empty() {
        left_out.extend(["settings", "role_settings", "owner", "privileges", "connection_limit"]);
    }
    for name in left_out {
        wanted.remove(name);
        there.remove(name);
    }
    let differences = changes(&wanted, &there);
    let (mut details, verdict) = (differences.clone(), verdict_of(&differences, &warnings));
    details.extend(warnings);
    Check::new(
        14,
        verdict,
        format!("{} properties", wanted.len()),
        format!("{} equal", wanted.len() - differences.len().min(wanted.len())),
        details,
    )
}

#[cfg(test)]
mod tests;
