//! What is backed up is what was there: dump, restore with PostgreSQL's own tools, dump again, compare.

use crate::support;

use std::path::PathBuf;
use std::process::Command;
use support::backup::Backup;
use support::postgres::{Postgres, shared};
use support::{assert_same_text, s3, tool};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A database with every kind of object.
fn every_kind(postgres: &Postgres) -> String {
    let database = postgres.database("every kind");
    postgres.run_file(&database, &root().join("tests/sql/every_kind.sql"));
    database
}

/// Compares two databases by what pg_dump says of them.
#[track_caller]
fn assert_same_dump(postgres: &Postgres, copy: &str, original: &str) {
    let original = postgres.dump("pg_dump", original, &[]);
    assert!(original.contains("CREATE TABLE"), "nothing was compared");
    assert_same_text(&postgres.dump("pg_dump", copy, &[]), &original);
}

#[test]
fn a_plain_backup_restores_with_gunzip_and_psql_to_the_same_dump() {
    let postgres = shared();
    let database = every_kind(postgres);
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let copy = postgres.database("copy");
    postgres.restore(&backup.archive(), &copy, true);
    assert_same_dump(postgres, &copy, &database);
}

#[test]
fn a_custom_backup_restores_with_pg_restore_to_the_same_dump() {
    let postgres = shared();
    let database = every_kind(postgres);
    let backup = Backup::of(postgres, &database).set("BACKUP_FORMAT", "custom");
    backup.run(&["run", "--type", "daily"]).exits(0);
    assert_eq!(backup.manifest()["type"], "daily");
    let copy = postgres.database("copy");
    let archive = backup.archive();
    let restore = postgres.client("pg_restore").args(["--exit-on-error", "-d", &copy]).arg(&archive).output().unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    assert_same_dump(postgres, &copy, &database);
}

#[test]
fn what_lies_in_the_bucket_restores_to_the_same_dump() {
    let postgres = shared();
    let database = every_kind(postgres);
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(postgres, &database).to("all", &s3::shared().endpoint(), &prefix);
    backup.run(&[]).exits(0);
    assert!(s3::shared().unfinished(&prefix).is_empty());
    let contents = s3::shared().contents(&prefix);
    let (key, bytes) = contents.iter().find(|(key, _)| key.ends_with(".sql.gz")).unwrap();
    assert_eq!(*bytes, std::fs::read(backup.archive()).unwrap());
    assert_eq!(contents.len(), 4, "{key}");
    let fetched = backup.folder.path().join("fetched.sql.gz");
    std::fs::write(&fetched, bytes).unwrap();
    let copy = postgres.database("copy");
    postgres.restore(&fetched, &copy, true);
    assert_same_dump(postgres, &copy, &database);
}

#[test]
fn servers_of_17_and_18_make_the_round_trip_with_their_own_tools() {
    for bin in [tool("PG17_BIN"), tool("PG18_BIN")] {
        let postgres = Postgres::start(&bin);
        for format in ["plain", "custom"] {
            let database = every_kind(&postgres);
            let backup = Backup::of(&postgres, &database).set("BACKUP_FORMAT", format);
            backup.run(&[]).exits(0);
            let copy = postgres.database("copy");
            if format == "plain" {
                postgres.restore(&backup.archive(), &copy, true);
            } else {
                let restore =
                    postgres.client("pg_restore").args(["-e", "-d", &copy]).arg(backup.archive()).output().unwrap();
                assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
            }
            assert_same_dump(&postgres, &copy, &database);
        }
    }
}

#[test]
fn an_empty_database_is_a_backup_and_so_is_one_with_an_awkward_name() {
    let postgres = shared();
    for name in ["empty", "host=evil dbname=x", "-f/tmp/x", "a\"; DROP", "../../x", "ünï 🐘\nline"] {
        let quoted = name.replace('"', "\"\"");
        postgres.sql("postgres", &format!("CREATE DATABASE \"{quoted}\" TEMPLATE template0"));
        for format in ["plain", "custom"] {
            let backup = Backup::of(postgres, name).set("LOCAL_PATH_FORMAT", "database").set("BACKUP_FORMAT", format);
            backup.run(&[]).exits(0);
            assert_eq!(backup.manifest()["database"], name);
            assert_eq!(backup.manifest()["totals"]["tables"], 0);
            let inside =
                backup.files().iter().all(|file| file.split('/').count() == 2 && !file.starts_with(['.', '-']));
            assert!(inside, "{:?}", backup.files());
        }
    }
}

