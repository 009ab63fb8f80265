//! The clock of a store, by its answers.

use crate::text;
use chrono::{DateTime, TimeDelta, Utc};

/// Clocks that are no further apart than this are no reason for a refusal.
pub(super) const CLOCKS_AGREE: TimeDelta = TimeDelta::minutes(5);
/// What to do where they are.
pub(super) const CLOCK: &str = "correct this machine's clock";

/// How far apart our clock is from the one that wrote a `Date` header; nothing where there is none.
pub(super) fn clock_skew(date: Option<&str>) -> TimeDelta {
    let theirs = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    theirs.map_or(TimeDelta::zero(), |theirs| (Utc::now() - theirs.to_utc()).abs())
}

pub(super) fn with_skew(cause: &str, skew: TimeDelta) -> String {
    format!("{cause}; its clock and this machine's are {} apart", text::apart(skew))
}
