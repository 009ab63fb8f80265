//! Checks of what is in the tables.

use super::super::report::{Check, Verdict};
use super::{Found, Terms, verdict_of};
use crate::facts::{DatabaseFacts, LargeObjects, TableRows};
use crate::human;
use serde_json::Value;
use std::collections::BTreeMap;

/// True for a name that is not UTF-8 and stands here as something like it: nothing of that name can be asked for.
fn is_unspeakable(table: &str) -> bool {
    table.contains('\u{fffd}')
}

pub(super) fn row_counts(expected: &DatabaseFacts, found: &Found, terms: Terms) -> Check {
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
pub(super) fn excluded(expected: &DatabaseFacts) -> impl Iterator<Item = (&String, bool)> {
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

pub(super) fn fingerprints(expected: &DatabaseFacts, found: &Found) -> Check {
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
