use super::*;
use crate::record::facts::Subject;
use crate::record::manifest::BackupType;
use crate::report::{
    Activity, CopyReport, Entry, Failure, Outcome, Previous, Pruned, Stage, Stored, UpcomingRun, VerificationSummary,
};
use crate::settings::Secret;
use crate::storage::Side;
use chrono::{DateTime, Utc};
use message::{Row, Text, count};
use proptest::prelude::*;
use serde_json::Value;
use services::discord::Discord;
use services::{discord, slack, webhook};

fn entry(name: &str) -> Entry {
    Entry {
        backup: Some(Stored {
            id: "backup_2026-01-28_02-05-00".to_owned(),
            raw_bytes: 5 << 20,
            stored_bytes: 1 << 20,
            sha256: "ab".repeat(32),
            rows: 12,
        }),
        stages: vec![Stage { name: "dump", seconds: 1.5 }],
        places: vec![CopyReport {
            side: Side::Local,
            key: None,
            location: "/backups/backup_2026-01-28_02-05-00.sql.gz".to_owned(),
            stored: true,
        }],
        previous: Some(Previous {
            started: "2026-01-27T02:05:00Z".parse().unwrap(),
            finished: "2026-01-27T02:06:00Z".parse().unwrap(),
            stored_bytes: 2 << 20,
            rows: 10,
            raw_bytes: 8 << 20,
        }),
        ..Entry::new(Subject::Database(name.to_owned()))
    }
}

fn failed(name: &str, failures: Vec<Failure>) -> Entry {
    Entry { backup: None, places: Vec::new(), failures, ..entry(name) }
}

fn report(outcome: Outcome, entries: Vec<Entry>) -> Report {
    let [started, finished] = ["2026-01-28T02:05:00Z", "2026-01-28T02:07:03Z"].map(|time| time.parse().unwrap());
    Report {
        source: "db:5432".to_owned(),
        wanted: "all".to_owned(),
        finished,
        outcome,
        entries,
        targets: vec![(Side::Local, "/backups".to_owned())],
        pruned: vec![Pruned { id: "old".to_owned(), subject: Subject::Database("shop".to_owned()), side: Side::Local }],
        kept: Some((7, 7 << 20)),
        next_run: Some(UpcomingRun { time: "2026-01-29T02:05:00Z".parse().unwrap(), backup_type: BackupType::Daily }),
        ..Report::begin(Activity::Backup, "0197", BackupType::Daily, started)
    }
}

/// Compares what each service is sent with the stored snapshots.
#[track_caller]
fn assert_golden(name: &str, report: &Report) {
    let message = Message::of(report);
    insta::with_settings!({ snapshot_path => "../../tests/snapshots" }, {
        insta::assert_json_snapshot!(format!("discord_{name}"), discord::render(&message));
        insta::assert_json_snapshot!(format!("slack_{name}"), slack::render(&message));
    });
}

#[test]
fn the_webhook_is_given_the_report_in_its_published_form() {
    let failure = Failure { stage: "dump", cause: "cut".to_owned(), hint: None, stderr: Some("lines".to_owned()) };
    let failing_since = Some("2026-01-26T02:05:00Z".parse().unwrap());
    let entries = vec![entry("shop"), failed("gone", vec![failure]), Entry { subject: Subject::Globals, ..entry("") }];
    let body = webhook::render(&Report { failing_since, ..report(Outcome::Partial, entries) });
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schemas/report.json");
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    let index = compiler.compile(schema, &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&body, index) {
        panic!("{error:#}\n{body:#}");
    }
    let schema: Value = serde_json::from_str(include_str!("../../docs/schemas/report.json")).unwrap();
    assert_eq!(undescribed(&body, &schema, &schema), Vec::<String>::new());
    insta::with_settings!({ snapshot_path => "../../tests/snapshots" }, {
        insta::assert_json_snapshot!("webhook", body);
    });
}

