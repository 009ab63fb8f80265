//! Backups over one storage: begin, commit, list, remove, and sweep of what died on the way.
//!
//! The order of writing is what makes a backup exist: marker `.pending`, archive, `.sha256`, facts, manifest, marker
//! gone. The order of removing is the reverse of trust: marker `.deleting`, manifest, the rest, marker gone. So whatever
//! moment a SIGKILL chooses, a backup exists exactly when its manifest does, and a marker tells the next run what to
//! finish or undo.

mod catalog;
mod failure_note;
mod fetch;
mod new_backup;
mod probe;
mod receive;
mod release;
mod sweep;
mod verification;
mod whose;

pub use crate::storage::Side;
pub use failure_note::{FailureNote, NotedCause};
pub use fetch::FetchError;
pub use new_backup::{BackupRecord, NewBackup};
pub use probe::Probe;
pub use receive::ReceiveError;
pub use release::Releases;
pub use sweep::{Leftovers, Swept};
pub use verification::FactsError;
pub use whose::{Whose, full_name, is_of, source_name};

use crate::record::facts::Subject;
use crate::record::manifest::{self, How, Manifest, Marker, Verification};
use crate::storage::key::{self, FileKind, Naming, PathFormat};
use crate::storage::{Location, Object, Owner, Space, Storage, StorageError};
use bytes::Bytes;
use catalog::KnownManifests;
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;

/// The backups of one storage, as seen by one run of one source.
#[derive(Clone)]
pub struct Repository {
    storage: Arc<dyn Storage>,
    side: Side,
    layout: PathFormat,
    owner: Owner,
    /// How long the store may give or take no byte.
    stall_limit: Duration,
    known: KnownManifests,
}

/// A backup that exists.
#[derive(Debug, Clone)]
pub struct Backup {
    pub manifest: Manifest,
    /// Key of its archive.
    pub key: String,
    /// The archive is there and has the length that the manifest says.
    pub intact: bool,
    /// Its latest verification.
    pub verification: Option<Verification>,
    pub whose: Whose,
    /// Number of the server that it belongs to now: the one that it is of, or that took it over.
    pub server: Option<String>,
}

impl Backup {
    /// Whole, and not failed in its latest verification.
    pub fn is_good(&self) -> bool {
        self.intact && self.verification.as_ref().is_none_or(|verification| verification.passed)
    }

    /// Restored and found to be what it should be; of globals, which no verification restores, the bytes alone.
    pub fn is_verified(&self) -> bool {
        let is_whole = |how| how == How::Restore || self.manifest.subject == Subject::Globals;
        self.verification.as_ref().is_some_and(|verification| verification.passed && is_whole(verification.how))
    }
}

/// Everything that lies in a storage.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Backups of every source, oldest first.
    pub backups: Vec<Backup>,
    /// What is not ours: objects that belong to no backup.
    pub foreign: Vec<Object>,
    /// Manifests that the store does not give, or that are none.
    pub unreadable: Vec<String>,
    /// Names of notes about backups.
    pub notes: Vec<String>,
}

impl Repository {
    /// The repository of that owner's source in `storage`; keys are made by `layout`. A store that gives or takes no
    /// byte of an archive for `stall_limit` has stalled.
    pub fn new(storage: Arc<dyn Storage>, side: Side, layout: PathFormat, owner: Owner, stall_limit: Duration) -> Self {
        Self { storage, side, layout, owner, stall_limit, known: KnownManifests::default() }
    }

    /// Where the storage is.
    pub fn location(&self) -> Location {
        self.storage.location()
    }

    /// Which of the two sides it is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The room of the volume, where the question has an answer.
    pub async fn space(&self) -> Option<Space> {
        self.storage.space().await
    }

    /// An error where no backup can surely be stored here, as far as that is known without trying.
    pub async fn refuse_unwritable(&self) -> Result<(), StorageError> {
        self.storage.refuse_unwritable().await
    }

    fn marker(&self) -> Bytes {
        serde_json::to_vec(&self.marker_at(Utc::now())).unwrap_or_default().into()
    }

    fn marker_at(&self, written: DateTime<Utc>) -> Marker {
        Marker {
            version: manifest::VERSION,
            source: self.owner.source.clone(),
            system_identifier: self.owner.server().map(str::to_owned),
            run_id: self.owner.run_id.clone(),
            written,
        }
    }

    /// Whether the store gives the archive's bytes now.
    pub async fn is_readable(&self, backup: &Backup) -> bool {
        self.storage.get(&backup.key, 0..1).await.is_ok()
    }

    /// Announces a backup and opens its archive for writing. Nothing of that name may exist.
    pub async fn begin(&self, naming: &Naming, expected_bytes: u64) -> Result<NewBackup, StorageError> {
        NewBackup::begin(self, naming.key(self.layout), expected_bytes).await
    }

    /// Removes a backup of this source.
    pub async fn remove(&self, backup: &Backup) -> Result<(), StorageError> {
        let marker = key::companion(&backup.key, FileKind::Deleting);
        match self.storage.put(&marker, self.marker()).await {
            // left by a run that died before it removed anything
            Ok(()) | Err(StorageError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
        self.storage.delete(&key::companion(&backup.key, FileKind::Manifest)).await?;
        self.finish_removal(&backup.key).await
    }

    /// Removes everything but the manifest, which is gone already, and the marker last.
    async fn finish_removal(&self, archive: &str) -> Result<(), StorageError> {
        for object in self.storage.list(archive).await? {
            let part = key::parse(&object.key).filter(|(of, _)| *of == archive).map(|(_, part)| part);
            if !matches!(part, None | Some(FileKind::Deleting | FileKind::Manifest)) {
                self.storage.delete(&object.key).await?;
            }
        }
        self.storage.delete(&key::companion(archive, FileKind::Deleting)).await
    }
}

#[cfg(test)]
mod tests;
