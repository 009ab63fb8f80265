//! Everything that ends a command early: whose matter it is, its exit code, and what a person can do.

mod backup;
mod server;
mod settings;
mod source;
mod store;

pub use backup::BackupError;
pub use server::ServerError;
pub use settings::SettingsError;
pub use source::SourceError;
pub use store::StoreError;

use crate::repository::FactsError;
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

impl Exit {
    /// Every code with its meaning, as help and manual list them.
    pub const MEANINGS: [(Self, &'static str); 13] = [
        (Self::Done, "Done"),
        (Self::Partly, "Partly done: what was done is safe; for status, a database has no recent good backup"),
        (Self::Usage, "Bad command line"),
        (Self::Corrupt, "Corrupt backup, or failed verification"),
        (Self::Unreachable, "Database or storage unreachable after all attempts"),
        (Self::Bug, "A bug in backup"),
        (Self::Failed, "Dump, disk or upload failed"),
        (Self::Locked, "Another run holds the lock"),
        (Self::Refused, "Refused: authentication or permission"),
        (Self::Config, "Bad configuration"),
        (Self::HungUp, "Stopped by SIGHUP"),
        (Self::Interrupted, "Stopped by SIGINT"),
        (Self::Terminated, "Stopped by SIGTERM"),
    ];
}

/// What ended a command, by whose matter it is. Only [`BackupError`] counts against a backup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings, the command line, or what is installed here.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The source: its server, or its schema.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The server that a backup is restored to.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A store, or a disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes of a backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Some of several were restored.
    #[error("{restored} of {} restored; {}", .restored + .errors.len(), joined(.errors))]
    Partly {
        /// Archives that were.
        restored: usize,
        /// Why the others were not.
        errors: Vec<Error>,
    },
    /// Several sides failed, each for its own reason.
    #[error("{}", joined(.0))]
    Targets(Vec<Error>),
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

impl Error {
    /// The exit code, as the contract lists them.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Settings(error) => error.exit(),
            Self::Source(error) => error.exit(),
            Self::Server(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::Backup(_) => Exit::Corrupt,
            Self::Partly { restored, errors } => exit_of(errors.iter(), *restored > 0),
            Self::Targets(errors) => common(errors.iter().map(Self::exit)),
            Self::Stopped(Stop::Hangup) => Exit::HungUp,
            Self::Stopped(Stop::Interrupt) => Exit::Interrupted,
            Self::Stopped(Stop::Terminate) => Exit::Terminated,
            Self::Stopped(Stop::Deadline) | Self::Facts(_) | Self::Io(_) => Exit::Failed,
        }
    }

    /// Why the facts of a backup could not be read.
    pub fn of_facts(error: FactsError, id: &str) -> Self {
        match error {
            FactsError::Storage(error) => error.into(),
            FactsError::Key { name, cause } => Self::Settings(SettingsError::Key { name, cause }),
            FactsError::Damaged(cause) => Self::Backup(BackupError::Unreadable {
                id: id.to_owned(),
                cause: format!("its facts file is damaged: {cause}"),
            }),
        }
    }

    /// A backup is in cold storage, and others may not be.
    pub fn is_cold(&self) -> bool {
        match self {
            Self::Store(StoreError::Storage(error)) => matches!(error, StorageError::Cold { .. }),
            Self::Partly { errors, .. } | Self::Targets(errors) => errors.iter().any(Self::is_cold),
            _ => false,
        }
    }

    /// A store does not answer, and another side may.
    pub fn is_store_away(&self) -> bool {
        match self {
            Self::Store(StoreError::Storage(error)) => matches!(error, StorageError::Unavailable { .. }),
            Self::Partly { errors, .. } | Self::Targets(errors) => errors.iter().any(Self::is_store_away),
            _ => false,
        }
    }

    /// Last lines of a child's stderr, where a child was involved.
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Source(error) => error.stderr(),
            _ => None,
        }
    }

    /// What a person can do, where the message does not say it already.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Server(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

/// Errors that come from below, each into its matter.
macro_rules! belongs {
    ($($cause:ty => $matter:ident),* $(,)?) => {
        $(impl From<$cause> for Error {
            fn from(cause: $cause) -> Self {
                Self::$matter(cause.into())
            }
        })*
    };
}

belongs! {
    crate::config::Problems => Settings,
    crate::postgres::tools::ToolError => Settings,
    crate::postgres::connection::ConnectError => Source,
    crate::postgres::lock::LockError => Source,
    tokio_postgres::Error => Source,
    crate::postgres::dump::DumpError => Source,
    crate::pipeline::StreamError => Source,
    crate::postgres::scratch::ScratchError => Server,
    crate::storage::StorageError => Store,
    crate::repository::FetchError => Store,
    crate::repository::ReceiveError => Store,
}

/// The exit code of a question that a server did not answer, or refused to.
fn exit_of_query(error: &tokio_postgres::Error) -> Exit {
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Exit::Refused,
        Some(code) if *code == SqlState::OBJECT_IN_USE => Exit::Refused,
        Some(code) if !is_lost(code) => Exit::Failed,
        _ => Exit::Unreachable,
    }
}

/// The connection broke, or the server stops.
fn is_lost(code: &SqlState) -> bool {
    code.code().starts_with("08") || code.code().starts_with("57P")
}

fn joined(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
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
