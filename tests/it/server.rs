//! A whole server: every database found, each safe for itself, roles and tablespaces too, and all of it back on an empty
//! server.

use crate::support;

use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::Command;
use support::backup::{Backup, finish};
use support::http::{Act, Front, Seen};
use support::postgres::{Postgres, TableLock};
use support::{assert_same_text, s3, tool, wait_for};

/// Names that are plain data wherever they go.
const AWKWARD: &[&str] =
    &["a b", "ünï", "-f/tmp/x", "host=evil dbname=x", "a\"; DROP", "../../x", "globals", "Upper.Case~%41'$"];
/// One that PostgreSQL's own `pg_dump --create` refuses.
const WITH_LINE_BREAK: &str = "two\nlines 🐘";

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn start() -> Postgres {
    Postgres::start(&tool("PG_BIN"))
}

fn create_database(postgres: &Postgres, name: &str, rows: u32) {
    postgres.sql("postgres", &format!("CREATE DATABASE {} TEMPLATE template0", identifier(name)));
    postgres.sql(name, &format!("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, {rows}) AS n"));
}

/// A role that reads everything but is no superuser, and the backup that uses it.
fn as_reader(postgres: &Postgres) -> Backup {
    postgres.sql("postgres", "CREATE ROLE reader LOGIN PASSWORD 'secret-of-reader'; GRANT pg_read_all_data TO reader");
    Backup::of(postgres, "postgres").set("POSTGRES_USER", "reader").set("POSTGRES_PASSWORD", "secret-of-reader")
}

/// The manual way of docs/restore.md: properties from the manifest, then the content.
fn rebuild(postgres: &Postgres, archive: &std::path::Path, database: &str) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/recreate-database.sql");
    let manifest = std::fs::read_to_string(format!("{}.json", archive.display())).unwrap();
    let made = postgres
        .client("psql")
        .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-v", &format!("manifest={manifest}"), "-d", "postgres", "-f"])
        .arg(script)
        .output()
        .unwrap();
    assert!(made.status.success(), "{database}: {}", String::from_utf8_lossy(&made.stderr));
    postgres.restore(archive, database, true);
}

/// Errors that are not about the role that restores, which can be neither dropped nor created.
fn unexpected(complaints: &str) -> Vec<&str> {
    let harmless =
        |line: &&str| line.contains("ERROR") && !line.contains("current user") && !line.contains("backup_user");
    complaints.lines().filter(harmless).collect()
}

fn globals_of(postgres: &Postgres) -> String {
    postgres.dump("pg_dumpall", "postgres", &["--globals-only"])
}

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

