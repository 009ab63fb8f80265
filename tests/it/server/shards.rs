//! Runs that share a server, are stopped, or have a store that takes nothing.

use super::{create_database, start};
use crate::support::backup::{Backup, finish};
use crate::support::http::{Act, Front, Seen};
use crate::support::s3;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn four_shards_at_once_cover_every_database_once_each_under_its_own_lock() {
    let postgres = start();
    for number in 0..20 {
        create_database(&postgres, &format!("db_{number}"), 10);
    }
    let backups: Vec<Backup> = (0..4)
        .map(|index| {
            let backup =
                Backup::of(&postgres, "postgres").set("BACKUP_DATABASES", "all").set("BACKUP_DIR", "/nonexistent");
            backup.set("SHARD_COUNT", "4").set("JOB_COMPLETION_INDEX", &index.to_string())
        })
        .collect();
    // one folder for all of them
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let backups: Vec<Backup> = backups.into_iter().map(|backup| backup.set("BACKUP_DIR", folder)).collect();
    let runs: Vec<_> = backups.iter().map(|backup| backup.spawn(&[])).collect();
    let logs: Vec<String> = runs.into_iter().map(|run| finish(run).exits(0).log).collect();
    let archives = backups[0].archives();
    assert_eq!(archives.len(), 22, "{:?}", archives.keys());
    assert_eq!(backups[0].files().len(), 22 * 4);
    assert_eq!(logs.iter().filter(|log| log.contains("dumping (globals)")).count(), 1);
    assert!(logs[0].contains("dumping (globals)"));

    // a shard that waits in a dump holds its own part alone
    let (_, manifest) = &archives["db_0"];
    let owner = logs.iter().position(|log| log.contains(manifest["run_id"].as_str().unwrap()));
    let owner = owner.or_else(|| logs.iter().position(|log| log.contains("dumping db_0\n"))).unwrap();
    let lock = postgres.lock_table("db_0");
    let waiting = backups[owner].spawn(&[]);
    lock.wait_for_waiter();
    backups[owner].run(&[]).exits(75).says(&format!("shard {owner}/4"));
    backups[(owner + 1) % 4].run(&[]).exits(0);
    let alone = Backup::of(&postgres, "postgres").set("BACKUP_DATABASES", "all").set("BACKUP_DIR", folder);
    alone.run(&[]).exits(75);
    alone.run(&["prune", "--yes"]).exits(75);
    drop(lock);
    finish(waiting).exits(0);
    alone.run(&[]).exits(0);
}

#[test]
fn a_shard_that_fails_does_not_touch_what_is_not_its_own() {
    let postgres = start();
    for number in 0..6 {
        create_database(&postgres, &format!("db_{number}"), 10);
    }
    let folder = tempfile::tempdir().unwrap();
    let backup = Backup::of(&postgres, "postgres")
        .set("BACKUP_DATABASES", "db_*")
        .set("BACKUP_DIR", folder.path().to_str().unwrap())
        .set("BACKUP_TYPE", "daily")
        .set("BACKUP_RETENTION_DAILY", "1");
    for shard in ["0/2", "1/2"] {
        backup.run(&["--shard", shard]).exits(0);
    }
    let before = backup.archives();
    let mine: Vec<String> = (0..6).map(|n| format!("db_{n}")).collect();
    backup.run(&["--shard", "0/2"]).exits(0);
    let after = backup.archives();
    let moved: Vec<&String> = mine.iter().filter(|name| before[*name].1["id"] != after[*name].1["id"]).collect();
    assert!(!moved.is_empty() && moved.len() < 6, "{moved:?}");
    // every database of the other shard is gone, and so it fails; nothing of the first one is pruned
    for name in mine.iter().filter(|name| !moved.contains(name)) {
        postgres.sql(
            "postgres",
            &format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
        );
    }
    postgres.sql("postgres", "CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT pg_read_all_data TO weak");
    let weak = backup.set("POSTGRES_USER", "weak").set("POSTGRES_PASSWORD", "weak");
    weak.run(&["--shard", "1/2"]).exits(77).says("GRANT CONNECT");
    assert_eq!(weak.archives().len(), after.len());
    weak.run(&["--shard", "2/2"]).exits(64).says("I/N");
    weak.set("SHARD_COUNT", "2").run(&[]).exits(78).says("JOB_COMPLETION_INDEX");
}

#[test]
fn sigterm_keeps_what_is_stored_leaves_nothing_half_made_and_names_the_rest() {
    let postgres = start();
    for name in ["db_1", "db_2", "db_3", "db_4"] {
        create_database(&postgres, name, 10);
    }
    // the largest, and so the first
    create_database(&postgres, "first", 100_000);
    let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
    let backup = Backup::of(&postgres, "postgres")
        .set("BACKUP_DATABASES", "first,db_*")
        .set("BACKUP_GLOBALS", "false")
        .set("DISCORD_WEBHOOK_URL", &webhook.url());
    let lock = postgres.lock_table("db_1");
    let run = backup.spawn(&[]);
    lock.wait_for_waiter();
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    let outcome = finish(run).exits(143);
    drop(lock);
    assert_eq!(outcome.log.matches("stopped by SIGTERM").count(), 1, "{}", outcome.log);
    let saved: Vec<String> = backup.archives().into_keys().collect();
    assert!(saved.contains(&"first".to_owned()) && !saved.contains(&"db_1".to_owned()), "{saved:?}");
    assert_eq!(backup.files_but_notes().len(), saved.len() * 4, "{:?}", backup.files());
    assert_eq!(
        postgres.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backup %'"),
        "0"
    );
    let notices = webhook.seen();
    assert_eq!(notices.len(), 1);
    let notice = String::from_utf8(notices[0].body.clone()).unwrap();
    assert!(notice.contains(&format!("{} not saved", 5 - saved.len())) && notice.contains("db_1"), "{notice}");
}

#[test]
fn a_store_that_takes_nothing_is_waited_for_once_and_not_for_every_database() {
    let postgres = start();
    for number in 0..6 {
        create_database(&postgres, &format!("db_{number}"), 10);
    }
    let archive = |seen: &Seen| seen.method == "PUT" && seen.target.contains(".sql.gz?");
    let front = Front::start(s3::shared().port, move |seen, _| if archive(seen) { Act::Stall } else { Act::Forward });
    let stalled = || front.seen().iter().filter(|seen| archive(seen)).count();
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(&postgres, "postgres")
        .to("all", &front.url(), &prefix)
        .set("RETRY_COUNT", "1")
        .set("STALL_TIMEOUT", "3s")
        .set("BACKUP_DATABASES", "db_*");
    let outcome = backup.run(&[]).exits(1);
    assert_eq!(backup.archives().len(), 7);
    // the one that noticed and those beside it
    assert!((1..=3).contains(&stalled()), "{} in {}", stalled(), outcome.log);
    outcome.says("was dropped earlier in this run").says("nothing is pruned");
    assert!(s3::shared().keys(&prefix).is_empty(), "{:?}", s3::shared().keys(&prefix));
}
