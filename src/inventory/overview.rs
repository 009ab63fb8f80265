//! What lies on the sides of one source, looked at once and answered from as often as people ask.

use super::{forecast, prune};
use crate::config::{BackupType, Config, Target};
use crate::inventory::Inventory;
use crate::inventory::retention::CLOCKS_AGREE;
use crate::inventory::status::{Question, Status};
use crate::postgres::catalog::Known;
use crate::record::facts::Subject;
use crate::record::manifest::Identity;
use crate::repository::{Backup, Catalog, Releases, Repository, Side};
use crate::schedule::History;
use crate::storage::{Location, Space, StorageError};
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::time::Duration;

/// What was found.
#[derive(Debug, Default)]
pub struct Overview {
    /// Backups of every source.
    pub inventory: Inventory,
    /// Sides that were read.
    pub read: Vec<Side>,
    /// Places that could not be, and why.
    pub unread: Vec<(Side, String, StorageError)>,
    /// Ids and SHA-256 of what the folder has and the store should have and lacks.
    pending: HashSet<Identity>,
    /// What runs keep up to date.
    expected: Vec<Subject>,
    /// The volume of the folder.
    pub space: Option<Space>,
    /// Days until that is full; none where it does not fill within a year.
    full_in_days: Option<u32>,
    /// Until when a person has said that losses were meant.
    releases: Releases,
    /// The share of its rows or tables below which a database has fallen.
    shrink_guard: f64,
    /// Several servers go by the name of the source, and it is not known which of them is meant.
    pub is_ambiguous: bool,
    /// What else a person should look at.
    pub warnings: Vec<String>,
}

impl Overview {
    /// Looks at every side at once. `source` is the one whose uploads and subjects are meant; of another one than this
    /// nobody here knows what it selects.
    /// A side that does not answer within `limit` is one that could not be read.
    pub async fn look(
        config: &Config,
        sides: &[Repository],
        source: &str,
        now: DateTime<Utc>,
        limit: Duration,
    ) -> Self {
        let catalogs = join_all(sides.iter().map(|repository| async move {
            let late = || repository.location().broke_off("", format!("no answer within {} s", limit.as_secs()));
            tokio::time::timeout(limit, repository.catalog()).await.unwrap_or_else(|_| Err(late()))
        }))
        .await;
        let local = sides.iter().find(|repository| repository.side() == Side::Local);
        let space = match local {
            Some(local) => local.space().await,
            None => None,
        };
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        let (mut warnings, mut releases) = (Vec::new(), Releases::new());
        for (repository, catalog) in sides.iter().zip(catalogs) {
            match catalog {
                Ok(catalog) => {
                    warnings.extend(repository.describe_namesakes(&catalog, source));
                    repository.add_releases(&catalog, &mut releases);
                    read.push((repository.side(), repository.location(), catalog));
                }
                Err(error) => unread.push((repository.side(), repository.location().name, error)),
            }
        }
        let servers: BTreeSet<&String> = read
            .iter()
            .flat_map(|(.., catalog)| &catalog.backups)
            .filter(|b| b.is_of(source))
            .filter_map(|b| b.server.as_ref())
            .collect();
        let is_ambiguous = servers.len() > 1;
        if is_ambiguous {
            warnings.push(format!(
                "{} servers have backups under the name {source}, and it is not known which of them is meant{}; give \
                 each server its own BACKUP_SOURCE",
                servers.len(),
                if source == config.source.name { ", because the server does not answer" } else { "" }
            ));
        }
        let unreadable = read.iter().flat_map(|(.., catalog)| &catalog.unreadable);
        warnings.extend(unreadable.map(|name| format!("{name} cannot be read, so its backup is not counted")));
        let pending = pending(config, source, &read, now);
        let kinds: Vec<Side> = read.iter().map(|(kind, ..)| *kind).collect();
        let inventory = Inventory::of(read);
        // what could not be read says nothing of how fast the volume fills
        let room = space.filter(|_| kinds.contains(&Side::Local));
        let full_in_days = room.and_then(|space| {
            forecast::full_in_days(space.free, &forecast::series(&inventory, &config.retention), now)
        });
        let own = inventory.entries.iter().filter(|entry| entry.is_of(source));
        let saved: BTreeSet<Subject> = own.map(|entry| entry.manifest.subject.clone()).collect();
        let expected = match source == config.source.name {
            true => config.selection.expected(&config.source.database, &saved),
            false => saved.into_iter().collect(),
        };
        Self {
            inventory,
            read: kinds,
            unread,
            pending,
            expected,
            space,
            full_in_days,
            releases,
            shrink_guard: config.shrink_guard,
            is_ambiguous,
            warnings,
        }
    }

