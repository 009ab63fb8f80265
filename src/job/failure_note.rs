//! Runs that failed are remembered beside the backups, so that people are told once when a run succeeds again, and so
//! that a daemon knows the latest cause after a restart.

use super::context::Context;
use crate::config::{Config, Selection};
use crate::error::Exit;
use crate::report::{Failure, Outcome, Report};
use crate::repository::{FailureNote, NotedCause, Repository};
use crate::shutdown::budget;
use crate::storage::StorageError;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tracing::{debug, warn};

/// What is remembered of runs that failed, none of which has succeeded since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedFailure {
    /// When the first of them failed.
    pub since: DateTime<Utc>,
    /// When the causes were first seen.
    pub time: DateTime<Utc>,
    /// Why the latest failed; empty where its note does not say.
    pub causes: Vec<NotedCause>,
}

/// Looks for notes of runs like this one that failed before, and leaves or removes them. The report learns since when
/// runs have failed.
pub(super) async fn settle(context: &Context, report: &mut Report, exit: Exit) {
    report.failing_since = context.scheduled.and_then(|scheduled| scheduled.failing_since);
    // notes are for people who are notified of failures, or have a daemon's page, where a daemon that was stopped is no
    // news; any run that succeeds removes them. And without the lock, the run that has it would report its own recovery
    let is_remembered = context.scheduled.is_some() && context.shutdown.signal().is_none();
    let is_read = is_remembered || context.config.notifications.has_readers();
    if exit == Exit::Locked || report.outcome != Outcome::Success && !is_read {
        return;
    }
    let kind = kind(&context.config);
    let causes = causes(report, context.config.encryption.recipients.is_some());
    let settled = |repository| settle_side(repository, &kind, report.outcome, report.finished, &causes);
    let work = join_all(context.sides.iter().map(settled));
    match context.shutdown.finish(budget::FAILURE_NOTES, work).await {
        Some(since) => report.failing_since = report.failing_since.into_iter().chain(since.into_iter().flatten()).min(),
        None => warn!("it is not known whether the runs before this one failed: the storage did not answer in time"),
    }
}

/// Since when runs of that kind have failed, as far as that side knows.
async fn settle_side(
    repository: &Repository,
    kind: &str,
    outcome: Outcome,
    finished: DateTime<Utc>,
    causes: &[NotedCause],
) -> Option<DateTime<Utc>> {
    let failed = |error: StorageError| debug!("the note of a failed run in {}: {error}", repository.location().name);
    let open = repository.failure_notes(kind).await.map_err(failed).ok()?;
    let settled = match (outcome, open.split_first()) {
        (Outcome::Success, _) => repository.remove_failure_notes(&open).await,
        (_, None) => repository.note_failure(kind, finished, causes).await,
        (_, Some((first, later))) => {
            note_other_cause(repository, kind, later.last().unwrap_or(first), later, finished, causes).await
        }
    };
    let _ = settled.map_err(failed);
    open.first().map(|note| note.time)
}

/// Leaves a note where the causes are not those of the latest one, in the place of all but the first.
async fn note_other_cause(
    repository: &Repository,
    kind: &str,
    latest: &FailureNote,
    later: &[FailureNote],
    finished: DateTime<Utc>,
    causes: &[NotedCause],
) -> Result<(), StorageError> {
    let known = repository.failure_causes(latest).await?;
    if causes.is_empty() || NotedCause::are_alike(&known, causes) {
        return Ok(());
    }
    repository.note_failure(kind, finished, causes).await?;
    repository.remove_failure_notes(later).await
}

/// What those repositories remember of failed runs of these settings; none where the last run succeeded, or nobody can
/// say.
pub async fn remembered(config: &Config, sides: &[Repository]) -> Option<RememberedFailure> {
    let kind = kind(config);
    let asked = join_all(sides.iter().map(async |repository| {
        let notes = repository.failure_notes(&kind).await.ok()?;
        let (first, latest) = (notes.first()?, notes.last()?);
        let causes = repository.failure_causes(latest).await.unwrap_or_default();
        Some(RememberedFailure { since: first.time, time: latest.time, causes })
    }));
    let found: Vec<RememberedFailure> = asked.await.into_iter().flatten().collect();
    let since = found.iter().map(|one| one.since).min()?;
    let latest = found.into_iter().max_by_key(|one| (!one.causes.is_empty(), one.time))?;
    Some(RememberedFailure { since, ..latest })
}

/// Why a run failed; beside encrypted backups without what may hold names of a schema.
fn causes(report: &Report, is_encrypted: bool) -> Vec<NotedCause> {
    let noted = |subject: Option<String>, failure: &Failure| {
        let stderr = failure.stderr.as_deref().and_then(|text| text.trim_end().lines().last());
        let stderr = stderr.map(|line| format!(" ({line})")).unwrap_or_default();
        NotedCause {
            stage: failure.stage.to_owned(),
            subject,
            cause: (!is_encrypted).then(|| format!("{}{stderr}", failure.cause)),
            hint: failure.hint.clone().filter(|_| !is_encrypted),
        }
    };
    let of_run = report.failures.iter().map(|failure| noted(None, failure));
    let of_entries = report.entries.iter().flat_map(|entry| {
        let subject = entry.subject.to_string();
        entry.failures.iter().map(move |failure| noted(Some(subject.clone()), failure))
    });
    of_run.chain(of_entries).collect()
}

/// Runs that save the same are of one kind.
fn kind(config: &Config) -> String {
    let (selection, own): (&Selection, &str) = (&config.selection, &config.source.database);
    let exclude: Vec<&str> = selection.exclude.iter().map(crate::config::Pattern::as_str).collect();
    let shard = selection.shard.map(|shard| shard.to_string()).unwrap_or_default();
    [&selection.describe(own), &exclude.join(","), &shard].map(String::as_str).join("\n")
}
