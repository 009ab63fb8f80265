//! Failures that people were told of, so that they are told of the end once: a run that fails leaves a small note beside
//! the backups, and the next one of its kind that succeeds takes it away. Where nothing may be deleted, another note says
//! that it is over.

use super::Repository;
use crate::storage::StorageError;
use crate::storage::key;
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use tracing::debug;

/// The note that a run of some kind failed, and none has succeeded since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureNote {
    key: String,
    /// When that was, to the millisecond.
    pub time: DateTime<Utc>,
}

impl Repository {
    /// Notes of runs of that kind of this source, the oldest first. `kind` is any text that is the same for runs that do
    /// the same.
    pub async fn failure_notes(&self, kind: &str) -> Result<Vec<FailureNote>, StorageError> {
        let mut listed = self.storage.list(&key::failure_notes(&self.owner.source, kind)).await?;
        // a run that could not ask the server knew no more than the name
        if self.owner.server().is_some() {
            listed.extend(self.storage.list(&key::failure_notes(&self.full_source(), kind)).await?);
        }
        let keys: HashSet<&str> = listed.iter().map(|object| object.key.as_str()).collect();
        let is_open = |key: &str| !keys.contains(key::recovery_note(key).as_str());
        let open = |key: &str| Some(FailureNote { time: key::failure_time(key)?, key: key.to_owned() });
        let mut notes: Vec<FailureNote> = keys.iter().filter(|key| is_open(key)).filter_map(|key| open(key)).collect();
        notes.sort_by_key(|note| note.time);
        Ok(notes)
    }

    /// Notes that a run of that kind failed now.
    pub async fn note_failure(&self, kind: &str, now: DateTime<Utc>) -> Result<(), StorageError> {
        self.put_note(&key::failure_note(&self.full_source(), kind, now)).await
    }

    /// Takes the notes away.
    pub async fn remove_failure_notes(&self, notes: &[FailureNote]) -> Result<(), StorageError> {
        for note in notes {
            if let Err(error) = self.storage.delete(&note.key).await {
                debug!("{} stays: {error}", self.location().of(&note.key));
                self.put_note(&key::recovery_note(&note.key)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn put_note(&self, key: &str) -> Result<(), StorageError> {
        match self.storage.put(key, self.marker()).await {
            Err(StorageError::AlreadyExists { .. }) => Ok(()),
            put => put,
        }
    }
}
