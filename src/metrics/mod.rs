//! Numbers for Prometheus, from one table of families: a file, a Pushgateway and the daemon's `/metrics` show the same.
//!
//! Each series stands for a fact that is known. What is unknown, such as the last success on a store that does not
//! answer, has no series, and then both the file and the Pushgateway keep the value that they had.

mod families;
mod push;
mod textfile;

pub use families::{FAMILIES, Family};

use crate::config;
use crate::inventory::status::{Status, StatusVerdict};
use crate::inventory::{Inventory, InventoryEntry};
use crate::record::facts::Subject;
use crate::record::manifest::Manifest;
use crate::report::{Entry, Outcome, Report};
use crate::repository::Side;
use crate::schedule::Due;
use chrono::{DateTime, Utc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts, Registry, TextEncoder};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tracing::warn;

/// The form of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is known.
#[derive(Debug)]
pub struct MetricsInput<'a> {
    /// The state of the source's backups, on the sides that were read.
    pub status: &'a Status,
    /// The backups.
    pub inventory: &'a Inventory,
    /// Sides that were read.
    pub read: &'a [Side],
    /// Sides that should have been.
    pub sides: &'a [Side],
    /// For each database the latest run that included it.
    pub attempts: &'a [DatabaseAttempt<'a>],
    /// The latest run of all.
    pub last_run: Option<&'a Report>,
    /// That run covered everything that is selected: a database that it did not include is gone.
    pub is_whole: bool,
    /// What the daemon is doing; none where there is no daemon.
    pub daemon: Option<DaemonState<'a>>,
}

/// What a run did for one subject.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseAttempt<'a> {
    /// What it did.
    pub entry: &'a Entry,
    /// The run.
    pub report: &'a Report,
}

/// What the daemon is doing.
#[derive(Debug)]
pub struct DaemonState<'a> {
    /// Next run of each type.
    pub next: &'a [Due],
    /// A run is in progress.
    pub running: bool,
    /// When the storage was last checked.
    pub looked: Option<DateTime<Utc>>,
    /// The sides that could be read then; of the others, what was known before still holds.
    pub readable: &'a [Side],
}

impl Report {
    /// What this run did for each subject.
    pub fn attempts(&self) -> Vec<DatabaseAttempt<'_>> {
        self.entries.iter().map(|entry| DatabaseAttempt { entry, report: self }).collect()
    }
}

/// Series that are ready to be shown.
#[derive(Debug)]
pub struct Metrics {
    families: Vec<MetricFamily>,
    source: String,
    /// Sides that were read, and those that should have been.
    read: Vec<Side>,
    sides: Vec<Side>,
    /// Databases of a run that saved everything; none when the latest was none.
    databases: Option<HashSet<String>>,
    /// The shard of the run, and an empty one for all; none when there was no run.
    shard: Option<String>,
}

impl Metrics {
    /// The series of what is known.
    pub fn of(known: &MetricsInput<'_>) -> Self {
        let mut gauges = Gauges::new(&known.status.source);
        gauges.set(&families::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        gauges.add_backups(known);
        for attempt in known.attempts {
            gauges.add_attempt(attempt, known.sides);
        }
        if let Some(report) = known.last_run {
            gauges.add_run(report);
        }
        if let Some(volume) = &known.status.volume {
            let local = Side::Local.as_str();
            gauges.set(&families::STORAGE_USED, &[local], number(volume.used_bytes));
            gauges.set(
                &families::STORAGE_CAPACITY,
                &[local],
                number(volume.used_bytes.saturating_add(volume.free_bytes)),
            );
        }
        if let Some(daemon) = &known.daemon {
            gauges.add_daemon(daemon, known);
        }
        let attempted = known.attempts.iter().map(|attempt| label(&attempt.entry.subject));
        Self {
            families: gauges.registry.gather(),
            source: known.status.source.clone(),
            read: known.read.to_vec(),
            sides: known.sides.to_vec(),
            // a run that included no database says nothing about those that are gone
            databases: Some(attempted.collect()).filter(|names: &HashSet<String>| known.is_whole && !names.is_empty()),
            shard: known.last_run.map(|report| report.shard.clone().unwrap_or_default()),
        }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.families).unwrap_or_default()
    }

