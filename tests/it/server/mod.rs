//! A whole server: every database found, each safe for itself, roles and tablespaces too, and all of it back on an empty
//! server.

mod cluster;
mod selection;
mod shards;

use crate::support::backup::Backup;
use crate::support::postgres::Postgres;
use crate::support::tool;
use std::path::PathBuf;

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
