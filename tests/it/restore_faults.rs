//! Restoring goes wrong: whatever happens, the target is as it was.

use crate::support;

use support::backup::{Backup, finish};
use support::postgres::{Postgres, shared};
use support::{assert_same_text, signal, tool, wait_for};

/// A database with a table that takes a while to load, its backup, and the picture of what is there now.
fn slow(postgres: &Postgres) -> (String, Backup, String) {
    let database = postgres.database("slow");
    postgres.sql(
        &database,
        "CREATE TABLE t AS SELECT g, md5(g::text) AS note FROM generate_series(1, 400000) g; CREATE INDEX ON t (note)",
    );
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    postgres.sql(&database, "TRUNCATE t; INSERT INTO t VALUES (1, 'live')");
    let live = postgres.picture(&database);
    (database, backup, live)
}

#[test]
fn a_restore_that_is_stopped_or_killed_leaves_the_target_as_it_was() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let (database, backup, live) = slow(&postgres);
    let copy = format!("{database}_copy");
    for (name, code) in [("TERM", 143), ("INT", 130), ("KILL", -1)] {
        for arguments in [
            vec!["--into", &database, "--replace", "--yes"],
            vec!["--into", &copy],
            vec!["--into", &database, "--table", "t", "--replace", "--yes"],
            vec!["--into", &database, "--table", "t"],
        ] {
            let child = backup.spawn(&[&["restore"], &arguments[..]].concat());
            postgres.wait_for_rows();
            signal(&child, name);
            assert_eq!(finish(child).code, code, "{name} {arguments:?}");
            wait_for("the sessions to end", || {
                postgres.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backup%'")
                    == "0"
            });
            assert_same_text(&postgres.picture(&database), &live);
            assert!(!postgres.exists(&copy));
            if name != "KILL" {
                assert_eq!(postgres.leftovers(), "", "{name} {arguments:?}");
            }
        }
    }
    // what SIGKILL left is marked, is not backed up, and the next restore or run drops it
    assert_eq!(postgres.leftovers().split(',').count(), 1, "{}", postgres.leftovers());
    let child = backup.spawn(&["restore", "--into", &copy]);
    postgres.wait_for_rows();
    signal(&child, "KILL");
    finish(child);
    assert_ne!(postgres.leftovers(), "");
    backup.with("BACKUP_DATABASES", "all").run(&[]).exits(0);
    assert!(!backup.archives().keys().any(|subject| subject.contains("restoring")), "{:?}", backup.archives().keys());
    assert_eq!(postgres.leftovers(), "");
}

#[test]
fn a_connection_that_is_cut_or_a_statement_that_fails_leaves_the_target_as_it_was() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let (database, backup, live) = slow(&postgres);
    let copy = format!("{database}_copy");
    for arguments in [vec!["--into", &database, "--replace", "--yes"], vec!["--into", &copy]] {
        let child = backup.spawn(&[&["restore"], &arguments[..]].concat());
        postgres.wait_for_rows();
        postgres.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND pid <> pg_backend_pid()");
        finish(child).exits(69).says("check POSTGRES_HOST");
        assert_same_text(&postgres.picture(&database), &live);
        assert!(!postgres.exists(&copy));
        assert_eq!(postgres.leftovers(), "");
    }
    // an event trigger of the server's owner refuses an index: the statement and its line are named
    postgres.sql("template1", "SELECT 1");
    postgres.sql("postgres", "ALTER ROLE backup_user SET temp_file_limit = '1kB'");
    let outcome = backup.run(&["restore", "--into", &copy]);
    postgres.sql("postgres", "ALTER ROLE backup_user RESET temp_file_limit");
    let outcome = outcome.exits(74).says("temporary file size exceeds temp_file_limit").says("raise the limit");
    assert!(outcome.log.contains("line 4000"), "{}", outcome.log);
    assert!(outcome.log.contains("CREATE INDEX t_note_idx"), "{}", outcome.log);
    assert!(!postgres.exists(&copy));
    assert_eq!(postgres.leftovers(), "");
}

