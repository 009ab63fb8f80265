//! A backup on its way to one storage.

use super::Repository;
use crate::record::manifest::Manifest;
use crate::storage::key::{FileKind, companion};
use crate::storage::{Note, StorageError, Upload, while_moving};
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tracing::warn;

/// What makes an archive a backup.
pub struct BackupRecord<'a> {
    pub manifest: &'a Manifest,
    pub text: Bytes,
    /// The facts file's bytes.
    pub facts: Bytes,
}

impl<'a> BackupRecord<'a> {
    /// What is written beside an archive that was made now.
    pub fn new(manifest: &'a Manifest, facts: Bytes) -> Self {
        Self { manifest, text: manifest.to_bytes().into(), facts }
    }
}

/// An announced backup: its marker is written, its archive takes bytes. Ends with [`NewBackup::record`] or
/// [`NewBackup::abandon`]; dropped without either it is what the next run sweeps.
pub struct NewBackup {
    repository: Repository,
    key: String,
    upload: Option<Box<dyn Upload>>,
    /// What may exist of ours beside the marker, in the order it was written.
    written: Vec<FileKind>,
    /// Where the store's number of the upload is noted.
    note: Note,
    /// The store was asked to make the archive visible, and has not answered.
    archive_on_its_way: bool,
    /// The manifest was sent and nobody knows whether it arrived.
    manifest_on_its_way: bool,
    /// Somebody took this one for dead: what is under its names now may be theirs.
    is_taken_over: bool,
}

impl NewBackup {
    pub(super) async fn begin(repository: &Repository, key: String, expected_bytes: u64) -> Result<Self, StorageError> {
        let storage = &repository.storage;
        let parts = [FileKind::Archive, FileKind::Checksum, FileKind::Facts, FileKind::Manifest];
        let names = parts.map(|part| companion(&key, part));
        let looked = try_join_all(names.iter().map(|name| storage.head(name))).await?;
        if let Some(taken) = looked.iter().position(Option::is_some) {
            return Err(StorageError::AlreadyExists { key: names[taken].clone() });
        }
        storage.put(&companion(&key, FileKind::Pending), repository.marker()).await?;
        let note = Note::new(companion(&key, FileKind::Upload));
        let mut new_backup = Self {
            repository: repository.clone(),
            key,
            upload: None,
            written: Vec::new(),
            note,
            archive_on_its_way: false,
            manifest_on_its_way: false,
            is_taken_over: false,
        };
        match storage.upload(&new_backup.key, expected_bytes).await {
            Ok(mut upload) => {
                upload.note(new_backup.note.clone());
                new_backup.upload = Some(upload);
                Ok(new_backup)
            }
            Err(error) => {
                // a file of that name that appeared meanwhile is not ours to remove
                new_backup.forget_marker().await;
                Err(error)
            }
        }
    }

    /// Key of the archive.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Hands chunks to the archive until the channel closes. Says nothing of whether they were all: committing is a
    /// decision of its own.
    pub async fn feed(&mut self, mut chunks: mpsc::Receiver<Bytes>) -> Result<(), StorageError> {
        while let Some(chunk) = chunks.recv().await {
            self.write(chunk).await?;
        }
        Ok(())
    }

