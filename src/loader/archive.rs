//! A stored archive, read from one database of it to the next, and what its bytes came to.

use super::Broken;
use super::parts::{self, ArchiveParts};
use crate::config::Format;
use crate::encryption::{Identities, KeyError};
use crate::error::{Error, SettingsError};
use crate::pipeline::{self, ArchiveReadError, CopyFacts, GatheredFacts, StoredArchive, Wrapping};
use crate::record::facts::{Facts, Subject, TableRows};
use crate::repository::{Backup, Repository};
use crate::storage::{Location, StorageError};
use bytes::Bytes;
use std::collections::BTreeSet;
use tokio::io::AsyncRead;

/// What is read.
enum OpenArchive {
    Whole(Box<StoredArchive<Box<dyn AsyncRead + Send + Unpin>>>),
    Parts(Box<ArchiveParts>),
}

/// What a stored archive came to.
pub(crate) enum Ended {
    /// It was read to its end.
    Whole {
        stored: pipeline::StoredBytes,
        found: Result<GatheredFacts, &'static str>,
    },
    Parts(Box<ArchiveParts>),
}

/// A stored archive that is read from one database to the next.
pub(crate) struct Reading {
    stored: OpenArchive,
    ahead: Bytes,
    position: u64,
    /// Bytes that the whole dump has: what goes on after them is none.
    raw_bytes: u64,
    /// Why nothing in it can be read.
    fault: Option<String>,
    place: ArchivePlace,
}

impl Reading {
    /// Opens the archive of a backup. Of an encrypted one without keys the stored bytes are read, and nothing of
    /// what is in them.
    pub(crate) async fn open(
        repository: &Repository,
        backup: &Backup,
        keys: Option<&Identities>,
    ) -> Result<Self, Error> {
        let facts = CopyFacts::sums_of(&backup.manifest.subject, backup.manifest.format == Format::Custom);
        Self::open_with(repository, backup, facts, keys).await
    }

    /// The same without a look at the rows, for those who compare what is restored.
    pub(crate) async fn open_bytes(
        repository: &Repository,
        backup: &Backup,
        keys: Option<&Identities>,
    ) -> Result<Self, Error> {
        Self::open_with(repository, backup, CopyFacts::None, keys).await
    }

    async fn open_with(
        repository: &Repository,
        backup: &Backup,
        facts: CopyFacts,
        keys: Option<&Identities>,
    ) -> Result<Self, Error> {
        let body = repository.open_whole(backup).await?;
        let (manifest, place) = (&backup.manifest, ArchivePlace::of(repository, backup));
        let is_custom = manifest.format == Format::Custom;
        let is_encrypted = manifest.encryption.is_some();
        let is_sealed = is_encrypted && keys.is_none();
        let (facts, wrapping) = if is_sealed {
            (CopyFacts::None, Wrapping { gzip: false, age: None })
        } else {
            let wrapping = Wrapping { gzip: !is_custom, age: keys.filter(|_| is_encrypted) };
            (facts, wrapping)
        };
        let (archive, fault) = match StoredArchive::open(body, wrapping, facts).await {
            Ok(archive) => (archive, None),
            // its header is damaged: what is stored is read all the same, for its checksum
            Err(ArchiveReadError::Key(KeyError::Damaged(cause))) => {
                let body = repository.open_whole(backup).await?;
                let archive = StoredArchive::open(body, Wrapping { gzip: false, age: None }, CopyFacts::None).await;
                let fault = Some(KeyError::Damaged(cause).to_string());
                (archive.map_err(|error| place.unreadable(error))?, fault)
            }
            Err(ArchiveReadError::Key(cause)) => {
                return Err(Error::Settings(SettingsError::Key { name: repository.location().of(&backup.key), cause }));
            }
            Err(error) => return Err(place.unreadable(error)),
        };
        let raw_bytes = if is_sealed { u64::MAX } else { manifest.raw_bytes };
        let stored = OpenArchive::Whole(Box::new(archive));
        Ok(Self { stored, ahead: Bytes::new(), position: 0, raw_bytes, fault, place })
    }