#[test]
fn a_server_whose_disk_is_full_keeps_what_it_has_and_goes_on() {
    let source = shared();
    let database = source.database("large");
    source.sql(&database, "CREATE TABLE t (a text); ALTER TABLE t ALTER a SET STORAGE EXTERNAL; INSERT INTO t SELECT repeat(md5(g::text), 100) FROM generate_series(1, 30000) g");
    let backup = Backup::of(source, &database);
    backup.run(&[]).exits(0);
    let server = Postgres::start_on_small_disk(&tool("PG_BIN"), 100);
    server.sql("postgres", "CREATE DATABASE live");
    server.sql("live", "CREATE TABLE t AS SELECT 1 AS a");
    let live = server.picture("live");
    let there = backup.with("POSTGRES_PORT", &server.port.to_string());
    for arguments in [vec!["--into", "live", "--replace", "--yes"], vec!["--into", "fresh"]] {
        there
            .run(&[&["restore"], &arguments[..]].concat())
            .exits(74)
            .says("could not extend file")
            .says("free some space");
        assert_same_text(&server.picture("live"), &live);
        assert_eq!(server.leftovers(), "");
        assert!(!server.exists("fresh") && !server.log().contains("PANIC"));
    }
}

#[test]
fn sessions_are_shown_and_ended_only_on_demand_and_nobody_gets_in_between() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let (database, backup, live) = slow(&postgres);
    let session = postgres.lock_table(&database);
    let restore = ["restore", "--into", &database, "--replace", "--yes"];
    backup
        .run(&restore)
        .exits(77)
        .says("is in use: 1 session (pid")
        .says("of backup_user by psql")
        .says("--disconnect");
    // somebody who comes back at once, all the time
    let url = format!("port={} host=127.0.0.1 user=backup_user password=backup_password", postgres.port);
    let script = format!(
        "while [ -e '{0}' ]; do psql -Xqt '{url} dbname={database}' -c 'SELECT pg_sleep(0.01)' >/dev/null 2>&1 || true; done",
        backup.path().display()
    );
    let clients: Vec<_> =
        (0..3).map(|_| std::process::Command::new("bash").args(["-c", &script]).spawn().unwrap()).collect();
    for _ in 0..3 {
        backup.run(&[&restore[..], &["--disconnect"]].concat()).exits(0);
        assert_eq!(postgres.sql(&database, "SELECT count(*) FROM t"), "400000");
    }
    drop(session);
    std::fs::remove_dir_all(backup.path()).unwrap();
    for mut client in clients {
        client.wait().unwrap();
    }
    let kept =
        postgres.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{database}_before_%'"));
    assert_eq!(kept, "3");
    let first = postgres
        .sql("postgres", &format!("SELECT min(datname) FROM pg_database WHERE datname LIKE '{database}_before_%'"));
    assert_same_text(&postgres.picture(&first).replace(&first, &database), &live);
    assert_eq!(postgres.leftovers(), "");
}

#[test]
fn a_database_whose_renaming_would_hurt_is_not_replaced() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let (database, backup, live) = slow(&postgres);
    let restore = ["restore", "--into", &database, "--replace", "--yes"];
    postgres.sql(
        &database,
        "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE)",
    );
    backup.run(&restore).exits(77).says("it has 1 subscription");
    postgres.sql(&database, "DROP SUBSCRIPTION s");
    postgres.sql(&database, "BEGIN; CREATE TABLE later (a int); PREPARE TRANSACTION 'open'");
    backup.run(&restore).exits(77).says("it has 1 prepared transaction");
    postgres.sql(&database, "ROLLBACK PREPARED 'open'");
    backup.run(&["restore", "--into", "template1", "--replace", "--yes"]).exits(64).says("belongs to the server");
    assert_same_text(&postgres.picture(&database), &live);
    // the database that is usually connected to is no exception
    postgres.sql("postgres", "CREATE TABLE here (a int)");
    backup.run(&["restore", "--into", "postgres", "--replace", "--yes"]).exits(0);
    assert_eq!(postgres.sql("postgres", "SELECT count(*) FROM t"), "400000");
}

/// What a hostile archive would do to this machine if it were let.
fn canary(backup: &Backup) -> String {
    backup.folder.path().join("canary").to_str().unwrap().to_owned()
}

