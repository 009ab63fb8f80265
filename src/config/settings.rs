//! Every setting of the program, once: name, kind, default, meaning. Those of stores and of notification services stand
//! beside their code, and are taken in here.
//!
//! Messages, `--help`, `backup config`, the reference's table, `.env.example` and the chart's schema are made from `groups`.

use super::{
    BackupType, Format, LogFormat, LogLevel, Mode, PathFormat, SslMode, Target, dump, selection, source, verify,
};
use crate::notify::services;
use crate::settings::{ChartUse, DefaultValue, Setting, SettingGroup, ValueKind, words_of};
use crate::storage::{backends, store};
use std::path::Path;
use std::sync::LazyLock;

const ONE_HOST: ValueKind = ValueKind::Form("one host", |text| !text.contains(','));
const PATTERNS: ValueKind =
    ValueKind::Form("comma-separated names and globs with `*`, `?` and `[…]`", selection::are_patterns);
const ZONE: ValueKind = ValueKind::Form("a zone of the time-zone database, such as UTC or Asia/Bangkok", |text| {
    text.parse::<chrono_tz::Tz>().is_ok()
});
const BASE_NAME: ValueKind =
    ValueKind::Form("at most 64 letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`", dump::is_base_name);
const COUNT: ValueKind = ValueKind::Number(0, 1_000_000);
const SCRATCH_NAME: ValueKind = ValueKind::Form(
    "a name that no database on the server has, because the scratch database is created and dropped",
    verify::is_scratch_name,
);
const ADDRESS: ValueKind = ValueKind::Form("an address and a port, such as 127.0.0.1:8080 or [::]:8080", |text| {
    text.parse::<std::net::SocketAddr>().is_ok()
});

/// Headings and the settings under them, in the order documents show them.
static GROUPS: LazyLock<Vec<SettingGroup>> = LazyLock::new(|| {
    let own = |title, settings: &[Setting]| SettingGroup { title, settings: settings.to_vec() };
    let stores = backends::ALL.iter().map(|backend| own(backend.title, backend.settings));
    let services = services::ALL.iter().flat_map(|service| service.settings).copied().collect();
    let before = [own("Source database", SOURCE), own("What is dumped", DUMP), own("Where backups are kept", PLACES)];
    let after = [
        own("Retention", RETENTION),
        own("Verification", VERIFICATION),
        own("Encryption", ENCRYPTION),
        SettingGroup { title: "Notifications", settings: services },
        own("Metrics", METRICS),
        own("Scheduler and sharding", SCHEDULER),
        own("Logs", LOGS),
    ];
    before.into_iter().chain(stores).chain(after).collect()
});

/// Every setting under its heading.
pub fn groups() -> &'static [SettingGroup] {
    &GROUPS
}

/// Every setting in the order documents show them.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    groups().iter().flat_map(|group| &group.settings)
}

/// An environment file with every setting and its default, as `.env.example` is.
pub fn template() -> String {
    let mut text = String::from(
        "# Every setting with its default; an empty value means unset. Copy to .env and change what you need.\n\
         # One NAME=value a line, taken literally to its end: no quotes, no comments after a value. Read the same way by\n\
         # backup, docker run --env-file and kubectl create secret --from-env-file. A secret may also be given as a file: NAME_FILE=path.\n",
    );
    for group in groups() {
        text += &format!("\n# --- {}\n", group.title);
        for setting in &group.settings {
            let computed = match setting.default {
                DefaultValue::Computed(words, _) => format!(" Default: {words}."),
                _ => String::new(),
            };
            text += &format!("# {}{computed}\n{}={}\n", setting.describe(), setting.name, setting.default.literal());
        }
    }
    text
}

