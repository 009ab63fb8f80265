//! The title of a message: what happened, to what, from which source, and what of it is not safe.

use super::{cut, has_exceptions};
use crate::report::{Activity, Entry, Outcome, Report};
use crate::storage::Side;
use crate::text;

/// Names that a title has room for, and characters of each.
const NAMED: usize = 3;
const NAME: usize = 40;

/// What happened, in a few words.
pub(in crate::notify) fn title(report: &Report) -> String {
    let unproved = report.entries.iter().any(Entry::is_unproved);
    let word = match (report.outcome, report.activity) {
        (Outcome::Success, Activity::Backup) if report.failing_since.is_some() && !report.alarms.is_empty() => {
            "Backup recovered, but needs attention"
        }
        (Outcome::Success, Activity::Backup) if report.failing_since.is_some() && has_exceptions(report) => {
            "Backup recovered, verified with exceptions"
        }
        (Outcome::Success, Activity::Backup) if report.failing_since.is_some() => "Backup recovered",
        (Outcome::Success, Activity::Backup) if !report.alarms.is_empty() => "Backup done, but needs attention",
        (Outcome::Success, Activity::Backup) if has_exceptions(report) => "Backup done, verified with exceptions",
        (Outcome::Success, Activity::Backup) => "Backup done",
        (Outcome::Success, Activity::Verification) if has_exceptions(report) => "Verification passed with exceptions",
        (Outcome::Success, Activity::Verification) => "Verification passed",
        (Outcome::Partial, _) => "Backup partly done",
        (Outcome::Failure, Activity::Backup) if !unproved => "Backup failed",
        (Outcome::Failure, _) => "Verification failed",
    };
    let what = cut(&text::one_line(&report.summary()), 120);
    let source = match cut(&text::one_line(&report.source), 60) {
        source if source.is_empty() => source,
        source => format!(" from {source}"),
    };
    let lost = match report.outcome {
        Outcome::Partial => lost(report),
        Outcome::Failure if unproved && report.only().is_none() => unproved_and_unsaved(report),
        Outcome::Success | Outcome::Failure => Vec::new(),
    };
    let lost = if lost.is_empty() { String::new() } else { format!("; {}", lost.join(", ")) };
    format!("{word}: {what}{source}{lost}")
}

/// Which of several failed their verification, and which were not saved.
fn unproved_and_unsaved(report: &Report) -> Vec<String> {
    let unproved: Vec<&Entry> = report.entries.iter().filter(|entry| entry.is_unproved()).collect();
    let unsaved: Vec<&Entry> = report.entries.iter().filter(|entry| entry.backup.is_none()).collect();
    let said =
        [(unproved, "failed its verification", "failed their verification"), (unsaved, "not saved", "not saved")];
    let said = said.into_iter().filter(|(entries, ..)| !entries.is_empty());
    said.map(|(entries, one, many)| format!("{} {}", names(&entries), if entries.len() == 1 { one } else { many }))
        .collect()
}

/// What of a run that was partly done is not safe, such as `crm and hr not saved` or `no remote copy of shop`.
fn lost(report: &Report) -> Vec<String> {
    let mut lost = Vec::new();
    let (saved, unsaved): (Vec<&Entry>, Vec<&Entry>) = report.entries.iter().partition(|entry| entry.backup.is_some());
    if !unsaved.is_empty() {
        lost.push(format!("{} not saved", names(&unsaved)));
    }
    for side in [Side::Local, Side::Remote] {
        let is_target = report.targets.iter().any(|(target, _)| *target == side);
        let has_copy = |entry: &Entry| entry.places.iter().any(|place| place.side == side && place.stored);
        let was_tried = |entry: &Entry| entry.places.iter().any(|place| place.side == side);
        let lacking: Vec<&Entry> = saved.iter().copied().filter(|entry| !has_copy(entry)).collect();
        let is_lost = is_target && !lacking.is_empty() || lacking.iter().any(|entry| was_tried(entry));
        if is_lost && lacking.len() == saved.len() {
            lost.push(format!("no {} copy", side.as_str()));
        } else if is_lost {
            lost.push(format!("no {} copy of {}", side.as_str(), names(&lacking)));
        }
    }
    if lost.is_empty() {
        let failures = report.entries.iter().flat_map(|entry| &entry.failures).chain(&report.failures);
        lost.extend(failures.take(1).map(|failure| format!("{} failed", failure.stage)));
    }
    lost
}

fn names(entries: &[&Entry]) -> String {
    let name = |entry: &&Entry| cut(&text::one_line(&entry.subject.to_string()), NAME);
    let mut all: Vec<String> = entries.iter().take(NAMED).map(name).collect();
    if entries.len() > NAMED {
        all.push(format!("{} more", entries.len() - NAMED));
    }
    match all.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => all.concat(),
    }
}
