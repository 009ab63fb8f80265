//! Pure: when the volume of the folder will be full, if backups go on at the present rate.
//!
//! What is stored grows for two reasons: retention is not yet at its limits, and the databases themselves grow. So each
//! series of backups is continued day by day at its own pace, with the sizes that its trend leads to, and what retention
//! would prune by then is taken away.

use crate::config::{BackupType, Retention};
use crate::inventory::Inventory;
use crate::record::facts::Subject;
use crate::repository::Side;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;

/// Days that the forecast covers; a volume that lasts longer is no concern today.
const HORIZON: u32 = 365;
/// Backups within a shorter time say nothing about how often they are made.
const SHORTEST: TimeDelta = TimeDelta::days(1);

/// When each backup of a series began, and the bytes of its archive; the oldest first.
pub type StoredSizes = Vec<(DateTime<Utc>, u64)>;

/// Backups of one type of one database, in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSeries {
    pub stored: StoredSizes,
    /// What retention keeps of them.
    pub limit: SeriesLimit,
}

/// What retention keeps of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesLimit {
    /// All.
    None,
    /// So many of the newest.
    Newest(usize),
    /// Those that are not older than so many days.
    Days(u32),
}

impl SeriesLimit {
    /// What is kept of that type.
    fn of(backup_type: BackupType, policy: &Retention) -> Self {
        let (days, count) = match backup_type {
            BackupType::Auto => (policy.days, 0),
            BackupType::Daily => (0, policy.daily),
            BackupType::Weekly => (0, policy.weekly),
            BackupType::Monthly => (0, policy.monthly),
            BackupType::Manual => (0, 0),
        };
        match (days, count) {
            (0, 0) => Self::None,
            (0, count) => Self::Newest(count as usize),
            (days, _) => Self::Days(days),
        }
    }
}

/// The series in the folder, of every source that stores there. Manual backups follow no rhythm and are left out.
pub fn series(inventory: &Inventory, policy: &Retention) -> Vec<BackupSeries> {
    let mut series: BTreeMap<(String, &Subject, BackupType), StoredSizes> = BTreeMap::new();
    for entry in inventory.entries.iter().rev().filter(|entry| entry.is_good_on(Side::Local)) {
        let manifest = &entry.manifest;
        if manifest.backup_type != BackupType::Manual {
            let key = (entry.source(), &manifest.subject, manifest.backup_type);
            series.entry(key).or_default().push((manifest.started, manifest.stored_bytes));
        }
    }
    series
        .into_iter()
        .map(|((.., backup_type), stored)| BackupSeries { stored, limit: SeriesLimit::of(backup_type, policy) })
        .collect()
}

/// Days until what is added to the series exceeds `free` bytes; none where that does not happen within a year, or there
/// are too few backups to tell.
pub fn full_in_days(free: u64, series: &[BackupSeries], now: DateTime<Utc>) -> Option<u32> {
    let mut added = vec![0.0; HORIZON as usize];
    series.iter().for_each(|series| series.add_growth(&mut added, now));
    #[allow(clippy::cast_precision_loss)]
    let free = free as f64;
    (1..).zip(added).find(|(_, bytes)| *bytes > free).map(|(day, _)| day)
}

#[allow(clippy::cast_precision_loss)]
impl BackupSeries {
    /// Adds, for each day to come, by how many bytes the series will then have grown.
    fn add_growth(&self, added: &mut [f64], now: DateTime<Utc>) {
        let Some((pace, end)) = self.pace(now).zip(now.checked_add_signed(TimeDelta::days(HORIZON.into()))) else {
            return;
        };
        let Some((newest, bytes)) = self.stored.last() else { return };
        let step = self.step();
        let future = std::iter::successors(Some(*newest + pace), |time| Some(*time + pace))
            .zip(1..)
            .map(|(time, number)| (time.max(now), (*bytes as f64 + step * f64::from(number)).max(0.0)));
        let mut all: Vec<(DateTime<Utc>, f64)> = self.stored.iter().map(|(time, size)| (*time, *size as f64)).collect();
        all.extend(future.take_while(|(time, _)| *time <= end));
        let at_first: f64 = self.stored.iter().map(|(_, size)| *size as f64).sum();
        let (mut first, mut last, mut sum) = (0, self.stored.len(), at_first);
        for (day, growth) in (1..).zip(added.iter_mut()) {
            let then = now + TimeDelta::days(day);
            while let Some((_, size)) = all.get(last).filter(|(time, _)| *time <= then) {
                (sum, last) = (sum + size, last + 1);
            }
            let goes = |index: usize| match self.limit {
                SeriesLimit::None => false,
                SeriesLimit::Newest(count) => last - index > count,
                SeriesLimit::Days(days) => last - index > 1 && then - all[index].0 > TimeDelta::days(days.into()),
            };
            while goes(first) {
                (sum, first) = (sum - all[first].1, first + 1);
            }
            *growth += sum - at_first;
        }
    }

