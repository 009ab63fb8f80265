//! Which databases are saved, by which role and with which tools; what becomes of one is its own affair.

use super::{AWKWARD, WITH_LINE_BREAK, create_database, start};
use crate::support::backup::{Backup, finish};
use crate::support::http::{Act, Front};
use crate::support::postgres::{Postgres, TableLock};
use crate::support::{assert_same_text, s3, tool, wait_for};
use std::process::Command;

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
