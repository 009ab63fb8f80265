//! Storage: one small contract, kept by every backend and held by one suite of tests.
//!
//! - A key is a relative path with `/`; backends put their own folder or prefix in front of it.
//! - An object is either whole under its key or not there. A reader never sees part of one.
//! - Objects are created, never overwritten: writing a key that exists is `StorageError::AlreadyExists`.
//! - Deleting a missing object succeeds. Reading one is `StorageError::NotFound`.
//! - A listing is complete or an error, never short.
//! - Backends do not retry; `retry::Retrying` does, for every backend alike. Parts of one upload are the exception:
//!   only the upload itself still has their bytes, so it repeats them by the same policy.

pub mod azure;
pub mod backends;
mod clock;
mod cloud;
pub mod gcs;
pub mod key;
pub mod local;
pub mod memory;
mod parts;
pub mod read_ahead;
pub mod resume;
pub mod retry;
pub mod s3;
mod small;
pub mod store;
mod upload;

pub use parts::{LARGEST_PART, SMALLEST_PART};
pub use small::read_small;
pub(crate) use upload::while_moving;
pub use upload::{Note, Progress, Upload};

use crate::hex;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncRead;

/// Why an operation did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// No such object.
    #[error("{key} does not exist")]
    NotFound {
        /// The object.
        key: String,
    },
    /// An object of that key exists, and nothing is overwritten.
    #[error("{key} already exists and is not overwritten")]
    AlreadyExists {
        /// The object.
        key: String,
    },
    /// The bucket or folder itself is missing.
    #[error("{action}: {cause}; check {setting}")]
    Missing {
        /// What was tried.
        action: String,
        /// What the store said.
        cause: String,
        /// The setting to change.
        setting: &'static str,
    },
    /// Wrong credentials or a missing right.
    #[error("{action}: {cause}; {hint}")]
    Refused {
        /// What was tried.
        action: String,
        /// What the store said.
        cause: String,
        /// What a person can do.
        hint: &'static str,
    },
    /// No answer, or the answer that it is busy: trying again may help.
    #[error("{action}: {cause}")]
    Unavailable {
        /// What was tried.
        action: String,
        /// What the network or the store said.
        cause: String,
        /// The setting that says where the store is.
        setting: &'static str,
    },
    /// Nothing was taken for the whole of `STALL_TIMEOUT`.
    #[error("{action}: no data was accepted for {} s (STALL_TIMEOUT)", .limit.as_secs())]
    Stalled {
        /// What was tried.
        action: String,
        limit: Duration,
    },
    /// An object is not what it was a moment ago, although objects are never changed.
    #[error("{place} changed while it was being read")]
    Changed {
        /// The object.
        place: String,
    },
    /// The object is in an archive tier, and cannot be read before the store has brought it back.
    #[error("{action}: it is in cold storage and cannot be read yet; {hint}")]
    Cold {
        /// What was tried.
        action: String,
        /// How the store is asked to bring it back.
        hint: &'static str,
    },
    /// Anything else, such as a full disk.
    #[error("{action}: {cause}")]
    Failed {
        /// What was tried.
        action: String,
        /// What the system said.
        cause: String,
    },
}

impl StorageError {
    /// Would trying again help?
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Stalled { .. })
    }
}

/// The two sides on which backups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The folder.
    Local,
    /// The store.
    Remote,
}

impl Side {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// One stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, by the store's clock.
    pub modified: Option<DateTime<Utc>>,
}

/// Every byte of an object.
pub const WHOLE: Range<u64> = 0..u64::MAX;

/// An object's length and its bytes, or some of them.
pub struct Download {
    /// Length of the whole object in bytes.
    pub size: u64,
    /// The bytes that were asked for; too few of them mean that the store broke off.
    pub body: Box<dyn AsyncRead + Send + Unpin>,
}

/// What an upload that was never finished left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The key it was meant for.
    pub key: String,
    /// The backend's handle: a temporary file's name, or an upload's number.
    pub handle: String,
}

/// Who writes: a run, for a source. A source is its name and the number that PostgreSQL knows its server by, which is
/// learned once the server was asked; clones share what was learned.
#[derive(Debug, Clone)]
pub struct Owner {
    /// Name of the source.
    pub source: String,
    server: Arc<OnceLock<String>>,
    pub run_id: String,
}

