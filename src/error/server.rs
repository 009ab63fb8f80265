//! The server that a backup is restored to, or compared on: what it lacks says nothing of the backup.

use super::source::exit_of_connecting;
use super::{Exit, exit_of_query, is_lost};
use crate::config::ServerRole;
use crate::postgres;
use crate::postgres::restore::{Blame, RestoreError};
use crate::postgres::scratch::ScratchError;
use tokio_postgres::error::SqlState;

/// Why a server did not take a backup.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is no scratch database to restore to.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// A backup could not be restored.
    #[error("restoring: {0}")]
    Restore(RestoreError),
    /// The server did not take a statement or rows of a dump, and that is not the dump's fault.
    #[error("loading: {cause}")]
    Loading {
        /// What the server said, and of what.
        cause: String,
        /// Whose fault it is.
        blame: Blame,
    },
    /// A restored database could not be looked at.
    #[error("comparing the restored database: {}", postgres::cause(.0))]
    Compare(tokio_postgres::Error),
    /// The health check got no answer.
    #[error("the health check got no answer: {0}")]
    NoHealth(String),
    /// It cannot take the dump.
    #[error(
        "the {role} is PostgreSQL {server}, which is older than the pg_dump {client} that made the dump; point {} at a \
         server of that release or later", .role.setting("HOST")
    )]
    OlderServer {
        /// Which server.
        role: ServerRole,
        /// Its version.
        server: String,
        /// Version of the client tools that made the dump.
        client: String,
    },
    /// A database must not be replaced.
    #[error("{0}")]
    NotReplaced(String),
    /// Rows did not get into live tables.
    #[error("loading the rows: {}; nothing was changed", postgres::cause(.0))]
    Load(tokio_postgres::Error),
    /// It lacks what a restore needs.
    #[error("{0}")]
    Lacking(String),
}

/// The server does not know an encoding or a locale.
const LACKING: &[&SqlState] = &[
    &SqlState::WRONG_OBJECT_TYPE,
    &SqlState::UNDEFINED_OBJECT,
    &SqlState::INVALID_PARAMETER_VALUE,
    &SqlState::FEATURE_NOT_SUPPORTED,
];

/// The server has no room.
const FULL: &[&SqlState] = &[&SqlState::DISK_FULL, &SqlState::INSUFFICIENT_RESOURCES, &SqlState::IO_ERROR];

impl ServerError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Scratch(ScratchError::Query { cause, .. }) if cause.code().is_some_and(|c| LACKING.contains(&c)) => {
                Exit::Config
            }
            Self::Scratch(ScratchError::Connect { cause, .. }) => exit_of_connecting(cause),
            Self::Scratch(ScratchError::Query { cause, .. }) | Self::Compare(cause) => exit_of_query(cause),
            Self::Restore(error) => error.blame().exit(),
            Self::Loading { blame, .. } => blame.exit(),
            Self::NoHealth(_) => Exit::Unreachable,
            Self::OlderServer { .. } | Self::Lacking(_) => Exit::Config,
            Self::NotReplaced(_) => Exit::Refused,
            Self::Load(error) => match error.code() {
                code if code.is_none_or(is_lost) => Exit::Unreachable,
                Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE || code.code().starts_with("23") => {
                    Exit::Refused
                }
                _ => Exit::Failed,
            },
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Scratch(ScratchError::Connect { server, .. }) => {
                let [host, user, password] = ["HOST", "USER", "PASSWORD"].map(|what| server.setting(what));
                return Some(format!("check {host}, {user} and {password}"));
            }
            Self::Scratch(ScratchError::Query { cause, server, .. }) => return hint_of_scratch(cause, *server),
            Self::Restore(error) => return error.blame().hint(),
            Self::Loading { blame, .. } => return blame.clone().hint(),
            Self::Compare(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                "VERIFY_USER lacks a privilege on the verify server; a superuser has it"
            }
            Self::Load(error) => hint_of_load(error)?,
            Self::NoHealth(_) => "check VERIFY_HEALTH_URL",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl Blame {
    fn exit(&self) -> Exit {
        match self {
            Self::Connection(_) => Exit::Unreachable,
            Self::Privilege(_) => Exit::Refused,
            Self::Backup | Self::Server(_) => Exit::Failed,
        }
    }
}

fn hint_of_scratch(cause: &tokio_postgres::Error, server: ServerRole) -> Option<String> {
    match cause.code()? {
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            let user = server.setting("USER");
            Some(format!("{user} must be allowed to create databases: ALTER ROLE … CREATEDB"))
        }
        code if *code == SqlState::OBJECT_IN_USE => {
            Some("another session is connected to it: end that session, or pass --disconnect".to_owned())
        }
        code if FULL.contains(&code) => Some(format!("free some space on the {server}")),
        code if LACKING.contains(&code) => {
            let host = server.setting("HOST");
            Some(format!("the {server} lacks an encoding or a locale of the source; check {host}"))
        }
        _ => None,
    }
}

fn hint_of_load(error: &tokio_postgres::Error) -> Option<&'static str> {
    match error.code() {
        None => Some("check POSTGRES_HOST and the server's log"),
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => {
            Some("another session holds a lock on the table: check pg_locks, or raise BACKUP_LOCK_TIMEOUT")
        }
        Some(code) if *code == SqlState::FOREIGN_KEY_VIOLATION => Some(
            "restore the tables that the rows refer to first, or restore \
             as a superuser, for whom references are checked at the end",
        ),
        Some(code) if *code == SqlState::OUT_OF_MEMORY => Some("raise max_locks_per_transaction"),
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Some("restore as a superuser"),
        Some(code) if FULL.contains(&code) => Some("free some space on the server"),
        _ => None,
    }
}
