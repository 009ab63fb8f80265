//! Configuration: the strings received, then typed values that no code can get wrong.
//!
//! Only this module reads the environment. All problems are reported at once, each naming the variable, the value
//! received (never a secret's) and what is allowed.

mod daemon;
mod database_url;
mod dump_arguments;
mod env_file;
mod notices;
mod read;
mod received;
mod remote;
mod secret;
mod selection;
pub mod settings;
mod source;
mod verify;

pub use crate::record::manifest::{BackupType, Format};
pub use daemon::Daemon;
pub use notices::{Metrics, Notices};
pub use received::Origin;
pub use remote::{Azure, AzureAccess, Checksum, Gcs, Remote, S3, Sse, Store};
pub use secret::{Password, Secret};
pub use selection::{Databases, Mode, Pattern, Selection, Shard};
pub use source::{Retry, RootCert, ServerRole, Source, SslMode, Tls};
pub use verify::Verify;

use crate::encryption::{Identities, Recipients};
use received::Received;
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
    pub dump: Dump,
    /// Local folder and remote store.
    pub target: Target,
    /// The folder.
    pub local: Local,
    /// The store.
    pub remote: Remote,
    /// How long local backups are kept.
    pub retention: Retention,
    /// The share of its rows or tables below which a database is held to have fallen; 0 never does.
    pub shrink_guard: f64,
    /// How long remote ones are; none keeps all.
    pub remote_retention: Option<Retention>,
    /// How backups are proved.
    pub verify: Verify,
    /// Who may read backups.
    pub encryption: Encryption,
    /// Who is told of runs.
    pub notices: Notices,
    /// Where metrics go.
    pub metrics: Metrics,
    /// What the daemon does and when.
    pub daemon: Daemon,
    /// Logs.
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

/// What pg_dump is asked for.
#[derive(Debug, Clone)]
pub struct Dump {
    /// Plain SQL or custom archive.
    pub format: Format,
    /// 0 to 9.
    pub level: u8,
    /// Compressing workers.
    pub jobs: usize,
    /// Table patterns to leave out.
    pub exclude_tables: Vec<String>,
    /// Table patterns whose rows are left out.
    pub exclude_table_data: Vec<String>,
    /// Leave out ownership.
    pub no_owner: bool,
    /// Leave out privileges.
    pub no_privileges: bool,
    /// More arguments.
    pub extra_args: Vec<String>,
    /// How long to wait for a table lock.
    pub lock_timeout: Duration,
    /// Folder of the client tools.
    pub bin_dir: Option<PathBuf>,
    /// `PATH` of this process, searched for the client tools.
    pub search_path: OsString,
    /// Prefix of names.
    pub base_name: String,
    /// Default of `--type`.
    pub backup_type: BackupType,
    /// Zone of the times in names.
    pub timezone: chrono_tz::Tz,
}

/// Level of SQL where databases are saved as custom archives, whose level is pg_dump's.
const SQL_LEVEL: u8 = 6;

impl Dump {
    /// The level of archives that are SQL.
    pub fn sql_level(&self) -> u8 {
        match self.format {
            Format::Plain => self.level,
            Format::Custom => SQL_LEVEL,
        }
    }

    /// True when pg_dump is asked for everything in a database.
    pub fn leaves_out_nothing(&self) -> bool {
        self.exclude_tables.is_empty() && self.exclude_table_data.is_empty() && self.extra_args.is_empty()
    }
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
    /// True when the folder is written.
    pub fn has_local(self) -> bool {
        self != Self::Remote
    }

    /// True when the store is written.
    pub fn has_remote(self) -> bool {
        self != Self::Local
    }
}

/// The local side.
#[derive(Debug, Clone)]
pub struct Local {
    /// `BACKUP_DIR`.
    pub folder: PathBuf,
    /// Layout under it.
    pub path_format: PathFormat,
}

/// Layout of archives under a folder or prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathFormat {
    /// `NAME`
    Flat,
    /// `2026-01/NAME`
    Monthly,
    /// `2026-01-28/NAME`
    Daily,
    /// `daily/NAME`
    Type,
    /// `DATABASE/TIMESTAMP.sql.gz`
    Database,
}

impl PathFormat {
    const ALLOWED: &str = "flat, monthly, daily, type or database";
}

/// How long one side keeps backups; a count of 0 keeps all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `auto` backups older than this many days go.
    pub days: u32,
    /// Newest daily backups kept.
    pub daily: u32,
    /// Newest weekly backups kept.
    pub weekly: u32,
    /// Newest monthly backups kept.
    pub monthly: u32,
    /// Newest good backups that never go.
    pub min_keep: u32,
}

/// Keys of age.
#[derive(Debug, Clone, Default)]
pub struct Encryption {
    /// Who may read what is written; none leaves it unencrypted.
    pub recipients: Option<Recipients>,
    /// What may be read.
    pub identities: Option<Identities>,
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
#[allow(missing_docs, reason = "the words say it")]
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
    /// Text.
    Auto,
    /// One line for people.
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
        let environment: Vec<(OsString, OsString)> = environment.into_iter().collect();
        let plain = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let mut received = Received::gather(environment.clone(), folder);
        let passfile = plain("PGPASSFILE")
            .map(PathBuf::from)
            .or_else(|| plain("HOME").map(|home| Path::new(&home).join(".pgpass")).filter(|path| path.exists()));
        let child_environment =
            INHERITED.iter().filter_map(|name| plain(name).map(|value| ((*name).to_owned(), value))).collect();
        let search_path = plain("PATH").unwrap_or_default();
        let config = read::config(&mut received, passfile, search_path, child_environment);
        match config {
            Some(config) if received.problems.is_empty() => Ok(config),
            _ => Err(Problems(received.problems)),
        }
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
