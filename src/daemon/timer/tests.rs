use super::*;
use crate::record::manifest::BackupType;
use crate::schedule::Cron;
use chrono::{Datelike, NaiveDate, NaiveTime, Timelike, Weekday};
use chrono_tz::{America, Australia, Europe, Tz};
use std::cell::RefCell;
use tokio::time::Instant;

type Run = (Due, DateTime<Utc>, DateTime<Utc>);

/// A year in moments: the clock is the paused one, and a run takes as long as the test says.
struct Simulated {
    begin: DateTime<Utc>,
    started: Instant,
    lasts: fn(Due) -> TimeDelta,
    history: Option<History>,
    /// What was due, and when its run began and ended.
    runs: RefCell<Vec<Run>>,
    until: DateTime<Utc>,
    shutdown: Shutdown,
    /// The clock is wrong by this much from this time on.
    jump: Option<(DateTime<Utc>, TimeDelta)>,
}

impl Work for Simulated {
    fn now(&self) -> DateTime<Utc> {
        let now = self.begin + TimeDelta::from_std(self.started.elapsed()).unwrap();
        if now >= self.until {
            self.shutdown.request(crate::shutdown::Stop::Terminate);
        }
        self.jump.filter(|(from, _)| now >= *from).map_or(now, |(_, by)| now + by)
    }

    async fn history(&self) -> Option<History> {
        self.history.clone()
    }

