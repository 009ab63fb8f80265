//! PostgreSQL: our own connections, and PostgreSQL's own tools as child processes.

pub mod catalog;
mod cause;
pub mod cluster;
pub mod command;
pub mod connection;
pub mod contents;
pub mod dump;
mod libpq;
pub mod lock;
mod migrations;
mod passfile;
pub mod privileges;
pub mod properties;
pub mod restore;
pub mod schema;
pub mod scratch;
pub mod snapshot;
mod tls;
pub mod tools;

pub use cause::cause;

/// Name of a run's sessions, by which others see that it lives.
pub fn application(run_id: &str) -> String {
    format!("backup {run_id}")
}

/// The run that a session of that name belongs to.
pub fn run_of(application: &str) -> Option<&str> {
    application.strip_prefix("backup ")
}
