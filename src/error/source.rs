//! The source: its server, or its schema.

use super::{Error, Exit, exit_of_query};
use crate::pipeline::StreamError;
use crate::postgres;
use crate::postgres::cluster::ClusterError;
use crate::postgres::connection::ConnectError;
use crate::postgres::dump::{CONFLICT, DumpError, STANDBY};
use crate::postgres::lock::LockError;
use crate::postgres::privileges::{self, Lack};

/// Why the source was not dumped.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The lock is not ours.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A question to the database failed.
    #[error("querying the database: {}", postgres::cause(.0))]
    Query(#[from] tokio_postgres::Error),
    /// A database that should be saved is not on the server.
    #[error("the database {0} does not exist on the server; check BACKUP_DATABASES")]
    NoDatabase(String),
    /// A database cannot be named.
    #[error("the name of the database {0} is not UTF-8, so it cannot be connected to; rename it or leave it out")]
    NotText(String),
    /// A database cannot be part of a cluster archive.
    #[error(
        "the database {0} has a line break in its name, which pg_dump --create refuses; rename it, leave it out with \
         BACKUP_EXCLUDE_DATABASES, or use BACKUP_MODE=database"
    )]
    Unnameable(String),
    /// The role may not read everything.
    #[error("{}", unreadable(.role, .lacks))]
    Unreadable {
        /// `POSTGRES_USER`.
        role: String,
        /// What it may not read.
        lacks: Vec<Lack>,
    },
    /// The dump is not whole.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The dump of the whole server is not whole.
    #[error(transparent)]
    Cluster(ClusterError),
    /// The stream broke.
    #[error(transparent)]
    Stream(StreamError),
    /// DDL came between the snapshot and the dump.
    #[error("{} truncated or rewritten while the dump began, so the dump would show them empty", crate::text::were(.0))]
    Rewritten(Vec<String>),
    /// The same, and nothing that is restored from such a dump is to be trusted.
    #[error("{} dropped and recreated while the dump began, \
         so the dump mixes the old with the new", crate::text::were(.0))]
    Replaced(Vec<String>),
    /// The session that a dump's snapshot was held by is gone.
    #[error("{error}; the session that held its snapshot ended: {why}")]
    SnapshotLost {
        /// What the server or the network said.
        why: String,
        /// How the dump ended.
        error: Box<Error>,
    },
}

impl From<StreamError> for SourceError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Source(source) => {
                let dump = source.downcast::<DumpError>().map(Self::Dump);
                let cluster = dump.or_else(|source| source.downcast::<ClusterError>().map(Self::Cluster));
                cluster.unwrap_or_else(|source| Self::Stream(StreamError::Source(source)))
            }
            other => Self::Stream(other),
        }
    }
}

impl SourceError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Connect(error)
            | Self::Lock(LockError::Connect(error))
            | Self::Cluster(ClusterError::Connect(error)) => exit_of_connecting(error),
            Self::Lock(LockError::Taken { .. }) => Exit::Locked,
            Self::Lock(LockError::Query(error)) | Self::Query(error) | Self::Cluster(ClusterError::Query(error)) => {
                exit_of_query(error)
            }
            Self::Unnameable(_) => Exit::Config,
            Self::Unreadable { .. } => Exit::Refused,
            Self::Dump(error) | Self::Cluster(ClusterError::Dump { cause: error, .. }) if error.is_permission() => {
                Exit::Refused
            }
            Self::SnapshotLost { error, .. } => error.exit(),
            Self::Dump(_)
            | Self::Cluster(ClusterError::Dump { .. } | ClusterError::Rewritten(_))
            | Self::Stream(_)
            | Self::NoDatabase(_)
            | Self::NotText(_)
            | Self::Rewritten(_)
            | Self::Replaced(_) => Exit::Failed,
        }
    }

    pub(super) fn stderr(&self) -> Option<&str> {
        match self {
            Self::Dump(error) | Self::Cluster(ClusterError::Dump { cause: error, .. }) => error.stderr(),
            Self::SnapshotLost { error, .. } => error.stderr(),
            _ => None,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::SnapshotLost { why, .. } if why.contains(CONFLICT) => STANDBY,
            Self::SnapshotLost { error, .. } => return error.hint(),
            Self::Dump(error) | Self::Cluster(ClusterError::Dump { cause: error, .. }) => error.hint()?,
            Self::Connect(error) | Self::Lock(LockError::Connect(error)) => match error {
                ConnectError::NoDatabase { .. } => "check POSTGRES_DB",
                ConnectError::Refused { .. } => "check POSTGRES_USER and POSTGRES_PASSWORD",
                ConnectError::Unreachable { .. } => "check POSTGRES_HOST and POSTGRES_PORT, or raise RETRY_COUNT",
                _ => return None,
            },
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// The exit code of a server that let us not in.
pub(super) fn exit_of_connecting(error: &ConnectError) -> Exit {
    match error {
        ConnectError::Unreachable { .. } => Exit::Unreachable,
        ConnectError::Refused { .. } | ConnectError::NotAllowed { .. } => Exit::Refused,
        ConnectError::NoDatabase { .. }
        | ConnectError::Misconfigured { .. }
        | ConnectError::Pooled { .. }
        | ConnectError::TlsFile(_) => Exit::Config,
    }
}

fn unreadable(role: &str, lacks: &[Lack]) -> String {
    let (objects, mend) = privileges::describe(lacks);
    format!(
        "the role {role} is not allowed to read {objects}; exclude that, or have the owner run: {mend} \
         (pg_read_all_data covers every table and sequence, but no large objects)"
    )
}
