//! Who was told of a failure is told of its end, once.

use super::Context;
use crate::error::Exit;
use crate::report::{Outcome, Report};
use crate::repository::Outage;
use std::time::Duration;
use tracing::{debug, warn};

/// How long the notes may take, and until when after a signal.
const PATIENCE: Duration = Duration::from_secs(15);
const HASTE: Duration = Duration::from_secs(12);

/// Looks for notes of runs like this one that failed before, and leaves or removes them. The report learns since when
/// runs have failed.
pub(super) async fn settle(context: &Context, report: &mut Report, exit: Exit) {
    report.failing_since = context.failing_since;
    // whoever has the lock speaks for both; and notes are only for who reads of failures
    if exit == Exit::Locked || !context.config.notices.has_readers() {
        return;
    }
    let kind = format!("{}\n{}", report.wanted, report.shard.as_deref().unwrap_or_default());
    // a note that could not be removed is older than what has succeeded since
    let before = report.entries.iter().filter_map(|entry| entry.previous).map(|previous| previous.finished).max();
    let work = async {
        for side in &context.sides {
            let name = side.repository.location().name;
            let all = match side.repository.outages(&kind).await {
                Ok(all) => all,
                Err(error) => {
                    debug!("notes of failed runs in {name}: {error}");
                    continue;
                }
            };
            let is_open = |outage: &&Outage| before.is_none_or(|before| outage.time > before);
            let first = all.iter().find(is_open).map(|outage| outage.time);
            report.failing_since = report.failing_since.into_iter().chain(first).min();
            let settled = match report.outcome {
                Outcome::Success => side.repository.forget_outages(&all).await,
                Outcome::Partial | Outcome::Failure if first.is_none() => {
                    side.repository.note_outage(&kind, report.finished).await
                }
                Outcome::Partial | Outcome::Failure => Ok(()),
            };
            if let Err(error) = settled {
                debug!("the note of a failed run in {name}: {error}");
            }
        }
    };
    if context.shutdown.finish(PATIENCE, HASTE, work).await.is_none() {
        warn!("it is not known whether the runs before this one failed, because the storage did not answer in time");
    }
}
