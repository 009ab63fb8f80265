//! Every environment variable, once: name, default, meaning, secret or not.
//!
//! `--help`, `backup config`, the README table and `.env.example` are made from or held against `all`.

/// One environment variable of the public interface.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Name of the variable.
    pub name: &'static str,
    /// What holds when the variable is unset or empty.
    pub default: Default,
    /// One sentence for people.
    pub meaning: &'static str,
    /// Never shown; `NAME_FILE` is read too.
    pub secret: bool,
}

/// What an unset variable means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// Nothing.
    Unset,
    /// This literal value.
    Is(&'static str),
    /// A value made from other settings, in words.
    Computed(&'static str),
}

impl Default {
    /// The value as it would be written into an environment file.
    pub fn literal(self) -> &'static str {
        match self {
            Self::Is(value) => value,
            Self::Unset | Self::Computed(_) => "",
        }
    }

    /// The value as documents show it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Is(text) | Self::Computed(text) => text,
            Self::Unset => "unset",
        }
    }
}

const fn unset(name: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default: Default::Unset, meaning, secret: false }
}

const fn is(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { default: Default::Is(default), ..unset(name, meaning) }
}

const fn computed(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { default: Default::Computed(default), ..unset(name, meaning) }
}

impl Setting {
    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Name of the variable that holds the path of a file with this secret.
    pub fn file_name(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.name))
    }
}

