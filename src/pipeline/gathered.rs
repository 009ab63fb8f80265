//! What is gathered from the passing bytes, whatever their format.

use crate::dump_format::sql_lexer::{Copy, SequenceSet};
use crate::record::facts::{Columns, LargeObjects, Member};
use crate::record::fingerprint::{Fingerprint, RowSum};
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_128;

/// The rows of one table as they stood together in the dump; a table may have several such blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedRows {
    /// Bytes of the dump before the first row.
    pub raw_offset: u64,
    /// The table, as [`crate::dump_format::sql_lexer::qualified`] writes it.
    pub table: Box<str>,
    /// The columns in the order of the rows' fields.
    pub columns: Columns,
    /// Number of rows.
    pub rows: u64,
    pub fingerprint: Fingerprint,
    /// Where they are stored, once that is known.
    pub member: Member,
}

/// Rows and their fingerprint by table, whatever database they are of; in little memory, by a digest of the name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums(HashMap<u128, (u64, Fingerprint)>);

impl Sums {
    /// Adds rows to those of the table.
    pub fn add(&mut self, table: &str, rows: u64, fingerprint: Fingerprint) {
        let sum = self.0.entry(xxh3_128(table.as_bytes())).or_default();
        sum.0 += rows;
        sum.1.add(fingerprint);
    }

    /// How many tables these have beside those of others.
    pub fn beside(&self, other: &Self) -> usize {
        self.0.keys().filter(|table| !other.0.contains_key(*table)).count()
    }

    /// Those of a table.
    pub fn of(&self, table: &str) -> Option<&(u64, Fingerprint)> {
        self.0.get(&xxh3_128(table.as_bytes()))
    }
}

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatheredFacts {
    /// Of rows nothing but [`GatheredFacts::sums`] is noted, and of sequences nothing.
    pub(super) only_sums: bool,
    /// The rows of each table, where nothing else of them is noted.
    pub sums: Sums,
    /// Blocks of rows, in the order of the dump.
    pub rows: Vec<CountedRows>,
    /// Values of sequences, each with the bytes of the dump before the end of its statement.
    pub sequences: Vec<(u64, SequenceSet)>,
    /// Runs of large objects that begin there.
    pub large_objects: Vec<(u64, LargeObjects)>,
    /// Encodings that the dump sets, each with the bytes before it.
    pub encodings: Vec<(u64, String)>,
}

impl GatheredFacts {
    pub(super) fn add_rows(&mut self, rows: CountedRows) {
        match self.only_sums {
            true => self.sums.add(&rows.table, rows.rows, rows.fingerprint),
            false => self.rows.push(rows),
        }
    }

    pub(super) fn add_sequence(&mut self, at: u64, set: Option<SequenceSet>) {
        self.sequences.extend(set.filter(|_| !self.only_sums).map(|set| (at, set)));
    }

    /// Adds a large object to the run that it belongs to.
    pub(super) fn add_large_object(&mut self, at: u64, begins_run: bool, fingerprint: Fingerprint) {
        if begins_run || self.large_objects.is_empty() {
            self.large_objects.push((at, LargeObjects::default()));
        }
        if let Some((_, run)) = self.large_objects.last_mut() {
            run.count += 1;
            run.fingerprint.add(fingerprint);
        }
    }
}

/// Where rows begin and end among the bytes just taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Bytes before it.
    pub at: usize,
    /// Rows begin here, else they end.
    pub begins: bool,
}

/// The table whose rows pass.
pub(super) struct Current {
    raw_offset: u64,
    pub(super) table: Box<str>,
    columns: Columns,
    pub(super) sum: RowSum,
}

impl Current {
    pub(super) fn new(raw_offset: u64, table: Box<str>, columns: Columns) -> Self {
        Self { raw_offset, table, columns, sum: RowSum::default() }
    }

    pub(super) fn finish(self) -> CountedRows {
        let (rows, fingerprint) = self.sum.finish();
        CountedRows {
            raw_offset: self.raw_offset,
            table: self.table,
            columns: self.columns,
            rows,
            fingerprint,
            member: Member::default(),
        }
    }
}

/// Table and columns, in little memory.
pub(super) fn compact(copy: &Copy) -> (Box<str>, Columns) {
    (copy.table.as_str().into(), copy.columns.iter().collect())
}