    /// A folder that had backups `before` and is not there any more has not lost them: it cannot be read. One that is there
    /// and has none of them may be that under a volume which is not mounted.
    pub fn miss_lost_folder(&mut self, folder: &Path, before: &Self) {
        let local = |overview: &Self| -> BTreeSet<Identity> {
            let entries = overview.inventory.entries.iter().filter(|entry| entry.is_on(Side::Local));
            entries.map(|entry| entry.manifest.identity()).collect()
        };
        let lost = local(before);
        if lost.is_empty() || !self.read.contains(&Side::Local) || !local(self).is_disjoint(&lost) {
            return;
        }
        let place = folder.display().to_string();
        if folder.exists() {
            let backups = text::count(lost.len(), "backup");
            self.warnings.push(format!(
                "{place} has none of the {backups} that it had before; check that its volume is mounted"
            ));
            return;
        }
        self.read.retain(|side| *side != Side::Local);
        // that would be the volume of the folder above it
        (self.space, self.full_in_days) = (None, None);
        let cause = "the folder, which had backups before, no longer exists".to_owned();
        let error = StorageError::Missing { action: format!("listing {place}"), cause, setting: "BACKUP_DIR" };
        self.unread.push((Side::Local, place, error));
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
        if !self.unread.is_empty() {
            self.expect(&before.expected);
            self.full_in_days = self.full_in_days.or(before.full_in_days);
        }
    }

    /// Expects backups of these, too.
    pub fn expect<'a>(&mut self, subjects: impl IntoIterator<Item = &'a Subject>) {
        let all: BTreeSet<Subject> = self.expected.drain(..).chain(subjects.into_iter().cloned()).collect();
        self.expected.extend(all);
    }

    /// How well each database of the source is kept.
    pub fn status(&self, source: &str, max_age: TimeDelta, now: DateTime<Utc>) -> Status {
        let question = Question {
            source,
            expected: &self.expected,
            max_age,
            pending: &self.pending,
            space: self.space,
            full_in_days: self.full_in_days,
            shrink_guard: self.shrink_guard,
            releases: &self.releases,
            warnings: &self.warnings,
            is_ambiguous: self.is_ambiguous,
            now,
        };
        Status::of(&self.inventory, &question)
    }

    /// What was saved before and is still selected, and can no longer be saved: by what the server says it has.
    pub fn gone(&self, config: &Config, server: &[Known]) -> Vec<String> {
        let own = self.inventory.entries.iter().filter(|entry| entry.is_of(&config.source.name));
        // a name that the settings expect may never have been one of a database
        let saved: BTreeSet<&Subject> = own.map(|entry| &entry.manifest.subject).collect();
        let is_wanted = |subject: &&Subject| config.selection.is_in_shard(subject) && saved.contains(subject);
        let lost = |subject: &Subject| {
            let name = subject.database()?;
            let why = match server.iter().find(|known| known.name == name) {
                Some(known) if known.allows_connections => return None,
                Some(_) => "no longer allows connections (ALLOW_CONNECTIONS false)",
                None => "is no longer on the server",
            };
            Some(format!(
                "the database {name} has backups but {why}, so it is no longer backed up; \
                 add it to BACKUP_EXCLUDE_DATABASES to end this warning"
            ))
        };
        self.expected.iter().filter(is_wanted).filter_map(lost).collect()
    }

    /// When the runs of these settings were, as far as the backups tell of what such a run saves; none while that is not
    /// known. Globals that a role may not save are no reason to run again.
    pub fn history(&self, config: &Config, now: DateTime<Utc>) -> Option<History> {
        let own = self.inventory.entries.iter().filter(|entry| entry.is_of(&config.source.name));
        let is_wanted = |subject: &&Subject| config.selection.is_in_shard(subject);
        let mut newest: BTreeMap<&Subject, BTreeMap<BackupType, DateTime<Utc>>> =
            self.expected.iter().filter(is_wanted).map(|subject| (subject, BTreeMap::new())).collect();
        let mut oldest = None;
        // one from the future says nothing of what was
        for manifest in own.filter(|entry| entry.is_good()).map(|entry| &entry.manifest) {
            if let Some(newest) = newest.get_mut(&manifest.subject).filter(|_| manifest.started <= now + CLOCKS_AGREE) {
                let newest = newest.entry(manifest.backup_type).or_insert(manifest.started);
                *newest = manifest.started.max(*newest);
            }
            oldest = oldest.into_iter().chain([manifest.started]).min();
        }
        let is_known = self.unread.is_empty() || oldest.is_some();
        is_known.then(|| History { newest: newest.into_values().collect(), oldest })
    }
}

