//! What happened in a run: pure data that logs and notifications render.

use crate::record::facts::Subject;
use crate::record::manifest::{BackupType, Manifest};
use crate::storage::Side;
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Serialize, Serializer};

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was done.
    pub activity: Activity,
    pub run_id: String,
    /// Name of the source.
    pub source: String,
    /// Which of several runs that share a server, such as `0/4`; none when this one does it all.
    pub shard: Option<String>,
    /// What was to be saved, in a few words, for when the list of databases is not known yet.
    pub wanted: String,
    pub backup_type: BackupType,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// How it ended.
    pub outcome: Outcome,
    /// Everything that was to be saved, and what became of it.
    pub entries: Vec<Entry>,
    /// Where the backups go: folder, URL, or both.
    #[serde(serialize_with = "locations")]
    pub targets: Vec<(Side, String)>,
    pub pruned: Vec<Pruned>,
    /// What a person must look at although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
    /// What went wrong with the run as a whole, worst first.
    pub failures: Vec<Failure>,
    /// Backups of this source that are kept locally, and their bytes.
    pub kept: Option<(usize, u64)>,
    /// When the first of the failed runs in a row before this one failed; none when the run before it succeeded.
    pub failing_since: Option<DateTime<Utc>>,
    /// The next run; none where no daemon keeps a schedule.
    pub next_run: Option<UpcomingRun>,
}

/// A run to come.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct UpcomingRun {
    pub time: DateTime<Utc>,
    #[serde(rename = "type")]
    pub backup_type: BackupType,
}

/// A backup that was pruned.
#[derive(Debug, Clone, Serialize)]
pub struct Pruned {
    pub id: String,
    /// What it held.
    #[serde(flatten)]
    pub subject: Subject,
    /// Where it was.
    pub side: Side,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// To make backups.
    Backup,
    /// To verify one that exists.
    Verification,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All was done.
    Success,
    /// Something is safe, and something else failed.
    Partial,
    /// There is no backup, or one that failed its verification.
    Failure,
}

/// One thing to save, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// What it is.
    #[serde(flatten)]
    pub subject: Subject,
    pub backup: Option<Stored>,
    /// Each target and what became of it; empty when the dump never began.
    pub places: Vec<CopyReport>,
    /// How it was verified; none when it was not.
    pub verified: Option<VerificationSummary>,
    /// What went wrong.
    pub failures: Vec<Failure>,
    /// What a person should know although nothing failed.
    pub notes: Vec<String>,
    /// How long each stage took that was done.
    pub stages: Vec<Stage>,
    /// The newest backup before this run.
    pub previous: Option<Previous>,
}

/// One stage of an entry.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Stage {
    /// `dump`, which streams to the targets as it goes, `store`, which makes a backup of what was streamed, or
    /// `verify`.
    pub name: &'static str,
    /// Seconds that it took.
    pub seconds: f64,
}

/// The verification of an entry.
#[derive(Debug, Clone, Serialize)]
pub struct VerificationSummary {
    /// Nothing failed.
    pub passed: bool,
    /// Tables that were compared.
    pub tables: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// Seconds that the restore took; none when nothing was restored.
    pub restore_seconds: Option<f64>,
    /// Checks that a person should look at although nothing failed.
    pub warnings: usize,
    /// Objects that PostgreSQL cannot load from its own dump, each with its reason; all rows came back.
    pub exceptions: Vec<String>,
}

/// The backup of an entry.
#[derive(Debug, Clone, Serialize)]
pub struct Stored {
    pub id: String,
    /// Bytes that pg_dump wrote.
    pub raw_bytes: u64,
    /// Bytes of the archive.
    pub stored_bytes: u64,
    /// SHA-256 of the archive.
    pub sha256: String,
    pub rows: u64,
}

impl Stored {
    /// The backup of that manifest.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id.clone(),
            raw_bytes: manifest.raw_bytes,
            stored_bytes: manifest.stored_bytes,
            sha256: manifest.sha256.clone(),
            rows: manifest.totals.rows,
        }
    }
}

