//! Configuration: the strings received, then typed values that no code can get wrong.
//!
//! Only this module reads the environment. All problems are reported at once, each naming the variable, the value
//! received (never a secret's) and what is allowed.

mod dump_arguments;
mod env_file;
mod received;
mod secret;
pub mod settings;
mod source;

pub use received::Origin;
pub use secret::Secret;
pub use source::{Retry, RootCert, Source, SslMode, Tls};

use received::Received;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything the program may be told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database and how to reach it.
    pub source: Source,
    /// What pg_dump is asked for.
    pub dump: Dump,
    /// Local folder and remote store.
    pub target: Target,
    /// The folder.
    pub local: Local,
    /// The S3 store; present when the target needs it.
    pub remote: Remote,
    /// How long local backups are kept.
    pub retention: Retention,
    /// Discord notices.
    pub discord: Discord,
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

/// Format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// SQL text, compressed by us.
    Plain,
    /// pg_dump's own archive, compressed by pg_dump.
    Custom,
}

/// Why a backup was made; retention keeps each type by its own rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// Pruned by age.
    Auto,
    /// Newest N kept.
    Daily,
    /// Newest N kept.
    Weekly,
    /// Newest N kept.
    Monthly,
    /// Never pruned.
    Manual,
}

impl BackupType {
    /// The word in manifests and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Manual => "manual",
        }
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

/// The S3-compatible store.
#[derive(Debug, Clone)]
pub struct Remote {
    /// URL of the store; none is Amazon.
    pub endpoint: Option<String>,
    /// Bucket.
    pub bucket: String,
    /// Folder inside it, without slashes at the ends.
    pub prefix: String,
    /// Access key and secret key; none means the standard credential chain.
    pub keys: Option<(Secret, Secret)>,
    /// Region.
    pub region: String,
    /// Layout under the prefix.
    pub path_format: PathFormat,
    /// More certificate authorities for the endpoint.
    pub ca_file: Option<PathBuf>,
    /// Server-side encryption.
    pub sse: Option<Sse>,
    /// Storage class of archives.
    pub storage_class: Option<String>,
    /// Most parts of one upload.
    pub max_parts: u32,
    /// Whether the client adds checksums that no operation requires.
    pub checksum: Checksum,
}

/// Server-side encryption of S3.
#[derive(Debug, Clone)]
pub enum Sse {
    /// Keys of the store.
    Aes256,
    /// Keys of a key management service, the default one or a named one.
    Kms(Option<Secret>),
}

/// When the S3 client adds its own checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// Only where the operation requires one.
    WhenRequired,
    /// Wherever the operation knows one.
    WhenSupported,
}

/// How long the local side keeps backups; a count of 0 keeps all.
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

/// Discord notices.
#[derive(Debug, Clone)]
pub struct Discord {
    /// The webhook.
    pub url: Option<Secret>,
    /// Tell of success.
    pub on_success: bool,
    /// Tell of failure.
    pub on_failure: bool,
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
        let config = Self::read(&mut received, passfile, search_path, child_environment);
        match config {
            Some(config) if received.problems.is_empty() => Ok(config),
            _ => Err(Problems(received.problems)),
        }
    }

    fn read(
        received: &mut Received,
        passfile: Option<PathBuf>,
        search_path: OsString,
        child_environment: Vec<(String, OsString)>,
    ) -> Option<Self> {
        received.refuse_what_is_missing();
        let source = source::read(received, passfile);
        let dump = read_dump(received, search_path);
        let target = received.get("BACKUP_TARGET", "local, remote or all");
        let local = read_local(received);
        let remote = read_remote(received);
        let retention = read_retention(received);
        let discord = read_discord(received);
        let log = read_log(received);
        let deadline = received.duration("BACKUP_TIMEOUT");
        let stall_timeout = received.duration("STALL_TIMEOUT");
        if stall_timeout.is_some_and(|timeout| timeout.is_zero()) {
            received.refuse("STALL_TIMEOUT", "a duration above zero");
        }
        let source = source?;
        Some(Self {
            effective: effective(received, &source),
            source,
            dump: dump?,
            target: target?,
            local: local?,
            remote: remote?,
            retention: retention?,
            discord,
            log: log?,
            deadline: deadline.filter(|deadline| !deadline.is_zero()),
            stall_timeout: stall_timeout?,
            child_environment,
            warnings: std::mem::take(&mut received.warnings),
        })
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

impl Received {
    /// Seconds, or a number with a unit such as `90s`, `10m` or `2h`.
    fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let text = self.text(name)?;
        let parsed = match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => humantime::parse_duration(&text).ok(),
        };
        if parsed.is_none() {
            self.refuse(name, "seconds, or a duration such as 90s, 10m or 2h");
        }
        parsed
    }

    fn number(&mut self, name: &'static str, least: u32, most: u32) -> Option<u32> {
        let allowed = format!("a number from {least} to {most}");
        let before = self.problems.len();
        let value = self.get(name, &allowed);
        if value.is_some_and(|value| !(least..=most).contains(&value)) && self.problems.len() == before {
            self.refuse(name, &allowed);
        }
        value
    }
}

