//! What lies on the sides of one source, looked at once and answered from as often as people ask.

use super::{prune, tasks};
use crate::config::{Config, Target};
use crate::facts::Subject;
use crate::inventory::Inventory;
use crate::manifest::Identity;
use crate::repository::{Backup, Catalog, Side, SideKind};
use crate::schedule::History;
use crate::status::{Question, Status};
use crate::storage::{Location, Space, StorageError};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use std::collections::{BTreeSet, HashSet};

/// What was found.
#[derive(Debug, Default)]
pub struct Overview {
    /// Backups of every source.
    pub inventory: Inventory,
    /// Sides that were read.
    pub read: Vec<SideKind>,
    /// Places that could not be, and why.
    pub unread: Vec<(SideKind, String, StorageError)>,
    /// Ids and SHA-256 of what the folder has and the store should have and lacks.
    pending: HashSet<Identity>,
    /// What runs keep up to date.
    expected: Vec<Subject>,
    /// The volume of the folder.
    pub space: Option<Space>,
}

impl Overview {
    /// Looks at every side at once. `source` is the one whose uploads and subjects are meant; of another one than this
    /// nobody here knows what it selects.
    pub async fn look(config: &Config, sides: &[Side], source: &str, now: DateTime<Utc>) -> Self {
        let catalogs = join_all(sides.iter().map(|side| side.repository.catalog())).await;
        let local = sides.iter().find(|side| side.kind == SideKind::Local);
        let space = match local {
            Some(local) => local.repository.space().await,
            None => None,
        };
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        for (side, catalog) in sides.iter().zip(catalogs) {
            match catalog {
                Ok(catalog) => read.push((side.kind, side.repository.location(), catalog)),
                Err(error) => unread.push((side.kind, side.repository.location().name, error)),
            }
        }
        let pending = pending(config, source, &read, now);
        let kinds = read.iter().map(|(kind, ..)| *kind).collect();
        let inventory = Inventory::of(read);
        let own = inventory.entries.iter().filter(|entry| entry.manifest.source == *source);
        let saved: BTreeSet<Subject> = own.map(|entry| entry.manifest.subject.clone()).collect();
        let expected = match source == config.source.name {
            true => tasks::expected(&config.selection, &config.source.database, &saved),
            false => saved.into_iter().collect(),
        };
        Self { inventory, read: kinds, unread, pending, expected, space }
    }

    /// What could not be read is as it was `before`.
    pub fn complete(&mut self, before: &Self) {
        for (side, ..) in &self.unread {
            if before.read.contains(side) {
                self.inventory.adopt(&before.inventory, *side);
                self.read.push(*side);
                self.pending.clone_from(&before.pending);
            }
        }
        self.expected.extend(before.expected.iter().filter(|_| !self.unread.is_empty()).cloned());
        self.expected.sort();
        self.expected.dedup();
    }

    /// How well each database of the source is kept.
    pub fn status(&self, source: &str, max_age: TimeDelta, now: DateTime<Utc>) -> Status {
        let (expected, pending, space) = (&self.expected, &self.pending, self.space);
        Status::of(&self.inventory, &Question { source, expected, max_age, pending, space, now })
    }

    /// When the runs of the source were, as far as their backups tell.
    pub fn history(&self, source: &str) -> History {
        let mut history = History::default();
        for entry in self.inventory.entries.iter().filter(|entry| entry.manifest.source == source) {
            let (started, backup_type) = (entry.manifest.started, entry.manifest.backup_type);
            if entry.is_good() {
                let newest = history.newest.entry(backup_type).or_insert(started);
                *newest = started.max(*newest);
            }
            history.oldest = Some(history.oldest.map_or(started, |oldest| started.min(oldest)));
        }
        history
    }
}

/// What the folder has and the store lacks, where backups belong on both sides and both could be read.
fn pending(
    config: &Config,
    source: &str,
    read: &[(SideKind, Location, Catalog)],
    now: DateTime<Utc>,
) -> HashSet<Identity> {
    let own = |wanted: SideKind| -> Option<Vec<Backup>> {
        let (.., catalog) = read.iter().find(|(kind, ..)| *kind == wanted)?;
        Some(catalog.backups.iter().filter(|backup| backup.manifest.source == source).cloned().collect())
    };
    match (config.target, own(SideKind::Local), own(SideKind::Remote)) {
        (Target::All, Some(here), Some(there)) => prune::missing_remotely(config, &here, &there, now),
        _ => HashSet::new(),
    }
}
