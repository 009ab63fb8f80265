//! Google Cloud Storage and Azure beside S3: the whole way of a backup, and what is wrong said with its setting.

use crate::support;

use std::time::{Duration, Instant};
use support::backup::{Backup, finish};
use support::http::{Act, Front};
use support::postgres::shared;
use support::{azure, free_port, gcs, s3, signal, wait_for};

fn database(rows: u32) -> String {
    let database = shared().database("clouds");
    shared().sql(&database, &format!("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, {rows}) AS n"));
    database
}

const KINDS: [&str; 3] = ["s3", "gcs", "azure"];

/// A backup to a store of that kind, over a fresh prefix.
fn to(kind: &str, database: &str) -> Backup {
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), database).set("BACKUP_TARGET", "remote");
    match kind {
        "s3" => backup.to("remote", &s3::shared().endpoint(), &prefix),
        "gcs" => backup
            .set("GCS_BUCKET_NAME", s3::BUCKET)
            .set("GCS_CREDENTIALS_PATH", gcs::shared().key_file.to_str().unwrap())
            .set("GCS_ENDPOINT", &gcs::shared().endpoint())
            .set("GCS_BACKUP_PREFIX", &prefix),
        _ => backup
            .set("REMOTE_KIND", "azure")
            .set("AZURE_STORAGE_ACCOUNT", azure::ACCOUNT)
            .set("AZURE_CONTAINER", azure::CONTAINER)
            .set("AZURE_ENDPOINT", &azure::shared().endpoint())
            .set("AZURE_STORAGE_KEY", azure::KEY)
            .set("REMOTE_PREFIX", &prefix),
    }
}

/// The setting that says where a store is.
fn endpoint(kind: &str) -> &'static str {
    match kind {
        "s3" => "REMOTE_ENDPOINT",
        "gcs" => "GCS_ENDPOINT",
        _ => "AZURE_ENDPOINT",
    }
}

/// The same over another address.
fn at(kind: &str, backup: &Backup, address: &str) -> Backup {
    let path = if kind == "azure" { format!("/{}", azure::ACCOUNT) } else { String::new() };
    backup.with(endpoint(kind), &format!("{address}{path}"))
}

fn port(kind: &str) -> u16 {
    match kind {
        "s3" => s3::shared().port,
        "gcs" => gcs::shared().port,
        _ => azure::shared().port,
    }
}

fn count(backup: &Backup) -> usize {
    backup.json(&["list"], 0)["backups"].as_array().unwrap().len()
}

