//! Backs up PostgreSQL: dump, compress, store, prune, tell.
//!
//! The modules in the order the data flows:
//!
//! settings → source → stream → storage → catalogue → retention → proof → report

/// The command line.
pub mod cli;
/// What people may set, each variable once, checked before any work.
pub mod config;
/// Pure: pg_dump's custom archive, read as it streams by.
pub mod custom_archive;
/// Runs by schedule, and a page, health and metrics over HTTP.
pub mod daemon;
/// HTTP to services that people name, bounded and tried again.
pub mod delivery;
/// Pure: the options of pg_dump, and what follows from each.
pub mod dump_options;
/// Keys, and bytes encrypted to them.
pub mod encryption;
/// Everything that ends a command early, and its exit code.
pub mod error;
/// Pure: what is known of a backup's content.
pub mod facts;
/// Pure: the rows of a table as one number.
pub mod fingerprint;
/// Pure: bytes as hexadecimal digits.
pub mod hex;
/// Pure: sizes, durations and names as people read them.
pub mod human;
/// The first process of a container.
pub mod init;
/// Pure: the backups of both sides as one list.
pub mod inventory;
/// The whole run, and the sending of what it left in the folder.
pub mod job;
/// What must not be left when a command has ended.
pub mod leftovers;
/// Pure: the record that makes a backup exist, written last.
pub mod manifest;
/// Numbers for Prometheus.
pub mod metrics;
/// Telling people.
pub mod notify;
/// The stream: source → facts → gzip → encryption → digest → targets.
pub mod pipeline;
/// PostgreSQL: our own connections, and its own tools as child processes.
pub mod postgres;
/// How far a stream has come.
pub mod progress;
/// Pure: what happened in a run.
pub mod report;
/// Backups over one storage: begin, commit, list, remove, sweep.
pub mod repository;
/// Restoring: fresh databases, compared, in the place of what is there.
pub mod restore;
/// Pure: a dump as SQL on its way into psql.
pub mod restore_filter;
/// Pure: which backups may go, and why each stays or goes.
pub mod retention;
/// Pure: when runs are due.
pub mod schedule;
/// Pure: databases that lost most of their rows since the last backup before.
pub mod shrink;
/// The wish to stop, and why.
pub mod shutdown;
/// Pure: SQL as psql reads it, as it streams by.
pub mod sql_lexer;
/// Pure: how well each database is kept.
pub mod status;
/// Where bytes are kept: one contract, several backends.
pub mod storage;
/// The folder and the store that the settings name, opened.
pub mod targets;
/// Logs.
pub mod telemetry;
/// Proof that a backup restores.
pub mod verify;
