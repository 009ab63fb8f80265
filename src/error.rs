//! Everything that ends a command early, and the exit code each of it means.

use crate::config::{Problems, ServerRole};
use crate::encryption::KeyError;
use crate::pipeline::StreamError;
use crate::postgres;
use crate::postgres::cluster::ClusterError;
use crate::postgres::connection::ConnectError;
use crate::postgres::dump::{CONFLICT, DumpError, STANDBY};
use crate::postgres::lock::LockError;
use crate::postgres::privileges::{self, Lack};
use crate::postgres::restore::{Blame, RestoreError};
use crate::postgres::scratch::ScratchError;
use crate::postgres::tools::ToolError;
use crate::repository::{FetchError, ReceiveError};
use crate::shutdown::Stop;
use crate::storage::StorageError;
use tokio_postgres::error::SqlState;

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
    /// SIGHUP.
    HungUp = 129,
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
    /// A question to the database failed.
    #[error("asking the database: {}", postgres::cause(.0))]
    Query(#[from] tokio_postgres::Error),
    /// No fitting client tools.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The settings name no database of this server.
    #[error("{0}; look at BACKUP_DATABASES and BACKUP_EXCLUDE_DATABASES")]
    NothingSelected(String),
    /// A database that should be saved is not on the server.
    #[error("the database {0} is not on the server, or no longer; look at BACKUP_DATABASES")]
    NoDatabase(String),
    /// A database cannot be named.
    #[error("the name of the database {0} is not UTF-8, and it cannot be reached; rename it or leave it out")]
    NotText(String),
    /// A database cannot be part of a cluster archive.
    #[error(
        "the database {0} has a line break in its name, which pg_dump --create refuses; rename it, leave it out by \
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
    /// A target did not take the bytes of an earlier database of the same run.
    #[error("{0} was given up earlier in this run, because it took no byte for STALL_TIMEOUT")]
    GivenUp(String),
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
    /// The dump of the whole server is not whole.
    #[error(transparent)]
    Cluster(ClusterError),
    /// The stream broke.
    #[error(transparent)]
    Stream(StreamError),
    /// DDL came between the snapshot and the dump.
    #[error("{} truncated or rewritten while the dump began, and it would show them empty", crate::text::were(.0))]
    Rewritten(Vec<String>),
    /// The same, and nothing that is restored from such a dump is to be trusted.
    #[error("{} dropped and made again while the dump began, and it mixes the old with the new", crate::text::were(.0))]
    Replaced(Vec<String>),
    /// The session that a dump's snapshot was held by is gone.
    #[error("{error}; the session that held its snapshot ended: {why}")]
    SnapshotLost {
        /// What the server or the network said.
        why: String,
        /// How the dump ended.
        error: Box<Error>,
    },
    /// There is no scratch database to restore to.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// A backup could not be restored, which says nothing of the backup.
    #[error("restoring: {0}")]
    Restore(RestoreError),
    /// A restored database could not be looked at, which says nothing of the backup.
    #[error("comparing the restored database: {}", postgres::cause(.0))]
    Compare(tokio_postgres::Error),
    /// The health check got no answer, which says nothing of the backup.
    #[error("the health check got no answer: {0}")]
    NoHealth(String),
    /// The server cannot take the dump.
    #[error(
        "the {role} is PostgreSQL {server}, and the dump was made by pg_dump {client}, which writes for that release and \
         later ones; look at {}", .role.setting("HOST")
    )]
    OlderServer {
        /// Which server.
        role: ServerRole,
        /// Its version.
        server: String,
        /// Version of the client tools that made the dump.
        client: String,
    },
    /// A backup is not what it should be.
    #[error("{id} failed its verification: {failures}")]
    Unproved {
        /// The backup.
        id: String,
        /// What failed.
        failures: String,
    },
    /// A backup could not be restored, and it is its own fault.
    #[error("{id} is not restored: {failures}")]
    NotRestored {
        /// The backup.
        id: String,
        /// What is wrong with it, or with what became of it.
        failures: String,
    },
    /// A database must not be replaced.
    #[error("{0}")]
    NotReplaced(String),
    /// Somebody only wanted to know what would be done.
    #[error("nothing was done")]
    OnlyPlanned,
    /// Rows did not get into live tables.
    #[error("loading the rows: {}; nothing was changed", postgres::cause(.0))]
    Load(tokio_postgres::Error),
    /// The server lacks what a restore needs.
    #[error("{0}")]
    Lacking(String),
    /// Some of several were restored.
    #[error("{restored} of {} restored; {}", .restored + .errors.len(), joined(.errors))]
    Partly {
        /// Archives that were.
        restored: usize,
        /// Why the others were not.
        errors: Vec<Error>,
    },
    /// A target failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Several targets failed, each for its own reason.
    #[error("{}", joined(.0))]
    Targets(Vec<Error>),
    /// A backup cannot be decrypted.
    #[error("{name}: {cause}; look at AGE_IDENTITY_FILE")]
    Key {
        /// The file.
        name: String,
        /// What is wrong with the keys.
        cause: KeyError,
    },
    /// A backup could not be copied.
    #[error(transparent)]
    Fetch(FetchError),
    /// A backup is not what its manifest says, and was not sent.
    #[error(transparent)]
    Receive(ReceiveError),
    /// A backup is not sent to the store.
    #[error("{id} is not uploaded: {reason}")]
    NotSent {
        /// The backup.
        id: String,
        /// Why.
        reason: String,
    },
    /// A backup stays although it should go.
    #[error("{place} is not deleted: {cause}")]
    NotDeleted {
        /// Its archive.
        place: String,
        /// Why.
        cause: StorageError,
    },
    /// It was time to stop.
    #[error(transparent)]
    Stopped(#[from] Stop),
    /// Facts that were read once cannot be read again.
    #[error("reading the facts again: {0}")]
    Facts(#[from] serde_json::Error),
    /// A file of our own could not be read or written.
    #[error("{0}")]
    Io(String),
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Storage(error) => Self::Storage(error),
            error => Self::Fetch(error),
        }
    }
}

