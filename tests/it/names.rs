//! How people name the backup that they mean.

use crate::support::backup::Backup;
use crate::support::postgres::shared;

/// A folder with two databases and the globals, each saved once.
fn of_two_databases() -> (Backup, String, String) {
    let (one, other) = (shared().database("names"), shared().database("names"));
    let both = format!("{one},{other}");
    (Backup::of(shared(), &one).set("BACKUP_DATABASES", &both).set("BACKUP_BASE_NAME", "shop"), one, other)
}

#[test]
fn a_backup_is_named_by_any_beginning_of_its_id_that_fits_no_other() {
    let (backup, one, _) = of_two_databases();
    backup.run(&[]).exits(0);
    backup.run(&["verify", "shop_", "--checksum-only"]).exits(64).says("could mean").says(&format!("shop_{one}"));
    backup.run(&["verify", &format!("shop_{one}_2"), "--checksum-only"]).exits(0);
    backup.run(&["verify", "", "--checksum-only"]).exits(64);
    backup.run(&["verify", "hop_", "--checksum-only"]).exits(64).says("no backup whose id begins with `hop_`");
    // a whole id is no beginning of another
    let listed = backup.json(&["list"], 0);
    let id = listed["backups"][0]["id"].as_str().unwrap().to_owned();
    backup.run(&["download", &id, "--output", backup.folder.path().join("out").to_str().unwrap()]).exits(0);
}

#[test]
fn whoever_asks_for_a_backup_that_does_not_exist_is_told_which_filter_left_nothing_and_what_there_is() {
    let (backup, one, other) = of_two_databases();
    backup.run(&["verify"]).exits(64).says("there is no backup yet; `backup run` makes one");
    backup.run(&[]).exits(0);
    let nope = backup.run(&["verify", "--database", "nope"]).exits(64).says("there is no backup of nope");
    assert!(nope.log.contains(&one) && nope.log.contains(&other), "{}", nope.log);
    let source = backup.json(&["list"], 0)["backups"][0]["source"].as_str().unwrap().to_owned();
    backup.run(&["restore", "--into", "x", "--source", "elsewhere"]).exits(64).says("elsewhere").says(&source);
}

#[test]
fn globals_whose_bytes_were_verified_are_listed_as_verified() {
    let (backup, ..) = of_two_databases();
    backup.run(&[]).exits(0);
    backup.run(&["verify", "--each"]).exits(0);
    let listed = backup.json(&["list"], 0);
    assert_eq!(listed["backups"].as_array().unwrap().iter().filter(|one| one["verified"] == true).count(), 3);
}
