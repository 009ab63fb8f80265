//! The settings, the command line, and what is installed here.

use super::Exit;
use crate::config::Problems;
use crate::encryption::KeyError;
use crate::postgres::tools::ToolError;

/// What a person has to set, to type or to install otherwise.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The command line asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// Somebody only wanted to know what would be done.
    #[error("nothing was done")]
    OnlyPlanned,
    /// No fitting client tools.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The settings name no database of this server.
    #[error("{0}; check BACKUP_DATABASES and BACKUP_EXCLUDE_DATABASES")]
    NothingSelected(String),
    /// A backup cannot be decrypted.
    #[error("{name}: {cause}; check AGE_IDENTITY_FILE")]
    Key {
        /// The file.
        name: String,
        /// What is wrong with the keys.
        cause: KeyError,
    },
}

impl SettingsError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::OnlyPlanned => Exit::Done,
            Self::Config(_) | Self::Tool(_) | Self::NothingSelected(_) | Self::Key { .. } => Exit::Config,
        }
    }
}