/// What the folder has and the store lacks, where backups belong on both sides and both could be read.
fn pending(config: &Config, source: &str, read: &[(Side, Location, Catalog)], now: DateTime<Utc>) -> HashSet<Identity> {
    let own = |wanted: Side| -> Option<Vec<Backup>> {
        let (.., catalog) = read.iter().find(|(kind, ..)| *kind == wanted)?;
        Some(catalog.backups.iter().filter(|backup| backup.is_of(source)).cloned().collect())
    };
    match (config.target, own(Side::Local), own(Side::Remote)) {
        (Target::All, Some(here), Some(there)) => prune::missing_remotely(config, &here, &there, now),
        _ => HashSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{InventoryEntry, Replica};
    use crate::record::manifest::tests::sample;
    use crate::repository::Whose;

    fn holding(ids: &[&str]) -> Overview {
        let copy = Replica {
            side: Side::Local,
            place: String::new(),
            intact: true,
            verification: None,
            good: true,
            verified: false,
        };
        let entry = |id: &&str| InventoryEntry { manifest: sample(id), whose: Whose::Ours, copies: vec![copy.clone()] };
        let entries = ids.iter().map(entry).collect();
        let inventory = Inventory { entries, ..Inventory::default() };
        Overview { inventory, read: vec![Side::Local], ..Overview::default() }
    }

    #[test]
    fn a_folder_that_is_gone_has_lost_no_backup() {
        let (before, folder) = (holding(&["a", "b"]), tempfile::tempdir().unwrap());
        let mut now = holding(&[]);
        now.miss_lost_folder(&folder.path().join("gone"), &before);
        assert!(now.read.is_empty() && now.unread.len() == 1, "{now:?}");
        now.complete(&before);
        assert_eq!((now.inventory.entries.len(), now.read.as_slice()), (2, &[Side::Local][..]));

        // it is there, and empty
        let mut now = holding(&["c"]);
        now.miss_lost_folder(folder.path(), &before);
        assert!(now.unread.is_empty() && now.warnings[0].contains("none of the 2 backups"), "{now:?}");
        // what is pruned one by one is no loss
        let mut now = holding(&["b"]);
        now.miss_lost_folder(&folder.path().join("gone"), &before);
        assert!(now.unread.is_empty() && now.warnings.is_empty(), "{now:?}");
    }
}
