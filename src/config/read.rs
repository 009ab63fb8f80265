//! From strings to typed values: each function reads the settings of one group and records what is wrong with them.

use super::received::Received;
use super::{
    Config, Dump, Effective, Encryption, Format, Local, Log, Mode, PathFormat, Retention, Selection, Source, daemon,
    notices, remote, selection, settings, source, verify,
};
use crate::dump_format::dump_options;
use crate::encryption::{Identities, Recipients};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A share, as it is given.
const SHARE: &str = "a share from 0 to 1, such as 0.5";

/// The whole configuration; none when a problem was recorded.
pub(super) fn config(
    received: &mut Received,
    passfile: Option<PathBuf>,
    search_path: OsString,
    child_environment: Vec<(String, OsString)>,
) -> Option<Config> {
    let source = source::read(received, passfile);
    let dump = read_dump(received, search_path);
    let selection = selection::read(received);
    let target = received.get("BACKUP_TARGET", "local, remote or all");
    let local = read_local(received);
    let several = selection.as_ref().is_some_and(Selection::is_several);
    let remote = remote::read(received, several);
    let retention = read_retention(received);
    let remote_retention = remote::read_retention(received, retention.as_ref());
    let shrink_guard: Option<f64> = received.get("BACKUP_SHRINK_GUARD", SHARE);
    if shrink_guard.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        received.refuse("BACKUP_SHRINK_GUARD", SHARE);
    }
    let verify = source.as_ref().and_then(|source| verify::read(received, source));
    let encryption = read_encryption(received);
    if verify.as_ref().is_some_and(|verify| verify.enabled) {
        refuse_what_cannot_be_proved(received, &encryption);
    }
    let notices = notices::read(received);
    let metrics = notices::read_metrics(received);
    let daemon = daemon::read(received);
    let log = read_log(received);
    let deadline = received.duration("BACKUP_TIMEOUT");
    let stall_timeout = received.duration("STALL_TIMEOUT");
    if stall_timeout.is_some_and(|timeout| timeout.is_zero()) {
        received.refuse("STALL_TIMEOUT", "a duration above zero");
    }
    if let (Some(selection), Some(dump)) = (&selection, &dump) {
        refuse_what_the_mode_does_not_take(received, selection.mode, dump);
    }
    let source = source?;
    Some(Config {
        effective: effective(received, &source, several),
        source,
        selection: selection?,
        dump: dump?,
        target: target?,
        local: local?,
        remote: remote?,
        retention: retention?,
        shrink_guard: shrink_guard?,
        remote_retention: remote_retention?,
        verify: verify?,
        encryption,
        notices,
        metrics,
        daemon: daemon?,
        log: log?,
        deadline: deadline.filter(|deadline| !deadline.is_zero()),
        stall_timeout: stall_timeout?,
        child_environment,
        warnings: std::mem::take(&mut received.warnings),
    })
}

fn refuse_what_the_mode_does_not_take(received: &mut Received, mode: Mode, dump: &Dump) {
    let refused = match mode {
        Mode::Database => dump_options::refuse_half_of_clean(&dump.extra_args).map(|why| ("PG_DUMP_EXTRA_ARGS", why)),
        Mode::Cluster => (dump.format == Format::Custom)
            .then(|| ("BACKUP_FORMAT", "plain, because BACKUP_MODE=cluster makes one archive of SQL".to_owned())),
    };
    if let Some((name, allowed)) = refused {
        received.refuse(name, &allowed);
    }
}

impl Received {
    /// Seconds, or a number with a unit such as `90s`, `10m` or `2h`.
    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
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

    /// An address of the web, as it was given.
    pub(super) fn url(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name);
        let valid = |text: &String| url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if text.as_ref().is_some_and(|text| !valid(text)) {
            self.refuse(name, "an http or https URL");
        }
        text
    }

    pub(super) fn number(&mut self, name: &'static str, least: u32, most: u32) -> Option<u32> {
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
    let extra_args = match super::dump_arguments::parse(&received.text("PG_DUMP_EXTRA_ARGS").unwrap_or_default()) {
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

fn read_local(received: &mut Received) -> Option<Local> {
    let path_format = received.get("LOCAL_PATH_FORMAT", PathFormat::ALLOWED);
    Some(Local { folder: received.text("BACKUP_DIR")?.into(), path_format: path_format? })
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

/// Keys are given as such or in a file; a private key only in a file.
fn read_encryption(received: &mut Received) -> Encryption {
    let recipients = received.text("AGE_RECIPIENTS").and_then(|text| {
        let text = if text.starts_with("age1") || text.contains(',') { Ok(text) } else { read_keys(&text) };
        let parsed = text.and_then(|text| Recipients::parse(&text).map_err(|error| error.to_string()));
        parsed.map_err(|error| received.problems.push(format!("AGE_RECIPIENTS: {error}"))).ok()
    });
    let identities = received.text("AGE_IDENTITY_FILE").and_then(|path| {
        let parsed =
            read_keys(&path).and_then(|text| Identities::parse(&text).map_err(|error| format!("{path}: {error}")));
        parsed.map_err(|error| received.problems.push(format!("AGE_IDENTITY_FILE: {error}"))).ok()
    });
    Encryption { recipients, identities }
}

fn read_keys(path: &str) -> Result<String, String> {
    if path.to_ascii_uppercase().contains("AGE-SECRET-KEY") {
        return Err(
            "a private key is given only as a file, by AGE_IDENTITY_FILE=/path; it is not shown here".to_owned()
        );
    }
    std::fs::read_to_string(path).map_err(|error| format!("reading {path}: {error}"))
}

fn refuse_what_cannot_be_proved(received: &mut Received, encryption: &Encryption) {
    let Some(recipients) = &encryption.recipients else { return };
    let problem = match &encryption.identities {
        Some(identities) if identities.open_some_of(recipients) => return,
        Some(_) => "AGE_IDENTITY_FILE opens nothing that is encrypted to AGE_RECIPIENTS, and VERIFY_ENABLED needs that",
        // the reason is among the problems already
        None if received.is_set("AGE_IDENTITY_FILE") => return,
        None => {
            "VERIFY_ENABLED with AGE_RECIPIENTS needs AGE_IDENTITY_FILE; or verify elsewhere, where the private key is"
        }
    };
    received.problems.push(problem.to_owned());
}

fn read_log(received: &mut Received) -> Option<Log> {
    let level = received.get("LOG_LEVEL", "trace, debug, info, warn, warning or error");
    let format = received.get("LOG_FORMAT", "auto, text or json");
    Some(Log { level: level?, format: format? })
}

/// Values in force, with computed defaults worked out and secrets hidden.
fn effective(received: &Received, source: &Source, several: bool) -> Vec<Effective> {
    let show = |setting: settings::Setting| {
        let text = received.current(setting.name);
        let value = match (setting.name, text) {
            ("BACKUP_SOURCE", None) => Some(source.name.clone()),
            ("REMOTE_KIND", None) => Some(remote::default_kind(received).to_owned()),
            ("REMOTE_PATH_FORMAT", None) => Some(if several { "database" } else { "monthly" }.to_owned()),
            ("VERIFY_HOST", None) => Some(source.host.clone()),
            ("VERIFY_PORT", None) => Some(source.port.to_string()),
            ("VERIFY_USER", None) => Some(source.user.clone()),
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
