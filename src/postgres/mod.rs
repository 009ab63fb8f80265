//! PostgreSQL: our own connections, and PostgreSQL's own tools as child processes.

pub mod catalog;
mod cause;
pub mod cluster;
pub mod command;
pub mod connection;
pub mod dump;
pub mod lock;
mod migrations;
mod passfile;
pub mod privileges;
pub mod schema;
pub mod snapshot;
mod tls;
pub mod tools;

pub use cause::cause;
