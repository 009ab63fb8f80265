use super::*;
use proptest::prelude::*;

fn naming(database: &str) -> Naming {
    Naming {
        base: "backup".to_owned(),
        subject: Subject::Database(database.to_owned()),
        several: false,
        backup_type: BackupType::Daily,
        format: Format::Plain,
        encrypted: false,
        time: "2026-01-27T19:05:00Z".parse().unwrap(),
        zone: chrono_tz::Asia::Bangkok,
    }
}

#[test]
fn every_layout_shows_the_time_in_the_wanted_zone() {
    let naming = naming("shop");
    let keys = [PathFormat::Flat, PathFormat::Monthly, PathFormat::Daily, PathFormat::Type, PathFormat::Database]
        .map(|layout| naming.key(layout));
    assert_eq!(
        keys,
        [
            "backup_2026-01-28_02-05-00.sql.gz",
            "2026-01/backup_2026-01-28_02-05-00.sql.gz",
            "2026-01-28/backup_2026-01-28_02-05-00.sql.gz",
            "daily/backup_2026-01-28_02-05-00.sql.gz",
            "shop/2026-01-28_02-05-00.sql.gz",
        ]
    );
    let several = Naming { several: true, ..naming };
    assert_eq!(several.id(), "backup_shop_2026-01-28_02-05-00");
    let globals = Naming { subject: Subject::Globals, ..several };
    assert_eq!(globals.id(), "backup_globals_2026-01-28_02-05-00");
    assert_eq!(globals.key(PathFormat::Database), "globals/2026-01-28_02-05-00.sql.gz");
}

#[test]
fn parts_are_told_from_foreign_files() {
    let archive = "2026-01/backup_2026-01-28_02-05-00.sql.gz";
    for archive in [archive, "a.dump", "a.sql.gz.age", "a.dump.age"] {
        for part in [
            FileKind::Archive,
            FileKind::Checksum,
            FileKind::Facts,
            FileKind::Manifest,
            FileKind::Pending,
            FileKind::Upload,
            FileKind::Deleting,
        ] {
            assert_eq!(parse(&companion(archive, part)), Some((archive, part)));
        }
    }
    assert_eq!(parse(&format!("{archive}.verify-20260128T020500Z.json")), Some((archive, FileKind::Verification)));
    // a database may be called so
    let odd = "backup_x.sql.gz.verify-y_2026-01-28_02-05-00.sql.gz";
    assert_eq!(parse(&companion(odd, FileKind::Manifest)), Some((odd, FileKind::Manifest)));
    for foreign in ["notes.txt", "a.json", "x/.hidden.sql.gz", ".sql.gz", "dump.sql", "a.pending", "a.age", ""] {
        assert_eq!(parse(foreign), None, "{foreign}");
    }
}

#[test]
fn a_note_of_a_failed_run_is_told_from_those_of_other_kinds_and_from_backups() {
    let time = "2026-01-28T02:05:09.125Z".parse().unwrap();
    let key = failure_note("db:5432", "all", time);
    assert_eq!(failure_time(&key), Some(time));
    assert!(key.starts_with(&failure_notes("db:5432", "all")) && !key.starts_with(&failure_notes("db:5432", "shop")));
    assert_eq!(parse(&key), None);
    assert!(
        is_failure_note(&key) && is_failure_note(&recovery_note(&key)) && failure_time(&recovery_note(&key)).is_none()
    );
    assert!(!is_failure_note("backup-failed-abc-20260101T000000.000Z"));
    assert!(!is_failure_note("backup-failed-x") && !is_failure_note("backup_2026-01-28_02-05-00.sql.gz"));
}

#[test]
fn a_database_with_one_of_our_words_for_a_name_has_another_component() {
    assert_eq!(encode("globals"), "%67lobals");
    assert_eq!(encode("cluster"), "%63luster");
    assert_eq!(encode("globals2"), "globals2");
}

#[test]
fn a_name_that_is_too_long_is_cut_between_escapes_and_told_from_its_like() {
    let (one, other) = ("🐘".repeat(15) + "a", "🐘".repeat(15) + "b");
    assert_eq!(encode(&one).len(), 95);
    assert!(encode(&one).starts_with("%F0%9F%90%98"), "{}", encode(&one));
    assert!(!encode(&one).contains("%~") && !encode(&one).contains("%F~"), "{}", encode(&one));
    assert_ne!(encode(&one), encode(&other));
    assert_eq!(encode(&"x".repeat(63)), "x".repeat(63));
}

#[test]
fn a_backup_that_exists_has_the_same_key_again_and_an_id_of_somebody_elses_has_none() {
    let naming = naming("shop");
    let id = naming.id();
    let archive = ArchiveName {
        id: &id,
        subject: &naming.subject,
        backup_type: naming.backup_type,
        format: naming.format,
        encrypted: false,
    };
    for layout in [PathFormat::Flat, PathFormat::Monthly, PathFormat::Daily, PathFormat::Type, PathFormat::Database] {
        assert_eq!(archive.key(layout), Some(naming.key(layout)));
    }
    for id in ["", "backup", "../backup_2026-01-28_02-05-00", ".x_2026-01-28_02-05-00", "é2026-01-28_02-05-0"] {
        assert_eq!(ArchiveName { id, ..archive }.key(PathFormat::Daily), None, "{id}");
    }
}

proptest! {
    #[test]
    fn any_database_name_becomes_one_harmless_component(name in "\\PC{1,63}|[./\\-\n\"'a]{1,8}", several in any::<bool>()) {
        let naming = Naming { several, ..naming(&name) };
        for layout in [PathFormat::Flat, PathFormat::Database] {
            let key = naming.key(layout);
            prop_assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.%/~".contains(&b)));
            prop_assert!(key.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-'])));
            prop_assert_eq!(key.split('/').count(), if layout == PathFormat::Flat { 1 } else { 2 });
            prop_assert_eq!(parse(&key), Some((key.as_str(), FileKind::Archive)));
        }
    }

    #[test]
    fn different_databases_never_share_a_component(a in "\\PC{1,20}", b in "\\PC{1,20}") {
        prop_assert_eq!(a == b, encode(&a) == encode(&b));
    }
}
