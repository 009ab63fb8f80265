//! The store fails: slow, down, forgetful, closed; and what the other side keeps then.

use super::{Scene, but_notes, database_of, is_part, small_database, stalling_parts};
use crate::support::backup::Backup;
use crate::support::http::{Act, Front};
use crate::support::postgres::shared;
use crate::support::{free_port, s3};
use std::time::{Duration, Instant};

#[test]
fn two_sources_with_the_same_database_in_one_bucket_leave_each_other_alone() {
    let database = small_database();
    let (prefix, endpoint) = (s3::fresh_prefix(), s3::shared().endpoint());
    let folder = tempfile::tempdir().unwrap();
    let of = |source: &str| {
        Backup::of(shared(), &database)
            .to("all", &endpoint, &prefix)
            .set("BACKUP_DIR", folder.path().to_str().unwrap())
            .set("BACKUP_SOURCE", source)
            .set("BACKUP_RETENTION_DAILY", "1")
    };
    let (one, two) = (of("one"), of("two"));
    for _ in 0..2 {
        one.run(&["run", "--type", "daily"]).exits(0);
    }
    let theirs = || -> Vec<String> {
        let list = two.run(&["list", "--json", "--source", "one", "--location", "all"]).exits(0).stdout;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        list["backups"].as_array().unwrap().iter().map(ToString::to_string).collect()
    };
    let before = theirs();
    // a leftover of the first that the second's sweep must not touch
    std::fs::write(
        folder.path().join("left.sql.gz.pending"),
        br#"{"version":1,"source":"one","run_id":"dead","written":"2020-01-01T00:00:00Z"}"#,
    )
    .unwrap();
    for _ in 0..3 {
        two.run(&["run", "--type", "daily"]).exits(0);
    }
    assert_eq!(theirs(), before);
    assert!(folder.path().join("left.sql.gz.pending").exists());
    let plan = two.run(&["prune", "--dry-run"]).exits(0).stdout;
    assert_eq!(plan.lines().count(), 2, "{plan}");
    one.run(&["run", "--type", "daily"]).exits(0);
    assert!(!folder.path().join("left.sql.gz.pending").exists());
}

#[test]
fn a_store_that_accepts_no_byte_is_dropped_and_the_other_target_kept() {
    let database = database_of(160);
    let front = stalling_parts();
    let scene = Scene::remote(&database, "all", &front.url());
    let scene = scene.set("STALL_TIMEOUT", "3s");
    let started = Instant::now();
    let outcome = scene.run().exits(1).says("STALL_TIMEOUT").says("nothing is pruned");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    scene.told_once(&outcome);
    assert_eq!(scene.backup.files_but_notes().len(), 12);
    assert_eq!(but_notes(s3::shared().contents(&scene.prefix)).len(), 8);
    assert_eq!(s3::shared().unfinished(&scene.prefix), Vec::<String>::new());
}

#[test]
fn a_store_that_accepts_no_byte_as_the_only_target_fails_in_time() {
    let front = Front::start(s3::shared().port, |seen, _| {
        if seen.method == "PUT" && !seen.target.contains(".pending") { Act::Stall } else { Act::Forward }
    });
    let scene = Scene::remote(&small_database(), "remote", &front.url());
    let scene = scene.set("STALL_TIMEOUT", "3s");
    let started = Instant::now();
    let outcome = scene.run().exits(69).says("STALL_TIMEOUT");
    assert!(started.elapsed() < Duration::from_secs(30));
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_store_that_is_down_exits_69_alone_and_1_beside_a_local_backup() {
    let closed = format!("http://127.0.0.1:{}", free_port(0));
    let database = small_database();
    let alone = Scene::remote(&database, "remote", &closed);
    let outcome = alone.run().exits(69).says("REMOTE_ENDPOINT");
    alone.is_untouched_after(&outcome);
    let beside = Scene::remote(&database, "all", &closed);
    let outcome = beside.run().exits(1).says("nothing is pruned");
    beside.told_once(&outcome);
    assert_eq!(beside.backup.files_but_notes().len(), 12);
}

#[test]
fn a_store_that_is_busy_for_a_while_is_waited_for() {
    let front = Front::start(s3::shared().port, |_, before| {
        // every other request, so that each kind of request meets it
        if before % 2 == 0 { Act::Answer(503, "<Error><Code>SlowDown</Code></Error>".to_owned()) } else { Act::Forward }
    });
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &database_of(60)).to("remote", &front.url(), &prefix).set("RETRY_COUNT", "12");
    backup.run(&[]).exits(0);
    assert_eq!(s3::shared().keys(&prefix).len(), 4);
    assert_eq!(s3::shared().unfinished(&prefix), Vec::<String>::new());
}

#[test]
fn a_connection_reset_in_a_part_is_repaired_once_and_fatal_for_ever() {
    let database = database_of(60);
    let once = Front::start(s3::shared().port, |seen, _| Act::Forward.unless(is_part(seen) && first_time()));
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &database).to("remote", &once.url(), &prefix);
    backup.run(&[]).exits(0);
    let archive = s3::shared().contents(&prefix).into_iter().find(|(key, _)| key.ends_with(".sql.gz")).unwrap().1;
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&archive[..]), &mut plain).unwrap();
    assert!(String::from_utf8_lossy(&plain[plain.len() - 300..]).contains("PostgreSQL database dump complete"));

    let always = Front::start(s3::shared().port, |seen, _| if is_part(seen) { Act::Cut } else { Act::Forward });
    let scene = Scene::remote(&database, "remote", &always.url());
    let outcome = scene.run().exits(69);
    scene.is_untouched_after(&outcome);
}