const SOURCE: &[Setting] = &[
Setting::new("POSTGRES_HOST", ONE_HOST, "Host name, address, or folder of the server's socket.").default("localhost"),
Setting::new("POSTGRES_PORT", ValueKind::Number(1, 65535), "Port of the server.").default("5432"),
Setting::new("POSTGRES_USER", ValueKind::Text, "Role that reads the database.").default("backup_user"),
Setting::new("POSTGRES_PASSWORD", ValueKind::Text, "Password of that role. The default applies only to localhost; elsewhere, unset means PGPASSFILE, a client certificate or no password.").default_where("backup_password", source::default_password_holds).secret(),
Setting::new("POSTGRES_DB", ValueKind::Text, "Database to back up unless BACKUP_DATABASES says otherwise, and the one in which the run holds its lock; if unset, it is `postgres` when several databases or the whole server are backed up.").default("testdb"),
Setting::new("DATABASE_URL", ValueKind::Text, "postgres://user:password@host:port/database, instead of the five above; setting both to different values is an error.").secret(),
Setting::new("BACKUP_SOURCE", ValueKind::Text, "Name of this source in manifests. Locking, pruning, counting and sweeping apply only to backups of the same source.").computed("host:port", source::default_name),
Setting::new("POSTGRES_SSLMODE", ValueKind::Words(words_of::<SslMode>), "As in libpq; applies to the program's own connections and to the client tools.").default("prefer"),
Setting::new("POSTGRES_SSLROOTCERT", ValueKind::Text, "File of certificate authorities that the server's certificate is checked against, or `system`."),
Setting::new("POSTGRES_SSLCERT", ValueKind::Text, "Client certificate file."),
Setting::new("POSTGRES_SSLKEY", ValueKind::Text, "Key file of the client certificate."),
Setting::new("RETRY_COUNT", ValueKind::Number(1, 1000), "Attempts to reach the database or the store; authentication errors are not retried.").default("3"),
Setting::new("RETRY_DELAY", ValueKind::Duration, "Pause between attempts, with jitter.").default("5"),
];

const DUMP: &[Setting] = &[
    Setting::new(
        "BACKUP_DATABASES",
        PATTERNS,
        "Unset: POSTGRES_DB alone. `all`, or a comma-separated list of names and globs (`*`, `?`, `[…]`).",
    ),
    Setting::new("BACKUP_EXCLUDE_DATABASES", PATTERNS, "Comma-separated list of names and globs to leave out."),
    Setting::new(
        "BACKUP_MODE",
        ValueKind::Words(words_of::<Mode>),
        "One archive per database, or one of the whole server, as pg_dumpall writes it.",
    )
    .default("database")
    .chart(ChartUse::Reads),
    Setting::new(
        "BACKUP_GLOBALS",
        ValueKind::Form("auto, true or false", selection::is_globals),
        "Also save roles and tablespaces: true, false, or auto (when more than one database is selected).",
    )
    .default("auto"),
    Setting::new(
        "BACKUP_FORMAT",
        ValueKind::Words(words_of::<Format>),
        "plain is SQL that gunzip and psql can restore (.sql.gz), custom is an archive for pg_restore (.dump).",
    )
    .default("plain"),
    Setting::new(
        "BACKUP_COMPRESSION_LEVEL",
        ValueKind::Number(0, 9),
        "Compression level of archives: 0 is none, 9 is smallest and slowest.",
    )
    .computed("6 plain, 9 custom", dump::default_level),
    Setting::new("BACKUP_JOBS", ValueKind::Number(1, 256), "Number of workers that compress archives.")
        .computed("cores", dump::cores),
    Setting::new(
        "BACKUP_DATABASE_JOBS",
        ValueKind::Number(1, 64),
        "Databases dumped at once, largest first; they share the workers and the memory.",
    )
    .default("1"),
    Setting::new(
        "BACKUP_CONNECTIONS",
        ValueKind::Number(1, 64),
        "Connections that read rows in parallel, shared by all databases dumped at once; with 1, pg_dump reads alone.",
    )
    .computed("cores, at most 4", dump::connections),
    Setting::new(
        "RESTORE_JOBS",
        ValueKind::Number(1, 64),
        "Connections that load rows and create indexes in parallel when a backup is restored or verified.",
    )
    .computed("cores", dump::cores),
    Setting::new(
        "BACKUP_EXCLUDE_TABLES",
        ValueKind::List,
        "Comma-separated list of pg_dump table patterns to leave out.",
    ),
    Setting::new(
        "BACKUP_EXCLUDE_TABLE_DATA",
        ValueKind::List,
        "Comma-separated list of pg_dump table patterns whose rows are left out.",
    ),
    Setting::new("BACKUP_NO_OWNER", ValueKind::Flag, "Leave out ownership.").default("false"),
    Setting::new("BACKUP_NO_PRIVILEGES", ValueKind::Flag, "Leave out GRANT and REVOKE.").default("false"),
    Setting::new(
        "PG_DUMP_EXTRA_ARGS",
        ValueKind::Text,
        "Extra arguments for pg_dump, split as a shell would split them but never run by one; those that would break the stream are refused.",
    ),
    Setting::new("BACKUP_LOCK_TIMEOUT", ValueKind::Duration, "How long pg_dump waits for a table lock.").default("60s"),
    Setting::new("BACKUP_TIMEOUT", ValueKind::Duration, "Deadline of the whole run (0: none).").default("0"),
    Setting::new(
        "STALL_TIMEOUT",
        ValueKind::PositiveDuration,
        "A side that accepts no data for this long is dropped from the run.",
    )
    .default("120s"),
    Setting::new("BACKUP_TIMEZONE", ZONE, "Time zone of the times in file names; manifests are always UTC.")
        .default("UTC"),
    Setting::new(
        "PG_BIN_DIR",
        ValueKind::Form("an existing folder", |text| Path::new(text).is_dir()),
        "Folder of the client tools. Unset: PATH and the usual folders are searched for the server's major version, or else the next newer one.",
    ),
];

