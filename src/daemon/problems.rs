//! Pure: what a person should look at, the worst first.

use super::state::State;
use crate::inventory::status::{Kept, Status, StatusVerdict};
use crate::report::Outcome;
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) urgent: bool,
    /// What happened and why.
    pub(super) what: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

fn urgent(what: String, hint: Option<&str>) -> Problem {
    Problem { urgent: true, what, hint: hint.map(str::to_owned) }
}

fn worth_a_look(what: String, hint: Option<&str>) -> Problem {
    Problem { urgent: false, what, hint: hint.map(str::to_owned) }
}

/// All of them; without a status nothing could be read yet.
pub(super) fn problems(status: Option<&Status>, state: &State, now: DateTime<Utc>) -> Vec<Problem> {
    let mut all = Vec::new();
    for what in status.map(too_old).unwrap_or_default() {
        all.push(urgent(what, Some("see the latest run for the reason, or start one: backup run")));
    }
    for what in status.map(alarms).unwrap_or_default() {
        all.push(urgent(what, None));
    }
    add_last_run(&mut all, state);
    for what in unread(state) {
        all.push(urgent(what, Some("backup check looks into it")));
    }
    add_storage(&mut all, status, state, now);
    status.into_iter().flat_map(|status| &status.databases).for_each(|kept| add_database(&mut all, kept));
    all.sort_by_key(|problem| !problem.urgent);
    all
}

/// What could not be read when the storage was last looked at, one line each.
pub(super) fn unread(state: &State) -> Vec<String> {
    let Some(overview) = &state.overview else { return Vec::new() };
    let mut lines = Vec::new();
    for (side, place, error) in &overview.unread {
        let known = if overview.read.contains(side) {
            "what is shown of it is what was known before"
        } else {
            "nothing is known of what is there"
        };
        lines.push(format!("{} cannot be read, and {known}: {error}", text::one_line(place)));
    }
    lines
}

/// How old something is, in a sentence that also holds for what a wrong clock has made.
pub(super) fn age(age: TimeDelta) -> String {
    if age < TimeDelta::seconds(-60) {
        format!("from the future, {} ahead", text::duration(-age))
    } else {
        format!("{} old", text::duration(age))
    }
}

/// The databases that have no good backup that is young enough, one line each.
pub(super) fn too_old(status: &Status) -> Vec<String> {
    let most = text::duration(TimeDelta::seconds(status.max_age_seconds));
    let line = |kept: &Kept| {
        let name = name(kept);
        match (kept.verdict, &kept.newest) {
            (StatusVerdict::TooOld, Some(newest)) => {
                let age = age(TimeDelta::seconds(newest.age_seconds));
                Some(format!("{name}: the newest good backup is {age}; at most {most} is right"))
            }
            (StatusVerdict::TooOld | StatusVerdict::Missing, _) => Some(format!("{name}: there is no good backup")),
            (StatusVerdict::Ok | StatusVerdict::Shrunk | StatusVerdict::NotSelected, _) => None,
        }
    };
    status.databases.iter().filter_map(line).collect()
}

/// The databases that lost most of their rows, and what else a person should look at.
pub(super) fn alarms(status: &Status) -> Vec<String> {
    status.databases.iter().filter_map(Kept::alarm).chain(status.warnings.iter().cloned()).collect()
}

fn name(kept: &Kept) -> String {
    text::one_line(&kept.subject.to_string()).into_owned()
}

fn add_last_run(all: &mut Vec<Problem>, state: &State) {
    if state.is_lost {
        let what = "the latest run was lost to a bug in backup".to_owned();
        all.push(urgent(what, Some("stderr has the details; please report them")));
    }
    let Some(report) = state.last_run.as_ref().filter(|report| report.outcome != Outcome::Success) else { return };
    let of_entries = report.entries.iter().flat_map(|entry| {
        entry.failures.iter().map(|failure| (format!("{}: ", text::one_line(&entry.subject.to_string())), failure))
    });
    let of_run = report.failures.iter().map(|failure| (String::new(), failure));
    for (subject, failure) in of_run.chain(of_entries) {
        let stderr = failure.stderr.as_deref().and_then(|text| text.lines().last());
        let stderr = stderr.map(|line| format!(" ({})", text::one_line(line))).unwrap_or_default();
        let what =
            format!("the latest run failed in {}: {subject}{}{stderr}", failure.stage, text::one_line(&failure.cause));
        all.push(urgent(what, failure.hint.as_deref()));
    }
}

fn add_storage(all: &mut Vec<Problem>, status: Option<&Status>, state: &State, now: DateTime<Utc>) {
    if let Some(looked) = state.looked.filter(|looked| now - *looked > TimeDelta::minutes(30)) {
        let ago = text::duration(now - looked);
        all.push(urgent(
            format!("the storage was last looked at {ago} ago"),
            Some("it may not answer; backup check looks into it"),
        ));
    }
    for error in &state.not_uploaded {
        let what = format!("uploading what is not yet remote: {}", text::one_line(error));
        all.push(worth_a_look(what, Some("it is tried again after SCHEDULER_SYNC_INTERVAL_SECONDS")));
    }
    if let Some(volume) = status.and_then(|status| status.volume.as_ref()).filter(|volume| volume.nearly_full) {
        let what = format!(
            "the folder's volume is {:.0} % full, {} are free",
            volume.share_used * 100.0,
            text::size(volume.free_bytes)
        );
        all.push(worth_a_look(what, Some("free some space, or keep fewer backups")));
    }
}

fn add_database(all: &mut Vec<Problem>, kept: &Kept) {
    if kept.verdict == StatusVerdict::NotSelected {
        return;
    }
    let name = name(kept);
    if let Some(last) = kept.last_verification.as_ref().filter(|last| !last.passed) {
        let id = text::one_line(&last.id);
        all.push(urgent(format!("{name}: {id} failed its verification"), Some("its .verify file says what differs")));
    }
    if let Some(trend) = kept.trend.as_ref().filter(|trend| trend.conspicuous) {
        let percent = (trend.ratio - 1.0) * 100.0;
        let word = if percent < 0.0 { "smaller" } else { "larger" };
        let what = format!("{name}: the newest backup is {:.0} % {word} than the one before it", percent.abs());
        all.push(worth_a_look(what, Some("was that meant?")));
    }
    if !kept.pending_uploads.is_empty() {
        let count = text::count(kept.pending_uploads.len(), "backup");
        all.push(worth_a_look(format!("{name}: {count} not yet remote"), Some("backup upload sends them now")));
    }
}
