//! Why a dump is not whole, and what that is known by.

use crate::dump_format::custom_archive::ArchiveError;
use std::io;
use std::process::ExitStatus;

/// Why a dump is not whole.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The program cannot be started.
    #[error("starting {program}: {cause}")]
    Spawn {
        /// Path of the program.
        program: String,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Its output cannot be read.
    #[error("reading the dump: {0}")]
    Read(io::Error),
    /// The child failed or was killed.
    #[error("{program} ended with {status}")]
    Exit {
        /// `pg_dump` or `pg_dumpall`.
        program: &'static str,
        /// Exit code or signal.
        status: ExitStatus,
        /// Last lines of its stderr.
        stderr: String,
    },
    /// The child exited 0 without the end-of-dump marker.
    #[error("{0} exited 0, but its output ends without the end-of-dump marker")]
    NoMarker(&'static str),
    /// Rows that another connection reads than that of pg_dump.
    #[error("reading the rows of {table}")]
    Rows {
        /// The table, as SQL names it.
        table: String,
        /// What the server or the network said.
        cause: String,
    },
    /// The session of pg_dump is gone before everything was read.
    #[error("the session that holds the locks was lost")]
    LeaderLost(String),
    /// What several connections read is not whole.
    #[error("{0}")]
    Relay(String),
    /// The child exited 0 and its archive does not parse to the end.
    #[error("pg_dump exited 0, but {0}")]
    Archive(#[from] ArchiveError),
}

/// What a standby says when it cannot keep the rows that a dump reads.
pub const CONFLICT: &str = "due to conflict with recovery";
/// What helps there.
pub const STANDBY: &str = "on the standby, raise max_standby_streaming_delay (and max_standby_archive_delay) or set \
                           hot_standby_feedback = on";

impl DumpError {
    /// Would a dump under a new snapshot help? True when objects vanished or changed while pg_dump looked at them.
    pub fn is_concurrent_change(&self) -> bool {
        const SIGNS: &[&str] = &[
            "could not open relation with OID",
            "cache lookup failed",
            "does not exist",
            "tuple concurrently",
            "was concurrently dropped",
            "could not find tuple",
            CONFLICT,
        ];
        self.stderr().is_some_and(|stderr| SIGNS.iter().any(|sign| stderr.contains(sign)))
    }

    /// True when the server did not take the password.
    pub(super) fn is_refused_login(&self) -> bool {
        self.stderr().is_some_and(|stderr| stderr.contains("authentication failed"))
    }

    /// True when the server had no room for another lock.
    pub fn is_out_of_locks(&self) -> bool {
        self.stderr().is_some_and(|stderr| stderr.contains("out of shared memory"))
    }

    /// True when the role lacks a privilege.
    pub fn is_permission(&self) -> bool {
        self.stderr().is_some_and(|stderr| stderr.contains("permission denied"))
    }

    /// Last lines of the child's stderr, or what the server said in its place.
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Exit { stderr, .. } | Self::Rows { cause: stderr, .. } | Self::LeaderLost(stderr) => Some(stderr),
            _ => None,
        }
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<&'static str> {
        let stderr = self.stderr()?;
        let hints = [
            (CONFLICT, STANDBY),
            ("permission denied", "grant the role SELECT on it (pg_read_all_data reads everything)"),
            ("out of shared memory", "raise max_locks_per_transaction on the server"),
            ("LOCK TABLE", "another session holds a table lock; raise BACKUP_LOCK_TIMEOUT or run at another time"),
            ("row-level security", "grant the role BYPASSRLS, or back up as the tables' owner"),
            ("no matching tables", "check BACKUP_EXCLUDE_TABLES and PG_DUMP_EXTRA_ARGS"),
            ("unrecognized option", "check PG_DUMP_EXTRA_ARGS"),
            ("invalid option", "check PG_DUMP_EXTRA_ARGS"),
        ];
        hints.iter().find(|(sign, _)| stderr.contains(sign)).map(|(_, hint)| *hint)
    }
}
