//! What a verification proves and what it catches, on real servers: every claim of the fourteen checks is broken once.

use crate::support;

use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;
use support::backup::{Backup, Report};
use support::gate::Gate;
use support::http::{Act, Front};
use support::postgres::{Postgres, shared};
use support::{s3, tool, wait_for};

/// The newest major, as the server that backups are restored to.
static VERIFY: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(&tool("PG18_BIN")));

fn rich(postgres: &Postgres) -> String {
    let database = postgres.database("rich");
    postgres.run_file(&database, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rich.sql"));
    database
}

#[test]
fn everything_awkward_is_restored_and_compared_to_the_last_row() {
    let newest = Postgres::start(&tool("PG18_BIN"));
    for (postgres, format) in [(shared(), "plain"), (shared(), "custom"), (&newest, "plain"), (&newest, "custom")] {
        let database = rich(postgres);
        postgres.sql(
            &database,
            &format!(
                "ALTER DATABASE {database} SET TimeZone = 'Asia/Bangkok'; ALTER DATABASE {database} SET bytea_output = 'escape';
                 ALTER DATABASE {database} SET search_path = 'a b', public; ALTER DATABASE {database} CONNECTION LIMIT 17;
                 ALTER DATABASE {database} SET DateStyle = 'German'; ALTER DATABASE {database} SET extra_float_digits = -10;
                 ALTER DATABASE {database} SET default_transaction_read_only = on"
            ),
        );
        let backup = Backup::of(postgres, &database).set("BACKUP_FORMAT", format);
        backup.run(&[]).exits(0);
        let report = backup.verify(&[], 0);
        assert_eq!(report.with("not_applicable"), [8, 13], "{format}: {:#}", report.0);
        assert_eq!(report.with("warning"), [] as [u64; 0], "{format}: {:#}", report.0);
        let rows: u64 = 1000 + 5000 + 4 + 100 + 90 + 2 + 7 + 1 + 1 + 1 + 1;
        assert_eq!(report.0["databases"][0]["rows"], rows);
        assert_eq!(backup.manifest()["totals"]["rows"], rows);
        assert!(report.0["databases"][0]["restore_seconds"].as_f64().unwrap() > 0.0);
        let scratch = format!("SELECT count(*) FROM pg_database WHERE datname = '{database}_verify'");
        assert_eq!(postgres.sql("postgres", &scratch), "0");
    }
}

#[test]
fn what_looks_different_after_a_restore_and_is_the_same_is_no_failure() {
    let source = Postgres::start(&tool("PG_BIN"));
    let folder = source.private_folder("space");
    source.sql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{folder}'"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd.sql");
    for (encoding, setting) in [
        ("UTF8", "standard_conforming_strings = off"),
        ("UTF8", "client_encoding = 'LATIN1'"),
        ("LATIN1", "work_mem = '5MB'"),
        ("EUC_JP", "DateStyle = 'German'"),
    ] {
        let database = format!("odd_{}", encoding.to_lowercase());
        source.sql("postgres", &format!("DROP DATABASE IF EXISTS {database}"));
        source.sql("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING '{encoding}'"));
        if encoding == "EUC_JP" {
            let japanese = tempfile::NamedTempFile::new().unwrap();
            let text = "SET client_encoding = 'UTF8';\nCREATE TABLE \"表\" (\"列\" text);\nINSERT INTO \"表\" VALUES ('東京');\n";
            std::fs::write(japanese.path(), text).unwrap();
            source.run_file(&database, japanese.path());
        } else {
            source.run_file(&database, &script);
        }
        source.sql(
            &database,
            &format!("CREATE TABLE placed TABLESPACE fast AS SELECT 1 AS a; ALTER DATABASE {database} SET {setting}"),
        );
        for (port, format) in [(source.port, "plain"), (VERIFY.port, "plain"), (VERIFY.port, "custom")] {
            let backup =
                Backup::of(&source, &database).set("BACKUP_FORMAT", format).set("VERIFY_PORT", &port.to_string());
            backup.run(&[]).exits(0);
            let report = backup.verify(&[], 0);
            assert_eq!(report.with("warning"), [] as [u64; 0], "{encoding} {format}: {:#}", report.0);
            let details = report.check(7).1;
            assert!(!details.contains("excluded"), "{encoding} {format}: {details}");
        }
        source.sql(&database, "DROP SUBSCRIPTION IF EXISTS never");
        assert_eq!(
            source.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname ~ '^{database}_'")),
            "0"
        );
    }
}

