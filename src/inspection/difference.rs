//! Pure: what changed from one backup to another.

use super::summary::stored_bytes;
use crate::record::facts::reader::DatabaseFacts;
use crate::record::facts::{Contents, DEPARSED, Facts, Kind, Objects, TableRows};
use crate::record::manifest::Manifest;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What changed between two backups.
#[derive(Debug, Serialize)]
pub struct BackupDifference<'b> {
    pub before: ComparedBackup<'b>,
    pub after: ComparedBackup<'b>,
    /// Every row, object and value that the facts record is the same.
    pub same: bool,
    /// Databases that only the first has.
    pub lost: Vec<&'b str>,
    /// Databases that only the second has.
    pub gained: Vec<&'b str>,
    /// Databases that both have.
    pub databases: Vec<DatabaseDifference>,
}

/// One of the two.
#[derive(Debug, Serialize)]
pub struct ComparedBackup<'b> {
    pub id: &'b str,
    pub source: &'b str,
    pub started: DateTime<Utc>,
    pub stored_bytes: u64,
    pub rows: u64,
}

/// What changed in a database.
#[derive(Debug, Default, Serialize)]
pub struct DatabaseDifference {
    pub name: String,
    /// Nothing changed.
    pub same: bool,
    pub rows: Pair<u64>,
    /// Tables whose rows are not those of before.
    pub tables: Vec<TableDifference>,
    /// Tables whose rows are the same.
    pub unchanged_tables: u64,
    /// Objects that were gained, lost or altered, by their kinds.
    pub objects: BTreeMap<&'static str, ObjectsDifference>,
    /// Sequences that both have, with another value.
    pub sequences: Vec<String>,
    /// Number of large objects, where they are not those of before.
    pub large_objects: Option<Pair<u64>>,
    /// Properties of the database itself are others.
    pub properties: bool,
}

/// A number before and after.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    pub before: T,
    pub after: T,
}

/// The rows of a table, before and after; none where an archive has none of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TableDifference {
    pub name: String,
    pub rows: Pair<Option<u64>>,
    pub stored_bytes: Pair<Option<u64>>,
}

/// Names of objects of one kind.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ObjectsDifference {
    pub gained: Vec<String>,
    pub lost: Vec<String>,
    /// Each with the properties that are others.
    pub altered: BTreeMap<String, Vec<String>>,
}

impl<'b> BackupDifference<'b> {
    /// Compares the content of two backups; of databases those of the same name.
    pub fn between(
        before: (&'b Manifest, &'b Facts),
        after: (&'b Manifest, &'b Facts),
    ) -> Result<Self, serde_json::Error> {
        let named = |facts: &'b Facts| facts.databases().map(|one| (one.head.name.as_str(), one)).collect();
        let (old, new): (BTreeMap<&str, DatabaseFacts<'b>>, BTreeMap<&str, DatabaseFacts<'b>>) =
            match (only(before.1), only(after.1)) {
                // one database each: they are compared whatever they are called
                (Some(one), Some(other)) => {
                    (BTreeMap::from([(one.head.name.as_str(), one)]), BTreeMap::from([(one.head.name.as_str(), other)]))
                }
                _ => (named(before.1), named(after.1)),
            };
        let major = |manifest: &Manifest| manifest.versions.server.split('.').next().map(str::to_owned);
        let texts = major(before.0) == major(after.0);
        let both = old.iter().filter_map(|(name, one)| Some((*name, *one, *new.get(name)?)));
        let databases = both.map(|(name, one, other)| DatabaseDifference::between(name, one, other, texts));
        let databases: Vec<DatabaseDifference> = databases.collect::<Result<_, _>>()?;
        let lost: Vec<&str> = old.keys().filter(|name| !new.contains_key(*name)).copied().collect();
        let gained: Vec<&str> = new.keys().filter(|name| !old.contains_key(*name)).copied().collect();
        let same = lost.is_empty() && gained.is_empty() && databases.iter().all(|database| database.same);
        let compared = |manifest: &'b Manifest| ComparedBackup {
            id: &manifest.id,
            source: &manifest.source,
            started: manifest.started,
            stored_bytes: manifest.stored_bytes,
            rows: manifest.totals.rows,
        };
        Ok(Self { before: compared(before.0), after: compared(after.0), same, lost, gained, databases })
    }
}

