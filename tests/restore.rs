//! Restoring: what was there is back, what is there stays until everything matched.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::PathBuf;
use support::backup::{Backup, finish};
use support::postgres::{Postgres, shared};
use support::{assert_same_text, s3, tool, wait_for};

fn sql_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn every_kind(postgres: &Postgres, prefix: &str) -> String {
    let database = postgres.database(prefix);
    postgres.run_file(&database, &sql_file("sql/every_kind.sql"));
    // what follows another server is another test's
    postgres.sql(&database, "ALTER SUBSCRIPTION from_nowhere SET (slot_name = NONE)");
    postgres.sql(&database, "DROP SUBSCRIPTION from_nowhere");
    database
}

/// What is known of a database: its dump, and its properties.
fn picture(postgres: &Postgres, database: &str) -> String {
    let dump = postgres.dump("pg_dump", database, &[]);
    let properties = format!(
        "SELECT pg_get_userbyid(datdba), datacl, encoding, datcollate, datconnlimit, shobj_description(oid, 'pg_database'),
                (SELECT array_agg(setconfig ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = oid)
         FROM pg_database WHERE datname = $x${database}$x$"
    );
    dump + &postgres.sql("postgres", &properties)
}

/// Databases of the server that a restore made for the time being.
fn leftovers(postgres: &Postgres) -> String {
    let question = "SELECT coalesce(string_agg(datname, ','), '') FROM pg_database
                    WHERE shobj_description(oid, 'pg_database') LIKE 'scratch of backup run%' OR datname ~ '^backup_scratch_'";
    postgres.sql("postgres", question)
}

fn exists(postgres: &Postgres, database: &str) -> bool {
    postgres.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname = $x${database}$x$")) == "1"
}

/// The database that a restore has put aside.
fn before(postgres: &Postgres, database: &str) -> String {
    let name =
        postgres.sql("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE '{database}_before_%'"));
    assert!(!name.is_empty() && !name.contains('\n'), "not one database before: {name:?}");
    name
}

#[test]
fn a_database_comes_back_under_a_new_name_in_every_form() {
    let postgres = shared();
    for (format, encrypted, target) in
        [("plain", false, "local"), ("custom", false, "local"), ("plain", true, "remote"), ("custom", true, "remote")]
    {
        let database = every_kind(postgres, "new");
        postgres.sql("postgres", &format!("COMMENT ON DATABASE {database} IS 'ours'; ALTER DATABASE {database} SET work_mem = '7MB'; ALTER DATABASE {database} CONNECTION LIMIT 9"));
        let mut backup = Backup::of(postgres, &database).set("BACKUP_FORMAT", format).to(
            target,
            &s3::shared().endpoint(),
            &s3::fresh_prefix(),
        );
        if encrypted {
            let (key, public) = support::age_keys(backup.folder.path(), "key.txt");
            backup = backup.set("AGE_RECIPIENTS", &public).set("AGE_IDENTITY_FILE", &key);
        }
        backup.run(&[]).exits(0);
        let copy = format!("{database}_copy");
        let outcome = backup.run(&["restore", "latest", "--into", &copy]).exits(0);
        assert!(
            outcome.stdout.contains("content fingerprints") && !outcome.stdout.contains("FAILED"),
            "{}",
            outcome.stdout
        );
        assert_same_text(&picture(postgres, &copy).replace(&copy, &database), &picture(postgres, &database));
        // a second time it is there already
        backup.run(&["restore", "--into", &copy]).exits(64).says("exists and is not empty; --replace");
        assert_eq!(leftovers(postgres).matches(&database).count(), 0);
    }
}

#[test]
fn an_empty_database_is_filled_and_leaves_nothing_behind() {
    let postgres = shared();
    let database = every_kind(postgres, "fill");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let empty = postgres.database("empty");
    backup.run(&["restore", "--into", &empty]).exits(0);
    assert_same_text(&postgres.dump("pg_dump", &empty, &[]), &postgres.dump("pg_dump", &database, &[]));
    assert_eq!(
        postgres.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{empty}_%'")),
        "0"
    );
}

#[test]
fn a_full_database_is_replaced_on_demand_and_kept_and_can_be_swapped_back() {
    let postgres = shared();
    let database = every_kind(postgres, "swap");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let good = picture(postgres, &database);
    postgres.sql(&database, "CREATE TABLE made_later (a int); COMMENT ON TABLE made_later IS 'x'");
    let later = picture(postgres, &database);
    backup.run(&["restore", "--into", &database]).exits(64).says("--replace");
    backup.run(&["restore", "--into", &database, "--replace"]).exits(64).says("say --yes");
    assert_same_text(&picture(postgres, &database), &later);
    let planned =
        backup.run(&["restore", "--into", &database, "--replace", "--dry-run"]).exits(0).says("which stays as");
    assert!(planned.stdout.contains("replace"));
    assert_same_text(&picture(postgres, &database), &later);
    let outcome = backup.run(&["restore", "--into", &database, "--replace", "--yes"]).exits(0);
    assert_same_text(&picture(postgres, &database), &good);
    let old = before(postgres, &database);
    assert_same_text(&picture(postgres, &old).replace(&old, &database), &later);
    // the printed way back
    let back = outcome.stdout.lines().find_map(|line| line.strip_prefix("to swap back: ")).unwrap();
    postgres.shell(&format!("psql -Xq -v ON_ERROR_STOP=1 -d postgres -c '{}'", back.replace("; ", "' -c '")));
    assert_same_text(&picture(postgres, &database), &later);
}
