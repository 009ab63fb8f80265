//! What lies in storage as people see it: list, status, upload, download and prune over both sides.

use crate::support;

use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use support::backup::{Backup, finish};
use support::http::{Act, Front};
use support::postgres::shared;
use support::{RUNTIME, s3, signal, wait_for};

fn database(rows: u32) -> String {
    let database = shared().database("catalogue");
    shared().sql(&database, &format!("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, {rows}) AS n"));
    database
}

/// Both sides, over a fresh prefix.
fn on_both(database: &str) -> (Backup, String) {
    let prefix = s3::fresh_prefix();
    (Backup::of(shared(), database).to("all", &s3::shared().endpoint(), &prefix), prefix)
}

fn kept<'a>(status: &'a Value, database: &str) -> &'a Value {
    let all = status["databases"].as_array().unwrap();
    all.iter().find(|kept| kept["database"] == database).unwrap_or_else(|| panic!("no {database} in {status:#}"))
}

#[test]
fn a_new_machine_and_a_second_operator_see_everything_at_once() {
    let name = database(100);
    let (backup, prefix) = on_both(&name);
    backup.run(&[]).exits(0);
    backup.run(&["verify"]).exits(0);
    // the folder is lost with its machine
    let elsewhere = Backup::of(shared(), &name).to("remote", &s3::shared().endpoint(), &prefix);
    let listed = elsewhere.json(&["list"], 0);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1);
    assert_eq!(listed["backups"][0]["locations"][0]["side"], "remote");
    let status = elsewhere.json(&["status"], 0);
    assert_eq!(kept(&status, &name)["verdict"], "ok");
    assert_eq!(status["volume"], Value::Null);
    let both = backup.json(&["list"], 0);
    let sides: Vec<&str> = both["backups"][0]["locations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["side"].as_str().unwrap())
        .collect();
    assert_eq!(sides, ["local", "remote"]);
    assert_eq!(both["backups"][0]["verified"], true);
}

#[test]
fn status_tells_the_age_and_exits_1_when_a_database_has_no_good_backup_young_enough() {
    let (one, other) = (database(100), database(100));
    let backup = Backup::of(shared(), &one).set("BACKUP_DATABASES", &format!("{one},{other}"));
    backup.run(&["run", "--database", &one]).exits(0);
    let status = backup.json(&["status"], 1);
    assert_eq!(kept(&status, &one)["verdict"], "ok");
    assert_eq!(kept(&status, &other)["verdict"], "missing", "a database that is named and was never saved");
    backup.run(&[]).exits(0);
    assert_eq!(backup.json(&["status"], 0)["ok"], true);
    backup.make_older(2);
    let status = backup.json(&["status"], 1);
    assert_eq!((&status["ok"], &kept(&status, &one)["verdict"]), (&Value::Bool(false), &Value::from("too_old")));
    let age = kept(&status, &one)["newest"]["age_seconds"].as_i64().unwrap();
    assert!((172_790..173_000).contains(&age), "{age}");
    backup.json(&["status", "--max-age", "3days"], 0);
    backup.run(&["status", "--max-age", "soon"]).exits(64);
    // what nobody selects any more makes no alarm
    let alone = backup.with("BACKUP_DATABASES", "").with("POSTGRES_DB", &one);
    let status = alone.json(&["status", "--max-age", "3days"], 0);
    assert_eq!(kept(&status, &other)["verdict"], "not_selected");
    // and of another source everything counts
    let stranger = backup.with("BACKUP_SOURCE", "elsewhere").with("BACKUP_DATABASES", "");
    assert_eq!(kept(&stranger.json(&["status"], 1), &one)["verdict"], "missing");
    let source = backup.get("POSTGRES_PORT");
    stranger.json(&["status", "--source", &format!("127.0.0.1:{source}"), "--max-age", "3days"], 0);
}

#[test]
fn a_backup_that_failed_its_verification_is_not_the_newest_good_one_and_status_says_so() {
    let name = database(100);
    let backup = Backup::of(shared(), &name);
    backup.run(&[]).exits(0);
    backup.make_older(3);
    let good = backup.json(&["status"], 1)["databases"][0]["newest"]["id"].clone();
    backup.run(&[]).exits(0);
    let queries = backup.folder.path().join("queries.sql");
    std::fs::write(&queries, "SELECT false").unwrap();
    backup.with("VERIFY_QUERIES_FILE", queries.to_str().unwrap()).run(&["verify"]).exits(65);
    let status = backup.json(&["status"], 1);
    assert_eq!(kept(&status, &name)["newest"]["id"], good);
    assert_eq!(kept(&status, &name)["last_verification"]["passed"], false);
    let table = backup.run(&["status"]).exits(1).stdout;
    assert!(table.contains("TOO OLD") && table.contains("FAILED"), "{table}");
    assert!(!table.contains('\u{1b}'), "colours are for terminals: {table}");
}