const PLACES: &[Setting] = &[
    Setting::new("BACKUP_DIR", ValueKind::Text, "Local folder for backups.")
        .default("./backups")
        .chart(ChartUse::Withholds),
    Setting::new("BACKUP_BASE_NAME", BASE_NAME, "Prefix of file names.").default("backup"),
    Setting::new("BACKUP_TYPE", ValueKind::Words(words_of::<BackupType>), "Default of --type.").default("auto"),
    Setting::new("BACKUP_TARGET", ValueKind::Words(words_of::<Target>), "Where backups are kept.")
        .default("local")
        .chart(ChartUse::Reads),
    Setting::new("LOCAL_PATH_FORMAT", ValueKind::Words(words_of::<PathFormat>), "Layout of the folder.")
        .default("flat"),
    Setting::new(
        "REMOTE_KIND",
        ValueKind::Words(backends::names),
        "Kind of the remote store, which decides which settings describe it.",
    )
    .computed("s3, or gcs when GCS_BUCKET_NAME is set", backends::default_kind)
    .chart(ChartUse::Reads),
    Setting::new(
        "REMOTE_PREFIX",
        store::FOLDER,
        "Folder inside the bucket or container; for gcs, use GCS_BACKUP_PREFIX.",
    ),
    Setting::new(
        "REMOTE_PATH_FORMAT",
        ValueKind::Words(words_of::<PathFormat>),
        "Layout of the store: NAME, 2026-01/NAME, 2026-01-28/NAME, daily/NAME or DATABASE/TIMESTAMP.sql.gz.",
    )
    .computed("monthly, or database for several databases", selection::default_path_format),
    Setting::new(
        "REMOTE_CA_FILE",
        ValueKind::File,
        "File of certificate authorities for the store's endpoint, in addition to the system's.",
    ),
    Setting::new(
        "REMOTE_MAX_PARTS",
        ValueKind::Number(100, 10_000),
        "Largest number of parts that the store allows in one upload.",
    )
    .default("10000"),
];

