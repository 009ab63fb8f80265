//! The objects of two databases, matched as they come: what is alike on both sides is counted and not kept.

use super::comparable::comparable;
use crate::facts::{Catalogue, Contents, Kind, Objects};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_128;

/// Objects of one kind that are kept on each side because the other has none like them: those first by name.
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
    /// How many more of [`Matched::lacking`] there are than are kept, by kind.
    pub more_lacking: Counts,
    /// How many more of [`Matched::surplus`] there are than are kept, by kind.
    pub more_surplus: Counts,
    /// Indexes that were invalid at the source; they are compared with nothing, because pg_dump leaves most of them out.
    pub invalid: BTreeSet<String>,
    /// Foreign keys that were not validated at the source.
    pub unvalidated: Vec<String>,
    /// Tables without rows in the dump, neither by themselves nor through the table they are a partition of, and whether
    /// they are logged.
    pub excluded: Vec<(String, bool)>,
}

/// Takes every expected object, then every object that is there, then every expected one once more.
pub struct Matching {
    /// Text that servers make of their own trees is compared.
    texts: bool,
    /// Digests of the expected objects that were not met.
    unmet: HashSet<u128>,
    lacking: Side,
    surplus: Side,
    invalid: BTreeSet<String>,
    unvalidated: Vec<String>,
    /// Tables without rows of their own, whether they are logged, and what they are partitions of.
    without_rows: Vec<(String, bool, Vec<String>)>,
    /// What partitioned tables are partitions of.
    parents: HashMap<String, Vec<String>>,
}

#[derive(Default)]
struct Side {
    all: Counts,
    unlike: Counts,
    kept: Catalogue,
}

impl Side {
    fn keep(&mut self, kind: Kind, name: String, properties: Map<String, Value>) {
        self.unlike[kind as usize] += 1;
        let kept = self.kept.of_mut(kind);
        kept.insert(name, properties);
        if kept.len() > KEPT {
            kept.pop_last();
        }
    }

    /// The last name up to which all are kept; none where that is so to the end.
    fn horizon(&self, kind: Kind) -> Option<&String> {
        let kept = self.kept.of(kind);
        (self.unlike[kind as usize] > kept.len()).then(|| kept.last_key_value().map(|(name, _)| name)).flatten()
    }
}

impl Matching {
    /// For objects whose texts can be compared, or cannot.
    pub fn new(texts: bool) -> Self {
        Self {
            texts,
            unmet: HashSet::new(),
            lacking: Side::default(),
            surplus: Side::default(),
            invalid: BTreeSet::new(),
            unvalidated: Vec::new(),
            without_rows: Vec::new(),
            parents: HashMap::new(),
        }
    }

    /// Takes an expected object; `contents` are those that are expected.
    pub fn expect(&mut self, kind: Kind, name: String, properties: &Map<String, Value>, contents: &Contents) {
        self.lacking.all[kind as usize] += 1;
        let is_true = |property: &str| properties.get(property) == Some(&Value::Bool(true));
        match kind {
            Kind::Index if !is_true("valid") => {
                self.invalid.insert(name);
                return;
            }
            Kind::ForeignKey if !is_true("validated") => self.unvalidated.push(name.clone()),
            Kind::Table => self.note_table(&name, properties, contents),
            _ => {}
        }
        self.unmet.insert(self.digest(kind, &name, properties));
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
        self.surplus.all[kind as usize] += 1;
        let is_skipped = kind == Kind::Index && self.invalid.contains(&name);
        if !is_skipped && !self.unmet.remove(&self.digest(kind, &name, &properties)) {
            self.surplus.keep(kind, name, properties);
        }
    }

    /// True when every expected object was met.
    pub fn is_complete(&self) -> bool {
        self.unmet.is_empty()
    }

    /// Takes an expected object again, now that everything that is there was met.
    pub fn recall(&mut self, kind: Kind, name: String, properties: Map<String, Value>) {
        if !self.invalid.contains(&name) && self.unmet.remove(&self.digest(kind, &name, &properties)) {
            self.lacking.keep(kind, name, properties);
        }
    }

    fn digest(&self, kind: Kind, name: &str, properties: &Map<String, Value>) -> u128 {
        let text = Value::Object(comparable(properties, self.texts)).to_string();
        xxh3_128(format!("{}\0{name}\0{text}", kind.key()).as_bytes())
    }

    /// What it came to.
    pub fn finish(mut self, contents: &Contents) -> Matched {
        let mut matched = Matched {
            wanted: self.lacking.all,
            there: self.surplus.all,
            invalid: std::mem::take(&mut self.invalid),
            unvalidated: std::mem::take(&mut self.unvalidated),
            ..Matched::default()
        };
        let without_rows = std::mem::take(&mut self.without_rows);
        let excluded = without_rows.into_iter().filter(|(_, _, parents)| !self.has_rows_above(parents, contents));
        matched.excluded = excluded.map(|(name, is_logged, _)| (name, is_logged)).collect();
        matched.excluded.sort();
        for kind in Kind::ALL {
            // beyond the name that both sides know all before, nobody can tell what is missing from what is different
            let horizons = [self.lacking.horizon(kind), self.surplus.horizon(kind)];
            if let Some(horizon) = horizons.into_iter().flatten().min().cloned() {
                let within = |name: &String, _: &mut Map<String, Value>| *name <= horizon;
                self.lacking.kept.of_mut(kind).retain(within);
                self.surplus.kept.of_mut(kind).retain(within);
            }
            let more = |side: &Side| side.unlike[kind as usize] - side.kept.of(kind).len();
            matched.more_lacking[kind as usize] = more(&self.lacking);
            matched.more_surplus[kind as usize] = more(&self.surplus);
        }
        (matched.lacking, matched.surplus) = (self.lacking.kept, self.surplus.kept);
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