    /// Writes and pushes them where the settings say; what fails is logged and changes nothing else.
    pub async fn publish(self, wanted: &config::MetricsSettings) {
        let metrics = Arc::new(self);
        let write = async {
            let Some(path) = &wanted.textfile else { return };
            let (to, metrics) = (path.clone(), metrics.clone());
            // somebody else's lock, or a dead file system, keeps only a thread waiting
            let written = tokio::task::spawn_blocking(move || textfile::write(&to, &metrics)).await;
            if let Ok(Err(error)) = written {
                warn!("metrics not written to {}: {error}; check METRICS_TEXTFILE", path.display());
            }
        };
        let push = async {
            if let Some(url) = &wanted.pushgateway
                && let Err(error) = push::push(url, &metrics).await
            {
                warn!("metrics not pushed: {error}; check PUSHGATEWAY_URL");
            }
        };
        tokio::join!(write, push);
    }
}

/// Asks whether metrics could be written and pushed: what was checked, its setting, and what is wrong with it.
pub async fn check(wanted: &config::MetricsSettings) -> Vec<(&'static str, &'static str, Option<String>)> {
    let mut findings = Vec::new();
    if let Some(path) = &wanted.textfile {
        findings.push(("metrics file", "METRICS_TEXTFILE", textfile::check(path).err().map(|error| error.to_string())));
    }
    if let Some(url) = &wanted.pushgateway {
        findings.push(("Pushgateway", "PUSHGATEWAY_URL", push::check(url).await.err().map(|error| error.to_string())));
    }
    findings
}

/// A registry that learns of a family when its first series is set.
struct Gauges {
    registry: Registry,
    known: HashMap<&'static str, GaugeVec>,
}

impl Gauges {
    fn new(source: &str) -> Self {
        let labels = HashMap::from([("source".to_owned(), source.to_owned())]);
        Self { registry: Registry::new_custom(None, Some(labels)).unwrap_or_default(), known: HashMap::new() }
    }

    fn set(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        if !self.known.contains_key(family.name) {
            let Ok(gauge) = GaugeVec::new(Opts::new(family.name, family.help), family.labels) else { return };
            // a name that is taken would be a slip in the table, which a test excludes
            let _ = self.registry.register(Box::new(gauge.clone()));
            self.known.insert(family.name, gauge);
        }
        if let Some(Ok(gauge)) = self.known.get(family.name).map(|gauge| gauge.get_metric_with_label_values(labels)) {
            gauge.set(value);
        }
    }

    /// What lies in storage, for each database and each side that was read.
    fn add_backups(&mut self, known: &MetricsInput<'_>) {
        let mut entries: HashMap<&Subject, Vec<&InventoryEntry>> = HashMap::new();
        for entry in known.inventory.entries.iter().filter(|entry| entry.is_of(&known.status.source)) {
            entries.entry(&entry.manifest.subject).or_default().push(entry);
        }
        // of what is not selected any more nobody waits for a backup
        let selected = known.status.databases.iter().filter(|kept| kept.verdict != StatusVerdict::NotSelected);
        for kept in selected {
            let database = label(&kept.subject);
            let entries = entries.get(&kept.subject).map_or(&[] as &[&InventoryEntry], Vec::as_slice);
            for side in known.read {
                self.add_side(&database, *side, entries);
            }
            if known.read.len() == known.sides.len() {
                self.set(&families::PENDING_UPLOADS, &[&database], number(kept.pending_uploads.len() as u64));
            }
            if let Some(last) = &kept.last_verification {
                self.set(&families::VERIFICATION_STATUS, &[&database], truth(last.passed));
                self.set(&families::VERIFICATION_TIMESTAMP, &[&database], seconds(last.finished));
            }
        }
    }