    /// Opens what the rows of these tables need, where the archive can be read in parts: SQL of one database that is not
    /// encrypted. Any other is read whole.
    pub(crate) async fn open_for(
        repository: &Repository,
        backup: &Backup,
        facts: &Facts,
        tables: &BTreeSet<String>,
        keys: Option<&Identities>,
    ) -> Result<Self, Error> {
        let manifest = &backup.manifest;
        let only = facts.databases().next().filter(|_| facts.databases().len() == 1);
        let is_whole = manifest.encryption.is_some() || manifest.format == Format::Custom;
        let Some(database) = only.filter(|_| !is_whole && manifest.subject != Subject::Cluster) else {
            return Self::open_bytes(repository, backup, keys).await;
        };
        let contents = database.contents(|_| true)?;
        let bytes = |(_, rows): (&String, &TableRows)| rows.members.iter().map(|member| member.length).sum::<u64>();
        let wanted: u64 = contents.tables.iter().filter(|(table, _)| tables.contains(*table)).map(bytes).sum();
        // most of it: read as one, it is proved as one
        if wanted.saturating_mul(2) > manifest.stored_bytes {
            return Self::open_bytes(repository, backup, keys).await;
        }
        let Some(parts) = parts::cut(&contents, tables, manifest.stored_bytes) else {
            // it is read whole, and what is wrong with it found
            return Self::open_bytes(repository, backup, keys).await;
        };
        let stored = OpenArchive::Parts(Box::new(ArchiveParts::new(repository, backup, parts)));
        let (raw_bytes, place) = (manifest.raw_bytes, ArchivePlace::of(repository, backup));
        Ok(Self { stored, ahead: Bytes::new(), position: 0, raw_bytes, fault: None, place })
    }

    /// Bytes of the dump that were handed out.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes of the dump, none at `end`, or where the dump ends.
    pub(crate) async fn next(&mut self, end: Option<u64>) -> Result<Option<Bytes>, Broken> {
        if let Some(fault) = &self.fault {
            return Err(Broken::Backup(fault.clone()));
        }
        if self.ahead.is_empty() {
            let next = match &mut self.stored {
                OpenArchive::Whole(archive) => archive.next().await,
                OpenArchive::Parts(parts) => parts.next().await,
            };
            match next {
                Ok(Some(bytes)) if self.position + bytes.len() as u64 > self.raw_bytes => {
                    let most = self.raw_bytes;
                    return Err(Broken::Backup(format!(
                        "its SQL is longer than the {most} bytes that its manifest records"
                    )));
                }
                Ok(Some(bytes)) => self.ahead = bytes,
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.explain(error)),
            }
        }
        let left = end.map_or(u64::MAX, |end| end.saturating_sub(self.position));
        let length = self.ahead.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.position += length as u64;
        Ok((length > 0).then(|| self.ahead.split_to(length)))
    }

    /// Reads on to the end of the dump.
    pub(crate) async fn skip(&mut self) -> Result<(), Broken> {
        while self.next(None).await?.is_some() {}
        Ok(())
    }

    /// What was read, once that is as far as it goes.
    pub(crate) async fn end(self) -> Result<Ended, Error> {
        match self.stored {
            OpenArchive::Whole(archive) => {
                let (stored, found) = archive.finish().await.map_err(|error| self.place.unreadable(error))?;
                Ok(Ended::Whole { stored, found })
            }
            OpenArchive::Parts(parts) => Ok(Ended::Parts(parts)),
        }
    }

    fn explain(&self, error: ArchiveReadError) -> Broken {
        match error {
            ArchiveReadError::Damaged { .. } | ArchiveReadError::Changed(_) | ArchiveReadError::Key(_) => {
                Broken::Backup(error.to_string())
            }
            error @ ArchiveReadError::Store(_) => Broken::Other(self.place.unreadable(error)),
        }
    }
}

/// Where an archive is, for errors.
struct ArchivePlace {
    store: Location,
    key: String,
}

impl ArchivePlace {
    fn of(repository: &Repository, backup: &Backup) -> Self {
        Self { store: repository.location(), key: backup.key.clone() }
    }

    fn unreadable(&self, error: ArchiveReadError) -> Error {
        let cause = match error {
            ArchiveReadError::Store(cause) => match cause.downcast::<StorageError>() {
                Ok(error) => return error.into(),
                Err(cause) => cause.to_string(),
            },
            error => error.to_string(),
        };
        self.store.broke_off(&self.key, cause).into()
    }
}
