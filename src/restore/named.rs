//! What a plan and a result say of a database, by names.

use super::databases::{Fresh, Wanted};
use super::plan::{PlannedDatabase, RestoredDatabase};
use crate::record::manifest::Manifest;
use crate::repository::Backup;

impl Wanted<'_> {
    /// A database has the name, and holds something.
    pub(super) fn replaces(&self) -> bool {
        self.existing.as_ref().is_some_and(|existing| !existing.is_empty)
    }

    pub(super) fn planned(&self, backup: &Backup) -> PlannedDatabase {
        PlannedDatabase {
            backup: backup.manifest.id.clone(),
            database: self.expected.name.clone(),
            into: self.name.clone(),
            replaces: self.replaces(),
        }
    }
}

impl Fresh<'_> {
    /// The database in its place, as it is where it replaced none.
    pub(super) fn restored(&self, manifest: &Manifest) -> RestoredDatabase {
        RestoredDatabase {
            backup: manifest.id.clone(),
            database: self.wanted.expected.name.clone(),
            into: self.wanted.name.clone(),
            kept_as: None,
            load_seconds: self.filled.seconds - self.filled.build_seconds,
            index_seconds: self.filled.build_seconds,
            subscriptions_left_out: self.filled.subscriptions.clone(),
            swap_back: Vec::new(),
        }
    }
}