const RETENTION: &[Setting] = &[
Setting::new("RETENTION_DAYS", COUNT, "Local auto backups older than this many days are pruned (0: keep all).").default("7"),
Setting::new("BACKUP_RETENTION_DAILY", COUNT, "Number of newest daily backups kept locally (0: keep all).").default("7"),
Setting::new("BACKUP_RETENTION_WEEKLY", COUNT, "Number of newest weekly backups kept locally (0: keep all).").default("4"),
Setting::new("BACKUP_RETENTION_MONTHLY", COUNT, "Number of newest monthly backups kept locally (0: keep all).").default("12"),
Setting::new("BACKUP_SHRINK_GUARD", ValueKind::Share, "A database whose rows or tables fall below this share of the last backup raises an alarm, and the last backup before the loss is retained until the rows are back or `backup prune --release` confirms the loss; 0 switches this off.").default("0.5"),
Setting::new("RETENTION_MIN_KEEP", COUNT, "Number of newest good backups per database and side that are never pruned, whatever their age (manual ones not counted).").default("1"),
Setting::new("REMOTE_RETENTION_ENABLED", ValueKind::Flag, "Prune the remote side too; off by default, because a lifecycle rule of the bucket can do it instead.").default("false"),
Setting::new("REMOTE_RETENTION_DAYS", COUNT, "Like RETENTION_DAYS, for the remote side.").default("30"),
Setting::new("REMOTE_RETENTION_DAILY", COUNT, "Like BACKUP_RETENTION_DAILY, for the remote side.").default("30"),
Setting::new("REMOTE_RETENTION_WEEKLY", COUNT, "Like BACKUP_RETENTION_WEEKLY, for the remote side.").default("90"),
Setting::new("REMOTE_RETENTION_MONTHLY", COUNT, "Like BACKUP_RETENTION_MONTHLY, for the remote side.").default("24"),
Setting::new("GCS_RETENTION_ENABLED", ValueKind::Flag, "Alias of REMOTE_RETENTION_ENABLED.").alias_of("REMOTE_RETENTION_ENABLED"),
Setting::new("GCS_RETENTION_DAILY", COUNT, "Alias of REMOTE_RETENTION_DAILY.").alias_of("REMOTE_RETENTION_DAILY"),
Setting::new("GCS_RETENTION_WEEKLY", COUNT, "Alias of REMOTE_RETENTION_WEEKLY.").alias_of("REMOTE_RETENTION_WEEKLY"),
];

const VERIFICATION: &[Setting] = &[
Setting::new("VERIFY_ENABLED", ValueKind::Flag, "Restore each backup into a scratch database and compare.").default("false"),
Setting::new("VERIFY_HOST", ONE_HOST, "Server to restore to; its major version must be at least that of the pg_dump that made the backup. A server on another host is recommended.").computed("POSTGRES_HOST", |raw| raw.text("POSTGRES_HOST")),
Setting::new("VERIFY_PORT", ValueKind::Number(1, 65535), "Port of that server.").computed("POSTGRES_PORT", |raw| raw.text("POSTGRES_PORT")),
Setting::new("VERIFY_USER", ValueKind::Text, "Role that may create databases there.").computed("POSTGRES_USER", |raw| raw.text("POSTGRES_USER")),
Setting::new("VERIFY_PASSWORD", ValueKind::Text, "Password of that role.").computed("POSTGRES_PASSWORD", |_| None).secret(),
Setting::new("VERIFY_DB", SCRATCH_NAME, "Preferred name of the scratch database; if another database has it, the run's id is added.").computed("<database>_verify", |_| None),
Setting::new("VERIFY_STRICT", ValueKind::Flag, "Fail a verification when PostgreSQL cannot load an object from its own dump, instead of passing it with exceptions.").default("false"),
Setting::new("VERIFY_HEALTH_URL", ValueKind::Url, "URL that must answer 2xx while the restored database is up, for example that of an application connected to it."),
Setting::new("VERIFY_QUERIES_FILE", ValueKind::File, "File of SQL queries, each ending with `;`, that must all return true in the restored database."),
];

