//! What pg_dump is asked for, and how what it writes is stored.

use super::{BackupType, Format};
use crate::dump_format::dump_options;
use crate::settings::RawSettings;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What pg_dump is asked for.
#[derive(Debug, Clone)]
pub struct DumpSettings {
    /// Plain SQL or custom archive.
    pub format: Format,
    /// 0 to 9.
    pub level: u8,
    /// Compressing workers.
    pub jobs: usize,
    /// Connections that read rows.
    pub connections: usize,
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

impl DumpSettings {
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

/// The level where nobody says: that of gzip, or the one that pg_dump gives its own archives.
pub(super) fn default_level(raw: &RawSettings) -> Option<String> {
    Some(if raw.word("BACKUP_FORMAT") == Some(Format::Custom) { "9" } else { "6" }.to_owned())
}

/// Workers where nobody says.
pub(super) fn cores(_: &RawSettings) -> Option<String> {
    Some(std::thread::available_parallelism().map_or(1, usize::from).to_string())
}

/// Most connections that read rows where nobody says.
const CONNECTIONS: usize = 4;

/// Connections that read rows where nobody says: as many as there are cores to keep up with them.
pub(super) fn connections(_: &RawSettings) -> Option<String> {
    Some(std::thread::available_parallelism().map_or(1, usize::from).min(CONNECTIONS).to_string())
}

/// True for what may begin the names of files.
pub(super) fn is_base_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    text.len() <= 64 && text.chars().all(plain) && !text.starts_with(['.', '-'])
}

/// Reads the settings; problems are recorded in `raw`.
pub(super) fn read(raw: &mut RawSettings, search_path: OsString) -> Option<DumpSettings> {
    let extra_args = read_arguments(raw);
    Some(DumpSettings {
        format: raw.word("BACKUP_FORMAT")?,
        level: raw.number("BACKUP_COMPRESSION_LEVEL")?,
        jobs: raw.number("BACKUP_JOBS")?,
        connections: raw.number("BACKUP_CONNECTIONS")?,
        exclude_tables: raw.list("BACKUP_EXCLUDE_TABLES"),
        exclude_table_data: raw.list("BACKUP_EXCLUDE_TABLE_DATA"),
        no_owner: raw.flag("BACKUP_NO_OWNER"),
        no_privileges: raw.flag("BACKUP_NO_PRIVILEGES"),
        extra_args,
        lock_timeout: raw.duration("BACKUP_LOCK_TIMEOUT")?,
        bin_dir: raw.path("PG_BIN_DIR"),
        search_path,
        base_name: raw.text("BACKUP_BASE_NAME")?,
        backup_type: raw.word("BACKUP_TYPE")?,
        timezone: raw.parsed("BACKUP_TIMEZONE")?,
    })
}

/// What may be handed to pg_dump beside what we hand it ourselves: split as a shell would, without running one. What
/// would spoil the backup is refused, and the problem says what follows from it, or what to use instead.
fn read_arguments(raw: &mut RawSettings) -> Vec<String> {
    let text = raw.text("PG_DUMP_EXTRA_ARGS").unwrap_or_default();
    let words = shlex::split(&text).ok_or_else(|| "balanced quotes".to_owned());
    let accepted = words.and_then(|words| dump_options::refuse(&words).map_or(Ok(words), Err));
    accepted.unwrap_or_else(|allowed| {
        raw.refuse("PG_DUMP_EXTRA_ARGS", &allowed);
        Vec::new()
    })
}
