//! What a person runs next after a run that was not all well.

use crate::report::{Activity, Entry, Outcome, Report};
use crate::storage::Side;
use crate::text;

/// The command; none after a run that did everything.
pub(in crate::notify) fn next_command(report: &Report) -> Option<String> {
    if report.outcome == Outcome::Success {
        return None;
    }
    let unproved = report.entries.iter().find(|entry| entry.is_unproved()).and_then(|entry| entry.backup.as_ref());
    if report.activity == Activity::Verification && unproved.is_some() {
        // what failed is known, and a good backup is what is lacking
        return Some("backup run".to_owned());
    }
    if let Some(backup) = unproved {
        return Some(format!("backup verify {}", text::shell_word(&backup.id)));
    }
    let has = |entry: &Entry, side: Side| entry.places.iter().any(|place| place.side == side && place.stored);
    let is_pending = |entry: &Entry| has(entry, Side::Local) && !has(entry, Side::Remote);
    let wants_remote = |entry: &Entry| entry.places.iter().any(|place| place.side == Side::Remote);
    if report.entries.iter().all(|entry| entry.backup.is_some())
        && report.entries.iter().any(|entry| is_pending(entry) && wants_remote(entry))
    {
        return Some("backup upload".to_owned());
    }
    let is_locked = report.failures.iter().any(|failure| failure.stage == "lock");
    Some(if is_locked { "backup status" } else { "backup check" }.to_owned())
}