#[test]
fn a_backup_goes_its_whole_way_on_every_kind_of_store() {
    // more than one part
    let name = database(900_000);
    for kind in KINDS {
        let backup = to(kind, &name).set("BACKUP_TYPE", "daily").set("VERIFY_ENABLED", "true");
        let check = backup.json(&["check"], 0);
        assert!(
            check["checks"]
                .as_array()
                .unwrap()
                .iter()
                .any(|line| line["check"] == "remote store" && line["verdict"] == "ok")
        );
        backup.run(&[]).exits(0).says("verified backup_");
        backup.run(&[]).exits(0);
        assert_eq!(count(&backup), 2, "{kind}");
        assert_eq!(backup.json(&["status"], 0)["databases"][0]["newest"]["verified"], true);
        // one table alone is read by its range
        let copy = format!("{name}_{kind}");
        backup.run(&["restore", "--into", &copy, "--yes"]).exits(0);
        assert_eq!(shared().sql(&copy, "SELECT count(*) FROM t").trim(), "900000");
        backup.run(&["restore", "--into", &copy, "--table", "public.t", "--yes"]).exits(0).says("t_restored_");
        let folder = tempfile::tempdir().unwrap();
        backup.run(&["download", "--output", folder.path().to_str().unwrap()]).exits(0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
        let pruning = backup.with("REMOTE_RETENTION_ENABLED", "true").with("REMOTE_RETENTION_DAILY", "1");
        pruning.run(&["prune", "--yes"]).exits(0).says("deleted 1 backup");
        assert_eq!(count(&backup), 1, "{kind}");
        let listed = backup.json(&["list", "--all"], 0);
        assert_eq!(listed["foreign"], serde_json::json!([]), "{kind}: something was left");
    }
}

#[test]
fn a_shared_access_signature_is_enough_for_everything() {
    let name = database(1000);
    let backup = to("azure", &name)
        .set("AZURE_STORAGE_KEY", "")
        .set("AZURE_STORAGE_SAS_TOKEN", &azure::shared().signature("racwdl"))
        .set("REMOTE_RETENTION_ENABLED", "true")
        .set("REMOTE_RETENTION_DAILY", "1")
        .set("BACKUP_TYPE", "daily");
    for _ in 0..2 {
        backup.run(&[]).exits(0);
    }
    assert_eq!(count(&backup), 1);
    // one that may only read
    let reader = backup.with("AZURE_STORAGE_SAS_TOKEN", &azure::shared().signature("rl"));
    assert_eq!(count(&reader), 1);
    reader.run(&[]).exits(77).says("AZURE_STORAGE_SAS_TOKEN");
}

#[test]
fn an_upload_that_is_stopped_or_fails_leaves_nothing_on_any_kind_of_store() {
    let name = database(900_000);
    for kind in KINDS {
        let backup = to(kind, &name);
        let is_part = |seen: &support::http::Seen| {
            seen.method == "PUT" && (seen.target.contains("partNumber=2") || seen.target.contains("comp=block&"))
        };
        for (act, stop) in [(Act::Stall, true), (Act::Answer(500, String::new()), false), (Act::Cut, false)] {
            let front = Front::start(port(kind), move |seen, _| if is_part(seen) { act.clone() } else { Act::Forward });
            let through = at(kind, &backup, &front.url()).set("GCS_UPLOAD_RETRY_MAX", "2").set("RETRY_COUNT", "2");
            let child = through.spawn(&[]);
            let begun = Instant::now();
            if stop {
                wait_for("a part on its way", || front.seen().iter().any(is_part));
                signal(&child, "TERM");
            }
            let outcome = finish(child).exits(if stop { 143 } else { 69 });
            assert!(stop || outcome.log.contains(endpoint(kind)), "{kind}: {}", outcome.log);
            assert!(begun.elapsed() < Duration::from_secs(40), "{kind}: {:?}", begun.elapsed());
            let listed = backup.json(&["list", "--all"], 0);
            let nothing = serde_json::json!({"version": 1, "backups": [], "foreign": [], "unreadable": []});
            assert_eq!(listed, nothing, "{kind}: something was left");
        }
        backup.run(&[]).exits(0);
        assert_eq!(count(&backup), 1);
    }
}

#[test]
fn a_completion_whose_answer_was_lost_is_recognized_on_every_kind_of_store() {
    let name = database(900_000);
    for kind in KINDS {
        let backup = to(kind, &name).set("RETRY_COUNT", "3");
        let is_completion = |seen: &support::http::Seen| {
            seen.target.contains("comp=blocklist") || seen.method == "POST" && seen.target.contains("uploadId=")
        };
        let lost = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let front = Front::start(port(kind), move |seen, _| {
            let is_first = is_completion(seen) && !lost.swap(true, std::sync::atomic::Ordering::Relaxed);
            // the store has done it, and nobody hears of it
            if is_first { Act::ForwardAndAnswer(500, String::new()) } else { Act::Forward }
        });
        at(kind, &backup, &front.url()).run(&[]).exits(0);
        assert!(front.seen().iter().any(is_completion), "{kind}: no upload in parts");
        assert_eq!(count(&backup), 1, "{kind}");
        backup.verify(&["--checksum-only"], 0);
    }
}

/// Answers every request with the same bytes, and holds the connection.
fn stubborn(answer: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 65536]);
            let _ = stream.write_all(answer.as_bytes());
            held.push(stream);
        }
    });
    format!("http://127.0.0.1:{port}")
}

#[test]
fn what_is_no_store_is_not_taken_for_an_empty_one() {
    let name = database(10);
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 36\r\n\r\n<html><body>Please log in</body></html",
        "HTTP/1.1 200 OK\r\ncontent-length: 46\r\n\r\n<Error><Code>SlowDown</Code><Message/></Error>\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/login\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        // half an answer, and then nothing
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n<ListBucketResult>",
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 1000\r\n\r\n<Error>",
    ];
    let ask = |kind: &'static str, answer: &'static str| {
        let backup = at(kind, &to(kind, &name).set("RETRY_COUNT", "1"), &stubborn(answer));
        std::thread::spawn(move || {
            let begun = Instant::now();
            let outcome = backup.run(&["list"]);
            assert!([69, 74, 77].contains(&outcome.code), "{kind} {answer}: {}\n{}", outcome.code, outcome.log);
            assert!(!outcome.stdout.contains("no backups"), "{kind} {answer}");
            assert!(begun.elapsed() < Duration::from_secs(50), "{kind} {answer}: {:?}", begun.elapsed());
        })
    };
    let asked: Vec<_> = KINDS.iter().flat_map(|kind| answers.map(|answer| ask(kind, answer))).collect();
    asked.into_iter().for_each(|asked| asked.join().unwrap());
}

