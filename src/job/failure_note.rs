//! Who was told of a failure is told of its end, once.

use super::context::Context;
use crate::config::Selection;
use crate::error::Exit;
use crate::report::{Outcome, Report};
use crate::repository::Repository;
use crate::shutdown::budget;
use crate::storage::StorageError;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tracing::{debug, warn};

/// Looks for notes of runs like this one that failed before, and leaves or removes them. The report learns since when
/// runs have failed.
pub(super) async fn settle(context: &Context, report: &mut Report, exit: Exit) {
    report.failing_since = context.failing_since;
    // notes are only for who reads of failures; and without the lock, the run that has it would tell of its own recovery
    if exit == Exit::Locked || !context.config.notifications.has_readers() {
        return;
    }
    let kind = kind(&context.config.selection, &context.config.source.database);
    let work = join_all(context.sides.iter().map(|side| settle_side(side, &kind, report.outcome, report.finished)));
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
) -> Option<DateTime<Utc>> {
    let repository = &repository;
    let failed = |error: StorageError| debug!("the note of a failed run in {}: {error}", repository.location().name);
    let open = repository.failure_notes(kind).await.map_err(failed).ok()?;
    let settled = match outcome {
        Outcome::Success => repository.remove_failure_notes(&open).await,
        Outcome::Partial | Outcome::Failure if open.is_empty() => repository.note_failure(kind, finished).await,
        Outcome::Partial | Outcome::Failure => Ok(()),
    };
    let _ = settled.map_err(failed);
    open.first().map(|note| note.time)
}

/// Runs that save the same are of one kind.
fn kind(selection: &Selection, own: &str) -> String {
    let exclude: Vec<&str> = selection.exclude.iter().map(crate::config::Pattern::as_str).collect();
    let shard = selection.shard.map(|shard| shard.to_string()).unwrap_or_default();
    [&selection.describe(own), &exclude.join(","), &shard].map(String::as_str).join("\n")
}
