//! The whole run: lock → preflight → dump and store → prune → tell people.

mod backup;
mod preflight;
pub mod prune;

pub use preflight::{Server, examine_server};

use crate::config::{BackupType, Config};
use crate::error::{Error, Exit};
use crate::notify;
use crate::postgres::lock::{Lock, LockError};
use crate::progress::human;
use crate::report::{Failure, Outcome, Place, Report, human_duration};
use crate::repository::Repository;
use crate::shutdown::{Shutdown, Stop};
use crate::storage::StorageError;
use backup::Made;
use chrono::{DateTime, Utc};
use std::time::Duration;
use tracing::{error, info, warn};

/// How long cleaning up after a failure may take, per target.
const CLEANUP: Duration = Duration::from_secs(60);
/// The same after a signal.
const HASTY_CLEANUP: Duration = Duration::from_secs(6);

/// Everything a run needs from outside.
pub struct Context {
    /// Settings.
    pub config: Config,
    /// `--type`, or its default.
    pub backup_type: BackupType,
    /// Id of the run; the name of its sessions.
    pub run_id: String,
    /// The targets.
    pub sides: Vec<Side>,
    /// Why a target that was asked for cannot even be tried.
    pub unusable: Vec<StorageError>,
    /// Asks everybody to stop.
    pub shutdown: Shutdown,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// Show a progress bar instead of lines.
    pub terminal: bool,
}

/// Local folder or remote store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideKind {
    /// The folder.
    Local,
    /// The store.
    Remote,
}

/// One target.
pub struct Side {
    /// Which one.
    pub kind: SideKind,
    /// The backups there.
    pub repository: Repository,
}

impl Context {
    /// Name of this run's sessions on the server, by which others see that it lives.
    pub fn application(&self) -> String {
        application(&self.run_id)
    }

    /// Runs what must not be dropped lightly, in the time that is left for it.
    async fn finish<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.shutdown.finish(CLEANUP, HASTY_CLEANUP, work).await
    }
}

fn application(run_id: &str) -> String {
    format!("backup {run_id}")
}

/// The run that a session of that name belongs to.
fn run_of(application: &str) -> Option<String> {
    application.strip_prefix("backup ").map(str::to_owned)
}

/// An error and what the run was doing when it happened.
#[derive(Debug)]
pub struct StageError {
    stage: &'static str,
    error: Error,
}

