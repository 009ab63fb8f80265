//! A server whole: every database an archive of its own, or all of them in one, and back into an empty server.

use super::{AWKWARD, WITH_LINE_BREAK, as_reader, create_database, globals_of, identifier, rebuild, start, unexpected};
use crate::support::backup::{Backup, finish};
use crate::support::http::{Act, Front};
use crate::support::postgres::Postgres;
use crate::support::{assert_same_text, tool, wait_for};
use std::process::Command;

#[test]
fn of_40_databases_37_are_safe_and_3_are_named_and_an_empty_server_is_rebuilt_from_the_archives() {
    let source = start();
    let reader = as_reader(&source).set("BACKUP_DATABASES", "all").set("LOCAL_PATH_FORMAT", "database");
    source.sql(
        "postgres",
        "CREATE ROLE owner; CREATE ROLE app LOGIN PASSWORD 'secret-of-app' CONNECTION LIMIT 7; CREATE ROLE \"Gr oup\" NOINHERIT;
         GRANT owner TO app WITH ADMIN OPTION; GRANT \"Gr oup\" TO owner; ALTER ROLE app SET statement_timeout = '7s';
         COMMENT ON ROLE app IS 'an application'",
    );
    for number in 1..=38 {
        create_database(&source, &format!("db_{number:02}"), 100 + number * number * 20);
    }
    for number in (2..=36).step_by(3) {
        let name = format!("db_{number:02}");
        source.sql(
            &name,
            &format!(
                "ALTER DATABASE {name} OWNER TO owner; ALTER TABLE t OWNER TO owner; GRANT SELECT ON t TO app;
                 ALTER DATABASE {name} SET work_mem = '7MB'; ALTER DATABASE {name} SET search_path = '$user', \"odd, \"\"path\"\"\", public;
                 ALTER ROLE app IN DATABASE {name} SET application_name = 'it''s odd'; COMMENT ON DATABASE {name} IS 'no. {number}';
                 REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC; GRANT CREATE ON DATABASE {name} TO app WITH GRANT OPTION;
                 ALTER DATABASE {name} CONNECTION LIMIT {number}; SET ROLE app; GRANT CREATE ON DATABASE {name} TO \"Gr oup\""
            ),
        );
    }
    // privileges handed on from one to the next
    source.sql(
        "postgres",
        "CREATE ROLE b1; CREATE ROLE a2; CREATE ROLE c0; GRANT CREATE ON DATABASE db_01 TO c0 WITH GRANT OPTION;
         SET ROLE c0; GRANT CREATE ON DATABASE db_01 TO b1 WITH GRANT OPTION;
         SET ROLE b1; GRANT CREATE ON DATABASE db_01 TO a2",
    );
    // one may not be entered, one hides rows, one is dropped while the run is under way: the smallest, whose turn is last
    source.sql("postgres", "REVOKE CONNECT ON DATABASE db_37 FROM PUBLIC");
    source.sql("db_38", "ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    source.sql("postgres", "CREATE DATABASE zz_gone TEMPLATE template0");
    let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
    let reader = reader.set("DISCORD_WEBHOOK_URL", &webhook.url());

    let run = reader.spawn(&[]);
    wait_for("the first backup", || reader.files().iter().any(|file| file.ends_with(".json")));
    source.sql("postgres", "DROP DATABASE zz_gone");
    let outcome = finish(run).exits(1);
    let outcome = outcome.says("GRANT CONNECT ON DATABASE \"db_37\" TO \"reader\"").says("ALTER ROLE reader BYPASSRLS");
    let outcome = outcome.says("zz_gone does not exist on the server").says("37 of 40 databases and the globals");
    let archives = reader.archives();
    assert_eq!(archives.len(), 38, "{}", outcome.log);
    let runs: std::collections::HashSet<_> = archives.values().map(|(_, manifest)| &manifest["run_id"]).collect();
    assert_eq!(runs.len(), 1);
    let notices = webhook.seen();
    assert_eq!(notices.len(), 1);
    let notice: serde_json::Value = serde_json::from_slice(&notices[0].body).unwrap();
    let rows: Vec<&str> =
        notice["embeds"][0]["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
    for name in ["db_37", "db_38", "zz_gone"] {
        assert_eq!(rows.iter().filter(|row| **row == name).count(), 1, "{rows:?}");
    }

    let copy = start();
    let complaints = copy.restore(&archives["(globals)"].0, "postgres", false);
    assert_eq!(unexpected(&complaints), Vec::<&str>::new());
    assert_same_text(&globals_of(&copy), &globals_of(&source));
    for (name, (archive, _)) in archives.iter().filter(|(name, _)| *name != "(globals)") {
        rebuild(&copy, archive, name);
        let dump = |postgres: &Postgres| postgres.dump("pg_dump", name, &["--create"]);
        assert_same_text(&dump(&copy), &dump(&source));
    }
    assert!(source.dump("pg_dump", "db_02", &["--create"]).contains("SET work_mem TO '7MB'"));
}

/// A server with a bit of everything that lies outside a database, and awkward names.
fn furnish(postgres: &Postgres) {
    let place = postgres.private_folder("space");
    postgres.sql("postgres", &format!("CREATE TABLESPACE \"sp ace\" LOCATION '{place}'"));
    postgres.sql(
        "postgres",
        "CREATE ROLE app LOGIN PASSWORD 'x'; CREATE ROLE \"Gr oup\"; GRANT \"Gr oup\" TO app;
         GRANT CREATE ON TABLESPACE \"sp ace\" TO app",
    );
    for name in AWKWARD {
        create_database(postgres, name, 500);
        postgres.sql(name, &format!("COMMENT ON DATABASE {} IS 'awkward'; GRANT SELECT ON t TO app", identifier(name)));
    }
    postgres.sql("a b", "CREATE TABLE far TABLESPACE \"sp ace\" AS SELECT 1 AS n; SELECT lo_from_bytea(4711, 'large')");
    postgres.sql("postgres", "CREATE TABLE in_postgres AS SELECT 2 AS n");
    postgres.sql("template1", "CREATE TABLE in_template1 AS SELECT 3 AS n");
    create_database(postgres, "mo'del", 5);
    postgres.sql("postgres", "ALTER DATABASE \"mo'del\" IS_TEMPLATE true");
    postgres.sql(
        "postgres",
        "ALTER DATABASE ünï SET work_mem = '5MB'; ALTER ROLE app IN DATABASE ünï SET work_mem = '6MB'",
    );
}

#[test]
fn a_cluster_archive_restores_a_whole_server_into_an_empty_one() {
    for bin in ["PG_BIN", "PG17_BIN", "PG18_BIN"] {
        let mut source = Postgres::start(&tool(bin));
        furnish(&source);
        let backup = Backup::of(&source, "host=evil dbname=x").set("BACKUP_MODE", "cluster");
        backup.run(&[]).exits(0).says("backup_cluster_");
        let archives = backup.archives();
        assert_eq!(archives.len(), 1);
        let (archive, manifest) = &archives["(cluster)"];
        assert_eq!(manifest["databases"].as_array().unwrap().len(), AWKWARD.len() + 3);
        assert_eq!(manifest["databases"][0], "template1");
        let facts =
            Command::new("gunzip").arg("-c").arg(format!("{}.facts.json.gz", archive.display())).output().unwrap();
        let facts: serde_json::Value = serde_json::from_slice(&facts.stdout).unwrap();
        for database in facts["databases"].as_array().unwrap() {
            assert_eq!(database["snapshot"]["exported"], true, "{}", database["name"]);
        }
        let whole = |postgres: &Postgres| postgres.dump("pg_dumpall", "postgres", &["--clean", "--if-exists"]);
        let expected = whole(&source);
        // a tablespace has one place on this machine
        source.stop();
        let copy = Postgres::start(&tool(bin));
        copy.private_folder_at(&source.path("space"));
        let complaints = copy.restore(archive, "postgres", false);
        assert_eq!(unexpected(&complaints), Vec::<&str>::new());
        assert_same_text(&whole(&copy), &expected);
        // again, over what is there now
        let complaints = copy.restore(archive, "postgres", false);
        assert_eq!(unexpected(&complaints), Vec::<&str>::new());
        assert_same_text(&whole(&copy), &expected);
        // an archive without template1, over what is there, by way of postgres itself; and one more drop is no error
        let part = Backup::of(&copy, "postgres")
            .set("BACKUP_MODE", "cluster")
            .set("BACKUP_EXCLUDE_DATABASES", "template1")
            .set("PG_DUMP_EXTRA_ARGS", "--clean");
        part.run(&[]).exits(0);
        let complaints = copy.restore(&part.archives()["(cluster)"].0, "postgres", false);
        assert_eq!(unexpected(&complaints), Vec::<&str>::new());
        assert_same_text(&whole(&copy), &expected);
    }
}

#[test]
fn a_cluster_archive_is_all_or_nothing() {
    let postgres = start();
    let reader = as_reader(&postgres).set("BACKUP_MODE", "cluster");
    create_database(&postgres, "hidden", 10);
    postgres.sql("hidden", "ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    reader.run(&[]).exits(77).says("table public.t past its row security");
    assert_eq!(reader.files(), Vec::<String>::new());
    let reader = reader.set("BACKUP_EXCLUDE_DATABASES", "hid*");
    reader.run(&[]).exits(0);
    postgres.sql("postgres", &format!("CREATE DATABASE {}", identifier(WITH_LINE_BREAK)));
    reader.run(&[]).exits(78).says("two\\nlines").says("BACKUP_EXCLUDE_DATABASES");
    assert_eq!(reader.files().len(), 4);
    for (arguments, message) in [(["--database", "postgres"], "--database"), (["--shard", "0/2"], "--shard")] {
        reader.run(&arguments).exits(64).says(message);
    }
    reader.set("BACKUP_FORMAT", "custom").run(&[]).exits(78).says("BACKUP_FORMAT");
}

#[test]
fn a_database_that_is_dropped_before_its_turn_is_no_part_of_the_cluster_archive() {
    let postgres = start();
    for name in ["a_large", "z_gone"] {
        create_database(&postgres, name, 10);
    }
    let backup = Backup::of(&postgres, "postgres").set("BACKUP_MODE", "cluster").set("BACKUP_LOCK_TIMEOUT", "30s");
    let lock = postgres.lock_table("a_large");
    let run = backup.spawn(&[]);
    lock.wait_for_waiter();
    postgres.sql("postgres", "DROP DATABASE z_gone");
    drop(lock);
    finish(run).exits(0).says("objects changed during the dump");
    let (_, manifest) = &backup.archives()["(cluster)"];
    assert_eq!(manifest["databases"], serde_json::json!(["template1", "a_large", "postgres"]));
}
