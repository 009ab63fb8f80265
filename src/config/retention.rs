//! How long each side keeps backups.

use crate::settings::RawSettings;

/// How long one side keeps backups; a count of 0 keeps all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `auto` backups older than this many days go.
    pub days: u32,
    /// Newest daily backups kept.
    pub daily: u32,
    /// Newest weekly backups kept.
    pub weekly: u32,
    /// Newest monthly backups kept.
    pub monthly: u32,
    /// Newest good backups that never go.
    pub min_keep: u32,
}

pub(super) fn read_local(raw: &RawSettings) -> Option<Retention> {
    Some(Retention {
        days: raw.number("RETENTION_DAYS")?,
        daily: raw.number("BACKUP_RETENTION_DAILY")?,
        weekly: raw.number("BACKUP_RETENTION_WEEKLY")?,
        monthly: raw.number("BACKUP_RETENTION_MONTHLY")?,
        min_keep: raw.number("RETENTION_MIN_KEEP")?,
    })
}

/// None, inside, when the remote side keeps everything.
pub(super) fn read_remote(raw: &RawSettings) -> Option<Option<Retention>> {
    let retention = Retention {
        days: raw.number("REMOTE_RETENTION_DAYS")?,
        daily: raw.number("REMOTE_RETENTION_DAILY")?,
        weekly: raw.number("REMOTE_RETENTION_WEEKLY")?,
        monthly: raw.number("REMOTE_RETENTION_MONTHLY")?,
        min_keep: raw.number("RETENTION_MIN_KEEP")?,
    };
    Some(raw.flag("REMOTE_RETENTION_ENABLED").then_some(retention))
}