#[test]
fn a_size_that_jumps_or_drops_by_more_than_half_is_flagged() {
    let name = database(2000);
    let backup = Backup::of(shared(), &name);
    let trend = |backup: &Backup| kept(&backup.json(&["status"], 0), &name)["trend"].clone();
    backup.run(&[]).exits(0);
    assert_eq!(trend(&backup), Value::Null, "one alone has nothing before it");
    backup.run(&[]).exits(0);
    assert_eq!(trend(&backup)["conspicuous"], false);
    shared().sql(&name, "DELETE FROM t WHERE n > 500");
    backup.run(&[]).exits(0);
    assert_eq!(trend(&backup)["conspicuous"], true);
    assert!(backup.run(&["status"]).stdout.contains(" !"));
    // another compression is another size, and says nothing
    backup.with("BACKUP_COMPRESSION_LEVEL", "0").run(&[]).exits(0);
    assert_eq!(trend(&backup), Value::Null);
}

#[test]
fn the_tables_are_aligned_and_have_colours_only_on_a_terminal_that_wants_them() {
    let name = database(100);
    let backup = Backup::of(shared(), &name);
    backup.run(&[]).exits(0);
    let table = backup.run(&["list"]).exits(0).stdout;
    let lines: Vec<&str> = table.lines().collect();
    let column = |line: &str, word: &str| line.find(word).unwrap();
    assert_eq!(column(lines[0], "DATABASE"), column(lines[1], &name), "{table}");
    assert_eq!(column(lines[0], "SIZE") + 4, column(lines[1], "KiB") + 3, "sizes end under their heading:\n{table}");
    let on_terminal = |backup: &Backup| {
        let program = format!("{} status", env!("CARGO_BIN_EXE_backup"));
        let mut command = backup.command(&[]);
        let environment: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
        command = std::process::Command::new("script");
        command.args(["-qec", &program, "/dev/null"]).env_clear().envs(environment).env("TERM", "xterm");
        let output = command.current_dir(backup.folder.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(on_terminal(&backup).contains("\u{1b}["), "{}", on_terminal(&backup));
    let plain = on_terminal(&backup.with("NO_COLOR", "1"));
    assert!(plain.contains("ok") && !plain.contains("\u{1b}["), "{plain:?}");
}

#[test]
fn upload_sends_what_the_store_lacks_once_and_the_store_has_all_of_it() {
    let name = database(1000);
    let (backup, prefix) = on_both(&name);
    let local = backup.with("BACKUP_TARGET", "local");
    for format in ["plain", "custom"] {
        local.with("BACKUP_FORMAT", format).run(&[]).exits(0);
    }
    let pending = kept(&backup.json(&["status"], 0), &name)["pending_uploads"].clone();
    assert_eq!(pending.as_array().unwrap().len(), 2);
    assert!(backup.run(&["status"]).stdout.contains("2 uploads pending"));
    // no server is needed to send a backup
    let source = format!("127.0.0.1:{}", backup.get("POSTGRES_PORT"));
    let alone = backup.with("POSTGRES_PORT", "1").with("BACKUP_SOURCE", &source);
    alone.run(&["upload"]).exits(0).says("2 backups uploaded, 0 already there");
    let there = s3::shared().contents(&prefix);
    assert_eq!(there.len(), 8, "{:?}", s3::shared().keys(&prefix));
    let here = local.contents();
    for (key, bytes) in &there {
        let name = key.rsplit('/').next().unwrap();
        assert!(here.iter().any(|(file, content)| file == name && content == bytes), "{key} has other bytes");
    }
    backup.run(&["upload"]).exits(0).says("0 backups uploaded, 2 already there");
    let status = backup.json(&["status"], 0);
    assert_eq!(kept(&status, &name)["pending_uploads"], serde_json::json!([]));
    assert_eq!(kept(&status, &name)["uploaded"], 2);
    let elsewhere = Backup::of(shared(), &name).to("remote", &s3::shared().endpoint(), &prefix);
    assert_eq!(elsewhere.verify(&["--checksum-only"], 0).0["passed"], true);
}

#[test]
fn upload_takes_ids_and_paths_and_refuses_what_is_damaged() {
    let name = database(1000);
    let (backup, prefix) = on_both(&name);
    let local = backup.with("BACKUP_TARGET", "local");
    local.run(&[]).exits(0);
    let id = local.json(&["list"], 0)["backups"][0]["id"].as_str().unwrap().to_owned();
    backup.run(&["upload", "no-such-backup"]).exits(64).says("no-such-backup");
    let archive = local.archive();
    let bytes = std::fs::read(&archive).unwrap();
    // one bit, in the middle
    let mut broken = bytes.clone();
    broken[bytes.len() / 2] ^= 1;
    std::fs::write(&archive, &broken).unwrap();
    backup.run(&["upload", &id]).exits(65).says("does not match its manifest");
    assert_eq!(s3::shared().keys(&prefix), Vec::<String>::new(), "something of a damaged backup was left");
    std::fs::write(&archive, &bytes[..bytes.len() - 1]).unwrap();
    backup.run(&["upload", &id]).exits(74).says("is damaged");
    std::fs::write(&archive, &bytes).unwrap();
    let facts = format!("{}.facts.json.gz", archive.display());
    let right = std::fs::read(&facts).unwrap();
    std::fs::write(&facts, &broken).unwrap();
    backup.run(&["upload", "--file", archive.to_str().unwrap()]).exits(65).says("facts.json.gz");
    std::fs::write(&facts, &right).unwrap();
    // a copy in any folder, as somebody found it on an old disk
    let found = tempfile::tempdir().unwrap();
    for (file, content) in local.contents() {
        std::fs::write(found.path().join(file), content).unwrap();
    }
    let copy = found.path().join(archive.file_name().unwrap());
    let elsewhere = backup.with("BACKUP_DIR", found.path().join("none").to_str().unwrap());
    elsewhere.run(&["upload", "--file", copy.to_str().unwrap()]).exits(0).says("1 backup uploaded");
    assert_eq!(s3::shared().keys(&prefix).len(), 4);
    backup.run(&["upload", &id]).exits(0).says("0 backups uploaded, 1 already there");
}

#[test]
fn another_backup_under_the_same_id_is_an_error_and_nothing_is_overwritten() {
    let name = database(1000);
    let (backup, prefix) = on_both(&name);
    backup.run(&[]).exits(0);
    let before = s3::shared().contents(&prefix);
    let archive = backup.archive();
    std::fs::write(&archive, b"other bytes").unwrap();
    backup.make_sums_right(&archive);
    backup.run(&["upload"]).exits(74).says("has the same id but different bytes");
    assert!(s3::shared().contents(&prefix) == before, "the store was changed");
    let listed = backup.json(&["list"], 0);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2, "two backups, not one in two places");
}

#[test]
fn an_upload_that_is_ended_at_any_moment_leaves_nothing_or_what_the_next_one_finishes() {
    let name = database(400_000);
    for (name_of_signal, code) in [("TERM", 143), ("INT", 130), ("KILL", -1)] {
        let prefix = s3::fresh_prefix();
        // the store stops taking bytes, so that the signal comes in the middle
        let front = Front::start(s3::shared().port, |seen, before| {
            let is_part = seen.method == "PUT" && seen.target.contains(".sql.gz?");
            if is_part && before < 40 { Act::Stall } else { Act::Forward }
        });
        let backup = Backup::of(shared(), &name).to("all", &front.url(), &prefix);
        backup.with("BACKUP_TARGET", "local").run(&[]).exits(0);
        let child = backup.spawn(&["upload"]);
        wait_for("the archive on its way", || {
            front.seen().iter().any(|seen| seen.method == "PUT" && seen.target.contains(".sql.gz?"))
        });
        signal(&child, name_of_signal);
        let begun = Instant::now();
        assert_eq!(finish(child).code, code);
        assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
        let left = s3::shared().keys(&prefix);
        // whether the store still makes what it was sent is not known, so its marker stays
        assert!(left.iter().all(|key| key.ends_with(".pending")), "{left:?}");
        assert_eq!(s3::shared().unfinished(&prefix), Vec::<String>::new());
        assert_eq!(backup.with("BACKUP_TARGET", "remote").json(&["list"], 0)["backups"], serde_json::json!([]));
        let direct = backup.with("REMOTE_ENDPOINT", &s3::shared().endpoint());
        direct.run(&["upload"]).exits(0).says("1 backup uploaded");
        assert_eq!(s3::shared().keys(&prefix).len(), 4);
    }
}

#[test]
fn two_uploads_at_once_send_a_backup_once() {
    let name = database(1000);
    let (backup, prefix) = on_both(&name);
    backup.with("BACKUP_TARGET", "local").run(&[]).exits(0);
    let children = [backup.spawn(&["upload"]), backup.spawn(&["upload"])];
    let codes: Vec<i32> = children.into_iter().map(|child| finish(child).code).collect();
    assert!(codes.contains(&0), "{codes:?}");
    assert!(codes.iter().all(|code| [0, 74].contains(code)), "{codes:?}");
    assert_eq!(s3::shared().keys(&prefix).len(), 4, "{:?}", s3::shared().keys(&prefix));
    backup.run(&["upload"]).exits(0).says("0 backups uploaded, 1 already there");
}

#[test]
fn a_run_leaves_an_upload_alone_that_lives() {
    let name = database(1000);
    let prefix = s3::fresh_prefix();
    let release = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let held = release.clone();
    let front = Front::start(s3::shared().port, move |seen, _| {
        let is_archive = seen.method == "PUT" && seen.target.contains(".sql.gz?");
        let is_held = is_archive && !held.load(std::sync::atomic::Ordering::Relaxed);
        if is_held { Act::Answer(503, "<Error><Code>SlowDown</Code></Error>".to_owned()) } else { Act::Forward }
    });
    let slow = Backup::of(shared(), &name).to("all", &front.url(), &prefix).set("RETRY_COUNT", "1000");
    slow.with("BACKUP_TARGET", "local").run(&[]).exits(0);
    let child = slow.spawn(&["upload"]);
    wait_for("the archive on its way", || front.seen().iter().any(|seen| seen.target.contains(".sql.gz?")));
    // this run finds the mark of the upload, and its session
    let run = slow.with("REMOTE_ENDPOINT", &s3::shared().endpoint()).with("RETRY_COUNT", "1");
    let run = run.with("BACKUP_SOURCE", &format!("127.0.0.1:{}", shared().port));
    run.run(&[]).exits(0);
    release.store(true, std::sync::atomic::Ordering::Relaxed);
    finish(child).exits(0).says("1 backup uploaded");
    assert_eq!(run.with("BACKUP_TARGET", "remote").json(&["list"], 0)["backups"].as_array().unwrap().len(), 2);
}

#[test]
fn the_remote_side_is_pruned_by_its_own_rules_and_only_when_told() {
    let name = database(100);
    let (backup, prefix) = on_both(&name);
    let backup = backup.set("BACKUP_TYPE", "daily").set("BACKUP_RETENTION_DAILY", "1");
    for _ in 0..3 {
        backup.run(&[]).exits(0);
    }
    let counts = |backup: &Backup| {
        ["local", "remote"]
            .map(|side| backup.json(&["list", "--location", side], 0)["backups"].as_array().unwrap().len())
    };
    assert_eq!(counts(&backup), [1, 3]);
    let foreign = b"somebody else's".to_vec();
    let store = s3::shared().store(&prefix);
    RUNTIME.block_on(store.put("2026-01/notes.sql.gz", foreign.clone().into())).unwrap();
    let pruning = backup.with("REMOTE_RETENTION_ENABLED", "true").with("REMOTE_RETENTION_DAILY", "2");
    let shown = pruning.run(&["prune", "--dry-run"]).exits(0).stdout;
    assert_eq!(shown.matches("delete").count(), 1, "{shown}");
    assert_eq!(counts(&backup), [1, 3], "a dry run deleted something");
    pruning.run(&["prune"]).exits(64).says("--yes");
    pruning.run(&["prune", "--yes"]).exits(0).says("deleted 1 backup\n");
    assert_eq!(counts(&backup), [1, 2]);
    pruning.run(&[]).exits(0);
    assert_eq!(counts(&backup), [1, 2]);
    assert!(
        s3::shared().contents(&prefix).iter().any(|(key, bytes)| key.ends_with("notes.sql.gz") && *bytes == foreign)
    );
    // what the store has pruned is not missing there
    let keeps_more = pruning.with("BACKUP_RETENTION_DAILY", "7");
    for _ in 0..2 {
        keeps_more.run(&[]).exits(0);
    }
    assert_eq!(counts(&backup), [3, 2]);
    let status = keeps_more.json(&["status"], 0);
    assert_eq!(kept(&status, &name)["pending_uploads"], serde_json::json!([]));
    keeps_more.run(&["upload"]).exits(0).says("0 backups uploaded");
    assert_eq!(counts(&backup), [3, 2]);
}

#[test]
fn a_locked_object_is_reported_and_keeps_no_other_backup_from_going() {
    let name = database(100);
    let prefix = s3::fresh_prefix();
    let (backup, _) = on_both(&name);
    let backup = backup.set("REMOTE_PREFIX", &prefix).set("BACKUP_TYPE", "daily");
    for _ in 0..3 {
        backup.run(&[]).exits(0);
    }
    let listed = backup.json(&["list"], 0);
    let ids: Vec<String> =
        listed["backups"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let locked = ids[1].clone();
    let front = Front::start(s3::shared().port, move |seen, _| {
        let is_locked = seen.method == "DELETE" && seen.target.contains(&locked) && !seen.target.contains(".deleting");
        let cause = "<Error><Code>AccessDenied</Code><Message>object is WORM protected</Message></Error>";
        if is_locked { Act::Answer(403, cause.to_owned()) } else { Act::Forward }
    });
    let pruning = backup
        .with("REMOTE_ENDPOINT", &front.url())
        .with("REMOTE_RETENTION_ENABLED", "true")
        .with("REMOTE_RETENTION_DAILY", "1")
        .with("BACKUP_TARGET", "remote");
    pruning.run(&["prune", "--yes"]).exits(1).says("WORM protected").says(&ids[1]).says("deleted 1 backup");
    let left = backup.json(&["list", "--location", "remote"], 0);
    let left: Vec<&str> = left["backups"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(left, [&ids[0], &ids[1]], "the locked one is whole and listed");
    pruning.run(&["run", "--type", "daily"]).exits(1).says("WORM protected");
}

#[test]
fn a_page_of_a_listing_that_fails_is_an_error_and_never_a_shorter_list() {
    let name = database(100);
    let (backup, prefix) = on_both(&name);
    backup.run(&[]).exits(0);
    let store = s3::shared().store(&prefix);
    RUNTIME.block_on(async {
        let put = |number: u32| {
            let store = store.clone();
            async move { store.put(&format!("a/{number}"), bytes::Bytes::from_static(b"x")).await.unwrap() }
        };
        futures_util::future::join_all((0..1100).map(put)).await;
    });
    assert_eq!(backup.json(&["list", "--all"], 0)["foreign"].as_array().unwrap().len(), 1100);
    let remote = backup.with("BACKUP_TARGET", "remote");
    for answer in [Act::Answer(500, String::new()), Act::Answer(200, "<ListBucketResult>".to_owned()), Act::Cut] {
        let front = Front::start(s3::shared().port, move |seen, _| {
            if seen.target.contains("continuation-token") { answer.clone() } else { Act::Forward }
        });
        let broken = remote.with("REMOTE_ENDPOINT", &front.url());
        for command in ["list", "status", "prune", "upload"] {
            let arguments: &[&str] = if command == "prune" { &["prune", "--yes"] } else { &[command] };
            let broken =
                if command == "prune" { broken.with("REMOTE_RETENTION_ENABLED", "true") } else { broken.with("A", "") };
            let outcome = broken.run(arguments);
            assert!(
                [69, 74].contains(&outcome.code),
                "{command} exits {}\n{}\n{}",
                outcome.code,
                outcome.stdout,
                outcome.log
            );
            assert_eq!(outcome.stdout, "", "{command}");
        }
    }
    // a manifest that cannot be read is no missing backup either
    let front = Front::start(s3::shared().port, |seen, _| {
        if seen.method == "GET" && seen.target.contains(".json?") {
            Act::Answer(503, String::new())
        } else {
            Act::Forward
        }
    });
    remote.with("REMOTE_ENDPOINT", &front.url()).run(&["list"]).exits(69);
}

#[test]
fn what_may_not_be_read_is_no_missing_backup() {
    let name = database(100);
    let (backup, _) = on_both(&name);
    let remote = backup.with("BACKUP_TARGET", "remote").with("BACKUP_DATABASES", "*");
    remote.run(&["run", "--database", &name]).exits(0);
    let front = Front::start(s3::shared().port, |seen, _| {
        let denied = "<Error><Code>AccessDenied</Code></Error>".to_owned();
        if seen.method == "GET" && seen.target.contains(".json?") { Act::Answer(403, denied) } else { Act::Forward }
    });
    for command in ["list", "status", "upload"] {
        remote.with("REMOTE_ENDPOINT", &front.url()).run(&[command]).exits(77).says("AccessDenied");
    }
    // storage with nothing in it is not well kept, whatever is expected of it
    let empty = remote.with("REMOTE_PREFIX", &s3::fresh_prefix());
    empty.json(&["status"], 1);
    // and neither is one whose only backups are from the future
    let local = backup.with("BACKUP_TARGET", "local");
    local.run(&[]).exits(0);
    local.make_older(-400);
    let status = local.json(&["status"], 1);
    assert_eq!(kept(&status, &name)["verdict"], "too_old");
    assert!(local.run(&["list"]).stdout.contains("in 400 d") || local.run(&["list"]).stdout.contains("in 399 d"));
}

#[test]
fn the_backups_of_another_source_in_the_bucket_keep_none_of_ours_from_being_sent() {
    let name = database(100);
    let (backup, _) = on_both(&name);
    let pruned = backup
        .with("BACKUP_TYPE", "daily")
        .with("REMOTE_RETENTION_ENABLED", "true")
        .with("REMOTE_RETENTION_DAILY", "2");
    pruned.with("BACKUP_TARGET", "local").run(&[]).exits(0);
    let other =
        pruned.with("BACKUP_SOURCE", "other:5432").with("BACKUP_BASE_NAME", "other").with("BACKUP_TARGET", "remote");
    for _ in 0..3 {
        other.run(&[]).exits(0);
    }
    pruned.run(&["upload"]).exits(0).says("1 backup uploaded");
}

#[test]
fn a_copy_that_failed_its_verification_there_is_no_replica_and_a_good_one_is_preferred() {
    let name = database(1000);
    let (backup, _) = on_both(&name);
    backup.run(&[]).exits(0);
    let archive = backup.archive();
    let bytes = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &bytes[..100]).unwrap();
    let target = tempfile::tempdir().unwrap();
    // the folder's copy is damaged, the store's is not
    backup.run(&["download", "--output", target.path().to_str().unwrap()]).exits(0);
    std::fs::write(&archive, &bytes).unwrap();
    let queries = backup.folder.path().join("queries.sql");
    std::fs::write(&queries, "SELECT false").unwrap();
    let strict = backup.with("VERIFY_QUERIES_FILE", queries.to_str().unwrap());
    strict.run(&["verify", "--location", "remote"]).exits(65);
    let status = backup.json(&["status"], 0);
    assert_eq!(kept(&status, &name)["uploaded"], 0);
    assert_eq!(kept(&status, &name)["pending_uploads"].as_array().unwrap().len(), 1);
    backup.run(&["upload"]).exits(74).says("failed its verification; remove that first");
}

#[test]
fn folders_by_type_are_made_where_asked_and_an_upload_keeps_them() {
    let name = database(100);
    let (backup, prefix) = on_both(&name);
    let backup = backup.set("LOCAL_PATH_FORMAT", "type").set("REMOTE_PATH_FORMAT", "type");
    let local = backup.with("BACKUP_TARGET", "local");
    for kind in ["daily", "manual"] {
        local.run(&["run", "--type", kind]).exits(0);
    }
    backup.run(&["upload"]).exits(0).says("2 backups uploaded");
    let here: Vec<String> = local.files();
    assert_eq!(s3::shared().keys(&prefix), here);
    assert!(here.iter().all(|file| file.starts_with("daily/") || file.starts_with("manual/")), "{here:?}");
    // another layout there is another key for the same backup
    let other = backup.with("REMOTE_PREFIX", &s3::fresh_prefix()).with("REMOTE_PATH_FORMAT", "database");
    other.run(&["upload"]).exits(0);
    let keys = s3::shared().keys(&other.get("REMOTE_PREFIX"));
    assert!(keys.iter().all(|key| key.starts_with(&format!("{name}/20"))), "{keys:?}");
    assert_eq!(other.json(&["list"], 0)["backups"].as_array().unwrap().len(), 2, "each on both sides");
    let target = tempfile::tempdir().unwrap();
    let target = target.path().to_str().unwrap();
    other.run(&["download", "latest", "--location", "remote", "--output", target]).exits(0);
    assert_eq!(std::fs::read_dir(Path::new(target)).unwrap().count(), 4);
}

#[test]
fn check_and_config_print_what_their_schemas_say() {
    let name = database(100);
    let (backup, _) = on_both(&name);
    let check = backup.json(&["check"], 0);
    assert!(check["checks"].as_array().unwrap().iter().any(|line| line["check"] == "remote store"));
    backup.json(&["config"], 0);
}
