//! Two servers of one name share a folder and a bucket.

use super::filled;
use crate::support::backup::{Backup, finish};
use crate::support::http::{Act, Front};
use crate::support::postgres::Postgres;
use crate::support::{s3, tool, wait_for};
use std::collections::BTreeSet;

const NAME: &str = "postgres:5432";

/// Two servers that go by one name, and the settings of each for one folder.
fn namesakes(target: &str) -> (Postgres, Backup, Postgres, Backup) {
    let (a, b) = (Postgres::start(&tool("PG_BIN")), Postgres::start(&tool("PG_BIN")));
    filled(&a, "shop", 1000);
    filled(&b, "shop", 1000);
    let of_a = Backup::of(&a, "shop")
        .set("BACKUP_SOURCE", NAME)
        .set("BACKUP_TYPE", "daily")
        .set("BACKUP_RETENTION_DAILY", "1")
        .to(target, &s3::shared().endpoint(), &s3::fresh_prefix())
        .set("REMOTE_RETENTION_ENABLED", "true")
        .set("REMOTE_RETENTION_DAILY", "1");
    let of_b = of_a.with("POSTGRES_PORT", &b.port.to_string());
    (a, of_a, b, of_b)
}

fn identifier(postgres: &Postgres) -> String {
    postgres.sql("postgres", "SELECT system_identifier FROM pg_control_system()")
}

fn ids(backup: &Backup) -> Vec<String> {
    let listed = backup.json(&["list"], 0);
    listed["backups"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_backups_of_another_server_under_our_name_are_never_pruned_and_never_counted() {
    let (a, of_a, b, of_b) = namesakes("local");
    for _ in 0..2 {
        of_a.run(&["run"]).exits(0);
        of_a.make_older(1);
    }
    let before = ids(&of_a);
    assert_eq!(before.len(), 1, "the count of 1 holds for one server");
    for _ in 0..3 {
        let run = of_b.run(&["run"]).exits(0).says(&identifier(&a)).says("BACKUP_SOURCE");
        assert_eq!(run.log.matches("of another server").count(), 1, "{}", run.log);
    }
    of_b.run(&["prune", "--yes"]).exits(0).says(&identifier(&a));
    let after = ids(&of_a);
    assert!(after.contains(&before[0]) && after.len() == 2, "{before:?} {after:?}");
    // B is young enough, which says nothing of A
    let status = of_a.json(&["status", "--max-age", "25h"], 0);
    assert_eq!(status["databases"][0]["backups"], 1, "{status:#}");
    assert!(status["warnings"][0].as_str().unwrap().contains("another server"), "{status:#}");
    of_a.make_older(2);
    of_b.run(&["run"]).exits(0);
    assert_eq!(of_a.json(&["status"], 1)["databases"][0]["verdict"], "too_old");
    let check = of_a.run(&["check"]).exits(0);
    assert!(check.stdout.contains("another server"), "{}", check.stdout);
    // those of B are told from them by the number of its server
    let listed = of_a.json(&["list"], 0);
    let sources: BTreeSet<&str> =
        listed["backups"].as_array().unwrap().iter().filter_map(|one| one["source"].as_str()).collect();
    assert_eq!(sources, BTreeSet::from([NAME, &format!("{NAME}#{}", identifier(&b))]));
    // who asks for the latest is told that there are two
    of_a.run(&["restore", "--into", "copy"]).exits(64).says(&format!("{NAME}#{}", identifier(&a)));
    of_a.run(&["restore", "--into", "copy", "--source", &format!("{NAME}#{}", identifier(&a))]).exits(0);
    assert_eq!(a.sql("copy", "SELECT count(*) FROM t"), "1000");
}

#[test]
fn what_another_server_under_our_name_is_writing_is_not_a_dead_runs() {
    // the part of A that is on its way stands still
    let front = Front::start(s3::shared().port, |seen, _| {
        if seen.method == "PUT" && seen.target.contains("partNumber=") { Act::Stall } else { Act::Forward }
    });
    let (a, of_a, _b, of_b) = namesakes("all");
    let noise = "CREATE TABLE noise AS SELECT n, string_agg(md5((n * 40 + k)::text), '') AS data
                 FROM generate_series(1, 160000) AS n, generate_series(1, 32) AS k GROUP BY n";
    a.sql("shop", noise);
    let stalled = of_a.with("REMOTE_ENDPOINT", &front.url()).set("STALL_TIMEOUT", "12s");
    let child = stalled.spawn(&["run"]);
    let partial = || of_a.files().iter().any(|file| file.ends_with(".partial"));
    wait_for("A to write", || {
        partial() && front.seen().iter().filter(|seen| seen.target.contains("partNumber=")).count() >= 4
    });
    of_b.run(&["run"]).exits(0);
    assert!(partial(), "B removed what A writes: {:?}", of_a.files());
    finish(child).exits(1).says("STALL_TIMEOUT");
    assert_eq!(of_a.archives().len(), 1, "both have their backup of shop, under names of their own");
    assert_eq!(of_a.files().iter().filter(|file| file.ends_with(".sql.gz")).count(), 2);
}

#[test]
fn a_server_that_was_built_anew_takes_its_backups_over_when_a_person_says_so() {
    let (a, of_a, b, of_b) = namesakes("local");
    of_a.run(&["run"]).exits(0);
    of_a.make_older(3);
    // B is A, built anew
    of_b.run(&["run"]).exits(0);
    assert_eq!(of_b.json(&["status"], 0)["databases"][0]["backups"], 1);
    of_b.run(&["prune", "--adopt", "12345", "--yes"]).exits(64).says("no backup of another server 12345");
    of_b.run(&["prune", "--adopt", &identifier(&a)]).exits(64).says("--yes");
    of_b.run(&["prune", "--adopt", &identifier(&a), "--dry-run"]).exits(0).says("1 backup");
    assert_eq!(of_b.json(&["status"], 0)["databases"][0]["backups"], 1);
    of_b.run(&["prune", "--adopt", &identifier(&a), "--yes"]).exits(0);
    let status = of_b.json(&["status"], 0);
    assert_eq!(
        (status["databases"][0]["backups"].as_u64(), status["warnings"].as_array().unwrap().len()),
        (Some(2), 0)
    );
    // the number of either server means it
    for server in [&a, &b] {
        let source = format!("{NAME}#{}", identifier(server));
        of_b.run(&["verify", "--checksum-only", "--source", &source]).exits(0);
    }
    of_b.run(&["prune", "--yes"]).exits(0).says("deleted 1 backup");
    of_b.run(&["restore", "--into", "copy"]).exits(0);
}

#[test]
fn while_the_server_cannot_be_asked_status_does_not_guess_which_of_two_is_meant() {
    let (mut a, of_a, _b, of_b) = namesakes("local");
    of_a.run(&["run"]).exits(0);
    of_b.run(&["run"]).exits(0);
    a.stop();
    let status = of_a.json(&["status"], 1);
    assert!(status["warnings"].to_string().contains("2 servers have backups under the name"), "{status:#}");
}
