//! The daemon: when runs are due, and where it listens.

use super::BackupType;
use crate::schedule::{Cron, Schedule};
use crate::settings::RawSettings;
use std::net::SocketAddr;
use std::time::Duration;

/// The word for a schedule that there is not; an empty value means the default.
const OFF: &str = "off";

/// What the daemon does and when.
#[derive(Debug, Clone)]
pub struct DaemonSettings {
    /// When runs are due.
    pub schedule: Schedule,
    /// Somebody has chosen a schedule; else the defaults hold, whether or not there is a daemon.
    pub is_chosen: bool,
    /// Time between uploads of what is not yet remote; none for no uploads.
    pub sync_interval: Option<Duration>,
    /// Where it answers HTTP.
    pub listen: SocketAddr,
}

pub(super) fn read(raw: &mut RawSettings) -> Option<DaemonSettings> {
    const TYPED: [(&str, BackupType); 3] = [
        ("SCHEDULE_DAILY", BackupType::Daily),
        ("SCHEDULE_WEEKLY", BackupType::Weekly),
        ("SCHEDULE_MONTHLY", BackupType::Monthly),
    ];
    let problems = raw.problems.len();
    let mut names = TYPED.iter().map(|(name, _)| *name).chain(["BACKUP_SCHEDULE"]);
    let is_chosen = names.any(|name| raw.is_chosen(name));
    let mut entries = Vec::new();
    for (name, backup_type) in TYPED {
        entries.extend(read_cron(raw, name).map(|cron| (backup_type, cron)));
    }
    if raw.is_set("BACKUP_SCHEDULE") {
        entries.clear();
    }
    entries.extend(read_cron(raw, "BACKUP_SCHEDULE").map(|cron| (BackupType::Auto, cron)));
    if raw.problems.len() > problems {
        return None;
    }
    Some(DaemonSettings {
        schedule: Schedule { entries, zone: raw.parsed("SCHEDULE_TIMEZONE")? },
        is_chosen,
        sync_interval: raw
            .number("SCHEDULER_SYNC_INTERVAL_SECONDS")
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        listen: raw.parsed("LISTEN_ADDR")?,
    })
}

fn read_cron(raw: &mut RawSettings, name: &'static str) -> Option<Cron> {
    let text = raw.text(name).filter(|text| !text.eq_ignore_ascii_case(OFF))?;
    match Cron::parse(&text) {
        Ok(cron) => Some(cron),
        Err(allowed) => {
            raw.refuse(name, &format!("{allowed}; or {OFF}"));
            None
        }
    }
}
