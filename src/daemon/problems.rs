//! Pure: what a person should look at, the most urgent first.

use super::state::State;
use crate::inventory::shrink::RELEASE;
use crate::inventory::status::{Kept, Status, StatusVerdict};
use crate::job::RememberedFailure;
use crate::report::{Failure, Outcome};
use crate::repository::NotedCause;
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

/// Problems of one kind that are shown each for itself; the rest of many is counted.
const SHOWN: usize = 6;
/// A volume that will be full within so many days is worth a look today.
const SOON: u32 = 14;

fn urgent(what: String, hint: Option<&str>) -> Problem {
    Problem { urgent: true, what, hint: hint.map(str::to_owned) }
}

fn worth_a_look(what: String, hint: Option<&str>) -> Problem {
    Problem { urgent: false, what, hint: hint.map(str::to_owned) }
}

/// All of them; without a status nothing could be read yet.
pub(super) fn problems(status: Option<&Status>, state: &State, now: DateTime<Utc>) -> Vec<Problem> {
    let mut all = Vec::new();
    if state.is_lost {
        let what = "the last run was lost to a bug in backup".to_owned();
        all.push(urgent(what, Some("please report the details, which are on stderr")));
    }
    add(&mut all, "failures in that run", last_run(state, now));
    let line = |what| urgent(what, Some("run `backup check` to find out why"));
    all.extend(unread(state).into_iter().map(line));
    if let Some(status) = status {
        let hint = "see the last run for the cause, or start a run with `backup run`";
        let line = |what| urgent(what, Some(hint));
        add(&mut all, "databases without a recent good backup", too_old(status).into_iter().map(line).collect());
        let expected = || status.databases.iter().filter(|kept| kept.verdict != StatusVerdict::NotSelected);
        let each = |problem: fn(&Kept) -> Option<Problem>| expected().filter_map(problem).collect::<Vec<_>>();
        add(&mut all, "databases that have shrunk", each(shrunk));
        add(&mut all, "backups that failed their verification", each(failed_verification));
        let warnings = status.warnings.iter().map(|warning| urgent(warning.clone(), None));
        add(&mut all, "warnings", warnings.collect());
        add(&mut all, "databases whose size changed a lot", each(changed_size));
        add(&mut all, "databases with backups that are not yet uploaded", each(pending_uploads));
    }
    add_storage(&mut all, status, state, now);
    all.sort_by_key(|problem| !problem.urgent);
    all
}

/// Adds problems of one kind: the first ones, and how many more there are.
fn add(all: &mut Vec<Problem>, kind: &str, mut problems: Vec<Problem>) {
    if problems.len() > SHOWN + 1 {
        let more = problems.len() - SHOWN;
        problems.truncate(SHOWN);
        let urgent = problems.iter().any(|problem| problem.urgent);
        problems.push(Problem { urgent, what: format!("{more} more {kind}"), hint: None });
    }
    all.append(&mut problems);
}

/// What could not be read when the storage was last checked, one line each.
pub(super) fn unread(state: &State) -> Vec<String> {
    let Some(overview) = &state.overview else { return Vec::new() };
    let mut lines = Vec::new();
    for (side, place, error) in &overview.unread {
        let known = if overview.read.contains(side) {
            "what is shown of it is from an earlier check"
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
                Some(format!("{name}: the newest good backup is {age}; the limit is {most}"))
            }
            (StatusVerdict::TooOld | StatusVerdict::Missing, _) => Some(format!("{name}: there is no good backup")),
            (StatusVerdict::Ok | StatusVerdict::Shrunk | StatusVerdict::NotSelected, _) => None,
        }
    };
    status.databases.iter().filter_map(line).collect()
}

fn name(kept: &Kept) -> String {
    text::one_line(&kept.subject.to_string()).into_owned()
}

