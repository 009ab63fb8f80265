//! Whether a dump that failed is tried once more, and how.

use super::run::Attempt;
use crate::error::{Error, SourceError};
use crate::postgres::cluster::ClusterError;
use crate::postgres::connection::ConnectError;
use crate::postgres::dump::{CONFLICT, DumpError};
use crate::record::facts::Subject;
use tokio_postgres::error::SqlState;

/// How it is tried again, and what is said of it; none where that would not help.
pub(super) fn again(error: &Error, subject: &Subject) -> Option<(Attempt, &'static str)> {
    let lenient = Attempt { lenient: true, ..Attempt::default() };
    let is_gone = *subject == Subject::Cluster && matches!(error, Error::Source(SourceError::NoDatabase(_)));
    if is_out_of_locks(error) {
        return Some((Attempt { alone: true, ..Attempt::default() }, "trying once more with no other dump running"));
    }
    if is_conflict(error) {
        return Some((lenient, "the standby had to remove rows that the dump was reading; trying once more"));
    }
    // a database that is gone from the list is no part of the whole server any more
    (is_gone || is_concurrent_change(error)).then_some((lenient, "objects changed during the dump; trying once more"))
}

/// The error of pg_dump, where it is one.
fn of_dump(error: &Error) -> Option<&DumpError> {
    match error {
        Error::Source(SourceError::Dump(error))
        | Error::Source(SourceError::Cluster(ClusterError::Dump { cause: error, .. })) => Some(error),
        _ => None,
    }
}

/// The server had no room for another lock.
fn is_out_of_locks(error: &Error) -> bool {
    match error {
        Error::Source(SourceError::Query(error)) | Error::Source(SourceError::Cluster(ClusterError::Query(error))) => {
            error.code() == Some(&SqlState::OUT_OF_MEMORY)
        }
        error => of_dump(error).is_some_and(DumpError::is_out_of_locks),
    }
}

/// A standby cannot keep the rows that a dump reads for ever.
fn is_conflict(error: &Error) -> bool {
    match error {
        Error::Source(SourceError::SnapshotLost { why, error }) => why.contains(CONFLICT) || is_conflict(error),
        error => error.stderr().is_some_and(|stderr| stderr.contains(CONFLICT)),
    }
}

/// Objects, or a whole database, vanished or changed while the dump looked at them.
fn is_concurrent_change(error: &Error) -> bool {
    match error {
        Error::Source(SourceError::Cluster(
            ClusterError::Connect(ConnectError::NoDatabase { .. }) | ClusterError::Rewritten(_),
        ))
        | Error::Source(SourceError::Rewritten(_))
        | Error::Source(SourceError::SnapshotLost { .. })
        | Error::Source(SourceError::Replaced(_)) => true,
        // what the catalogue names is gone when it is looked at
        Error::Source(SourceError::Query(error)) | Error::Source(SourceError::Cluster(ClusterError::Query(error))) => {
            error.code().is_some_and(|code| {
                *code == SqlState::INTERNAL_ERROR
                    || *code == SqlState::UNDEFINED_TABLE
                    || *code == SqlState::UNDEFINED_OBJECT
            })
        }
        error => of_dump(error).is_some_and(DumpError::is_concurrent_change),
    }
}