    async fn run(&self, due: Due) {
        let begun = self.now();
        tokio::time::sleep((self.lasts)(due).to_std().unwrap()).await;
        self.runs.borrow_mut().push((due, begun, self.now()));
    }
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn simulated(from: &str, until: &str, lasts: fn(Due) -> TimeDelta) -> Simulated {
    Simulated {
        begin: utc(from),
        started: Instant::now(),
        lasts,
        history: Some(History::default()),
        runs: RefCell::default(),
        until: utc(until),
        shutdown: Shutdown::default(),
        jump: None,
    }
}

fn typed(zone: Tz, entries: &[(BackupType, &str)]) -> Schedule {
    let entries = entries.iter().map(|(backup_type, text)| (*backup_type, Cron::parse(text).unwrap())).collect();
    Schedule { entries, zone }
}

/// The moment of a local time by the contract's words: the first of two, and the end of a gap.
fn moment(zone: Tz, day: NaiveDate, hour: u32, minute: u32) -> DateTime<Utc> {
    let wanted = day.and_time(NaiveTime::from_hms_opt(hour, minute, 0).unwrap());
    let mut time = (wanted - TimeDelta::hours(30)).and_utc();
    // the first minute whose local time has reached the wanted one
    while time.with_timezone(&zone).naive_local() < wanted {
        time += TimeDelta::minutes(1);
    }
    time
}

/// A year of daily, weekly and monthly runs at times that the changes of the clocks leave out or repeat, each run as
/// long as it likes: every one is made, once, in its turn, and not before its time.
#[tokio::test(start_paused = true)]
async fn in_a_year_every_run_is_made_exactly_once_whatever_the_clocks_do() {
    for (zone, hour, minute) in [(Europe::Berlin, 2, 30), (America::New_York, 1, 15), (Australia::Lord_Howe, 2, 10)] {
        let schedule = typed(
            zone,
            &[
                (BackupType::Daily, &format!("{minute} {hour} * * *")),
                (BackupType::Weekly, &format!("{minute} {hour} * * 0")),
                (BackupType::Monthly, &format!("{minute} 3 1 * *")),
            ],
        );
        let lasts = |due: Due| TimeDelta::seconds(i64::from(due.time.ordinal()) * 7919 % 14_400);
        let work = simulated("2026-01-01T12:00:00Z", "2027-01-01T12:00:00Z", lasts);
        drive(&schedule, &work, &work.shutdown).await;
        let mut expected = Vec::new();
        let mut day = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        while day <= NaiveDate::from_ymd_opt(2027, 1, 2).unwrap() {
            let mut add = |backup_type, hour| {
                let time = moment(zone, day, hour, minute);
                if time > work.begin && time <= work.until {
                    expected.push(Due { time, backup_type });
                }
            };
            add(BackupType::Daily, hour);
            if day.weekday() == Weekday::Sun {
                add(BackupType::Weekly, hour);
            }
            if day.day() == 1 {
                add(BackupType::Monthly, 3);
            }
            day = day.succ_opt().unwrap();
        }
        expected.sort();
        let runs = work.runs.borrow();
        let made: Vec<Due> = runs.iter().map(|(due, ..)| *due).collect();
        assert_eq!(made, expected, "{zone}");
        assert!(made.len() > 365 + 50, "{}", made.len());
        for ((due, begun, _), before) in runs.iter().zip(std::iter::once(None).chain(runs.iter().map(Some))) {
            let free = before.map_or(due.time, |(_, _, ended)| due.time.max(*ended));
            assert!(*begun >= free, "{due:?} began at {begun}, and could at {free}");
            assert!(*begun - free < TimeDelta::seconds(1), "{due:?} began at {begun}, and could at {free}");
        }
        // the test tests what it says
        let local = |due: &Due| due.time.with_timezone(&zone);
        assert!(
            zone == America::New_York
                || made.iter().any(|due| local(due).minute() != minute || local(due).hour() > hour)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_each_minute_runs_each_minute_and_what_passes_during_a_run_is_made_good_for_once() {
    let schedule = typed(Tz::UTC, &[(BackupType::Auto, "* * * * *")]);
    let work = simulated("2026-01-01T12:00:30Z", "2026-01-01T13:00:00Z", |due| match due.time.minute() {
        10 => TimeDelta::seconds(250),
        _ => TimeDelta::seconds(5),
    });
    drive(&schedule, &work, &work.shutdown).await;
    let minutes: Vec<u32> = work.runs.borrow().iter().map(|(due, ..)| due.time.minute()).collect();
    let expected: Vec<u32> = (1..=10).chain(14..60).collect();
    assert_eq!(minutes.iter().filter(|minute| **minute > 0).copied().collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn one_run_makes_good_for_a_week_that_was_missed() {
    let schedule = typed(Tz::UTC, &[(BackupType::Daily, "0 2 * * *"), (BackupType::Weekly, "0 3 * * 0")]);
    let mut work = simulated("2026-03-05T12:00:00Z", "2026-03-06T12:00:00Z", |_| TimeDelta::seconds(60));
    let newest = [(BackupType::Daily, "2026-02-20T02:00:01Z"), (BackupType::Weekly, "2026-02-15T03:00:01Z")];
    work.history = Some(History {
        newest: vec![newest.into_iter().map(|(backup_type, time)| (backup_type, utc(time))).collect()],
        oldest: Some(utc("2026-01-01T02:00:00Z")),
    });
    drive(&schedule, &work, &work.shutdown).await;
    let made: Vec<(BackupType, String)> =
        work.runs.borrow().iter().map(|(due, begun, _)| (due.backup_type, begun.format("%d %R").to_string())).collect();
    assert_eq!(made, [(BackupType::Weekly, "05 12:00".to_owned()), (BackupType::Daily, "06 02:00".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_neither_repeats_a_run_nor_loses_the_next_ones() {
    let schedule = typed(Tz::UTC, &[(BackupType::Daily, "0 2 * * *")]);
    let made = async |jump: TimeDelta| {
        let mut work = simulated("2026-03-05T12:00:00Z", "2026-03-12T12:00:00Z", |_| TimeDelta::seconds(60));
        work.jump = Some((utc("2026-03-08T02:10:00Z"), jump));
        drive(&schedule, &work, &work.shutdown).await;
        work.runs.borrow().iter().map(|(due, ..)| due.time.day()).collect::<Vec<_>>()
    };
    // some minutes back over a run that was made
    assert_eq!(made(TimeDelta::minutes(-30)).await, [6, 7, 8, 9, 10, 11, 12]);
    // days forward, as after sleep: one run for all that were missed
    assert_eq!(made(TimeDelta::days(3)).await, [6, 7, 8, 11, 12, 13, 14, 15]);
    // years back: it was wrong before, and runs go on at once
    assert_eq!(made(TimeDelta::days(-365)).await, [6, 7, 8, 9, 10, 11, 12]);
}

#[tokio::test(start_paused = true)]
async fn of_what_a_machine_slept_through_one_run_is_made() {
    let schedule = typed(Tz::UTC, &[(BackupType::Daily, "0 2 * * *"), (BackupType::Weekly, "0 3 * * 0")]);
    let mut work = simulated("2026-03-05T12:00:00Z", "2026-03-06T12:00:00Z", |_| TimeDelta::seconds(60));
    work.jump = Some((utc("2026-03-05T18:00:00Z"), TimeDelta::days(20)));
    drive(&schedule, &work, &work.shutdown).await;
    let made: Vec<(BackupType, u32)> =
        work.runs.borrow().iter().map(|(due, begun, _)| (due.backup_type, begun.day())).collect();
    assert_eq!(made, [(BackupType::Weekly, 25), (BackupType::Daily, 26)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_good_for_while_nobody_knows_what_there_is() {
    let schedule = typed(Tz::UTC, &[(BackupType::Daily, "0 2 * * *")]);
    let mut work = simulated("2026-03-05T12:00:00Z", "2026-03-06T12:00:00Z", |_| TimeDelta::seconds(60));
    work.history = None;
    drive(&schedule, &work, &work.shutdown).await;
    assert_eq!(work.runs.borrow().len(), 1);
}
