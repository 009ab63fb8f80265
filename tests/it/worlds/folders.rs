//! Folders as people have them.

use crate::support::backup::Backup;
use crate::support::postgres::shared;
use std::os::unix::fs::symlink;

fn backup() -> Backup {
    let database = shared().database("folders");
    Backup::of(shared(), &database).set("LOCAL_PATH_FORMAT", "type").set("BACKUP_TYPE", "daily")
}

#[test]
fn a_folder_that_lies_on_another_disk_is_listed_as_it_is_written() {
    let backup = backup();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(backup.path()).unwrap();
    symlink(elsewhere.path(), backup.path().join("daily")).unwrap();
    // ways that lead in circles, to the same place and to nowhere
    symlink(backup.path(), backup.path().join("again")).unwrap();
    symlink(elsewhere.path(), backup.path().join("twice")).unwrap();
    symlink("/nonexistent", backup.path().join("nowhere")).unwrap();
    backup.run(&["run"]).exits(0);
    let listed = backup.json(&["list"], 0);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1, "{listed:#}");
    let path = listed["backups"][0]["locations"][0]["path"].as_str().unwrap().to_owned();
    assert!(path.starts_with(backup.path().to_str().unwrap()), "{path}");
    let limited = backup.with("BACKUP_RETENTION_DAILY", "1");
    limited.run(&["run"]).exits(0).says("deleted 1 backup");
    limited.verify(&[], 0);
    assert_eq!(limited.json(&["list"], 0)["backups"].as_array().unwrap().len(), 1);
    // what a killed run left there is swept
    std::fs::write(elsewhere.path().join("x.txt"), "somebody's").unwrap();
    assert!(limited.json(&["list", "--all"], 0)["foreign"].to_string().contains("x.txt"));
}

#[test]
fn a_folder_that_is_a_link_to_nowhere_or_a_file_is_no_empty_folder() {
    let backup = backup();
    let folder = backup.folder.path().to_owned();
    symlink("/nonexistent/disk", folder.join("dangling")).unwrap();
    std::fs::write(folder.join("file"), "x").unwrap();
    for (name, says) in
        [("dangling", "is a link to /nonexistent/disk"), ("dangling/sub", "is a link to"), ("file", "is not a folder")]
    {
        let wrong = backup.with("BACKUP_DIR", folder.join(name).to_str().unwrap());
        for command in ["run", "list", "status", "check"] {
            wrong.run(&[command]).exits(69).says(says).says("BACKUP_DIR");
        }
    }
}
