//! What a run needs from outside, and what it was doing when something went wrong.

use crate::config::{BackupType, Config};
use crate::error::Error;
use crate::pipeline::Workers;
use crate::postgres;
use crate::progress::Counters;
use crate::report::Failure;
use crate::repository::Repository;
use crate::shutdown::{Shutdown, budget};
use crate::storage::StorageError;
use chrono::{DateTime, Utc};

/// Everything a run needs from outside.
pub struct Context {
    /// Settings.
    pub config: Config,
    /// `--type`, or its default.
    pub backup_type: BackupType,
    /// Id of the run; the name of its sessions.
    pub run_id: String,
    /// The targets.
    pub sides: Vec<Repository>,
    /// Why a target that was asked for cannot even be tried.
    pub unusable: Vec<StorageError>,
    /// What the daemon knows of its runs; none for a run that a person or a CronJob began.
    pub scheduled: Option<ScheduledRun>,
    /// Asks everybody to stop.
    pub shutdown: Shutdown,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// Show a progress bar instead of lines.
    pub terminal: bool,
    /// Who compresses.
    pub workers: Workers,
    /// Bytes of the whole run so far.
    pub counters: Counters,
}

/// What the daemon knows of its runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScheduledRun {
    /// Since when the runs before this one have failed, as far as this process knows.
    pub failing_since: Option<DateTime<Utc>>,
}

impl Context {
    /// Name of this run's sessions on the server, by which others see that it lives.
    pub fn application(&self) -> String {
        postgres::application(&self.run_id)
    }

    /// The shard that this run is, as the lock and people name it.
    pub(super) fn shard(&self) -> Option<String> {
        self.config.selection.shard.map(|shard| shard.to_string())
    }

    /// Runs what must not be dropped lightly, in the time that is left for it.
    pub(super) async fn finish<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.shutdown.finish(budget::CLEANUP, work).await
    }
}

/// An error and what the run was doing when it happened.
#[derive(Debug)]
pub struct StageError {
    pub(super) stage: &'static str,
    pub(super) error: Error,
}

pub(super) trait At<T> {
    fn at(self, stage: &'static str) -> Result<T, StageError>;
}

impl<T, E: Into<Error>> At<T> for Result<T, E> {
    fn at(self, stage: &'static str) -> Result<T, StageError> {
        self.map_err(|error| StageError { stage, error: error.into() })
    }
}

/// An error as people are told of it, and what was being done.
pub fn failure(stage: &'static str, error: &Error) -> Failure {
    Failure { stage, cause: error.to_string(), hint: error.hint(), stderr: error.stderr().map(str::to_owned) }
}
