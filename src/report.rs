//! What happened in a run: pure data that logs and notices render.

use crate::config::BackupType;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The run.
    pub run_id: String,
    /// Name of the source.
    pub source: String,
    /// Database.
    pub database: String,
    /// Type of the backup.
    pub backup_type: BackupType,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// How it ended.
    pub outcome: Outcome,
    /// The backup, when one was stored.
    pub backup: Option<Stored>,
    /// Each target and what became of it.
    pub places: Vec<Place>,
    /// Ids that were pruned.
    pub pruned: Vec<String>,
    /// What went wrong, worst first.
    pub failures: Vec<Failure>,
    /// Start of the newest backup before this run.
    pub previous: Option<Previous>,
    /// Backups of this source that are kept locally, and their bytes.
    pub kept: Option<(usize, u64)>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All was done.
    Success,
    /// The backup is safe, and something else failed.
    Partial,
    /// There is no backup.
    Failure,
}

/// The backup of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Bytes that pg_dump wrote.
    pub raw_bytes: u64,
    /// Bytes of the archive.
    pub stored_bytes: u64,
    /// SHA-256 of the archive.
    pub sha256: String,
}

/// One target.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    /// Path or URL of the archive, or of the target itself when there is none.
    pub location: String,
    /// True when the backup is there.
    pub stored: bool,
}

/// One thing that went wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// What the run was doing.
    pub stage: &'static str,
    /// What happened.
    pub cause: String,
    /// What a person can do.
    pub hint: Option<String>,
    /// Last lines of the child's stderr.
    pub stderr: Option<String>,
}

/// The newest backup before a run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Previous {
    /// When it began.
    pub started: DateTime<Utc>,
    /// Bytes of its archive.
    pub stored_bytes: u64,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.stage, self.cause)?;
        if let Some(stderr) = self.stderr.as_deref().filter(|text| !text.is_empty()) {
            write!(f, ": {}", stderr.replace('\n', " / "))?;
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl Report {
    /// How long the run took.
    pub fn duration(&self) -> TimeDelta {
        self.finished - self.started
    }
}

/// A duration for people: `42 s`, `7 min 3 s`, `5 h 2 min`, `3 days`.
pub fn human_duration(duration: TimeDelta) -> String {
    let seconds = duration.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