fn only(facts: &Facts) -> Option<DatabaseFacts<'_>> {
    let mut databases = facts.databases();
    databases.next().filter(|_| databases.next().is_none())
}

impl DatabaseDifference {
    fn between(
        name: &str,
        before: DatabaseFacts<'_>,
        after: DatabaseFacts<'_>,
        texts: bool,
    ) -> Result<Self, serde_json::Error> {
        let has_texts = texts && before.head.has_texts && after.head.has_texts;
        let mut difference = Self { name: name.to_owned(), ..Self::default() };
        difference.rows = Pair { before: before.head.totals.rows, after: after.head.totals.rows };
        difference.properties = before.head.properties != after.head.properties;
        difference.compare_contents(&before.contents(|_| true)?, &after.contents(|_| true)?);
        for kind in Kind::ALL {
            // one kind at a time, so that a catalogue of many tables is never in memory whole
            let (old, new) = (before.catalogue(|one| one == kind)?, after.catalogue(|one| one == kind)?);
            let objects = ObjectsDifference::between(old.of(kind), new.of(kind), has_texts);
            if objects != ObjectsDifference::default() {
                difference.objects.insert(kind.key(), objects);
            }
        }
        difference.same = difference.tables.is_empty()
            && difference.objects.is_empty()
            && difference.sequences.is_empty()
            && difference.large_objects.is_none()
            && !difference.properties;
        Ok(difference)
    }

    fn compare_contents(&mut self, before: &Contents, after: &Contents) {
        let names: BTreeSet<&String> = before.tables.keys().chain(after.tables.keys()).collect();
        for name in names {
            let (old, new) = (before.tables.get(name), after.tables.get(name));
            if old.zip(new).is_some_and(|(old, new)| has_same_rows(old, new)) {
                self.unchanged_tables += 1;
                continue;
            }
            let rows = |table: Option<&TableRows>| table.map(|table| table.rows);
            let bytes = |table: Option<&TableRows>| table.map(|table| stored_bytes(&table.members));
            self.tables.push(TableDifference {
                name: name.clone(),
                rows: Pair { before: rows(old), after: rows(new) },
                stored_bytes: Pair { before: bytes(old), after: bytes(new) },
            });
        }
        let moved = |(name, value)| after.sequences.get(name).is_some_and(|now| now != value);
        let moved = before.sequences.iter().filter(|(name, value)| moved((*name, *value)));
        self.sequences = moved.map(|(name, _)| name.clone()).collect();
        let (old, new) = (before.large_objects, after.large_objects);
        self.large_objects = (old != new).then_some(Pair { before: old.count, after: new.count });
    }
}

/// Fingerprints are of the columns in their order; rows whose blocks differ in that have none that can be compared.
fn has_same_rows(one: &TableRows, other: &TableRows) -> bool {
    one.rows == other.rows
        && one.columns == other.columns
        && one.fingerprint == other.fingerprint
        && !one.is_mixed
        && !other.is_mixed
}

impl ObjectsDifference {
    fn between(before: &Objects, after: &Objects, texts: bool) -> Self {
        let missing = |from: &Objects, within: &Objects| -> Vec<String> {
            from.keys().filter(|name| !within.contains_key(*name)).cloned().collect()
        };
        let altered = before.iter().filter_map(|(name, old)| {
            let properties = altered_properties(old, after.get(name)?, texts);
            (!properties.is_empty()).then(|| (name.clone(), properties))
        });
        Self { gained: missing(after, before), lost: missing(before, after), altered: altered.collect() }
    }
}

/// Text that a server made of its own trees differs from one major to the next, and is left out without `texts`.
fn altered_properties(before: &Map<String, Value>, after: &Map<String, Value>, texts: bool) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let counts = |name: &&String| texts || !DEPARSED.contains(&name.as_str());
    names.into_iter().filter(counts).filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}