impl From<ReceiveError> for Error {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Storage(error) => Self::Storage(error),
            error => Self::Receive(error),
        }
    }
}

impl From<StreamError> for Error {
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

impl Error {
    /// The exit code, as the contract lists them.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Key { .. } | Self::Lacking(_) => Exit::Config,
            Self::Scratch(ScratchError::Query { cause, .. }) if cause.code().is_some_and(|c| LACKING.contains(&c)) => {
                Exit::Config
            }
            Self::Usage(_) => Exit::Usage,
            Self::Connect(error)
            | Self::Scratch(ScratchError::Connect { cause: error, .. })
            | Self::Lock(LockError::Connect(error))
            | Self::Cluster(ClusterError::Connect(error)) => match error {
                ConnectError::Unreachable { .. } => Exit::Unreachable,
                ConnectError::Refused { .. } | ConnectError::NotAllowed { .. } => Exit::Refused,
                ConnectError::NoDatabase { .. }
                | ConnectError::Misconfigured { .. }
                | ConnectError::Pooled { .. }
                | ConnectError::TlsFile(_) => Exit::Config,
            },
            Self::Lock(LockError::Taken { .. }) => Exit::Locked,
            Self::Lock(LockError::Query(error))
            | Self::Query(error)
            | Self::Compare(error)
            | Self::Scratch(ScratchError::Query { cause: error, .. })
            | Self::Cluster(ClusterError::Query(error)) => match error.code() {
                Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Exit::Refused,
                Some(code) if *code == SqlState::OBJECT_IN_USE => Exit::Refused,
                Some(code) if !is_lost(code) => Exit::Failed,
                _ => Exit::Unreachable,
            },
            Self::Tool(_) | Self::NothingSelected(_) | Self::Unnameable(_) | Self::OlderServer { .. } => Exit::Config,
            Self::Unproved { .. } | Self::NotRestored { .. } | Self::Fetch(FetchError::Changed(_)) => Exit::Corrupt,
            Self::Receive(ReceiveError::Damaged(_)) => Exit::Corrupt,
            Self::NotDeleted { .. } => Exit::Partly,
            Self::Restore(error) => match error.blame() {
                Blame::Connection(_) => Exit::Unreachable,
                Blame::Privilege(_) => Exit::Refused,
                Blame::Backup | Blame::Server(_) => Exit::Failed,
            },
            Self::NoHealth(_) | Self::GivenUp(_) => Exit::Unreachable,
            Self::Load(error) => match error.code() {
                code if code.is_none_or(is_lost) => Exit::Unreachable,
                Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE || code.code().starts_with("23") => {
                    Exit::Refused
                }
                _ => Exit::Failed,
            },
            Self::OnlyPlanned => Exit::Done,
            Self::NotReplaced(_) | Self::Unreadable { .. } => Exit::Refused,
            Self::Partly { restored, errors } => exit_of(errors.iter(), *restored > 0),
            Self::Dump(error) | Self::Cluster(ClusterError::Dump { cause: error, .. }) if error.is_permission() => {
                Exit::Refused
            }
            Self::Dump(_)
            | Self::Cluster(ClusterError::Dump { .. })
            | Self::Stream(_)
            | Self::NoSpace { .. }
            | Self::NoDatabase(_)
            | Self::NotText(_)
            | Self::Rewritten(_)
            | Self::Replaced(_)
            | Self::Cluster(ClusterError::Rewritten(_))
            | Self::Fetch(_)
            | Self::Receive(_)
            | Self::NotSent { .. }
            | Self::Facts(_)
            | Self::Io(_) => Exit::Failed,
            Self::SnapshotLost { error, .. } => error.exit(),
            Self::Storage(error) => match error {
                StorageError::Unavailable { .. } | StorageError::Stalled { .. } | StorageError::Missing { .. } => {
                    Exit::Unreachable
                }
                StorageError::Refused { .. } => Exit::Refused,
                StorageError::Changed { .. } => Exit::Corrupt,
                StorageError::NotFound { .. } | StorageError::AlreadyExists { .. } | StorageError::Failed { .. } => {
                    Exit::Failed
                }
            },
            Self::Targets(errors) => common(errors.iter().map(Self::exit)),
            Self::Stopped(Stop::Hangup) => Exit::HungUp,
            Self::Stopped(Stop::Interrupt) => Exit::Interrupted,
            Self::Stopped(Stop::Terminate) => Exit::Terminated,
            Self::Stopped(Stop::Deadline) => Exit::Failed,
        }
    }

    /// Last lines of a child's stderr, where a child was involved.
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Dump(error) | Self::Cluster(ClusterError::Dump { cause: error, .. }) => error.stderr(),
            Self::SnapshotLost { error, .. } => error.stderr(),
            _ => None,
        }
    }

    /// What a person can do, where the message does not say it already.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::SnapshotLost { why, .. } if why.contains(CONFLICT) => Some(STANDBY),
            Self::SnapshotLost { error, .. } => return error.hint(),
            Self::Dump(error) | Self::Cluster(ClusterError::Dump { cause: error, .. }) => error.hint(),
            Self::Connect(ConnectError::NoDatabase { .. })
            | Self::Lock(LockError::Connect(ConnectError::NoDatabase { .. })) => Some("look at POSTGRES_DB"),
            Self::Connect(ConnectError::Refused { .. })
            | Self::Lock(LockError::Connect(ConnectError::Refused { .. })) => {
                Some("look at POSTGRES_USER and POSTGRES_PASSWORD")
            }
            Self::Connect(ConnectError::Unreachable { .. })
            | Self::Lock(LockError::Connect(ConnectError::Unreachable { .. })) => {
                Some("look at POSTGRES_HOST and POSTGRES_PORT, or raise RETRY_COUNT")
            }
            Self::Scratch(ScratchError::Connect { server, .. }) => {
                let [host, user, password] = ["HOST", "USER", "PASSWORD"].map(|what| server.setting(what));
                return Some(format!("look at {host}, {user} and {password}"));
            }
            Self::Scratch(ScratchError::Query { cause, server, .. }) => {
                return match cause.code() {
                    Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                        let user = server.setting("USER");
                        Some(format!("{user} must be allowed to make databases: ALTER ROLE … CREATEDB"))
                    }
                    Some(code) if *code == SqlState::OBJECT_IN_USE => {
                        Some("somebody is connected to it: end that session, or let --disconnect do it".to_owned())
                    }
                    Some(code) if FULL.contains(&code) => Some(format!("free some space on the {server}")),
                    Some(code) if LACKING.contains(&code) => {
                        let host = server.setting("HOST");
                        Some(format!("the {server} lacks an encoding or a locale of the source; look at {host}"))
                    }
                    _ => None,
                };
            }
            Self::Restore(error) => return error.blame().hint(),
            Self::Compare(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                Some("VERIFY_USER lacks a privilege on the verify server; a superuser has it")
            }
            Self::Load(error) => match error.code() {
                None => Some("look at POSTGRES_HOST, and at the server's log"),
                Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => {
                    Some("somebody holds the table: look at pg_locks, or raise BACKUP_LOCK_TIMEOUT")
                }
                Some(code) if *code == SqlState::FOREIGN_KEY_VIOLATION => Some(
                    "restore what the rows refer to first, or restore as a superuser, whose rows are checked at the end",
                ),
                Some(code) if *code == SqlState::OUT_OF_MEMORY => Some("raise max_locks_per_transaction"),
                Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Some("a superuser may"),
                Some(code) if FULL.contains(&code) => Some("free some space on the server"),
                _ => None,
            },
            Self::NoHealth(_) => Some("look at VERIFY_HEALTH_URL"),
            Self::Storage(StorageError::Unavailable { setting, .. }) => {
                return Some(format!("look at {setting} and at the network, or raise RETRY_COUNT"));
            }
            _ => None,
        };
        hint.map(str::to_owned)
    }
}