#[test]
fn a_hostile_archive_runs_nothing_here_and_nothing_beyond_its_database() {
    let postgres = shared();
    let database = postgres.database("hostile");
    postgres.sql(&database, "CREATE TABLE t (a text); INSERT INTO t VALUES ('x')");
    for (hostile, code, says) in [
        ("\\! touch CANARY\n", 65, "has the psql command `\\!`"),
        ("\\o CANARY\nSELECT 1;\n\\o\n", 65, "`\\o`"),
        ("\\copy t TO 'CANARY'\n", 65, "`\\copy`"),
        ("\\connect postgres\nDROP TABLE important;\n", 65, "`\\connect`"),
        ("SELECT 'x' \\g CANARY\n", 65, "`\\g`"),
        ("\\restrict x\n\\unrestrict x\n\\! touch CANARY\n", 65, "`\\!`"),
        ("COPY public.t (a) FROM stdin;\n\\! touch CANARY\n\\.\n", 65, "content fingerprints"),
        ("COPY t TO PROGRAM 'touch CANARY';\n", 65, "has `COPY t TO`"),
        ("/* x */ cOpY t FROM PROGRAM 'touch CANARY';\n", 65, "has `cOpY"),
        ("ALTER SYSTEM SET work_mem = '1MB';\n", 65, "has `ALTER SYSTEM SET`"),
        ("create /* x */ role evil superuser;\n", 65, "which pg_dump does not write"),
        ("DO $$ BEGIN CREATE ROLE evil; END $$;\n", 65, "has `DO $$ BEGIN`"),
        ("DROP DATABASE postgres;\n", 65, "has `DROP DATABASE postgres"),
        ("SELECT :x;\n", 65, "which pg_dump does not write"),
        // what is left of a statement on two sides of a command would be another one
        (
            "COMMENT ON TABLE public.t IS E\n\\restrict x\n'\\'; COPY public.t TO PROGRAM 'touch CANARY'; --';\n",
            65,
            "`\\restrict`",
        ),
        // a string goes on behind a comment, with its escapes
        (
            "COMMENT ON TABLE public.t IS E'a' -- x\n'\\\\'; COPY public.t TO PROGRAM 'touch CANARY'; --';\n",
            65,
            "has `COPY public.t TO",
        ),
        ("COMMENT ON TABLE public.t IS 'a\0'; COPY public.t TO PROGRAM 'touch CANARY';\n", 65, "a zero byte"),
        ("SET client_encoding = 'SJIS';\nCOMMENT ON TABLE public.t IS E'\\x95';\n", 65, "has `SET client_encoding ="),
        (
            "SELECT pg_catalog.lo_create(1), pg_catalog.lo_export(2, 'CANARY');\n",
            65,
            "has `SELECT pg_catalog.lo_create(1),",
        ),
        (
            "CREATE TABLE x AS SELECT pg_catalog.lo_export(pg_catalog.lo_from_bytea(0, 'x'), 'CANARY');\n",
            65,
            "has `CREATE TABLE x`",
        ),
        // roles and functions are rows as well
        (
            "COPY pg_catalog.pg_authid (oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit) FROM stdin;\n99999\tevil\tt\tt\tt\tt\tt\tt\tt\t-1\n\\.\n",
            65,
            "a table of the server itself",
        ),
        ("COPY pg_authid (oid, rolname) FROM stdin;\n99999\tevil\n\\.\n", 65, "a table of the server itself"),
        ("BEGIN;\nCOPY public.t (a) FROM stdin;\ny\n\\.\nCOMMIT;\n", 65, "inside a transaction"),
        ("CREATE USER MAPPING SUPERUSER;\n", 65, "has `CREATE USER MAPPING"),
        (
            "SELECT pg_catalog.setval('public.s', 2, E'\\'' <> concat('::\"', pg_catalog.lo_export(pg_catalog.lo_from_bytea(0, 'x'), 'CANARY')) --\"\n);\n",
            65,
            "has `SELECT pg_catalog.setval(",
        ),
        ("DROP OWNED BY evil;\n", 65, "has `DROP OWNED BY"),
    ] {
        let backup = Backup::of(postgres, &database);
        backup.run(&[]).exits(0);
        let hostile = hostile.replace("CANARY", &canary(&backup));
        let place = "ALTER TABLE public.t OWNER";
        backup.rewrite(|text| {
            assert!(text.contains(place));
            text.replacen(place, &format!("{hostile}{place}"), 1)
        });
        let copy = format!("{database}_copy");
        backup.run(&["restore", "--into", &copy]).exits(code).says(says);
        backup.run(&["restore", "--into", &database, "--replace", "--yes"]).exits(code);
        assert!(!std::path::Path::new(&canary(&backup)).exists(), "{hostile} was run");
        assert!(!postgres.exists(&copy));
        assert_eq!(postgres.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'evil'"), "0");
        assert_eq!(postgres.leftovers().matches(&database).count(), 0);
    }
    assert_eq!(postgres.sql(&database, "SELECT * FROM t"), "x");
}

#[test]
fn names_that_look_like_commands_or_paths_are_only_names() {
    let postgres = shared();
    let database = postgres.database("names");
    postgres.sql(&database, "CREATE TABLE \"\\! touch x\n\\. ; DROP TABLE t\" (\"\\q\" text); INSERT INTO \"\\! touch x\n\\. ; DROP TABLE t\" VALUES (E'\\\\.\\n\\\\! id')");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let odd = "../odd\"; DROP DATABASE postgres; -- \\!";
    backup.run(&["restore", "--into", odd]).exits(0);
    assert_same_text(&postgres.dump("pg_dump", odd, &[]), &postgres.dump("pg_dump", &database, &[]));
    postgres.sql("postgres", &format!("DROP DATABASE \"{}\"", odd.replace('"', "\"\"")));
    // a manifest that names another place
    let mut manifest = backup.manifest();
    manifest["id"] = "../../etc/passwd".into();
    std::fs::write(format!("{}.json", backup.archive().display()), manifest.to_string()).unwrap();
    let output = backup.folder.path().join("out");
    backup.run(&["download", "latest", "--output", output.to_str().unwrap()]).exits(0);
    let fetched: Vec<_> = std::fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(fetched.len(), 4, "{fetched:?}");
}

#[test]
fn a_dump_of_another_tool_or_a_bomb_is_refused_and_costs_nothing() {
    let postgres = shared();
    let database = postgres.database("bomb");
    postgres.sql(&database, "CREATE TABLE t (a text)");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let archive = backup.archive();
    let copy = format!("{database}_copy");
    // 20 GB of nothing in 90 MB, as the archive and as the facts
    let bomb = backup.folder.path().join("bomb.gz");
    postgres.shell(&format!(
        "head -c 1G /dev/zero | gzip -1 > '{0}.1'; for i in $(seq 20); do cat '{0}.1'; done > '{0}'",
        bomb.display()
    ));
    let whole = std::fs::read(&archive).unwrap();
    for (file, says) in
        [(archive.clone(), "longer than"), (archive.with_extension("gz.facts.json.gz"), "facts file is damaged")]
    {
        let kept = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::copy(&bomb, &file).unwrap();
        backup.make_sums_right(&archive);
        backup
            .with("LOG_LEVEL", "info")
            .under(&["prlimit", "--as=4000000000"])
            .run(&["restore", "--into", &copy])
            .exits(65)
            .says(says);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, kept).unwrap();
    }
    std::fs::write(&archive, &whole).unwrap();
    // mysqldump, and something that is no dump at all
    for text in ["-- MySQL dump 10.13\nCREATE TABLE `t` (`a` int) ENGINE=InnoDB;\n", "<html>404</html>\n", ""] {
        backup.rewrite(|_| text.to_owned());
        backup.run(&["restore", "--into", &copy]).exits(65);
        assert!(!postgres.exists(&copy));
    }
    // a file without a manifest is not guessed at
    let alone = backup.folder.path().join("alone.sql.gz");
    std::fs::write(&alone, &whole).unwrap();
    backup.run(&["restore", alone.to_str().unwrap(), "--into", &copy]).exits(64).says("has no manifest");
    assert_eq!(postgres.leftovers().matches(&database).count(), 0);
}

