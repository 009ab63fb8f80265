//! Checks of what is in the tables.

use super::{CheckKind, Compared, Judgement, verdict_of};
use crate::record::facts::LargeObjects;
use crate::text;
use crate::verify::report::Verdict;

pub(super) const COUNTS: CheckKind =
    CheckKind { number: 7, title: "row counts", of_catalogue: false, judge: judge_counts };

pub(super) const FINGERPRINTS: CheckKind =
    CheckKind { number: 12, title: "content fingerprints", of_catalogue: false, judge: judge_fingerprints };

/// True for a name that is not UTF-8 and stands here as something like it: nothing of that name can be asked for.
fn is_unspeakable(table: &str) -> bool {
    table.contains('\u{fffd}')
}

fn judge_counts(compared: &Compared<'_>) -> Judgement {
    let Compared { expected, found, terms } = *compared;
    let (wanted, there) = (&expected.contents.tables, &found.contents);
    let (mut details, mut warnings, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for (table, found) in &there.differing {
        let (name, rows) = (text::one_line(table), wanted.get(table).map_or(0, |wanted| wanted.rows));
        match found {
            Some((found, _)) if *found == rows => {}
            Some((found, _)) => details.push(format!("{name}: {rows} expected, {found} found")),
            None if is_unspeakable(table) => {
                warnings.push(format!("{name}: its name is not UTF-8, so its rows were compared only in the archive"));
            }
            None => details.push(format!("{name}: {rows} expected, but they cannot be read")),
        }
    }
    for (view, found) in &there.views {
        let expected = expected.head.materialized.get(view).map_or(0, |wanted| wanted.rows);
        let name = text::one_line(view);
        let source = text::count(expected, "row");
        let what = match found.rows == expected {
            true => format!("{source} at the source, and as many different ones here"),
            false => format!("{source} at the source, {} here", found.rows),
        };
        warnings.push(format!(
            "materialized view {name}: {what}; it was not fresh when the dump was made, or depends on more than its tables"
        ));
    }
    for (table, is_logged) in &found.objects.excluded {
        let name = text::one_line(table);
        // a standby has no rows of unlogged tables
        if terms.rows_left_out || terms.partial || !is_logged || is_unspeakable(table) {
            notes.push(format!("{name}: excluded, no rows in the dump"));
        } else {
            details.push(format!("{name}: no rows in the dump, although nothing was to be left out"));
        }
    }
    if wanted.is_empty() && details.is_empty() {
        let details = std::iter::once("the dump has no rows of any table".to_owned()).chain(notes).collect();
        return Judgement::new(Verdict::NotApplicable, String::new(), String::new(), details);
    }
    let sum = |tables: usize, rows: u64| format!("{} in {}", text::count(rows, "row"), text::count(tables, "table"));
    let wanted = sum(wanted.len(), wanted.values().map(|table| table.rows).sum());
    let there = sum(usize::try_from(there.tables).unwrap_or(usize::MAX), there.rows);
    let verdict = verdict_of(&details, &warnings);
    details.extend(warnings);
    details.extend(notes);
    Judgement::new(verdict, wanted, there, details)
}

fn judge_fingerprints(compared: &Compared<'_>) -> Judgement {
    let Compared { expected, found, .. } = *compared;
    let (wanted, there) = (&expected.contents, &found.contents);
    if wanted.tables.is_empty() && wanted.large_objects.count == 0 {
        return Judgement::not_applicable("the dump has no rows of any table");
    }
    let (mut details, mut warnings) = (Vec::new(), Vec::new());
    for (table, rows) in wanted.tables.iter().filter(|(table, rows)| rows.is_mixed || is_unspeakable(table)) {
        let why = match rows.is_mixed {
            true => "its partitions have their columns in different orders",
            false => "its name is not UTF-8",
        };
        let name = text::one_line(table);
        warnings.push(format!("{name}: {why}, so its fingerprint was compared only in the archive"));
    }
    for (table, found) in &there.differing {
        let Some(rows) = wanted.tables.get(table).filter(|rows| !rows.is_mixed && !is_unspeakable(table)) else {
            continue;
        };
        let found = found.map(|(_, fingerprint)| fingerprint);
        if found != Some(rows.fingerprint) {
            let found = found.map_or("nothing".to_owned(), |found| found.to_string());
            details.push(format!("{}: {} expected, {found} found", text::one_line(table), rows.fingerprint));
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
    let all = text::count(wanted.tables.len(), "table");
    let same = wanted.tables.len().saturating_sub(details.len());
    let verdict = verdict_of(&details, &warnings);
    details.extend(warnings);
    Judgement::new(verdict, format!("{all} as dumped"), format!("{same} as dumped"), details)
}
