//! What a verification does with what it found: record, alarm, exit code; and what it never touches.

use super::{VERIFY, rich};
use crate::support::backup::Backup;
use crate::support::http::{Act, Front};
use crate::support::postgres::{Postgres, shared};
use crate::support::{s3, tool, wait_for};

#[test]
fn an_archive_that_is_not_what_was_written_is_caught_and_no_longer_good() {
    let postgres = shared();
    let (database, other) = (rich(postgres), postgres.database("other"));
    postgres.sql(&other, "CREATE TABLE t (a int)");
    let stranger = Backup::of(postgres, &other);
    stranger.run(&[]).exits(0);
    let stranger = std::fs::read(stranger.archive()).unwrap();
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    type Damage<'a> = Box<dyn Fn(&mut Vec<u8>) + 'a>;
    let cases: Vec<(&str, Damage)> = vec![
        ("one byte flipped", Box::new(flip)),
        ("cut short", Box::new(|bytes| bytes.truncate(bytes.len() - 9))),
        ("cut to nothing", Box::new(Vec::clear)),
        ("garbage appended", Box::new(|bytes| bytes.extend(b"garbage"))),
        ("a gzip member appended", Box::new(|bytes| bytes.extend(&stranger))),
        ("another database's archive", Box::new(|bytes| bytes.clone_from(&stranger))),
    ];
    for (what, damage) in cases {
        for arguments in [&[][..], &["--checksum-only"]] {
            let backup = Backup::of(postgres, &database);
            backup.run(&[]).exits(0);
            let mut bytes = std::fs::read(backup.archive()).unwrap();
            damage(&mut bytes);
            std::fs::write(backup.archive(), &bytes).unwrap();
            let report = backup.verify(arguments, 65);
            assert_eq!(report.check(0).0, "failed", "{what}: {:#}", report.0);
            assert_eq!(backup.verifications().len(), 1, "{what}");
            assert_eq!(
                postgres
                    .sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname = '{database}_verify'")),
                "0"
            );
        }
    }
    // bytes of the right length, so that nothing but the record tells
    let backup = Backup::of(postgres, &database).set("BACKUP_TYPE", "daily").set("BACKUP_RETENTION_DAILY", "1");
    backup.run(&[]).exits(0);
    backup.run(&[]).exits(0);
    let list: serde_json::Value = serde_json::from_str(&backup.run(&["list", "--json"]).exits(0).stdout).unwrap();
    let newest = list["backups"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(list["backups"].as_array().unwrap().len(), 1, "{list}");
    let mut bytes = std::fs::read(backup.archive()).unwrap();
    flip(&mut bytes);
    std::fs::write(backup.archive(), bytes).unwrap();
    backup.run(&["verify", &newest]).exits(65).says("failed its verification: archive");
    backup.run(&["list"]).exits(0).says("FAILED");
}

#[test]
fn a_failed_verification_of_a_run_is_loud_and_prunes_nothing() {
    let postgres = shared();
    let database = rich(postgres);
    let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
    let backup = Backup::of(postgres, &database)
        .set("BACKUP_TYPE", "daily")
        .set("BACKUP_RETENTION_DAILY", "1")
        .set("VERIFY_ENABLED", "true")
        .set("DISCORD_WEBHOOK_URL", &webhook.url());
    let good = backup.run(&[]).exits(0).says("verified backup_");
    assert!(good.log.contains("costs it time and space"), "{}", good.log);
    let queries = backup.folder.path().join("queries.sql");
    std::fs::write(&queries, "SELECT count(*) = 4999 FROM public.orders").unwrap();
    let backup = backup.set("VERIFY_QUERIES_FILE", queries.to_str().unwrap());
    backup
        .run(&[])
        .exits(65)
        .says("failed its verification: SQL checks (SELECT count(*) = 4999 FROM public.orders: not true)");
    assert_eq!(backup.archives().len(), 1, "one database");
    let archives = backup.files().iter().filter(|file| file.ends_with(".sql.gz")).count();
    assert_eq!(archives, 2, "the good one is kept although one is enough: {:?}", backup.files());
    let records = backup.verifications();
    assert_eq!(records.iter().map(|record| record.0["passed"].as_bool().unwrap()).collect::<Vec<_>>(), [true, false]);
    let notices = webhook.seen();
    assert_eq!(notices.len(), 2);
    let [good, bad] = [0, 1].map(|index| String::from_utf8(notices[index].body.clone()).unwrap());
    assert!(good.contains("yes: 14 tables") && good.contains("3066993"), "{good}");
    assert!(bad.contains(&format!("Verification failed: {database}")) && bad.contains("15158332"), "{bad}");
    // the next one, without the fault, may prune: the bad one counts for nothing and the newest verified one is another
    let backup = backup.set("VERIFY_QUERIES_FILE", "");
    backup.run(&[]).exits(0);
    let left = backup.run(&["list", "--json"]).exits(0);
    assert_eq!(left.stdout.matches("\"id\"").count(), 1, "{}", left.stdout);
}

#[test]
fn every_database_of_a_whole_server_is_proved_apart_and_nothing_of_the_verify_server_is_touched() {
    let source = Postgres::start(&tool("PG_BIN"));
    source.sql("postgres", "CREATE ROLE keeper PASSWORD 'x' CREATEDB");
    for name in ["one", "two; DROP"] {
        source.sql("postgres", &format!("CREATE DATABASE \"{name}\" OWNER keeper"));
        source.sql(name, "CREATE TABLE t AS SELECT generate_series(1, 10) a; ALTER TABLE t OWNER TO keeper");
    }
    let verify = Postgres::start(&tool("PG18_BIN"));
    verify.sql("postgres", "CREATE DATABASE one");
    verify.sql("one", "CREATE TABLE precious (a int)");
    let backup = Backup::of(&source, "postgres")
        .set("BACKUP_MODE", "cluster")
        .set("VERIFY_ENABLED", "true")
        .set("VERIFY_PORT", &verify.port.to_string());
    backup.run(&[]).exits(0);
    let report = &backup.verifications()[0];
    let names: Vec<&str> =
        report.0["databases"].as_array().unwrap().iter().map(|one| one["database"].as_str().unwrap()).collect();
    assert_eq!(names, ["template1", "one", "postgres", "two; DROP"]);
    assert_eq!(report.0["databases"][3]["rows"], 10);
    verify.sql("one", "SELECT * FROM precious");
    assert_eq!(
        verify.sql("postgres", "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database"),
        "one,postgres,template0,template1"
    );
    assert_eq!(verify.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'keeper'"), "0");
}

#[test]
fn check_looks_at_the_verify_server_too() {
    let database = shared().database("checked");
    let backup = |source: &Postgres, host: &str, port: u16| {
        let database = if source.port == shared().port { database.as_str() } else { "postgres" };
        Backup::of(source, database)
            .set("VERIFY_ENABLED", "true")
            .set("VERIFY_HOST", host)
            .set("VERIFY_PORT", &port.to_string())
            .set("RETRY_COUNT", "1")
    };
    // also by another name of the same host
    for host in ["127.0.0.1", "localhost"] {
        backup(shared(), host, shared().port).run(&["check"]).exits(0).says("is the source itself");
    }
    let good = backup(shared(), "127.0.0.1", VERIFY.port).run(&["check"]).exits(0).says("PostgreSQL 18.");
    assert!(!good.stdout.contains("is the source itself"), "{}", good.stdout);
    backup(shared(), "127.0.0.1", 1).run(&["check"]).exits(69).says("verify server");
    backup(&VERIFY, "127.0.0.1", shared().port).run(&["check"]).exits(78).says("point VERIFY_HOST at a server");
}

#[test]
fn both_sides_are_read_and_both_have_the_record() {
    let database = rich(shared());
    let prefix = s3::fresh_prefix();
    let backup =
        Backup::of(shared(), &database).to("all", &s3::shared().endpoint(), &prefix).set("VERIFY_ENABLED", "true");
    backup.run(&[]).exits(0);
    assert_eq!(backup.verifications().len(), 1);
    let remote = s3::shared().contents(&prefix);
    assert_eq!(remote.iter().filter(|(name, _)| name.contains(".verify-")).count(), 1);
    let report = backup.verify(&["--location", "remote"], 0);
    assert!(report.0["location"].as_str().unwrap().starts_with("http"), "{:#}", report.0);
    backup.run(&["list"]).exits(0).says("local+remote").says("yes");
}

#[test]
fn sql_checks_and_the_health_check_decide_too() {
    let database = rich(shared());
    let backup = Backup::of(shared(), &database);
    backup.run(&[]).exits(0);
    let queries = backup.folder.path().join("queries.sql");
    let backup = backup.set("VERIFY_QUERIES_FILE", queries.to_str().unwrap());
    std::fs::write(&queries, "-- all is there\nSELECT count(*) = 5000 FROM public.orders;\nSELECT 'a;b' <> ''")
        .unwrap();
    assert_eq!(backup.verify(&[], 0).check(13).0, "ok");
    for (query, says) in [
        ("SELECT count(*) = 1 FROM public.orders", "not true"),
        ("SELECT 1 / 0 = 1", "division by zero"),
        ("SELECT true, true", "2 columns"),
        ("SELECT true FROM generate_series(1, 2)", "2 rows"),
        ("DELETE FROM public.orders RETURNING true", "read-only"),
    ] {
        std::fs::write(&queries, query).unwrap();
        let report = backup.verify(&[], 65);
        let (verdict, details) = report.check(13);
        assert!(verdict == "failed" && details.contains(says), "{query}: {details}");
    }
    std::fs::write(&queries, "-- nothing").unwrap();
    backup.run(&["verify"]).exits(74).says("VERIFY_QUERIES_FILE").says("it has no query");
    let front = Front::start(0, |_, _| Act::Answer(503, String::new()));
    let backup = backup.set("VERIFY_QUERIES_FILE", "").set("VERIFY_HEALTH_URL", &front.url());
    assert_eq!(backup.verify(&[], 65).with("failed"), [8]);
    let before = backup.verifications().len();
    let backup = backup.set("VERIFY_HEALTH_URL", "http://127.0.0.1:1/");
    backup.run(&["verify"]).exits(69).says("VERIFY_HEALTH_URL");
    assert_eq!(backup.verifications().len(), before, "no answer says nothing of the backup");
}

#[test]
fn a_backup_is_named_by_id_path_or_latest_and_never_guessed() {
    let (one, other) = (shared().database("named"), shared().database("named"));
    let backup = Backup::of(shared(), &one).set("BACKUP_DATABASES", &format!("{one},{other}"));
    backup.run(&[]).exits(0);
    backup.run(&["verify"]).exits(64).says(&one).says(&other).says("--database");
    backup.run(&["verify", "--database", &one]).exits(0);
    let each = backup.json(&["verify", "--each"], 0);
    let ids: Vec<_> = each["reports"].as_array().unwrap().iter().map(|report| report["id"].clone()).collect();
    let newest = backup.archives().into_values().map(|(_, manifest)| manifest["id"].clone());
    assert_eq!(ids.len(), 3, "two databases and the globals: {ids:?}");
    assert!(newest.into_iter().all(|id| ids.contains(&id)), "{ids:?}");
    backup.run(&["verify", "--each", "--database", &one]).exits(64);
    backup.run(&["verify", "--each", "--source", "nobody"]).exits(64).says("no backup of nobody");
    let id = backup.archives()[&other].1["id"].as_str().unwrap().to_owned();
    backup.run(&["verify", &id]).exits(0);
    let path = backup.archives()[&other].0.to_str().unwrap().to_owned();
    let report = backup.folder.path().join("report.json");
    let elsewhere = Backup::of(shared(), &one);
    elsewhere.run(&["verify", &path, "--report", report.to_str().unwrap()]).exits(0);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["id"], id);
    backup.run(&["verify", "backup_1999-01-01_00-00-00"]).exits(64).says("there is no backup");
    let damaged = &backup.archives()[&one];
    std::fs::File::options().write(true).open(&damaged.0).unwrap().set_len(100).unwrap();
    let before = backup.verifications().len();
    backup.run(&["verify", "--each"]).exits(65).says(damaged.1["id"].as_str().unwrap());
    assert_eq!(backup.verifications().len(), before + 3, "one that is damaged keeps no other from being proved");
    backup.run(&["verify", "--each"]).exits(65);
    let away = backup.to("all", "http://127.0.0.1:1", "away");
    let outcome = away.run(&["verify", "--each"]).exits(65).says("127.0.0.1:1");
    assert!(outcome.stdout.contains(" passed") && outcome.stdout.contains(" FAILED"), "{}", outcome.stdout);
}

#[test]
fn nothing_in_an_archive_is_run_on_this_machine() {
    let postgres = shared();
    let database = rich(postgres);
    for command in ["\\! touch", "\\o", "\\g |touch", "DROP DATABASE precious; --", "COPY public.texts TO"] {
        let backup = Backup::of(postgres, &database);
        backup.run(&[]).exits(0);
        let proof = backup.folder.path().join("proof");
        backup.rewrite(|text| {
            text.replacen(
                "SET default_tablespace",
                &format!("{command} {}\nSET default_tablespace", proof.display()),
                1,
            )
        });
        let report = backup.verify(&[], 65);
        assert!(report.check(0).1.contains("pg_dump does not write"), "{:#}", report.0);
        assert!(!proof.exists());
    }
}

#[test]
fn a_role_without_all_rights_proves_a_backup_without_owners() {
    let source = Postgres::start(&tool("PG_BIN"));
    let database = rich(&source);
    source.sql("postgres", "CREATE ROLE owner_of_all; CREATE ROLE reader");
    source.sql(
        &database,
        "ALTER TABLE empty OWNER TO owner_of_all; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    source.sql(&database, "DROP EXTENSION hstore");
    let verify = Postgres::start(&tool("PG18_BIN"));
    verify.sql(
        "postgres",
        "CREATE ROLE prover LOGIN CREATEDB PASSWORD 'secret'; CREATE ROLE nobody LOGIN PASSWORD 'secret'",
    );
    let backup =
        Backup::of(&source, &database).set("VERIFY_PORT", &verify.port.to_string()).set("VERIFY_PASSWORD", "secret");
    backup.run(&[]).exits(0);
    let report = backup.set("VERIFY_USER", "prover").verify(&[], 0);
    assert_eq!(report.with("warning"), [14], "{:#}", report.0);
    assert_eq!(
        verify.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname IN ('reader', 'owner_of_all')"),
        "0"
    );
    let backup = Backup::of(&source, &database).set("VERIFY_PORT", &verify.port.to_string());
    backup.run(&[]).exits(0);
    // roles are made for the time being, and not kept
    let report = backup.verify(&[], 0);
    assert_eq!(report.with("warning"), [] as [u64; 0], "{:#}", report.0);
    assert_eq!(
        verify.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname IN ('reader', 'owner_of_all')"),
        "0"
    );
    let backup = backup.set("VERIFY_USER", "nobody").set("VERIFY_PASSWORD", "secret");
    backup.run(&["verify"]).exits(77).says("CREATEDB");
    assert_eq!(backup.verifications().len(), 1, "a server that would not says nothing against the backup");
    wait_for("no scratch database", || {
        verify.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname ~ 'verify'") == "0"
    });
}
