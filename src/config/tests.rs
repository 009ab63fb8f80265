use super::*;
use crate::storage::azure::AzureAccess;
use crate::storage::{azure, gcs, s3};
use proptest::prelude::*;

fn load(pairs: &[(&str, &str)]) -> Result<Config, Problems> {
    load_in(pairs, Path::new("/nonexistent"))
}

fn load_in(pairs: &[(&str, &str)], folder: &Path) -> Result<Config, Problems> {
    Config::load(pairs.iter().map(|(name, value)| (name.into(), value.into())), folder)
}

fn raw(pairs: &[(&str, &str)]) -> RawSettings {
    let pairs = pairs.iter().map(|(name, value)| (name.into(), value.into()));
    RawSettings::gather(settings::groups(), pairs, Path::new("/nonexistent"))
}

fn keys(pairs: &[(&str, &str)]) -> Option<(Secret, Secret)> {
    s3::settings::read(&mut raw(pairs)).unwrap().keys
}

fn problems(pairs: &[(&str, &str)]) -> String {
    load(pairs).expect_err("accepted").to_string()
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let config = load(&[]).unwrap();
    assert_eq!(config.source.name, "localhost:5432");
    assert_eq!(config.source.password.unwrap().current().expose(), "backup_password");
    assert_eq!(config.dump.level, 6);
    assert_eq!(keys(&[]).unwrap().0.expose(), "minioadmin");
    assert_eq!(config.retention, Retention { days: 7, daily: 7, weekly: 4, monthly: 12, min_keep: 1 });
    assert_eq!(config.deadline, None);
    assert_eq!(config.stall_timeout, Duration::from_secs(120));
}

#[test]
fn a_port_is_a_number_in_the_name_of_the_source_however_it_is_written() {
    assert_eq!(load(&[("POSTGRES_PORT", "05432")]).unwrap().source.name, "localhost:5432");
    assert_eq!(load(&[("DATABASE_URL", "postgres://u:p@h:06432/d")]).unwrap().source.name, "h:6432");
}

#[test]
fn what_is_no_setting_is_not_taken_from_the_env_file_for_child_processes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "PGPASSFILE=/tmp/passfile\nTMPDIR=/elsewhere\n").unwrap();
    let config = load_in(&[("HOME", "/nonexistent")], folder.path()).unwrap();
    assert_eq!(config.child_environment, [("HOME".to_owned(), OsString::from("/nonexistent"))]);
    assert!(config.source.passfile.is_none() && config.source.password.is_some());
}

