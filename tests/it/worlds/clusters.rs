//! Servers with many databases, saved in parts, and what of them can no longer be saved.

use super::filled;
use crate::support::backup::Backup;
use crate::support::postgres::Postgres;
use crate::support::tool;

#[test]
fn a_server_whose_databases_were_saved_by_shards_is_restored_whole_and_what_is_missing_is_named() {
    let source = Postgres::start(&tool("PG_BIN"));
    for number in 0..5 {
        filled(&source, &format!("db{number}"), 10 + number);
    }
    let backup = Backup::of(&source, "postgres").set("BACKUP_DATABASES", "db*");
    backup.run(&["run", "--shard", "0/2"]).exits(0);
    backup.run(&["run", "--shard", "1/2"]).exits(0);
    let target = Postgres::start(&tool("PG_BIN"));
    let there = backup.with("POSTGRES_PORT", &target.port.to_string());
    there.run(&["restore", "--cluster", "--yes"]).exits(0);
    for number in 0..5 {
        assert_eq!(target.sql(&format!("db{number}"), "SELECT count(*) FROM t"), (10 + number).to_string());
    }
    // of a database whose newest backup is bad, the one before counts; one that has none is named
    source.sql("db1", "INSERT INTO t SELECT 1 FROM generate_series(1, 100)");
    backup.run(&["run", "--shard", "0/2"]).exits(0);
    backup.run(&["run", "--shard", "1/2"]).exits(0);
    let of = |name: &str| -> Vec<String> {
        let start = format!("{name}/");
        let ours = |file: &String| file.contains(&start) || file.contains(&format!("_{name}_"));
        let mut all: Vec<String> = backup.files().into_iter().filter(ours).collect();
        all.retain(|file| file.ends_with(".sql.gz"));
        all.sort();
        all
    };
    std::fs::remove_file(backup.path().join(of("db1").last().unwrap())).unwrap();
    of("db2").iter().for_each(|file| std::fs::remove_file(backup.path().join(file)).unwrap());
    let target = Postgres::start(&tool("PG_BIN"));
    let there = backup.with("POSTGRES_PORT", &target.port.to_string());
    let plan = there.run(&["restore", "--cluster", "--dry-run"]).exits(0).stdout;
    assert!(plan.contains("MISSING") && plan.contains("no good backup of db2"), "{plan}");
    there.run(&["restore", "--cluster", "--yes"]).exits(0);
    assert_eq!(target.sql("db1", "SELECT count(*) FROM t"), "11");
    assert!(!target.exists("db2"));
}

#[test]
fn a_database_that_had_backups_and_can_no_longer_be_saved_is_named() {
    let source = Postgres::start(&tool("PG_BIN"));
    for name in ["app_one", "app_two", "app_three", "other"] {
        filled(&source, name, 10);
    }
    let backup = Backup::of(&source, "postgres").set("BACKUP_DATABASES", "app_*").set("BACKUP_GLOBALS", "false");
    backup.run(&["run"]).exits(0);
    assert!(!backup.run(&["run"]).exits(0).log.contains("is no longer backed up"));
    source.sql("postgres", "ALTER DATABASE app_two WITH ALLOW_CONNECTIONS false");
    source.sql("postgres", "DROP DATABASE app_three");
    let log = backup.run(&["run"]).exits(0).log;
    assert!(log.contains("the database app_two has backups but no longer allows connections"), "{log}");
    assert!(log.contains("the database app_three has backups but is no longer on the server"), "{log}");
    let warnings = backup.json(&["status"], 0)["warnings"].to_string();
    assert!(
        warnings.contains("app_two") && warnings.contains("app_three") && !warnings.contains("other"),
        "{warnings}"
    );
    let excluding = backup.with("BACKUP_EXCLUDE_DATABASES", "app_three");
    assert!(!excluding.run(&["run"]).exits(0).log.contains("app_three"));
}

#[test]
fn databases_of_whoever_manages_the_server_are_left_to_them_and_nobody_elses() {
    let mut source = Postgres::prepare(&tool("PG_BIN"));
    let hba = source.private_file(
        "hba",
        "host rdsadmin,azure_sys all 127.0.0.1/32 reject\nlocal all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
    );
    source.configure("hba_file", &hba);
    source.launch();
    for name in ["rdsadmin", "azure_sys", "shop"] {
        source.sql("postgres", &format!("CREATE DATABASE {name}"));
    }
    let backup = Backup::of(&source, "postgres").set("BACKUP_DATABASES", "all");
    let log = backup.run(&["run"]).exits(0).log;
    assert_eq!(log.matches("rdsadmin").count(), 1, "said once: {log}");
    backup.run(&["check"]).exits(0);
    backup.with("BACKUP_MODE", "cluster").run(&["run"]).exits(0);
    // whoever names it wants it
    backup.with("BACKUP_DATABASES", "shop,rdsadmin").run(&["run"]).exits(1).says("rdsadmin");
    // somebody's own database that lets us not in is an error, whatever it is called
    source.sql("postgres", "CREATE ROLE weak LOGIN PASSWORD 'x'; REVOKE CONNECT ON DATABASE shop FROM PUBLIC");
    let weak = backup.with("POSTGRES_USER", "weak").set("POSTGRES_PASSWORD", "x").set("BACKUP_GLOBALS", "false");
    weak.run(&["run"]).exits(1).says("GRANT CONNECT ON DATABASE \"shop\"");
}

#[test]
fn settings_of_all_roles_and_names_of_another_encoding_come_back_with_the_roles() {
    let source = Postgres::start(&tool("PG_BIN"));
    source.sql("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    source.sql(
        "latin",
        r#"CREATE ROLE U&"m\00FCller" LOGIN PASSWORD 'x'; COMMENT ON ROLE U&"m\00FCller" IS U&'gr\00FC\00DFt'"#,
    );
    source.sql("postgres", "ALTER ROLE ALL SET work_mem TO '7MB'; ALTER ROLE ALL SET search_path TO \"$user\", 'a b'");
    let backup = Backup::of(&source, "latin").set("BACKUP_GLOBALS", "true").set("BACKUP_DATABASES", "latin");
    backup.run(&["run"]).exits(0);
    let target = Postgres::start(&tool("PG_BIN"));
    target.sql("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let there = backup.with("POSTGRES_PORT", &target.port.to_string());
    there.run(&["restore", "--globals", "--yes"]).exits(0);
    // the server keeps the bytes of the database that it is connected to
    assert_eq!(target.sql("postgres", r"SELECT count(*) FROM pg_roles WHERE rolname = U&'m\00FCller'"), "1");
    assert_eq!(target.sql("postgres", "SHOW work_mem"), "7MB");
    assert_eq!(target.sql("postgres", "SHOW search_path"), "\"$user\", \"a b\"");
}