/// Fields that the schema, which allows more, does not describe.
fn undescribed(value: &Value, schema: &Value, root: &Value) -> Vec<String> {
    let schema = match schema["$ref"].as_str() {
        Some(path) => root.pointer(path.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    match value {
        Value::Array(items) if schema["items"].is_object() => {
            items.iter().flat_map(|item| undescribed(item, &schema["items"], root)).collect()
        }
        Value::Object(fields) => {
            let below = fields.iter().map(|(name, value)| match &schema["properties"][name] {
                Value::Null => vec![name.clone()],
                schema => undescribed(value, schema, root),
            });
            below.flatten().collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn the_title_of_a_partial_result_says_what_is_not_safe() {
    let remote = |stored| CopyReport { side: Side::Remote, key: None, location: "s3://b".to_owned(), stored };
    let title = |entries: Vec<Entry>| {
        let targets = vec![(Side::Local, "/backups".to_owned()), (Side::Remote, "s3://b".to_owned())];
        let report = Report { targets, ..report(Outcome::Partial, entries) };
        let message = Message::of(&report);
        let command = message.rows.iter().find(|row| row.name == "Run next");
        let Some(Text::Code(command)) = command.map(|row| &row.text) else { panic!("{message:?}") };
        format!("{} ({command})", message.title)
    };
    let both = |name: &str, is_remote| {
        let mut entry = entry(name);
        entry.places.push(remote(is_remote));
        entry
    };
    let lost = |name: &str| failed(name, Vec::new());
    let saved = "Backup partly done";
    assert_eq!(title(vec![both("shop", false)]), format!("{saved}: shop from db:5432; no remote copy (backup upload)"));
    assert_eq!(
        title(vec![both("shop", false), both("crm", true)]),
        format!("{saved}: 2 databases from db:5432; no remote copy of shop (backup upload)")
    );
    assert_eq!(
        title(vec![both("shop", true), lost("crm"), lost("hr")]),
        format!("{saved}: 1 of 3 databases from db:5432; crm and hr not saved (backup check)")
    );
    let many = ["a", "b", "c", "d", "e"].map(lost).into_iter().chain([both("shop", false)]).collect();
    assert_eq!(
        title(many),
        format!("{saved}: 1 of 6 databases from db:5432; a, b, c and 2 more not saved, no remote copy (backup check)")
    );
}

#[test]
fn a_backup_that_failed_its_verification_names_the_command_that_shows_why() {
    let verified = VerificationSummary {
        passed: false,
        tables: 3,
        rows: 12,
        restore_seconds: Some(4.0),
        warnings: 0,
        exceptions: Vec::new(),
    };
    let failure = Failure { stage: "verify", cause: "rows differ".to_owned(), hint: None, stderr: None };
    let unproved = Entry { verified: Some(verified), failures: vec![failure], ..entry("shop") };
    let message = Message::of(&report(Outcome::Failure, vec![unproved]));
    assert_eq!(message.title, "Verification failed: shop from db:5432");
    assert!(message.text(4000).contains("\nRun next: backup verify backup_2026-01-28_02-05-00\n"), "{message:?}");
}

#[test]
fn success_after_failures_is_a_recovery_and_sent_where_failures_were() {
    let failing_since: Option<DateTime<Utc>> = Some("2026-01-26T02:05:00Z".parse().unwrap());
    let recovered = Report { failing_since, ..report(Outcome::Success, vec![entry("shop")]) };
    assert_eq!(message::title(&recovered), "Backup recovered: shop from db:5432");
    let text = serde_json::to_string(&discord::render(&Message::of(&recovered))).unwrap();
    assert!(text.contains("2026-01-26 02:05:00 UTC (2 days)"), "{text}");
    let wanted = |on_success, on_failure, report: &Report| {
        Discord { url: Secret::from(String::new()), on_success, on_failure }.wants(report)
    };
    assert!(wanted(false, true, &recovered) && wanted(true, false, &recovered) && !wanted(false, false, &recovered));
    assert!(!wanted(false, true, &Report { failing_since: None, ..recovered }));
    let failed = report(Outcome::Failure, Vec::new());
    assert!(wanted(false, true, &failed) && !wanted(true, false, &failed));
}

#[test]
fn what_a_service_refuses_goes_as_one_line_that_has_the_cause() {
    let failure = Failure { stage: "dump", cause: "cut\nshort <!channel>".to_owned(), hint: None, stderr: None };
    let message = Message::of(&report(Outcome::Failure, vec![failed("shop", vec![failure])]));
    assert_eq!(discord::minimal(&message)["content"], "Backup failed: shop from db:5432: cut\\nshort <!channel>");
    assert_eq!(discord::minimal(&message)["allowed_mentions"]["parse"], serde_json::json!([]));
    assert_eq!(slack::minimal(&message)["text"], "Backup failed: shop from db:5432: cut\\nshort &lt;!channel&gt;");
}

#[test]
fn success_is_green_and_tells_size_rows_place_checksum_and_the_next_run() {
    assert_golden("success", &report(Outcome::Success, vec![entry("shop")]));
}

#[test]
fn failure_is_red_and_tells_stage_cause_hint_the_last_good_backup_and_what_to_run_next() {
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
    let cause = "the database gone does not exist on the server".to_owned();
    let failure = Failure { stage: "connect", cause, hint: Some("look there".to_owned()), stderr: None };
    let globals = Entry { notes: vec!["without passwords".to_owned()], ..entry("") };
    let globals = Entry { subject: Subject::Globals, ..globals };
    let entries = vec![globals, entry("shop"), failed("gone", vec![failure]), failed("cut\nshort", Vec::new())];
    assert_golden("several", &Report { shard: Some("0/4".to_owned()), ..report(Outcome::Partial, entries) });
}

#[test]
fn sums_are_compared_with_those_of_the_same_databases() {
    let new = Entry { previous: None, ..entry("new") };
    let message = Message::of(&report(Outcome::Success, vec![entry("shop"), new]));
    let row = |name: &str| match message.rows.iter().find(|row| row.name == name).map(|row| &row.text) {
        Some(Text::Plain(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(row("Size"), "2.0 MiB (1.0 MiB of it new; the rest: -50 %, was 2.0 MiB)");
    assert_eq!(row("Rows"), "24 (12 of it new; the rest: was 10)");
}

/// A report of 40 databases, each with an exception and most rows lost, and of one that could not be saved.
fn crowded() -> Report {
    let verified = VerificationSummary {
        passed: true,
        tables: 3,
        rows: 12,
        restore_seconds: Some(4.0),
        warnings: 0,
        exceptions: vec!["a view".to_owned()],
    };
    let names = (0..40).map(|number| format!("customer_database_number_{number}"));
    let mut entries: Vec<Entry> =
        names.clone().map(|name| Entry { verified: Some(verified.clone()), ..entry(&name) }).collect();
    let failure = Failure { stage: "connect", cause: "it is gone".to_owned(), hint: None, stderr: None };
    entries.push(failed("nope", vec![failure]));
    let alarms = names.map(|name| format!("{name} has shrunk: 20000 rows in 2 tables, now 0 rows")).collect();
    Report { alarms, ..report(Outcome::Partial, entries) }
}

#[test]
fn what_failed_and_what_to_run_has_its_place_before_any_list() {
    let message = Message::of(&crowded());
    let text = message.text(100_000);
    let [failure, command, sums, excepted] =
        ["nope: connect: it is gone", "Run next: backup check", "Size: ", "Verified with exceptions: "]
            .map(|part| text.find(part).unwrap_or_else(|| panic!("no {part} in {text}")));
    assert!(failure < command && command < sums && sums < excepted, "{text}");
    assert!(text.contains("35 more; the log names them") && text.contains(" and 10 more"), "{text}");
    for content in [discord::render(&message).to_string(), message.text(3900)] {
        assert!(content.contains("it is gone") && content.contains("backup check"), "{content}");
    }
    assert_eq!(message.minimal(), format!("{}: nope: it is gone", message.title));
}

#[test]
fn what_has_no_room_is_counted() {
    let rows = |count: usize| {
        (0..count).map(|_| Row { name: "n".to_owned(), text: Text::Plain("x".repeat(200)), short: false }).collect()
    };
    let message = |count| Message { rows: rows(count), ..Message::of(&report(Outcome::Success, Vec::new())) };
    let fields = |count| discord::render(&message(count))["embeds"][0]["fields"].as_array().unwrap().clone();
    assert_eq!(fields(25).len(), 25);
    let cut = fields(40);
    assert_eq!((cut.len(), &cut[24]["name"]), (25, &serde_json::json!("More")));
    assert!(cut[24]["value"].as_str().unwrap().starts_with("16 more do not fit here"), "{cut:?}");
    assert!(slack::render(&message(90)).to_string().contains("more do not fit here"));
}

#[test]
fn the_title_says_which_of_several_failed_their_verification_and_what_recovered_only_in_part() {
    let verified = |passed| {
        let exceptions = Vec::new();
        Some(VerificationSummary { passed, tables: 3, rows: 12, restore_seconds: None, warnings: 0, exceptions })
    };
    let one = |name, passed| Entry { verified: verified(passed), ..entry(name) };
    let entries = vec![one("tpl", false), one("shop", true), failed("nope", Vec::new())];
    assert_eq!(
        message::title(&report(Outcome::Failure, entries)),
        "Verification failed: 2 of 3 databases from db:5432; tpl failed its verification, nope not saved"
    );
    let failing_since = Some("2026-01-26T02:05:00Z".parse().unwrap());
    let alarms = vec!["shop has shrunk".to_owned()];
    let recovered = Report { failing_since, alarms, ..report(Outcome::Success, vec![entry("shop")]) };
    assert_eq!(message::title(&recovered), "Backup recovered, but needs attention: shop from db:5432");
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
    fn no_report_breaks_a_limit_of_a_service(
        database in "\\PC{0,400}",
        cause in "[<>&`]{0,2000}|\\PC{0,3000}",
        stderr in "(\\PC{0,300}\n){0,12}|[<>&]{0,4000}",
        failures in 0..9_usize,
        entries in 0..40_usize,
        short in any::<bool>(),
    ) {
        let failure = Failure { stage: "dump", cause, hint: Some(String::new()), stderr: Some(stderr) };
        let one = |failures: Vec<Failure>| if short { entry(&database) } else { failed(&database, failures) };
        let entries = vec![one(vec![failure.clone(); failures]); entries];
        let report = Report { failures: vec![failure; failures], ..report(Outcome::Failure, entries) };
        let message = Message::of(&report);

        let body = discord::render(&message);
        let embed = &body["embeds"][0];
        prop_assert!(count(embed["title"].as_str().unwrap()) <= 256);
        let fields = embed["fields"].as_array().unwrap();
        prop_assert!(fields.len() <= 25);
        for field in fields {
            let value = field["value"].as_str().unwrap();
            prop_assert!(!value.trim().is_empty() && count(value) <= 1024, "{}", count(value));
            let name = field["name"].as_str().unwrap();
            prop_assert!(!name.trim().is_empty() && count(name) <= 256);
        }
        prop_assert!(total(embed) <= 6000);
        prop_assert_eq!(&body["allowed_mentions"]["parse"], &serde_json::json!([]));
        let minimal = discord::minimal(&message);
        prop_assert!((1..=2000).contains(&count(minimal["content"].as_str().unwrap())));

        let body = slack::render(&message);
        let blocks = body["attachments"][0]["blocks"].as_array().unwrap();
        prop_assert!(blocks.len() <= 50);
        let mut sum = 0;
        for block in blocks {
            let fields = block["fields"].as_array().cloned().unwrap_or_default();
            prop_assert!(fields.len() <= 10);
            for (text, limit) in fields.iter().map(|field| (field, 2000)).chain([(&block["text"], 3000)]) {
                let Some(text) = text["text"].as_str() else { continue };
                prop_assert!(!text.trim().is_empty() && text.chars().count() <= limit, "{}", text.chars().count());
                sum += text.chars().count();
                // nothing that Slack takes for a mention or a link, and no half of an entity
                prop_assert!(!text.contains(['<', '>']));
                for (index, _) in text.match_indices('&') {
                    let rest = &text[index..];
                    prop_assert!(["&amp;", "&lt;", "&gt;"].iter().any(|entity| rest.starts_with(entity)), "{rest}");
                }
            }
        }
        prop_assert!(sum <= 16_000, "{sum}");
        prop_assert!(body["text"].as_str().unwrap().chars().count() <= 3000);
    }
}