#[test]
fn all_problems_are_reported_at_once_with_what_is_allowed() {
    let text = problems(&[
        ("POSTGRES_PORT", "abc"),
        ("BACKUP_FORMAT", "tar"),
        ("BACKUP_COMPRESSION_LEVEL", "12"),
        ("REMOTE_ACCESS_KEY", "only-one"),
        ("BACKUP_TIMEZONE", "Mars/Base"),
        ("DISCORD_WEBHOOK_URL", "hunter2"),
    ]);
    insta::assert_snapshot!(text, @r"
    POSTGRES_PORT: got `abc`, allowed: a number from 1 to 65535
    BACKUP_FORMAT: got `tar`, allowed: plain or custom
    BACKUP_COMPRESSION_LEVEL: got `12`, allowed: a number from 0 to 9
    BACKUP_TIMEZONE: got `Mars/Base`, allowed: a zone of the time-zone database, such as UTC or Asia/Bangkok
    DISCORD_WEBHOOK_URL: got a value that is hidden here, allowed: an http or https URL
    REMOTE_ACCESS_KEY and REMOTE_SECRET_KEY go together; set both or none
    ");
}

#[test]
fn kinds_of_slips_get_what_to_write_instead() {
    let text = problems(&[
        ("RETENTION_DAYS", "7d"),
        ("REMOTE_RETENTION_DAYS", "36 hours"),
        ("SCHEDULER_SYNC_INTERVAL_SECONDS", "10m"),
        ("BACKUP_RETENTION_WEEKLY", "4w"),
        ("BACKUP_SHRINK_GUARD", "50%"),
        ("BACKUP_TARGET", "s3"),
        ("BACKUP_FORMAT", "weekly"),
        ("REMOTE_KIND", "gcp"),
        ("BACKUP_MODE", "auto"),
    ]);
    insta::assert_snapshot!(text, @r"
    BACKUP_MODE: got `auto`, allowed: database or cluster
    BACKUP_FORMAT: got `weekly`, allowed: plain or custom; weekly is a value of BACKUP_TYPE
    BACKUP_TARGET: got `s3`, allowed: local, remote or all; s3 is the default of REMOTE_KIND: write BACKUP_TARGET=remote
    REMOTE_KIND: got `gcp`, allowed: s3, gcs or azure; did you mean gcs?
    RETENTION_DAYS: got `7d`, allowed: a number from 0 to 1000000; it takes a number of days: write RETENTION_DAYS=7
    BACKUP_RETENTION_WEEKLY: got `4w`, allowed: a number from 0 to 1000000; it takes a number without a unit: write BACKUP_RETENTION_WEEKLY=4
    BACKUP_SHRINK_GUARD: got `50%`, allowed: a share from 0 to 1, such as 0.5; for 50 percent write BACKUP_SHRINK_GUARD=0.5
    REMOTE_RETENTION_DAYS: got `36 hours`, allowed: a number from 0 to 1000000; it takes a whole number of days, without the unit
    SCHEDULER_SYNC_INTERVAL_SECONDS: got `10m`, allowed: a number from 0 to 31536000; it takes a number of seconds: write SCHEDULER_SYNC_INTERVAL_SECONDS=600
    ");
    assert!(
        problems(&[("BACKUP_TARGET", "GCS")])
            .ends_with("; gcs is a value of REMOTE_KIND: write BACKUP_TARGET=remote and REMOTE_KIND=gcs")
    );
    assert!(!problems(&[("DATABASE_URL", "postgres://u:p@h/d?sslmode=hunter2")]).contains("hunter2"));
}

#[test]
fn every_setting_is_read_or_refused() {
    let mut raw = raw(&[]);
    read(&mut raw, OsString::new(), Vec::new()).unwrap();
    assert_eq!(raw.never_read(), Vec::<&str>::new());
}

#[test]
fn schedules_are_checked_when_they_are_read() {
    let text = problems(&[
        ("SCHEDULE_DAILY", "0 2 * *"),
        ("SCHEDULE_WEEKLY", "0 0 30 2 *"),
        ("BACKUP_SCHEDULE", "TZ=UTC 0 2 * * *"),
        ("SCHEDULE_TIMEZONE", "Mars/Base"),
        ("LISTEN_ADDR", "localhost"),
        ("SCHEDULER_SYNC_INTERVAL_SECONDS", "often"),
    ]);
    insta::assert_snapshot!(text, @r"
    SCHEDULE_TIMEZONE: got `Mars/Base`, allowed: a zone of the time-zone database, such as UTC or Asia/Bangkok
    SCHEDULER_SYNC_INTERVAL_SECONDS: got `often`, allowed: a number from 0 to 31536000
    LISTEN_ADDR: got `localhost`, allowed: an address and a port, such as 127.0.0.1:8080 or [::]:8080
    SCHEDULE_DAILY: got `0 2 * *`, allowed: five fields `minute hour day month weekday`, such as `0 2 * * *`; or off
    SCHEDULE_WEEKLY: got `0 0 30 2 *`, allowed: an expression that matches at least one date; or off
    BACKUP_SCHEDULE: got `TZ=UTC 0 2 * * *`, allowed: five fields `minute hour day month weekday`, such as `0 2 * * *`; the time zone is set by SCHEDULE_TIMEZONE; or off
    ");
}

#[test]
fn one_schedule_replaces_the_typed_ones_and_any_can_be_off() {
    let types = |pairs: &[(&str, &str)]| {
        let daemon = load(pairs).unwrap().daemon;
        daemon.schedule.entries.iter().map(|(backup_type, _)| *backup_type).collect::<Vec<_>>()
    };
    assert_eq!(types(&[]), [BackupType::Daily, BackupType::Weekly]);
    assert_eq!(
        types(&[("SCHEDULE_MONTHLY", "0 4 1 * *"), ("SCHEDULE_DAILY", "OFF")]),
        [BackupType::Weekly, BackupType::Monthly]
    );
    assert_eq!(types(&[("SCHEDULE_DAILY", "0 1 * * *"), ("BACKUP_SCHEDULE", "@hourly")]), [BackupType::Auto]);
    assert_eq!(types(&[("BACKUP_SCHEDULE", "off")]), []);
    assert_eq!(load(&[("SCHEDULER_SYNC_INTERVAL_SECONDS", "0")]).unwrap().daemon.sync_interval, None);
}

#[test]
fn an_empty_value_means_unset() {
    let pairs: Vec<(&str, &str)> = settings::all().map(|setting| (setting.name, "")).collect();
    assert_eq!(load(&pairs).unwrap().source.port, 5432);
}

#[test]
fn the_default_password_and_keys_hold_only_for_localhost() {
    let elsewhere = [("POSTGRES_HOST", "db.example"), ("REMOTE_ENDPOINT", "https://s3.example")];
    assert!(load(&elsewhere).unwrap().source.password.is_none());
    assert!(keys(&elsewhere).is_none());
}

#[test]
fn the_kind_of_store_is_named_or_follows_from_googles_bucket() {
    let store = |pairs: &[(&str, &str)]| format!("{:?}", load(pairs).unwrap().remote.store);
    assert!(store(&[]).starts_with("S3Settings"));
    assert!(store(&[("REMOTE_KIND", "s3"), ("GCS_BUCKET_NAME", "b")]).starts_with("S3Settings"));
    assert!(store(&[("GCS_BUCKET_NAME", "b")]).starts_with("GcsSettings"));
    let google = gcs::read(&mut raw(&[("GCS_BUCKET_NAME", "b")]), true).unwrap();
    assert!(google.key.is_none(), "without a key file it is the pod's own identity");
    let account = [("REMOTE_KIND", "azure"), ("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_CONTAINER", "c")];
    assert!(store(&account).starts_with("AzureSettings"));
    let access = |more: &[(&str, &str)]| azure::read(&mut raw(&[&account[..], more].concat()), true).unwrap().access;
    assert!(matches!(access(&[]), AzureAccess::Managed { client: None, .. }));
    assert!(matches!(access(&[("AZURE_STORAGE_KEY", "k")]), AzureAccess::Key(_)));
    assert!(matches!(access(&[("AZURE_STORAGE_SAS_TOKEN", "sv=1")]), AzureAccess::Sas(_)));
    let pod = [("AZURE_CLIENT_ID", "i"), ("AZURE_TENANT_ID", "t"), ("AZURE_FEDERATED_TOKEN_FILE", "/token")];
    assert!(matches!(access(&pod), AzureAccess::Workload { .. }));
    assert!(matches!(access(&pod[..1]), AzureAccess::Managed { client: Some(_), .. }));
}

#[test]
fn what_a_kind_of_store_lacks_is_said_at_once_and_what_another_has_is_a_warning() {
    insta::assert_snapshot!(problems(&[
        ("REMOTE_KIND", "azure"),
        ("AZURE_STORAGE_KEY", "k"),
        ("AZURE_STORAGE_SAS_TOKEN", "t"),
        ("AZURE_ENDPOINT", "ftp://x"),
        ("GCS_RETENTION_DAILY", "3"),
        ("REMOTE_RETENTION_DAILY", "4"),
    ]), @r"
    GCS_RETENTION_DAILY and REMOTE_RETENTION_DAILY are the same setting with different values; set only one of them
    AZURE_ENDPOINT: got `ftp://x`, allowed: http://host:port/account or https://host
    AZURE_STORAGE_ACCOUNT: REMOTE_KIND=azure needs it
    AZURE_CONTAINER: REMOTE_KIND=azure needs it
    AZURE_STORAGE_KEY and AZURE_STORAGE_SAS_TOKEN: set only one of them
    ");
    insta::assert_snapshot!(problems(&[
        ("GCS_BUCKET_NAME", "b"),
        ("GCS_CREDENTIALS_PATH", "/nonexistent/key.json"),
        ("REMOTE_PREFIX", "p"),
        ("GCS_UPLOAD_RETRY_MAX", "0"),
    ]), @r"
    GCS_UPLOAD_RETRY_MAX: got `0`, allowed: a number from 1 to 100
    GCS_CREDENTIALS_PATH: reading /nonexistent/key.json: No such file or directory (os error 2)
    REMOTE_PREFIX: for REMOTE_KIND=gcs, set GCS_BACKUP_PREFIX instead
    ");
    let warnings = load(&[("REMOTE_BUCKET", "b"), ("GCS_BUCKET_NAME", "b")]).unwrap().warnings;
    assert_eq!(warnings, ["REMOTE_BUCKET is for REMOTE_KIND=s3 and has no effect with gcs"]);
}

#[test]
fn a_secret_in_a_setting_that_is_none_is_not_shown_and_a_line_break_is_found_at_once() {
    let azure = [("REMOTE_KIND", "azure"), ("AZURE_CONTAINER", "c")];
    let cases: [&[(&str, &str)]; 4] = [
        &[("AZURE_STORAGE_ACCOUNT", "AccountName=x;AccountKey=hunter2==")],
        &[("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_ENDPOINT", "https://acc.blob.core.windows.net/?sig=hunter2")],
        &[("REMOTE_KIND", "s3"), ("REMOTE_ENDPOINT", "https://key:hunter2@s3.example")],
        &[("REMOTE_KIND", "s3"), ("REMOTE_ENDPOINT", "http://:hunter2@s3.example")],
    ];
    for case in cases {
        let text = problems(&[&azure[..], case].concat());
        assert!(!text.contains("hunter2"), "{text}");
    }
    let text = problems(&[("REMOTE_ACCESS_KEY", "AK\n"), ("REMOTE_SECRET_KEY", "hunter2")]);
    assert_eq!(
        text,
        "REMOTE_ACCESS_KEY: it begins or ends with a space, or has a line break or another control character"
    );
    for odd in ["http://host/a b", "http:127.0.0.1:9", " http://host", "http://host#x"] {
        assert!(problems(&[("REMOTE_ENDPOINT", odd)]).contains("REMOTE_ENDPOINT: got `"), "{odd}");
    }
}

#[test]
fn the_remote_side_keeps_everything_unless_told_and_google_has_other_names_for_its_rules() {
    assert_eq!(load(&[]).unwrap().remote_retention, None);
    let pairs = [("GCS_RETENTION_ENABLED", "true"), ("GCS_RETENTION_DAILY", "3"), ("RETENTION_MIN_KEEP", "2")];
    let retention = load(&pairs).unwrap().remote_retention.unwrap();
    assert_eq!(retention, Retention { days: 30, daily: 3, weekly: 90, monthly: 24, min_keep: 2 });
}

#[test]
fn a_secret_may_come_from_a_file_but_not_from_both() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "from-file\n").unwrap();
    let file = file.to_str().unwrap();
    let config = load(&[("POSTGRES_PASSWORD_FILE", file)]).unwrap();
    assert_eq!(config.source.password.unwrap().current().expose(), "from-file");
    let text = problems(&[("POSTGRES_PASSWORD_FILE", file), ("POSTGRES_PASSWORD", "direct")]);
    assert_eq!(text, "POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set; unset one of them");
    let text = problems(&[("REMOTE_SECRET_KEY_FILE", "/nonexistent/key")]);
    assert!(text.starts_with("REMOTE_SECRET_KEY_FILE: reading /nonexistent/key: No such file"), "{text}");
}

#[test]
fn the_environment_wins_over_the_env_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "POSTGRES_DB=file\nPOSTGRES_HOST=file-host\nPOSTGRES_PASSWORD=x\n")
        .unwrap();
    let config = load_in(&[("POSTGRES_DB", "env")], folder.path()).unwrap();
    assert_eq!((config.source.database.as_str(), config.source.host.as_str()), ("env", "file-host"));
    let shown = config.effective.iter().find(|shown| shown.name == "POSTGRES_HOST").unwrap();
    assert!(shown.source.ends_with(".env"));
}

#[test]
fn a_url_gives_every_part_and_may_not_contradict_the_others() {
    let url = "postgresql://us%20er:p%40ss@db.example:6432/my%2Fdb?sslmode=require";
    let source = load(&[("DATABASE_URL", url)]).unwrap().source;
    assert_eq!((source.user.as_str(), source.database.as_str(), source.port), ("us er", "my/db", 6432));
    assert_eq!(source.password.unwrap().current().expose(), "p@ss");
    assert_eq!(source.tls.mode, SslMode::Require);
    load(&[("DATABASE_URL", url), ("POSTGRES_PORT", "6432")]).unwrap();
    let text = problems(&[("DATABASE_URL", url), ("POSTGRES_HOST", "other"), ("POSTGRES_PASSWORD", "other")]);
    assert_eq!(text.lines().count(), 2);
    assert!(!text.contains("p@ss"), "{text}");
    for bad in ["mysql://h/d", "postgres://h/d?target_session_attrs=any", "nonsense"] {
        assert!(problems(&[("DATABASE_URL", bad)]).starts_with("DATABASE_URL: got a value that is hidden here"));
    }
}

#[test]
fn likely_slips_get_a_warning_with_the_nearest_name() {
    for (name, meant) in [
        ("BACKUP_RETENTION_DAYLY", "BACKUP_RETENTION_DAILY"),
        ("BACKUP_RETENTION_DAYS", "RETENTION_DAYS"),
        ("DISCORD_WEBHOOK", "DISCORD_WEBHOOK_URL"),
        ("backup_target", "BACKUP_TARGET"),
    ] {
        let config = load(&[(name, "3"), ("POSTGRES_SERVICE_HOST", "10.0.0.1"), ("BACKUP", "x")]).unwrap();
        assert_eq!(config.warnings, [format!("{name} is not a setting and is ignored; did you mean {meant}?")]);
    }
}

#[test]
fn credentials_in_a_url_are_shown_nowhere() {
    for name in ["VERIFY_HEALTH_URL", "TELEGRAM_API_URL", "REMOTE_ENDPOINT", "BACKUP_DIR"] {
        for url in ["https://me:hunter2@h/y", "htp://me:hun@ter2@h", "https://me:hun/ter2@h"] {
            let shown = match load(&[(name, url)]) {
                Ok(config) => format!("{:?}", config.effective),
                Err(Problems(problems)) => problems.join("\n"),
            };
            assert!(!shown.contains("hun") && !shown.contains("ter2"), "{shown}");
        }
    }
}

#[test]
fn a_port_set_by_a_kubernetes_service_is_explained() {
    assert!(problems(&[("POSTGRES_PORT", "tcp://10.0.0.1:5432")]).contains("enableServiceLinks: false"));
}

#[test]
fn the_effective_configuration_hides_secrets() {
    let config = load(&[
        ("DATABASE_URL", "postgres://u:hunter2@h/d"),
        ("REMOTE_SECRET_KEY", "hunter2"),
        ("REMOTE_ACCESS_KEY", "hunter2"),
    ]);
    let config = config.unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!serde_json::to_string(&config.effective).unwrap().contains("hunter2"));
}

proptest! {
    #[test]
    fn no_value_of_any_setting_makes_loading_panic(name in 0..settings::all().count(), value in "\\PC{0,40}") {
        let setting = settings::all().nth(name).unwrap();
        let _ = load(&[(setting.name, &value)]);
    }
}