fn read_dump(received: &mut Received, search_path: OsString) -> Option<Dump> {
    let format = received.get("BACKUP_FORMAT", "plain or custom");
    let level = if received.is_set("BACKUP_COMPRESSION_LEVEL") {
        received.number("BACKUP_COMPRESSION_LEVEL", 0, 9).and_then(|level| u8::try_from(level).ok())
    } else {
        let _ = received.text("BACKUP_COMPRESSION_LEVEL");
        Some(if format == Some(Format::Custom) { 9 } else { 6 })
    };
    let jobs = if received.is_set("BACKUP_JOBS") {
        received.number("BACKUP_JOBS", 1, 256).map(|jobs| jobs as usize)
    } else {
        let _ = received.text("BACKUP_JOBS");
        Some(std::thread::available_parallelism().map_or(1, usize::from))
    };
    let extra_args = match dump_arguments::parse(&received.text("PG_DUMP_EXTRA_ARGS").unwrap_or_default()) {
        Ok(arguments) => arguments,
        Err(allowed) => {
            received.refuse("PG_DUMP_EXTRA_ARGS", &allowed);
            Vec::new()
        }
    };
    let lock_timeout = received.duration("BACKUP_LOCK_TIMEOUT");
    let bin_dir = received.text("PG_BIN_DIR").map(PathBuf::from);
    if bin_dir.as_ref().is_some_and(|folder| !folder.is_dir()) {
        received.refuse("PG_BIN_DIR", "an existing folder");
    }
    let base_name = received.text("BACKUP_BASE_NAME")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if base_name.len() > 64 || !base_name.chars().all(plain) || base_name.starts_with(['.', '-']) {
        received
            .refuse("BACKUP_BASE_NAME", "at most 64 letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`");
    }
    let backup_type = received.get("BACKUP_TYPE", "auto, daily, weekly, monthly or manual");
    let timezone = received.text("BACKUP_TIMEZONE")?.parse().ok().or_else(|| {
        received.refuse("BACKUP_TIMEZONE", "a zone of the time-zone database, such as UTC or Asia/Bangkok");
        None
    });
    Some(Dump {
        format: format?,
        level: level?,
        jobs: jobs?,
        exclude_tables: received.list("BACKUP_EXCLUDE_TABLES"),
        exclude_table_data: received.list("BACKUP_EXCLUDE_TABLE_DATA"),
        no_owner: received.flag("BACKUP_NO_OWNER"),
        no_privileges: received.flag("BACKUP_NO_PRIVILEGES"),
        extra_args,
        lock_timeout: lock_timeout?,
        bin_dir,
        search_path,
        base_name,
        backup_type: backup_type?,
        timezone: timezone?,
    })
}

const LAYOUTS: &str = "flat, monthly, daily, type or database";

fn read_local(received: &mut Received) -> Option<Local> {
    let path_format = received.get("LOCAL_PATH_FORMAT", LAYOUTS);
    Some(Local { folder: received.text("BACKUP_DIR")?.into(), path_format: path_format? })
}

