//! The daemon as people run it: by the minute, watched over HTTP, stopped in the middle, and started again.

use crate::support;

use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::time::{Duration, Instant};
use support::backup::Backup;
use support::daemon::Daemon;
use support::http::{Act, Front, Seen};
use support::postgres::shared;
use support::{lint_metrics, s3, wait_for};

/// A date that does not come during a test.
const NEVER: &str = "0 0 29 2 *";

fn small_database() -> String {
    let database = shared().database("daemon");
    shared().sql(&database, "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 5000) AS n");
    database
}

/// The dump of this one is so large that a store which takes nothing stops it in the middle.
fn large_database() -> String {
    let database = shared().database("daemon_large");
    shared().sql(
        &database,
        "CREATE TABLE big AS SELECT n, (SELECT string_agg(md5((n * 64 + m)::text), '') FROM generate_series(1, 64) AS m)
             AS text FROM generate_series(1, 60000) AS n",
    );
    database
}

#[test]
fn runs_by_the_minute_show_on_page_and_metrics_and_sigterm_in_mid_dump_leaves_nothing() {
    let stalls = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_stalled = stalls.clone();
    let store = Front::start(s3::shared().port, move |seen: &Seen, _| {
        let is_part = seen.method == "PUT" && seen.target.contains("partNumber=");
        if is_part && is_stalled.load(std::sync::atomic::Ordering::SeqCst) { Act::Stall } else { Act::Forward }
    });
    let (prefix, database) = (s3::fresh_prefix(), large_database());
    let backup = Backup::of(shared(), &database).to("all", &store.url(), &prefix).set("BACKUP_SCHEDULE", "* * * * *");
    let mut daemon = Daemon::start(&backup, &[]);
    assert_eq!(daemon.get("/healthz"), (503, format!("{database}: there is no good backup\n")));
    assert!(daemon.get("/").1.contains("There is no good backup"));

    let local = format!("pg_backup_backups{{database=\"{database}\",target=\"local\"");
    let remote = format!("pg_backup_backups{{database=\"{database}\",target=\"remote\"");
    for run in [1.0, 2.0] {
        wait_for_long("a run", || daemon.metric(&remote) == Some(run));
        assert_eq!(daemon.metric(&local), Some(run));
    }
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
    let (_, page) = daemon.get("/");
    assert!(page.contains("All is well") && page.contains(&database) && page.contains("2 backups"), "{page}");
    assert!(page.contains("Next auto run") && page.contains("local and remote"), "{page}");
    lint_metrics(&daemon.get("/metrics").1);
    let series = |name: &str| format!("pg_backup_{name}{{database=\"{database}\",target=\"remote\"");
    assert_eq!(daemon.metric(&series("status")), Some(1.0));
    assert_eq!(daemon.metric(&series("rows")), Some(60_000.0));
    assert_eq!(daemon.metric("pg_backup_run_in_progress"), Some(0.0));
    let starts = daemon.log().matches("starting backup of").count();
    assert_eq!(starts, 2, "{}", daemon.log());

    let before = (backup.contents(), s3::shared().contents(&prefix));
    let so_far = store.seen().len();
    stalls.store(true, std::sync::atomic::Ordering::SeqCst);
    wait_for_long("the third run", || store.seen()[so_far..].iter().any(|seen| seen.target.contains("partNumber=")));
    assert_eq!(daemon.metric("pg_backup_run_in_progress"), Some(1.0));
    let (_, page) = daemon.get("/");
    assert!(page.contains("An auto run is in progress") && page.contains("public.big"), "{page}");
    let (code, took) = daemon.stop(Signal::TERM);
    assert_eq!(code, 143, "{}", daemon.log());
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(backup.contents() == before.0, "{:?}", backup.files());
    assert!(s3::shared().contents(&prefix) == before.1, "{:?}", s3::shared().keys(&prefix));
    assert_eq!(s3::shared().unfinished(&prefix), Vec::<String>::new());
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    wait_for("its sessions to end", || shared().sql("postgres", &sessions).trim() == "0");
}

#[test]
fn missed_runs_lead_to_one_run_after_a_restart() {
    let backup = Backup::of(shared(), &small_database())
        .set("SCHEDULE_DAILY", "0 0 * * *")
        .set("SCHEDULE_WEEKLY", "0 0 * * 0")
        .set("BACKUP_RETENTION_DAILY", "0");
    backup.run(&["run", "--type", "daily"]).exits(0);
    backup.run(&["run", "--type", "weekly"]).exits(0);
    let mut daemon = Daemon::start(&backup, &[]);
    assert_eq!(daemon.stop(Signal::TERM).0, 0);
    assert!(!daemon.log().contains("starting backup"), "{}", daemon.log());
    drop(daemon);

    backup.make_older(30);
    let mut daemon = Daemon::start(&backup, &[]);
    wait_for_missed_run(&daemon);
    assert_eq!(daemon.stop(Signal::TERM).0, 0);
    let log = daemon.log();
    assert!(log.contains("missed the weekly run of") && log.contains("; running it now"), "{log}");
    assert_eq!(log.matches("starting backup").count(), 1, "{log}");
    drop(daemon);

    let mut daemon = Daemon::start(&backup, &[]);
    let (code, _) = daemon.stop(Signal::INT);
    assert_eq!(code, 0);
    // the daily ones are still a month old, but there is a newer one that is kept longer
    assert!(!daemon.log().contains("starting backup"), "{}", daemon.log());
}