    /// `entries` are those of one database, the newest first.
    fn add_side(&mut self, database: &str, side: Side, entries: &[&InventoryEntry]) {
        let labels = [database, side.as_str()];
        let here = || entries.iter().filter(|entry| entry.is_on(side));
        let bytes = here().fold(0_u64, |sum, entry| sum.saturating_add(entry.manifest.stored_bytes));
        self.set(&families::BACKUPS, &labels, number(here().count() as u64));
        self.set(&families::BACKUPS_BYTES, &labels, number(bytes));
        let oldest = here().next_back().map(|entry| seconds(entry.manifest.started));
        self.set(&families::OLDEST_TIMESTAMP, &labels, oldest.unwrap_or_default());
        let newest = here().find(|entry| entry.is_good_on(side)).map(|entry| &entry.manifest);
        let value = |of: fn(&Manifest) -> f64| newest.map(of).unwrap_or_default();
        self.set(&families::LAST_SUCCESS_TIMESTAMP, &labels, value(|manifest| seconds(manifest.finished)));
        self.set(&families::STORED_BYTES, &labels, value(|manifest| number(manifest.stored_bytes)));
        self.set(&families::SOURCE_BYTES, &labels, value(|manifest| number(manifest.raw_bytes)));
        self.set(&families::ROWS, &labels, value(|manifest| number(manifest.totals.rows)));
    }

    /// What the latest run did for a database.
    fn add_attempt(&mut self, attempt: &DatabaseAttempt<'_>, sides: &[Side]) {
        let DatabaseAttempt { entry, report } = attempt;
        let database = label(&entry.subject);
        for side in sides {
            let labels = [database.as_str(), side.as_str()];
            let pruned = report.pruned.iter().filter(|gone| gone.subject == entry.subject && gone.side == *side);
            let is_stored = entry.places.iter().any(|place| place.side == *side && place.stored);
            self.set(&families::STATUS, &labels, truth(is_stored));
            self.set(&families::LAST_COMPLETION_TIMESTAMP, &labels, seconds(report.finished));
            self.set(&families::PRUNED_BACKUPS, &labels, number(pruned.count() as u64));
        }
        for stage in &entry.stages {
            self.set(&families::DURATION, &[&database, stage.name], stage.seconds);
        }
    }

    fn add_run(&mut self, report: &Report) {
        let shard = report.shard.as_deref().unwrap_or_default();
        let duration = report.duration().as_seconds_f64();
        self.set(&families::RUN_STATUS, &[shard], truth(report.outcome == Outcome::Success));
        self.set(&families::RUN_COMPLETION_TIMESTAMP, &[shard], seconds(report.finished));
        self.set(&families::RUN_DURATION, &[shard], duration);
    }

    fn add_daemon(&mut self, daemon: &DaemonState<'_>, known: &MetricsInput<'_>) {
        for due in daemon.next {
            self.set(&families::NEXT_RUN_TIMESTAMP, &[due.backup_type.as_str()], seconds(due.time));
        }
        self.set(&families::RUN_IN_PROGRESS, &[], truth(daemon.running));
        for side in known.sides {
            self.set(&families::STORAGE_READABLE, &[side.as_str()], truth(daemon.readable.contains(side)));
        }
        if let Some(looked) = daemon.looked {
            self.set(&families::LOOK_TIMESTAMP, &[], seconds(looked));
        }
    }
}

/// The value of the label `database`; a database whose name looks like `(globals)` gets a prefix.
fn label(subject: &Subject) -> String {
    match subject {
        Subject::Database(name) if name.starts_with('(') => format!("database {name}"),
        subject => subject.to_string(),
    }
}

fn truth(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// Prometheus has no other numbers; 2^53 bytes are 8 PiB.
#[allow(clippy::cast_precision_loss)]
fn number(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_precision_loss)]
fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