#[test]
fn a_name_that_is_not_utf_8_is_one_failure_and_no_matter_to_others() {
    let postgres = start();
    postgres.sql("postgres", "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII'");
    create_database(&postgres, "shop", 10);
    let script = postgres.private_file("latin1.sql", "");
    let latin1 = b"CREATE DATABASE \"caf\xe9\"; COMMENT ON DATABASE ascii IS 'caf\xe9'; CREATE TABLE \"t\xe9\" (a int)";
    std::fs::write(&script, latin1).unwrap();
    postgres.run_file("ascii", std::path::Path::new(&script));
    Backup::of(&postgres, "ascii").run(&[]).exits(0);
    let backup = Backup::of(&postgres, "shop");
    backup.run(&[]).exits(0);
    backup.run(&["check"]).exits(0);
    let all = Backup::of(&postgres, "ascii").set("BACKUP_DATABASES", "all");
    all.run(&[]).exits(1).says("caf\u{fffd} is not UTF-8").says("3 of 4 databases");
    all.run(&["--dry-run"]).exits(1);
    all.set("BACKUP_EXCLUDE_DATABASES", "caf?").run(&[]).exits(0);
    // by way of a database of another encoding, whose own content is text like any other
    postgres.sql("postgres", "CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1'");
    postgres.sql(
        "latin1",
        r#"CREATE TABLE U&"tabl\00E9" AS SELECT U&'na\00EFve'::text AS a; COMMENT ON DATABASE latin1 IS U&'cr\00E8me'"#,
    );
    let other = Backup::of(&postgres, "latin1").set("BACKUP_DATABASES", "all");
    other.run(&[]).exits(1).says("caf\u{fffd} is not UTF-8").says("4 of 5 databases");
    let (archive, manifest) = &other.archives()["latin1"];
    assert_eq!(manifest["properties"]["comment"], "crème");
    let copy = postgres.database("copy");
    postgres.restore(archive, &copy, true);
    assert_eq!(postgres.sql(&copy, "SELECT a FROM \"tablé\""), "naïve");
    // from a database where the others' names and comments cannot even be read
    postgres.sql("template1", "DROP DATABASE postgres");
    for name in ["postgres", "euc"] {
        let created = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'EUC_JP' LOCALE 'C'");
        postgres.sql("template1", &created);
    }
    postgres.sql("euc", "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let other = Backup::of(&postgres, "euc").set("VERIFY_ENABLED", "true");
    other.run(&["check"]).exits(0);
    other.run(&[]).exits(0);
    other.run(&["restore", "--into", "euc_copy"]).exits(0);
    other.set("BACKUP_DATABASES", "all").run(&["--dry-run"]).exits(1).says("is not UTF-8");
}

#[test]
fn large_databases_wait_for_memory_without_a_snapshot_and_keep_no_small_one_waiting() {
    let postgres = start();
    for name in ["huge", "large", "small_1", "small_2", "small_3"] {
        create_database(&postgres, name, 10);
    }
    // what the server says of their size decides the length of a part
    for (name, gigabytes) in [("huge", 20_u64), ("large", 10)] {
        let oid = postgres.sql("postgres", &format!("SELECT oid FROM pg_database WHERE datname = '{name}'"));
        let path = postgres.path(&format!("data/base/{oid}/999999"));
        std::fs::File::create(path).unwrap().set_len(gigabytes << 30).unwrap();
    }
    // whichever of the two comes first waits in its dump, the other one for memory
    let locks = ["huge", "large"].map(|name| postgres.lock_table(name));
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(&postgres, "postgres")
        .to("remote", &s3::shared().endpoint(), &prefix)
        .set("BACKUP_DATABASES", "all")
        .set("REMOTE_MAX_PARTS", "100")
        .set("BACKUP_DATABASE_JOBS", "3");
    let run = backup.spawn(&[]);
    let stored =
        |name: &str| s3::shared().keys(&prefix).iter().any(|key| key.contains(name) && key.ends_with(".sql.gz.json"));
    wait_for("the small ones", || ["small_1", "small_2", "small_3"].iter().all(|name| stored(name)));
    wait_for("one dump to wait", || locks.iter().any(TableLock::has_waiter));
    assert!(!stored("huge") && !stored("large"));
    let snapshots = "SELECT count(*) FROM pg_stat_activity WHERE datname IN ('huge', 'large')
                     AND state = 'idle in transaction' AND application_name LIKE 'backup %'";
    assert_eq!(postgres.sql("postgres", snapshots), "1");
    drop(locks);
    finish(run).exits(0);
    assert!(stored("huge") && stored("large"));
}

#[test]
fn awkward_names_are_plain_data_on_both_sides_and_in_both_formats() {
    let postgres = start();
    let names: Vec<&str> = AWKWARD.iter().copied().chain([WITH_LINE_BREAK]).collect();
    for name in &names {
        create_database(&postgres, name, 300);
    }
    let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
    for (format, layout, jobs) in [("plain", "database", "1"), ("custom", "flat", "3")] {
        let prefix = s3::fresh_prefix();
        let backup = Backup::of(&postgres, "ünï")
            .to("all", &s3::shared().endpoint(), &prefix)
            .set("BACKUP_DATABASES", "all")
            .set("BACKUP_DATABASE_JOBS", jobs)
            .set("BACKUP_FORMAT", format)
            .set("LOCAL_PATH_FORMAT", layout)
            .set("DISCORD_WEBHOOK_URL", &webhook.url());
        let log = backup.run(&[]).exits(0).says("10 databases and the globals").log;
        let is_line = |line: &str| line.len() > 24 && line.as_bytes()[10] == b'T' && line.as_bytes()[23] == b'Z';
        assert!(log.lines().all(is_line), "{log}");
        let archives = backup.archives();
        assert_eq!(archives.len(), names.len() + 2);
        // the same bytes under names that leave neither folder nor prefix
        let local: Vec<Vec<u8>> = backup.contents().into_iter().map(|(_, bytes)| bytes).collect();
        let remote = s3::shared().contents(&prefix);
        assert_eq!(remote.len(), local.len());
        // a checksum file names the archive, whose name the layouts make
        let same = |(key, bytes): &(String, Vec<u8>)| key.ends_with(".sha256") || local.contains(bytes);
        assert!(remote.iter().all(same));
        assert!(remote.iter().all(|(key, _)| key.split('/').count() == 2), "{:?}", remote[0].0);
        for name in &names {
            let (archive, manifest) = &archives[*name];
            assert_eq!(manifest["database"], *name);
            let copy = postgres.database("copy");
            if format == "plain" {
                postgres.restore(archive, &copy, true);
            } else {
                let restored = postgres.client("pg_restore").args(["-e", "-d", &copy]).arg(archive).output().unwrap();
                assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
            }
            assert_same_text(&postgres.dump("pg_dump", &copy, &[]), &postgres.dump("pg_dump", name, &[]));
            postgres.sql("postgres", &format!("DROP DATABASE \"{copy}\""));
        }
        let list = backup.run(&["list"]).exits(0).stdout;
        assert_eq!(list.lines().count(), names.len() + 3, "{list}");
    }
}

#[test]
fn databases_are_chosen_by_name_glob_and_exclusion_and_new_ones_are_found() {
    let postgres = start();
    for name in ["app_1", "app_2", "other"] {
        create_database(&postgres, name, 10);
    }
    let saved = |backup: &Backup| backup.archives().into_keys().collect::<Vec<_>>();
    let backup = Backup::of(&postgres, "postgres").set("BACKUP_DATABASES", "app_*,postgres");
    backup.run(&[]).exits(0);
    assert_eq!(saved(&backup), ["(globals)", "app_1", "app_2", "postgres"]);
    assert!(backup.files().iter().any(|file| file.starts_with("backup_app_1_")), "{:?}", backup.files());

    let all = Backup::of(&postgres, "postgres").set("BACKUP_DATABASES", "all").set("BACKUP_EXCLUDE_DATABASES", "app_?");
    all.run(&[]).exits(0);
    assert_eq!(saved(&all), ["(globals)", "other", "postgres"]);
    create_database(&postgres, "newcomer", 10);
    all.run(&[]).exits(0);
    assert!(saved(&all).contains(&"newcomer".to_owned()));

    let named = Backup::of(&postgres, "postgres").set("BACKUP_DATABASES", "all");
    named.run(&["--database", "other", "--database", "app_1"]).exits(0);
    assert_eq!(saved(&named), ["(globals)", "app_1", "other"]);
    let dry = named.run(&["--database", "app_2", "--dry-run"]).exits(0);
    assert!(dry.stdout.contains("would dump app_2") && !dry.stdout.contains("other"), "{}", dry.stdout);

    let missing = Backup::of(&postgres, "postgres").set("BACKUP_DATABASES", "other,typo");
    missing.run(&["--dry-run"]).exits(1).says("typo does not exist on the server");
    missing.run(&[]).exits(1).says("typo does not exist on the server").says("1 of 2 databases");
    assert_eq!(saved(&missing), ["(globals)", "other"]);
    let nothing = Backup::of(&postgres, "postgres").set("BACKUP_DATABASES", "typo,x*");
    nothing.run(&[]).exits(78).says("typo,x*").says("BACKUP_DATABASES");
}

#[test]
fn what_becomes_of_one_database_does_not_spoil_the_others_and_prunes_nothing_of_its_own() {
    let postgres = start();
    for name in ["first", "second", "third"] {
        create_database(&postgres, name, 10);
    }
    let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
    let backup =
        Backup::of(&postgres, "first").set("BACKUP_DATABASES", "first,second,third").set("BACKUP_TYPE", "daily");
    for _ in 0..2 {
        backup.run(&[]).exits(0);
    }
    assert_eq!(backup.files().len(), 2 * 4 * 4);
    let lock = postgres.lock_table("second");
    let backup = backup
        .set("BACKUP_LOCK_TIMEOUT", "1s")
        .set("BACKUP_RETENTION_DAILY", "1")
        .set("DISCORD_WEBHOOK_URL", &webhook.url());
    let outcome = backup.run(&[]).exits(1).says("second: dump").says("BACKUP_LOCK_TIMEOUT");
    drop(lock);
    let count = |name: &str| {
        let manifests = backup.files().into_iter().filter(|file| file.ends_with(".json"));
        manifests.filter(|file| file.starts_with(&format!("backup_{name}_"))).count()
    };
    // the two that were saved anew are pruned to one, and so are the globals
    assert_eq!(["first", "second", "third", "globals"].map(count), [1, 2, 1, 1], "{}", outcome.log);
    let notices = webhook.seen();
    assert_eq!(notices.len(), 1);
    let notice = String::from_utf8(notices[0].body.clone()).unwrap();
    assert!(notice.contains("2 of 3 databases") && notice.contains("Last good backup"), "{notice}");
}

#[test]
fn roles_are_saved_without_passwords_where_those_may_not_be_read_and_not_at_all_where_nothing_may() {
    let postgres = start();
    postgres.sql("postgres", "CREATE ROLE reader LOGIN PASSWORD 'reader'");
    let reader = Backup::of(&postgres, "postgres").set("BACKUP_DATABASES", "all");
    let reader = reader.set("POSTGRES_USER", "reader").set("POSTGRES_PASSWORD", "reader");
    reader.run(&["check"]).exits(0).says("roles are saved without passwords");
    reader.run(&[]).exits(0).says("without their passwords");
    let (archive, manifest) = reader.archives().remove("(globals)").unwrap();
    assert!(manifest["arguments"].as_array().unwrap().contains(&"--no-role-passwords".into()), "{manifest}");
    let text = Command::new("gunzip").arg("-c").arg(archive).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("CREATE ROLE reader") && !text.contains("PASSWORD"), "{text}");
    // as on services that keep the server's own tables to themselves
    postgres.sql("postgres", "REVOKE SELECT ON pg_auth_members FROM PUBLIC");
    let reader = reader.set("BACKUP_DIR", "elsewhere").set("LOG_FORMAT", "json");
    reader.run(&[]).exits(0).says("roles and tablespaces were not saved").says("BACKUP_GLOBALS=false");
    reader.set("BACKUP_MODE", "cluster").set("BACKUP_DATABASES", "").run(&[]).exits(77).says("globals");
}

