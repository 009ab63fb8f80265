//! Backups over one storage: begin, commit, list, remove, and sweep of what died on the way.
//!
//! The order of writing is what makes a backup exist: marker `.pending`, archive, `.sha256`, facts, manifest, marker
//! gone. The order of removing is the reverse of trust: marker `.deleting`, manifest, the rest, marker gone. So whatever
//! moment a SIGKILL chooses, a backup exists exactly when its manifest does, and a marker tells the next run what to
//! finish or undo.

mod draft;
mod fetch;
mod sweep;
mod verification;

pub use draft::{Content, Draft};
pub use fetch::FetchError;
pub use sweep::{Leftovers, Swept};
pub use verification::FactsError;

use crate::config::PathFormat;
use crate::facts::Subject;
use crate::manifest::{self, How, Manifest, Marker, Verification};
use crate::storage::key::{self, Naming, Part};
use crate::storage::local;
use crate::storage::{Location, Object, Owner, Storage, StorageError, read_small};
use bytes::Bytes;
use chrono::Utc;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;
use verification::Records;

/// Manifests read at once.
const READS: usize = 16;

/// The backups of one storage, as seen by one run of one source.
#[derive(Clone)]
pub struct Repository {
    storage: Arc<dyn Storage>,
    layout: PathFormat,
    source: String,
    owner: Owner,
}

/// A backup that exists.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Its manifest.
    pub manifest: Manifest,
    /// Key of its archive.
    pub key: String,
    /// The archive is there and has the length that the manifest says.
    pub intact: bool,
    /// Its latest verification.
    pub verification: Option<Verification>,
}

impl Backup {
    /// Whole, and not failed in its latest verification.
    pub fn is_good(&self) -> bool {
        self.intact && self.verification.as_ref().is_none_or(|verification| verification.passed)
    }

    /// Restored and found to be what it should be.
    pub fn is_verified(&self) -> bool {
        self.verification.as_ref().is_some_and(|verification| verification.passed && verification.how == How::Restore)
    }
}

/// Everything that lies in a storage.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Backups of every source, oldest first.
    pub backups: Vec<Backup>,
    /// What is not ours: objects that belong to no backup.
    pub foreign: Vec<Object>,
}

impl Repository {
    /// The repository of `source` in `storage`; keys are made by `layout`.
    pub fn new(storage: Arc<dyn Storage>, layout: PathFormat, source: &str, run_id: &str) -> Self {
        Self { storage, layout, source: source.to_owned(), owner: Owner::new(source, run_id) }
    }

    /// Where the storage is.
    pub fn location(&self) -> Location {
        self.storage.location()
    }

    /// The archive's file, where it lies in a folder.
    pub fn file(&self, backup: &Backup) -> Option<PathBuf> {
        let location = self.location();
        (location.kind == local::KIND).then(|| Path::new(&location.name).join(&backup.key))
    }

    /// Free bytes, where the question has an answer.
    pub async fn free_bytes(&self) -> Option<u64> {
        self.storage.free_bytes().await
    }

    fn marker(&self) -> Bytes {
        let marker = Marker {
            version: manifest::VERSION,
            source: self.source.clone(),
            run_id: self.owner.run_id.clone(),
            written: Utc::now(),
        };
        serde_json::to_vec(&marker).unwrap_or_default().into()
    }

    /// Announces a backup and opens its archive for writing. Nothing of that name may exist.
    pub async fn begin(&self, naming: &Naming, expected_bytes: u64) -> Result<Draft, StorageError> {
        Draft::begin(self, naming.key(self.layout), expected_bytes).await
    }

    /// Everything in the storage. A manifest that cannot be read or understood is an error or a warning, never silence.
    pub async fn catalog(&self) -> Result<Catalog, StorageError> {
        let objects = self.storage.list("").await?;
        let manifests = objects.iter().filter_map(|object| match key::parse(&object.key) {
            Some((archive, Part::Manifest)) => Some(archive.to_owned()),
            _ => None,
        });
        let read = stream::iter(manifests).map(|archive| self.read(archive)).buffered(READS);
        let read: Vec<Option<Backup>> = read.try_collect().await?;
        let mut backups: Vec<Backup> = read.into_iter().flatten().collect();
        let records = Records::among(&objects);
        let verified = stream::iter(backups.iter().map(|backup| self.latest_verification(backup, &records)));
        let verified: Vec<Option<Verification>> = verified.buffered(READS).try_collect().await?;
        backups.iter_mut().zip(verified).for_each(|(backup, verified)| backup.verification = verified);
        let sizes: HashMap<&str, u64> = objects.iter().map(|object| (object.key.as_str(), object.size)).collect();
        for backup in &mut backups {
            backup.intact = sizes.get(backup.key.as_str()) == Some(&backup.manifest.stored_bytes);
            if !backup.intact {
                warn!("{} is missing or has another length than its manifest says", self.location().of(&backup.key));
            }
        }
        backups.sort_by(|a, b| {
            (a.manifest.started, &a.manifest.id, &a.key).cmp(&(b.manifest.started, &b.manifest.id, &b.key))
        });
        let known: HashSet<&str> = backups.iter().map(|backup| backup.key.as_str()).collect();
        let is_foreign = |object: &Object| match key::parse(&object.key) {
            Some((_, Part::Pending | Part::Deleting)) => false,
            Some((archive, _)) => !known.contains(archive),
            None => true,
        };
        let foreign = objects.into_iter().filter(is_foreign).collect();
        Ok(Catalog { backups, foreign })
    }

