//! What the passing bytes say of their content: rows and their fingerprint for each table, and values of sequences.

use super::custom_facts::CustomFacts;
use crate::dump_format::sql_lexer::{Copy, LargeObject, Lexer, SequenceSet, Token, client_encoding};
use crate::record::facts::{Columns, LargeObjects, Subject};
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
    only_sums: bool,
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

/// What the dump is, and with it how it is read.
#[derive(Default)]
pub enum CopyFacts {
    /// Nothing is wanted.
    #[default]
    None,
    Sql(Box<SqlFacts>),
    /// pg_dump's custom archive.
    Custom(Box<CustomFacts>),
}

impl CopyFacts {
    /// For a dump of that content, as a custom archive or as SQL. Globals have neither rows nor sequences.
    pub fn of(subject: &Subject, is_custom: bool) -> Self {
        match (subject, is_custom) {
            (_, true) => Self::of_custom(),
            (Subject::Globals, false) => Self::None,
            (_, false) => Self::of_sql(),
        }
    }

    /// The same for somebody who wants nothing but sums.
    pub fn sums_of(subject: &Subject, is_custom: bool) -> Self {
        let mut facts = Self::of(subject, is_custom);
        match &mut facts {
            Self::None => {}
            Self::Sql(facts) => facts.found.only_sums = true,
            Self::Custom(facts) => facts.found.only_sums = true,
        }
        facts
    }

    pub fn of_sql() -> Self {
        Self::Sql(Box::default())
    }

    /// For a custom archive.
    pub fn of_custom() -> Self {
        Self::Custom(Box::default())
    }

    /// Takes the next bytes; rows begin and end where the marks say.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Mark> {
        match self {
            Self::None => Vec::new(),
            Self::Sql(facts) => facts.take(bytes),
            Self::Custom(facts) => facts.take(bytes),
        }
    }

    /// The table whose rows pass, or passed last.
    pub fn table(&self) -> Option<&str> {
        let (current, found) = match self {
            Self::None => return None,
            Self::Sql(facts) => (facts.current.as_ref(), &facts.found),
            Self::Custom(facts) => (facts.rows(), &facts.found),
        };
        let last = || found.rows.last().map(|rows| &*rows.table);
        current.map(|current| &*current.table).or_else(last)
    }

    /// What was found, or why the bytes cannot be read.
    pub fn finish(self) -> Result<GatheredFacts, &'static str> {
        match self {
            Self::None => Ok(GatheredFacts::default()),
            Self::Sql(facts) => Ok(facts.found),
            Self::Custom(facts) => facts.error.map_or(Ok(facts.found), Err),
        }
    }
}

/// Reads SQL.
#[derive(Default)]
pub struct SqlFacts {
    offset: u64,
    lexer: Lexer,
    current: Option<Current>,
    large_object: RowSum,
    had_command: bool,
    found: GatheredFacts,
}

/// The table whose rows pass.
pub(super) struct Current {
    raw_offset: u64,
    table: Box<str>,
    columns: Columns,
    pub(super) sum: RowSum,
}

impl Current {
    pub(super) fn new(raw_offset: u64, table: Box<str>, columns: Columns) -> Self {
        Self { raw_offset, table, columns, sum: RowSum::default() }
    }

    pub(super) fn finish(self) -> CountedRows {
        let (rows, fingerprint) = self.sum.finish();
        CountedRows { raw_offset: self.raw_offset, table: self.table, columns: self.columns, rows, fingerprint }
    }
}

/// Table and columns, in little memory.
pub(super) fn compact(copy: &Copy) -> (Box<str>, Columns) {
    (copy.table.as_str().into(), copy.columns.iter().collect())
}

impl SqlFacts {
    fn take(&mut self, bytes: &[u8]) -> Vec<Mark> {
        let mut marks = Vec::new();
        let mut input = bytes;
        while let Some(token) = self.lexer.next(&mut input) {
            let at = bytes.len() - input.len();
            match token {
                Token::Row { bytes, ends } => {
                    if let Some(current) = &mut self.current {
                        current.sum.take(bytes, ends);
                    }
                }
                Token::CopyBegin => {
                    let copy = self.lexer.copy().map(compact);
                    self.current = copy.map(|(table, columns)| Current::new(self.offset + at as u64, table, columns));
                    marks.push(Mark { at, begins: true });
                }
                Token::CopyEnd(_) => {
                    if let Some(mut current) = self.current.take() {
                        current.sum.forget_part();
                        self.found.add_rows(current.finish());
                    }
                    marks.push(Mark { at, begins: false });
                }
                Token::StatementEnd => {
                    let (statement, at) = (self.lexer.statement(), self.offset + at as u64);
                    self.found.add_sequence(at, SequenceSet::parse(statement, self.lexer.charset()));
                    match LargeObject::parse(statement) {
                        Some(LargeObject::Open(number)) => self.large_object = RowSum::of_large_object(number),
                        Some(LargeObject::Write(bytes)) => self.large_object.take(&bytes, false),
                        Some(LargeObject::Close) => {
                            let fingerprint = std::mem::take(&mut self.large_object).finish_large_object();
                            // another database of the server may have begun
                            self.found.add_large_object(at, std::mem::take(&mut self.had_command), fingerprint);
                        }
                        None => {}
                    }
                    self.found.encodings.extend(client_encoding(statement).map(|name| (at, name)));
                }
                Token::CommandEnd => self.had_command = true,
                Token::Sql(_) | Token::Command(_) => {}
            }
        }
        self.offset += bytes.len() as u64;
        marks
    }
}
