//! Records of verifications, and what a verification reads.

use super::{Backup, Repository, Side};
use crate::encryption::{Identities, KeyError};
use crate::hex;
use crate::record::facts::Facts;
use crate::record::manifest::Verification;
use crate::storage::key::{self, FileKind};
use crate::storage::read_ahead::ReadAhead;
use crate::storage::resume::Resuming;
use crate::storage::{Object, StorageError, WHOLE, read_small};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tracing::warn;

/// Bytes of an archive that is read in several parts.
const WORTH_SPLITTING: u64 = 16 << 20;

/// How long a store may give no byte of a facts file before it is asked again.
const STALL: Duration = Duration::from_secs(30);
/// How long it may take to open one, with every attempt.
const OPENED: Duration = Duration::from_secs(90);
/// Most bytes of a verification's record.
const RECORD: u64 = 64 << 20;
/// Verifications that may end in one moment.
const ATTEMPTS: usize = 10;

/// Why there are no facts.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The file cannot be read for now.
    #[error(transparent)]
    Storage(StorageError),
    /// The file is missing or is not the one that was written.
    #[error("{0}")]
    Damaged(String),
    /// The file is encrypted, and there is no key that opens it.
    #[error("{name}: {cause}")]
    Key {
        /// The file.
        name: String,
        /// What is wrong with the keys.
        cause: KeyError,
    },
}

impl Repository {
    /// The facts of a backup, whose file is held against the manifest. Encrypted ones need a key.
    pub async fn facts(&self, backup: &Backup, keys: Option<&Identities>) -> Result<Facts, FactsError> {
        let name = key::companion(&backup.key, FileKind::Facts);
        let bytes = match self.read_facts(&backup.key).await {
            Ok(bytes) => bytes,
            Err(error @ StorageError::NotFound { .. }) => return Err(FactsError::Damaged(error.to_string())),
            Err(error) => return Err(FactsError::Storage(error)),
        };
        if hex::encode(&Sha256::digest(&bytes)) != backup.manifest.facts_sha256 {
            return Err(FactsError::Damaged(format!("{name} does not match the manifest")));
        }
        let bytes = match backup.manifest.encryption {
            Some(_) => decrypt(&bytes, keys).await.map_err(|error| match error {
                KeyError::Damaged(_) => FactsError::Damaged(format!("{name}: {error}")),
                cause => FactsError::Key { name: self.location().of(&name), cause },
            })?,
            None => bytes,
        };
        Facts::parse(bytes).map_err(|error| FactsError::Damaged(format!("{name}: {error}")))
    }

    /// The bytes of an archive's facts file, however many they are.
    pub(super) async fn read_facts(&self, archive: &str) -> Result<Bytes, StorageError> {
        let name = key::companion(archive, FileKind::Facts);
        let opened = timeout(OPENED, Resuming::open(self.storage.clone(), &name, WHOLE, STALL)).await;
        let no_answer = |_| self.location().broke_off(&name, format!("no answer within {} s", OPENED.as_secs()));
        let mut reader = opened.map_err(no_answer)??;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.map_err(|error| {
            let broke_off = |error: std::io::Error| self.location().broke_off(&name, error.to_string());
            error.downcast::<StorageError>().unwrap_or_else(broke_off)
        })?;
        Ok(bytes.into())
    }

    /// The archive's bytes from its beginning to its end: those of a store in several parts at the same time.
    pub async fn open_whole(&self, backup: &Backup) -> Result<Box<dyn AsyncRead + Send + Unpin>, StorageError> {
        if self.side == Side::Remote && backup.manifest.stored_bytes >= WORTH_SPLITTING {
            let opened = ReadAhead::open(self.storage.clone(), &backup.key, self.stall_limit).await;
            // not every store reads parts, and of an object without bytes there are none
            if let Ok(ahead) = opened {
                return Ok(Box::new(ahead));
            }
        }
        Ok(Box::new(self.open(backup, WHOLE).await?))
    }

    /// The archive's bytes, or some of them; a store that stalls is asked again.
    pub async fn open(&self, backup: &Backup, range: Range<u64>) -> Result<Resuming, StorageError> {
        Resuming::open(self.storage.clone(), &backup.key, range, self.stall_limit).await
    }

    /// Stores the record of a verification beside its backup.
    pub async fn record_verification(
        &self,
        backup: &Backup,
        finished: DateTime<Utc>,
        record: Bytes,
    ) -> Result<(), StorageError> {
        let mut time = finished;
        for _ in 0..ATTEMPTS {
            let name = key::verification(&backup.key, time);
            match self.storage.put(&name, record.clone()).await {
                Err(StorageError::AlreadyExists { .. }) => time += TimeDelta::milliseconds(1),
                stored => return stored,
            }
        }
        Err(StorageError::AlreadyExists { key: key::verification(&backup.key, finished) })
    }

    /// What the latest record of a backup's verifications says; none where there is none that can be read and is meant
    /// for these bytes.
    pub(super) async fn latest_verification(
        &self,
        backup: &Backup,
        records: &Records,
    ) -> Result<Option<Verification>, StorageError> {
        for name in records.0.get(&backup.key).into_iter().flatten() {
            let read = match read_small(&*self.storage, name, RECORD).await {
                Ok(bytes) => parse(&bytes).map_err(|error| error.to_string()),
                Err(StorageError::NotFound { .. }) => continue,
                Err(error @ StorageError::Unavailable { .. }) => return Err(error),
                Err(error) => Err(error.to_string()),
            };
            match read {
                Ok(verification) if verification.sha256 == backup.manifest.sha256 => return Ok(Some(verification)),
                Ok(_) => warn!("{} is about different bytes and is skipped", self.location().of(name)),
                Err(error) => warn!("{} is skipped: {error}", self.location().of(name)),
            }
        }
        Ok(None)
    }
}

/// What is read of a stored report.
#[derive(Deserialize)]
struct StoredVerification {
    #[serde(flatten)]
    verification: Verification,
    #[serde(default)]
    databases: Vec<TimedDatabase>,
}

#[derive(Deserialize)]
struct TimedDatabase {
    #[serde(default)]
    restore_seconds: Option<f64>,
}

fn parse(bytes: &[u8]) -> Result<Verification, serde_json::Error> {
    let StoredVerification { verification, databases } = serde_json::from_slice(bytes)?;
    let seconds = databases.iter().filter_map(|database| database.restore_seconds).reduce(|sum, one| sum + one);
    Ok(Verification { restore_seconds: seconds, ..verification })
}

async fn decrypt(bytes: &[u8], keys: Option<&Identities>) -> Result<Bytes, KeyError> {
    let mut reader = Box::pin(keys.ok_or(KeyError::Missing)?.decrypt(bytes).await?);
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain).await.map_err(|error| KeyError::Damaged(error.to_string()))?;
    Ok(plain.into())
}

/// The records of each archive's verifications, the latest first, by the archive's key.
pub(super) struct Records(HashMap<String, Vec<String>>);

impl Records {
    pub(super) fn among(objects: &[Object]) -> Self {
        let mut records: HashMap<String, Vec<String>> = HashMap::new();
        for object in objects {
            if let Some((archive, FileKind::Verification)) = key::parse(&object.key) {
                records.entry(archive.to_owned()).or_default().push(object.key.clone());
            }
        }
        // names of one archive are in the order of time
        records.values_mut().for_each(|names| names.sort_by(|a, b| b.cmp(a)));
        Self(records)
    }
}