#[test]
fn a_lock_on_a_table_that_is_left_out_keeps_no_run_waiting() {
    let postgres = shared();
    let database = postgres.database("locked");
    postgres.sql(
        &database,
        "CREATE TABLE t (a int CHECK (a > 0)); CREATE VIEW v AS SELECT * FROM t WHERE a > 1; CREATE TABLE u AS SELECT 7 AS b",
    );
    let _lock = postgres.lock_table(&database);
    let backup = Backup::of(postgres, &database).set("PG_DUMP_EXTRA_ARGS", "-t u");
    backup.run(&[]).exits(0).says("recorded without text");
    assert_eq!(backup.verify(&[], 0).0["databases"][0]["rows"], 1);
}

#[test]
fn a_restore_that_stands_still_is_not_a_store_that_does() {
    let postgres = shared();
    let database = postgres.database("pause");
    postgres.sql(
        &database,
        "CREATE FUNCTION slow(a int) RETURNS boolean LANGUAGE plpgsql AS
             'BEGIN IF a = 1 AND pg_catalog.current_database() ~ ''_verify'' THEN PERFORM pg_catalog.pg_sleep(3); END IF; RETURN true; END';
         CREATE TABLE a AS SELECT 1 AS a; ALTER TABLE a ADD CHECK (public.slow(a));
         CREATE TABLE b AS SELECT md5(g::text) AS b FROM generate_series(1, 200000) g",
    );
    let backup = Backup::of(postgres, &database).set("STALL_TIMEOUT", "1");
    backup.run(&[]).exits(0);
    backup.verify(&[], 0);
}

#[test]
fn ten_thousand_tables_are_compared_one_by_one() {
    let mut postgres = Postgres::prepare(&tool("PG_BIN"));
    postgres.configure("max_locks_per_transaction", "512");
    postgres.launch();
    let postgres = &postgres;
    let database = postgres.database("many");
    let make = "DO $$ BEGIN FOR i IN 1..10000 LOOP
                    EXECUTE format('CREATE TABLE t%s (a int, b text)', i);
                    IF i % 100 = 0 THEN EXECUTE format('INSERT INTO t%s SELECT g, ''x'' FROM generate_series(1, %s) g', i, i / 100); COMMIT; END IF;
                END LOOP; END $$";
    postgres.sql(&database, make);
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let report = backup.verify(&[], 0);
    assert_eq!(report.0["databases"][0]["tables"], 10_000);
    assert_eq!(report.0["databases"][0]["rows"], 5050);
}

/// Verifies a backup whose restored copy is changed between the load and the comparison.
fn verify_while(postgres: &'static Postgres, database: &str, backup: &Backup, tamper: &str) -> Report {
    let (copy, sql) = (format!("{database}_verify"), tamper.to_owned());
    let gate = Gate::before(postgres, "backup verify", move || drop(postgres.sql(&copy, &sql)));
    let code = if tamper == "SELECT 1" { 0 } else { 65 };
    let host = backup.with("VERIFY_HOST", "127.0.0.1").set("VERIFY_PORT", &gate.port.to_string());
    host.verify(&[], code)
}

