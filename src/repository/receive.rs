//! A backup of another storage, taken in as it is.

use super::new_backup::{BackupRecord, NewBackup};
use super::{Backup, Repository};
use crate::hex;
use crate::progress::Counters;
use crate::record::manifest;
use crate::storage::key::{self, ArchiveName, FileKind};
use crate::storage::{StorageError, WHOLE, read_small};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// Why a backup was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// One of the two storages fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is stored is not what was written; nothing of it was kept.
    #[error("{0} does not match its manifest; verify it, and upload another backup")]
    Damaged(String),
    /// Its id is none that we make, so that it has no place.
    #[error("the id {0} in its manifest was not made by this program")]
    Unnameable(String),
}

impl Repository {
    /// Announces a backup that another storage has. Ends with [`NewBackup::receive`] and [`NewBackup::record`], or [`NewBackup::abandon`].
    pub async fn expect(&self, backup: &Backup) -> Result<NewBackup, ReceiveError> {
        let manifest = &backup.manifest;
        let archive = ArchiveName {
            id: &manifest.id,
            subject: &manifest.subject,
            backup_type: manifest.backup_type,
            format: manifest.format,
            encrypted: manifest.encryption.is_some(),
        };
        let key = archive.key(self.layout).ok_or_else(|| ReceiveError::Unnameable(manifest.id.clone()))?;
        Ok(NewBackup::begin(self, key, manifest.stored_bytes).await?)
    }
}

impl NewBackup {
    /// Copies the archive from where it is. Every byte is held against the manifest before anything becomes visible. The
    /// answer is what makes it a backup, as it is there, for [`NewBackup::record`].
    ///
    /// On an error, or when dropped half-way, the new_backup still needs [`NewBackup::abandon`].
    pub async fn receive<'a>(
        &mut self,
        from: &Repository,
        backup: &'a Backup,
        counters: &Counters,
    ) -> Result<BackupRecord<'a>, ReceiveError> {
        let damaged = |key: &str| ReceiveError::Damaged(from.location().of(key));
        let manifest = &backup.manifest;
        let [facts_key, manifest_key] =
            [FileKind::Facts, FileKind::Manifest].map(|part| key::companion(&backup.key, part));
        let text = read_small(&*from.storage, &manifest_key, manifest::LIMIT).await?;
        let is_same = manifest::Manifest::parse(&text).is_ok_and(|parsed| parsed == *manifest);
        let facts = from.read_facts(&backup.key).await?;
        if !is_same {
            return Err(damaged(&manifest_key));
        }
        if hex::encode(&Sha256::digest(&facts)) != manifest.facts_sha256 {
            return Err(damaged(&facts_key));
        }
        let mut body = from.open(backup, WHOLE).await?;
        let (mut digest, mut length) = (Sha256::new(), 0);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = body.read(&mut chunk).await;
            let count = read.map_err(|error| from.location().broke_off(&backup.key, error.to_string()))?;
            length += count as u64;
            if count == 0 || length > manifest.stored_bytes {
                break;
            }
            digest.update(&chunk[..count]);
            self.write(Bytes::copy_from_slice(&chunk[..count])).await?;
            counters.add_raw(count as u64);
        }
        if length != manifest.stored_bytes || hex::encode(&digest.finalize()) != manifest.sha256 {
            return Err(damaged(&backup.key));
        }
        self.store_archive(manifest.stored_bytes).await?;
        Ok(BackupRecord { manifest, text, facts })
    }
}
