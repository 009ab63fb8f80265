//! Scratch databases: nobody else's is touched, and none is left behind, however a verification ends.

use crate::support;

use rustix::process::{Pid, Signal, kill_process};
use std::process::Child;
use support::backup::{Backup, finish};
use support::http::{Act, Front};
use support::postgres::{Postgres, shared};
use support::{tool, wait_for};

/// A server to restore to, apart from the one that other tests share.
fn verify_server() -> Postgres {
    Postgres::start(&tool("PG_BIN"))
}

/// A database whose restore stands still in the middle, in a database of this name alone.
fn slow(source: &Postgres, scratch: &str) -> Backup {
    let database = source.database("slow");
    source.sql(
        &database,
        &format!(
            "CREATE TABLE t AS SELECT generate_series(1, 10) AS a;
             CREATE FUNCTION wait() RETURNS int LANGUAGE plpgsql AS
                 'BEGIN IF pg_catalog.current_database() = ''{scratch}'' THEN PERFORM pg_catalog.pg_sleep(600); END IF; RETURN 1; END';
             CREATE MATERIALIZED VIEW slow AS SELECT public.wait() AS w FROM public.t"
        ),
    );
    let backup = Backup::of(source, &database).set("VERIFY_DB", scratch);
    backup.run(&[]).exits(0);
    backup
}

fn databases(server: &Postgres) -> String {
    server.sql("postgres", "SELECT coalesce(string_agg(datname, ',' ORDER BY datname), '') FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')")
}

