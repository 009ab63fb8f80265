//! Sources that write, lock and change while they are saved, and servers of several majors.

use super::{VERIFY, rich};
use crate::support::backup::{Backup, finish};
use crate::support::postgres::shared;
use std::process::Stdio;

#[test]
fn a_lock_on_a_table_that_is_left_out_keeps_no_run_waiting() {
    let postgres = shared();
    let database = postgres.database("locked");
    postgres.sql(
        &database,
        "CREATE TABLE t (a int CHECK (a > 0)); CREATE VIEW v AS SELECT * FROM t WHERE a > 1; CREATE TABLE u AS SELECT 7 AS b",
    );
    let _lock = postgres.lock_table(&database);
    let backup = Backup::of(postgres, &database).set("PG_DUMP_EXTRA_ARGS", "-t u");
    backup.run(&[]).exits(0).says("recorded without text");
    assert_eq!(backup.verify(&[], 0).0["databases"][0]["rows"], 1);
}

#[test]
fn a_restore_that_stands_still_is_not_a_store_that_does() {
    let postgres = shared();
    let database = postgres.database("pause");
    postgres.sql(
        &database,
        "CREATE FUNCTION slow(a int) RETURNS boolean LANGUAGE plpgsql AS
             'BEGIN IF a = 1 AND pg_catalog.current_database() ~ ''_verify'' THEN PERFORM pg_catalog.pg_sleep(3); END IF; RETURN true; END';
         CREATE TABLE a AS SELECT 1 AS a; ALTER TABLE a ADD CHECK (public.slow(a));
         CREATE TABLE b AS SELECT md5(g::text) AS b FROM generate_series(1, 200000) g",
    );
    let backup = Backup::of(postgres, &database).set("STALL_TIMEOUT", "1");
    backup.run(&[]).exits(0);
    backup.verify(&[], 0);
}

#[test]
fn a_busy_source_is_proved_all_the_same() {
    let postgres = shared();
    let database = postgres.database("busy");
    let pgbench = |arguments: &[&str]| {
        let mut command = postgres.client("pgbench");
        command.args(arguments).env("PGDATABASE", &database).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    assert!(pgbench(&["-i", "-s", "5", "-q"]).status().unwrap().success());
    postgres.sql(&database, "CREATE TABLE written (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, s int DEFAULT 0); CREATE SEQUENCE busy");
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, sql: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, sql).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let writer =
        script("writer", "INSERT INTO written (s) VALUES (nextval('busy'));\nDELETE FROM written WHERE id % 7 = 0;\n");
    let ddl = script(
        "ddl",
        "CREATE TABLE IF NOT EXISTS come (a int, b text);\nINSERT INTO come SELECT g, 'x' FROM generate_series(1, 50) g;\n\
         ALTER TABLE come ADD COLUMN IF NOT EXISTS c int DEFAULT 3;\nALTER TABLE come ALTER a TYPE bigint;\nTRUNCATE come;\n\
         DROP TABLE come;\nSELECT pg_sleep(0.05);\n",
    );
    let mut load = [
        pgbench(&["-c", "2", "-T", "600"]).spawn().unwrap(),
        pgbench(&["-n", "-c", "1", "-T", "600", "-f", &writer]).spawn().unwrap(),
        pgbench(&["-n", "-c", "1", "-T", "600", "-f", &ddl]).spawn().unwrap(),
    ];
    let backup =
        Backup::of(postgres, &database).set("VERIFY_ENABLED", "true").set("VERIFY_PORT", &VERIFY.port.to_string());
    for round in 0..4 {
        let format = if round % 2 == 0 { "plain" } else { "custom" };
        let outcome = backup.command(&[]).env("BACKUP_FORMAT", format).output().unwrap();
        let log = String::from_utf8_lossy(&outcome.stderr);
        // DDL got in the way of two dumps in a row, and the log says so
        let named = outcome.status.code() == Some(74) && log.contains("objects changed during the dump");
        assert!(outcome.status.success() || named, "{log}");
        assert!(log.contains("verified backup_") || named, "{log}");
    }
    for load in &mut load {
        load.kill().unwrap();
        load.wait().unwrap();
    }
}

#[test]
fn a_table_that_is_rewritten_before_the_dump_has_it_is_noticed() {
    let postgres = shared();
    let database = postgres.database("rewritten");
    postgres.sql(&database, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS a");
    let backup = Backup::of(postgres, &database);
    let lock = postgres.lock_table(&database);
    let child = backup.spawn(&[]);
    // the snapshot is older than what happens now
    lock.wait_for_waiter();
    lock.run("ALTER TABLE t ALTER a TYPE bigint;");
    drop(lock);
    let outcome = finish(child).exits(0).says("public.t was truncated or rewritten while the dump began");
    assert!(outcome.log.contains("trying once more"), "{}", outcome.log);
    assert_eq!(backup.manifest()["totals"]["rows"], 1000);
    assert_eq!(backup.verify(&[], 0).0["databases"][0]["rows"], 1000);
}

#[test]
fn a_table_that_another_one_takes_the_name_of_before_the_dump_has_it_is_noticed() {
    let postgres = shared();
    let database = postgres.database("replaced");
    postgres.sql(&database, "CREATE TABLE t (a int DEFAULT 3, b text); INSERT INTO t VALUES (1, 'x')");
    // with a choice of tables the first look does not tell whether the dump has this one
    for (round, excluded) in ["", "none_of_this_name"].into_iter().enumerate() {
        let backup = Backup::of(postgres, &database).set("BACKUP_EXCLUDE_TABLES", excluded);
        let lock = postgres.lock_table(&database);
        let child = backup.spawn(&[]);
        lock.wait_for_waiter();
        lock.run("DROP TABLE t; CREATE TABLE t (a int DEFAULT 3, b text); INSERT INTO t VALUES (2, 'y');");
        drop(lock);
        let outcome = finish(child).exits(0).says("public.t was dropped and recreated while the dump");
        assert!(outcome.log.contains("trying once more"), "{round}: {}", outcome.log);
        assert_eq!(backup.manifest()["totals"]["rows"], 1, "{round}");
        assert_eq!(backup.verify(&[], 0).with("failed"), [] as [u64; 0], "{round}");
    }
}

#[test]
fn a_newer_server_proves_an_older_ones_backup_and_never_the_other_way_round() {
    let database = rich(shared());
    let backup = Backup::of(shared(), &database).set("VERIFY_PORT", &VERIFY.port.to_string());
    backup.run(&[]).exits(0);
    let report = backup.verify(&[], 0);
    assert_eq!(report.with("failed"), [] as [u64; 0], "{:#}", report.0);
    assert!(report.0["server"].as_str().unwrap().starts_with("18."));
    let newer = rich(&VERIFY);
    let backup = Backup::of(&VERIFY, &newer).set("VERIFY_PORT", &shared().port.to_string());
    backup.run(&[]).exits(0);
    backup.run(&["verify"]).exits(78).says("point VERIFY_HOST at a server");
    assert_eq!(backup.verifications().len(), 0, "nothing is said against the backup");
}
