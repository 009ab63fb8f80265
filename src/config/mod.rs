//! Configuration: the strings received, then typed values that no code can get wrong.
//!
//! Only this module reads the environment. All problems are reported at once, each naming the variable, the value
//! received (never a secret's) and what is allowed.

mod daemon;
mod database_url;
mod dump;
mod encryption;
mod metrics;
mod remote;
mod retention;
mod selection;
pub mod settings;
mod source;
mod verify;

pub use crate::record::manifest::{BackupType, Format};
pub use crate::settings::{Password, Retry, Secret, parse_duration};
pub use crate::storage::key::PathFormat;
pub use daemon::DaemonSettings;
pub use dump::DumpSettings;
pub use encryption::Encryption;
pub use metrics::MetricsSettings;
pub use remote::Remote;
pub use retention::Retention;
pub use selection::{Databases, Mode, Pattern, Selection, Shard};
pub use source::{RootCert, ServerRole, Source, SslMode, Tls};
pub use verify::Verify;

use crate::dump_format::dump_options;
use crate::notify;
use crate::settings::RawSettings;
use crate::storage::Side;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything the program may be told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server, how to reach it, and the database where the lock is held.
    pub source: Source,
    /// What of the server is saved.
    pub selection: Selection,
    /// What pg_dump is asked for.
    pub dump: DumpSettings,
    /// Local folder and remote store.
    pub target: Target,
    /// The folder.
    pub local: LocalSettings,
    /// The store.
    pub remote: Remote,
    /// How long local backups are kept.
    pub retention: Retention,
    /// The share of its rows or tables below which a database is held to have fallen; 0 never does.
    pub shrink_guard: f64,
    /// How long remote ones are; none keeps all.
    pub remote_retention: Option<Retention>,
    /// Connections that load a database at the same time.
    pub restore_jobs: usize,
    /// How backups are proved.
    pub verify: Verify,
    /// Who may read backups.
    pub encryption: Encryption,
    /// Who is told of runs.
    pub notifications: notify::NotifiedServices,
    /// Where metrics go.
    pub metrics: MetricsSettings,
    /// What the daemon does and when.
    pub daemon: DaemonSettings,
    pub log: Log,
    /// Deadline of the whole run.
    pub deadline: Option<Duration>,
    /// How long a target may take no byte.
    pub stall_timeout: Duration,
    /// Variables that child processes inherit.
    pub child_environment: Vec<(String, OsString)>,
    /// Slips that do not stop us.
    pub warnings: Vec<String>,
    /// Each setting's value as `backup config` shows it.
    pub effective: Vec<Effective>,
}

/// Which sides a run writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The folder.
    Local,
    /// The store.
    Remote,
    /// Both.
    All,
}

impl Target {
    /// Its word in `BACKUP_TARGET`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::All => "all",
        }
    }

    /// True when the folder is written.
    pub fn has_local(self) -> bool {
        self != Self::Remote
    }

    /// True when the store is written.
    pub fn has_remote(self) -> bool {
        self != Self::Local
    }

    /// The sides that are written.
    pub fn sides(self) -> &'static [Side] {
        match self {
            Self::Local => &[Side::Local],
            Self::Remote => &[Side::Remote],
            Self::All => &[Side::Local, Side::Remote],
        }
    }
}

/// The local side.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// `BACKUP_DIR`.
    pub folder: PathBuf,
    /// Layout under it.
    pub path_format: PathFormat,
}

/// Logs.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// Lowest level written.
    pub level: LogLevel,
    /// Lines for people or for machines.
    pub format: LogFormat,
}

/// Lowest level written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    #[serde(alias = "warning")]
    Warn,
    Error,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    #[serde(rename = "auto", alias = "text")]
    Text,
    /// One JSON object a line.
    Json,
}

/// One setting as `backup config` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Effective {
    /// Variable.
    pub name: &'static str,
    /// Value in force; none when unset.
    pub value: Option<String>,
    /// Where it came from.
    pub source: String,
}

/// The configuration cannot be used; one line for each problem.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Problems(pub Vec<String>);

