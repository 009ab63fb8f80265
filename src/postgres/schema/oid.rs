//! Numbers of objects, as catalogues refer to them.
//!
//! Objects below number 16384 are the server's own.

use serde::Deserialize;
use std::fmt;

/// The number of an object, which is text in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Oid(u32);

impl TryFrom<String> for Oid {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl Oid {
    /// The last number that is the server's own.
    pub(super) const OF_SYSTEM: Self = Self(16383);
}

impl fmt::Display for Oid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Relations by number, from behind the first up to and with the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) after: Oid,
    pub(super) last: Oid,
}

impl Range {
    /// The condition that a column of this name is in the range.
    pub(super) fn of(self, column: &str) -> String {
        format!("{column} > {} AND {column} <= {}", self.after, self.last)
    }
}

/// Numbers as a query lists them.
pub(super) fn list(numbers: &[Oid]) -> String {
    numbers.iter().map(Oid::to_string).collect::<Vec<_>>().join(", ")
}
