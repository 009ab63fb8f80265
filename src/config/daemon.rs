//! The daemon: when runs are due, and where it listens.

use super::BackupType;
use super::received::Received;
use super::settings;
use crate::schedule::{Cron, Schedule};
use std::net::SocketAddr;
use std::time::Duration;

/// The word for a schedule that there is not; an empty value means the default.
const OFF: &str = "off";

/// What the daemon does and when.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// When runs are due.
    pub schedule: Schedule,
    /// Somebody has chosen a schedule; else the defaults hold, whether or not there is a daemon.
    pub is_chosen: bool,
    /// Time between uploads of what is not yet remote; none for no uploads.
    pub sync_interval: Option<Duration>,
    /// Where it answers HTTP.
    pub listen: SocketAddr,
}

pub(super) fn read(received: &mut Received) -> Option<Daemon> {
    const TYPED: [(&str, BackupType); 3] = [
        ("SCHEDULE_DAILY", BackupType::Daily),
        ("SCHEDULE_WEEKLY", BackupType::Weekly),
        ("SCHEDULE_MONTHLY", BackupType::Monthly),
    ];
    let problems = received.problems.len();
    let is_default = |name: &str| settings::find(name).map(|setting| setting.default.literal().to_owned());
    let mut names = TYPED.iter().map(|(name, _)| *name).chain(["BACKUP_SCHEDULE"]);
    let is_chosen = names.any(|name| received.is_set(name) && received.current(name) != is_default(name));
    let mut entries = Vec::new();
    for (name, backup_type) in TYPED {
        entries.extend(read_cron(received, name).map(|cron| (backup_type, cron)));
    }
    if received.is_set("BACKUP_SCHEDULE") {
        entries.clear();
    }
    entries.extend(read_cron(received, "BACKUP_SCHEDULE").map(|cron| (BackupType::Auto, cron)));
    let zone = received.text("SCHEDULE_TIMEZONE")?.parse();
    if zone.is_err() {
        received.refuse("SCHEDULE_TIMEZONE", "a zone of the time-zone database, such as UTC or Asia/Bangkok");
    }
    let sync_interval = received.number("SCHEDULER_SYNC_INTERVAL_SECONDS", 0, 31_536_000);
    let listen = received.text("LISTEN_ADDR")?.parse();
    if listen.is_err() {
        received.refuse("LISTEN_ADDR", "an address and a port, such as 127.0.0.1:8080 or [::]:8080");
    }
    if received.problems.len() > problems {
        return None;
    }
    Some(Daemon {
        schedule: Schedule { entries, zone: zone.ok()? },
        is_chosen,
        sync_interval: sync_interval.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into())),
        listen: listen.ok()?,
    })
}

fn read_cron(received: &mut Received, name: &'static str) -> Option<Cron> {
    let text = received.text(name).filter(|text| !text.eq_ignore_ascii_case(OFF))?;
    match Cron::parse(&text) {
        Ok(cron) => Some(cron),
        Err(allowed) => {
            received.refuse(name, &format!("{allowed}; or {OFF}"));
            None
        }
    }
}
