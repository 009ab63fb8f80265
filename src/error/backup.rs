//! The bytes of a backup: the only errors that count against it.

/// What is wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is not what it should be.
    #[error("{id} failed its verification: {failures}")]
    Unproved {
        /// The backup.
        id: String,
        /// What failed.
        failures: String,
    },
    /// What lies beside it, or the archive itself, cannot be read.
    #[error("{id} cannot be read: {cause}")]
    Unreadable {
        /// The backup.
        id: String,
        /// What is wrong with it.
        cause: String,
    },
    /// It could not be restored, and that is its own fault.
    #[error("{id} was not restored: {failures}")]
    NotRestored {
        /// The backup.
        id: String,
        /// What is wrong with it, or with what became of it.
        failures: String,
    },
}
