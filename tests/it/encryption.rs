//! Encrypted backups: readable with age's own tool and the right key, and with nothing else.

use crate::support;

use std::path::PathBuf;
use support::backup::Backup;
use support::postgres::{Postgres, shared};
use support::{age_keys, assert_same_text, s3, tool};

/// A database whose names and settings would tell, and the backup's settings.
fn secrets() -> (String, Backup, String) {
    let postgres = shared();
    let database = postgres.database("sealed");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sql/every_kind.sql");
    postgres.run_file(&database, &path);
    postgres.sql(&database, "CREATE SCHEMA hidden_schema; CREATE TABLE hidden_schema.hidden_table (a int); CREATE TABLE hidden_left_out (a int)");
    postgres.sql(&database, &format!("ALTER DATABASE \"{database}\" SET search_path = hidden_schema, public"));
    let backup = Backup::of(postgres, &database);
    let (file, public) = age_keys(backup.folder.path(), "key.txt");
    let backup = backup.set("AGE_RECIPIENTS", &public).set("BACKUP_EXCLUDE_TABLES", "hidden_left_out");
    (database, backup, file)
}

#[test]
fn age_gunzip_and_psql_restore_an_encrypted_backup_by_hand() {
    let (postgres, (database, backup, key)) = (shared(), secrets());
    for format in ["plain", "custom"] {
        let backup = backup.with("BACKUP_FORMAT", format);
        backup.run(&[]).exits(0);
        let archive = backup.archive();
        assert!(archive.to_str().unwrap().ends_with(if format == "plain" { ".sql.gz.age" } else { ".dump.age" }));
        let copy = postgres.database("by_hand");
        let restore =
            if format == "plain" { "gunzip | psql -Xq -v ON_ERROR_STOP=1" } else { "pg_restore --exit-on-error -d" };
        postgres.shell(&format!("age -d -i '{key}' '{}' | {restore} '{copy}'", archive.display()));
        let dump = |of: &str| postgres.dump("pg_dump", of, &["--exclude-table=hidden_left_out"]);
        assert_same_text(&dump(&copy), &dump(&database));
        postgres.shell(&format!("cd '{}' && sha256sum -c *.sha256", backup.path().display()));
        std::fs::remove_dir_all(backup.path()).unwrap();
    }
}

#[test]
fn nothing_beside_an_encrypted_archive_tells_a_name_of_the_schema() {
    let (_, backup, key) = secrets();
    let backup = backup.set("AGE_IDENTITY_FILE", &key).set("VERIFY_ENABLED", "true");
    backup.run(&[]).exits(0);
    // a verification that fails has details to tell
    let (postgres, database) = (shared(), backup.get("POSTGRES_DB"));
    let queries = backup.folder.path().join("queries.sql");
    std::fs::write(&queries, "SELECT count(*) = 1 FROM hidden_schema.hidden_table").unwrap();
    backup.with("VERIFY_QUERIES_FILE", queries.to_str().unwrap()).run(&["verify"]).exits(65).says("hidden_table");
    assert_eq!(backup.verifications().len(), 2);
    for (name, bytes) in backup.contents() {
        assert!(!bytes.windows(7).any(|window| window == b"hidden_"), "{name} tells");
    }
    assert!(backup.manifest()["properties"].is_null());
    assert_eq!(backup.manifest()["encryption"], "age");
    postgres.sql(&database, "SELECT 1");
}

#[test]
fn an_encrypted_backup_is_proved_with_its_key_in_every_form() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = postgres.database("sealed");
    postgres.run_file(&database, &PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sql/every_kind.sql"));
    for (format, mode) in [("plain", "database"), ("custom", "database"), ("plain", "cluster")] {
        let backup = Backup::of(&postgres, &database);
        let (key, public) = age_keys(backup.folder.path(), "key.txt");
        let backup = backup
            .set("BACKUP_FORMAT", format)
            .set("BACKUP_MODE", mode)
            .set("AGE_RECIPIENTS", &public)
            .set("AGE_IDENTITY_FILE", &key)
            .to("all", &s3::shared().endpoint(), &s3::fresh_prefix());
        backup.run(&[]).exits(0);
        for location in ["local", "remote"] {
            let report = backup.verify(&["--location", location], 0);
            assert_eq!(report.with("failed"), [0; 0]);
            assert!(report.0.to_string().contains("rows"), "nothing was compared");
            assert_eq!(backup.verify(&["--location", location, "--checksum-only"], 0).check(0).0, "ok");
        }
    }
}