/// The server does not know an encoding or a locale.
const LACKING: &[&SqlState] = &[
    &SqlState::WRONG_OBJECT_TYPE,
    &SqlState::UNDEFINED_OBJECT,
    &SqlState::INVALID_PARAMETER_VALUE,
    &SqlState::FEATURE_NOT_SUPPORTED,
];

/// The connection broke, or the server stops.
fn is_lost(code: &SqlState) -> bool {
    code.code().starts_with("08") || code.code().starts_with("57P")
}

/// The server has no room.
const FULL: &[&SqlState] = &[&SqlState::DISK_FULL, &SqlState::INSUFFICIENT_RESOURCES, &SqlState::IO_ERROR];

fn joined(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn unreadable(role: &str, lacks: &[Lack]) -> String {
    let (objects, mend) = privileges::describe(lacks);
    format!(
        "the role {role} may not read {objects}; exclude that, or have the owner run: {mend} (pg_read_all_data reads \
         every table and sequence, but no large object)"
    )
}

/// Codes that no other one hides, by rank.
const FIRST: [Exit; 5] = [Exit::HungUp, Exit::Interrupted, Exit::Terminated, Exit::Config, Exit::Corrupt];

/// The exit code of a run that met these errors; `saved` when something is safe all the same.
pub fn exit_of<'a>(errors: impl Iterator<Item = &'a Error>, saved: bool) -> Exit {
    let mut codes = errors.map(Error::exit).peekable();
    if codes.peek().is_none() {
        return Exit::Done;
    }
    match common(codes) {
        first if FIRST.contains(&first) => first,
        _ if saved => Exit::Partly,
        code => code,
    }
}

/// The code that all share, else the one of highest rank, else [`Exit::Failed`].
fn common(codes: impl Iterator<Item = Exit>) -> Exit {
    let codes: Vec<Exit> = codes.collect();
    if let Some(first) = FIRST.into_iter().find(|first| codes.contains(first)) {
        return first;
    }
    match codes.split_first() {
        Some((first, rest)) if rest.iter().all(|code| code == first) => *first,
        _ => Exit::Failed,
    }
}
