//! The objects of two databases, matched as they come: what is alike on both sides is counted and not kept.

use super::comparable::comparable;
use super::excused::Excused;
use crate::record::facts::{Catalogue, Contents, Kind, Objects};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_128;

/// Objects of one kind that are kept because the other side has none like them: those first by name.
const KEPT: usize = 1000;

/// One number for each kind of objects.
type Counts = [usize; Kind::ALL.len()];

/// What two sides came to.
#[derive(Debug, Clone, Default)]
pub struct Matched {
    /// Objects of each kind that were expected.
    pub wanted: Counts,
    /// Objects of each kind that are there.
    pub there: Counts,
    /// Expected objects that are not there, or not so.
    pub lacking: Catalogue,
    /// Objects that are there and were not expected, or not so.
    pub surplus: Catalogue,
    /// How many more are missing than [`Matched::lacking`] names, by kind.
    pub more_missing: Counts,
    /// How many more are missing, different or there in vain than the two name, by kind.
    pub more_unlike: Counts,
    /// Indexes that were invalid at the source; they are compared with nothing, because pg_dump leaves most of them out.
    pub invalid: BTreeSet<String>,
    /// Foreign keys that were not validated at the source.
    pub unvalidated: Vec<String>,
    /// Tables without rows in the dump, neither by themselves nor through the table they are a partition of, and whether
    /// they are logged.
    pub excluded: Vec<(String, bool)>,
}

/// Takes every expected object, then every object that is there, then every expected one once more.
#[derive(Default)]
pub struct Matching {
    /// Text that servers make of their own trees is compared.
    texts: bool,
    excused: Excused,
    /// Digests of the expected objects that were not met.
    unmet: HashSet<u128>,
    /// Digests of those that were met, of names that are not UTF-8: several objects may have one name here.
    met: HashSet<u128>,
    /// Expected objects that are there otherwise; those that are not there come to them in the end.
    differing: Catalogue,
    missing: Catalogue,
    /// Expected objects behind the last name that is kept of those that are there: missing or different.
    unsure: Counts,
    /// Objects that are there beyond those that are kept.
    more_surplus: Counts,
    /// Tables without rows of their own, whether they are logged, and what they are partitions of.
    without_rows: Vec<(String, bool, Vec<String>)>,
    /// What partitioned tables are partitions of.
    parents: HashMap<String, Vec<String>>,
    matched: Matched,
}

/// Keeps an object where it is one of the first by name; the answer is how many are dropped for it.
fn keep(kept: &mut Objects, name: String, properties: Map<String, Value>) -> usize {
    kept.insert(name, properties);
    usize::from(kept.len() > KEPT && kept.pop_last().is_some())
}

impl Matching {
    /// For objects whose texts can be compared, or cannot; those that are excused are not.
    pub fn new(texts: bool, excused: Excused) -> Self {
        Self { texts, excused, ..Self::default() }
    }

    /// Takes an expected object; `contents` are those that are expected.
    pub fn expect(&mut self, kind: Kind, name: String, properties: &Map<String, Value>, contents: &Contents) {
        self.matched.wanted[kind as usize] += 1;
        let is_true = |property: &str| properties.get(property) == Some(&Value::Bool(true));
        match kind {
            Kind::Index if !is_true("valid") => {
                self.matched.invalid.insert(name);
                return;
            }
            Kind::ForeignKey if !is_true("validated") => self.matched.unvalidated.push(name.clone()),
            Kind::Table => self.note_table(&name, properties, contents),
            _ => {}
        }
        if kind == Kind::Function || !self.excused.has(kind, &name) {
            self.unmet.insert(self.digest(kind, &name, properties));
        }
    }