#[test]
fn what_is_not_yet_remote_is_uploaded() {
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &small_database()).set("BACKUP_SCHEDULE", NEVER);
    backup.run(&["run"]).exits(0);
    backup.run(&["run"]).exits(0);
    let both = backup.to("all", &s3::shared().endpoint(), &prefix).set("SCHEDULER_SYNC_INTERVAL_SECONDS", "1");
    let daemon = Daemon::start(&both, &["--max-age", "1h"]);
    wait_for("the uploads", || daemon.log().contains("uploaded 2 backups that were not yet remote"));
    assert_eq!(s3::shared().keys(&prefix).len(), 8);
    wait_for("the page", || daemon.get("/").1.contains("local and remote"));
    // one that comes later is sent at the next interval
    both.with("BACKUP_TARGET", "local").run(&["run"]).exits(0);
    wait_for("the third upload", || s3::shared().keys(&prefix).len() == 12);
}

#[test]
fn health_is_503_once_the_newest_good_backup_is_too_old_or_has_failed() {
    let database = small_database();
    let backup = Backup::of(shared(), &database).set("BACKUP_SCHEDULE", NEVER);
    backup.run(&["run"]).exits(0);
    let daemon = Daemon::start(&backup, &["--max-age", "1h"]);
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
    drop(daemon);
    backup.make_older(2);
    let daemon = Daemon::start(&backup, &["--max-age", "1h"]);
    let (status, text) = daemon.get("/healthz");
    assert_eq!((status, text.contains("is 2 days old; the limit is 1 h 0 min")), (503, true), "{text}");
    drop(daemon);
    let archive = backup.archive();
    std::fs::write(&archive, b"short").unwrap();
    let daemon = Daemon::start(&backup, &["--max-age", "100days"]);
    assert_eq!(daemon.get("/healthz"), (503, format!("{database}: there is no good backup\n")));
}

#[test]
fn a_store_that_does_not_answer_is_told_and_what_was_known_still_shows() {
    let is_away = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let away = is_away.clone();
    let store = Front::start(s3::shared().port, move |_: &Seen, _| {
        if away.load(std::sync::atomic::Ordering::SeqCst) { Act::Answer(503, String::new()) } else { Act::Forward }
    });
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &small_database()).to("all", &store.url(), &prefix).set("RETRY_COUNT", "1");
    backup.run(&["run"]).exits(0);
    let daemon = Daemon::start(&backup.set("BACKUP_SCHEDULE", "* * * * *"), &[]);
    assert_eq!(daemon.metric("pg_backup_storage_readable{source=\"\",target=\"remote\""), None);
    is_away.store(true, std::sync::atomic::Ordering::SeqCst);
    wait_for_long("a run without the store", || daemon.log().contains("backup partly done"));
    wait_for("the look after it", || daemon.metric("pg_backup_storage_readable{target=\"remote\"") == Some(0.0));
    let (_, page) = daemon.get("/");
    assert!(page.contains("cannot be read, and what is shown of it is from an earlier check"), "{page}");
    assert!(page.contains("the last run failed in"), "{page}");
    // it has one good backup in the folder that is new, and one in the store of which it knows
    assert_eq!(daemon.get("/healthz").0, 200);
    let (_, metrics) = daemon.get("/metrics");
    let count = |target: &str| {
        let line =
            metrics.lines().find(|l| l.starts_with("pg_backup_backups{") && l.contains(&format!("\"{target}\"")));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!((count("local"), count("remote")), ("2".to_owned(), "1".to_owned()));
    lint_metrics(&metrics);
}

#[test]
fn metrics_say_that_no_storage_can_be_read_where_none_ever_was() {
    let backup =
        Backup::of(shared(), &small_database()).to("remote", "http://127.0.0.1:1", "x").set("RETRY_COUNT", "1");
    let daemon = Daemon::start(&backup.set("BACKUP_SCHEDULE", NEVER), &[]);
    wait_for("a look", || daemon.metric("pg_backup_storage_readable{target=\"remote\"") == Some(0.0));
    let (status, metrics) = daemon.get("/metrics");
    assert!(status == 200 && metrics.contains("pg_backup_next_run_timestamp_seconds"), "{metrics}");
    lint_metrics(&metrics);
    assert_eq!(daemon.get("/healthz").0, 503);
}

