//! PostgreSQL: our own connections, and PostgreSQL's own tools as child processes.

pub mod catalog;
mod cause;
pub mod cluster;
pub mod command;
pub mod connection;
pub mod constraints;
pub mod contents;
pub mod dump;
pub mod extensions;
pub mod foresight;
mod libpq;
pub mod load;
pub mod loading;
pub mod lock;
mod materialized;
mod migrations;
mod passfile;
mod pooler;
pub mod privileges;
pub mod properties;
pub mod relay;
pub mod restore;
mod roles_in_rows;
pub mod schema;
pub mod scratch;
pub mod session;
pub mod snapshot;
mod startup;
pub mod table_rows;
pub mod target;
mod tls;
pub mod tools;
pub mod waits;
mod wire;

pub use cause::cause;

/// Longest name of a database or any other object, in bytes; the server cuts longer ones.
pub const LONGEST_NAME: usize = 63;

/// Name of a run's sessions, by which others see that it lives.
pub fn application(run_id: &str) -> String {
    format!("backup {run_id}")
}

/// The run that a session of that name belongs to.
pub fn run_of(application: &str) -> Option<&str> {
    application.strip_prefix("backup ")
}

/// What the comment of a scratch database, and of a role made for it, begins with; the run's id and its source follow.
const MARK: &str = "scratch of backup run ";
/// What a scratch database is called until it has its comment; the run's id follows.
const UNMARKED: &str = "backup_scratch_";

/// SQL: a row of `pg_database` is a scratch database of whatever source, whose run may drop it at any time.
fn is_scratch(row: &str) -> String {
    let comment = format!("coalesce(pg_catalog.shobj_description({row}.oid, 'pg_database'), '')");
    let (name, length) = (format!("{row}.datname::text"), UNMARKED.len() + 32);
    format!(
        "(pg_catalog.starts_with({comment}, '{MARK}') OR CASE
          WHEN pg_catalog.starts_with({name}, '{UNMARKED}') AND pg_catalog.octet_length({name}) = {length}
          THEN pg_catalog.substr({name}, {}) ~ '^[0-9a-f]*$' ELSE false END)",
        UNMARKED.len() + 1
    )
}
