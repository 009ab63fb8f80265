//! What would push out good backups: an emptied source, a clock that is wrong, manifests that cannot be read.

use super::filled;
use crate::support::backup::Backup;
use crate::support::http::{Act, Front};
use crate::support::postgres::Postgres;
use crate::support::{s3, tool};

/// A database of 1000 rows in two tables, of which two daily backups are kept.
fn scene(webhook: &Front) -> (Postgres, Backup) {
    let postgres = Postgres::start(&tool("PG_BIN"));
    filled(&postgres, "shop", 900);
    postgres.sql("shop", "CREATE TABLE u AS SELECT n FROM generate_series(1, 100) AS n");
    let url = format!("{}/api/webhooks/1/x", webhook.url());
    let backup = Backup::of(&postgres, "shop")
        .set("BACKUP_TYPE", "daily")
        .set("BACKUP_RETENTION_DAILY", "2")
        .set("DISCORD_WEBHOOK_URL", &url);
    (postgres, backup)
}

fn nights(backup: &Backup, count: u32) -> String {
    let mut log = String::new();
    for _ in 0..count {
        backup.make_older(1);
        log = backup.run(&["run"]).exits(0).log;
    }
    log
}

fn rows(backup: &Backup) -> Vec<u64> {
    let mut manifests: Vec<serde_json::Value> = backup
        .files()
        .iter()
        .filter(|file| file.ends_with(".sql.gz.json"))
        .map(|file| serde_json::from_slice(&std::fs::read(backup.path().join(file)).unwrap()).unwrap())
        .collect();
    manifests.sort_by_key(|manifest| manifest["started"].to_string());
    manifests.iter().map(|manifest| manifest["totals"]["rows"].as_u64().unwrap()).collect()
}

#[test]
fn the_last_backup_before_a_source_was_emptied_is_kept_and_told_of_until_it_is_released() {
    for emptying in ["TRUNCATE t, u", "DROP SCHEMA public CASCADE", "DELETE FROM t WHERE n > 300", "DROP TABLE t"] {
        let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
        let (postgres, backup) = scene(&webhook);
        backup.run(&["run"]).exits(0);
        nights(&backup, 2);
        postgres.sql("shop", emptying);
        let left = postgres.sql("shop", "SELECT coalesce(sum(n_live_tup), 0) >= 0 FROM pg_stat_user_tables");
        assert_eq!(left, "t");
        let log = nights(&backup, 4);
        assert!(
            log.contains("shop has shrunk: 1000 rows in 2 tables before") && log.contains("ERROR"),
            "{emptying}: {log}"
        );
        let kept = rows(&backup);
        assert_eq!((kept.len(), kept[0]), (3, 1000), "{emptying}: {kept:?}");
        let notice = String::from_utf8(webhook.seen().last().unwrap().body.clone()).unwrap();
        assert!(notice.contains("1000 rows in 2 tables before") && notice.contains(&0xf1_c40f.to_string()), "{notice}");
        let status = backup.json(&["status"], 0);
        assert_eq!(status["databases"][0]["verdict"], "shrunk");
        assert_eq!(status["databases"][0]["shrunk"]["before"]["rows"], 1000);
        assert!(backup.run(&["status"]).exits(0).stdout.contains("prune --release"));
        backup.run(&["prune", "--yes"]).exits(0);
        assert_eq!(rows(&backup)[0], 1000, "{emptying}");
        backup.run(&["prune", "--release"]).exits(64).says("--yes");
        backup.run(&["prune", "--release", "--yes"]).exits(0).says("1000 rows");
        assert_eq!(backup.json(&["status"], 0)["databases"][0]["verdict"], "ok");
        backup.run(&["prune", "--yes"]).exits(0).says("deleted 1 backup");
        assert!(!nights(&backup, 1).contains("has shrunk"));
    }
}

#[test]
fn a_source_that_is_filled_again_ends_the_alarm_and_a_guard_of_0_never_begins_one() {
    let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
    let (postgres, backup) = scene(&webhook);
    backup.run(&["run"]).exits(0);
    postgres.sql("shop", "TRUNCATE t");
    assert!(nights(&backup, 1).contains("has shrunk"));
    let silent = backup.with("BACKUP_SHRINK_GUARD", "0");
    assert_eq!(silent.json(&["status"], 0)["databases"][0]["verdict"], "ok");
    postgres.sql("shop", "INSERT INTO t SELECT n FROM generate_series(1, 800) AS n");
    assert!(!nights(&backup, 1).contains("has shrunk"));
    assert_eq!(backup.json(&["status"], 0)["databases"][0]["verdict"], "ok");
    for wrong in ["-1", "1.5", "half"] {
        backup.with("BACKUP_SHRINK_GUARD", wrong).run(&["status"]).exits(78).says("BACKUP_SHRINK_GUARD");
    }
}

#[test]
fn a_run_by_a_clock_that_is_a_year_ahead_of_the_servers_prunes_nothing_and_says_so() {
    let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
    let (_postgres, backup) = scene(&webhook);
    let auto = backup.set("BACKUP_TYPE", "auto").set("RETENTION_DAYS", "7");
    for _ in 0..3 {
        auto.run(&["run"]).exits(0);
    }
    for shift in ["+365d", "-365d", "+6m"] {
        let wrong = auto.with("FAKETIME_DONT_FAKE_MONOTONIC", "1").under(&["faketime", "-f", shift]);
        let before = rows(&auto).len();
        wrong.run(&["run"]).exits(0).says("this machine's clock is");
        assert_eq!(rows(&auto).len(), before + 1, "{shift}");
        wrong.run(&["prune", "--yes"]).exits(74).says("this machine's clock is");
        let notice = String::from_utf8(webhook.seen().last().unwrap().body.clone()).unwrap();
        assert!(notice.contains("this machine's clock is"), "{notice}");
        wrong.run(&["check"]).exits(0).says("this machine's clock is");
    }
}

#[test]
fn a_manifest_that_cannot_be_read_keeps_no_backup_from_being_made() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    filled(&postgres, "shop", 10);
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(&postgres, "shop")
        .to("all", &s3::shared().endpoint(), &prefix)
        .set("REMOTE_RETENTION_ENABLED", "true");
    backup.run(&["run"]).exits(0);
    let frozen = s3::shared().keys(&prefix).into_iter().find(|key| key.ends_with(".sql.gz.json")).unwrap();
    // an object that was moved to an archive is refused
    let front = Front::start(s3::shared().port, move |seen, _| {
        let is_frozen = seen.method == "GET" && seen.target.contains(&frozen);
        let refused = "<Error><Code>InvalidObjectState</Code></Error>".to_owned();
        if is_frozen { Act::Answer(403, refused) } else { Act::Forward }
    });
    let through = backup.with("REMOTE_ENDPOINT", &front.url());
    through.run(&["run"]).exits(0).says("is skipped");
    assert!(through.json(&["status"], 0)["warnings"].to_string().contains("cannot be read"));
    // and so is one that is none
    let file = backup.files().into_iter().find(|file| file.ends_with(".sql.gz.json")).unwrap();
    std::fs::write(backup.path().join(&file), "{}").unwrap();
    through.run(&["run"]).exits(0).says("is skipped");
    assert!(backup.path().join(&file).exists());
}