    fn note_table(&mut self, name: &str, properties: &Map<String, Value>, contents: &Contents) {
        let text = |property: &str| properties.get(property).and_then(Value::as_str);
        let is_partition = properties.contains_key("is_partition");
        let parents = || -> Vec<String> {
            let parents = properties.get("parents").filter(|_| is_partition).and_then(Value::as_array);
            parents.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if text("kind") == Some("r") && !contents.tables.contains_key(name) {
            self.without_rows.push((name.to_owned(), text("persistence") != Some("u"), parents()));
        } else if text("kind") == Some("p") && is_partition {
            self.parents.insert(name.to_owned(), parents());
        }
    }

    /// Takes an object that is there.
    pub fn meet(&mut self, kind: Kind, name: String, properties: Map<String, Value>) {
        self.matched.there[kind as usize] += 1;
        let digest = self.digest(kind, &name, &properties);
        let is_alike = self.unmet.remove(&digest) || self.met.contains(&digest);
        if is_alike && name.contains(char::REPLACEMENT_CHARACTER) {
            self.met.insert(digest);
        }
        if !is_alike && !self.is_skipped(kind, &name) {
            self.more_surplus[kind as usize] += keep(self.matched.surplus.of_mut(kind), name, properties);
        }
    }

    fn is_skipped(&self, kind: Kind, name: &str) -> bool {
        kind == Kind::Index && self.matched.invalid.contains(name) || self.excused.has(kind, name)
    }

    /// True when every expected object was met.
    pub fn is_complete(&self) -> bool {
        self.unmet.is_empty()
    }

    /// Takes an expected object again, now that everything that is there was met.
    pub fn recall(&mut self, kind: Kind, name: String, properties: Map<String, Value>) {
        let is_skipped = kind != Kind::Function && self.is_skipped(kind, &name);
        if is_skipped || !self.unmet.remove(&self.digest(kind, &name, &properties)) || self.excused.spend(kind, &name) {
            return;
        }
        let surplus = self.matched.surplus.of(kind);
        let is_beyond = surplus.last_key_value().is_some_and(|(last, _)| name > *last);
        if surplus.contains_key(&name) {
            self.differing.of_mut(kind).insert(name, properties);
        } else if is_beyond && self.more_surplus[kind as usize] > 0 {
            self.unsure[kind as usize] += 1;
        } else {
            self.matched.more_missing[kind as usize] += keep(self.missing.of_mut(kind), name, properties);
        }
    }

    fn digest(&self, kind: Kind, name: &str, properties: &Map<String, Value>) -> u128 {
        let mut properties = comparable(properties, self.texts);
        self.excused.rest(kind, name, &mut properties);
        let text = Value::Object(properties).to_string();
        xxh3_128(format!("{}\0{name}\0{text}", kind.key()).as_bytes())
    }

    /// What it came to.
    pub fn finish(mut self, contents: &Contents) -> Matched {
        let mut matched = std::mem::take(&mut self.matched);
        matched.unvalidated.sort();
        let without_rows = std::mem::take(&mut self.without_rows);
        let excluded = without_rows.into_iter().filter(|(_, _, parents)| !self.has_rows_above(parents, contents));
        matched.excluded = excluded.map(|(name, is_logged, _)| (name, is_logged)).collect();
        matched.excluded.sort();
        for kind in Kind::ALL {
            let lacking = matched.lacking.of_mut(kind);
            lacking.append(self.differing.of_mut(kind));
            lacking.append(self.missing.of_mut(kind));
            matched.more_unlike[kind as usize] = self.unsure[kind as usize].max(self.more_surplus[kind as usize]);
        }
        // what was neither met nor recalled is there in no way
        matched.more_missing[Kind::Table as usize] += self.unmet.len();
        matched
    }

    /// True when the dump has rows of one of these tables, or of what they are partitions of.
    fn has_rows_above(&self, parents: &[String], contents: &Contents) -> bool {
        parents.iter().any(|parent| {
            contents.tables.contains_key(parent)
                || self.parents.get(parent).is_some_and(|parents| self.has_rows_above(parents, contents))
        })
    }
}

impl Matched {
    /// How many were expected and how many are there.
    pub(super) fn counts(&self, kind: Kind) -> (usize, usize) {
        (self.wanted[kind as usize], self.there[kind as usize])
    }

    /// True when neither side has an object of that kind.
    pub(super) fn has_none(&self, kind: Kind) -> bool {
        self.counts(kind) == (0, 0)
    }

    /// What each side has that the other has not.
    pub(super) fn unlike(&self, kind: Kind) -> (&Objects, &Objects) {
        (self.lacking.of(kind), self.surplus.of(kind))
    }
}
