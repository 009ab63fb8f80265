//! Pure: when runs are due, by cron expressions in a time zone.
//!
//! A local time that a change of the clocks leaves out is due when the gap ends, once however many are left out; one
//! that comes twice is due the first time. Expressions for every hour (`*` in the field of the hour) go by the hours
//! that really pass instead, so that no change of the clocks leaves an hour without its run.

use crate::record::manifest::BackupType;
use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use std::collections::BTreeMap;

/// A date that does not come within this time does not come at all; 29 February may be eight years away.
const FAR: TimeDelta = TimeDelta::days(9 * 366);
/// The longest time between two runs is looked for so far ahead.
const AHEAD: TimeDelta = TimeDelta::days(370);
/// Runs that are closer together need not be told apart for that.
const CLOSE: TimeDelta = TimeDelta::hours(1);

/// A cron expression of five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pattern: croner::Cron,
    every_hour: bool,
}

/// The runs of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Types of backups, and when each is due.
    pub entries: Vec<(BackupType, Cron)>,
    /// The zone of the expressions.
    pub zone: Tz,
}

/// A run that is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When it is, or was.
    pub time: DateTime<Utc>,
    pub backup_type: BackupType,
}

/// What is known of the runs that were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// For each of what a run saves, when its newest good backup of each type began.
    pub newest: Vec<BTreeMap<BackupType, DateTime<Utc>>>,
    /// Begin of the oldest backup of any type.
    pub oldest: Option<DateTime<Utc>>,
}

impl Cron {
    /// Reads an expression; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "five fields `minute hour day month weekday`, such as `0 2 * * *`";
        if text.contains('=') {
            return Err(format!("{FORM}; the time zone is set by SCHEDULE_TIMEZONE"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let fields: Vec<&str> = text.split_whitespace().collect();
        let every_hour = match fields.as_slice() {
            [_, hour, ..] => ["*", "*/1", "0-23"].contains(hour),
            fields => fields.first().is_some_and(|word| word.eq_ignore_ascii_case("@hourly")),
        };
        // the library goes by the star
        let text = match fields.as_slice() {
            [minute, _, rest @ ..] if every_hour => [&[*minute, "*"], rest].concat().join(" "),
            fields => fields.join(" "),
        };
        let pattern = parser.parse(&text).map_err(|error| match error {
            CronError::InvalidPattern(_) | CronError::EmptyPattern => FORM.to_owned(),
            error => format!("{FORM} ({})", error.to_string().trim_end_matches('.')),
        })?;
        let cron = Self { pattern, every_hour };
        // a year that is none of a time zone's exceptions
        let begin = DateTime::UNIX_EPOCH;
        cron.next(begin, Tz::UTC).map(|_| cron).ok_or_else(|| "an expression that matches at least one date".to_owned())
    }

    /// The first time after `after`.
    fn next(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let limit = after.checked_add_signed(FAR)?;
        if self.every_hour {
            let next = self.pattern.find_next_occurrence(&after.with_timezone(&zone), false).ok()?;
            return Some(next.to_utc()).filter(|next| *next <= limit);
        }
        // the expression tells local times, and which moments they are is our own matter
        let mut local = after.with_timezone(&zone).naive_local();
        loop {
            local = self.pattern.find_next_occurrence(&local.and_utc(), false).ok()?.naive_utc();
            let moment = moment(local, zone)?;
            if moment > limit {
                return None;
            }
            if moment > after {
                return Some(moment);
            }
        }
    }

    /// The last time that is not after `now`.
    fn latest(&self, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let windows = [TimeDelta::hours(1), TimeDelta::days(2), TimeDelta::days(32), FAR];
        windows.into_iter().find_map(|window| {
            let begin = now.checked_sub_signed(window)?;
            let times = std::iter::successors(self.next(begin, zone), |time| self.next(*time, zone));
            times.take_while(|time| *time <= now).last()
        })
    }
}

/// The moment of a local time: the first of two, and the end of the gap where there is none.
fn moment(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    let minutes = (0..).map(|minute| local + TimeDelta::minutes(minute));
    // no gap is longer than the day that Samoa left out
    minutes.take(25 * 60).find_map(|local| match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.to_utc()),
        LocalResult::None => None,
    })
}

