//! How a run ends: what went wrong, in the report, in the log and in the exit code.

use super::context::{Context, StageError, failure};
use super::preflight;
use crate::error::{BackupError, Error, Exit, exit_of};
use crate::record::facts::Subject;
use crate::report::{Entry, Outcome, Report};
use crate::text;
use std::time::Duration;
use tracing::{error, info};

/// How long a run that has failed may look for the last good backup.
const PREVIOUS: Duration = Duration::from_secs(5);

/// Everything that went wrong, for the exit code; people read the report.
#[derive(Default)]
pub(super) struct Errors(pub(super) Vec<Error>);

impl Errors {
    /// True when it was time to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.iter().any(|error| matches!(error, Error::Stopped(_)))
    }

    /// True when a backup failed its verification.
    pub(super) fn is_unproved(&self) -> bool {
        self.0.iter().any(|error| matches!(error, Error::Backup(BackupError::Unproved { .. })))
    }

    /// One more, which concerns the run as a whole.
    pub(super) fn add(&mut self, report: &mut Report, error: StageError) {
        report.failures.push(failure(error.stage, &error.error));
        self.0.push(error.error);
    }
}

/// The run ended before it knew what there is to save. People are told what should have been, as far as settings and
/// backups tell, and how old the last backups are.
pub(super) async fn nothing_begun(context: &Context, report: &mut Report, error: StageError) -> Errors {
    let config = &context.config;
    let own = &config.source.database;
    let looked = tokio::time::timeout(PREVIOUS, preflight::newest_of_all(context)).await;
    let (saved, previous) = looked.unwrap_or_default();
    let expected = config.selection.expected(own, &saved).into_iter();
    let is_ours = |subject: &Subject| match subject {
        Subject::Globals => config.selection.wants_globals(),
        subject => config.selection.is_in_shard(subject),
    };
    let entry = |subject: Subject| Entry { previous: previous.get(&subject).copied(), ..Entry::new(subject) };
    report.entries = expected.filter(is_ours).map(entry).collect();
    let mut errors = Errors::default();
    errors.add(report, error);
    errors
}

/// Works out how the run ended: the report's last lines, the log's last line and the exit code.
pub(super) fn conclude(context: &Context, report: &mut Report, errors: &Errors) -> Exit {
    report.finished = (context.now)();
    for failure in &report.failures {
        error!(stage = failure.stage, "{failure}");
    }
    let saved = report.entries.iter().any(|entry| entry.backup.is_some());
    let duration = text::duration(report.duration());
    report.outcome = match (errors.0.is_empty(), saved && !errors.is_unproved()) {
        (true, _) => Outcome::Success,
        (false, true) => Outcome::Partial,
        (false, false) => Outcome::Failure,
    };
    let summary = report.summary();
    let (bytes, seconds) = (report.stored_bytes(), report.duration().as_seconds_f64());
    match report.outcome {
        Outcome::Success => info!(bytes, seconds, "backup done in {duration}: {summary}"),
        Outcome::Partial => {
            error!(
                bytes,
                seconds,
                "backup partly done in {duration}: {summary}; what is stored is safe, see the errors for what is not"
            );
        }
        Outcome::Failure if saved => {
            let unproved = report.entries.iter().filter(|entry| entry.is_unproved());
            let unproved: Vec<String> = unproved.map(|entry| entry.subject.to_string()).collect();
            let unproved = text::some(&unproved, 5);
            error!(bytes, seconds, "backup failed its verification, after {duration}: {unproved}; saved: {summary}");
        }
        Outcome::Failure => error!(seconds, "backup failed after {duration}"),
    }
    exit_of(errors.0.iter(), saved)
}