trait At<T> {
    fn at(self, stage: &'static str) -> Result<T, StageError>;
}

impl<T, E: Into<Error>> At<T> for Result<T, E> {
    fn at(self, stage: &'static str) -> Result<T, StageError> {
        self.map_err(|error| StageError { stage, error: error.into() })
    }
}

/// Runs the job and tells people. Nothing here exits or prints; the code says how it ended.
pub async fn run(context: &Context) -> (Report, Exit) {
    let config = &context.config;
    let mut report = Report {
        run_id: context.run_id.clone(),
        source: config.source.name.clone(),
        database: config.source.database.clone(),
        backup_type: context.backup_type,
        started: (context.now)(),
        finished: (context.now)(),
        outcome: Outcome::Failure,
        backup: None,
        places: Vec::new(),
        pruned: Vec::new(),
        failures: Vec::new(),
        previous: None,
        kept: None,
    };
    info!(run_id = report.run_id, "starting backup of {} ({})", config.source.display(), context.backup_type.as_str());
    let timer = config.deadline.map(|deadline| tokio::spawn(stop_after(deadline, context.shutdown.clone())));
    let errors = whole(context, &mut report).await;
    if let Some(timer) = timer {
        timer.abort();
    }
    let exit = conclude(context, &mut report, errors);
    notify::send(config, &report, &context.shutdown).await;
    // a signal that came after the errors were counted
    let exit = context.shutdown.signal().map_or(exit, |stop| Error::Stopped(stop).exit());
    (report, exit)
}

async fn stop_after(deadline: Duration, shutdown: Shutdown) {
    tokio::time::sleep(deadline).await;
    shutdown.request(Stop::Deadline);
}

/// The run itself; what it answers are the errors, none when all was done.
async fn whole(context: &Context, report: &mut Report) -> Vec<StageError> {
    let mut lock = match take_lock(context).await {
        Ok(lock) => lock,
        Err(error) => return vec![error],
    };
    let mut ready = match preflight::prepare(context, lock.as_ref(), report).await {
        Ok(ready) => ready,
        Err(error) => return vec![error],
    };
    let made = match backup::make(context, &mut ready, lock.as_mut()).await {
        Ok(made) => made,
        Err(error) => return ready.failed.into_iter().chain([error]).collect(),
    };
    note(report, &made);
    let mut errors = ready.failed;
    errors.extend(made.failed);
    if errors.is_empty() {
        errors.extend(prune_after(context, lock.as_mut(), report).await.err());
    } else {
        warn!("nothing is pruned, because not every target has the backup");
    }
    errors
}

/// Takes the lock, connecting with retry. A server that grants none is no reason not to back it up.
async fn take_lock(context: &Context) -> Result<Option<Lock>, StageError> {
    let source = &context.config.source;
    let targets: Vec<String> = context.sides.iter().map(|side| side.repository.location().name).collect();
    let application = context.application();
    let taken = context.shutdown.guard(Lock::take(source, &targets, &application)).await.at("connect")?;
    match taken {
        Ok(lock) => {
            info!("connected to {}", source.display());
            Ok(Some(lock))
        }
        Err(LockError::Query(error)) => {
            warn!("the server grants no lock ({error}); this run prunes nothing");
            Ok(None)
        }
        Err(error @ LockError::Taken { .. }) => Err(error).at("lock"),
        Err(error) => Err(error).at("connect"),
    }
}

fn note(report: &mut Report, made: &Made) {
    report.backup = Some(made.stored.clone());
    for location in &made.locations {
        info!("completed {location} ({})", human(made.stored.stored_bytes));
        report.places.push(Place { location: location.clone(), stored: true });
    }
}

/// Prunes where the lock is still ours.
async fn prune_after(context: &Context, lock: Option<&mut Lock>, report: &mut Report) -> Result<(), StageError> {
    let held = match lock {
        Some(lock) => context.shutdown.guard(lock.is_held(&context.config.source)).await.at("prune")?,
        None => false,
    };
    if !held {
        warn!("nothing is pruned, because the lock is not held");
        return Ok(());
    }
    let now = (context.now)();
    let plan = context.shutdown.guard(prune::plan(&context.config, &context.sides, now)).await.at("prune")?;
    let Some(plan) = plan.at("prune")? else { return Ok(()) };
    let plan = plan.only(&context.config.source.database);
    info!("cleaning up auto backups older than {} days and typed ones by count", context.config.retention.days);
    let pruned = context.shutdown.guard(prune::apply(&plan, &mut report.pruned)).await.at("prune")?;
    info!("deleted {} backups", report.pruned.len());
    report.kept = Some(plan.kept());
    pruned.at("prune")
}

/// Turns errors into the report's failures, the log's last line and the exit code.
fn conclude(context: &Context, report: &mut Report, errors: Vec<StageError>) -> Exit {
    report.finished = (context.now)();
    for side in &context.sides {
        let location = side.repository.location();
        if !report.places.iter().any(|place| place.location.starts_with(&location.name)) {
            report.places.push(Place { location: location.name, stored: false });
        }
    }
    report.failures = errors.iter().map(failure).collect();
    for failure in &report.failures {
        error!(stage = failure.stage, "{failure}");
    }
    let duration = human_duration(report.duration());
    let stopped = errors.iter().find_map(|error| match error.error {
        Error::Stopped(Stop::Interrupt | Stop::Terminate) => Some(error.error.exit()),
        _ => None,
    });
    let exit = match (report.backup.is_some(), errors.is_empty()) {
        (true, true) => {
            report.outcome = Outcome::Success;
            info!("backup done in {duration}");
            Exit::Done
        }
        (true, false) => {
            report.outcome = Outcome::Partial;
            error!("backup partly done in {duration}: the backup is safe, see the errors above for what is not");
            Exit::Partly
        }
        (false, _) => {
            error!("backup failed after {duration}");
            Error::Targets(errors.into_iter().map(|error| error.error).collect()).exit()
        }
    };
    stopped.unwrap_or(exit)
}

fn failure(error: &StageError) -> Failure {
    let StageError { stage, error } = error;
    Failure {
        stage,
        cause: error.to_string(),
        hint: error.hint().map(str::to_owned),
        stderr: error.stderr().map(str::to_owned),
    }
}