impl Config {
    /// Reads and checks all settings from `environment`, and from `.env` in `folder` for what that leaves open.
    pub fn load(environment: impl IntoIterator<Item = (OsString, OsString)>, folder: &Path) -> Result<Self, Problems> {
        let mut raw = RawSettings::gather(settings::groups(), environment, folder);
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), raw.of_process(name)?)));
        let child_environment = inherited.collect();
        let search_path = raw.of_process("PATH").unwrap_or_default();
        match read(&mut raw, search_path, child_environment) {
            Some(config) if raw.problems.is_empty() => Ok(config),
            _ => Err(Problems(raw.problems)),
        }
    }
}

/// How logs are written where the configuration as a whole cannot be used.
pub fn log_of(environment: impl IntoIterator<Item = (OsString, OsString)>, folder: &Path) -> Log {
    let raw = RawSettings::gather(settings::groups(), environment, folder);
    let level = raw.word("LOG_LEVEL").unwrap_or(LogLevel::Info);
    Log { level, format: raw.word("LOG_FORMAT").unwrap_or(LogFormat::Text) }
}

/// The whole configuration; none when a problem was recorded.
fn read(raw: &mut RawSettings, search_path: OsString, child_environment: Vec<(String, OsString)>) -> Option<Config> {
    let source = source::read(raw);
    let dump = dump::read(raw, search_path);
    let selection = selection::read(raw);
    let remote = remote::read(raw);
    let verify = source.as_ref().and_then(|source| verify::read(raw, source));
    let encryption = encryption::read(raw);
    if verify.as_ref().is_some_and(|verify| verify.enabled) {
        encryption::refuse_what_cannot_be_proved(raw, &encryption);
    }
    let notifications = notify::NotifiedServices::read(raw);
    let (metrics, daemon) = (metrics::read(raw), daemon::read(raw));
    if let (Some(selection), Some(dump)) = (&selection, &dump) {
        refuse_what_the_mode_does_not_take(raw, selection.mode, dump);
    }
    let effective = raw.shown().map(|(name, value, origin)| Effective { name, value, source: origin.to_string() });
    Some(Config {
        effective: effective.collect(),
        source: source?,
        selection: selection?,
        dump: dump?,
        target: raw.word("BACKUP_TARGET")?,
        local: LocalSettings { folder: raw.path("BACKUP_DIR")?, path_format: raw.word("LOCAL_PATH_FORMAT")? },
        remote: remote?,
        retention: retention::read_local(raw)?,
        shrink_guard: raw.number("BACKUP_SHRINK_GUARD")?,
        restore_jobs: raw.number("RESTORE_JOBS")?,
        remote_retention: retention::read_remote(raw)?,
        verify: verify?,
        encryption,
        notifications,
        metrics,
        daemon: daemon?,
        log: Log { level: raw.word("LOG_LEVEL")?, format: raw.word("LOG_FORMAT")? },
        deadline: raw.duration("BACKUP_TIMEOUT").filter(|deadline| !deadline.is_zero()),
        stall_timeout: raw.duration("STALL_TIMEOUT")?,
        child_environment,
        warnings: std::mem::take(&mut raw.warnings),
    })
}

fn refuse_what_the_mode_does_not_take(raw: &mut RawSettings, mode: Mode, dump: &DumpSettings) {
    let refused = match mode {
        Mode::Database => dump_options::refuse_half_of_clean(&dump.extra_args).map(|why| ("PG_DUMP_EXTRA_ARGS", why)),
        Mode::Cluster => (dump.format == Format::Custom)
            .then(|| ("BACKUP_FORMAT", "plain, because BACKUP_MODE=cluster makes one archive of SQL".to_owned())),
    };
    if let Some((name, allowed)) = refused {
        raw.refuse(name, &allowed);
    }
}

/// What a child process may see of our environment; everything else is cleared.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PGPASSFILE",
    "PGSSLCRL",
    "PGKRBSRVNAME",
    "KRB5CCNAME",
    "KRB5_CONFIG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

#[cfg(test)]
mod tests;
