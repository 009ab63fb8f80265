//! Databases whose catalogue is larger than their rows: functions of a megabyte, thousands of tables, and servers that have
//! few locks.

use crate::support::backup::Backup;
use crate::support::postgres::{Postgres, shared};
use crate::support::tool;
use serde_json::json;

/// Functions of a megabyte, so many.
fn with_functions(postgres: &Postgres, count: u32) -> String {
    let database = postgres.database("functions");
    postgres.sql(
        &database,
        &format!(
            "DO $do$ BEGIN
                 FOR n IN 1..{count} LOOP
                     EXECUTE format('CREATE FUNCTION f%s() RETURNS text LANGUAGE sql AS %L', n,
                                    'SELECT ' || quote_literal(repeat(md5(n::text) || E'ü''\n', 27594)));
                 END LOOP;
             END $do$;
             CREATE FUNCTION short() RETURNS integer LANGUAGE sql AS 'SELECT 1'"
        ),
    );
    database
}

#[test]
fn facts_of_280_functions_of_a_megabyte_are_verified_and_restored() {
    let mut postgres = Postgres::prepare(&tool("PG_BIN"));
    postgres.configure("fsync", "off");
    postgres.launch();
    let database = with_functions(&postgres, 280);
    let backup = Backup::of(&postgres, &database);
    backup.run(&["run"]).exits(0);
    assert_eq!(backup.verify(&[], 0).with("failed"), [] as [u64; 0]);
    backup.run(&["restore", "latest", "--into", "copy", "--skip-checks", "--yes"]).exits(0);
    let sum = "SELECT count(*), sum(length(prosrc)), md5(string_agg(md5(prosrc), '' ORDER BY proname))
               FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    assert_eq!(postgres.sql("copy", sum), postgres.sql(&database, sum));
}

#[test]
fn a_long_function_that_differs_is_found_whether_its_source_was_recorded_whole_or_as_a_digest() {
    let database = with_functions(shared(), 2);
    let backup = Backup::of(shared(), &database);
    backup.run(&["run"]).exits(0);
    let facts = backup.facts();
    let functions = &facts["databases"][0]["catalogue"]["functions"];
    assert_eq!(functions["public.short()"]["source"], "SELECT 1");
    let digest = functions["public.f2()"]["source"].as_str().unwrap();
    assert!(digest.starts_with("sha256:") && digest.ends_with(" bytes"), "{digest}");
    // whole, as older versions recorded it; of one letter less; and the digest of another
    let source = |text: &str| shared().sql(&database, &format!("SELECT {text} FROM pg_proc WHERE proname = 'f2'"));
    let other = digest.replacen("sha256:", "sha256:0", 1);
    for (source, code) in [(source("prosrc"), 0), (source("left(prosrc, -1)"), 65), (other, 65)] {
        let mut forged = facts.clone();
        forged["databases"][0]["catalogue"]["functions"]["public.f2()"]["source"] = json!(source);
        backup.forge_facts(&forged);
        let report = backup.verify(&[], code);
        assert_eq!(report.check(11).0, if code == 0 { "ok" } else { "failed" });
    }
}

#[test]
fn thousands_of_objects_that_are_not_there_are_counted_and_the_first_of_them_named() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = postgres.database("many");
    postgres.sql(
        &database,
        "DO $$ BEGIN FOR n IN 1..1200 LOOP EXECUTE format('CREATE TABLE t%s (n integer)', n); END LOOP; END $$",
    );
    let backup = Backup::of(&postgres, &database);
    backup.run(&["run"]).exits(0);
    let mut facts = backup.facts();
    assert_eq!(backup.verify(&[], 0).check(3).0, "ok");
    for number in 0..2_500 {
        facts["databases"][0]["catalogue"]["tables"][format!("public.gone{number}")] = json!({ "kind": "f" });
    }
    backup.forge_facts(&facts);
    let report = backup.verify(&[], 65);
    let (verdict, details) = report.check(3);
    assert_eq!(verdict, "failed");
    assert!(details.contains("besides those named, 1500 are missing"), "{details}");
    assert!(details.contains("public.gone0 is missing") && !details.contains("public.t1 "), "{details}");
}

/// A server that has just enough locks for pg_dump.
fn narrow(databases: &[&str]) -> Postgres {
    let mut postgres = Postgres::prepare(&tool("PG_BIN"));
    postgres.configure("max_connections", "20");
    postgres.launch();
    for database in databases {
        postgres.sql("postgres", &format!("CREATE DATABASE {database}"));
        postgres.sql(database, "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'");
        // in pieces, because making them takes locks, too
        for begin in [0, 300, 600, 900, 1200] {
            postgres.sql(
                database,
                &format!(
                    "DO $$ BEGIN FOR n IN {begin}..{begin} + 299 LOOP
                         EXECUTE format('CREATE TABLE t%s (id integer PRIMARY KEY, name text)', n);
                         EXECUTE format('CREATE INDEX ON t%s (name)', n);
                         EXECUTE format('CREATE VIEW v%1$s AS SELECT t%1$s.name FROM t%1$s', n);
                         EXECUTE format('CREATE TRIGGER touch BEFORE INSERT ON t%s FOR EACH ROW EXECUTE FUNCTION touch()', n);
                         EXECUTE format('CREATE POLICY own ON t%1$s USING (EXISTS (SELECT FROM t%1$s AS o WHERE o.id = 1))', n);
                     END LOOP; END $$"
                ),
            );
        }
    }
    postgres
}

#[test]
fn a_server_that_has_locks_enough_for_pg_dump_has_enough_for_a_backup() {
    let postgres = narrow(&["one", "two"]);
    postgres.dump("pg_dump", "one", &[]);
    for _ in 0..3 {
        let backup = Backup::of(&postgres, "one");
        backup.run(&["run"]).exits(0);
        assert_eq!(backup.facts()["databases"][0]["has_texts"], true, "a lock was in the way");
    }
    let several = Backup::of(&postgres, "postgres")
        .set("BACKUP_DATABASES", "one,two")
        .set("BACKUP_DATABASE_JOBS", "2")
        .set("BACKUP_GLOBALS", "false");
    several.run(&["run"]).exits(0);
    for (name, (_, manifest)) in several.archives() {
        assert_eq!(manifest["totals"]["tables"], 1500, "{name}");
    }
}