/// What the name of a leftover says of who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// First digits of the SHA-256 of the source's name: short enough for a file name, the same for every run.
    pub source: String,
    /// Number of the source's server, where that was known.
    pub server: Option<String>,
    pub run_id: String,
}

impl Owner {
    /// The owner for a source's name and a run.
    pub fn new(source: &str, run_id: &str) -> Self {
        Self { source: source.to_owned(), server: Arc::default(), run_id: run_id.to_owned() }
    }

    /// Learns which server the source is. What was learned first stays.
    pub fn learn(&self, server: &str) {
        let _ = self.server.set(server.to_owned());
    }

    /// Number of the source's server, once that is known.
    pub fn server(&self) -> Option<&str> {
        self.server.get().map(String::as_str)
    }

    /// What this owner leaves in names.
    pub fn trace(&self) -> Trace {
        let source = hex::encode(&Sha256::digest(&self.source)[..8]);
        Trace { source, server: self.server().map(str::to_owned), run_id: self.run_id.clone() }
    }
}

/// Where a store is, as people and the lock name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Folder or URL, without credentials.
    pub name: String,
    /// The setting that says where it is.
    pub setting: &'static str,
}

impl Location {
    /// The place of one key, for people.
    pub fn of(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    /// The error of a reader who did not get all of an object.
    pub fn broke_off(&self, key: &str, cause: String) -> StorageError {
        StorageError::Unavailable { action: format!("reading {}", self.of(key)), cause, setting: self.setting }
    }

    /// A listing is of no object: what says that there is none is no such store.
    fn no_list(&self, error: StorageError, prefix: &str) -> StorageError {
        match error {
            StorageError::NotFound { .. } | StorageError::AlreadyExists { .. } => StorageError::Missing {
                action: format!("listing {}", self.of(prefix)),
                cause: "the store answered that nothing is there".to_owned(),
                setting: self.setting,
            },
            other => other,
        }
    }
}

/// A place that keeps objects. The module's text is the contract.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Where this is.
    fn location(&self) -> Location;
    /// Every object whose key begins with `prefix`, in order of their keys.
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError>;
    /// The object, or none.
    async fn head(&self, key: &str) -> Result<Option<Object>, StorageError>;
    /// The object's bytes from the first of the range to the one before its end, or as far as there are any; the range
    /// begins within the object, or at 0.
    async fn get(&self, key: &str, range: Range<u64>) -> Result<Download, StorageError>;
    /// Creates a small object in one step.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError>;
    /// Removes an object; a missing one is no error.
    async fn delete(&self, key: &str) -> Result<(), StorageError>;
    /// Begins an object of unknown length. `expected_bytes` is a guess from above, for planning.
    async fn upload(&self, key: &str, expected_bytes: u64) -> Result<Box<dyn Upload>, StorageError>;
    /// Uploads to exactly this key that were begun and neither committed nor aborted; a store that cannot tell knows of
    /// none, and forgets them by itself.
    async fn unfinished(&self, key: &str) -> Result<Vec<Unfinished>, StorageError>;
    /// Unfinished uploads to any key that say who began them; a store that cannot tell knows of none.
    async fn unfinished_with_owner(&self) -> Result<Vec<(Trace, Unfinished)>, StorageError>;
    /// Removes what an unfinished upload left.
    async fn discard(&self, unfinished: &Unfinished) -> Result<(), StorageError>;
    /// The room of the volume, where the question has an answer.
    async fn space(&self) -> Option<Space>;
    /// An error where something can surely not be stored here, as far as that is known without trying.
    async fn refuse_unwritable(&self) -> Result<(), StorageError> {
        Ok(())
    }
    /// What a person should know about the store before relying on it; `check` asks for it. At least two objects have
    /// keys that begin with `prefix`.
    async fn examine(&self, _prefix: &str) -> Result<Vec<Advice>, StorageError> {
        Ok(Vec::new())
    }
}

/// Something to know about a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    pub what: String,
    /// What to do; none where all is well.
    pub hint: Option<String>,
}

/// The room of a volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What files take.
    pub used: u64,
    /// What we may still take.
    pub free: u64,
}

impl Space {
    /// The share that is taken of what is there for us, as `df` says it; 0 to 1.
    pub fn share_used(self) -> f64 {
        let total = self.used + self.free;
        if total == 0 { 1.0 } else { self.used as f64 / total as f64 }
    }
}

/// The deepest cause is the one people know: `connection refused`, not `error sending request`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
