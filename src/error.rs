//! Everything that ends a command early, and the exit code each of it means.

use crate::config::Problems;
use crate::pipeline::StreamError;
use crate::postgres::connection::ConnectError;
use crate::postgres::dump::DumpError;
use crate::postgres::lock::LockError;
use crate::postgres::snapshot::SnapshotError;
use crate::postgres::tools::ToolError;
use crate::shutdown::Stop;
use crate::storage::StorageError;

/// Exit codes; `podFailurePolicy` depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// Some of it was done; what was done is safe.
    Partly = 1,
    /// Bad command line.
    Usage = 64,
    /// Corrupt backup or failed verification.
    Corrupt = 65,
    /// Database or storage unreachable after all retries.
    Unreachable = 69,
    /// Bug in this program.
    Bug = 70,
    /// Dump, disk or upload failed.
    Failed = 74,
    /// Another run holds the lock.
    Locked = 75,
    /// Authentication or permission.
    Refused = 77,
    /// Bad configuration.
    Config = 78,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

/// What ended a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The command line asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The lock is not ours.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A question to the database failed.
    #[error("asking the database: {0}")]
    Query(#[from] tokio_postgres::Error),
    /// No fitting client tools.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The role may not read everything.
    #[error("the role {role} may not read {objects}; grant it pg_read_all_data, or exclude them")]
    Unreadable {
        /// `POSTGRES_USER`.
        role: String,
        /// What it may not read.
        objects: String,
    },
    /// The disk will not do.
    #[error("{free} are free in {place}, and the last backup took {needed}; free some space or move BACKUP_DIR")]
    NoSpace {
        /// Folder.
        place: String,
        /// Free space, for people.
        free: String,
        /// Size of the last backup, for people.
        needed: String,
    },
    /// The dump is not whole.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The stream broke.
    #[error(transparent)]
    Stream(StreamError),
    /// A target failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Several targets failed, each for its own reason.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Targets(Vec<Error>),
    /// It was time to stop.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// A file of our own could not be read or written.
    #[error("{0}")]
    Io(String),
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Source(source) => match source.downcast::<DumpError>() {
                Ok(dump) => Self::Dump(dump),
                Err(source) => Self::Stream(StreamError::Source(source)),
            },
            other => Self::Stream(other),
        }
    }
}

impl Error {
    /// The exit code, as the contract lists them.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config,
            Self::Usage(_) => Exit::Usage,
            Self::Connect(error)
            | Self::Lock(LockError::Connect(error))
            | Self::Snapshot(SnapshotError::Connect(error)) => match error {
                ConnectError::Unreachable { .. } => Exit::Unreachable,
                ConnectError::Refused { .. } => Exit::Refused,
                ConnectError::Misconfigured { .. } | ConnectError::TlsFile(_) => Exit::Config,
            },
            Self::Lock(LockError::Taken { .. }) => Exit::Locked,
            Self::Lock(LockError::Query(_)) | Self::Snapshot(SnapshotError::Query(_)) | Self::Query(_) => {
                Exit::Unreachable
            }
            Self::Tool(_) => Exit::Config,
            Self::Unreadable { .. } => Exit::Refused,
            Self::Dump(error) if error.is_permission() => Exit::Refused,
            Self::Dump(_) | Self::Stream(_) | Self::NoSpace { .. } | Self::Io(_) => Exit::Failed,
            Self::Storage(error) => match error {
                StorageError::Unavailable { .. } | StorageError::Missing { .. } => Exit::Unreachable,
                StorageError::Refused { .. } => Exit::Refused,
                StorageError::NotFound { .. }
                | StorageError::AlreadyExists { .. }
                | StorageError::Stalled { .. }
                | StorageError::Failed { .. } => Exit::Failed,
            },
            Self::Targets(errors) => common(errors.iter().map(Self::exit)),
            Self::Stopped(Stop::Interrupt) => Exit::Interrupted,
            Self::Stopped(Stop::Terminate) => Exit::Terminated,
            Self::Stopped(Stop::Deadline) => Exit::Failed,
        }
    }

    /// Last lines of a child's stderr, where a child was involved.
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Dump(error) => error.stderr(),
            _ => None,
        }
    }

    /// What a person can do, where the message does not say it already.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Dump(error) => error.hint(),
            Self::Connect(ConnectError::Refused { .. })
            | Self::Lock(LockError::Connect(ConnectError::Refused { .. })) => {
                Some("look at POSTGRES_USER and POSTGRES_PASSWORD")
            }
            Self::Connect(ConnectError::Unreachable { .. })
            | Self::Lock(LockError::Connect(ConnectError::Unreachable { .. })) => {
                Some("look at POSTGRES_HOST and POSTGRES_PORT, or raise RETRY_COUNT")
            }
            Self::Storage(StorageError::Unavailable { .. }) => Some("look at REMOTE_ENDPOINT, or raise RETRY_COUNT"),
            _ => None,
        }
    }
}

/// The code that all share, else the one of highest rank, else [`Exit::Failed`].
fn common(codes: impl Iterator<Item = Exit>) -> Exit {
    let codes: Vec<Exit> = codes.collect();
    for first in [Exit::Interrupted, Exit::Terminated, Exit::Config, Exit::Corrupt] {
        if codes.contains(&first) {
            return first;
        }
    }
    match codes.split_first() {
        Some((first, rest)) if rest.iter().all(|code| code == first) => *first,
        _ => Exit::Failed,
    }
}