#[test]
fn a_store_that_takes_nothing_is_noticed_and_one_that_is_slow_is_not() {
    let name = database(900_000);
    for kind in KINDS {
        let backup =
            to(kind, &name).set("STALL_TIMEOUT", "4s").set("RETRY_COUNT", "2").set("GCS_UPLOAD_RETRY_MAX", "2");
        let front = Front::start(port(kind), |seen, _| {
            if seen.method == "PUT" && (seen.target.contains("partNumber=") || seen.target.contains("comp=block&")) {
                Act::Stall
            } else {
                Act::Forward
            }
        });
        let begun = Instant::now();
        at(kind, &backup, &front.url()).run(&[]).exits(69);
        assert!(begun.elapsed() < Duration::from_secs(60), "{kind}: {:?}", begun.elapsed());
        assert_eq!(count(&backup), 0);
    }
}

#[test]
fn what_is_wrong_with_a_store_is_said_with_the_setting_to_change() {
    let name = database(10);
    let wrong = |kind: &str| match kind {
        "s3" => ("REMOTE_SECRET_KEY", "wrong".to_owned()),
        "gcs" => ("GCS_CREDENTIALS_PATH", gcs::shared().wrong_key_file.to_str().unwrap().to_owned()),
        _ => ("AZURE_STORAGE_KEY", "d3Jvbmc=".to_owned()),
    };
    let bucket = |kind: &str| match kind {
        "s3" => "REMOTE_BUCKET",
        "gcs" => "GCS_BUCKET_NAME",
        _ => "AZURE_CONTAINER",
    };
    for kind in KINDS {
        let backup = to(kind, &name).set("RETRY_COUNT", "1");
        let (setting, value) = wrong(kind);
        let commands: [&[&str]; 4] = [&["check"], &["run"], &["list"], &["status"]];
        for command in commands {
            backup.with(setting, &value).run(command).exits(77).says(setting);
            backup.with(bucket(kind), "no-such-bucket").run(command).exits(69).says(bucket(kind));
            let nobody = format!("http://127.0.0.1:{}", free_port(0));
            at(kind, &backup, &nobody).run(command).exits(69).says(endpoint(kind)).says("refused");
        }
        // nobody knows this name
        at(kind, &backup, "http://store.invalid").run(&["list"]).exits(69).says(endpoint(kind));
    }
}

#[test]
fn a_clock_that_is_wrong_is_named_as_the_reason() {
    let name = database(10);
    for kind in ["s3", "gcs"] {
        let backup = to(kind, &name).set("RETRY_COUNT", "1");
        let wrapped = backup.with("FAKETIME_DONT_FAKE_MONOTONIC", "1").under(&["faketime", "-f", "-3h"]);
        for command in [&["check"][..], &["list"], &["run"]] {
            wrapped.run(command).exits(77).says("correct this machine's clock").says("3 h 0 min apart");
        }
    }
    // one that does not look at our clock takes everything, and `check` says so all the same
    let wrapped = to("azure", &name).with("FAKETIME_DONT_FAKE_MONOTONIC", "1").under(&["faketime", "-f", "-3h"]);
    let check = wrapped.json(&["check"], 0);
    let store =
        check["checks"].as_array().unwrap().iter().find(|line| line["check"] == "remote store").unwrap().clone();
    assert_eq!(store["verdict"], "warning", "{check:#}");
    assert!(store["detail"].as_str().unwrap().contains("its clock is 3 h 0 min ahead"), "{store:#}");
}

#[test]
fn a_machine_without_an_identity_is_told_to_get_one() {
    let name = database(10);
    let gcs = to("gcs", &name).set("GCS_CREDENTIALS_PATH", "").set("RETRY_COUNT", "1");
    // nobody answers where machines at Google ask for their identity
    let nobody = format!("127.0.0.1:{}", free_port(0));
    let gcs = gcs.set("GCE_METADATA_HOST", &nobody).set("GCE_METADATA_IP", &nobody);
    gcs.run(&["list"]).exits(69).says("GCS_CREDENTIALS_PATH").says("identity");
}