#[test]
fn without_its_key_a_backup_is_not_opened_and_its_stored_bytes_can_still_be_compared() {
    let (_, backup, key) = secrets();
    backup.run(&[]).exits(0);
    let (other, _) = age_keys(backup.folder.path(), "other.txt");
    backup.run(&["verify"]).exits(78).says("there is no private key to read it; check AGE_IDENTITY_FILE");
    backup.with("AGE_IDENTITY_FILE", &other).run(&["verify"]).exits(78).says("none of the private keys decrypts it");
    assert_eq!(backup.verifications().len(), 0, "keys say nothing of a backup");
    let report = backup.verify(&["--checksum-only"], 0);
    assert!(report.check(7).1.contains("only its stored bytes were compared"), "{:?}", report.check(7));
    // one bit of it changed
    let archive = backup.archive();
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&archive).unwrap();
    std::fs::write(&archive, bytes).unwrap();
    assert_eq!(backup.verify(&["--checksum-only"], 65).check(0).0, "failed");
    let report = backup.with("AGE_IDENTITY_FILE", &key).verify(&[], 65);
    assert!(report.check(0).0 == "failed");
}

const SECRET: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

#[test]
fn keys_are_checked_before_anything_is_dumped() {
    let (_, backup, key) = secrets();
    let folder = backup.folder.path().to_owned();
    let (other, public) = age_keys(&folder, "other.txt");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let list = write("list.txt", &format!("# two of us\n{}\n{public}\n", backup.get("AGE_RECIPIENTS")));
    for (name, value, says) in [
        ("AGE_RECIPIENTS", "age1nonsense", "AGE_RECIPIENTS: `age1nonsense` is not an age public key"),
        ("AGE_RECIPIENTS", "/nowhere", "AGE_RECIPIENTS: reading /nowhere"),
        ("AGE_IDENTITY_FILE", "/nowhere", "AGE_IDENTITY_FILE: reading /nowhere"),
        ("AGE_IDENTITY_FILE", &list, "line 2 is not an age private key"),
        ("AGE_IDENTITY_FILE", &write("empty", "#\n"), "it holds no key"),
        ("VERIFY_ENABLED", "true", "needs AGE_IDENTITY_FILE"),
        ("AGE_RECIPIENTS_FILE", &list, "AGE_RECIPIENTS_FILE is not a setting; AGE_RECIPIENTS takes keys or the path"),
        ("AGE_RECIPIENTS", SECRET, "a private key may be given only as a file"),
        ("AGE_IDENTITY_FILE", SECRET, "a private key may be given only as a file"),
    ] {
        let outcome = backup.with(name, value).run(&[]).exits(78).says(says);
        assert!(!outcome.log.contains("1GFPY"), "a private key is shown");
        backup.with(name, value).run(&["config"]).exits(78).says(says);
    }
    backup.run(&["check"]).exits(0).says("1 public key; there is no private key here");
    backup
        .with("AGE_IDENTITY_FILE", &key)
        .run(&["check"])
        .exits(0)
        .says("AGE_IDENTITY_FILE decrypts what is encrypted");
    backup.with("AGE_IDENTITY_FILE", &other).run(&["check"]).exits(0).says("cannot decrypt what is encrypted to them");
    let unproved = backup.with("VERIFY_ENABLED", "true").set("AGE_IDENTITY_FILE", &other);
    unproved.run(&[]).exits(78).says("cannot decrypt what is encrypted to AGE_RECIPIENTS");
    assert_eq!(backup.files(), [""; 0]);
    // each of several keys opens it
    let backup = backup.with("AGE_RECIPIENTS", &list);
    backup.run(&[]).exits(0);
    for key in [key, other] {
        backup.with("AGE_IDENTITY_FILE", &key).run(&["verify"]).exits(0);
    }
}