fn held_lock(postgres: &Postgres, database: &str) -> std::process::Child {
    use std::io::Write;
    let mut client = postgres.client("psql");
    client.args(["-Xqd", "postgres"]).stdin(std::process::Stdio::piped());
    let mut client = client.spawn().unwrap();
    let lock = format!("BEGIN; COMMENT ON DATABASE {database} IS 'held';\n");
    client.stdin.as_mut().unwrap().write_all(lock.as_bytes()).unwrap();
    wait_for("the lock", || {
        postgres.sql(
            "postgres",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND mode = 'ShareUpdateExclusiveLock'",
        ) != "0"
    });
    client
}

#[test]
fn a_swap_that_waits_is_given_up_whole_or_done_whole() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let (database, backup, live) = slow(&postgres);
    for name in ["TERM", "KILL"] {
        let mut lock = held_lock(&postgres, &database);
        let child = backup.spawn(&["restore", "--into", &database, "--replace", "--yes"]);
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%' AND wait_event_type = 'Lock'";
        wait_for("the swap to wait", || postgres.sql("postgres", waits) != "0");
        signal(&child, name);
        finish(child).exits(if name == "TERM" { 143 } else { -1 });
        if name == "TERM" {
            assert_eq!(postgres.sql("postgres", waits), "0", "the swap is still on its way");
        }
        drop(lock.stdin.take());
        lock.wait().unwrap();
        wait_for("the session to end", || postgres.sql("postgres", waits) == "0");
        assert_same_text(&postgres.picture(&database), &live);
        assert_eq!(postgres.leftovers().is_empty(), name == "TERM");
    }
    // a lock that is let go in time costs nothing
    let mut lock = held_lock(&postgres, &database);
    let child = backup.spawn(&["restore", "--into", &database, "--replace", "--yes"]);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%' AND wait_event_type = 'Lock'";
    wait_for("the swap to wait", || postgres.sql("postgres", waits) != "0");
    drop(lock.stdin.take());
    lock.wait().unwrap();
    finish(child).exits(0);
    assert_eq!(postgres.sql(&database, "SELECT count(*) FROM t"), "400000");
    assert_eq!(postgres.leftovers(), "");
}

