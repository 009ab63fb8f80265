//! What the passing bytes say of their content: rows and their fingerprint for each table, and values of sequences.

use super::custom_facts::CustomFacts;
use super::gathered::{GatheredFacts, Mark};
use super::sql_facts::SqlFacts;
use crate::record::facts::Subject;

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
