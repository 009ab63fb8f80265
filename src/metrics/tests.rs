use super::*;
use crate::inventory::status::Question;
use crate::record::facts::Subject;
use crate::record::manifest::BackupType;
use crate::report::Activity;
use std::collections::BTreeSet;

#[test]
fn every_family_has_a_name_of_its_own_and_a_sentence() {
    let names: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), FAMILIES.len());
    for family in FAMILIES {
        // each is read without the others
        let first = family.help.split(' ').next().unwrap();
        assert!(!["It", "Its", "That", "These", "They", "This", "Those", "When"].contains(&first), "{}", family.help);
        assert!(family.help.ends_with('.') && family.name.starts_with("pg_backup_"), "{}", family.name);
        assert!(
            !["_total", "_count", "_sum", "_bucket"].iter().any(|end| family.name.ends_with(end)),
            "{}",
            family.name
        );
    }
}

/// Series of a source whose storage could be read, or not, after a run of that shard.
fn metrics(databases: &[&str], is_read: bool, shard: Option<&str>) -> Metrics {
    let expected: Vec<Subject> = databases.iter().map(|name| Subject::Database((*name).to_owned())).collect();
    let inventory = Inventory::default();
    let now = "2026-01-28T02:05:00Z".parse().unwrap();
    let question = Question::plain(&expected, now);
    let report = Report {
        source: "db:5432".to_owned(),
        shard: shard.map(str::to_owned),
        outcome: Outcome::Success,
        entries: expected.iter().cloned().map(Entry::new).collect(),
        ..Report::begin(Activity::Backup, "", BackupType::Daily, now)
    };
    Metrics::of(&MetricsInput {
        status: &Status::of(&inventory, &question),
        inventory: &inventory,
        read: if is_read { &[Side::Local] } else { &[] },
        sides: &[Side::Local],
        attempts: &report.attempts(),
        last_run: Some(&report),
        is_whole: shard.is_none(),
        daemon: None,
    })
}

#[test]
fn a_database_without_any_backup_has_series_that_say_so() {
    let text = metrics(&["a \"b\"\n", "(globals)"], true, None).text();
    for family in ["backups", "last_success_timestamp_seconds", "status"] {
        let series =
            format!("pg_backup_{family}{{database=\"a \\\"b\\\"\\n\",target=\"local\",source=\"db:5432\"}} 0\n");
        assert!(text.contains(&series), "no {series} in {text}");
    }
    assert!(text.contains("database=\"database (globals)\""), "{text}");
}

/// What of the old lines is in the file afterwards, by their values.
fn kept(old: &str, metrics: &Metrics) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup.prom");
    std::fs::write(&path, old).unwrap();
    textfile::write(&path, metrics).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter(|line| line.contains("} 9") && !line.starts_with('#'));
    lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn a_file_keeps_what_may_still_hold_and_nothing_else() {
    let line =
        |family: &str, labels: &str, value: u32| format!("pg_backup_{family}{{{labels},source=\"db:5432\"}} {value}\n");
    let old = [
        line("last_success_timestamp_seconds", "database=\"gone\",target=\"local\"", 91),
        line("last_success_timestamp_seconds", "database=\"shop\",target=\"remote\"", 92),
        line("status", "database=\"gone\",target=\"local\"", 93),
        line("status", "database=\"shop\",target=\"local\"", 94),
        line("build_info", "version=\"0.0.1\"", 95),
        line("run_status", "shard=\"0/2\"", 96),
        line("run_status", "shard=\"1/3\"", 97),
        line("duration_seconds", "database=\"shop\",stage=\"verify\"", 98),
        "pg_backup_status{database=\"shop\",target=\"local\",source=\"other:5432\"} 99\n".to_owned(),
    ]
    .concat();
    // a run of everything knows which databases there are; its folder is all there is
    assert_eq!(kept(&old, &metrics(&["shop"], true, None)), ["98"]);
    // where the folder could not be read, its successes may still hold
    assert_eq!(kept(&old, &metrics(&["shop"], false, None)), ["98", "91"]);
    // a shard knows nothing of the databases of others
    assert_eq!(kept(&old, &metrics(&["shop"], true, Some("0/3"))), ["98", "97", "93"]);
    assert_eq!(kept("\u{0}\u{1} 1\n# x\n", &metrics(&["shop"], true, None)), Vec::<String>::new());
}
