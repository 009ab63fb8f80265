//! The timer of the daemon: each run when it is due, one at a time, and one run for all that were missed.

use crate::schedule::{self, Due, History, Schedule};
use crate::shutdown::Shutdown;
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;
use tracing::{info, warn};

/// How often the clock is read, because it may be set, and a machine may sleep.
const TICK: TimeDelta = TimeDelta::seconds(60);
/// How often the history of runs is asked for until it is known.
const ASK: TimeDelta = TimeDelta::seconds(1);
/// A longer time between two readings of the clock, because the machine slept or its clock was set, is downtime.
const UNSEEN: TimeDelta = TimeDelta::minutes(10);
/// After a clock that went back by less than this, runs wait until it has caught up; more means that it was wrong before.
const SET_BACK: TimeDelta = TimeDelta::hours(1);

/// What is driven.
pub(super) trait Work {
    /// The time.
    fn now(&self) -> DateTime<Utc>;
    /// What is known of past runs; none until the storage could be read.
    async fn history(&self) -> Option<History>;
    /// Makes the backups of one run.
    async fn run(&self, due: Due);
}

/// Runs what is due until it is asked to stop.
pub(super) async fn drive(schedule: &Schedule, work: &impl Work, shutdown: &Shutdown) {
    let begun = work.now();
    let (mut handled, mut caught_up) = (begun, false);
    let (mut next, mut seen) = (schedule.next(handled), begun);
    while shutdown.reason().is_none() {
        if !caught_up && let Ok(Some(history)) = shutdown.guard(work.history()).await {
            caught_up = true;
            if let Some(missed) = schedule.missed(&history, begun) {
                let (kind, time) = (missed.backup_type.as_str(), schedule::show(missed.time, schedule.zone));
                info!("missed the {kind} run of {time}; running it now");
                work.run(missed).await;
            }
        }
        let now = work.now();
        if now + SET_BACK < handled {
            warn!("the clock was set back by {}; the schedule goes by the new time", text::duration(handled - now));
            handled = now;
            next = schedule.next(handled);
        }
        if next.is_some_and(|next| next.time <= now) {
            let due = schedule.due(handled, now);
            let due = if now - seen > UNSEEN { Schedule::kept_longest(due).into_iter().collect() } else { due };
            for due in due {
                if shutdown.reason().is_none() {
                    work.run(due).await;
                }
            }
            handled = now;
            next = schedule.next(handled);
        }
        seen = work.now();
        let most = if caught_up { TICK } else { ASK };
        let pause = next.map_or(most, |due| due.time - work.now());
        let pause = pause.clamp(TimeDelta::zero(), most).to_std().unwrap_or(Duration::ZERO);
        // a sleep that ends too soon by the other clock would only come here again
        let pause = pause.max(Duration::from_millis(10));
        let _ = shutdown.guard(tokio::time::sleep(pause)).await;
    }
}

#[cfg(test)]
mod tests;
