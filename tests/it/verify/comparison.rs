//! What is compared, and that whatever differs is found by its check.

use super::{VERIFY, rich};
use crate::support::backup::{Backup, Report};
use crate::support::gate::Gate;
use crate::support::postgres::{Postgres, shared};
use crate::support::tool;
use std::path::Path;

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
