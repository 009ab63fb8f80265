use super::*;
use crate::config::{Config, Shard};
use proptest::prelude::*;
use std::path::Path;

fn selection(settings: &[(&str, &str)]) -> Selection {
    let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Config::load(settings, Path::new("/nonexistent")).unwrap().selection
}

fn database(name: &str, bytes: u64) -> Database {
    Database { name: name.to_owned(), is_text: true, bytes, is_template: name.starts_with("template") }
}

fn server() -> Vec<Database> {
    let sizes = [("a*b", 5), ("app_1", 30), ("app_2", 20), ("postgres", 10), ("template1", 7)];
    sizes.iter().map(|(name, bytes)| database(name, *bytes)).collect()
}

fn chosen(settings: &[(&str, &str)]) -> Vec<String> {
    let tasks = choose(&selection(settings), "postgres", &server()).unwrap();
    tasks.list.iter().map(|task| task.subject.to_string()).collect()
}

#[test]
fn unset_means_the_one_database_without_globals() {
    assert_eq!(chosen(&[]), ["postgres"]);
    assert_eq!(chosen(&[("BACKUP_GLOBALS", "true")]), ["(globals)", "postgres"]);
}

#[test]
fn all_means_every_database_but_templates_globals_first_and_then_the_largest() {
    assert_eq!(chosen(&[("BACKUP_DATABASES", "all")]), ["(globals)", "app_1", "app_2", "postgres", "a*b"]);
    let without = [("BACKUP_DATABASES", "all"), ("BACKUP_EXCLUDE_DATABASES", "post*"), ("BACKUP_GLOBALS", "false")];
    assert_eq!(chosen(&without), ["app_1", "app_2", "a*b"]);
}

#[test]
fn names_and_globs_are_told_apart() {
    assert_eq!(chosen(&[("BACKUP_DATABASES", "app_?,template1")]), ["(globals)", "app_1", "app_2", "template1"]);
    assert_eq!(chosen(&[("BACKUP_DATABASES", "app_1")]), ["app_1"]);
    assert_eq!(chosen(&[("BACKUP_DATABASES", "a[*]b"), ("BACKUP_GLOBALS", "false")]), ["a*b"]);
}

#[test]
fn a_name_that_is_not_there_is_told_and_so_is_a_glob_that_matches_nothing() {
    let wanted = selection(&[("BACKUP_DATABASES", "app_1,gone,x*"), ("BACKUP_EXCLUDE_DATABASES", "y*")]);
    let tasks = choose(&wanted, "postgres", &server()).unwrap();
    assert_eq!(tasks.absent, ["gone"]);
    assert_eq!(tasks.idle_globs, ["x*", "y*"]);
    let none = choose(&selection(&[("BACKUP_DATABASES", "gone,x*")]), "postgres", &server());
    assert!(none.unwrap_err().to_string().contains("`gone,x*`"));
}

#[test]
fn a_cluster_archive_has_every_database_template1_first() {
    let selection = selection(&[("BACKUP_MODE", "cluster"), ("BACKUP_EXCLUDE_DATABASES", "app_2")]);
    let tasks = choose(&selection, "postgres", &server()).unwrap();
    assert_eq!(tasks.list.len(), 1);
    let names: Vec<&str> = tasks.list[0].databases.iter().map(|database| database.name.as_str()).collect();
    assert_eq!(names, ["template1", "a*b", "app_1", "postgres"]);
    assert_eq!(tasks.list[0].expected_bytes(), 52);
    let broken = [server(), vec![database("two\nlines", 1)]].concat();
    assert!(choose(&selection, "postgres", &broken).unwrap_err().to_string().contains("line break"));
}

proptest! {
    #[test]
    fn shards_cover_every_database_once_and_a_new_database_moves_no_other(
        names in prop::collection::hash_set("\\PC{1,20}", 1..40),
        newcomer in "\\PC{1,20}",
        count in 1_u32..9,
    ) {
        let servers: Vec<Database> = names.iter().map(|name| database(name, 0)).collect();
        let shards = |server: &[Database]| -> Vec<Vec<Subject>> {
            (0..count).map(|index| {
                let selection = Selection { shard: Some(Shard { index, count }), ..selection(&[("BACKUP_DATABASES", "all")]) };
                let tasks = choose(&selection, "postgres", server).unwrap();
                tasks.list.into_iter().map(|task| task.subject).collect()
            }).collect()
        };
        prop_assume!(names.iter().any(|name| !name.starts_with("template")) && !names.contains(&newcomer));
        let before = shards(&servers);
        for name in names.iter().filter(|name| !name.starts_with("template")) {
            let subject = Subject::Database(name.clone());
            prop_assert_eq!(before.iter().filter(|shard| shard.contains(&subject)).count(), 1);
        }
        prop_assert_eq!(before.iter().position(|shard| shard.contains(&Subject::Globals)), Some(0));
        prop_assert_eq!(before.iter().flatten().filter(|subject| **subject == Subject::Globals).count(), 1);
        let after = shards(&[servers, vec![database(&newcomer, 0)]].concat());
        for (shard, now) in before.iter().zip(&after) {
            prop_assert!(shard.iter().all(|subject| now.contains(subject)));
        }
    }
}
