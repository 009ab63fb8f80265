//! Pure: a restored database held against the facts of its backup, to zero tolerance.

mod comparable;
mod difference;
mod matching;
mod rows;

pub use matching::{Matched, Matching};

use super::report::{Check, DatabaseResult, Verdict};
use crate::record::facts::{
    Contents, DatabaseHead, DatabaseProperties, Kind, Migration, Objects, ReadBack, SequenceValue,
};
use crate::text;
use difference::{Difference, changes, setting_changes, short};
use rows::{fingerprints, row_counts};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a restored database is to hold beside its objects.
#[derive(Debug, Clone)]
pub struct Expected {
    /// What is known beside objects and rows.
    pub head: DatabaseHead,
    /// Rows, fingerprints and values; where the rows are stored is not needed.
    pub contents: Contents,
}

/// What was found in a restored database.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its objects, held against those expected.
    pub objects: Matched,
    /// Texts that the server makes of its own trees are among the objects.
    pub has_texts: bool,
    /// Migration tools whose tables are there.
    pub migrations: Vec<Migration>,
    /// Rows, fingerprints and values, held against those expected.
    pub contents: ReadBack,
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
pub fn compare(expected: &Expected, found: &Found, terms: Terms) -> DatabaseResult {
    let texts = terms.texts && expected.head.has_texts && found.has_texts;
    let terms = Terms { texts, ..terms };
    let checks = vec![
        migration_version(expected, found),
        migration_dirty(expected, found),
        tables(expected, found, terms),
        enums(found, terms),
        indexes(found, terms),
        foreign_keys(found, terms),
        row_counts(expected, found, terms),
        health(found),
        orphans(found),
        sequences(expected, found, terms),
        code(found, terms),
        fingerprints(expected, found),
        queries(found),
        properties(expected, found, terms),
    ];
    let checks = if expected.head.snapshot.exported { checks } else { checks.into_iter().map(excuse).collect() };
    DatabaseResult {
        database: expected.head.name.clone(),
        restore_seconds: Some(found.restore_seconds),
        tables: found.contents.tables,
        rows: found.contents.rows,
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
    Check::new(number, verdict, text::count(counts.0, what), text::count(counts.1, what), differences)
}

fn enums(found: &Found, terms: Terms) -> Check {
    if found.objects.has_none(Kind::Enum) {
        return Check::not_applicable(4, "the database has no enum type");
    }
    let (differences, warnings) = Difference::of(Kind::Enum, &found.objects, terms.texts).judge(terms);
    counted(4, "enum type", found.objects.counts(Kind::Enum), differences, warnings)
}

/// What the migration tools say whose tables have their rows in the dump.
fn dumped<'a>(expected: &Expected, migrations: &'a [Migration]) -> Vec<&'a Migration> {
    let dumped = |migration: &&Migration| expected.contents.tables.contains_key(&migration.table);
    migrations.iter().filter(dumped).collect()
}

const NO_MIGRATIONS: &str = "the dump has the rows of no migration tool's table";

fn migration_version(expected: &Expected, found: &Found) -> Check {
    let versions = |all: &[Migration]| -> BTreeMap<String, String> {
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
        let all = dumped(expected, all).into_iter();
        all.map(|one| (format!("{} ({})", one.tool, one.table), version(&one.version))).collect()
    };
    let (expected, found) = (versions(&expected.head.migrations), versions(&found.migrations));
    if expected.is_empty() && found.is_empty() {
        return Check::not_applicable(1, NO_MIGRATIONS);
    }
    let show = |versions: &BTreeMap<String, String>| {
        versions.iter().map(|(tool, version)| format!("{tool}: {version}")).collect::<Vec<_>>().join(", ")
    };
    let verdict = if expected == found { Verdict::Ok } else { Verdict::Failed };
    Check::new(1, verdict, show(&expected), show(&found), Vec::new())
}

