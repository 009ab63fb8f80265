//! The folder fails: full, or closed to writing.

use super::{Scene, database_of, pg_dumps_of, small_database};
use crate::support::backup::Backup;
use crate::support::postgres::shared;
use crate::support::s3;

#[test]
fn a_full_disk_is_named_and_leaves_the_disk_as_it_was() {
    let database = database_of(60);
    let scene = Scene::local(&database);
    let mount = scene.backup.folder.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let listing = scene.backup.folder.path().join("left");
    // the tmpfs lives and dies with the namespace, so what is left on it is listed inside
    let script = format!(
        "mount -t tmpfs -o size=8m tmpfs '{0}' && \"$@\"; code=$?; find '{0}' -type f ! -name 'backup-failed-*' >'{1}'; exit $code",
        mount.display(),
        listing.display()
    );
    let backup =
        scene.backup.under(&["unshare", "-Urm", "sh", "-c", &script, "sh"]).set("BACKUP_DIR", mount.to_str().unwrap());
    let outcome = backup.run(&[]).exits(74).says("No space left on device").says("BACKUP_DIR");
    assert_eq!(std::fs::read_to_string(&listing).unwrap(), "");
    assert_eq!(scene.webhook.seen().len(), 1, "{}", outcome.log);
    assert_eq!(pg_dumps_of(&backup), Vec::<i32>::new());
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_the_dump_and_by_a_dry_run() {
    let backup = Backup::of(shared(), &small_database());
    // one that nobody can create; a dry run names the nearest that is there
    let lost = backup.with("BACKUP_DIR", "/proc/1/backups");
    lost.run(&["run"]).exits(74).says("/proc/1/backups");
    lost.run(&["run", "--dry-run"]).exits(77).says("/proc/1");
    let mount = backup.folder.path().join("sealed");
    std::fs::create_dir(&mount).unwrap();
    let script = format!("mount -t tmpfs -o ro tmpfs '{}' && exec \"$@\"", mount.display());
    let backup =
        backup.under(&["unshare", "-Urm", "sh", "-c", &script, "sh"]).set("BACKUP_DIR", mount.to_str().unwrap());
    for arguments in [&["run", "--dry-run"][..], &["run"]] {
        let outcome = backup.run(arguments).exits(77).says("Read-only file system").says("BACKUP_DIR");
        assert!(!outcome.log.contains("dumping"), "{}", outcome.log);
    }
}

#[test]
fn a_full_disk_under_all_keeps_the_remote_backup() {
    let database = database_of(60);
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &database).to("all", &s3::shared().endpoint(), &prefix);
    let mount = backup.folder.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let script = format!("mount -t tmpfs -o size=8m tmpfs '{}' && exec \"$@\"", mount.display());
    let backup =
        backup.under(&["unshare", "-Urm", "sh", "-c", &script, "sh"]).set("BACKUP_DIR", mount.to_str().unwrap());
    backup.run(&[]).exits(1).says("No space left on device").says("partly done");
    assert_eq!(s3::shared().keys(&prefix).len(), 4);
}
