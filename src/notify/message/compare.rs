//! Numbers of this run beside those of the backup before.

use crate::report::{Entry, Previous, Stored};
use crate::text;

/// Bytes that were stored, and how they differ from those of the backup before, such as `1.0 MiB (-50 %, was 2.0 MiB)`.
pub(super) fn size<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let sums = ComparedSums::of(entries, |stored| stored.stored_bytes, |one| one.stored_bytes);
    sums.describe(text::size, |now, before| match percent(now, before) {
        Some(percent) => format!("{percent}, was {}", text::size(before)),
        None => "same size".to_owned(),
    })
}

/// Rows that were stored, and how many there were in the backup before, such as `12 (was 10)`.
pub(super) fn rows<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let sums = ComparedSums::of(entries, |stored| stored.rows, |one| one.rows);
    sums.describe(
        |rows| rows.to_string(),
        |now, before| match now == before {
            true => "same number".to_owned(),
            false => format!("was {before}"),
        },
    )
}

/// ComparedSums over what was stored. A sum is compared with that of the same databases alone.
#[derive(Debug, Default)]
struct ComparedSums {
    /// Of those that have a backup before: now, and then.
    pairs: Option<(u64, u64)>,
    /// Of those that have none.
    new: Option<u64>,
}

impl ComparedSums {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>, now: fn(&Stored) -> u64, before: fn(&Previous) -> u64) -> Self {
        let mut sums = Self::default();
        for entry in entries {
            match (entry.backup.as_ref().map(now), entry.previous.as_ref().map(before)) {
                (Some(now), Some(before)) => {
                    let (sum, sum_before) = sums.pairs.unwrap_or_default();
                    sums.pairs = Some((sum.saturating_add(now), sum_before.saturating_add(before)));
                }
                (Some(now), None) => sums.new = Some(sums.new.unwrap_or_default().saturating_add(now)),
                (None, _) => {}
            }
        }
        sums
    }

    /// The sum of all, and behind it what of it is new and how the rest changed.
    fn describe(&self, show: impl Fn(u64) -> String, change: impl Fn(u64, u64) -> String) -> String {
        let all = self.pairs.map_or(0, |(now, _)| now).saturating_add(self.new.unwrap_or_default());
        let changed = self.pairs.map(|(now, before)| change(now, before));
        match (changed, self.new) {
            (None, _) => show(all),
            (Some(changed), None) => format!("{} ({changed})", show(all)),
            (Some(changed), Some(new)) => format!("{} ({} of it new; the rest: {changed})", show(all), show(new)),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn percent(now: u64, before: u64) -> Option<String> {
    if before == 0 { None } else { text::change(now as f64 / before as f64) }
}
