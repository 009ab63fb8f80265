//! What differs between objects, and in words that people understand.

use super::Terms;
use super::comparable::comparable;
use super::matching::Matched;
use crate::record::facts::{Kind, Objects};
use crate::text;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Display;

pub(super) fn short(value: impl Display) -> String {
    let text = value.to_string();
    let text = text::one_line(&text);
    if text.chars().count() > 80 { text.chars().take(79).collect::<String>() + "…" } else { text.into_owned() }
}

/// What differs between two sets of objects.
#[derive(Default)]
pub(super) struct Difference {
    /// Objects that are not there.
    pub(super) missing: Vec<String>,
    /// Everything else.
    pub(super) other: Vec<String>,
    /// Objects that are not there beside those.
    more_missing: usize,
}

impl Difference {
    /// What differs between the objects of a kind.
    pub(super) fn of(kind: Kind, matched: &Matched, texts: bool) -> Self {
        let (lacking, surplus) = matched.unlike(kind);
        let mut difference = Self::between(lacking, surplus, texts);
        difference.more_missing = matched.more_missing[kind as usize];
        let more = matched.more_unlike[kind as usize];
        if more > 0 {
            let what = "are missing, are different, or should not exist";
            difference.other.insert(0, format!("besides those named, at least {more} {what}"));
        }
        difference
    }

    pub(super) fn between(expected: &Objects, found: &Objects, texts: bool) -> Self {
        let mut difference = Self::default();
        for (name, properties) in expected {
            match found.get(name) {
                None => difference.missing.push(name.clone()),
                Some(found) => difference.other.extend(
                    changes(&comparable(properties, texts), &comparable(found, texts))
                        .into_iter()
                        .map(|change| format!("{}: {change}", text::one_line(name))),
                ),
            }
        }
        let surplus = found.keys().filter(|name| !expected.contains_key(*name));
        difference.other.extend(surplus.map(|name| format!("{} exists and should not", text::one_line(name))));
        difference
    }

    /// Differences, and warnings: from a dump that leaves things out on purpose, nobody can tell what is missing.
    pub(super) fn judge(self, terms: Terms) -> (Vec<String>, Vec<String>) {
        let missing = |name: &String| format!("{} is missing", text::one_line(name));
        let left_out =
            |name: &String| format!("{} is missing; the dump leaves things out on purpose", text::one_line(name));
        let mut differences = self.other;
        let more = |what: &str| {
            let more = self.more_missing;
            (more > 0).then(|| format!("besides those named, {more} are {what}"))
        };
        if terms.partial {
            let warnings = more("missing").into_iter().chain(self.missing.iter().map(left_out));
            return (differences, warnings.collect());
        }
        differences.splice(0..0, more("missing").into_iter().chain(self.missing.iter().map(missing)));
        (differences, Vec::new())
    }
}

pub(super) fn changes(expected: &Map<String, Value>, found: &Map<String, Value>) -> Vec<String> {
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
pub(super) fn column_changes(expected: &[Value], found: &[Value]) -> Vec<String> {
    let lacks = |columns: &[Value], column: &&Value| !columns.contains(*column);
    let missing = expected
        .iter()
        .filter(|column| lacks(found, column))
        .map(|column| format!("column {} is missing", short(column)));
    let surplus = found
        .iter()
        .filter(|column| lacks(expected, column))
        .map(|column| format!("column {} exists instead", short(column)));
    let changes: Vec<String> = missing.chain(surplus).collect();
    if changes.is_empty() { vec!["the columns are in a different order".to_owned()] } else { changes }
}

/// Names of settings that differ, with those of roles behind their roles.
pub(super) fn setting_changes(what: &str, expected: Option<&Value>, found: Option<&Value>) -> String {
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
