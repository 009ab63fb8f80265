//! The backups of both sides as one list, and what is done with it.

pub mod forecast;
pub mod overview;
pub mod prune;
pub mod retention;
pub mod shrink;
pub mod sides;
pub mod status;
pub mod upload;

use crate::record::manifest::{Manifest, Verification};
use crate::repository::{self, Catalog, Side, Whose};
use crate::storage::Location;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

/// Everything that lies on the sides that were looked at.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Backups of every source, the newest first.
    pub entries: Vec<InventoryEntry>,
    /// Places of what is no backup.
    pub foreign: Vec<String>,
    /// Manifests that cannot be read, so that their backups are not among the entries.
    pub unreadable: Vec<String>,
}

/// A backup, wherever it is.
#[derive(Debug)]
pub struct InventoryEntry {
    pub manifest: Manifest,
    pub whose: Whose,
    /// Where it is; the folder first.
    pub copies: Vec<Replica>,
}

/// One of the places where a backup is.
#[derive(Debug, Clone)]
pub struct Replica {
    pub side: Side,
    /// For people.
    pub place: String,
    /// The archive is there and has the length that the manifest says.
    pub intact: bool,
    /// Its latest verification there.
    pub verification: Option<Verification>,
    /// Whole, and not failed in that.
    pub good: bool,
    /// Restored in that, and found to be what it should be.
    pub verified: bool,
}

impl Inventory {
    /// Backups of one source, id and SHA-256 are one; what has the same id and other bytes is another.
    pub fn of(sides: Vec<(Side, Location, Catalog)>) -> Self {
        let mut entries: BTreeMap<EntryKey, InventoryEntry> = BTreeMap::new();
        let (mut foreign, mut unreadable) = (Vec::new(), Vec::new());
        for (side, location, catalog) in sides {
            unreadable.extend(catalog.unreadable);
            for backup in catalog.backups {
                let replica = Replica {
                    side,
                    place: location.of(&backup.key),
                    intact: backup.intact,
                    good: backup.is_good(),
                    verified: backup.is_verified(),
                    verification: backup.verification,
                };
                let manifest = backup.manifest;
                let entry = InventoryEntry { manifest, whose: backup.whose, copies: Vec::new() };
                entries.entry(entry.key()).or_insert(entry).copies.push(replica);
            }
            foreign.extend(catalog.foreign.iter().map(|object| location.of(&object.key)));
        }
        Self { entries: entries.into_values().rev().collect(), foreign, unreadable }
    }
}

impl Inventory {
    /// Takes over what another inventory has of one side.
    pub fn adopt(&mut self, other: &Self, side: Side) {
        let own = self.entries.drain(..).map(|entry| (entry.key(), entry));
        let mut entries: BTreeMap<EntryKey, InventoryEntry> = own.collect();
        for entry in &other.entries {
            let copies: Vec<Replica> = entry.copies.iter().filter(|copy| copy.side == side).cloned().collect();
            if !copies.is_empty() {
                let empty =
                    || InventoryEntry { manifest: entry.manifest.clone(), whose: entry.whose, copies: Vec::new() };
                entries.entry(entry.key()).or_insert_with(empty).copies.extend(copies);
            }
        }
        self.entries = entries.into_values().rev().collect();
    }
}

/// What makes two copies one backup, in the order of time.
type EntryKey = (DateTime<Utc>, String, String, String);

impl InventoryEntry {
    fn key(&self) -> EntryKey {
        let manifest = &self.manifest;
        (manifest.started, manifest.source.clone(), manifest.id.clone(), manifest.sha256.clone())
    }

    /// Name of its source; that of a namesake has the number of its server behind it.
    pub fn source(&self) -> String {
        repository::source_name(&self.manifest, self.whose)
    }

    /// True when it is of the source of that name.
    pub fn is_of(&self, source: &str) -> bool {
        repository::is_of(&self.manifest, self.whose, source)
    }

    /// At least one of its copies is good.
    pub fn is_good(&self) -> bool {
        self.copies.iter().any(|copy| copy.good)
    }

    /// One of its copies was restored and found to be what it should be.
    pub fn is_verified(&self) -> bool {
        self.copies.iter().any(|copy| copy.good && copy.verified)
    }

    /// A copy is on that side.
    pub fn is_on(&self, side: Side) -> bool {
        self.copies.iter().any(|copy| copy.side == side)
    }

    /// A copy on that side is good.
    pub fn is_good_on(&self, side: Side) -> bool {
        self.copies.iter().any(|copy| copy.side == side && copy.good)
    }

    /// The latest verification of any copy.
    pub fn verification(&self) -> Option<&Verification> {
        self.copies
            .iter()
            .filter_map(|copy| copy.verification.as_ref())
            .max_by_key(|verification| verification.finished)
    }

    /// A copy lacks its archive, or that has another length than the manifest says.
    pub fn is_damaged(&self) -> bool {
        self.copies.iter().any(|copy| !copy.intact)
    }

    /// A copy failed its latest verification.
    pub fn has_failed(&self) -> bool {
        self.copies.iter().any(|copy| copy.intact && !copy.good)
    }
}
