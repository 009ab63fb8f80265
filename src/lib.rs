//! Backs up PostgreSQL: dump, compress, store, prune, prove, report.
//!
//! The rooms in the order in which data flows through them:
//!
//! settings → source → stream → storage → inventory → proof → report
//!
//! Whom each of them may know is a list in `tests/it/consistency.rs`; docs/architecture.md has the words, the ways and
//! the recipes.

// --- settings

/// What a setting is: name, kind, default, meaning; and the strings that were received.
pub mod settings;

/// The table of all settings, and the typed configuration that is read by it.
pub mod config;

// --- source

/// PostgreSQL: our own connections, and its own tools as child processes.
pub mod postgres;

/// Pure: what pg_dump writes, SQL and custom archive, read as it streams by.
pub mod dump_format;

// --- stream

/// The stream: dump → facts → gzip members → encryption → SHA-256 → every side at once.
pub mod pipeline;

/// Keys, and bytes encrypted to them.
pub mod encryption;

/// Pure: what is written beside an archive: the manifest, the facts, and the fingerprints of rows.
pub mod record;

// --- storage

/// Where bytes are kept: one contract, a registry of stores, and uploads in parts.
pub mod storage;

/// The backups of one store: begin, commit, read, remove, sweep.
pub mod repository;

// --- inventory

/// The backups of both sides: overview, status, retention, pruning, uploads.
pub mod inventory;

// --- proof

/// A stored archive into databases.
pub mod loader;

/// Proof that a backup restores: a scratch database, and the registry of checks that compare it.
pub mod verify;

/// What is in a backup and what changed between two, without a restore.
pub mod inspection;

/// Restoring: fresh databases, compared, in the place of what is there.
pub mod restore;

// --- report

/// Pure: what happened in a run.
pub mod report;

/// Notifications: a registry of services, each with its own file.
pub mod notify;

/// HTTP to services that people name, bounded and tried again.
pub mod delivery;

/// Numbers for Prometheus: a page, a file, a Pushgateway.
pub mod metrics;

// --- runs

/// The whole run: lock, preflight, dump and store, verify, prune, report.
pub mod job;

/// Pure: when runs are due.
pub mod schedule;

/// Runs by schedule, and a page, health and metrics over HTTP.
pub mod daemon;

/// The command line.
pub mod cli;

// --- what all of them use

/// Everything that ends a command early: whose matter it is, its exit code, and what a person can do.
pub mod error;

/// The wish to stop, and the times in which a stop is over.
pub mod shutdown;

/// Tasks that run beside a command, none of which outlives it.
pub mod background;

/// How far a stream has come.
pub mod progress;

/// Logs.
pub mod logging;

/// Pure: sizes, durations and names as people read them.
pub mod text;

/// Pure: bytes as hexadecimal digits.
pub mod hex;

/// The first process of a container.
pub mod init;
