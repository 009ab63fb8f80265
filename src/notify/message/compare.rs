//! Numbers of this run beside those of the backup before.

use crate::report::{Entry, Previous, Stored};
use crate::text;

/// Bytes that were stored, and how they differ from those of the backup before, such as `1.0 MiB (-50 %, was 2.0 MiB)`.
pub(super) fn size<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> String {
    let now = sum(entries.clone(), |stored| stored.stored_bytes);
    let said = |(now, before): (u64, u64)| match percent(now, before) {
        Some(percent) => format!(" ({percent}, was {})", text::size(before)),
        None => " (same size)".to_owned(),
    };
    format!(
        "{}{}",
        text::size(now),
        pair(entries, |stored| stored.stored_bytes, |one| one.stored_bytes).map(said).unwrap_or_default()
    )
}

/// Rows that were stored, and how many there were in the backup before, such as `12 (was 10)`.
pub(super) fn rows<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> String {
    let now = sum(entries.clone(), |stored| stored.rows);
    let said = |(now, before): (u64, u64)| match now == before {
        true => " (same number)".to_owned(),
        false => format!(" (was {before})"),
    };
    format!("{now}{}", pair(entries, |stored| stored.rows, |one| one.rows).map(said).unwrap_or_default())
}

fn sum<'a>(entries: impl Iterator<Item = &'a Entry>, of: fn(&Stored) -> u64) -> u64 {
    entries.filter_map(|entry| entry.backup.as_ref()).map(of).fold(0, u64::saturating_add)
}

/// Sums over those that have a backup before; none where none has.
fn pair<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    now: fn(&Stored) -> u64,
    before: fn(&Previous) -> u64,
) -> Option<(u64, u64)> {
    let pairs = entries.filter_map(|entry| Some((now(entry.backup.as_ref()?), before(entry.previous.as_ref()?))));
    pairs.reduce(|(a, b), (c, d)| (a.saturating_add(c), b.saturating_add(d)))
}

#[allow(clippy::cast_precision_loss)]
fn percent(now: u64, before: u64) -> Option<String> {
    if before == 0 { None } else { text::change(now as f64 / before as f64) }
}
