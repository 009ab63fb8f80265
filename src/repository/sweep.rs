//! The sweep: what runs of our own source left when they died.

use super::Repository;
use super::whose::Adoptions;
use crate::record::manifest::{self, Marker};
use crate::storage::key::{self, FileKind, Naming};
use crate::storage::{StorageError, Trace, Unfinished, read_small};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashSet;
use tracing::{info, warn};

/// Where nobody can say who lives, only what is older than this is taken for dead.
const SURELY_DEAD: TimeDelta = TimeDelta::days(1);

/// What a sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Backups that never were whole and are gone now.
    pub undone: usize,
    /// Removals that were cut and are finished now.
    pub finished: usize,
}

/// What lies in a storage and may be somebody's unfinished work.
pub struct Leftovers {
    existing: HashSet<String>,
    markers: Vec<(String, Marker)>,
    partial: Vec<(Trace, Unfinished)>,
}

impl Repository {
    /// Looks for markers and partial files of this source.
    pub async fn leftovers(&self) -> Result<Leftovers, StorageError> {
        let objects = self.storage.list("").await?;
        let adoptions = Adoptions::among(&objects, &self.owner.source);
        let mut markers = Vec::new();
        for object in &objects {
            if let Some((_, FileKind::Pending | FileKind::Deleting)) = key::parse(&object.key)
                && let Some(marker) = self.read_marker(&object.key).await?
                && self.owns_marker(&marker, &adoptions)
            {
                markers.push((object.key.clone(), marker));
            }
        }
        let mut partial = self.storage.unfinished_with_owner().await?;
        let own = self.owner.trace();
        partial.retain(|(trace, _)| {
            let is_other_run = trace.source == own.source && trace.run_id != own.run_id;
            is_other_run && self.may_touch(trace.server.as_deref(), &adoptions)
        });
        let existing = objects.into_iter().map(|object| object.key).collect();
        Ok(Leftovers { existing, markers, partial })
    }

    /// Removes those leftovers whose run is dead.
    ///
    /// `living` are the ids of runs that have a session on the source's server, asked after the leftovers were looked
    /// for; none when that is not known, and then only what is older than a day goes. What cannot be removed is said
    /// and left to another run.
    pub async fn sweep(&self, leftovers: &Leftovers, living: Option<&[String]>, now: DateTime<Utc>) -> Swept {
        let is_dead = |run_id: &str, old: bool| match living {
            Some(living) => !living.iter().any(|alive| alive == run_id),
            None => old,
        };
        let mut swept = Swept::default();
        for (name, marker) in &leftovers.markers {
            if !is_dead(&marker.run_id, now - marker.written > SURELY_DEAD) {
                continue;
            }
            if let Err(error) = self.sweep_marker(name, &leftovers.existing, &mut swept).await {
                warn!("{} could not be swept: {error}", self.location().of(name));
            }
        }
        for (owner, unfinished) in &leftovers.partial {
            if is_dead(&owner.run_id, false)
                && let Err(error) = self.storage.discard(unfinished).await
            {
                warn!("{} could not be swept: {error}", self.location().of(&unfinished.key));
            }
        }
        swept
    }

    async fn sweep_marker(
        &self,
        name: &str,
        existing: &HashSet<String>,
        swept: &mut Swept,
    ) -> Result<(), StorageError> {
        let Some((archive, part)) = key::parse(name) else { return Ok(()) };
        // whoever is gone from the server may have ended well since the listing was made
        let manifest = key::companion(archive, FileKind::Manifest);
        let exists = existing.contains(&manifest) || self.storage.head(&manifest).await?.is_some();
        match (part, exists) {
            (FileKind::Pending, false) => {
                info!("removing {}, which a run that died left unfinished", self.location().of(archive));
                self.undo(archive).await?;
                swept.undone += 1;
            }
            (FileKind::Deleting, false) => {
                info!("finishing the removal of {}", self.location().of(archive));
                self.finish_removal(archive).await?;
                swept.finished += 1;
            }
            // the backup is whole: only the marker is too much
            _ => {
                self.storage.delete(&key::companion(archive, FileKind::Upload)).await?;
                self.storage.delete(name).await?;
            }
        }
        Ok(())
    }

    /// Takes back an announcement of this run that was cut while it was made.
    pub async fn retract(&self, naming: &Naming) -> Result<(), StorageError> {
        let archive = naming.key(self.layout);
        let marker = self.read_marker(&key::companion(&archive, FileKind::Pending)).await?;
        if marker.is_some_and(|marker| marker.run_id == self.owner.run_id) {
            self.undo(&archive).await?;
        }
        let own = self.owner.trace();
        for (trace, unfinished) in self.storage.unfinished_with_owner().await? {
            if trace == own {
                self.storage.discard(&unfinished).await?;
            }
        }
        Ok(())
    }

    async fn undo(&self, archive: &str) -> Result<(), StorageError> {
        self.discard_unfinished(archive).await;
        for part in [FileKind::Facts, FileKind::Checksum, FileKind::Archive, FileKind::Upload, FileKind::Pending] {
            self.storage.delete(&key::companion(archive, part)).await?;
        }
        Ok(())
    }

    /// Ends uploads to a key that nobody goes on with. A store that does not let us look for them keeps nothing else from
    /// being removed.
    pub(super) async fn discard_unfinished(&self, archive: &str) {
        let listed = self.storage.unfinished(archive).await;
        let noted = self.noted_upload(archive).await;
        let discarded = async {
            // what is known by its note needs no list
            let listed = if noted.is_some() { listed.unwrap_or_default() } else { listed? };
            for unfinished in listed.iter().chain(noted.iter().filter(|noted| !listed.contains(noted))) {
                self.storage.discard(unfinished).await?;
            }
            Ok::<_, StorageError>(())
        };
        if let Err(error) = discarded.await {
            warn!("an unfinished upload of {} may remain: {error}", self.location().of(archive));
        }
    }

    /// The upload whose number was noted beside the archive.
    async fn noted_upload(&self, archive: &str) -> Option<Unfinished> {
        let note = key::companion(archive, FileKind::Upload);
        let number = read_small(&*self.storage, &note, manifest::LIMIT).await.ok()?;
        let handle = String::from_utf8(number.to_vec()).ok()?;
        Some(Unfinished { key: archive.to_owned(), handle })
    }

    /// The marker's content; none when it vanished or is not one of ours.
    pub(super) async fn read_marker(&self, name: &str) -> Result<Option<Marker>, StorageError> {
        match read_small(&*self.storage, name, manifest::LIMIT).await {
            Ok(bytes) => {
                let marker = serde_json::from_slice(&bytes);
                if marker.is_err() {
                    warn!("{} is not a marker of this program and is left alone", self.location().of(name));
                }
                Ok(marker.ok())
            }
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error @ StorageError::Unavailable { .. }) => Err(error),
            Err(error) => {
                warn!("{} is left alone: {error}", self.location().of(name));
                Ok(None)
            }
        }
    }
}