#[test]
fn check_names_everything_out_of_reach_with_the_statement_that_mends_it() {
    for bin in ["PG_BIN", "PG17_BIN", "PG18_BIN"] {
        let postgres = Postgres::start(&tool(bin));
        postgres.sql("postgres", "CREATE ROLE \"we ak\" LOGIN PASSWORD 'weak'; CREATE ROLE other");
        create_database(&postgres, "shop", 10);
        postgres.sql(
            "shop",
            "CREATE SCHEMA \"in ner\"; CREATE TABLE \"in ner\".\"T\" (id int); CREATE SEQUENCE s;
             CREATE TABLE hidden (id int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; GRANT SELECT ON hidden TO \"we ak\";
             CREATE TABLE mine (id int); ALTER TABLE mine OWNER TO \"we ak\"; ALTER TABLE mine ENABLE ROW LEVEL SECURITY;
             SELECT lo_from_bytea(4711, 'x'), lo_from_bytea(4712, 'x'); GRANT SELECT ON LARGE OBJECT 4712 TO \"we ak\";
             CREATE VIEW v AS SELECT 1 AS one;
             CREATE TABLE tenants (id int) PARTITION BY LIST (id); ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
             CREATE TABLE tenant_1 PARTITION OF tenants FOR VALUES IN (1); GRANT SELECT ON tenants, tenant_1 TO \"we ak\"",
        );
        postgres.sql("postgres", "REVOKE CONNECT ON DATABASE shop FROM PUBLIC");
        let backup = Backup::of(&postgres, "postgres")
            .set("POSTGRES_USER", "we ak")
            .set("POSTGRES_PASSWORD", "weak")
            .set("BACKUP_DATABASES", "shop");
        backup.run(&["check"]).exits(77).says("GRANT CONNECT ON DATABASE \"shop\" TO \"we ak\";");
        postgres.sql("postgres", "GRANT CONNECT ON DATABASE \"shop\" TO \"we ak\";");

        let found = backup.json(&["check"], 77);
        let failed: Vec<_> =
            found["checks"].as_array().unwrap().iter().filter(|line| line["verdict"] == "failed").collect();
        assert_eq!(found["summary"]["failed"], failed.len());
        let mut objects: Vec<&str> = failed
            .iter()
            .map(|line| line["detail"].as_str().unwrap().split_once("is not allowed to read ").unwrap().1)
            .collect();
        objects.sort_unstable();
        let expected = [
            "large object 4711",
            "sequence public.s",
            "table \"in ner\".\"T\"",
            "table public.hidden past its row security",
            "table public.t",
        ];
        assert_eq!(objects, expected);
        backup.run(&[]).exits(77).says("large object 4711").says("table public.t").says("have the owner run");
        assert_eq!(backup.files(), Vec::<String>::new());
        for line in failed {
            postgres.sql("shop", line["hint"].as_str().unwrap());
        }
        backup.run(&["check"]).exits(0).says("everything in 1 database can be read");
        backup.run(&[]).exits(0);
    }
}

/// First release of each major whose dumps run no command where they are restored; distributions move on.
const PATCHED: &[(&str, u32)] = &[("15.", 19), ("17.", 11), ("18.", 6)];

#[test]
fn the_tools_of_the_servers_own_major_are_taken_else_those_of_the_next_newer() {
    let (own, next, newest) = (tool("PG_BIN"), tool("PG17_BIN"), tool("PG18_BIN"));
    let path = std::env::var("PATH").unwrap();
    let choices = [
        (&own, format!("{newest}:{next}:{own}"), "15."),
        (&next, format!("{newest}:{own}:{next}"), "17."),
        (&newest, format!("{own}:{next}:{newest}"), "18."),
    ];
    for (server, folders, expected) in choices {
        let postgres = Postgres::start(server);
        create_database(&postgres, "shop", 10);
        let backup =
            Backup::of(&postgres, "shop").set("PATH", &format!("{folders}:{path}")).set("BACKUP_GLOBALS", "true");
        backup.run(&[]).exits(0);
        let mut is_patched = false;
        for (_, manifest) in backup.archives().values() {
            let client = manifest["versions"]["client"].as_str().unwrap();
            assert!(client.starts_with(expected), "{manifest}");
            let minor: u32 = client.split('.').nth(1).unwrap().parse().unwrap();
            is_patched = minor >= PATCHED.iter().find(|(major, _)| *major == expected).unwrap().1;
        }
        let table = backup.run(&["check"]).exits(0).stdout;
        for major in ["15.", "17.", "18."] {
            assert!(table.contains(major), "{table}");
        }
        assert_eq!(table.contains("CVE-2025-8714"), !is_patched, "{table}");
    }
    let postgres = Postgres::start(&own);
    create_database(&postgres, "shop", 10);
    for (folder, client) in [(&next, "17."), (&newest, "18.")] {
        let backup = Backup::of(&postgres, "shop").set("PG_BIN_DIR", folder).set("BACKUP_GLOBALS", "true");
        backup.run(&[]).exits(0);
        let (archive, manifest) = &backup.archives()["shop"];
        assert!(manifest["versions"]["client"].as_str().unwrap().starts_with(client), "{manifest}");
        let copy = Postgres::start(folder);
        // older tools of a newer major write an option of columns that no server takes
        copy.restore(archive, "postgres", false);
        assert_eq!(copy.sql("postgres", "SELECT count(*) FROM t"), "10");
        let report = backup
            .with("VERIFY_HOST", "127.0.0.1")
            .set("VERIFY_PORT", &copy.port.to_string())
            .verify(&[manifest["id"].as_str().unwrap()], 0);
        assert_eq!(report.0.get("exceptions"), None, "{:#}", report.0);
    }
}

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
