//! The sweep: what runs of our own source left when they died.

use super::Repository;
use crate::manifest::{self, Marker};
use crate::storage::key::{self, Naming, Part};
use crate::storage::{StorageError, read_small};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashSet;
use tracing::{info, warn};

/// Without the lock, only what is older than this is taken for dead.
const SURELY_DEAD: TimeDelta = TimeDelta::days(1);

/// What a sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Backups that never were whole and are gone now.
    pub undone: usize,
    /// Removals that were cut and are finished now.
    pub finished: usize,
}

impl Repository {
    /// Removes what dead runs of this source left, and nobody else's.
    ///
    /// `is_alive` says of a run id whether its session still lives on the source's server. With `locked` false another
    /// run may be at work unseen, and only leftovers older than a day go.
    pub async fn sweep(
        &self,
        is_alive: impl Fn(&str) -> bool + Send + Sync,
        locked: bool,
        now: DateTime<Utc>,
    ) -> Result<Swept, StorageError> {
        let objects = self.storage.list("").await?;
        let existing: HashSet<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        let mut swept = Swept::default();
        for object in &objects {
            let Some((archive, part @ (Part::Pending | Part::Deleting))) = key::parse(&object.key) else { continue };
            let Some(marker) = self.read_marker(&object.key).await? else { continue };
            let dead = (locked || now - marker.written > SURELY_DEAD) && !is_alive(&marker.run_id);
            if marker.source != self.source || !dead {
                continue;
            }
            let exists = existing.contains(key::companion(archive, Part::Manifest).as_str());
            match (part, exists) {
                (Part::Pending, false) => {
                    info!("removing {}, which a run that died left unfinished", self.location().of(archive));
                    self.undo(archive).await?;
                    swept.undone += 1;
                }
                (Part::Deleting, false) => {
                    info!("finishing the removal of {}", self.location().of(archive));
                    self.finish_removal(archive).await?;
                    swept.finished += 1;
                }
                // the backup is whole: only the marker is too much
                _ => self.storage.delete(&object.key).await?,
            }
        }
        self.sweep_partial_files(&is_alive, locked).await?;
        Ok(swept)
    }

    /// Takes back an announcement of this run that was cut while it was made.
    pub async fn retract(&self, naming: &Naming) -> Result<(), StorageError> {
        let archive = naming.key(self.layout);
        let marker = self.read_marker(&key::companion(&archive, Part::Pending)).await?;
        if marker.is_some_and(|marker| marker.run_id == self.owner.run_id) {
            self.undo(&archive).await?;
        }
        for (owner, unfinished) in self.storage.unfinished_with_owner().await? {
            if owner == self.owner {
                self.storage.discard(&unfinished).await?;
            }
        }
        Ok(())
    }

    async fn undo(&self, archive: &str) -> Result<(), StorageError> {
        for unfinished in self.storage.unfinished(archive).await? {
            self.storage.discard(&unfinished).await?;
        }
        for part in [Part::Facts, Part::Checksum, Part::Archive, Part::Pending] {
            self.storage.delete(&key::companion(archive, part)).await?;
        }
        Ok(())
    }

    async fn sweep_partial_files(
        &self,
        is_alive: &(impl Fn(&str) -> bool + Send + Sync),
        locked: bool,
    ) -> Result<(), StorageError> {
        for (owner, unfinished) in self.storage.unfinished_with_owner().await? {
            let other_run = owner.run_id != self.owner.run_id && !is_alive(&owner.run_id);
            if locked && other_run && owner.source == self.owner.source {
                self.storage.discard(&unfinished).await?;
            }
        }
        Ok(())
    }

    /// The marker's content; none when it vanished or is not one of ours.
    async fn read_marker(&self, name: &str) -> Result<Option<Marker>, StorageError> {
        match read_small(&*self.storage, name, manifest::LIMIT).await {
            Ok(bytes) => {
                let marker = serde_json::from_slice(&bytes);
                if marker.is_err() {
                    warn!("{} is no marker of this program and is left alone", self.location().of(name));
                }
                Ok(marker.ok())
            }
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