#[test]
fn whatever_is_wrong_with_the_restored_copy_is_caught_by_its_check() {
    let postgres = shared();
    let database = rich(postgres);
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let cases: &[(&str, &[u64])] = &[
        ("SELECT 1", &[]),
        ("UPDATE schema_migrations SET version = 43", &[1, 12]),
        ("UPDATE schema_migrations SET dirty = true", &[2, 12]),
        ("DROP TABLE empty", &[3, 7, 12]),
        ("ALTER TABLE empty ADD b int", &[3]),
        ("ALTER TABLE empty ALTER a SET NOT NULL", &[3]),
        ("CREATE TABLE surplus ()", &[3]),
        ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", &[4, 12]),
        ("ALTER TYPE mood ADD VALUE 'new' BEFORE 'ok'", &[4]),
        ("DROP INDEX orders_customer_idx", &[5]),
        ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_customer_idx'::regclass", &[5]),
        ("ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey", &[6]),
        (
            "ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey;
             ALTER TABLE orders ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer) REFERENCES customers NOT VALID",
            &[6],
        ),
        ("DELETE FROM orders WHERE id = 17", &[7, 12]),
        ("DELETE FROM nothing WHERE ctid = (SELECT min(ctid) FROM nothing)", &[7, 12]),
        ("INSERT INTO texts SELECT * FROM texts LIMIT 1", &[7, 12]),
        ("INSERT INTO parts VALUES ('sad', 1)", &[7, 12]),
        (
            "SET session_replication_role = replica; DELETE FROM customers WHERE id = 5;
             INSERT INTO customers (id, name) OVERRIDING SYSTEM VALUE VALUES (5000, 'x')",
            &[9, 12],
        ),
        ("SELECT setval('orders_id_seq', 4999)", &[10]),
        ("SELECT setval('used', 77, true)", &[10]),
        ("ALTER SEQUENCE used INCREMENT 2", &[10]),
        ("CREATE OR REPLACE VIEW sums AS SELECT c.name, sum(o.total) + 1 AS sum FROM customers c JOIN orders o ON o.customer = c.id GROUP BY 1", &[11]),
        ("CREATE OR REPLACE FUNCTION imitation() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'", &[11]),
        ("ALTER TABLE orders ENABLE TRIGGER watch", &[11]),
        ("DROP TRIGGER watch ON orders", &[11]),
        ("ALTER POLICY large ON orders USING (total > 6)", &[11]),
        ("DROP EXTENSION hstore", &[11]),
        ("UPDATE customers SET f = f + 1e-12 WHERE id = 17", &[12]),
        ("UPDATE \"select\".\"we\"\"ird\nname;\" SET \"user\" = 'y'", &[12]),
        ("SELECT lo_put(loid, 0, '\\x42') FROM pg_largeobject LIMIT 1", &[12]),
    ];
    for (tamper, caught) in cases {
        let report = verify_while(postgres, &database, &backup, tamper);
        assert_eq!(&report.with("failed"), caught, "{tamper}: {:#}", report.0);
        assert_eq!(report.0["passed"], caught.is_empty());
    }
}

#[test]
fn an_archive_whose_content_was_changed_is_caught_although_every_sum_is_right() {
    let postgres = shared();
    let database = rich(postgres);
    let change = |from: &'static str, to: &'static str| {
        move |text: String| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        }
    };
    type Change = Box<dyn Fn(String) -> String>;
    let cases: Vec<(&str, Change, &[u64])> = vec![
        ("a row less", Box::new(change("17\t18\t17\n", "")), &[0, 7, 12]),
        ("a row twice", Box::new(change("17\t18\t17\n", "17\t18\t17\n17\t18\t17\n")), &[0, 7, 12]),
        ("a value", Box::new(change("17\t18\t17\n", "17\t18\t18\n")), &[0, 12]),
        ("a label", Box::new(change("    'sad',", "    'sod',")), &[0]),
        ("an index", Box::new(change("CREATE INDEX orders_customer_idx", "CREATE INDEX other_idx")), &[5]),
        (
            "a sequence",
            Box::new(change("'public.orders_id_seq', 5000, true", "'public.orders_id_seq', 4000, true")),
            &[10],
        ),
    ];
    for (what, change, caught) in cases {
        let backup = Backup::of(postgres, &database);
        backup.run(&[]).exits(0);
        backup.rewrite(change);
        let report = backup.verify(&[], 65);
        assert_eq!(&report.with("failed"), caught, "{what}: {:#}", report.0);
    }
}

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
fn a_busy_source_is_proved_all_the_same() {
    let postgres = shared();
    let database = postgres.database("busy");
    let pgbench = |arguments: &[&str]| {
        let mut command = postgres.client("pgbench");
        command.args(arguments).env("PGDATABASE", &database).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    assert!(pgbench(&["-i", "-s", "5", "-q"]).status().unwrap().success());
    postgres.sql(&database, "CREATE TABLE written (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, s int DEFAULT 0); CREATE SEQUENCE busy");
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, sql: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, sql).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let writer =
        script("writer", "INSERT INTO written (s) VALUES (nextval('busy'));\nDELETE FROM written WHERE id % 7 = 0;\n");
    let ddl = script(
        "ddl",
        "CREATE TABLE IF NOT EXISTS come (a int, b text);\nINSERT INTO come SELECT g, 'x' FROM generate_series(1, 50) g;\n\
         ALTER TABLE come ADD COLUMN IF NOT EXISTS c int DEFAULT 3;\nALTER TABLE come ALTER a TYPE bigint;\nTRUNCATE come;\n\
         DROP TABLE come;\nSELECT pg_sleep(0.05);\n",
    );
    let mut load = [
        pgbench(&["-c", "2", "-T", "600"]).spawn().unwrap(),
        pgbench(&["-n", "-c", "1", "-T", "600", "-f", &writer]).spawn().unwrap(),
        pgbench(&["-n", "-c", "1", "-T", "600", "-f", &ddl]).spawn().unwrap(),
    ];
    let backup =
        Backup::of(postgres, &database).set("VERIFY_ENABLED", "true").set("VERIFY_PORT", &VERIFY.port.to_string());
    for round in 0..4 {
        let format = if round % 2 == 0 { "plain" } else { "custom" };
        let outcome = backup.command(&[]).env("BACKUP_FORMAT", format).output().unwrap();
        let log = String::from_utf8_lossy(&outcome.stderr);
        // DDL got in the way of two dumps in a row, and the log says so
        let named = outcome.status.code() == Some(74) && log.contains("objects changed during the dump");
        assert!(outcome.status.success() || named, "{log}");
        assert!(log.contains("verified backup_") || named, "{log}");
    }
    for load in &mut load {
        load.kill().unwrap();
        load.wait().unwrap();
    }
}

