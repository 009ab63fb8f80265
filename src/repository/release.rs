//! Falls that a person has said were meant: a small note beside the backups, one for each database and time.

use super::{Catalog, Repository};
use crate::record::facts::Subject;
use crate::storage::StorageError;
use crate::storage::key;
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};

/// Until when what databases lost was meant to go, where somebody has said so.
pub type Releases = HashMap<Subject, DateTime<Utc>>;

impl Repository {
    /// Notes that what a database lost until then was meant to go.
    pub async fn release(&self, subject: &Subject, until: DateTime<Utc>) -> Result<(), StorageError> {
        self.put_note(&key::release(&self.full_source(), subject, until)).await
    }

    /// Adds what is noted here of the databases that have backups here; of two times the later one counts.
    pub fn add_releases(&self, catalog: &Catalog, releases: &mut Releases) {
        let subjects: HashSet<&Subject> = catalog.backups.iter().map(|backup| &backup.manifest.subject).collect();
        for subject in subjects {
            let of_subject = key::releases(&self.full_source(), subject);
            let noted = catalog.notes.iter().filter_map(|note| key::release_time(note, &of_subject)).max();
            if let Some(until) = noted {
                let known = releases.entry(subject.clone()).or_insert(until);
                *known = until.max(*known);
            }
        }
    }
}
