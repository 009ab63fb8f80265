//! Signals at bad moments, and uploads whose end is in doubt.

use crate::support::backup::{Backup, finish};
use crate::support::http::{Act, Front};
use crate::support::postgres::{Postgres, shared};
use crate::support::{s3, signal, tool, wait_for};
use std::time::{Duration, Instant};

fn noise(postgres: &Postgres, rows: u32) -> String {
    let database = postgres.database("signals");
    postgres.sql(
        &database,
        &format!(
            "CREATE TABLE noise AS SELECT n, string_agg(md5((n * 40 + k)::text), '') AS data
             FROM generate_series(1, {rows}) AS n, generate_series(1, 32) AS k GROUP BY n"
        ),
    );
    database
}

#[test]
fn sighup_is_an_orderly_end_unless_it_was_ignored_at_the_start() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = noise(&postgres, 60_000);
    let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
    let url = format!("{}/api/webhooks/1/x", webhook.url());
    let stalling = Front::start(s3::shared().port, |seen, _| {
        if seen.method == "PUT" && seen.target.contains("partNumber=") { Act::Stall } else { Act::Forward }
    });
    let backup = Backup::of(&postgres, &database)
        .to("all", &stalling.url(), &s3::fresh_prefix())
        .set("DISCORD_WEBHOOK_URL", &url);
    let child = backup.spawn(&["run"]);
    wait_for("parts", || stalling.seen().iter().any(|seen| seen.target.contains("partNumber=")));
    let begun = Instant::now();
    signal(&child, "HUP");
    finish(child).exits(129).says("stopped by SIGHUP");
    assert!(begun.elapsed() < Duration::from_secs(18));
    assert_eq!(backup.files_but_notes(), Vec::<String>::new());
    assert_eq!(webhook.seen().len(), 1);
    // and in the middle of a restore
    let whole = backup.with("BACKUP_TARGET", "local");
    whole.run(&["run"]).exits(0);
    let child = whole.spawn(&["verify"]);
    postgres.wait_for_rows();
    signal(&child, "HUP");
    finish(child).exits(129);
    assert_eq!(postgres.leftovers(), "");
    let child = whole.spawn(&["restore", "--into", &format!("{database}_copy")]);
    postgres.wait_for_rows();
    signal(&child, "HUP");
    finish(child).exits(129);
    assert_eq!(postgres.leftovers(), "");
    // as nohup starts it
    let deaf = whole.under(&["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    let child = deaf.spawn(&["verify"]);
    postgres.wait_for_rows();
    signal(&child, "HUP");
    finish(child).exits(0);
}

#[test]
fn an_archive_that_the_store_completes_after_the_signal_is_ours_until_it_is_gone() {
    let database = noise(shared(), 40_000);
    // within the time that is waited for it, and long after that
    for seconds in [4, 25] {
        let prefix = s3::fresh_prefix();
        let front = Front::start(s3::shared().port, move |seen, _| {
            let is_completion = seen.method == "POST" && seen.target.contains("uploadId=");
            if is_completion { Act::ForwardLate(Duration::from_secs(seconds)) } else { Act::Forward }
        });
        let backup = Backup::of(shared(), &database).to("remote", &front.url(), &prefix);
        let child = backup.spawn(&["run"]);
        let completing = || front.seen().iter().any(|seen| seen.method == "POST" && seen.target.contains("uploadId="));
        wait_for("the completion", completing);
        signal(&child, "TERM");
        let begun = Instant::now();
        finish(child).exits(143);
        assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
        let keys = s3::shared().keys(&prefix);
        if seconds == 4 {
            assert_eq!(keys, Vec::<String>::new());
        } else {
            assert!(keys.iter().any(|key| key.ends_with(".pending")), "{keys:?}");
            std::thread::sleep(Duration::from_secs(seconds));
        }
        let direct = backup.with("REMOTE_ENDPOINT", &s3::shared().endpoint());
        direct.run(&["run"]).exits(0);
        let keys = s3::shared().keys(&prefix);
        assert_eq!(keys.len(), 4, "one backup and nothing else: {keys:?}");
        assert_eq!(s3::shared().unfinished(&prefix), Vec::<String>::new());
    }
}

#[test]
fn a_store_whose_sum_of_the_whole_is_its_own_takes_backups_all_the_same() {
    let database = noise(shared(), 40_000);
    let prefix = s3::fresh_prefix();
    let front = Front::start(s3::shared().port, |seen, _| {
        let is_completion = seen.method == "POST" && seen.target.contains("uploadId=");
        let wrong = "<?xml version=\"1.0\"?><CompleteMultipartUploadResult><Bucket>test-backup</Bucket><Key>x</Key>\
                     <ETag>&quot;00000000000000000000000000000000-2&quot;</ETag></CompleteMultipartUploadResult>";
        if is_completion { Act::ForwardAndAnswer(200, wrong.to_owned()) } else { Act::Forward }
    });
    let backup = Backup::of(shared(), &database).to("remote", &front.url(), &prefix);
    for _ in 0..2 {
        backup.run(&["run"]).exits(0).says("the parts that were read back are right");
    }
    assert_eq!(s3::shared().keys(&prefix).len(), 8);
    backup.verify(&[], 0);
}

#[test]
fn an_upload_that_no_list_shows_is_ended_by_the_number_in_its_note() {
    let database = noise(shared(), 60_000);
    let prefix = s3::fresh_prefix();
    // as s3rver does: it knows no list of uploads
    let decide = |stalls: bool| {
        move |seen: &crate::support::http::Seen, _: usize| {
            let is_list = seen.method == "GET" && seen.target.contains("?uploads");
            let is_part = seen.method == "PUT" && seen.target.contains("partNumber=");
            match (is_list, is_part && stalls) {
                (true, _) => Act::Answer(501, "<Error><Code>NotImplemented</Code></Error>".to_owned()),
                (_, true) => Act::Stall,
                _ => Act::Forward,
            }
        }
    };
    let stalling = Front::start(s3::shared().port, decide(true));
    let backup = Backup::of(shared(), &database).to("remote", &stalling.url(), &prefix);
    let child = backup.spawn(&["run"]);
    wait_for("parts", || stalling.seen().iter().any(|seen| seen.target.contains("partNumber=")));
    signal(&child, "KILL");
    finish(child);
    assert_eq!(s3::shared().unfinished(&prefix).len(), 1);
    let keys = s3::shared().keys(&prefix);
    assert!(
        keys.iter().any(|key| key.ends_with(".upload")) && keys.iter().any(|key| key.ends_with(".pending")),
        "{keys:?}"
    );
    let listless = Front::start(s3::shared().port, decide(false));
    backup.with("REMOTE_ENDPOINT", &listless.url()).run(&["run"]).exits(0);
    assert_eq!(s3::shared().unfinished(&prefix), Vec::<String>::new());
    assert_eq!(s3::shared().keys(&prefix).len(), 4);
}