#[test]
fn a_table_that_is_rewritten_before_the_dump_has_it_is_noticed() {
    let postgres = shared();
    let database = postgres.database("rewritten");
    postgres.sql(&database, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS a");
    let backup = Backup::of(postgres, &database);
    let lock = postgres.lock_table(&database);
    let child = backup.spawn(&[]);
    // the snapshot is older than what happens now
    lock.wait_for_waiter();
    lock.run("ALTER TABLE t ALTER a TYPE bigint;");
    drop(lock);
    let outcome =
        support::backup::finish(child).exits(0).says("public.t was truncated or rewritten while the dump began");
    assert!(outcome.log.contains("trying once more"), "{}", outcome.log);
    assert_eq!(backup.manifest()["totals"]["rows"], 1000);
    assert_eq!(backup.verify(&[], 0).0["databases"][0]["rows"], 1000);
}

#[test]
fn a_table_that_another_one_takes_the_name_of_before_the_dump_has_it_is_noticed() {
    let postgres = shared();
    let database = postgres.database("replaced");
    postgres.sql(&database, "CREATE TABLE t (a int DEFAULT 3, b text); INSERT INTO t VALUES (1, 'x')");
    // with a choice of tables the first look does not tell whether the dump has this one
    for (round, excluded) in ["", "none_of_this_name"].into_iter().enumerate() {
        let backup = Backup::of(postgres, &database).set("BACKUP_EXCLUDE_TABLES", excluded);
        let lock = postgres.lock_table(&database);
        let child = backup.spawn(&[]);
        lock.wait_for_waiter();
        lock.run("DROP TABLE t; CREATE TABLE t (a int DEFAULT 3, b text); INSERT INTO t VALUES (2, 'y');");
        drop(lock);
        let outcome = support::backup::finish(child).exits(0).says("public.t was dropped and recreated while the dump");
        assert!(outcome.log.contains("trying once more"), "{round}: {}", outcome.log);
        assert_eq!(backup.manifest()["totals"]["rows"], 1, "{round}");
        assert_eq!(backup.verify(&[], 0).with("failed"), [] as [u64; 0], "{round}");
    }
}

#[test]
fn what_was_invalid_at_the_source_is_a_warning() {
    let postgres = shared();
    let database = rich(postgres);
    postgres.sql(
        &database,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_customer_idx'::regclass;
         ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey; INSERT INTO orders (customer, total) VALUES (-1, 1);
         ALTER TABLE orders ADD CONSTRAINT lost FOREIGN KEY (customer) REFERENCES customers NOT VALID;
         UPDATE schema_migrations SET dirty = true; REFRESH MATERIALIZED VIEW counted",
    );
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let report = backup.verify(&[], 0);
    assert_eq!(report.with("warning"), [2, 5, 6], "{:#}", report.0);
    assert_eq!(report.check(9).0, "not_applicable");
}

#[test]
fn a_newer_server_proves_an_older_ones_backup_and_never_the_other_way_round() {
    let database = rich(shared());
    let backup = Backup::of(shared(), &database).set("VERIFY_PORT", &VERIFY.port.to_string());
    backup.run(&[]).exits(0);
    let report = backup.verify(&[], 0);
    assert_eq!(report.with("failed"), [] as [u64; 0], "{:#}", report.0);
    assert!(report.0["server"].as_str().unwrap().starts_with("18."));
    let newer = rich(&VERIFY);
    let backup = Backup::of(&VERIFY, &newer).set("VERIFY_PORT", &shared().port.to_string());
    backup.run(&[]).exits(0);
    backup.run(&["verify"]).exits(78).says("point VERIFY_HOST at a server");
    assert_eq!(backup.verifications().len(), 0, "nothing is said against the backup");
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
