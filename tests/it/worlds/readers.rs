//! What is read back: a thousand large objects, archives that are cut, stores that go away.

use super::filled;
use crate::support::backup::{Backup, finish};
use crate::support::http::{Act, Front};
use crate::support::postgres::{Postgres, shared};
use crate::support::{s3, tool, wait_for};
use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn thousands_of_large_objects_of_all_lengths_are_verified_and_restored() {
    let database = shared().database("large");
    // around the lengths at which another question is asked, and one of many megabytes
    shared().sql(
        &database,
        "SELECT count(lo_from_bytea(0, decode(repeat(lpad(to_hex(n % 256), 2, '0'), n % 40), 'hex'))) FROM generate_series(1, 3000) AS n;
         SELECT lo_from_bytea(0, convert_to(repeat('x', n), 'UTF8')) FROM unnest(ARRAY[0, 8191, 8192, 8193, 16384, 300000, 4194304, 4202496, 9000001]) AS n",
    );
    for (format, role) in [("plain", "backup_user"), ("custom", "backup_user"), ("plain", "maker")] {
        shared().sql("postgres", "DO $$ BEGIN CREATE ROLE maker LOGIN CREATEDB PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
        let backup = Backup::of(shared(), &database).set("BACKUP_FORMAT", format);
        backup.run(&["run"]).exits(0);
        let password = if role == "maker" { "x" } else { "backup_password" };
        let verifying = backup.with("VERIFY_USER", role).set("VERIFY_PASSWORD", password);
        let report = verifying.verify(&[], 0);
        assert_eq!(report.check(12).0, "ok", "{format} {role}: {:#}", report.0);
        assert_eq!(backup.facts()["databases"][0]["contents"]["large_objects"]["count"], 3009);
        // one byte of one of them
        let mut facts = backup.facts();
        facts["databases"][0]["contents"]["large_objects"]["count"] = 3010.into();
        backup.forge_facts(&facts);
        assert_eq!(verifying.verify(&[], 65).check(12).0, "failed");
    }
}

/// A database whose archive takes a while to be read.
fn large(postgres: &Postgres) -> String {
    let database = postgres.database("reading");
    postgres.sql(
        &database,
        "CREATE TABLE noise AS SELECT n, string_agg(md5((n * 40 + k)::text), '') AS data
         FROM generate_series(1, 60000) AS n, generate_series(1, 32) AS k GROUP BY n",
    );
    database
}

fn notices() -> (Front, String) {
    let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
    let url = format!("{}/api/webhooks/1/x", webhook.url());
    (webhook, url)
}

#[test]
fn an_archive_that_is_cut_while_it_is_read_and_a_store_that_goes_away_end_with_their_code_a_notice_and_metrics() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = large(&postgres);
    // no answer from the middle on, busy for good, and deleted
    for (answer, code) in [(Act::Cut, 69), (Act::Answer(503, String::new()), 69), (Act::Answer(404, String::new()), 65)]
    {
        let (webhook, url) = notices();
        let prefix = s3::fresh_prefix();
        let backup = Backup::of(&postgres, &database).to("remote", &s3::shared().endpoint(), &prefix);
        backup.run(&["run"]).exits(0);
        let given = Arc::new(AtomicUsize::new(0));
        let count = given.clone();
        let front = Front::start(s3::shared().port, move |seen, _| {
            let is_archive = seen.method == "GET" && seen.target.contains(".sql.gz?");
            let is_first = is_archive && count.fetch_add(1, Ordering::Relaxed) == 0;
            match is_archive {
                true if is_first => Act::ForwardAndCut(3 << 20),
                true => answer.clone(),
                false => Act::Forward,
            }
        });
        let metrics = backup.folder.path().join(format!("metrics-{code}"));
        let verifying = backup
            .with("REMOTE_ENDPOINT", &front.url())
            .set("DISCORD_WEBHOOK_URL", &url)
            .set("METRICS_TEXTFILE", metrics.to_str().unwrap())
            .set("RETRY_COUNT", "2");
        verifying.run(&["verify"]).exits(code);
        assert_eq!(webhook.seen().len(), 1, "one notice");
        assert!(metrics.exists());
        assert_eq!(postgres.leftovers(), "");
        given.store(0, Ordering::Relaxed);
        verifying.run(&["restore", "--into", &format!("{database}_copy")]).exits(code);
        assert!(!postgres.exists(&format!("{database}_copy")));
    }
}

