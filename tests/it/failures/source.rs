//! The source fails: pg_dump, its connection, the server, its role.

use super::{ALONE, Scene, database_of, pg_dumps_of, small_database, stalled_run};
use crate::support::backup::{Backup, finish};
use crate::support::postgres::{Postgres, shared};
use crate::support::{free_port, s3, tool, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

#[test]
fn pg_dump_that_exits_1_after_30_mb_leaves_nothing() {
    let database = database_of(40);
    let scene = Scene::remote(&database, "all", &s3::shared().endpoint());
    let scene =
        scene.with_pg_dump("$real \"$@\" | head -c 30000000\necho 'pg_dump: error: something broke' >&2\nexit 1");
    let outcome = scene.run().exits(74).says("exit status: 1").says("something broke");
    scene.is_untouched_after(&outcome);
}

#[test]
fn pg_dump_that_exits_0_without_its_end_leaves_nothing() {
    let database = database_of(2);
    for format in ["plain", "custom"] {
        let scene = Scene::local(&database);
        let scene = scene.with_pg_dump("$real \"$@\" | head -c 500000\nexit 0").set("BACKUP_FORMAT", format);
        let outcome = scene.run().exits(74).says("pg_dump exited 0, but");
        scene.is_untouched_after(&outcome);
    }
}

#[test]
fn pg_dump_killed_by_a_signal_leaves_nothing() {
    let database = database_of(160);
    let (scene, child) = stalled_run(&database, "all", &[("STALL_TIMEOUT", "6s"), ALONE]);
    for pid in pg_dumps_of(&scene.backup) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    let outcome = finish(child).exits(74).says("signal: 9");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_backend_terminated_during_copy_leaves_nothing() {
    let database = database_of(160);
    // pg_dump learns of it when the stalled target lets go
    let (scene, child) = stalled_run(&database, "all", &[("STALL_TIMEOUT", "6s"), ALONE]);
    let terminated = shared().sql("postgres", &format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}' AND query LIKE 'COPY%'"
    ));
    assert_eq!(terminated, "1");
    let outcome = finish(child).exits(74).says("Dumping the contents of table \"noise\" failed");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_backend_terminated_while_the_local_side_writes_names_the_cause() {
    let database = database_of(60);
    let scene = Scene::local(&database);
    // the real pg_dump, slowed down so that COPY lasts
    let slow = "set -o pipefail; $real \"$@\" | while IFS= read -r line; do printf '%s\\n' \"$line\"; done";
    let scene = scene.with_pg_dump(slow).set(ALONE.0, ALONE.1);
    let child = scene.spawn();
    wait_for("COPY", || {
        let terminate = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}' AND query LIKE 'COPY%'"
        );
        shared().sql("postgres", &terminate) == "1"
    });
    let outcome = finish(child).exits(74).says("Dumping the contents of table \"noise\" failed");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_wrong_password_is_not_tried_twice_and_exits_77() {
    let scene = Scene::local(&small_database());
    let scene = scene.set("POSTGRES_PASSWORD", "wrong").set("RETRY_DELAY", "60");
    let started = Instant::now();
    let outcome = scene.run().exits(77).says("password authentication failed").says("POSTGRES_PASSWORD");
    assert!(started.elapsed() < Duration::from_secs(30));
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_server_that_starts_10_seconds_late_is_waited_for() {
    let mut postgres = Postgres::prepare(&tool("PG_BIN"));
    let backup = Backup::of(&postgres, "postgres").set("RETRY_COUNT", "30").set("RETRY_DELAY", "1");
    let started = Instant::now();
    let child = backup.spawn(&[]);
    std::thread::sleep(Duration::from_secs(10));
    postgres.launch_without_waiting();
    finish(child).exits(0).says("attempt 1 of 30");
    assert!(started.elapsed() >= Duration::from_secs(10));
}

#[test]
fn a_server_that_never_starts_exits_69_and_names_it() {
    let scene = Scene::local(&small_database());
    let port = free_port(0).to_string();
    let scene = scene.set("POSTGRES_PORT", &port);
    let outcome = scene.run().exits(69).says(&format!("127.0.0.1:{port}")).says("POSTGRES_HOST");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_server_newer_than_every_client_is_refused_before_the_dump_with_both_versions() {
    let newer = Postgres::start(&tool("PG18_BIN"));
    let backup = Backup::of(&newer, "postgres").set("PG_BIN_DIR", &tool("PG17_BIN"));
    backup.run(&[]).exits(78).says("18.6").says("17.10").says("PG_BIN_DIR");
    assert_eq!(backup.files(), Vec::<String>::new());
}

#[test]
fn a_role_that_may_not_read_a_table_is_refused_before_the_dump_with_the_remedy() {
    let database = small_database();
    shared().sql(
        &database,
        "DO $$ BEGIN CREATE ROLE weak LOGIN PASSWORD 'weak'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    );
    let scene = Scene::local(&database);
    let scene = scene.set("POSTGRES_USER", "weak").set("POSTGRES_PASSWORD", "weak");
    let outcome = scene.run().exits(77).says("table public.t").says("pg_read_all_data");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_table_locked_for_too_long_fails_with_the_setting_to_change() {
    let database = small_database();
    let scene = Scene::local(&database);
    let lock = shared().lock_table(&database);
    let scene = scene.set("BACKUP_LOCK_TIMEOUT", "1s");
    let outcome = scene.run().exits(74).says("BACKUP_LOCK_TIMEOUT");
    drop(lock);
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_table_dropped_while_pg_dump_starts_is_dumped_again_under_a_new_snapshot() {
    let database = small_database();
    let scene = Scene::local(&database);
    let marker = scene.backup.folder.path().join("first");
    // the first pg_dump fails as PostgreSQL does when a table vanishes under it
    let body = format!(
        "if [ ! -e '{0}' ]; then touch '{0}'; echo 'pg_dump: error: query failed: ERROR:  could not open relation with OID 1' >&2; exit 1; fi\nexec $real \"$@\"",
        marker.display()
    );
    let scene = scene.with_pg_dump(&body).set("BACKUP_RETENTION_DAILY", "7");
    scene.run().exits(0).says("trying once more");
    assert_eq!(scene.backup.files_but_notes().len(), 12);
}