fn wait_until_it_sleeps(server: &Postgres) {
    wait_for("the restore to stand still", || {
        server.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != "0"
    });
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_database_of_somebody_else_is_never_touched() {
    let (source, server) = (shared(), verify_server());
    let database = source.database("theirs");
    source.sql(&database, "CREATE TABLE t AS SELECT 1 AS a");
    server.sql("postgres", &format!("CREATE DATABASE {database}_verify"));
    server.sql(&format!("{database}_verify"), "CREATE TABLE precious AS SELECT 42 AS a");
    // a comment that is only like our mark
    server.sql("postgres", "CREATE DATABASE noted");
    server.sql("postgres", "COMMENT ON DATABASE noted IS 'scratch of somebody'");
    let backup = Backup::of(source, &database).set("VERIFY_PORT", &server.port.to_string());
    backup.run(&[]).exits(0);
    let log = backup.run(&["verify"]).exits(0).log;
    assert!(log.contains(&format!("created the scratch database {database}_verify_")), "{log}");
    assert_eq!(server.sql(&format!("{database}_verify"), "SELECT a FROM precious"), "42");
    assert_eq!(databases(&server), format!("noted,{database}_verify"));
}

#[test]
fn sigterm_drops_what_was_made() {
    let server = verify_server();
    let source = Postgres::start(&tool("PG_BIN"));
    source.sql("postgres", "CREATE ROLE only_there");
    let backup = slow(&source, "cut").set("VERIFY_PORT", &server.port.to_string());
    let database = backup.manifest()["database"].as_str().unwrap().to_owned();
    source.sql(&database, "ALTER TABLE t OWNER TO only_there");
    backup.run(&["run", "--type", "manual"]).exits(0);
    let child = backup.spawn(&["verify"]);
    wait_until_it_sleeps(&server);
    assert_eq!(databases(&server), "cut");
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'only_there'"), "1");
    let started = std::time::Instant::now();
    signal(&child, Signal::TERM);
    let outcome = finish(child).exits(143);
    assert!(started.elapsed().as_secs() < 18, "{}", outcome.log);
    assert_eq!(databases(&server), "");
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'only_there'"), "0");
    assert_eq!(backup.verifications().len(), 0);

    // the same while it compares
    let front = Front::start(0, |_, _| Act::Stall);
    let backup = backup.set("VERIFY_DB", "other").set("VERIFY_HEALTH_URL", &front.url());
    let child = backup.spawn(&["verify"]);
    wait_for("the health check", || !front.seen().is_empty());
    assert_eq!(databases(&server), "other");
    signal(&child, Signal::INT);
    finish(child).exits(130);
    assert_eq!(databases(&server), "");
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_next_and_a_living_ones_is_not() {
    let server = verify_server();
    let source = Postgres::start(&tool("PG_BIN"));
    let backup = slow(&source, "killed").set("VERIFY_PORT", &server.port.to_string());
    let database = backup.manifest()["database"].as_str().unwrap().to_owned();
    source.sql("postgres", "CREATE ROLE gone_with_it");
    source.sql(&database, "GRANT SELECT ON t TO gone_with_it");
    backup.run(&["run", "--type", "manual"]).exits(0);
    let mut child = backup.spawn(&["verify"]);
    wait_until_it_sleeps(&server);

    // another one at the same time takes another name, and leaves database and role of the first alone
    let log = backup.run(&["verify", "--json"]).exits(0).log;
    assert!(log.contains("created the scratch database killed_"), "{log}");
    assert_eq!(databases(&server), "killed");
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'gone_with_it'"), "1");

    signal(&child, Signal::KILL);
    child.wait().unwrap();
    wait_for("the server to notice", || {
        server.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^backup [0-9a-f]{32}$'")
            == "0"
    });
    assert_eq!(databases(&server), "killed");
    let log = backup.set("VERIFY_DB", "next").run(&["verify"]).exits(0).log;
    assert!(log.contains("dropped the database killed, which run"), "{log}");
    assert_eq!(databases(&server), "");
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'gone_with_it'"), "0");
}

#[test]
fn two_at_once_are_both_proved_and_leave_nothing() {
    let (source, server) = (Postgres::start(&tool("PG_BIN")), verify_server());
    source.sql("postgres", "CREATE ROLE shared_by_both");
    let database = source.database("twice");
    source.sql(&database, "CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t OWNER TO shared_by_both");
    let backup = Backup::of(&source, &database).set("VERIFY_PORT", &server.port.to_string());
    backup.run(&[]).exits(0);
    for _ in 0..5 {
        let children: Vec<Child> = (0..3).map(|_| backup.spawn(&["verify"])).collect();
        for child in children {
            finish(child).exits(0);
        }
        assert_eq!(databases(&server), "");
        assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'shared_by_both'"), "0");
    }
}

#[test]
fn a_verify_server_without_room_is_named_and_nothing_is_said_against_the_backup() {
    let source = shared();
    let database = source.database("large");
    source.sql(&database, "CREATE TABLE t AS SELECT repeat(md5(g::text), 100) AS a FROM generate_series(1, 30000) g");
    let server = Postgres::start_on_small_disk(&tool("PG_BIN"), 100);
    let backup = Backup::of(source, &database).set("VERIFY_PORT", &server.port.to_string());
    // most of it compresses well, and does not on the way in
    source.sql(&database, "ALTER TABLE t ALTER a SET STORAGE EXTERNAL; CREATE TABLE u AS SELECT a FROM t; ALTER TABLE u ALTER a SET STORAGE EXTERNAL; INSERT INTO u SELECT a || 'x' FROM t");
    backup.run(&[]).exits(0);
    let outcome =
        backup.run(&["verify"]).exits(74).says("could not extend file").says("free some space on the verify server");
    assert!(!outcome.log.contains("failed its verification"), "{}", outcome.log);
    assert_eq!(backup.verifications().len(), 0);
    assert_eq!(databases(&server), "");
    assert!(!server.log().contains("PANIC"), "{}", server.log());
}

#[test]
fn a_verify_server_that_is_away_costs_the_proof_and_not_the_backup() {
    let database = shared().database("away");
    let backup = Backup::of(shared(), &database)
        .set("VERIFY_ENABLED", "true")
        .set("VERIFY_PORT", "1")
        .set("RETRY_COUNT", "2")
        .set("BACKUP_TYPE", "daily")
        .set("BACKUP_RETENTION_DAILY", "1");
    for expected in 1..3 {
        backup.run(&[]).exits(1).says("VERIFY_HOST").says("nothing is pruned");
        let archives = backup.files().iter().filter(|file| file.ends_with(".sql.gz.json")).count();
        assert_eq!(archives, expected);
    }
    backup.run(&["verify"]).exits(69);
    backup.run(&["verify", "--checksum-only"]).exits(0);
    let mut server = Postgres::prepare(&tool("PG_BIN"));
    server.launch();
    let port = server.port.to_string();
    server.stop();
    backup.set("VERIFY_PORT", &port).run(&["verify"]).exits(69);
}