#[test]
fn a_file_that_is_shorter_than_its_manifest_says_is_a_corrupt_backup() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = large(&postgres);
    let (webhook, url) = notices();
    let backup =
        Backup::of(&postgres, &database).set("DISCORD_WEBHOOK_URL", &url).set("DISCORD_NOTIFY_SUCCESS", "false");
    backup.run(&["run"]).exits(0);
    let archive = backup.archive();
    let length = std::fs::metadata(&archive).unwrap().len();
    // cut beforehand
    File::options().write(true).open(&archive).unwrap().set_len(length / 2).unwrap();
    backup.run(&["verify"]).exits(65);
    assert_eq!(webhook.seen().len(), 1);
    backup.run(&["restore", archive.to_str().unwrap(), "--into", &format!("{database}_cut")]).exits(65);
    // and while it is read
    let backup =
        Backup::of(&postgres, &database).set("DISCORD_WEBHOOK_URL", &url).set("DISCORD_NOTIFY_SUCCESS", "false");
    backup.run(&["run"]).exits(0);
    let child = backup.spawn(&["verify"]);
    postgres.wait_for_rows();
    File::options().write(true).open(backup.archive()).unwrap().set_len(1000).unwrap();
    let outcome = finish(child);
    assert!([65, 69].contains(&outcome.code), "{}: {}", outcome.code, outcome.log);
    assert_eq!(webhook.seen().len(), 2);
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let database = shared().database("results");
    let backup = Backup::of(shared(), &database);
    backup.run(&["run"]).exits(0);
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["status"],
        &["status", "--json"],
        &["config"],
        &["check"],
        &["check", "--json"],
        &["verify", "--json"],
        &["verify"],
        &["--help"],
        &["--version"],
        &["completions", "bash"],
        &["prune", "--dry-run"],
        &["run", "--dry-run"],
        &["restore", "--into", "results_copy"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = backup.command(arguments).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        finish(child).exits(74).says("writing the output");
    }
    // a reader that has seen enough is none
    let mut child = backup.command(&["config"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    finish(child).exits(0);
}

#[test]
fn a_command_line_that_means_nothing_tells_nobody() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    filled(&postgres, "one", 1);
    filled(&postgres, "two", 1);
    let (webhook, url) = notices();
    let backup = Backup::of(&postgres, "postgres").set("BACKUP_DATABASES", "one,two");
    backup.run(&["run"]).exits(0);
    let told = backup.with("DISCORD_WEBHOOK_URL", &url).set("WEBHOOK_URL", &webhook.url());
    told.run(&["verify"]).exits(64).says("`latest` could mean several");
    told.run(&["verify", "no-such"]).exits(64);
    told.run(&["verify", "--database", "none"]).exits(64);
    told.run(&["verify", "--each", "--source", "nobody"]).exits(64);
    assert_eq!(webhook.seen().len(), 0);
}

#[test]
fn a_source_that_sends_nothing_is_said_so_with_what_it_waits_for_and_its_pace_is_no_promise() {
    let database = large(shared());
    // pg_dump reads the rows itself, and its session has to wait
    let backup = Backup::of(shared(), &database).set("BACKUP_CONNECTIONS", "1");
    let started = Instant::now();
    // a pg_dump that stops in the middle of its rows
    let script = "$real \"$@\" | { head -c 20000000; sleep 75; cat; }\nexit ${PIPESTATUS[0]}";
    let outcome = backup.with_pg_dump(&shared().bin, script).run(&["run"]).exits(0);
    assert!(started.elapsed() > Duration::from_secs(60));
    let silent: Vec<&str> = outcome.log.lines().filter(|line| line.contains("has sent nothing for 1 min")).collect();
    assert_eq!(silent.len(), 1, "{}", outcome.log);
    assert!(silent[0].contains("waits for Client ClientWrite"), "{}", silent[0]);
    assert!(outcome.log.contains("and no more data is arriving") && !outcome.log.contains(" left,"), "{}", outcome.log);
}

#[test]
fn millions_of_warnings_of_pg_dump_are_a_few_lines_of_log() {
    let database = shared().database("chatty");
    let backup = Backup::of(shared(), &database);
    let script = "yes 'pg_dump: warning: something about an object' | head -n 1000000 >&2\nexec $real \"$@\"";
    let outcome = backup.with_pg_dump(&shared().bin, script).run(&["run"]).exits(0);
    assert!(outcome.log.contains("something about an object") && outcome.log.contains("the rest is not logged"));
    assert!(outcome.log.len() < 100_000, "{} bytes of log", outcome.log.len());
}

#[test]
fn a_scratch_database_that_cannot_be_dropped_is_told_of_and_outlives_no_deadline() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    filled(&postgres, "shop", 10);
    filled(&postgres, "elsewhere", 10);
    let backup = Backup::of(&postgres, "shop").set("VERIFY_ENABLED", "true").set("BACKUP_TIMEOUT", "25s");
    // DROP DATABASE waits until every backend of the server has answered, and this one never does
    let mut idle =
        postgres.client("psql").arg("-Xq").env("PGDATABASE", "elsewhere").stdin(Stdio::piped()).spawn().unwrap();
    let pid =
        || postgres.sql("postgres", "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE datname = 'elsewhere'");
    wait_for("the session", || pid() != "0");
    let pid = pid();
    assert!(std::process::Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let started = Instant::now();
    let outcome = backup.run(&["run"]);
    let lasted = started.elapsed();
    assert!(std::process::Command::new("kill").args(["-CONT", &pid]).status().unwrap().success());
    drop(idle.stdin.take());
    idle.wait().unwrap();
    assert!(outcome.log.contains("waits: its session on the server is active and waits for IPC"), "{}", outcome.log);
    assert!(outcome.log.contains("could not be dropped in time"), "{}", outcome.log);
    assert!(lasted < Duration::from_secs(25 + 18), "{lasted:?}: {}", outcome.log);
}
