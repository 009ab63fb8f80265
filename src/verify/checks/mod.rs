//! Pure: a restored database held against the facts of its backup, to zero tolerance.

mod code;
mod comparable;
mod difference;
mod enums;
mod excused;
mod foreign_keys;
mod health;
mod indexes;
mod matching;
mod migrations;
mod orphans;
mod properties;
mod queries;
mod rows;
mod sequences;
mod tables;

pub use excused::Excused;
pub use matching::{Matched, Matching};

use super::report::{Check, DatabaseResult, Verdict};
use crate::record::facts::{Contents, DatabaseHead, DatabaseProperties, Migration, ReadBack};
use crate::text;
use std::collections::BTreeMap;

/// Every check of a restored database, in the order of their numbers. A new one is a file with its `CheckKind`, its `mod`
/// line and its line here; what it has to know beside the rest is a field of `Found`.
pub const ALL: &[CheckKind] = &[
    migrations::VERSION,
    migrations::DIRTY,
    tables::CHECK,
    enums::CHECK,
    indexes::CHECK,
    foreign_keys::CHECK,
    rows::COUNTS,
    health::CHECK,
    orphans::CHECK,
    sequences::CHECK,
    code::CHECK,
    rows::FINGERPRINTS,
    queries::CHECK,
    properties::CHECK,
];

/// One check.
pub struct CheckKind {
    pub number: u8,
    /// What is checked.
    pub title: &'static str,
    /// It is about the catalogue, which may have changed before the dump began where the server could not export a
    /// snapshot: then what differs is a warning. Rows and values come from the dump itself and are not excused.
    pub of_catalogue: bool,
    judge: fn(&Compared<'_>) -> Judgement,
}

/// What is compared.
#[derive(Clone, Copy)]
pub struct Compared<'a> {
    pub expected: &'a Expected,
    pub found: &'a Found,
    pub terms: Terms,
}

/// What a check came to.
pub struct Judgement {
    verdict: Verdict,
    expected: String,
    found: String,
    /// Differences and reasons.
    details: Vec<String>,
}

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

/// All checks.
pub fn compare(expected: &Expected, found: &Found, terms: Terms) -> DatabaseResult {
    let texts = terms.texts && expected.head.has_texts && found.has_texts;
    let compared = Compared { expected, found, terms: Terms { texts, ..terms } };
    DatabaseResult {
        database: expected.head.name.clone(),
        restore_seconds: Some(found.restore_seconds),
        seconds: None,
        tables: found.contents.tables,
        rows: found.contents.rows,
        exceptions: Vec::new(),
        checks: ALL.iter().map(|kind| kind.check(&compared)).collect(),
    }
}

/// Every check without sense because there is nothing to compare.
pub fn not_restored(database: &str, reason: &str) -> DatabaseResult {
    let checks = ALL.iter().map(|kind| kind.record(Judgement::not_applicable(reason))).collect();
    DatabaseResult {
        database: database.to_owned(),
        restore_seconds: None,
        seconds: None,
        tables: 0,
        rows: 0,
        exceptions: Vec::new(),
        checks,
    }
}

impl CheckKind {
    fn check(&self, compared: &Compared<'_>) -> Check {
        let mut judgement = (self.judge)(compared);
        if judgement.verdict == Verdict::Failed && self.of_catalogue && !compared.expected.head.snapshot.exported {
            judgement.verdict = Verdict::Warning;
            let why = "the source could not export a snapshot, and may have changed before the dump";
            judgement.details.insert(0, why.to_owned());
        }
        self.record(judgement)
    }

    fn record(&self, judgement: Judgement) -> Check {
        let Judgement { verdict, expected, found, details } = judgement;
        Check::new(self.number, self.title, verdict, expected, found, details)
    }
}

impl Judgement {
    fn new(verdict: Verdict, expected: String, found: String, details: Vec<String>) -> Self {
        Self { verdict, expected, found, details }
    }

    /// There is nothing to check.
    fn not_applicable(reason: &str) -> Self {
        Self::new(Verdict::NotApplicable, String::new(), String::new(), vec![reason.to_owned()])
    }

    /// Of things that can be counted.
    fn counted(what: &str, counts: (usize, usize), mut differences: Vec<String>, warnings: Vec<String>) -> Self {
        let verdict = verdict_of(&differences, &warnings);
        differences.extend(warnings);
        Self::new(verdict, text::count(counts.0, what), text::count(counts.1, what), differences)
    }
}

fn verdict_of(differences: &[String], warnings: &[String]) -> Verdict {
    match (differences.is_empty(), warnings.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, false) => Verdict::Warning,
        (true, true) => Verdict::Ok,
    }
}

#[cfg(test)]
mod tests;