/// The copy of an entry's backup on one side.
#[derive(Debug, Clone, Serialize)]
pub struct CopyReport {
    pub side: Side,
    /// Key of the archive; none where there is none.
    #[serde(skip)]
    pub key: Option<String>,
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
    /// When it was complete.
    pub finished: DateTime<Utc>,
    /// Bytes of its archive.
    pub stored_bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its dump.
    #[serde(skip)]
    pub raw_bytes: u64,
}

fn locations<S: Serializer>(targets: &[(Side, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(targets.iter().map(|(_, location)| location))
}

impl Failure {
    /// Stage, cause and the child's last lines, in one line and without what to do.
    pub fn what_happened(&self) -> String {
        let stderr = self.stderr.as_deref().filter(|text| !text.is_empty());
        let stderr = stderr.map(|text| format!(": {}", text.replace('\n', " / "))).unwrap_or_default();
        format!("{}: {}{stderr}", self.stage, self.cause)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what_happened())?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl Entry {
    /// Its backup failed its verification.
    pub fn is_unproved(&self) -> bool {
        self.verified.as_ref().is_some_and(|verified| !verified.passed)
    }

    /// Nothing has become of it yet.
    pub fn new(subject: Subject) -> Self {
        Self {
            subject,
            backup: None,
            places: Vec::new(),
            verified: None,
            failures: Vec::new(),
            notes: Vec::new(),
            stages: Vec::new(),
            previous: None,
        }
    }

    /// Notes how long a stage took that began then.
    pub fn add_stage(&mut self, name: &'static str, begun: std::time::Instant) {
        self.stages.push(Stage { name, seconds: begun.elapsed().as_secs_f64() });
    }

    /// Stored on every target.
    pub fn is_done(&self) -> bool {
        self.backup.is_some() && self.failures.is_empty()
    }
}

impl Report {
    /// The report of a run that begins now, and has failed until something is done.
    pub fn begin(activity: Activity, run_id: &str, backup_type: BackupType, now: DateTime<Utc>) -> Self {
        Self {
            activity,
            run_id: run_id.to_owned(),
            source: String::new(),
            shard: None,
            wanted: String::new(),
            backup_type,
            started: now,
            finished: now,
            outcome: Outcome::Failure,
            entries: Vec::new(),
            targets: Vec::new(),
            pruned: Vec::new(),
            alarms: Vec::new(),
            failures: Vec::new(),
            kept: None,
            failing_since: None,
            next_run: None,
        }
    }

    /// How long the run took.
    pub fn duration(&self) -> TimeDelta {
        self.finished - self.started
    }

    pub fn only(&self) -> Option<&Entry> {
        match self.entries.as_slice() {
            [entry] => Some(entry),
            _ => None,
        }
    }

    /// True when at least one entry was tried; else the entries only list what should have been saved, as far as known.
    pub fn has_begun(&self) -> bool {
        self.entries.iter().any(|entry| entry.backup.is_some() || !entry.failures.is_empty() || !entry.notes.is_empty())
    }

    /// Bytes of all archives of this run.
    pub fn stored_bytes(&self) -> u64 {
        self.entries.iter().filter_map(|entry| entry.backup.as_ref()).map(|backup| backup.stored_bytes).sum()
    }

    /// What was saved, such as `shop`, or `37 of 40 databases and the globals`.
    pub fn summary(&self) -> String {
        if let Some(entry) = self.only() {
            return entry.subject.to_string();
        }
        let saved = |entry: &&Entry| entry.backup.is_some();
        let databases = || self.entries.iter().filter(|entry| entry.subject.database().is_some());
        let (done, all) = (databases().filter(saved).count(), databases().count());
        if all == 0 || !self.has_begun() {
            return self.wanted.clone();
        }
        let globals = self.entries.iter().filter(|entry| entry.subject == Subject::Globals).any(|entry| saved(&entry));
        // where nothing is safe, the number that was to be saved says it all
        let is_whole = done == all || done == 0 && !globals;
        let part = if is_whole { String::new() } else { format!("{done} of ") };
        format!("{part}{}{}", text::count(all, "database"), if globals { " and the globals" } else { "" })
    }
}
