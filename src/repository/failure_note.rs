//! Runs that failed, as small notes beside the backups: the first failed run of its kind leaves one, and the next that
//! succeeds removes it, so that people are told once that it is over. A run that fails for another reason than the one
//! before leaves a second note, so that the latest cause survives a restart. Where nothing may be deleted, another note
//! says that it is over.

use super::Repository;
use crate::record::manifest::Marker;
use crate::storage::{StorageError, key, read_small};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use tracing::debug;

/// Most bytes of a note.
const LIMIT: u64 = 64 << 10;
/// Causes that a note has room for, and characters of each of their texts.
const CAUSES: usize = 20;
const TEXT: usize = 500;

/// The note that a run of some kind failed, and none has succeeded since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureNote {
    key: String,
    /// When that was, to the millisecond.
    pub time: DateTime<Utc>,
}

/// Why a run failed, as far as its note says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedCause {
    /// What the run was doing.
    pub stage: String,
    /// What it was saving; none where the whole run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What happened; none where backups are encrypted, because it may hold names of a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl NotedCause {
    /// True where a note that says `known` says as much of `causes`: the first of them, whatever numbers, such as ports,
    /// times and sizes, their texts have.
    pub fn are_alike(known: &[Self], causes: &[Self]) -> bool {
        let first = causes.iter().take(CAUSES).map(Self::cut);
        known.len() == causes.len().min(CAUSES) && known.iter().zip(first).all(|(known, cause)| known.is_like(&cause))
    }

    fn is_like(&self, other: &Self) -> bool {
        let words = |cause: &Self| {
            let text = cause.cause.as_deref().unwrap_or_default();
            text.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>()
        };
        (&self.stage, &self.subject, words(self)) == (&other.stage, &other.subject, words(other))
    }

    fn cut(&self) -> Self {
        let cut = |text: &Option<String>| text.as_ref().map(|text| text.chars().take(TEXT).collect());
        Self { stage: self.stage.clone(), subject: cut(&self.subject), cause: cut(&self.cause), hint: cut(&self.hint) }
    }
}

/// What a note holds; those of older versions are only a marker.
#[derive(Serialize, Deserialize)]
struct NoteBody {
    #[serde(flatten)]
    marker: Marker,
    #[serde(default)]
    causes: Vec<NotedCause>,
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

    /// Why the run of that note failed; empty where the note does not say.
    pub async fn failure_causes(&self, note: &FailureNote) -> Result<Vec<NotedCause>, StorageError> {
        let bytes = read_small(&*self.storage, &note.key, LIMIT).await?;
        Ok(serde_json::from_slice(&bytes).map(|body: NoteBody| body.causes).unwrap_or_default())
    }

    /// Notes that a run of that kind failed now, and why.
    pub async fn note_failure(
        &self,
        kind: &str,
        now: DateTime<Utc>,
        causes: &[NotedCause],
    ) -> Result<(), StorageError> {
        let body =
            NoteBody { marker: self.marker_at(now), causes: causes.iter().take(CAUSES).map(NotedCause::cut).collect() };
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        self.put_note_of(&key::failure_note(&self.full_source(), kind, now), bytes.into()).await
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
        self.put_note_of(key, self.marker()).await
    }

    async fn put_note_of(&self, key: &str, body: bytes::Bytes) -> Result<(), StorageError> {
        match self.storage.put(key, body).await {
            Err(StorageError::AlreadyExists { .. }) => Ok(()),
            put => put,
        }
    }
}
