use super::*;
use crate::config::BackupType;
use crate::report::{Failure, Place, Previous, Stored};
use proptest::prelude::*;

fn report(outcome: Outcome) -> Report {
    Report {
        run_id: "0197".to_owned(),
        source: "db:5432".to_owned(),
        database: "shop".to_owned(),
        backup_type: BackupType::Daily,
        started: "2026-01-28T02:05:00Z".parse().unwrap(),
        finished: "2026-01-28T02:07:03Z".parse().unwrap(),
        outcome,
        backup: Some(Stored {
            id: "backup_2026-01-28_02-05-00".to_owned(),
            raw_bytes: 5 << 20,
            stored_bytes: 1 << 20,
            sha256: "ab".repeat(32),
        }),
        places: vec![Place { location: "/backups/backup_2026-01-28_02-05-00.sql.gz".to_owned(), stored: true }],
        pruned: vec!["old".to_owned()],
        failures: Vec::new(),
        previous: Some(Previous { started: "2026-01-27T02:05:00Z".parse().unwrap(), stored_bytes: 2 << 20 }),
        kept: Some((7, 7 << 20)),
    }
}

/// Compares the message with the stored one.
#[track_caller]
fn assert_golden(report: &Report) {
    let name = if report.outcome == Outcome::Success { "success" } else { "failure" };
    insta::with_settings!({ snapshot_path => "../../../tests/snapshots" }, {
        insta::assert_json_snapshot!(name, embed(report));
    });
}

#[test]
fn success_is_green_and_tells_size_place_and_checksum() {
    assert_golden(&report(Outcome::Success));
}

#[test]
fn failure_is_red_and_tells_stage_cause_hint_and_the_last_good_backup() {
    let failure = Failure {
        stage: "dump",
        cause: "pg_dump ended with exit status: 1".to_owned(),
        hint: Some("grant the role SELECT on it".to_owned()),
        stderr: Some("pg_dump: error: permission denied for table secret".to_owned()),
    };
    let report = Report { backup: None, failures: vec![failure], pruned: Vec::new(), ..report(Outcome::Failure) };
    assert_golden(&report);
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
    ) {
        let failure = Failure { stage: "dump", cause, hint: Some(String::new()), stderr: Some(stderr) };
        let report = Report { database, failures: vec![failure; failures], ..report(Outcome::Failure) };
        let message = embed(&report);
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