/// Headings and the settings under them, in the order documents show them.
pub const GROUPS: &[(&str, &[Setting])] = &[
    ("Source database", &[
        is("POSTGRES_HOST", "localhost", "Host name, address, or folder of the server's socket."),
        is("POSTGRES_PORT", "5432", "Port of the server."),
        is("POSTGRES_USER", "backup_user", "Role that reads the database."),
        is("POSTGRES_PASSWORD", "backup_password", "Its password. The default holds only for localhost; elsewhere unset means PGPASSFILE, a client certificate or none.").secret(),
        is("POSTGRES_DB", "testdb", "Database to back up unless BACKUP_DATABASES says otherwise, and the one where the run's lock is held."),
        unset("DATABASE_URL", "postgres://user:password@host:port/database, instead of the five above; setting both differently is an error.").secret(),
        computed("BACKUP_SOURCE", "host:port", "Name of this source in manifests. Lock, prune, counts and sweep look only at their own source."),
        is("POSTGRES_SSLMODE", "prefer", "disable, allow, prefer, require, verify-ca or verify-full, as libpq; for our own connection and the client tools."),
        unset("POSTGRES_SSLROOTCERT", "File of certificate authorities that the server's certificate is checked against, or `system`."),
        unset("POSTGRES_SSLCERT", "Client certificate file."),
        unset("POSTGRES_SSLKEY", "Key file of the client certificate."),
        is("RETRY_COUNT", "3", "Attempts to reach the database or the store; authentication errors are not retried."),
        is("RETRY_DELAY", "5", "Seconds between attempts, with jitter."),
    ]),
    ("What is dumped", &[
        unset("BACKUP_DATABASES", "Unset: POSTGRES_DB alone. `all`, or a comma list of names and globs (`*`, `?`, `[…]`)."),
        unset("BACKUP_EXCLUDE_DATABASES", "Comma list of names and globs to leave out."),
        is("BACKUP_MODE", "database", "database: one archive per database; cluster: one archive of the whole server, as pg_dumpall writes it."),
        is("BACKUP_GLOBALS", "auto", "Also save roles and tablespaces: true, false, or auto (when more than one database is selected)."),
        is("BACKUP_FORMAT", "plain", "plain (.sql.gz, restored with gunzip and psql) or custom (.dump, restored with pg_restore)."),
        computed("BACKUP_COMPRESSION_LEVEL", "6 plain, 9 custom", "0 to 9."),
        computed("BACKUP_JOBS", "cores", "Workers that compress."),
        is("BACKUP_DATABASE_JOBS", "1", "Databases dumped at once, largest first; they share the workers and the memory."),
        unset("BACKUP_EXCLUDE_TABLES", "Comma list of pg_dump table patterns to leave out."),
        unset("BACKUP_EXCLUDE_TABLE_DATA", "Comma list of pg_dump table patterns whose rows are left out."),
        is("BACKUP_NO_OWNER", "false", "Leave out ownership."),
        is("BACKUP_NO_PRIVILEGES", "false", "Leave out GRANT and REVOKE."),
        unset("PG_DUMP_EXTRA_ARGS", "More arguments for pg_dump, split as a shell would and never run by one; those that would break the stream are refused."),
        is("BACKUP_LOCK_TIMEOUT", "60s", "How long pg_dump waits for a table lock."),
        is("BACKUP_TIMEOUT", "0", "Deadline of the whole run (0: none)."),
        is("STALL_TIMEOUT", "120s", "A target that takes no byte for this long is dropped."),
        is("BACKUP_TIMEZONE", "UTC", "Time zone of the times in names; manifests are always UTC."),
        unset("PG_BIN_DIR", "Folder of the client tools. Unset: PATH and the usual folders; same major as the server preferred, else the next newer."),
    ]),
    ("Where backups are kept", &[
        is("BACKUP_DIR", "./backups", "Local folder."),
        is("BACKUP_BASE_NAME", "backup", "Prefix of file names."),
        is("BACKUP_TYPE", "auto", "auto, daily, weekly, monthly or manual: default of --type."),
        is("BACKUP_TARGET", "local", "local, remote or all."),
        is("LOCAL_PATH_FORMAT", "flat", "Layout of the folder: flat, monthly, daily, type or database."),
        computed("REMOTE_KIND", "s3, or gcs when GCS_BUCKET_NAME is set", "s3, gcs or azure: whose settings say where the remote side is."),
        is("REMOTE_ENDPOINT", "http://localhost:9000", "URL of the S3-compatible store; `aws` is Amazon itself."),
        is("REMOTE_BUCKET", "test-backup", "Bucket; it must exist."),
        is("REMOTE_ACCESS_KEY", "minioadmin", "Access key. The default holds only for a localhost endpoint; elsewhere unset means the standard AWS credential chain.").secret(),
        is("REMOTE_SECRET_KEY", "minioadmin", "Secret key; as REMOTE_ACCESS_KEY.").secret(),
        is("REMOTE_REGION", "us-east-1", "Region."),
        unset("REMOTE_PREFIX", "Folder inside the bucket or container; GCS_BACKUP_PREFIX for gcs."),
        computed("REMOTE_PATH_FORMAT", "monthly, or database for several databases", "flat NAME, monthly 2026-01/NAME, daily 2026-01-28/NAME, type daily/NAME, database DATABASE/TIMESTAMP.sql.gz."),
        unset("REMOTE_CA_FILE", "File of certificate authorities for the store's endpoint, added to the system's."),
        unset("REMOTE_SSE", "Server-side encryption: AES256 or aws:kms."),
        unset("REMOTE_SSE_KMS_KEY", "KMS key for REMOTE_SSE=aws:kms.").secret(),
        unset("REMOTE_STORAGE_CLASS", "Storage class of the archive, for example STANDARD_IA."),
        is("REMOTE_MAX_PARTS", "10000", "Most parts of one upload that the store allows."),
        is("REMOTE_CHECKSUM", "when_required", "when_required or when_supported: when the S3 client adds its own checksums."),
    ]),
    ("Google Cloud Storage and Azure", &[
        unset("GCS_BUCKET_NAME", "Bucket; it must exist. Setting it makes gcs the default of REMOTE_KIND."),
        is("GCS_CREDENTIALS_PATH", "/gcs-credentials/credentials.json", "Service-account key file; where the default one does not exist, the identity that the machine or the pod has (workload identity)."),
        is("GCS_BACKUP_PREFIX", "backups/postgres", "Folder inside the bucket, as REMOTE_PREFIX for the others."),
        is("GCS_UPLOAD_RETRY_MAX", "3", "Attempts to send each part of an upload; RETRY_COUNT is for everything else."),
        unset("GCS_ENDPOINT", "Another endpoint than Google's, for example of a private network."),
        unset("AZURE_STORAGE_ACCOUNT", "Storage account, for REMOTE_KIND=azure."),
        unset("AZURE_CONTAINER", "Container; it must exist."),
        unset("AZURE_STORAGE_KEY", "Account key.").secret(),
        unset("AZURE_STORAGE_SAS_TOKEN", "Shared access signature with read, create, write, delete and list rights, instead of the key. Without either: the workload identity of the pod (AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE, as AKS sets them), else the managed identity.").secret(),
        unset("AZURE_ENDPOINT", "Another endpoint than https://ACCOUNT.blob.core.windows.net."),
    ]),
    ("Retention", &[
        is("RETENTION_DAYS", "7", "Local auto backups older than this many days go (0: keep all)."),
        is("BACKUP_RETENTION_DAILY", "7", "Newest daily backups kept locally (0: keep all)."),
        is("BACKUP_RETENTION_WEEKLY", "4", "Newest weekly backups kept locally (0: keep all)."),
        is("BACKUP_RETENTION_MONTHLY", "12", "Newest monthly backups kept locally (0: keep all)."),
        is(
            "BACKUP_SHRINK_GUARD",
            "0.5",
            "A database whose rows or tables fall below this share of the last backup, 0 to 1, is reported loudly, and the last backup before the fall is kept until `backup prune --release`; 0 switches it off.",
        ),
        is("RETENTION_MIN_KEEP", "1", "Per database and side, the newest good backups that never go, whatever their age (manual ones not counted)."),
        is("REMOTE_RETENTION_ENABLED", "false", "Prune the remote side too; off, because a lifecycle rule of the bucket is the other way."),
        is("REMOTE_RETENTION_DAYS", "30", "As RETENTION_DAYS, remotely."),
        is("REMOTE_RETENTION_DAILY", "30", "As BACKUP_RETENTION_DAILY, remotely."),
        is("REMOTE_RETENTION_WEEKLY", "90", "As BACKUP_RETENTION_WEEKLY, remotely."),
        is("REMOTE_RETENTION_MONTHLY", "24", "As BACKUP_RETENTION_MONTHLY, remotely."),
        unset("GCS_RETENTION_ENABLED", "Alias of REMOTE_RETENTION_ENABLED."),
        unset("GCS_RETENTION_DAILY", "Alias of REMOTE_RETENTION_DAILY."),
        unset("GCS_RETENTION_WEEKLY", "Alias of REMOTE_RETENTION_WEEKLY."),
    ]),
    ("Verification", &[
        is("VERIFY_ENABLED", "false", "Restore each backup into a scratch database and compare."),
        computed("VERIFY_HOST", "POSTGRES_HOST", "Server to restore to: its major must be at least that of the pg_dump that made the backup. A server of another host is recommended."),
        computed("VERIFY_PORT", "POSTGRES_PORT", "Its port."),
        computed("VERIFY_USER", "POSTGRES_USER", "Role that may create databases there."),
        computed("VERIFY_PASSWORD", "POSTGRES_PASSWORD", "Its password.").secret(),
        computed("VERIFY_DB", "<database>_verify", "Wanted name of the scratch database; where somebody else's has it, the run's id is added."),
        unset("VERIFY_HEALTH_URL", "URL that must answer 2xx while the restored database is up, for example of an application that is pointed at it."),
        unset("VERIFY_QUERIES_FILE", "File of SQL queries, each ended by `;`, that must each return true in the restored database."),
    ]),
    ("Encryption", &[
        unset("AGE_RECIPIENTS", "age public keys between commas, or a file of them; backups are encrypted to all of them."),
        unset("AGE_IDENTITY_FILE", "File of the age private key; only verify and restore need it."),
    ]),
    ("Notices and metrics", &[
        unset("DISCORD_WEBHOOK_URL", "Discord webhook.").secret(),
        is("DISCORD_NOTIFY_SUCCESS", "true", "Tell of runs that succeeded."),
        is("DISCORD_NOTIFY_FAILURE", "true", "Tell of runs that failed or were partly done."),
        unset("SLACK_WEBHOOK_URL", "Slack webhook; told of every run.").secret(),
        unset("WEBHOOK_URL", "Any URL that takes the report of every run as a JSON POST (docs/schemas/report.json).").secret(),
        unset("HEALTHCHECK_URL", "healthchecks-style URL: URL/start when a run begins, then URL after success and URL/fail after anything else.").secret(),
        unset("METRICS_TEXTFILE", "File for the node exporter's textfile collector, such as /var/lib/node_exporter/backup.prom; replaced at once after each run and verification."),
        unset("PUSHGATEWAY_URL", "Prometheus Pushgateway, pushed to after each run and verification.").secret(),
    ]),
    ("Scheduler and sharding", &[
        is("SCHEDULE_DAILY", "0 2 * * *", "Cron expression of the daily backup, or off. This and the following are for `backup schedule`."),
        is("SCHEDULE_WEEKLY", "0 3 * * 0", "Cron expression of the weekly backup, or off."),
        unset("SCHEDULE_MONTHLY", "Cron expression of the monthly backup, or off."),
        unset("BACKUP_SCHEDULE", "One cron expression for auto backups, instead of the typed ones."),
        is("SCHEDULE_TIMEZONE", "UTC", "Time zone of the schedules, such as Europe/Berlin. A time that a change of the clocks leaves out runs when the gap ends, one that comes twice runs once."),
        is("SCHEDULER_SYNC_INTERVAL_SECONDS", "1800", "Seconds between uploads of what is not yet remote, with BACKUP_TARGET=all (0: none)."),
        is("LISTEN_ADDR", "127.0.0.1:8080", "Address of the daemon's HTTP server: a page for people, /healthz and /metrics, read-only and without a password."),
        unset("SHARD_COUNT", "How many runs share the databases of one server; with JOB_COMPLETION_INDEX, as --shard."),
        unset("JOB_COMPLETION_INDEX", "Which of them this one is, from 0; Kubernetes sets it in an Indexed Job. Used with SHARD_COUNT only."),
    ]),
    ("Logs", &[
        is("LOG_LEVEL", "info", "trace, debug, info, warn (or warning) or error."),
        is("LOG_FORMAT", "auto", "auto (text), text or json."),
    ]),
];

/// Every setting in the order documents show them.
pub fn all() -> impl Iterator<Item = Setting> {
    GROUPS.iter().flat_map(|(_, settings)| settings.iter().copied())
}

/// The setting of that name.
pub fn find(name: &str) -> Option<Setting> {
    all().find(|setting| setting.name == name)
}

/// Variables that others set and document, and that are read where they mean the same to us: AKS tells a pod by these
/// which identity it has.
pub const FOREIGN: &[&str] = &[
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT",
    "SSL_CERT_FILE",
];

/// Prefixes of our variables: an unknown name that begins like this may be a slip of the pen.
pub const PREFIXES: &[&str] = &[
    "POSTGRES_",
    "BACKUP_",
    "REMOTE_",
    "LOCAL_PATH",
    "RETENTION_",
    "RETRY_",
    "STALL_",
    "PG_DUMP_",
    "PG_BIN",
    "GCS_",
    "AZURE_",
    "VERIFY_",
    "AGE_",
    "DISCORD_",
    "SLACK_",
    "WEBHOOK_",
    "HEALTHCHECK_",
    "METRICS_",
    "PUSHGATEWAY_",
    "SCHEDULE",
    "LISTEN_",
    "SHARD_",
    "LOG_",
    "DATABASE_",
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