    /// Hands the next bytes to the archive, unless the store stalls; once it was committed they go nowhere.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let (progress, limit) = (upload.progress(), self.repository.stall_limit);
        let written = while_moving(&progress, limit, upload.write(bytes)).await;
        written.ok_or_else(|| StorageError::Stalled { action: "writing the backup".to_owned(), limit })?
    }

    /// Makes the archive visible under its name; without manifest that is no backup yet.
    ///
    /// On an error, or when dropped half-way, the new_backup still needs [`NewBackup::abandon`].
    pub async fn store_archive(&mut self, expected_bytes: u64) -> Result<(), StorageError> {
        let Some(upload) = self.upload.take() else { return Ok(()) };
        self.written.push(FileKind::Archive);
        // dropped meanwhile, nobody knows whether it appears
        self.archive_on_its_way = true;
        let committed = upload.commit().await;
        self.archive_on_its_way = false;
        let object = self.unless_foreign(committed)?;
        self.check_size(object.size, expected_bytes)
    }

    /// Makes the backup exist: checksum, facts, and last the manifest.
    ///
    /// On an error the new_backup still needs [`NewBackup::abandon`]. Give it time to end: dropped while the manifest is on its
    /// way, nobody knows whether there is a backup, and the next run looks.
    pub async fn record(&mut self, content: &BackupRecord<'_>) -> Result<(), StorageError> {
        let storage = self.repository.storage.clone();
        let name = self.key.rsplit('/').next().unwrap_or(&self.key);
        let checksum = format!("{}  {name}\n", content.manifest.sha256);
        for (part, bytes) in [(FileKind::Checksum, checksum.into()), (FileKind::Facts, content.facts.clone())] {
            self.written.push(part);
            let put = storage.put(&companion(&self.key, part), bytes).await;
            self.unless_foreign(put)?;
        }
        // a run that took this one for dead would have removed both
        let archive = storage.head(&self.key).await?;
        self.check_size(archive.map_or(0, |object| object.size), content.manifest.stored_bytes)?;
        let marker = self.repository.read_marker(&companion(&self.key, FileKind::Pending)).await?;
        if marker.is_none_or(|marker| marker.run_id != self.repository.owner.run_id) {
            self.is_taken_over = true;
            return Err(self.failed("its marker was removed by another run".to_owned()));
        }
        self.manifest_on_its_way = true;
        let put = storage.put(&companion(&self.key, FileKind::Manifest), content.text.clone()).await;
        self.manifest_on_its_way = put.as_ref().is_err_and(StorageError::is_transient);
        put?;
        self.forget_marker().await;
        Ok(())
    }

    fn check_size(&self, stored: u64, sent: u64) -> Result<(), StorageError> {
        if stored == sent { Ok(()) } else { Err(self.failed(format!("{stored} bytes are stored, {sent} were sent"))) }
    }

    /// The error of who waited for the storage in vain.
    pub fn unanswered(&self, action: &str) -> StorageError {
        let setting = self.repository.location().setting;
        StorageError::Unavailable { action: action.to_owned(), cause: "no answer in time".to_owned(), setting }
    }

    fn failed(&self, cause: String) -> StorageError {
        let location = self.repository.location().of(&self.key);
        StorageError::Failed { action: format!("storing {location}"), cause }
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
        let location = self.repository.location().of(&self.key);
        if self.is_taken_over {
            warn!("{location} was taken over by another run, and is left to it");
            return;
        }
        if self.manifest_on_its_way {
            warn!(
                "{location}: it is not known whether its manifest was stored; the next run will find out and clean up"
            );
            return;
        }
        match self.remove_traces().await {
            Ok(()) if self.archive_on_its_way => {
                warn!(
                    "{location}: it is not known whether the store will still complete it; the next run will find out \
                     and clean up"
                );
            }
            Ok(()) => {}
            Err(error) => warn!("{location} could not be cleaned up ({error}); the next run will clean it up"),
        }
    }

    async fn remove_traces(&mut self) -> Result<(), StorageError> {
        let storage = self.repository.storage.clone();
        if let Some(upload) = self.upload.take() {
            upload.abort().await?;
        }
        // one whose beginning or end was cut is known to the store alone
        self.repository.discard_unfinished(&self.key).await;
        for part in self.written.iter().rev() {
            storage.delete(&companion(&self.key, *part)).await?;
        }
        // what may still appear is ours by its marker
        if self.archive_on_its_way {
            return Ok(());
        }
        self.delete_markers().await
    }

    async fn delete_markers(&self) -> Result<(), StorageError> {
        let storage = &self.repository.storage;
        if self.note.is_written() {
            storage.delete(&self.note.key).await?;
        }
        storage.delete(&companion(&self.key, FileKind::Pending)).await
    }

    async fn forget_marker(&self) {
        if let Err(error) = self.delete_markers().await {
            let marker = companion(&self.key, FileKind::Pending);
            warn!(
                "{} could not be removed and stays until the next run: {error}",
                self.repository.location().of(&marker)
            );
        }
    }
}
