//! A backup on its way to one storage.

use super::Repository;
use crate::manifest::Manifest;
use crate::storage::key::{Part, companion};
use crate::storage::{StorageError, Upload};
use bytes::Bytes;
use tracing::warn;

/// What makes an archive a backup.
pub struct Content<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The facts file's bytes.
    pub facts: Bytes,
}

/// An announced backup: its marker is written, its archive takes bytes. Ends with [`Draft::commit`] or
/// [`Draft::abandon`]; dropped without either it is what the next run sweeps.
pub struct Draft {
    repository: Repository,
    key: String,
    upload: Option<Box<dyn Upload>>,
    /// What may exist of ours beside the marker, in the order it was written.
    written: Vec<Part>,
}

impl Draft {
    pub(super) async fn begin(repository: &Repository, key: String, expected_bytes: u64) -> Result<Self, StorageError> {
        let storage = &repository.storage;
        for part in [Part::Archive, Part::Checksum, Part::Facts, Part::Manifest] {
            let name = companion(&key, part);
            if storage.head(&name).await?.is_some() {
                return Err(StorageError::AlreadyExists { key: name });
            }
        }
        storage.put(&companion(&key, Part::Pending), repository.marker()).await?;
        let mut draft = Self { repository: repository.clone(), key, upload: None, written: Vec::new() };
        match storage.upload(&draft.key, expected_bytes).await {
            Ok(upload) => {
                draft.upload = Some(upload);
                Ok(draft)
            }
            Err(error) => {
                // a file of that name that appeared meanwhile is not ours to remove
                draft.forget_marker().await;
                Err(error)
            }
        }
    }

    /// Key of the archive.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where the archive takes its bytes; none once it was committed.
    pub fn upload(&mut self) -> Option<&mut dyn Upload> {
        match &mut self.upload {
            Some(upload) => Some(&mut **upload),
            None => None,
        }
    }

    /// Makes the backup exist: archive, checksum, facts, manifest, in this order.
    ///
    /// On an error the draft still needs [`Draft::abandon`].
    pub async fn commit(&mut self, content: &Content<'_>) -> Result<(), StorageError> {
        let storage = self.repository.storage.clone();
        let location = storage.location().of(&self.key);
        if let Some(upload) = self.upload.take() {
            self.written.push(Part::Archive);
            let object = self.unless_foreign(upload.commit().await)?;
            if object.size != content.manifest.stored_bytes {
                let cause = format!("{} bytes are stored, {} were sent", object.size, content.manifest.stored_bytes);
                return Err(StorageError::Failed { action: format!("storing {location}"), cause });
            }
        }
        let name = self.key.rsplit('/').next().unwrap_or(&self.key);
        let checksum = format!("{}  {name}\n", content.manifest.sha256);
        let companions: [(Part, Bytes); 3] = [
            (Part::Checksum, checksum.into()),
            (Part::Facts, content.facts.clone()),
            (Part::Manifest, content.manifest.to_bytes().into()),
        ];
        for (part, bytes) in companions {
            self.written.push(part);
            let put = storage.put(&companion(&self.key, part), bytes).await;
            self.unless_foreign(put)?;
        }
        self.forget_marker().await;
        Ok(())
    }

    /// A name that somebody else took meanwhile is not ours to clean up.
    fn unless_foreign<T>(&mut self, outcome: Result<T, StorageError>) -> Result<T, StorageError> {
        if matches!(outcome, Err(StorageError::AlreadyExists { .. })) {
            self.written.pop();
        }
        outcome
    }

    /// Removes every trace. What cannot be removed now is said and left to the next run, which the marker tells of it.
    pub async fn abandon(mut self) {
        if let Err(error) = self.remove_traces().await {
            let location = self.repository.location().of(&self.key);
            warn!("{location} could not be cleaned up, the next run will: {error}");
        }
    }

    async fn remove_traces(&mut self) -> Result<(), StorageError> {
        let storage = self.repository.storage.clone();
        match self.upload.take() {
            Some(upload) => upload.abort().await?,
            None => {
                // commit was under way
                for part in self.written.iter().rev() {
                    storage.delete(&companion(&self.key, *part)).await?;
                }
                for unfinished in storage.unfinished(&self.key).await? {
                    storage.discard(&unfinished).await?;
                }
            }
        }
        storage.delete(&companion(&self.key, Part::Pending)).await
    }

    async fn forget_marker(&self) {
        let marker = companion(&self.key, Part::Pending);
        if let Err(error) = self.repository.storage.delete(&marker).await {
            warn!("{} stays until the next run: {error}", self.repository.location().of(&marker));
        }
    }
}
