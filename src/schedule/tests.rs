use super::*;
use chrono::NaiveDate;
use chrono_tz::{America, Asia, Australia, Europe, Pacific};
use proptest::prelude::*;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn times(text: &str, zone: Tz, from: &str, count: usize) -> Vec<String> {
    let cron = Cron::parse(text).unwrap();
    let times = std::iter::successors(cron.next(utc(from), zone), |time| cron.next(*time, zone));
    times.take(count).map(|time| time.with_timezone(&zone).format("%d %H:%M %Z").to_string()).collect()
}

#[test]
fn a_time_that_does_not_exist_is_due_when_the_gap_ends_and_once() {
    assert_eq!(
        times("30 2 * * *", Europe::Berlin, "2026-03-27T22:00:00Z", 3),
        ["28 02:30 CET", "29 03:00 CEST", "30 02:30 CEST"]
    );
    assert_eq!(
        times("*/20 2 * * *", Europe::Berlin, "2026-03-28T22:00:00Z", 3),
        ["29 03:00 CEST", "30 02:00 CEST", "30 02:20 CEST"]
    );
    // the end of the gap is due anyway
    assert_eq!(times("0 2,3 * * *", Europe::Berlin, "2026-03-28T22:00:00Z", 2), ["29 03:00 CEST", "30 02:00 CEST"]);
    // half an hour in Lord Howe, a whole day in Samoa
    assert_eq!(times("10 2 * * *", Australia::Lord_Howe, "2026-10-03T00:00:00Z", 1), ["04 02:30 +11"]);
    assert_eq!(
        times("0 12 * * *", Pacific::Apia, "2011-12-29T00:00:00Z", 3),
        ["29 12:00 -10", "31 00:00 +14", "31 12:00 +14"]
    );
}

#[test]
fn a_time_that_comes_twice_is_due_the_first_time() {
    assert_eq!(times("30 2 * * *", Europe::Berlin, "2026-10-24T12:00:00Z", 2), ["25 02:30 CEST", "26 02:30 CET"]);
    // asked between the two
    assert_eq!(times("30 2 * * *", Europe::Berlin, "2026-10-25T00:45:00Z", 1), ["26 02:30 CET"]);
    assert_eq!(times("30 1 * * *", America::New_York, "2026-11-01T05:45:00Z", 1), ["02 01:30 EST"]);
}

#[test]
fn every_hour_means_every_hour_that_passes() {
    assert_eq!(
        times("0 * * * *", Europe::Berlin, "2026-10-24T23:30:00Z", 4),
        ["25 02:00 CEST", "25 02:00 CET", "25 03:00 CET", "25 04:00 CET"]
    );
    for text in ["30 */1 * * *", "30 0-23 * * *"] {
        assert_eq!(times(text, Europe::Berlin, "2026-10-25T00:00:00Z", 2), ["25 02:30 CEST", "25 02:30 CET"]);
    }
    assert_eq!(times("0 * * * *", Europe::Berlin, "2026-03-29T00:00:00Z", 2), ["29 03:00 CEST", "29 04:00 CEST"]);
}

#[test]
fn what_never_comes_or_is_no_expression_is_refused() {
    for text in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        assert_eq!(Cron::parse(text), Err("an expression that matches at least one date".to_owned()), "{text}");
    }
    for text in [
        "0 2 * *",
        "0 0 2 * * *",
        "0 0 2 * * * 2027",
        "60 2 * * *",
        "0 25 * * *",
        "TZ=UTC 0 2 * * *",
        "@reboot",
        "x",
        "",
    ] {
        assert!(Cron::parse(text).is_err_and(|error| error.contains("five fields")), "{text}");
    }
    for text in ["0 0 29 2 *", "@daily", "*/15 8-18 * * MON-FRI", "0 2 1,15 * *", "0 3 L * *", "0 3 * * 7"] {
        assert!(Cron::parse(text).is_ok(), "{text}");
    }
}

fn typed(zone: Tz) -> Schedule {
    let entry = |backup_type, text| (backup_type, Cron::parse(text).unwrap());
    Schedule {
        entries: vec![
            entry(BackupType::Daily, "0 2 * * *"),
            entry(BackupType::Weekly, "0 3 * * 0"),
            entry(BackupType::Monthly, "0 4 1 * *"),
        ],
        zone,
    }
}

