//! What a person must look at although nothing failed: databases that lost most of their rows, databases that can no
//! longer be saved, a clock that is wrong.

use super::run::Run;
use crate::config::Config;
use crate::inventory::overview::Overview;
use crate::inventory::retention::CLOCKS_AGREE;
use crate::inventory::status::Kept;
use crate::record::facts::Subject;
use crate::report::Report;
use crate::text;
use chrono::TimeDelta;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;
use tracing::{error, warn};

/// How long the look at the storage may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks at what lies in storage beside what this run has stored.
pub(super) async fn look_back(run: &Run<'_>, report: &mut Report) {
    if report.entries.iter().all(|entry| entry.backup.is_none()) {
        return;
    }
    let (context, config) = (run.context, &run.context.config);
    let (source, now) = (&config.source.name, (context.now)());
    let look = Overview::look(config, &context.sides, source, now, PATIENCE);
    let Ok(overview) = context.shutdown.guard(look).await else { return };
    let saved: HashSet<&Subject> =
        report.entries.iter().filter(|entry| entry.backup.is_some()).map(|entry| &entry.subject).collect();
    let status = overview.status(source, TimeDelta::MAX, now);
    let kept = status.databases.iter().filter(|kept| saved.contains(&kept.subject));
    let mut alarms: Vec<String> = kept.filter_map(Kept::alarm).collect();
    if !config.selection.is_narrowed {
        alarms.extend(overview.gone(config, &run.ready.server.known));
    }
    alarms.iter().for_each(|alarm| error!("{alarm}"));
    report.alarms.extend(alarms);
    overview.warnings.iter().for_each(|warning| warn!("{warning}"));
}

/// This machine and the server disagree about the time.
pub struct WrongClock {
    pub what: String,
}

impl WrongClock {
    /// What a person can do.
    pub const HINT: &str = "set the clock that is wrong";
}

impl fmt::Display for WrongClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, Self::HINT)
    }
}

/// What is wrong with this machine's clock, by that of the server; none where they agree. Retention goes by age, and
/// what a wrong clock takes for old may be of today.
pub fn wrong_clock(config: &Config, ahead: TimeDelta) -> Option<WrongClock> {
    if ahead.abs() <= CLOCKS_AGREE {
        return None;
    }
    let word = if ahead > TimeDelta::zero() { "behind" } else { "ahead of" };
    let (apart, server) = (text::apart(ahead.abs()), config.source.display());
    let what = format!("this machine's clock is {apart} {word} that of {server}, so nothing is pruned");
    Some(WrongClock { what })
}
