//! Pure: what a person should look at, the worst first.

use super::state::State;
use crate::human;
use crate::report::Outcome;
use crate::status::{Kept, Status, Verdict};
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

/// All of them.
pub(super) fn problems(status: &Status, state: &State, now: DateTime<Utc>) -> Vec<Problem> {
    let mut all: Vec<Problem> = too_old(status)
        .into_iter()
        .map(|what| urgent(what, Some("see the latest run for the reason, or start one: backup run")))
        .collect();
    add_last_run(&mut all, state);
    add_storage(&mut all, status, state, now);
    status.databases.iter().for_each(|kept| add_database(&mut all, kept));
    all.sort_by_key(|problem| !problem.urgent);
    all
}

/// The databases that have no good backup that is young enough, one line each.
pub(super) fn too_old(status: &Status) -> Vec<String> {
    let most = human::duration(TimeDelta::seconds(status.max_age_seconds));
    let line = |kept: &Kept| {
        let name = name(kept);
        match (kept.verdict, &kept.newest) {
            (Verdict::TooOld, Some(newest)) => {
                let age = human::age(TimeDelta::seconds(newest.age_seconds));
                Some(format!("{name}: the newest good backup is {age} old, at most {most} is right"))
            }
            (Verdict::TooOld | Verdict::Missing, _) => Some(format!("{name}: there is no good backup")),
            (Verdict::Ok | Verdict::NotSelected, _) => None,
        }
    };
    status.databases.iter().filter_map(line).collect()
}

fn name(kept: &Kept) -> String {
    human::one_line(&kept.subject.to_string()).into_owned()
}

fn add_last_run(all: &mut Vec<Problem>, state: &State) {
    let Some(report) = state.last_run.as_ref().filter(|report| report.outcome != Outcome::Success) else {
        if state.last_run.is_none() && state.failing_since.is_some() {
            let what = "the latest run was lost to a bug in backup".to_owned();
            all.push(urgent(what, Some("the log has the details; please report them")));
        }
        return;
    };
    let of_entries = report.entries.iter().flat_map(|entry| {
        entry.failures.iter().map(|failure| (format!("{}: ", human::one_line(&entry.subject.to_string())), failure))
    });
    let of_run = report.failures.iter().map(|failure| (String::new(), failure));
    for (subject, failure) in of_run.chain(of_entries) {
        let stderr = failure.stderr.as_deref().and_then(|text| text.lines().last());
        let stderr = stderr.map(|line| format!(" ({})", human::one_line(line))).unwrap_or_default();
        let what =
            format!("the latest run failed in {}: {subject}{}{stderr}", failure.stage, human::one_line(&failure.cause));
        all.push(urgent(what, failure.hint.as_deref()));
    }
}

fn add_storage(all: &mut Vec<Problem>, status: &Status, state: &State, now: DateTime<Utc>) {
    let unread = state.overview.iter().flat_map(|overview| &overview.unread);
    for (_, place, error) in unread {
        let place = human::one_line(place);
        let what = format!("{place} cannot be read, and what is shown of it is what was known before: {error}");
        all.push(urgent(what, Some("backup check looks into it")));
    }
    if let Some(looked) = state.looked.filter(|looked| now - *looked > TimeDelta::minutes(30)) {
        let ago = human::duration(now - looked);
        all.push(urgent(
            format!("the storage was last looked at {ago} ago"),
            Some("it may not answer; backup check looks into it"),
        ));
    }
    for error in &state.not_uploaded {
        let what = format!("uploading what is not yet remote: {}", human::one_line(error));
        all.push(worth_a_look(what, Some("it is tried again after SCHEDULER_SYNC_INTERVAL_SECONDS")));
    }
    if let Some(volume) = status.volume.as_ref().filter(|volume| volume.nearly_full) {
        let what = format!(
            "the folder's volume is {:.0} % full, {} are free",
            volume.share_used * 100.0,
            human::size(volume.free_bytes)
        );
        all.push(worth_a_look(what, Some("free some space, or keep fewer backups")));
    }
}

fn add_database(all: &mut Vec<Problem>, kept: &Kept) {
    let name = name(kept);
    if let Some(last) = kept.last_verification.as_ref().filter(|last| !last.passed) {
        let id = human::one_line(&last.id);
        all.push(urgent(format!("{name}: {id} failed its verification"), Some("its .verify file says what differs")));
    }
    if kept.verdict == Verdict::NotSelected {
        return;
    }
    if let Some(trend) = kept.trend.as_ref().filter(|trend| trend.conspicuous) {
        let percent = (trend.ratio - 1.0) * 100.0;
        let what = format!("{name}: the newest backup is {percent:+.0} % the size of the one before it");
        all.push(worth_a_look(what, Some("was that meant?")));
    }
    if !kept.pending_uploads.is_empty() {
        let count = human::count(kept.pending_uploads.len(), "backup");
        all.push(worth_a_look(format!("{name}: {count} not yet remote"), Some("backup upload sends them now")));
    }
}
