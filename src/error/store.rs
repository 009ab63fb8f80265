//! A store, or a disk.

use super::Exit;
use crate::repository::{FetchError, ReceiveError};
use crate::storage::StorageError;

/// What a store did not take, or did not give.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It did not take the bytes of an earlier database of the same run.
    #[error("{0} was dropped earlier in this run, because it accepted no data for STALL_TIMEOUT")]
    GivenUp(String),
    /// The disk will not do.
    #[error("only {free} is free in {place}, but the last backup took {needed}; free some space or move BACKUP_DIR")]
    NoSpace {
        /// Folder.
        place: String,
        /// Free space, for people.
        free: String,
        /// Size of the last backup, for people.
        needed: String,
    },
    /// A backup could not be copied.
    #[error(transparent)]
    Fetch(FetchError),
    /// A backup is not what its manifest says, and was not sent.
    #[error(transparent)]
    Receive(ReceiveError),
    /// A backup is not sent to the store.
    #[error("{id} was not uploaded: {reason}")]
    NotSent {
        /// The backup.
        id: String,
        /// Why.
        reason: String,
    },
    /// A backup stays although it should go.
    #[error("{place} was not deleted: {cause}")]
    NotDeleted {
        /// Its archive.
        place: String,
        /// Why.
        cause: StorageError,
    },
}

impl From<FetchError> for StoreError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Storage(error) => Self::Storage(error),
            error => Self::Fetch(error),
        }
    }
}

impl From<ReceiveError> for StoreError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Storage(error) => Self::Storage(error),
            error => Self::Receive(error),
        }
    }
}

impl StoreError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Storage(error) => match error {
                StorageError::Unavailable { .. } | StorageError::Stalled { .. } | StorageError::Missing { .. } => {
                    Exit::Unreachable
                }
                StorageError::Refused { .. } => Exit::Refused,
                StorageError::Changed { .. } => Exit::Corrupt,
                StorageError::NotFound { .. }
                | StorageError::AlreadyExists { .. }
                | StorageError::Cold { .. }
                | StorageError::Failed { .. } => Exit::Failed,
            },
            Self::GivenUp(_) => Exit::Unreachable,
            Self::Fetch(FetchError::Changed(_)) | Self::Receive(ReceiveError::Damaged(_)) => Exit::Corrupt,
            Self::NotDeleted { .. } => Exit::Partly,
            Self::NoSpace { .. } | Self::Fetch(_) | Self::Receive(_) | Self::NotSent { .. } => Exit::Failed,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Storage(StorageError::Unavailable { setting, .. }) => {
                Some(format!("check {setting} and the network, or raise RETRY_COUNT"))
            }
            _ => None,
        }
    }
}