const ENCRYPTION: &[Setting] = &[
    Setting::new(
        "AGE_RECIPIENTS",
        ValueKind::Text,
        "Comma-separated age public keys, or a file of them; backups are encrypted to all of them.",
    ),
    Setting::new(
        "AGE_IDENTITY_FILE",
        ValueKind::Text,
        "File of the age private key; needed to verify, restore, show, diff or peek, not to make backups.",
    )
    .chart(ChartUse::Withholds),
];

const METRICS: &[Setting] = &[
    Setting::new(
        "METRICS_TEXTFILE",
        ValueKind::Text,
        "File for the node exporter's textfile collector, such as /var/lib/node_exporter/backup.prom; replaced atomically after each run and verification.",
    ),
    Setting::new(
        "PUSHGATEWAY_URL",
        ValueKind::Url,
        "Prometheus Pushgateway that receives the metrics after each run and verification.",
    )
    .secret(),
];

const SCHEDULER: &[Setting] = &[
Setting::new("SCHEDULE_DAILY", ValueKind::Text, "Cron expression of the daily backup, or off. This and the following are for `backup schedule`.").default("0 2 * * *").chart(ChartUse::Withholds),
Setting::new("SCHEDULE_WEEKLY", ValueKind::Text, "Cron expression of the weekly backup, or off.").default("0 3 * * 0").chart(ChartUse::Withholds),
Setting::new("SCHEDULE_MONTHLY", ValueKind::Text, "Cron expression of the monthly backup, or off.").chart(ChartUse::Withholds),
Setting::new("BACKUP_SCHEDULE", ValueKind::Text, "One cron expression for auto backups, instead of the daily, weekly and monthly ones.").chart(ChartUse::Withholds),
Setting::new("SCHEDULE_TIMEZONE", ZONE, "Time zone of the schedules, such as Europe/Berlin. A run whose time is skipped when the clocks change starts when the gap ends; one whose time occurs twice runs once.").default("UTC").chart(ChartUse::Withholds),
Setting::new("SCHEDULER_SYNC_INTERVAL_SECONDS", ValueKind::Number(0, 31_536_000), "Seconds between uploads of backups that are not yet remote, with BACKUP_TARGET=all (0: never).").default("1800").chart(ChartUse::Withholds),
Setting::new("LISTEN_ADDR", ADDRESS, "Address of the daemon's HTTP server: a status page, /healthz and /metrics, read-only and without a password.").default("127.0.0.1:8080").chart(ChartUse::Withholds),
Setting::new("SHARD_COUNT", ValueKind::Number(1, 10_000), "Number of runs that share the databases of one server; with JOB_COMPLETION_INDEX, the same as --shard.").chart(ChartUse::Withholds),
Setting::new("JOB_COMPLETION_INDEX", ValueKind::Text, "Index of this run among them, from 0; Kubernetes sets it in an Indexed Job. Used only with SHARD_COUNT.").chart(ChartUse::Withholds),
];

const LOGS: &[Setting] = &[
    Setting::new("LOG_LEVEL", ValueKind::Words(words_of::<LogLevel>), "Lowest level that is logged.").default("info"),
    Setting::new("LOG_FORMAT", ValueKind::Words(words_of::<LogFormat>), "Format of log lines; auto means text.")
        .default("auto"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_setting_is_declared_once_and_has_a_meaning() {
        let mut seen = HashSet::new();
        for setting in all() {
            assert!(seen.insert(setting.name), "{} stands twice", setting.name);
            assert!(setting.meaning.ends_with('.'), "{} has no sentence", setting.name);
        }
        assert!(seen.len() > 90);
    }
}
