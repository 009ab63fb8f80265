//! Backs up PostgreSQL: dump, compress, store, prune, tell.
//!
//! The modules in the order the data flows:
//!
//! settings → source → stream → storage → catalogue → retention → report

/// What people may set, each variable once, checked before any work.
pub mod config;
/// PostgreSQL: our own connections, and its own tools as child processes.
pub mod postgres;
/// Pure: pg_dump's custom archive, read as it streams by.
pub mod custom_archive;
/// Pure: what is known of a backup's content.
pub mod facts;
/// The stream: source → gzip → digest → targets.
pub mod pipeline;
/// Where bytes are kept: one contract, several backends.
pub mod storage;
/// Pure: the record that makes a backup exist, written last.
pub mod manifest;
/// Backups over one storage: begin, commit, list, remove, sweep.
pub mod repository;
/// Pure: which backups may go, and why each stays or goes.
pub mod retention;
/// Pure: what happened in a run.
pub mod report;
/// Telling people.
pub mod notify;
/// How far a stream has come.
pub mod progress;
/// Logs.
pub mod telemetry;
/// The wish to stop, and why.
pub mod shutdown;
/// Everything that ends a command early, and its exit code.
pub mod error;
/// The whole run.
pub mod job;
/// The command line.
pub mod cli;