#[test]
fn of_what_was_missed_the_one_that_is_kept_longest_is_made_good() {
    let schedule = typed(Asia::Bangkok);
    let now = utc("2026-11-03T12:00:00Z");
    let database = |daily: &str, weekly: &str, monthly: &str| -> BTreeMap<BackupType, DateTime<Utc>> {
        [(BackupType::Daily, daily), (BackupType::Weekly, weekly), (BackupType::Monthly, monthly)]
            .into_iter()
            .filter(|(_, time)| !time.is_empty())
            .map(|(backup_type, time)| (backup_type, utc(time)))
            .collect()
    };
    let oldest = Some(utc("2026-09-01T00:00:00Z"));
    let all_missed = |newest: Vec<_>| schedule.missed(&History { newest, oldest }, now).map(|due| due.backup_type);
    let missed = |daily: &str, weekly: &str, monthly: &str| all_missed(vec![database(daily, weekly, monthly)]);
    let well = || database("2026-11-02T19:00:05Z", "2026-10-31T20:00:05Z", "2026-10-31T21:00:05Z");
    assert_eq!(all_missed(vec![well()]), None);
    assert_eq!(missed("2026-11-01T19:00:05Z", "2026-10-31T20:00:05Z", "2026-10-31T21:00:05Z"), Some(BackupType::Daily));
    assert_eq!(
        missed("2026-10-20T19:00:05Z", "2026-10-17T20:00:05Z", "2026-09-30T21:00:05Z"),
        Some(BackupType::Monthly)
    );
    // one run was enough, also after another restart
    assert_eq!(missed("2026-10-20T19:00:05Z", "2026-10-17T20:00:05Z", "2026-11-03T11:00:00Z"), None);
    // a type that there is none of yet, and a database
    assert_eq!(missed("2026-11-02T19:00:05Z", "", ""), Some(BackupType::Monthly));
    assert_eq!(all_missed(vec![well(), BTreeMap::new()]), Some(BackupType::Monthly));
    // a run that was cut after some of them
    let cut = database("2026-11-01T19:00:05Z", "2026-10-31T20:00:05Z", "2026-10-31T21:00:05Z");
    assert_eq!(all_missed(vec![well(), cut]), Some(BackupType::Daily));
    assert_eq!(schedule.missed(&History { newest: vec![BTreeMap::new()], oldest: None }, now), None);
}

#[test]
fn the_longest_time_between_two_runs_is_found_however_dense_they_are_and_whenever_it_is_asked() {
    let gap = |text: &str, from: &str| {
        let entries = vec![(BackupType::Auto, Cron::parse(text).unwrap())];
        Schedule { entries, zone: Europe::Berlin }.longest_gap(utc(from))
    };
    for from in ["2026-01-01T00:00:00Z", "2026-07-08T13:31:00Z"] {
        assert_eq!(gap("0 2 * * *", from), TimeDelta::hours(25));
        assert_eq!(gap("*/10 * * * *", from), TimeDelta::minutes(10));
        assert_eq!(gap("0 9-17 * * 1-5", from), TimeDelta::hours(65));
        assert_eq!(gap("*/2 6-22 * * 1-5", from), TimeDelta::hours(56) + TimeDelta::minutes(2));
        assert_eq!(gap("* 0-20 * * *", from), TimeDelta::hours(3) + TimeDelta::minutes(1));
        assert_eq!(gap("* * * 1 *", from), TimeDelta::days(334) + TimeDelta::minutes(1));
        assert_eq!(gap("0 0 29 2 *", from), TimeDelta::days(1461));
    }
    assert_eq!(typed(Tz::UTC).longest_gap(utc("2026-01-01T00:00:00Z")), TimeDelta::hours(24));
}

/// The definition in other words: minute by minute, a local time is due when it is first seen, or was jumped over.
fn by_the_minute(text: &str, zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let pattern = CronParser::new().parse(text).unwrap();
    let is_wanted = |local: NaiveDateTime| pattern.is_time_matching(&local.and_utc()).unwrap();
    let mut seen = from.with_timezone(&zone).naive_local();
    let mut found = Vec::new();
    let mut time = from;
    while time < until {
        time += TimeDelta::minutes(1);
        let local = time.with_timezone(&zone).naive_local();
        let mut due = false;
        while seen < local {
            seen += TimeDelta::minutes(1);
            due |= is_wanted(seen);
        }
        if due {
            found.push(time);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_local_time_is_due_once_around_every_change_of_the_clocks(
        minute in 0..60_u32,
        hours in prop_oneof![(0..24_u32).prop_map(|hour| hour.to_string()), Just("*/2".to_owned()), Just("1-3".to_owned())],
        zone in prop::sample::select(vec![Europe::Berlin, America::New_York, Australia::Lord_Howe, Asia::Bangkok, America::Sao_Paulo]),
        change in prop::sample::select(vec![(2026, 3, 8), (2026, 3, 29), (2026, 4, 5), (2026, 10, 4), (2026, 10, 25), (2026, 11, 1)]),
    ) {
        let (year, month, day) = change;
        let from = NaiveDate::from_ymd_opt(year, month, day).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc() - TimeDelta::days(1);
        let until = from + TimeDelta::days(3);
        let text = format!("{minute} {hours} * * *");
        let cron = Cron::parse(&text).unwrap();
        let times = std::iter::successors(cron.next(from, zone), |time| cron.next(*time, zone));
        let times: Vec<_> = times.take_while(|time| *time <= until).collect();
        prop_assert_eq!(&times, &by_the_minute(&text, zone, from, until), "{} in {}", text, zone);
        for now in [from + TimeDelta::hours(25), until] {
            prop_assert_eq!(times.iter().rfind(|time| **time <= now).copied(), cron.latest(now, zone).filter(|time| *time > from));
        }
    }
}