/// Why the last run failed: the one of this process, or one before it that left a note.
fn last_run(state: &State, now: DateTime<Utc>) -> Vec<Problem> {
    let of = |subject: Option<&str>| subject.map(|name| format!("{}: ", text::one_line(name))).unwrap_or_default();
    let Some(report) = &state.last_run else {
        return state.remembered.as_ref().map(|failure| remembered(failure, now, of)).unwrap_or_default();
    };
    if report.outcome == Outcome::Success {
        return Vec::new();
    }
    let of_entries = report.entries.iter().flat_map(|entry| {
        let subject = entry.subject.to_string();
        entry.failures.iter().map(move |failure| (Some(subject.clone()), failure))
    });
    let of_run = report.failures.iter().map(|failure| (None, failure));
    let problem = |(subject, failure): (Option<String>, &Failure)| {
        let stderr = failure.stderr.as_deref().and_then(|text| text.trim_end().lines().last());
        let stderr = stderr.map(|line| format!(" ({})", text::one_line(line))).unwrap_or_default();
        let (subject, cause) = (of(subject.as_deref()), text::one_line(&failure.cause));
        urgent(format!("the last run failed in {}: {subject}{cause}{stderr}", failure.stage), failure.hint.as_deref())
    };
    of_run.chain(of_entries).map(problem).collect()
}

fn remembered(failure: &RememberedFailure, now: DateTime<Utc>, of: impl Fn(Option<&str>) -> String) -> Vec<Problem> {
    let ago = text::age(now - failure.time);
    let since = failure.since.format("%F %H:%M UTC");
    if failure.causes.is_empty() {
        return vec![urgent(
            format!("runs have failed since {since}"),
            Some("see the log of the last run for the cause"),
        )];
    }
    let problem = |noted: &NotedCause| {
        let (stage, subject) = (text::one_line(&noted.stage), of(noted.subject.as_deref()));
        let begin = format!("a run failed in {stage} {ago} ago, and none has succeeded since: {subject}");
        match &noted.cause {
            Some(cause) => urgent(format!("{begin}{}", text::one_line(cause)), noted.hint.as_deref()),
            None => urgent(
                format!("{begin}the cause is not recorded beside encrypted backups"),
                Some("see the log of that run"),
            ),
        }
    };
    failure.causes.iter().map(problem).collect()
}

fn add_storage(all: &mut Vec<Problem>, status: Option<&Status>, state: &State, now: DateTime<Utc>) {
    if let Some(looked) = state.looked.filter(|looked| now - *looked > TimeDelta::minutes(30)) {
        let ago = text::duration(now - looked);
        all.push(urgent(
            format!("the storage was last checked {ago} ago"),
            Some("it may not be answering; run `backup check` to find out why"),
        ));
    }
    let line = |error: &String| {
        let what = format!("backups could not be uploaded: {}", text::one_line(error));
        worth_a_look(what, Some("the daemon tries again every SCHEDULER_SYNC_INTERVAL_SECONDS"))
    };
    add(all, "uploads that failed", state.not_uploaded.iter().map(line).collect());
    let Some(volume) = status.and_then(|status| status.volume.as_ref()) else { return };
    let soon = volume.full_in_days.filter(|days| *days <= SOON);
    if volume.nearly_full || soon.is_some() {
        let (percent, free) = (volume.share_used * 100.0, text::size(volume.free_bytes));
        let days = soon.map(|days| format!(", and full in about {} at this rate", text::count(days, "day")));
        let what = format!("the backup volume is {percent:.0} % full, with {free} free{}", days.unwrap_or_default());
        all.push(worth_a_look(what, Some("free some space, enlarge it, or keep fewer backups")));
    }
}

fn shrunk(kept: &Kept) -> Option<Problem> {
    let fall = kept.shrunk.as_ref()?;
    Some(urgent(format!("{} has shrunk: {fall}", name(kept)), Some(RELEASE)))
}

fn failed_verification(kept: &Kept) -> Option<Problem> {
    let last = kept.last_verification.as_ref().filter(|last| !last.passed)?;
    let id = text::one_line(&last.id);
    let hint = format!("run `backup verify {}` to see what differs", text::shell_word(&last.id));
    Some(urgent(format!("{}: {id} failed its verification", name(kept)), Some(&hint)))
}

fn changed_size(kept: &Kept) -> Option<Problem> {
    let trend = kept.trend.as_ref().filter(|trend| trend.conspicuous)?;
    let percent = (trend.ratio - 1.0) * 100.0;
    let word = if percent < 0.0 { "smaller" } else { "larger" };
    let what = format!("{}: the newest backup is {:.0} % {word} than the one before it", name(kept), percent.abs());
    Some(worth_a_look(what, Some("check whether this change was expected")))
}

fn pending_uploads(kept: &Kept) -> Option<Problem> {
    let count = text::count(kept.pending_uploads.len(), "backup");
    let what = format!("{}: {count} not yet uploaded to the remote store", name(kept));
    (!kept.pending_uploads.is_empty()).then(|| worth_a_look(what, Some("run `backup upload` to send them now")))
}