#[test]
fn what_changes_while_a_restore_runs_is_seen_before_the_swap() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let (database, backup, live) = slow(&postgres);
    let empty = postgres.database("was_empty");
    let copy = format!("{database}_copy");
    let cases: [(&str, Vec<&str>, String); 4] = [
        (&copy, vec![], format!("CREATE DATABASE {copy}")),
        (&empty, vec![], "CREATE TABLE filled (a int)".to_owned()),
        (
            &database,
            vec!["--replace", "--yes"],
            "CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION p WITH (connect = false, slot_name = NONE)"
                .to_owned(),
        ),
        (&database, vec!["--replace", "--yes"], String::new()),
    ];
    for (into, arguments, change) in cases {
        let child = backup.spawn(&[&["restore", "--into", into], &arguments[..]].concat());
        postgres.wait_for_rows();
        if change.starts_with("CREATE DATABASE") {
            postgres.sql("postgres", &change);
        } else if change.is_empty() {
            postgres.sql("postgres", &format!("ALTER DATABASE {database} RENAME TO aside"));
            postgres.sql("postgres", &format!("CREATE DATABASE {database} TEMPLATE aside"));
        } else {
            postgres.sql(into, &change);
        }
        finish(child).exits(77).says("changed while the restore ran").says("it was left unchanged");
        if change.contains("SUBSCRIPTION") {
            postgres.sql(&database, "DROP SUBSCRIPTION s");
        }
        assert_eq!(postgres.leftovers(), "");
    }
    assert_same_text(&postgres.picture(&database), &live);
    // a session in the database that is being restored is nobody's business
    let child = backup.spawn(&["restore", "--into", "other"]);
    postgres.wait_for_rows();
    let intruder =
        postgres.client("psql").args(["-Xqd", "other_restoring", "-c", "SELECT pg_sleep(100)"]).spawn().unwrap();
    finish(child).exits(0);
    assert!(!finish_any(intruder));
    // and what takes the marked name meanwhile is not touched
    let child = backup.spawn(&["restore", "--into", "third"]);
    postgres.wait_for_rows();
    signal(&child, "STOP");
    postgres.sql("postgres", "DROP DATABASE third_restoring WITH (FORCE)");
    postgres.sql("postgres", &format!("CREATE DATABASE third_restoring TEMPLATE {empty}"));
    signal(&child, "CONT");
    assert_ne!(finish(child).code, 0);
    assert_eq!(postgres.sql("third_restoring", "SELECT count(*) FROM filled"), "0");
}

fn finish_any(mut child: std::process::Child) -> bool {
    child.wait().unwrap().success()
}

