//! Pure: a restored database held against the facts of its backup, to zero tolerance.

use super::deparsed;
use super::report::{Check, DatabaseResult, Verdict};
use crate::facts::{
    Contents, DEPARSED, DatabaseFacts, DatabaseProperties, LargeObjects, Migration, Objects, Schema, SequenceValue,
    TableRows,
};
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
    /// Text that servers made of their own trees can be compared: both are of one major.
    pub texts: bool,
    /// Owners and privileges were restored.
    pub owners: bool,
    /// The dump leaves objects out on purpose.
    pub partial: bool,
    /// The dump leaves rows out on purpose.
    pub rows_left_out: bool,
}

/// All fourteen checks.
pub fn compare(expected: &DatabaseFacts, found: &Found, terms: Terms) -> DatabaseResult {
    let texts = terms.texts && expected.schema.has_texts && found.schema.has_texts;
    let terms = Terms { texts, ..terms };
    let checks = vec![
        migration_version(expected, found),
        migration_dirty(expected, found),
        tables(expected, found, terms),
        of_kind(4, "enum type", &expected.schema.catalogue.enums, &found.schema.catalogue.enums, terms),
        indexes(expected, found, terms),
        foreign_keys(expected, found, terms),
        row_counts(expected, found, terms),
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
    fn between(expected: &Objects, found: &Objects, texts: bool) -> Self {
        let mut difference = Self::default();
        for (name, properties) in expected {
            match found.get(name) {
                None => difference.missing.push(name.clone()),
                Some(found) => difference.other.extend(
                    changes(&comparable(properties, texts), &comparable(found, texts))
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
    let lacks = |columns: &[Value], column: &&Value| !columns.contains(*column);
    let missing = expected
        .iter()
        .filter(|column| lacks(found, column))
        .map(|column| format!("column {} is missing", short(column)));
    let surplus = found
        .iter()
        .filter(|column| lacks(expected, column))
        .map(|column| format!("column {} is there instead", short(column)));
    let changes: Vec<String> = missing.chain(surplus).collect();
    if changes.is_empty() { vec!["the columns are in another order".to_owned()] } else { changes }
}

/// The properties that can be compared.
fn comparable(properties: &Map<String, Value>, texts: bool) -> Map<String, Value> {
    let inherits = properties.contains_key("parents");
    let mut all = Map::new();
    for (name, value) in properties {
        let value = match (DEPARSED.contains(&name.as_str()), name.as_str(), value) {
            (true, _, _) if !texts => continue,
            (true, _, value) => deparsed::comparable(value.clone()),
            // what was made to inherit later has its columns in another order once it is restored
            (false, "columns", Value::Array(columns)) if inherits => {
                let mut columns = columns.clone();
                columns.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                Value::Array(columns)
            }
            (false, _, value) => value.clone(),
        };
        if value.as_object().is_none_or(|value| !value.is_empty()) {
            all.insert(name.clone(), value);
        }
    }
    all
}

fn of_kind(number: u8, what: &str, expected: &Objects, found: &Objects, terms: Terms) -> Check {
    if expected.is_empty() && found.is_empty() {
        return Check::not_applicable(number, &format!("the database has no {what}"));
    }
    let (differences, warnings) = Difference::between(expected, found, terms.texts).judge(terms);
    counted(number, what, (expected.len(), found.len()), differences, warnings)
}

/// What the migration tools say whose tables have their rows in the dump.
fn migrations<'a>(facts: &'a DatabaseFacts, schema: &'a Schema) -> Vec<&'a Migration> {
    let dumped = |migration: &&Migration| facts.contents.tables.contains_key(&migration.table);
    schema.migrations.iter().filter(dumped).collect()
}

const NO_MIGRATIONS: &str = "the dump has the rows of no migration tool's table";

fn migration_version(expected: &DatabaseFacts, found: &Found) -> Check {
    let versions = |schema| -> BTreeMap<String, String> {
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
        let all = migrations(expected, schema).into_iter();
        all.map(|one| (format!("{} ({})", one.tool, one.table), version(&one.version))).collect()
    };
    let (expected, found) = (versions(&expected.schema), versions(&found.schema));
    if expected.is_empty() && found.is_empty() {
        return Check::not_applicable(1, NO_MIGRATIONS);
    }
    let show = |versions: &BTreeMap<String, String>| {
        versions.iter().map(|(tool, version)| format!("{tool}: {version}")).collect::<Vec<_>>().join(", ")
    };
    let verdict = if expected == found { Verdict::Ok } else { Verdict::Failed };
    Check::new(1, verdict, show(&expected), show(&found), Vec::new())
}

fn migration_dirty(expected: &DatabaseFacts, found: &Found) -> Check {
    let (wanted, there) = (migrations(expected, &expected.schema), migrations(expected, &found.schema));
    if wanted.is_empty() && there.is_empty() {
        return Check::not_applicable(2, NO_MIGRATIONS);
    }
    let dirty = |all: Vec<&Migration>| -> Vec<String> {
        all.into_iter().filter(|one| one.dirty).map(|one| one.table.clone()).collect()
    };
    let (expected, found) = (dirty(wanted), dirty(there));
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
    let mut difference = Difference::between(wanted, there, terms.texts);
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
    let (differences, mut warnings) = Difference::between(&wanted, &there, terms.texts).judge(terms);
    warnings.extend(invalid.iter().map(|name| format!("{} was invalid at the source already", human::one_line(name))));
    counted(5, "index", counts, differences, warnings)
}

fn foreign_keys(expected: &DatabaseFacts, found: &Found, terms: Terms) -> Check {
    let (wanted, there) = (&expected.schema.catalogue.foreign_keys, &found.schema.catalogue.foreign_keys);
    if wanted.is_empty() && there.is_empty() {
        return Check::not_applicable(6, "the database has no foreign key");
    }
    let (differences, mut warnings) = Difference::between(wanted, there, terms.texts).judge(terms);
    let unvalidated = wanted.iter().filter(|(_, key)| key.get("validated") != Some(&Value::Bool(true)));
    warnings.extend(
        unvalidated.map(|(name, _)| format!("{} was not validated at the source either", human::one_line(name))),
    );
    counted(6, "foreign key", (wanted.len(), there.len()), differences, warnings)
}

/// True for a name that is not UTF-8 and stands here as something like it: nothing of that name can be asked for.
fn is_unspeakable(table: &str) -> bool {
    table.contains('\u{fffd}')
}

fn row_counts(expected: &DatabaseFacts, found: &Found, terms: Terms) -> Check {
    let (wanted, there) = (&expected.contents.tables, &found.contents.tables);
    let (mut details, mut warnings, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for (table, rows) in wanted {
        let (name, rows) = (human::one_line(table), rows.rows);
        match there.get(table).map(|found| found.rows) {
            Some(found) if found == rows => {}
            Some(found) => details.push(format!("{name}: {rows} expected, {found} found")),
            None if is_unspeakable(table) => {
                warnings.push(format!("{name}: its name is not UTF-8, so its rows were compared in the archive alone"));
            }
            None => details.push(format!("{name}: {rows} expected, and they cannot be read")),
        }
    }
    for (table, is_logged) in excluded(expected) {
        let name = human::one_line(table);
        // a standby has no rows of unlogged tables
        if terms.rows_left_out || terms.partial || !is_logged || is_unspeakable(table) {
            notes.push(format!("{name}: excluded, no rows in the dump"));
        } else {
            details.push(format!("{name}: no rows in the dump, although nothing was to be left out"));
        }
    }
    if wanted.is_empty() && details.is_empty() {
        let details = std::iter::once("the dump has no rows of any table".to_owned()).chain(notes).collect();
        return Check::new(7, Verdict::NotApplicable, String::new(), String::new(), details);
    }
    let sum = |tables: &BTreeMap<String, TableRows>| {
        let rows: u64 = tables.values().map(|table| table.rows).sum();
        format!("{rows} rows in {}", human::count(tables.len(), "table"))
    };
    let verdict = verdict_of(&details, &warnings);
    details.extend(warnings);
    details.extend(notes);
    Check::new(7, verdict, sum(wanted), sum(there), details)
}

/// Tables whose rows are not in the dump, neither by themselves nor through the table they are a partition of, and
/// whether they are logged.
fn excluded(expected: &DatabaseFacts) -> impl Iterator<Item = (&String, bool)> {
    let (tables, contents) = (&expected.schema.catalogue.tables, &expected.contents.tables);
    let ordinary = tables.iter().filter(|(_, table)| table.get("kind").is_some_and(|kind| kind == "r"));
    let is_excluded = move |name: &str| {
        let mut current = vec![name];
        while let Some(name) = current.pop() {
            if contents.contains_key(name) {
                return false;
            }
            let table = tables.get(name).filter(|table| table.contains_key("is_partition"));
            let parents = table.and_then(|table| table.get("parents")?.as_array());
            current.extend(parents.into_iter().flatten().filter_map(Value::as_str));
        }
        true
    };
    let excluded = ordinary.filter(move |(name, _)| is_excluded(name));
    excluded.map(|(name, table)| (name, table.get("persistence").is_none_or(|persistence| persistence != "u")))
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
    let (mut differences, warnings) = Difference::between(wanted, there, terms.texts).judge(terms);
    for (name, value) in &expected.contents.sequences {
        let show = |value: &SequenceValue| {
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
        let (different, warned) = Difference::between(wanted, there, terms.texts).judge(terms);
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
    let (mut details, mut warnings) = (Vec::new(), Vec::new());
    for (table, rows) in &wanted.tables {
        let found = there.tables.get(table).map(|found| found.fingerprint);
        if rows.is_mixed || is_unspeakable(table) {
            let why = if rows.is_mixed {
                "its partitions have their columns in different orders"
            } else {
                "its name is not UTF-8"
            };
            warnings.push(format!(
                "{}: {why}, so its fingerprint was compared in the archive alone",
                human::one_line(table)
            ));
        } else if found != Some(rows.fingerprint) {
            let found = found.map_or("nothing".to_owned(), |found| found.to_string());
            details.push(format!("{}: {} expected, {found} found", human::one_line(table), rows.fingerprint));
        }
    }
    if wanted.large_objects != there.large_objects {
        let show = |all: &LargeObjects| format!("{} ({})", all.count, all.fingerprint);
        details.push(format!(
            "large objects: {} expected, {} found",
            show(&wanted.large_objects),
            show(&there.large_objects)
        ));
    }
    let all = human::count(wanted.tables.len(), "table");
    let same = wanted.tables.len().saturating_sub(details.len());
    let verdict = verdict_of(&details, &warnings);
    details.extend(warnings);
    Check::new(12, verdict, format!("{all} as dumped"), format!("{same} as dumped"), details)
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
    let mut differences = Vec::new();
    for name in ["settings", "role_settings"] {
        let (wanted, there) = (wanted.remove(name), there.remove(name));
        // which ones, and not their values: one may be a secret
        differences.extend((wanted != there).then(|| setting_changes(name, wanted.as_ref(), there.as_ref())));
    }
    differences.extend(changes(&wanted, &there));
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

/// Names of settings that differ, with those of roles behind their roles.
fn setting_changes(what: &str, expected: Option<&Value>, found: Option<&Value>) -> String {
    fn collect(value: Option<&Value>, prefix: &str, all: &mut BTreeSet<(String, String)>) {
        match value {
            Some(Value::Array(settings)) => all.extend(settings.iter().filter_map(Value::as_str).map(|setting| {
                let name = setting.split('=').next().unwrap_or_default();
                (format!("{prefix}{name}"), setting.to_owned())
            })),
            Some(Value::Object(roles)) => {
                roles.iter().for_each(|(role, settings)| collect(Some(settings), &format!("{role}."), all));
            }
            _ => {}
        }
    }
    let (mut expected_all, mut found_all) = (BTreeSet::new(), BTreeSet::new());
    collect(expected, "", &mut expected_all);
    collect(found, "", &mut found_all);
    let names: BTreeSet<&str> = expected_all.symmetric_difference(&found_all).map(|(name, _)| name.as_str()).collect();
    format!("{what} differ: {}", names.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests;