/// As [`wait_for`], for what happens at the next minute.
#[track_caller]
fn wait_for_long(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn only_reading_is_possible_and_nothing_else_is_there() {
    let backup = Backup::of(shared(), &small_database()).set("BACKUP_SCHEDULE", NEVER);
    let daemon = Daemon::start(&backup, &[]);
    assert_eq!(daemon.get("/etc/passwd").0, 404);
    support::RUNTIME.block_on(async {
        let client = reqwest::Client::new();
        for method in ["POST", "PUT", "DELETE"] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(client.request(method, daemon.at("/")).body("x").send().await.unwrap().status(), 405);
        }
        let head = client.head(daemon.at("/")).send().await.unwrap();
        assert!(head.status().is_success());
        let policy = head.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
    });
    // neither half a request nor many of them stop the others
    let address = daemon.url.strip_prefix("http://").unwrap();
    let mut idle: Vec<_> = (0..40).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    idle.iter_mut().for_each(|stream| stream.write_all(b"GET / HT").unwrap());
    assert_eq!(daemon.get("/healthz").0, 503);
}

#[test]
fn settings_that_make_no_daemon_are_refused_by_name() {
    let backup = Backup::of(shared(), "postgres");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    backup.with("LISTEN_ADDR", &address).run(&["schedule"]).exits(78).says("LISTEN_ADDR");
    backup.with("BACKUP_SCHEDULE", "off").run(&["schedule"]).exits(78).says("every schedule is off");
    backup.with("SCHEDULE_WEEKLY", "0 0 30 2 *").run(&["schedule"]).exits(78).says("SCHEDULE_WEEKLY");
}

#[test]
fn as_the_first_process_of_a_container_it_reaps_orphans_and_hands_signals_on() {
    let database = small_database();
    let backup = Backup::of(shared(), &database).set("BACKUP_SCHEDULE", "0 0 * * *");
    // pg_dump, with a grandchild that outlives it
    let backup = backup.with_pg_dump(&shared().bin, "(sleep 0.2 &)\nexec $real \"$@\"");
    backup.run(&["run"]).exits(0);
    backup.make_older(3);
    let backup = backup.under(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    let mut daemon = Daemon::start(&backup, &[]);
    wait_for_missed_run(&daemon);
    let first = children(daemon.child.id())[0];
    let program = children(first)[0];
    let zombies = || children(first).into_iter().filter(|pid| *pid != program).collect::<Vec<_>>();
    wait_for("the orphan to be reaped", || zombies().is_empty());
    // as `docker stop` does it
    kill_process(Pid::from_raw(i32::try_from(first).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0), "{}", daemon.log());
    // and so does a command that fails
    let outcome = backup.with("POSTGRES_PASSWORD", "wrong").with("POSTGRES_PORT", "1").run(&["run"]);
    assert_eq!(outcome.code, 69, "{}", outcome.log);
}

/// To its end: a stop between the last line of its log and that is a stop of the run.
fn wait_for_missed_run(daemon: &Daemon) {
    wait_for("the missed run", || daemon.log().contains("backup done"));
    wait_for("its end", || daemon.metric("pg_backup_run_in_progress") == Some(0.0));
}

fn children(of: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn the_cause_of_a_failed_run_is_on_the_page_after_a_restart_until_a_run_succeeds() {
    let database = small_database();
    let backup = Backup::of(shared(), &database).set("BACKUP_SOURCE", "shop-db").set("RETRY_COUNT", "1");
    backup.with("BACKUP_DATABASES", &database).run(&["run"]).exits(0);
    backup.make_older(3);
    let (due, quiet) = (backup.with("BACKUP_SCHEDULE", "0 0 * * *"), backup.with("BACKUP_SCHEDULE", NEVER));
    let notes = || -> Vec<String> {
        // one that is being written is none yet
        let is_note = |name: &String| name.contains("backup-failed-") && !name.ends_with(".partial");
        let names = backup.files().into_iter().filter(is_note);
        names.map(|name| std::fs::read_to_string(backup.path().join(name)).unwrap_or_default()).collect()
    };
    // the first note says since when, a second one what came last
    for (setting, value, cause, count) in [
        ("POSTGRES_PORT", "1", "refused", 1),
        ("POSTGRES_DB", "not_there", "not_there", 2),
        ("POSTGRES_DB", "gone_too", "gone_too", 2),
    ] {
        let daemon = Daemon::start(&due.with(setting, value).with("BACKUP_DATABASES", &database), &[]);
        let is_noted = || notes().len() == count && notes().iter().any(|note| note.contains(cause));
        wait_for("the missed run to fail", || daemon.log().contains("backup failed after"));
        wait_for("its note", is_noted);
        drop(daemon);
        let daemon = Daemon::start(&quiet.with("BACKUP_DATABASES", &database), &[]);
        wait_for("the note to be read", || daemon.get("/").1.contains("a run failed in connect"));
        let (_, page) = daemon.get("/");
        let problem = page.split("a run failed in connect").nth(1).unwrap_or_else(|| panic!("{page}"));
        assert!(problem.split("</p>").next().unwrap().contains(cause), "{page}");
        assert!(problem.contains("and none has succeeded since"), "{page}");
    }
    backup.with("BACKUP_DATABASES", &database).run(&["run"]).exits(0);
    assert_eq!(notes(), Vec::<String>::new(), "a run by hand that succeeds is enough");
}
