//! The whole run: lock → preflight → dump and store each database → verify → prune → report.

mod again;
pub mod alarms;
mod backup;
mod context;
mod copies;
mod failure_note;
pub mod identity;
pub mod metrics;
mod outcome;
mod preflight;
pub mod presence;
mod prune;
mod record;
mod run;
mod save;
mod source;
pub mod tasks;
mod verification;

pub use context::{Context, ScheduledRun, StageError, failure};
pub use failure_note::{RememberedFailure, remembered};
pub use preflight::{Server, choose_tasks, enter, examine_server, look_into};
pub use verification::summary;

use crate::background::AbortOnDrop;
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::notify;
use crate::report::{Activity, Report, UpcomingRun};
use crate::shutdown::{Shutdown, Stop};
use outcome::{Errors, nothing_begun};
use run::Run;
use tracing::{Instrument, error_span, info, instrument};

/// Runs the job and tells people. Nothing here exits or prints; the code says how it ended.
#[instrument(level = "error", skip_all, fields(run_id = context.run_id, source = context.config.source.name))]
pub async fn run(context: &Context) -> (Report, Exit) {
    let config = &context.config;
    let mut report = begin(context);
    let notifying = error_span!("notify", stage = "notify");
    let begun = notifying.in_scope(|| notify::begin(&config.notifications, &context.run_id));
    let timer = deadline(config, &context.shutdown);
    // futures nested deeper than this are more than the compiler lays out
    let errors = Box::pin(back_up(context, &mut report)).await;
    drop(timer);
    let exit = outcome::conclude(context, &mut report, &errors);
    if context.scheduled.is_some() {
        let next = config.daemon.schedule.next(report.finished);
        report.next_run = next.map(|due| UpcomingRun { time: due.time, backup_type: due.backup_type });
    }
    failure_note::settle(context, &mut report, exit).await;
    metrics::publish(config, &context.sides, Some(&report), &context.shutdown).await;
    notify::send(&config.notifications, &report, begun, &context.shutdown).instrument(notifying).await;
    // a signal that came after the errors were counted
    let exit = context.shutdown.signal().map_or(exit, |stop| Error::Stopped(stop).exit());
    (report, exit)
}

/// From the lock to the last backup that was pruned; the answer are the errors, none when all was done.
async fn back_up(context: &Context, report: &mut Report) -> Errors {
    let mut errors = Errors::default();
    let lock = match preflight::take_lock(context).await {
        Ok(lock) => lock,
        Err(error) => return nothing_begun(context, report, error).await,
    };
    let mut ready = match preflight::prepare(context, lock.as_ref()).await {
        Ok(ready) => ready,
        Err(error) => return nothing_begun(context, report, error).await,
    };
    let failed = std::mem::take(&mut ready.failed);
    let every_side = failed.is_empty();
    failed.into_iter().for_each(|error| errors.add(report, error));
    let run = Run::new(context, &ready, lock);

    save::save_all(&run, report, &mut errors).await;
    if context.config.verify.enabled && !errors.is_stopped() {
        verification::verify_all(context, report, &mut errors).await;
    }
    if !errors.is_stopped() {
        alarms::look_back(&run, report).await;
        prune::prune_saved(&run, every_side, report, &mut errors).await;
    }
    errors
}

fn begin(context: &Context) -> Report {
    let (config, backup_type) = (&context.config, context.backup_type);
    let mut report = Report::begin(Activity::Backup, &context.run_id, backup_type, (context.now)());
    report.source.clone_from(&config.source.name);
    report.wanted = config.selection.describe(&config.source.database);
    report.shard = context.shard();
    report.targets = context.sides.iter().map(|repository| (repository.side(), repository.location().name)).collect();
    let shard = report.shard.as_ref().map(|shard| format!(", shard {shard}")).unwrap_or_default();
    let (source, backup_type) = (config.source.display(), backup_type.as_str());
    info!("starting backup of {source} ({backup_type}{shard})");
    report
}

/// Asks everybody to stop when `BACKUP_TIMEOUT` is over, unless dropped before.
pub fn deadline(config: &Config, shutdown: &Shutdown) -> Option<AbortOnDrop> {
    let (limit, shutdown) = (config.deadline?, shutdown.clone());
    Some(AbortOnDrop::spawn(async move {
        tokio::time::sleep(limit).await;
        shutdown.request(Stop::Deadline);
    }))
}