/// A time of that zone, such as `2026-01-28 02:05 CET`.
pub fn show(time: DateTime<Utc>, zone: Tz) -> String {
    time.with_timezone(&zone).format("%F %R %Z").to_string()
}

impl Schedule {
    /// The first run after `after`.
    pub fn next(&self, after: DateTime<Utc>) -> Option<Due> {
        self.coming(after).min()
    }

    /// The next run of each type, the first first.
    pub fn next_of_each(&self, after: DateTime<Utc>) -> Vec<Due> {
        let mut all: Vec<Due> = self.coming(after).collect();
        all.sort();
        all
    }

    fn coming(&self, after: DateTime<Utc>) -> impl Iterator<Item = Due> {
        self.entries.iter().filter_map(move |(backup_type, cron)| {
            Some(Due { time: cron.next(after, self.zone)?, backup_type: *backup_type })
        })
    }

    /// What has become due after `after` and until `now`, the first first; each type once, however often it was due.
    pub fn due(&self, after: DateTime<Utc>, now: DateTime<Utc>) -> Vec<Due> {
        let mut due: Vec<Due> = self.latest(now).filter(|due| due.time > after).collect();
        due.sort();
        due
    }

    /// The one run that makes good for what was missed: of the types of which something lacks a good backup since the
    /// last time they were due, the one that is kept longest. A backup that is kept longer stands for the shorter ones
    /// too. A source without any backup has missed nothing.
    pub fn missed(&self, history: &History, now: DateTime<Utc>) -> Option<Due> {
        let oldest = history.oldest?;
        let is_missed = |due: &Due| {
            let since = |newest: &BTreeMap<BackupType, DateTime<Utc>>| {
                newest.range(due.backup_type..BackupType::Manual).map(|(_, time)| *time).max().unwrap_or(oldest)
            };
            history.newest.iter().map(since).min().is_some_and(|since| since < due.time)
        };
        Self::kept_longest(self.latest(now).filter(is_missed))
    }

    /// Of several runs the one whose backups are kept longest.
    pub fn kept_longest(due: impl IntoIterator<Item = Due>) -> Option<Due> {
        due.into_iter().max_by_key(|due| due.backup_type)
    }

    /// The last time each type was due.
    fn latest(&self, now: DateTime<Utc>) -> impl Iterator<Item = Due> {
        self.entries.iter().filter_map(move |(backup_type, cron)| {
            Some(Due { time: cron.latest(now, self.zone)?, backup_type: *backup_type })
        })
    }

    /// The longest time between two runs, of whatever type, in the coming year; runs that are rarer than that are looked
    /// at until there were two.
    pub fn longest_gap(&self, from: DateTime<Utc>) -> TimeDelta {
        let Some(mut last) = self.next(from).map(|due| due.time) else { return TimeDelta::zero() };
        let mut longest = TimeDelta::zero();
        while let Some(next) = self.next(last).map(|due| due.time) {
            longest = longest.max(next - last);
            last = if next - last < CLOSE { self.last_before(next, last + CLOSE) } else { next };
            if last > from + AHEAD {
                break;
            }
        }
        longest
    }

    /// The last run that is not after `until`, where there is one at `known`.
    fn last_before(&self, mut known: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
        let mut end = until;
        while end - known > TimeDelta::minutes(1) {
            let middle = known + (end - known) / 2;
            match self.next(middle).filter(|due| due.time <= end) {
                Some(due) => known = due.time,
                None => end = middle,
            }
        }
        known
    }
}

#[cfg(test)]
mod tests;
