//! Pure: databases that have lost most of their rows or tables since the last backup before.
//!
//! Somebody's TRUNCATE is no fault of a backup, and the next nights would push out, one by one, the backups that still
//! have the rows. So the last backup before a fall is kept, and the fall is told of every night, until a person says that
//! it was meant.

use crate::record::manifest::Manifest;
use crate::text;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// What a person can do.
pub const RELEASE: &str =
    "the backup before that is retained; if the rows were deleted on purpose, run `backup prune --release`";

/// One good backup of a database, as far as this is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Id of the backup.
    pub id: String,
    /// When it began.
    pub started: DateTime<Utc>,
    pub rows: u64,
    /// Tables of the database.
    pub tables: u64,
}

impl Size {
    /// What the manifest of a backup says.
    pub fn of(manifest: &Manifest) -> Self {
        let (id, started, totals) = (manifest.id.clone(), manifest.started, manifest.totals);
        Self { id, started, rows: totals.rows, tables: totals.tables }
    }
}

/// A fall, and nobody has said that it was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fall {
    /// The last backup before it.
    pub before: Size,
    /// The newest backup since.
    pub after: Size,
}

/// The fall that backups of one database show, none where there is none; they are given from the oldest on. A fall is a
/// count of rows or tables below `share` of that of the last backup before; it is over when a backup has them again.
/// What there was until `released` was meant.
pub fn fall(sizes: &[Size], share: f64, released: Option<DateTime<Utc>>) -> Option<Fall> {
    let (mut before, mut after): (Option<&Size>, Option<&Size>) = (None, None);
    for size in sizes {
        let is_meant = released.is_some_and(|released| size.started <= released);
        match before {
            Some(before) if !is_meant && is_below(size, before, share) => after = Some(size),
            _ => (before, after) = (Some(size), None),
        }
    }
    Some(Fall { before: before?.clone(), after: after?.clone() })
}

#[allow(clippy::cast_precision_loss)]
fn is_below(size: &Size, before: &Size, share: f64) -> bool {
    let fell = |now: u64, before: u64| (now as f64) < before as f64 * share;
    fell(size.rows, before.rows) || fell(size.tables, before.tables)
}

/// `1000 rows in 3 tables before (backup_2026-01-27_02-05-00), 0 rows in 3 tables now`
impl std::fmt::Display for Fall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts =
            |size: &Size| format!("{} in {}", text::count(size.rows, "row"), text::count(size.tables, "table"));
        write!(f, "{} before ({}), {} now", counts(&self.before), self.before.id, counts(&self.after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn sizes(counts: &[(u64, u64)]) -> Vec<Size> {
        let size = |(day, (rows, tables)): (i64, &(u64, u64))| Size {
            id: day.to_string(),
            started: DateTime::UNIX_EPOCH + TimeDelta::days(day),
            rows: *rows,
            tables: *tables,
        };
        (0..).zip(counts).map(size).collect()
    }

    fn days(counts: &[(u64, u64)], released: Option<i64>) -> Option<(String, String)> {
        let released = released.map(|day| DateTime::UNIX_EPOCH + TimeDelta::days(day));
        fall(&sizes(counts), 0.5, released).map(|fall| (fall.before.id, fall.after.id))
    }

    #[test]
    fn a_fall_is_held_against_the_last_backup_before_it_however_many_nights_pass() {
        let ids = |before: &str, after: &str| Some((before.to_owned(), after.to_owned()));
        assert_eq!(days(&[(900, 3), (1000, 3)], None), None);
        assert_eq!(days(&[(1000, 3), (500, 3)], None), None);
        assert_eq!(days(&[(900, 3), (1000, 3), (499, 3)], None), ids("1", "2"));
        assert_eq!(days(&[(1000, 3), (0, 3), (0, 3), (300, 3)], None), ids("0", "3"));
        // a schema that is gone, whose rows were few
        assert_eq!(days(&[(0, 10), (0, 1)], None), ids("0", "1"));
        // little by little is no fall
        assert_eq!(days(&[(1000, 3), (600, 3), (350, 3), (200, 3)], None), None);
    }

    #[test]
    fn a_fall_ends_when_the_rows_are_back_or_a_person_says_that_it_was_meant() {
        assert_eq!(days(&[(1000, 3), (0, 3), (700, 3)], None), None);
        assert_eq!(days(&[(1000, 3), (0, 3), (0, 3)], Some(1)), None);
        assert_eq!(days(&[(1000, 3), (0, 3), (40, 3), (10, 3)], Some(2)).unwrap().0, "2");
        assert_eq!(days(&[], None), None);
    }
}
