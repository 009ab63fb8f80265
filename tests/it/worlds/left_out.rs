//! What pg_dump leaves out by its own rules, and options that would make it leave out more.

use super::filled;
use crate::support::backup::Backup;
use crate::support::postgres::{Postgres, shared};
use crate::support::tool;

#[test]
fn rows_and_members_of_extensions_that_no_dump_has_are_named_with_their_number() {
    let database = shared().database("extended");
    // each in a transaction of its own, as people do it
    for statements in [
        "CREATE EXTENSION hstore; CREATE EXTENSION unaccent; CREATE EXTENSION pg_trgm",
        "CREATE TABLE important AS SELECT n FROM generate_series(1, 1000) AS n;
         ALTER EXTENSION hstore ADD TABLE important",
        "CREATE TABLE empty (a int); ALTER EXTENSION hstore ADD TABLE empty",
        "ALTER FUNCTION unaccent(text) IMMUTABLE",
        "GRANT EXECUTE ON FUNCTION similarity(text, text) TO pg_monitor",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION unaccent ADD FUNCTION mine()",
    ] {
        shared().sql(&database, statements);
    }
    let backup = Backup::of(shared(), &database);
    let log = backup.run(&["run"]).exits(0).log;
    assert!(log.contains("table public.important (1000 rows): it belongs to the extension hstore"), "{log}");
    assert!(log.contains("function public.unaccent(text): it was altered"), "{log}");
    assert!(log.contains("function public.mine(): it was added to the extension unaccent"), "{log}");
    assert!(!log.contains("similarity") && !log.contains("hstore_to_array") && !log.contains("empty ("), "{log}");
    assert_eq!(backup.facts()["databases"][0]["left_out"][0]["rows"], 1000);
    let plain = shared().database("plain");
    shared().sql(&plain, "CREATE EXTENSION hstore; CREATE EXTENSION unaccent; CREATE TABLE t (a hstore)");
    assert!(!Backup::of(shared(), &plain).run(&["run"]).exits(0).log.contains("leaves out"));
}

#[test]
fn options_of_pg_dump_that_would_spoil_the_backup_are_refused_with_what_follows() {
    let database = shared().database("options");
    shared().sql(&database, "CREATE TABLE t (a int)");
    for (option, says) in [
        ("--include-foreign-data=live", "foreign server"),
        ("--serializable-deferrable", "refuses it together with an exported snapshot"),
        ("--clean", "--if-exists"),
        ("--from-the-future", "not known"),
        ("--filter=/x", "not known"),
    ] {
        let backup = Backup::of(shared(), &database).set("PG_DUMP_EXTRA_ARGS", option);
        backup.run(&["run"]).exits(78).says("PG_DUMP_EXTRA_ARGS").says(says);
    }
    // what leaves nothing out is no excuse for what is missing, and what is dropped first is made again
    for options in ["-v", "-b -v", "--role=backup_user", "--clean --if-exists"] {
        let backup = Backup::of(shared(), &database).set("PG_DUMP_EXTRA_ARGS", options);
        backup.run(&["run"]).exits(0);
        backup.verify(&[], 0);
        let mut facts = backup.facts();
        facts["databases"][0]["catalogue"]["tables"]["public.gone"] =
            facts["databases"][0]["catalogue"]["tables"]["public.t"].clone();
        backup.forge_facts(&facts);
        let report = backup.verify(&[], 65);
        assert_eq!(report.check(3).0, "failed", "{options}");
    }
}

#[test]
fn a_schema_that_is_excluded_because_the_role_may_not_use_it_stops_nothing() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    filled(&postgres, "shop", 10);
    postgres.sql(
        "shop",
        "CREATE SCHEMA vault; CREATE TABLE vault.secret (a int PRIMARY KEY, b text DEFAULT 'x', c int CHECK (c > 0));
         CREATE VIEW vault.v AS SELECT a FROM vault.secret; CREATE SEQUENCE vault.s;
         CREATE TABLE vault.schema_migrations (version bigint, dirty boolean);
         CREATE FUNCTION vault.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a FROM vault.secret; END;
         CREATE ROLE reader LOGIN PASSWORD 'x'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    for (name, value) in [("PG_DUMP_EXTRA_ARGS", "--exclude-schema=vault"), ("BACKUP_EXCLUDE_TABLES", "vault.*")] {
        let backup = Backup::of(&postgres, "shop").set(name, value);
        let reader = backup.set("POSTGRES_USER", "reader").set("POSTGRES_PASSWORD", "x");
        reader.run(&["run"]).exits(0);
        assert_eq!(reader.manifest()["totals"]["rows"], 10);
    }
    let reader = Backup::of(&postgres, "shop").set("POSTGRES_USER", "reader").set("POSTGRES_PASSWORD", "x");
    reader.run(&["run"]).exits(77).says("vault");
}