#[test]
fn gunzip_zcat_python_and_go_read_all_members() {
    let postgres = shared();
    let database = postgres.database("members");
    postgres.sql(&database, "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 60000) AS n");
    let backup = Backup::of(postgres, &database).set("BACKUP_JOBS", "4");
    backup.run(&[]).exits(0);
    let (archive, raw) = (backup.archive(), backup.manifest()["raw_bytes"].as_u64().unwrap());
    assert!(raw > 4 * 512 * 1024, "too small for several members");
    let archive = archive.to_str().unwrap();
    let go = backup.folder.path().join("read.go");
    std::fs::write(&go, GO).unwrap();
    let python = "import gzip,sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())";
    let readers: [(&str, Vec<&str>); 4] = [
        ("gunzip", vec!["-c", archive]),
        ("zcat", vec![archive]),
        (&tool("PYTHON"), vec!["-c", python, archive]),
        (&tool("GO"), vec!["run", go.to_str().unwrap(), archive]),
    ];
    let expected = Command::new("gunzip").args(["-c", archive]).output().unwrap().stdout;
    assert_eq!(expected.len() as u64, raw);
    for (program, arguments) in readers {
        let cache = backup.folder.path().join("go-cache");
        let output = Command::new(program).args(arguments).env("GOCACHE", &cache).env("HOME", &cache).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == expected, "{program} read {} of {raw} bytes", output.stdout.len());
    }
}

const GO: &str = r#"package main

import ("compress/gzip"; "io"; "os")

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil { panic(err) }
	reader, err := gzip.NewReader(file)
	if err != nil { panic(err) }
	if _, err := io.Copy(os.Stdout, reader); err != nil { panic(err) }
}
"#;

#[test]
fn the_checksum_file_is_for_sha256sum_and_the_facts_file_matches_the_manifest() {
    use sha2::{Digest, Sha256};
    let postgres = shared();
    let database = every_kind(postgres);
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let archive = backup.archive();
    let checked = Command::new("sha256sum")
        .args(["-c", &format!("{}.sha256", archive.file_name().unwrap().to_str().unwrap())])
        .current_dir(backup.path())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let facts = std::fs::read(format!("{}.facts.json.gz", archive.display())).unwrap();
    let digest: String = Sha256::digest(&facts).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = backup.manifest();
    assert_eq!(manifest["facts_sha256"], digest);
    assert_eq!(manifest["snapshot"]["exported"], true);
    assert_eq!(manifest["stored_bytes"], std::fs::metadata(&archive).unwrap().len());
    let tables = "SELECT count(*) FROM pg_class WHERE relkind IN ('r','p') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'";
    assert_eq!(manifest["totals"]["tables"].to_string(), postgres.sql(&database, tables));
}

#[test]
fn the_databases_own_properties_are_in_the_manifest() {
    let postgres = shared();
    let database = postgres.database("properties");
    postgres.sql(
        "postgres",
        &format!(
            "DROP ROLE IF EXISTS keeper; CREATE ROLE keeper; ALTER DATABASE {database} OWNER TO keeper;
         COMMENT ON DATABASE {database} IS 'kept'; ALTER DATABASE {database} SET work_mem = '7MB';
         ALTER ROLE keeper IN DATABASE {database} SET search_path = odd; ALTER DATABASE {database} CONNECTION LIMIT 9;
         REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"
        ),
    );
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let properties = &backup.manifest()["properties"];
    assert_eq!(properties["owner"], "keeper");
    assert_eq!(properties["comment"], "kept");
    assert_eq!(properties["connection_limit"], 9);
    assert_eq!(properties["settings"][0], "work_mem=7MB");
    assert_eq!(properties["role_settings"]["keeper"][0], "search_path=odd");
    let public: Vec<_> =
        properties["privileges"].as_array().unwrap().iter().filter(|p| p["grantee"].is_null()).collect();
    assert_eq!(public.len(), 1);
    assert_eq!(public[0]["privilege"], "TEMPORARY");
}
