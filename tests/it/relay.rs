//! Several connections read the rows of one database: the archive is what pg_dump alone writes, and a fault on any of them
//! is a failure or is made good for, and never a short archive.

use crate::support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::backup::{Backup, finish};
use support::postgres::{Postgres, shared};
use support::{assert_same_text, tool, wait_for};

/// Tables that are read in several ranges of pages, with rows in TOAST, rows that are gone, and pages without any.
const LARGE: &str = "
    CREATE TABLE wide (id int PRIMARY KEY, note text, more text);
    ALTER TABLE wide ALTER more SET STORAGE EXTERNAL;
    INSERT INTO wide SELECT n, 'row ' || n, CASE WHEN n % 500 = 0 THEN repeat(md5(n::text), 3000) END FROM generate_series(1, 60000) n;
    DELETE FROM wide WHERE id % 7 = 0 OR id BETWEEN 20000 AND 30000;
    CREATE TABLE \"Lo ng\" (\"co l\" int, \"(\" text DEFAULT ');'); INSERT INTO \"Lo ng\" SELECT n, md5(n::text) FROM generate_series(1, 150000) n;
    CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
    CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 1000) a;
    CREATE TABLE made (a int, b int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO made SELECT generate_series(1, 1000);
    CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3);
    CREATE TABLE split (a int) PARTITION BY HASH (a);
    CREATE TABLE split_0 PARTITION OF split FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE split_1 PARTITION OF split FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO split SELECT generate_series(1, 100000);
    CREATE TABLE guarded (a int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; INSERT INTO guarded VALUES (1);
    SELECT lo_from_bytea(0, convert_to(repeat('large', 10000), 'UTF8'));
    CREATE TABLE t (a int); INSERT INTO t VALUES (1)";

fn large(postgres: &Postgres) -> String {
    let database = postgres.database("large");
    postgres.sql(&database, LARGE);
    database
}

/// The same with so many rows that something can be done while they are read.
fn longer(postgres: &Postgres) -> String {
    let database = large(postgres);
    postgres.sql(
        &database,
        "INSERT INTO wide SELECT n, repeat(md5(n::text), 20), NULL FROM generate_series(100000, 400000) n",
    );
    database
}

fn sql_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn content(archive: &Path) -> String {
    let output = Command::new("gunzip").arg("-c").arg(archive).output().unwrap();
    assert!(output.status.success());
    without_keys(&String::from_utf8(output.stdout).unwrap())
}

/// The script without the words that pg_dump makes up each time.
fn without_keys(script: &str) -> String {
    let is_key = |line: &&str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
    script.lines().filter(|line| !is_key(line)).collect::<Vec<_>>().join("\n")
}

/// Compared without showing megabytes.
fn assert_alike(got: &str, expected: &str, what: &str) {
    if got != expected {
        let at = got.lines().zip(expected.lines()).position(|(got, expected)| got != expected);
        let line =
            |text: &str| at.and_then(|at| text.lines().nth(at)).map(|line| line.chars().take(200).collect::<String>());
        panic!(
            "{what}: {} bytes for {}, line {at:?}: {:?} for {:?}",
            got.len(),
            expected.len(),
            line(got),
            line(expected)
        );
    }
}

#[test]
fn the_archive_is_byte_for_byte_what_pg_dump_alone_writes() {
    let newest = Postgres::start(&tool("PG18_BIN"));
    for postgres in [shared(), &newest] {
        let database = large(postgres);
        postgres.run_file(&database, &sql_file("sql/every_kind.sql"));
        let alone = postgres.dump("pg_dump", &database, &[]);
        for connections in ["2", "4", "16"] {
            let backup =
                Backup::of(postgres, &database).set("BACKUP_CONNECTIONS", connections).set("LOG_LEVEL", "debug");
            let outcome = backup.run(&[]).exits(0);
            assert!(!outcome.log.contains("one connection reads"), "{}", outcome.log);
            assert_alike(&content(&backup.archive()), &alone, connections);
            if connections == "4" {
                // what the facts say of the rows is what comes back
                backup.verify(&[], 0);
            }
        }
    }
}

#[test]
fn a_dump_beside_writers_shows_one_moment() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = large(&postgres);
    let mut pgbench = postgres.client("pgbench");
    assert!(pgbench.args(["-i", "-q", "-s", "5", &database]).status().unwrap().success());
    // whoever has taken a snapshot waits for this table
    let lock = postgres.lock_table(&database);
    let backup = Backup::of(&postgres, &database).set("BACKUP_CONNECTIONS", "4");
    let run = backup.spawn(&[]);
    lock.wait_for_waiter();
    let snapshots = std::fs::read_dir(postgres.path("data/pg_snapshots")).unwrap();
    let snapshot = snapshots.map(|entry| entry.unwrap().file_name().into_string().unwrap()).next().unwrap();
    let mut writers = postgres.client("pgbench");
    let mut writers =
        writers.args(["-n", "-c", "2", "-T", "60", &database]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let changed = || postgres.sql(&database, "SELECT count(*) FROM pgbench_history").trim() != "0";
    wait_for("something to be written", changed);
    let mut alone = postgres.client("pg_dump");
    let alone = alone
        .args(["-d", &database, &format!("--snapshot={snapshot}")])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("pg_dump to wait as well", || postgres.sql(&database, WAITING) == "2");
    drop(lock);
    let alone = alone.wait_with_output().unwrap();
    assert!(alone.status.success());
    finish(run).exits(0);
    writers.kill().unwrap();
    writers.wait().unwrap();
    assert_alike(&content(&backup.archive()), &without_keys(&String::from_utf8(alone.stdout).unwrap()), "pgbench");
}

#[test]
fn what_is_selected_and_how_does_not_matter() {
    let postgres = shared();
    let database = large(postgres);
    let connections = Backup::of(postgres, &database).set("BACKUP_CONNECTIONS", "4");
    for (name, value, arguments) in [
        ("BACKUP_EXCLUDE_TABLES", "public.parent,public.child", &["-T", "public.parent", "-T", "public.child"][..]),
        ("BACKUP_EXCLUDE_TABLE_DATA", "public.wide", &["--exclude-table-data=public.wide"]),
        ("PG_DUMP_EXTRA_ARGS", "--load-via-partition-root", &["--load-via-partition-root"]),
        ("PG_DUMP_EXTRA_ARGS", "--quote-all-identifiers", &["--quote-all-identifiers"]),
        ("PG_DUMP_EXTRA_ARGS", "--encoding=LATIN1", &["--encoding=LATIN1"]),
    ] {
        let backup = Backup::of(postgres, &database).set("BACKUP_CONNECTIONS", "4").set(name, value);
        backup.run(&[]).exits(0);
        let alone = postgres.dump("pg_dump", &database, arguments);
        assert_alike(&content(&backup.archive()), &alone, value);
    }
    // formats and modes in which pg_dump or the server decide otherwise
    connections.with("BACKUP_FORMAT", "custom").run(&[]).exits(0).says("one connection reads the rows");
    let (_, recipient) = support::age_keys(&connections.path(), "key");
    connections.with("AGE_RECIPIENTS", &recipient).run(&[]).exits(0);
}

#[test]
fn a_database_in_another_encoding_keeps_its_bytes() {
    let postgres = &Postgres::start(&tool("PG_BIN"));
    for (encoding, name) in [("LATIN1", "tablé"), ("EUC_JP", "表"), ("SQL_ASCII", "table")] {
        postgres.sql(
            "postgres",
            &format!("CREATE DATABASE {encoding} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"),
        );
        let database = encoding.to_lowercase();
        let made = format!(
            "CREATE TABLE \"{name}\" (\"{name}\" text, n int);
             INSERT INTO \"{name}\" SELECT '{name}' || n, n FROM generate_series(1, 400000) n"
        );
        let mut client = postgres.client("psql");
        client.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", &database, "-c", &made]).env("PGCLIENTENCODING", "UTF8");
        assert!(client.status().unwrap().success(), "{encoding}");
        if encoding == "SQL_ASCII" {
            postgres.sql(&database, "INSERT INTO \"table\" VALUES (E'\\xe9\\xff', 0)");
            // names that are no text are read by the session of pg_dump
            let script = postgres.private_file("odd.sql", "");
            let odd = b"CREATE TABLE \"a\xe9\" (a int); INSERT INTO \"a\xe9\" VALUES (1), (2); CREATE TABLE \"z\xe9\" (\"\xe9\" int); INSERT INTO \"z\xe9\" VALUES (3)";
            std::fs::write(&script, odd).unwrap();
            postgres.run_file(&database, Path::new(&script));
        }
        let backup = Backup::of(postgres, &database).set("BACKUP_CONNECTIONS", "3");
        backup.run(&[]).exits(0);
        let ours = postgres.shell(&format!("gunzip -c {} | grep -v restrict | md5sum", backup.archive().display()));
        let alone = postgres.shell(&format!("pg_dump -d {database} | grep -v restrict | md5sum"));
        assert_same_text(&ours, &alone);
        backup.verify(&[], 0);
    }
}

const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted";

#[test]
fn values_that_a_setting_of_the_database_writes_in_another_way_are_as_pg_dump_writes_them() {
    let postgres = shared();
    let database = large(postgres);
    let settings = [
        "quote_all_identifiers = on",
        "IntervalStyle = 'iso_8601'",
        "DateStyle = 'German'",
        "bytea_output = 'escape'",
        "lc_monetary = 'C'",
        "xmlbinary = 'hex'",
        "extra_float_digits = -5",
        "timezone = 'Asia/Tokyo'",
        "default_transaction_isolation = 'serializable'",
        "enable_seqscan = off",
        "force_parallel_mode = on",
    ];
    for setting in settings {
        postgres.sql("postgres", &format!("ALTER DATABASE {database} SET {setting}"));
    }
    postgres.sql(
        &database,
        "CREATE TABLE odd AS SELECT n, 'pg_class'::regclass AS r, '\\x00ff'::bytea AS b, n / 3.0::float8 AS f, now() AS t, n * interval '1 hour' AS i, '12.34'::money AS m
         FROM generate_series(1, 100000) n",
    );
    let backup = Backup::of(postgres, &database).set("BACKUP_CONNECTIONS", "4");
    backup.run(&[]).exits(0);
    let ours = postgres.shell(&format!("gunzip -c {} | grep -v restrict | md5sum", backup.archive().display()));
    let options = "-c TimeZone=UTC -c bytea_output=hex -c standard_conforming_strings=on";
    let alone =
        postgres.shell(&format!("PGTZ=UTC PGOPTIONS='{options}' pg_dump -d {database} | grep -v restrict | md5sum"));
    assert_same_text(&ours, &alone);
}

/// Sessions that read rows.
const READERS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backup rows' AND query LIKE 'COPY%'";

#[test]
fn whoever_waits_for_a_lock_holds_nobody_up_and_nothing_is_missing() {
    let postgres = &Postgres::start(&tool("PG_BIN"));
    let database = large(postgres);
    let alone = postgres.dump("pg_dump", &database, &[]);
    let backup = Backup::of(postgres, &database).set("BACKUP_CONNECTIONS", "4").set("LOG_LEVEL", "debug");
    // pg_dump has the locks of all the others when it waits for this one
    let lock = postgres.lock_table(&database);
    let run = backup.spawn(&[]);
    lock.wait_for_waiter();
    let mut wants = postgres.client("psql");
    let mut wants = wants.args(["-Xqd", &database, "-c", "ALTER TABLE wide ADD late int"]).spawn().unwrap();
    wait_for("somebody to want a table for himself", || postgres.sql(&database, WAITING) == "2");
    drop(lock);
    finish(run).exits(0).says("left to the session of pg_dump");
    assert!(wants.wait().unwrap().success());
    assert_alike(&content(&backup.archive()), &alone, "locked");
}

#[test]
fn a_connection_that_is_refused_is_one_less() {
    let mut postgres = Postgres::prepare(&tool("PG_BIN"));
    postgres.launch();
    let database = large(&postgres);
    let alone = postgres.dump("pg_dump", &database, &["--no-blobs"]);
    postgres.sql("postgres", "CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 4; GRANT pg_read_all_data TO few; ALTER ROLE few BYPASSRLS");
    let backup = Backup::of(&postgres, &database)
        .set("POSTGRES_USER", "few")
        .set("POSTGRES_PASSWORD", "few")
        .set("BACKUP_CONNECTIONS", "8")
        .set("PG_DUMP_EXTRA_ARGS", "--no-blobs");
    backup.run(&[]).exits(0).says("rows are read over one connection fewer");
    assert_alike(&content(&backup.archive()), &alone, "few connections");
}

#[test]
fn a_connection_that_is_lost_fails_the_dump_and_leaves_nothing() {
    let postgres = &Postgres::start(&tool("PG_BIN"));
    let database = longer(postgres);
    let of_reader = "application_name = 'backup rows' AND query LIKE 'COPY%ctid%' AND state = 'active'";
    // pg_dump is in the middle of them when its session ends
    postgres.sql(
        &database,
        "DO $$ BEGIN FOR n IN 1..3000 LOOP EXECUTE format('CREATE TABLE many_%s (a int)', n); END LOOP; END $$",
    );
    // that of pg_dump sleeps in its transaction while others read
    let of_leader = format!(
        "application_name = 'backup pg_dump' AND state = 'idle in transaction' AND EXISTS
         (SELECT FROM pg_stat_activity WHERE {of_reader})"
    );
    for which in [of_reader, &of_leader] {
        let backup = Backup::of(postgres, &database).set("BACKUP_CONNECTIONS", "3");
        let run = backup.spawn(&[]);
        let kill = format!(
            "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE {which} LIMIT 1) AS ended"
        );
        wait_for("a session to end", || postgres.sql(&database, &kill) != "0");
        let outcome = finish(run);
        assert_ne!(outcome.code, 0, "{}", outcome.log);
        assert_eq!(backup.files_but_notes(), [] as [String; 0], "{}", outcome.log);
        assert_eq!(
            postgres.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backup%'"),
            "0"
        );
    }
}

#[test]
fn a_stop_in_the_middle_leaves_neither_files_nor_sessions_nor_a_socket() {
    let postgres = &Postgres::start(&tool("PG_BIN"));
    let database = longer(postgres);
    let backup = Backup::of(postgres, &database).set("BACKUP_CONNECTIONS", "3");
    let backup = backup.with("TMPDIR", &backup.path().display().to_string());
    let folders = || {
        let names = std::fs::read_dir(backup.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("backup-relay-")).collect::<Vec<_>>()
    };
    let stop = |signal: &str| {
        let run = backup.spawn(&[]);
        wait_for("rows to be read", || postgres.sql(&database, READERS).parse::<u32>().unwrap() > 1);
        support::signal(&run, signal);
        finish(run)
    };
    stop("KILL");
    let [left] = &folders()[..] else { panic!("{:?}", folders()) };
    // as if that had been a while ago
    let folder = std::fs::File::open(backup.path().join(left)).unwrap();
    folder.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(60)).unwrap();
    stop("TERM").exits(143);
    assert_eq!(folders(), [] as [&str; 0]);
    assert_eq!(backup.files_but_notes(), [] as [String; 0]);
    wait_for("the sessions to end", || {
        postgres.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backup%'") == "0"
    });
}
