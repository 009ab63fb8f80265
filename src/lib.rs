//! Backs up PostgreSQL: dump, compress, store, prune, tell.
//!
//! The modules in the order the data flows:
//!
//! settings → source → stream → storage → inventory → proof → report

/// Tasks that run beside a command, none of which outlives it.
pub mod background;
/// The command line.
pub mod cli;
/// What people may set, each variable once, checked before any work.
pub mod config;
/// Runs by schedule, and a page, health and metrics over HTTP.
pub mod daemon;
/// HTTP to services that people name, bounded and tried again.
pub mod delivery;
/// Pure: what pg_dump writes, SQL and custom archive, read as it streams by.
pub mod dump_format;
/// Keys, and bytes encrypted to them.
pub mod encryption;
/// Everything that ends a command early, and its exit code.
pub mod error;
/// Pure: bytes as hexadecimal digits.
pub mod hex;
/// The first process of a container.
pub mod init;
/// The backups of both sides: status, retention, pruning.
pub mod inventory;
/// The whole run, and the sending of what it left in the folder.
pub mod job;
/// Archives into databases.
pub mod loader;
/// Logs.
pub mod logging;
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
/// Pure: what is written beside an archive, manifest and facts.
pub mod record;
/// Pure: what happened in a run.
pub mod report;
/// Backups over one storage: begin, commit, list, remove, sweep.
pub mod repository;
/// Restoring: fresh databases, compared, in the place of what is there.
pub mod restore;
/// Pure: when runs are due.
pub mod schedule;
/// What a setting is, and the strings that were received.
pub mod settings;
/// The wish to stop, and why.
pub mod shutdown;
/// Where bytes are kept: one contract, several backends.
pub mod storage;
/// Pure: sizes, durations and names as people read them.
pub mod text;
/// Proof that a backup restores.
pub mod verify;