fn read_remote(received: &mut Received) -> Option<Remote> {
    let endpoint = received.text("REMOTE_ENDPOINT").filter(|text| text != "aws");
    let parsed = endpoint.as_ref().map(|text| url::Url::parse(text));
    let host = match &parsed {
        Some(Ok(url)) if matches!(url.scheme(), "http" | "https") && url.username().is_empty() => {
            url.host_str().map(str::to_owned)
        }
        Some(_) => {
            received.refuse("REMOTE_ENDPOINT", "http://host:port, https://host, or `aws`");
            None
        }
        None => None,
    };
    let default_holds = host.as_deref().is_some_and(source::is_local);
    let set = (received.is_set("REMOTE_ACCESS_KEY"), received.is_set("REMOTE_SECRET_KEY"));
    if set.0 != set.1 {
        received.problems.push("REMOTE_ACCESS_KEY and REMOTE_SECRET_KEY go together; set both or none".to_owned());
    }
    let keys = received.text("REMOTE_ACCESS_KEY").zip(received.text("REMOTE_SECRET_KEY"));
    let keys = keys.filter(|_| default_holds || set == (true, true));
    let kms_key = received.text("REMOTE_SSE_KMS_KEY");
    if kms_key.is_some() && received.text("REMOTE_SSE").as_deref() != Some("aws:kms") {
        received.problems.push("REMOTE_SSE_KMS_KEY needs REMOTE_SSE=aws:kms".to_owned());
    }
    let sse = match received.text("REMOTE_SSE").as_deref() {
        None => None,
        Some("AES256") => Some(Sse::Aes256),
        Some("aws:kms") => Some(Sse::Kms(kms_key.map(Secret::from))),
        Some(_) => {
            received.refuse("REMOTE_SSE", "AES256 or aws:kms");
            None
        }
    };
    let prefix = received.text("REMOTE_PREFIX").unwrap_or_default().trim_matches('/').to_owned();
    if prefix.split('/').any(|part| matches!(part, "." | "..")) || (prefix.contains("//")) {
        received.refuse("REMOTE_PREFIX", "folder names between single slashes, without `.` and `..`");
    }
    let ca_file = received.text("REMOTE_CA_FILE").map(PathBuf::from);
    if let Some(path) = &ca_file
        && let Err(error) = std::fs::File::open(path)
    {
        received.problems.push(format!("REMOTE_CA_FILE: opening {}: {error}", path.display()));
    }
    let path_format = received.get("REMOTE_PATH_FORMAT", LAYOUTS);
    let max_parts = received.number("REMOTE_MAX_PARTS", 100, 10_000);
    let checksum = received.get("REMOTE_CHECKSUM", "when_required or when_supported");
    Some(Remote {
        endpoint,
        bucket: received.text("REMOTE_BUCKET")?,
        prefix,
        keys: keys.map(|(access, secret)| (access.into(), secret.into())),
        region: received.text("REMOTE_REGION")?,
        path_format: path_format?,
        ca_file,
        sse,
        storage_class: received.text("REMOTE_STORAGE_CLASS"),
        max_parts: max_parts?,
        checksum: checksum?,
    })
}

fn read_retention(received: &mut Received) -> Option<Retention> {
    let mut count = |name| received.number(name, 0, 1_000_000);
    let days = count("RETENTION_DAYS");
    let daily = count("BACKUP_RETENTION_DAILY");
    let weekly = count("BACKUP_RETENTION_WEEKLY");
    let monthly = count("BACKUP_RETENTION_MONTHLY");
    let min_keep = count("RETENTION_MIN_KEEP");
    Some(Retention { days: days?, daily: daily?, weekly: weekly?, monthly: monthly?, min_keep: min_keep? })
}

fn read_discord(received: &mut Received) -> Discord {
    let url = received.text("DISCORD_WEBHOOK_URL");
    let valid = |text: &String| url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if url.as_ref().is_some_and(|text| !valid(text)) {
        received.refuse("DISCORD_WEBHOOK_URL", "an http or https URL");
    }
    Discord {
        url: url.map(Secret::from),
        on_success: received.flag("DISCORD_NOTIFY_SUCCESS"),
        on_failure: received.flag("DISCORD_NOTIFY_FAILURE"),
    }
}

fn read_log(received: &mut Received) -> Option<Log> {
    let level = received.get("LOG_LEVEL", "trace, debug, info, warn, warning or error");
    let format = received.get("LOG_FORMAT", "auto, text or json");
    Some(Log { level: level?, format: format? })
}

/// Values in force, with computed defaults worked out and secrets hidden.
fn effective(received: &Received, source: &Source) -> Vec<Effective> {
    let show = |setting: settings::Setting| {
        let text = received.current(setting.name);
        let value = match (setting.name, text) {
            ("BACKUP_SOURCE", None) => Some(source.name.clone()),
            ("POSTGRES_PASSWORD", Some(_)) if source.password.is_none() => None,
            (_, Some(_)) if setting.secret => Some("(hidden)".to_owned()),
            (_, Some(text)) => Some(text),
            (_, None) => match setting.default {
                settings::Default::Computed(words) => Some(format!("({words})")),
                _ => None,
            },
        };
        Effective { name: setting.name, value, source: received.origin(setting.name).to_string() }
    };
    settings::all().map(show).collect()
}

#[cfg(test)]
mod tests;