    /// The time between two of them; none where they do not tell, or where no more are made.
    fn pace(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let ((oldest, _), (newest, _)) = (self.stored.first()?, self.stored.last()?);
        let span = (*newest - *oldest).min(TimeDelta::days(3650));
        let pauses = i32::try_from(self.stored.len() - 1).ok().filter(|_| span >= SHORTEST)?;
        let pace = span.checked_div(pauses)?.max(TimeDelta::minutes(5));
        (now - *newest <= pace * 3 + SHORTEST).then_some(pace)
    }

    /// Bytes by which each is larger than the one before it, by the line that fits them best.
    fn step(&self) -> f64 {
        let count = self.stored.len() as f64;
        let mean = (count - 1.0) / 2.0;
        let (mut along, mut spread) = (0.0, 0.0);
        for (index, (_, size)) in self.stored.iter().enumerate() {
            let distance = index as f64 - mean;
            along += distance * *size as f64;
            spread += distance * distance;
        }
        if spread > 0.0 { along / spread } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-01-28T02:05:00Z".parse().unwrap()
    }

    /// Backups of every `hours`, the newest now.
    fn series(hours: i64, sizes: &[u64], limit: SeriesLimit) -> BackupSeries {
        let begun = now() - TimeDelta::hours(hours) * i32::try_from(sizes.len() - 1).unwrap();
        let stored = (0..).zip(sizes).map(|(number, size)| (begun + TimeDelta::hours(hours) * number, *size));
        BackupSeries { stored: stored.collect(), limit }
    }

    #[test]
    fn a_series_at_its_limit_does_not_grow_and_one_below_it_grows_until_it_is_there() {
        let full = series(24, &[100; 7], SeriesLimit::Newest(7));
        assert_eq!(full_in_days(0, &[full], now()), None);
        let young = series(24, &[100; 3], SeriesLimit::Newest(7));
        assert_eq!(full_in_days(399, std::slice::from_ref(&young), now()), Some(4));
        assert_eq!(full_in_days(400, &[young], now()), None);
        let by_age = series(12, &[100; 5], SeriesLimit::Days(7));
        assert_eq!(full_in_days(1_000, std::slice::from_ref(&by_age), now()), None);
        assert_eq!(full_in_days(500, &[by_age], now()), Some(3));
    }

    #[test]
    fn what_is_never_pruned_fills_the_volume_at_its_pace_and_databases_that_grow_do_so_under_any_limit() {
        let kept = series(24, &[100; 3], SeriesLimit::None);
        assert_eq!(full_in_days(1_000, std::slice::from_ref(&kept), now()), Some(11));
        // two of them, twice as fast
        assert_eq!(full_in_days(1_000, &[kept.clone(), kept], now()), Some(6));
        // every new one is 10 larger than the oldest of two that goes: 20 a day
        let growing = series(24, &[100, 110], SeriesLimit::Newest(2));
        assert_eq!(full_in_days(99, &[growing], now()), Some(5));
        let shrinking = series(24, &[110, 100], SeriesLimit::Newest(2));
        assert_eq!(full_in_days(0, &[shrinking], now()), None);
    }

    #[test]
    fn one_backup_an_afternoon_of_them_or_a_series_that_ended_make_no_forecast() {
        for few in [series(24, &[100], SeriesLimit::None), series(1, &[100; 9], SeriesLimit::None)] {
            assert_eq!(full_in_days(0, &[few], now()), None);
        }
        let ended = series(24, &[100; 9], SeriesLimit::None);
        assert_eq!(full_in_days(0, &[ended], now() + TimeDelta::days(30)), None);
        assert_eq!(full_in_days(0, &[], now()), None);
    }
}
