//! The run is ended from outside: signals, a second run, a deadline; and what others see of it meanwhile.

use super::{ALONE, Scene, database_of, pg_dumps_of, processes, signal, small_database, stalled_run, stalling_parts};
use crate::support::backup::finish;
use crate::support::postgres::{PASSWORD, shared};
use crate::support::{s3, wait_for};
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[test]
fn sigterm_in_the_dump_and_in_the_upload_cleans_up_in_time() {
    let database = database_of(160);
    for (stop, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (scene, child) = stalled_run(&database, "all", &[]);
        let asked = Instant::now();
        signal(&child, stop);
        let outcome = finish(child).exits(code);
        assert!(asked.elapsed() < Duration::from_secs(18), "{:?}", asked.elapsed());
        assert_eq!(pg_dumps_of(&scene.backup), Vec::<i32>::new());
        scene.is_untouched_after(&outcome);
    }
}

#[test]
fn sigterm_while_waiting_for_a_lock_or_a_server_ends_at_once() {
    let database = small_database();
    let scene = Scene::local(&database);
    let scene = Scene {
        backup: scene.backup.set("RETRY_COUNT", "100").set("RETRY_DELAY", "5").set("POSTGRES_PORT", "1"),
        ..scene
    };
    let child = scene.spawn();
    wait_for("the run", || processes(scene.backup.folder.path().to_str().unwrap()).is_empty());
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::TERM);
    let outcome = finish(child).exits(143);
    scene.is_untouched_after(&outcome);
}

#[test]
fn after_sigkill_in_mid_upload_the_next_run_leaves_no_trace_of_it() {
    let database = database_of(160);
    let (scene, mut child) = stalled_run(&database, "all", &[]);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    // nothing that looks like a backup, and older ones as they were
    let list = scene.backup.run(&["list", "--json", "--location", "local"]).exits(0).stdout;
    assert_eq!(list.matches("\"id\"").count(), 2);
    wait_for("the dead run's pg_dump to end", || pg_dumps_of(&scene.backup).is_empty());
    wait_for("the dead run's session to end", || {
        shared().sql("postgres", &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'")) == "0"
    });

    let endpoint = s3::shared().endpoint();
    let next = scene.set("REMOTE_ENDPOINT", &endpoint).set("BACKUP_RETENTION_DAILY", "7");
    next.run().exits(0).says("left unfinished");
    assert_eq!(next.backup.files_but_notes().len(), 12, "{:?}", next.backup.files());
    assert_eq!(s3::shared().keys(&next.prefix).len(), 12);
    assert_eq!(s3::shared().unfinished(&next.prefix), Vec::<String>::new());
}

#[test]
fn a_second_run_at_the_same_time_exits_75_and_changes_nothing() {
    let database = database_of(160);
    let (scene, child) = stalled_run(&database, "remote", &[]);
    let pending = s3::shared().keys(&scene.prefix);
    scene.run().exits(75).says("another run holds the lock");
    assert_eq!(s3::shared().keys(&scene.prefix), pending);
    signal(&child, Signal::TERM);
    finish(child).exits(143);
    scene.stores_are_untouched();
}

#[test]
fn a_run_past_its_deadline_is_ended_and_cleaned_up() {
    let database = database_of(160);
    let front = stalling_parts();
    let scene = Scene::remote(&database, "remote", &front.url());
    let scene = scene.set("BACKUP_TIMEOUT", "4s");
    let outcome = scene.run().exits(74).says("BACKUP_TIMEOUT");
    scene.is_untouched_after(&outcome);
}

#[test]
fn secrets_are_never_in_the_arguments_of_a_process() {
    let database = database_of(160);
    let (scene, child) = stalled_run(&database, "remote", &[ALONE]);
    assert!(!pg_dumps_of(&scene.backup).is_empty());
    for secret in [PASSWORD, "webhook-token"] {
        assert_eq!(processes(secret), Vec::<i32>::new());
    }
    signal(&child, Signal::TERM);
    finish(child).exits(143);
}
