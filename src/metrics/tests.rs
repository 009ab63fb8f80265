use super::*;
use crate::facts::Subject;
use crate::status::Question;
use chrono::TimeDelta;
use std::collections::BTreeSet;

#[test]
fn every_family_has_a_name_of_its_own_and_a_sentence() {
    let names: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), FAMILIES.len());
    for family in FAMILIES {
        assert!(family.help.ends_with('.') && family.name.starts_with("pg_backup_"), "{}", family.name);
        assert!(
            !["_total", "_count", "_sum", "_bucket"].iter().any(|end| family.name.ends_with(end)),
            "{}",
            family.name
        );
    }
}

/// Series of a source whose storage could be read, or not.
fn metrics(databases: &[&str], is_read: bool) -> Metrics {
    let expected: Vec<Subject> = databases.iter().map(|name| Subject::Database((*name).to_owned())).collect();
    let inventory = Inventory::default();
    let question = Question {
        source: "db:5432",
        expected: &expected,
        max_age: TimeDelta::days(1),
        pending: &std::collections::HashSet::new(),
        space: None,
        now: "2026-01-28T02:05:00Z".parse().unwrap(),
    };
    Metrics::of(&Known {
        status: &Status::of(&inventory, &question),
        inventory: &inventory,
        read: if is_read { &[SideKind::Local] } else { &[] },
        sides: &[SideKind::Local],
        attempts: &[],
        last_run: None,
        daemon: None,
    })
}

#[test]
fn a_database_without_any_backup_has_a_series_that_says_so() {
    let text = metrics(&["a \"b\"\n"], true).text();
    assert!(
        text.contains("pg_backup_backups{database=\"a \\\"b\\\"\\n\",target=\"local\",source=\"db:5432\"} 0\n"),
        "{text}"
    );
    assert!(!text.contains("last_success"), "{text}");
}

#[test]
fn a_file_keeps_what_is_not_said_anew_unless_the_database_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup.prom");
    let series = |database: &str, source: &str| {
        format!(
            "pg_backup_last_success_timestamp_seconds{{database=\"{database}\",target=\"local\",source=\"{source}\"}}"
        )
    };
    let old = format!(
        "# HELP pg_backup_last_success_timestamp_seconds When.\n# TYPE pg_backup_last_success_timestamp_seconds gauge\n\
         {} 1\n{} 2\n{} 3\n",
        series("shop", "db:5432"),
        series("gone", "db:5432"),
        series("shop", "other:5432"),
    );
    let kept = |is_read: bool| {
        std::fs::write(&path, &old).unwrap();
        textfile::write(&path, &metrics(&["shop"], is_read)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| line.contains("last_success"));
        lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kept(true), ["When.", "gauge", "1"]);
    // nobody knows which databases there are
    assert_eq!(kept(false), ["When.", "gauge", "2", "1"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
