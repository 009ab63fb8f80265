//! Falls that a person has said were meant: a small note beside the backups, one for each database and time.

use super::{Catalog, Repository};
use crate::facts::Subject;
use crate::storage::StorageError;
use crate::storage::key;
use chrono::{DateTime, Utc};

impl Repository {
    /// Notes that what a database lost until then was meant to go.
    pub async fn release(&self, subject: &Subject, until: DateTime<Utc>) -> Result<(), StorageError> {
        self.put_note(&key::release(&self.full_source(), subject, until)).await
    }

    /// Until when what a database lost was meant to go; none where nobody has said so.
    pub fn released(&self, catalog: &Catalog, subject: &Subject) -> Option<DateTime<Utc>> {
        let of_subject = key::releases(&self.full_source(), subject);
        catalog.notes.iter().filter_map(|note| key::release_time(note, &of_subject)).max()
    }
}