    /// The backup of that archive, with its latest verification; none when it is not there.
    pub async fn find(&self, archive: &str) -> Result<Option<Backup>, StorageError> {
        let Some(mut backup) = self.read(archive.to_owned()).await? else { return Ok(None) };
        let size = self.storage.head(archive).await?.map(|object| object.size);
        backup.intact = size == Some(backup.manifest.stored_bytes);
        let records = Records::among(&self.storage.list(archive).await?);
        backup.verification = self.latest_verification(&backup, &records).await?;
        Ok(Some(backup))
    }

    /// The backup of that archive; none when its manifest vanished meanwhile or is not one.
    async fn read(&self, archive: String) -> Result<Option<Backup>, StorageError> {
        let name = key::companion(&archive, Part::Manifest);
        let bytes = match read_small(&*self.storage, &name, manifest::LIMIT).await {
            Ok(bytes) => bytes,
            Err(StorageError::NotFound { .. }) => return Ok(None),
            Err(error @ StorageError::Unavailable { .. }) => return Err(error),
            Err(error) => {
                warn!("{} is passed over: {error}", self.location().of(&name));
                return Ok(None);
            }
        };
        match Manifest::parse(&bytes) {
            Ok(manifest) => Ok(Some(Backup { manifest, key: archive, intact: true, verification: None })),
            Err(error) => {
                warn!("{} is passed over: {error}", self.location().of(&name));
                Ok(None)
            }
        }
    }

    /// The newest backup of each subject of this source that has not failed a verification, where there is one. Reads
    /// from the newest on, and no further than needed.
    pub async fn newest(&self, subjects: &[Subject]) -> Result<HashMap<Subject, Backup>, StorageError> {
        let mut objects = self.storage.list("").await?;
        let records = Records::among(&objects);
        objects.retain(|object| matches!(key::parse(&object.key), Some((_, Part::Manifest))));
        objects.sort_by_key(|object| std::cmp::Reverse(object.modified));
        let archives =
            objects.iter().filter_map(|object| key::parse(&object.key)).map(|(archive, _)| archive.to_owned());
        let mut read = std::pin::pin!(stream::iter(archives).map(|archive| self.read(archive)).buffered(READS));
        let mut newest: HashMap<Subject, Backup> = HashMap::new();
        while newest.len() < subjects.len()
            && let Some(backup) = read.try_next().await?
        {
            if let Some(mut backup) = backup.filter(|backup| self.owns(backup))
                && subjects.contains(&backup.manifest.subject)
                && !newest.contains_key(&backup.manifest.subject)
            {
                backup.verification = self.latest_verification(&backup, &records).await?;
                if !backup.is_good() {
                    continue;
                }
                newest.entry(backup.manifest.subject.clone()).or_insert(backup);
            }
        }
        Ok(newest)
    }

    /// True when this source made the backup.
    pub fn owns(&self, backup: &Backup) -> bool {
        backup.manifest.source == self.source
    }

    /// Removes a backup of this source.
    pub async fn remove(&self, backup: &Backup) -> Result<(), StorageError> {
        let marker = key::companion(&backup.key, Part::Deleting);
        match self.storage.put(&marker, self.marker()).await {
            // left by a run that died before it removed anything
            Ok(()) | Err(StorageError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
        self.storage.delete(&key::companion(&backup.key, Part::Manifest)).await?;
        self.finish_removal(&backup.key).await
    }

    /// Removes everything but the manifest, which is gone already, and the marker last.
    async fn finish_removal(&self, archive: &str) -> Result<(), StorageError> {
        for object in self.storage.list(archive).await? {
            let part = key::parse(&object.key).filter(|(of, _)| *of == archive).map(|(_, part)| part);
            if !matches!(part, None | Some(Part::Deleting | Part::Manifest)) {
                self.storage.delete(&object.key).await?;
            }
        }
        self.storage.delete(&key::companion(archive, Part::Deleting)).await
    }

    /// Writes, reads back and deletes a small object: the proof that a backup could be kept here.
    pub async fn probe(&self) -> Result<(), StorageError> {
        let name = format!("backup-check-{}", self.owner.run_id);
        let bytes = self.marker();
        self.storage.put(&name, bytes.clone()).await?;
        let read = read_small(&*self.storage, &name, manifest::LIMIT).await;
        let listed = self.storage.list(&name).await;
        self.storage.delete(&name).await?;
        if read? != bytes || listed?.len() != 1 {
            let cause = "it gives back other bytes than were written".to_owned();
            return Err(StorageError::Failed { action: format!("checking {}", self.location().name), cause });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