trait Unless {
    fn unless(self, cut: bool) -> Act;
}

impl Unless for Act {
    fn unless(self, cut: bool) -> Act {
        if cut { Act::Cut } else { self }
    }
}

/// True at the first call of this process.
fn first_time() -> bool {
    static CALLED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    !CALLED.swap(true, std::sync::atomic::Ordering::SeqCst)
}

#[test]
fn an_error_inside_a_200_on_complete_is_no_success() {
    let error = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InternalError</Code><Message>try again</Message></Error>";
    let front = Front::start(s3::shared().port, move |seen, _| {
        let complete = seen.method == "POST" && seen.target.contains("uploadId=");
        if complete { Act::Answer(200, error.to_owned()) } else { Act::Forward }
    });
    let scene = Scene::remote(&database_of(60), "remote", &front.url());
    let outcome = scene.run().exits(69).says("InternalError");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_complete_whose_answer_was_lost_is_recognized() {
    let front = Front::start(s3::shared().port, move |seen, _| {
        let complete = seen.method == "POST" && seen.target.contains("uploadId=");
        if complete { Act::ForwardAndAnswer(503, String::new()) } else { Act::Forward }
    });
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &database_of(60)).to("remote", &front.url(), &prefix);
    backup.run(&[]).exits(0);
    assert_eq!(s3::shared().keys(&prefix).len(), 4);
}

#[test]
fn a_store_that_loses_what_it_took_is_caught() {
    // it answers every PUT of the archive with success and keeps nothing
    let front = Front::start(s3::shared().port, |seen, _| {
        if seen.method == "PUT" && seen.target.contains(".sql.gz?x-id=PutObject") {
            Act::Answer(200, String::new())
        } else {
            Act::Forward
        }
    });
    let scene = Scene::remote(&small_database(), "remote", &front.url());
    let outcome = scene.run().exits(74);
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_wrong_key_exits_77_and_a_missing_bucket_69_each_with_the_setting() {
    let database = small_database();
    let scene = Scene::remote(&database, "remote", &s3::shared().endpoint());
    let scene = scene.set("REMOTE_SECRET_KEY", "wrong-key");
    let outcome = scene.run().exits(77).says("REMOTE_SECRET_KEY");
    scene.is_untouched_after(&outcome);
    let scene = Scene::remote(&database, "remote", &s3::shared().endpoint());
    let scene = scene.set("REMOTE_BUCKET", "no-such-bucket");
    let outcome = scene.run().exits(69).says("REMOTE_BUCKET");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_store_without_the_right_to_delete_still_takes_backups() {
    let front = Front::start(s3::shared().port, |seen, _| {
        let denied = "<Error><Code>AccessDenied</Code></Error>".to_owned();
        if seen.method == "DELETE" { Act::Answer(403, denied) } else { Act::Forward }
    });
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &small_database()).to("remote", &front.url(), &prefix);
    for _ in 0..2 {
        backup.run(&[]).exits(0).says("AccessDenied");
    }
    let list = backup.run(&["list", "--json"]).exits(0).stdout;
    assert_eq!(list.matches("\"id\"").count(), 2, "{list}");
}

#[test]
fn a_remote_side_that_cannot_even_be_tried_does_not_cost_the_local_backup() {
    let scene = Scene::local(&small_database());
    let empty = scene.backup.folder.path().join("no-certificate.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let backup = scene.backup.set("BACKUP_TARGET", "all").set("REMOTE_ENDPOINT", "https://127.0.0.1:1");
    let scene = Scene { backup: backup.set("REMOTE_CA_FILE", empty.to_str().unwrap()), ..scene };
    let outcome = scene.run().exits(1);
    scene.told_once(&outcome);
    assert_eq!(scene.backup.files_but_notes().len(), 12);
}

#[test]
fn a_manifest_without_its_archive_protects_nothing_from_the_floor() {
    let backup = Backup::of(shared(), &small_database()).set("BACKUP_RETENTION_DAILY", "1");
    backup.run(&["run", "--type", "daily"]).exits(0);
    let good = backup.archive();
    let backup = backup.set("BACKUP_RETENTION_DAILY", "7");
    backup.run(&["run", "--type", "daily"]).exits(0);
    let archives = backup.files().into_iter().filter(|file| file.ends_with(".sql.gz"));
    let newer = archives.map(|file| backup.path().join(file)).find(|path| *path != good).unwrap();
    std::fs::remove_file(newer).unwrap();
    let backup = backup.set("BACKUP_RETENTION_DAILY", "1");
    let plan = backup.run(&["prune", "--dry-run"]).exits(0).says("differs in length").stdout;
    let id = good.file_name().unwrap().to_str().unwrap().trim_end_matches(".sql.gz").to_owned();
    assert!(plan.lines().any(|line| line.contains(&id) && line.contains("keep")), "{plan}");
}
