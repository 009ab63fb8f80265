use super::*;
use crate::config::BackupType;
use crate::facts::Subject;
use crate::report::{Activity, Place, Stored};
use proptest::prelude::*;

fn entry(name: &str) -> Entry {
    Entry {
        backup: Some(Stored {
            id: "backup_2026-01-28_02-05-00".to_owned(),
            raw_bytes: 5 << 20,
            stored_bytes: 1 << 20,
            sha256: "ab".repeat(32),
        }),
        places: vec![Place { location: "/backups/backup_2026-01-28_02-05-00.sql.gz".to_owned(), stored: true }],
        previous: Some(Previous { started: "2026-01-27T02:05:00Z".parse().unwrap(), stored_bytes: 2 << 20 }),
        ..Entry::new(Subject::Database(name.to_owned()))
    }
}

fn failed(name: &str, failures: Vec<Failure>) -> Entry {
    Entry { backup: None, places: Vec::new(), failures, ..entry(name) }
}

fn report(outcome: Outcome, entries: Vec<Entry>) -> Report {
    Report {
        activity: Activity::Backup,
        run_id: "0197".to_owned(),
        source: "db:5432".to_owned(),
        shard: None,
        wanted: "all".to_owned(),
        backup_type: BackupType::Daily,
        started: "2026-01-28T02:05:00Z".parse().unwrap(),
        finished: "2026-01-28T02:07:03Z".parse().unwrap(),
        outcome,
        entries,
        targets: vec!["/backups".to_owned()],
        pruned: vec!["old".to_owned()],
        failures: Vec::new(),
        kept: Some((7, 7 << 20)),
    }
}

/// Compares the message with the stored one.
#[track_caller]
fn assert_golden(name: &str, report: &Report) {
    insta::with_settings!({ snapshot_path => "../../../../tests/snapshots" }, {
        insta::assert_json_snapshot!(name, message(report));
    });
}

#[test]
fn success_is_green_and_tells_size_place_and_checksum() {
    assert_golden("success", &report(Outcome::Success, vec![entry("shop")]));
}

#[test]
fn failure_is_red_and_tells_stage_cause_hint_and_the_last_good_backup() {
    let failure = Failure {
        stage: "dump",
        cause: "pg_dump ended with exit status: 1".to_owned(),
        hint: Some("grant the role SELECT on it".to_owned()),
        stderr: Some("pg_dump: error: permission denied for table secret".to_owned()),
    };
    let report = Report { pruned: Vec::new(), ..report(Outcome::Failure, vec![failed("shop", vec![failure])]) };
    assert_golden("failure", &report);
}

#[test]
fn several_databases_have_sums_and_a_row_for_each_failure() {
    let cause = "the database gone is not on the server, or no longer".to_owned();
    let failure = Failure { stage: "connect", cause, hint: Some("look there".to_owned()), stderr: None };
    let globals = Entry { notes: vec!["without passwords".to_owned()], ..entry("") };
    let globals = Entry { subject: Subject::Globals, ..globals };
    let entries = vec![globals, entry("shop"), failed("gone", vec![failure]), failed("cut\nshort", Vec::new())];
    assert_golden("several", &Report { shard: Some("0/4".to_owned()), ..report(Outcome::Partial, entries) });
}

fn total(embed: &Value) -> usize {
    let text = |value: &Value| count(value.as_str().unwrap());
    let fields = embed["fields"].as_array().unwrap();
    text(&embed["title"])
        + text(&embed["description"])
        + fields.iter().map(|f| text(&f["name"]) + text(&f["value"])).sum::<usize>()
}

proptest! {
    #[test]
    fn no_report_breaks_a_limit_of_discord(
        database in "\\PC{0,400}",
        cause in "\\PC{0,3000}",
        stderr in "(\\PC{0,300}\n){0,12}",
        failures in 0..9_usize,
        entries in 0..40_usize,
    ) {
        let failure = Failure { stage: "dump", cause, hint: Some(String::new()), stderr: Some(stderr) };
        let entries = vec![failed(&database, vec![failure.clone(); failures]); entries];
        let report = Report { failures: vec![failure; failures], ..report(Outcome::Failure, entries) };
        let message = message(&report);
        let embed = &message["embeds"][0];
        prop_assert!(count(embed["title"].as_str().unwrap()) <= 256);
        let fields = embed["fields"].as_array().unwrap();
        prop_assert!(fields.len() <= 25);
        for field in fields {
            let value = field["value"].as_str().unwrap();
            prop_assert!(!value.trim().is_empty() && count(value) <= 1024, "{}", count(value));
            prop_assert!(!field["name"].as_str().unwrap().is_empty());
        }
        prop_assert!(total(embed) <= 6000);
        prop_assert_eq!(&message["allowed_mentions"]["parse"], &serde_json::json!([]));
    }
}