fn migration_dirty(expected: &Expected, found: &Found) -> Check {
    let (wanted, there) = (dumped(expected, &expected.head.migrations), dumped(expected, &found.migrations));
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

fn tables(expected: &Expected, found: &Found, terms: Terms) -> Check {
    if found.objects.has_none(Kind::Table) {
        return Check::not_applicable(3, "the database has no table");
    }
    let mut difference = Difference::of(Kind::Table, &found.objects, terms.texts);
    // its rows are in the dump, so it is not left out
    let (lost, left_out): (Vec<String>, Vec<String>) =
        difference.missing.drain(..).partition(|name| expected.contents.tables.contains_key(name));
    difference.missing = left_out;
    let (mut differences, warnings) = difference.judge(terms);
    differences.splice(0..0, lost.iter().map(|name| format!("{} is missing", text::one_line(name))));
    counted(3, "table", found.objects.counts(Kind::Table), differences, warnings)
}

fn indexes(found: &Found, terms: Terms) -> Check {
    if found.objects.has_none(Kind::Index) {
        return Check::not_applicable(5, "the database has no index");
    }
    let (differences, mut warnings) = Difference::of(Kind::Index, &found.objects, terms.texts).judge(terms);
    let invalid = found.objects.invalid.iter();
    warnings.extend(invalid.map(|name| format!("{} was invalid at the source already", text::one_line(name))));
    counted(5, "index", found.objects.counts(Kind::Index), differences, warnings)
}

fn foreign_keys(found: &Found, terms: Terms) -> Check {
    if found.objects.has_none(Kind::ForeignKey) {
        return Check::not_applicable(6, "the database has no foreign key");
    }
    let (differences, mut warnings) = Difference::of(Kind::ForeignKey, &found.objects, terms.texts).judge(terms);
    let unvalidated = found.objects.unvalidated.iter();
    warnings.extend(unvalidated.map(|name| format!("{} was not validated at the source either", text::one_line(name))));
    counted(6, "foreign key", found.objects.counts(Kind::ForeignKey), differences, warnings)
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
        orphans.iter().map(|(key, count)| format!("{}: {count} rows refer to nothing", text::one_line(key))).collect();
    let sum: u64 = orphans.values().sum();
    let expected = format!("no orphan rows in {}", text::count(*keys, "foreign key"));
    Check::new(9, verdict_of(&details, &[]), expected, format!("{sum} orphan rows"), details)
}

fn sequences(expected: &Expected, found: &Found, terms: Terms) -> Check {
    if found.objects.has_none(Kind::Sequence) {
        return Check::not_applicable(10, "the database has no sequence");
    }
    let (mut differences, warnings) = Difference::of(Kind::Sequence, &found.objects, terms.texts).judge(terms);
    for (name, there) in &found.contents.sequences {
        let show = |value: &SequenceValue| {
            format!("{}{}", value.value, if value.is_called { "" } else { " (not called yet)" })
        };
        let there = there.as_ref().map_or("none".to_owned(), show);
        let wanted = expected.contents.sequences.get(name).map_or("none".to_owned(), show);
        differences.push(format!("{}: value is {there}, expected {wanted}", text::one_line(name)));
    }
    counted(10, "sequence", found.objects.counts(Kind::Sequence), differences, warnings)
}

fn code(found: &Found, terms: Terms) -> Check {
    let kinds = [
        ("view", Kind::View),
        ("function", Kind::Function),
        ("trigger", Kind::Trigger),
        ("policy", Kind::Policy),
        ("extension", Kind::Extension),
    ];
    if kinds.iter().all(|(_, kind)| found.objects.has_none(*kind)) {
        return Check::not_applicable(11, "the database has none of them");
    }
    let (mut differences, mut warnings) = (Vec::new(), Vec::new());
    for (what, kind) in kinds {
        let difference = match kind {
            Kind::Extension => extensions(found, &mut warnings),
            _ => Difference::of(kind, &found.objects, terms.texts),
        };
        let (different, warned) = difference.judge(terms);
        differences.extend(different.into_iter().map(|text| format!("{what} {text}")));
        warnings.extend(warned.into_iter().map(|text| format!("{what} {text}")));
    }
    let count = |side: usize| {
        let counts = kinds.iter().map(|(what, kind)| {
            let (wanted, there) = found.objects.counts(*kind);
            text::count([wanted, there][side], what)
        });
        counts.collect::<Vec<_>>().join(", ")
    };
    let verdict = verdict_of(&differences, &warnings);
    differences.extend(warnings);
    Check::new(11, verdict, count(0), count(1), differences)
}

/// What differs between extensions but for their versions, which are warnings.
fn extensions(found: &Found, warnings: &mut Vec<String>) -> Difference {
    let (wanted, there) = found.objects.unlike(Kind::Extension);
    let without_version = |all: &Objects| -> Objects {
        let mut all = all.clone();
        all.values_mut().for_each(|extension| drop(extension.remove("version")));
        all
    };
    for (name, extension) in wanted {
        let version = |extension: &Map<String, Value>| extension.get("version").map(short).unwrap_or_default();
        let there = there.get(name).map(version);
        if let Some(there) = there.filter(|there| *there != version(extension)) {
            warnings.push(format!("extension {name}: version {there} here, {} at the source", version(extension)));
        }
    }
    Difference::between(&without_version(wanted), &without_version(there), true)
}

fn queries(found: &Found) -> Check {
    let Some(queries) = &found.queries else { return Check::not_applicable(13, "VERIFY_QUERIES_FILE is not set") };
    let wrong = |(query, result): &(String, Result<bool, String>)| match result {
        Ok(true) => None,
        Ok(false) => Some(format!("{}: not true", short(query))),
        Err(cause) => Some(format!("{}: {cause}", short(query))),
    };
    let details: Vec<String> = queries.iter().filter_map(wrong).collect();
    let all = text::count(queries.len(), "query");
    let verdict = verdict_of(&details, &[]);
    Check::new(13, verdict, format!("{all} true"), format!("{} true", queries.len() - details.len()), details)
}

fn properties(expected: &Expected, found: &Found, terms: Terms) -> Check {
    let all = |properties: &DatabaseProperties| match serde_json::to_value(properties) {
        Ok(Value::Object(all)) => all,
        _ => Map::new(),
    };
    let (mut wanted, mut there) = (all(&expected.head.properties), all(&found.properties));
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

#[cfg(test)]
mod tests;
