//! Failures that people were told of, so that they are told of the end once: a run that fails leaves a small note beside
//! the backups, and the next one of its kind that succeeds takes it away.

use super::Repository;
use crate::storage::StorageError;
use crate::storage::key;
use chrono::{DateTime, Utc};

/// The note that a run of some kind failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    key: String,
    /// When that was, to the millisecond.
    pub time: DateTime<Utc>,
}

impl Repository {
    /// Notes of runs of that kind of this source, the oldest first. `kind` is any text that is the same for runs that do
    /// the same.
    pub async fn outages(&self, kind: &str) -> Result<Vec<Outage>, StorageError> {
        let listed = self.storage.list(&key::outages(&self.source, kind)).await?;
        let mut outages: Vec<Outage> = listed
            .into_iter()
            .filter_map(|object| Some(Outage { time: key::outage_time(&object.key)?, key: object.key }))
            .collect();
        outages.sort_by_key(|outage| outage.time);
        Ok(outages)
    }

    /// Notes that a run of that kind failed now.
    pub async fn note_outage(&self, kind: &str, now: DateTime<Utc>) -> Result<(), StorageError> {
        match self.storage.put(&key::outage(&self.source, kind, now), self.marker()).await {
            Err(StorageError::AlreadyExists { .. }) => Ok(()),
            put => put,
        }
    }

    /// Takes the notes away.
    pub async fn forget_outages(&self, outages: &[Outage]) -> Result<(), StorageError> {
        for outage in outages {
            self.storage.delete(&outage.key).await?;
        }
        Ok(())
    }
}