#[test]
fn names_of_every_length_come_back() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = postgres.database("names");
    postgres.sql(&database, "CREATE TABLE t AS SELECT 1 AS a");
    let backup = Backup::of(&postgres, &database);
    backup.run(&[]).exits(0);
    for name in ["n".repeat(53), "n".repeat(54), "n".repeat(62), "n".repeat(63), "ä".repeat(31), "🐘".repeat(15)] {
        for arguments in [&[][..], &["--replace", "--yes"]] {
            backup.run(&[&["restore", "--into", &name], arguments].concat()).exits(0);
            assert_eq!(postgres.sql(&name, "SELECT a FROM t"), "1");
        }
    }
    backup.run(&["restore", "--into", &"n".repeat(64)]).exits(64).says("1 to 63 bytes");
    assert_eq!(postgres.leftovers(), "");
}

#[test]
fn a_role_that_may_not_end_sessions_says_so_beforehand_and_secrets_are_not_shown() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    postgres.sql("postgres", "CREATE ROLE owner LOGIN CREATEDB PASSWORD 'x'; CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'x'; CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'boss secret'");
    postgres.sql("postgres", "CREATE DATABASE owned OWNER owner");
    postgres.shell("PGUSER=owner PGPASSWORD=x psql -Xq -d owned -c 'CREATE TABLE t AS SELECT 1 AS a'");
    let all = Backup::of(&postgres, "owned").set("BACKUP_GLOBALS", "true");
    all.run(&[]).exits(0);
    let owner = all.with("POSTGRES_USER", "owner").set("POSTGRES_PASSWORD", "x");
    let session = postgres.lock_table("owned");
    let restore = ["restore", "latest", "--database", "owned", "--into", "owned", "--replace", "--yes", "--disconnect"];
    owner.run(&restore).exits(77).says("POSTGRES_USER is not allowed to end 1 session of other roles");
    drop(session);
    owner.run(&restore).exits(0);
    // passwords are in the statements that fail
    postgres.sql("postgres", "DROP ROLE boss");
    let outcome = all
        .with("POSTGRES_USER", "maker")
        .set("POSTGRES_PASSWORD", "x")
        .set("LOG_LEVEL", "debug")
        .run(&["restore", "--globals"]);
    assert!(outcome.code == 77 && !outcome.log.contains("SCRAM-SHA"), "{}", outcome.log);
}

#[test]
fn a_server_is_not_taken_for_restored_when_a_part_of_it_is_missing() {
    let source = Postgres::start(&tool("PG_BIN"));
    for name in ["shop", "stock"] {
        source.sql("postgres", &format!("CREATE DATABASE {name}"));
        source.sql(name, "CREATE TABLE t AS SELECT 1 AS a");
    }
    let backup = Backup::of(&source, "postgres").set("BACKUP_DATABASES", "shop,stock");
    backup.run(&[]).exits(0);
    let (stock, _) = &backup.archives()["stock"];
    for ending in ["", ".json"] {
        std::fs::remove_file(format!("{}{ending}", stock.display())).unwrap();
    }
    // a later run of one database is not the server
    backup.run(&["run", "--database", "shop", "--type", "manual"]).exits(0);
    let server = Postgres::start(&tool("PG_BIN"));
    let there = backup.with("POSTGRES_PORT", &server.port.to_string());
    there.run(&["restore", "--cluster", "--dry-run"]).exits(0).says("MISSING").says("no good backup of stock");
    there.run(&["restore", "--cluster"]).exits(64).says("pass --yes");
    there.run(&["restore", "--cluster", "--yes"]).exits(0);
    assert_eq!(server.sql("shop", "SELECT a FROM t"), "1");
    // the second of two cannot be replaced: what became of the first is said
    let whole = Backup::of(&source, "postgres").set("BACKUP_MODE", "cluster");
    whole.run(&[]).exits(0);
    server.sql("postgres", "CREATE DATABASE stock");
    let mut lock = held_lock(&server, "stock");
    let outcome =
        whole.with("POSTGRES_PORT", &server.port.to_string()).run(&["restore", "--cluster", "--replace", "--yes"]);
    drop(lock.stdin.take());
    lock.wait().unwrap();
    let outcome = outcome.exits(1).says("1 of 2 restored");
    assert!(
        outcome.stdout.contains("shop is restored") && outcome.stdout.contains("to swap back"),
        "{}",
        outcome.stdout
    );
}
