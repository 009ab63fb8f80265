use super::*;
use crate::inventory::overview::Overview;
use crate::inventory::status::Question;
use crate::inventory::{Inventory, InventoryEntry, Replica};
use crate::job::RememberedFailure;
use crate::record::facts::Subject;
use crate::record::manifest::tests::sample;
use crate::record::manifest::{How, Verification};
use crate::repository::{NotedCause, Side, Whose};
use crate::storage::Space;
use std::sync::Arc;

fn page(databases: &[&str], state: &State) -> String {
    filtered(databases, state, "")
}

fn filtered(databases: &[&str], state: &State, filter: &str) -> String {
    let expected: Vec<Subject> = databases.iter().map(|name| Subject::Database((*name).to_owned())).collect();
    let now = "2026-01-28T02:05:00Z".parse().unwrap();
    let question = Question { max_age: TimeDelta::hours(25), ..Question::plain(&expected, now) };
    let status = Status::of(&Inventory::default(), &question);
    let next = [Due { time: "2026-01-28T03:05:00Z".parse().unwrap(), backup_type: BackupType::Daily }];
    let (source, status, zone) = ("db:5432", Some(&status), Tz::Asia__Bangkok);
    render(&View { source, status, next: &next, zone, now, state, filter })
}

#[test]
fn names_are_text_and_never_markup() {
    let page = page(&["<script>alert(1)</script>", "a\"&'b\u{202e}"], &State::default());
    assert!(!page.contains("<script"), "{page}");
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("a&quot;&amp;'b\\u{202e}"),
        "{page}"
    );
}

#[test]
fn a_page_without_backups_says_what_is_missing_and_when_the_next_run_is() {
    let page = page(&["shop"], &State::default());
    assert!(page.contains("There is no good backup that is at most 25 h 0 min old."), "{page}");
    assert!(page.contains("shop: there is no good backup."), "{page}");
    assert!(page.contains("start a run with <code>backup run</code>."), "{page}");
    assert!(page.contains("Next daily run: 2026-01-28 10:05 +07, in 1 h 0 min"), "{page}");
}

#[test]
fn a_page_before_the_first_look_says_so() {
    let state = State::default();
    let view = View {
        source: "db:5432",
        status: None,
        next: &[],
        zone: Tz::UTC,
        now: "2026-01-28T02:05:00Z".parse().unwrap(),
        state: &state,
        filter: "",
    };
    assert!(render(&view).contains("being checked for the first time"));
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("db_{number:04}")).collect()
}

/// An inventory in which each database has a month of daily backups that were stored, verified and restored.
fn well_kept(databases: &[String], now: DateTime<Utc>) -> Inventory {
    let mut entries = Vec::new();
    for day in 0..30 {
        for (number, name) in (0..).zip(databases) {
            let started = now - TimeDelta::hours(3) - TimeDelta::days(day);
            let mut manifest = sample(&format!("backup_{name}_{}", started.format("%F_%H-%M-%S")));
            (manifest.subject, manifest.started) = (Subject::Database(name.clone()), started);
            manifest.finished = started + TimeDelta::seconds(40 + number % 7);
            manifest.stored_bytes = 1_000_000_000 - 1_000_000 * u64::try_from(day).unwrap();
            let verification = Verification {
                version: 1,
                sha256: manifest.sha256.clone(),
                how: How::Restore,
                passed: true,
                exceptions: 0,
                failures: String::new(),
                finished: started + TimeDelta::minutes(20),
                restore_seconds: Some(75.0),
            };
            let copy = Replica {
                side: Side::Local,
                place: String::new(),
                intact: true,
                verification: Some(verification),
                good: true,
                verified: true,
            };
            entries.push(InventoryEntry { manifest, whose: Whose::Ours, copies: vec![copy] });
        }
    }
    Inventory { entries, ..Inventory::default() }
}

/// The page of databases that are all well kept, but for those that are only selected.
fn page_of_fleet(kept: &[String], missing: &[String], filter: &str) -> String {
    let now = "2026-01-28T05:00:00Z".parse().unwrap();
    let mut overview = Overview::default();
    (overview.inventory, overview.read) = (well_kept(kept, now), vec![Side::Local]);
    let expected: Vec<Subject> = kept.iter().chain(missing).cloned().map(Subject::Database).collect();
    let question = Question {
        max_age: TimeDelta::hours(25),
        space: Some(Space { used: 600, free: 400 }),
        full_in_days: Some(45),
        ..Question::plain(&expected, now)
    };
    let status = Status::of(&overview.inventory, &question);
    let state = State { overview: Some(Arc::new(overview)), looked: Some(now), ..State::default() };
    let (source, status, zone) = ("db:5432", Some(&status), Tz::UTC);
    render(&View { source, status, next: &[], zone, now, state: &state, filter })
}

