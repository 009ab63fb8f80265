use super::*;
use crate::inventory::Inventory;
use crate::inventory::status::Question;
use crate::record::facts::Subject;
use std::collections::{HashMap, HashSet};

fn page(databases: &[&str], state: &State) -> String {
    let expected: Vec<Subject> = databases.iter().map(|name| Subject::Database((*name).to_owned())).collect();
    let now = "2026-01-28T02:05:00Z".parse().unwrap();
    let releases = HashMap::new();
    let question = Question {
        shrink_guard: 0.5,
        releases: &releases,
        warnings: &[],
        is_ambiguous: false,
        source: "db:5432",
        expected: &expected,
        max_age: TimeDelta::hours(25),
        pending: &HashSet::new(),
        space: None,
        full_in_days: None,
        now,
    };
    let status = Status::of(&Inventory::default(), &question);
    let next = [Due { time: "2026-01-28T03:05:00Z".parse().unwrap(), backup_type: BackupType::Daily }];
    render(&View { source: "db:5432", status: Some(&status), next: &next, zone: Tz::Asia__Bangkok, now, state })
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
    };
    assert!(render(&view).contains("being looked at for the first time"));
}