fn counts(page: &str) -> (usize, usize, usize) {
    let count = |text: &str| page.matches(text).count();
    (count("<article"), count("<tr><td>"), count("<form"))
}

#[test]
fn up_to_seven_databases_are_cards_and_from_eight_on_they_are_one_table_and_a_filter() {
    assert_eq!(counts(&page_of_fleet(&names(7), &[], "")), (7, 0, 0));
    let page = page_of_fleet(&names(8), &[], "");
    assert_eq!(counts(&page), (0, 8, 1));
    let row = page.split("<tr><td>").nth(1).unwrap().split("</tr>").next().unwrap();
    for text in ["db_0000", "3 h 0 min old", "953.7 MiB", "40 s", "2 h 40 min ago", "1 min 15 s", "<polyline"] {
        assert!(row.contains(text), "no {text} in {row}");
    }
    assert!(page.contains("All is well: 8 databases") && page.contains("full in about 45 days at this rate"), "{page}");
}

#[test]
fn a_problem_is_a_card_above_the_table() {
    let page = page_of_fleet(&names(9), &["lost".to_owned()], "");
    assert_eq!(counts(&page), (1, 9, 1));
    assert!(page.find("lost: there is no good backup").unwrap() < page.find("<article").unwrap());
    assert!(page.find("<article").unwrap() < page.find("<table").unwrap());
}

#[test]
fn the_filter_takes_a_part_of_a_name_or_in_quotes_all_of_it() {
    let databases: Vec<String> = names(20).into_iter().chain(["Shop".to_owned(), "shop_2".to_owned()]).collect();
    let shown = |filter: &str| counts(&page_of_fleet(&databases, &[], filter));
    assert_eq!(shown("db_000"), (0, 10, 1));
    assert_eq!(shown("SHOP"), (2, 0, 1));
    assert_eq!(shown("\"Shop\""), (1, 0, 1));
    assert_eq!(shown("\"shop\""), (0, 0, 1));
    let page = page_of_fleet(&databases, &[], "<script>\"");
    assert!(page.contains("0 of 22 databases shown") && !page.contains("<script"), "{page}");
    // a row leads to its card
    assert!(page_of_fleet(&databases, &[], "").contains("href=\"?filter=%22shop%5F2%22\""));
}

#[test]
fn the_page_of_a_thousand_databases_is_small_whether_they_are_well_or_not() {
    let (kept, missing) = (names(1000), names(2000).split_off(1000));
    for page in [page_of_fleet(&kept, &[], ""), page_of_fleet(&[], &missing, ""), page_of_fleet(&kept, &missing, "")] {
        assert!(page.len() < 1_000_000, "{} bytes", page.len());
    }
    let page = page_of_fleet(&kept, &missing, "");
    assert_eq!(counts(&page), (12, 1988, 1));
    assert!(page.contains("994 more databases without a recent good backup"), "{page}");
}

#[test]
fn the_cause_of_a_failed_run_is_known_after_a_restart() {
    let noted = |cause: Option<&str>| NotedCause {
        stage: "dump".to_owned(),
        subject: Some("shop".to_owned()),
        cause: cause.map(str::to_owned),
        hint: cause.map(|_| "grant it".to_owned()),
    };
    let since = "2026-01-27T02:05:00Z".parse().unwrap();
    let state =
        |causes| State { remembered: Some(RememberedFailure { since, time: since, causes }), ..State::default() };
    let shown = page(&["shop"], &state(vec![noted(Some("permission denied"))]));
    assert!(
        shown.contains("a run failed in dump 24 h 0 min ago, and none has succeeded since: shop: permission denied.")
    );
    assert!(shown.contains("What to do: grant it."));
    assert!(page(&["shop"], &state(vec![noted(None)])).contains("see the log of that run"));
    assert!(page(&["shop"], &state(Vec::new())).contains("runs have failed since 2026-01-27 02:05 UTC"));
}
