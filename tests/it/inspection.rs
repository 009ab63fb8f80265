//! What is in a backup, seen without a restore.

use crate::support::backup::{Backup, assert_fits_schema};
use crate::support::http::{Act, Front};
use crate::support::postgres::{Postgres, shared};
use crate::support::{s3, tool};
use serde_json::{Value, json};

const SHOP: &str = r#"
CREATE SCHEMA sales; CREATE EXTENSION IF NOT EXISTS hstore;
CREATE TABLE customers (id int PRIMARY KEY, name text);
CREATE TABLE sales."Order Items" (id bigserial PRIMARY KEY, note text, amount numeric);
INSERT INTO customers VALUES (1, 'a'), (2, NULL), (3, E'tab\tand\nline\\ "quoted", end'), (4, '');
INSERT INTO sales."Order Items" (note, amount) SELECT 'note ' || n, n / 7.0 FROM generate_series(1, 5000) n;
CREATE TABLE parted (a int, b text) PARTITION BY LIST (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
INSERT INTO parted SELECT 2, n::text FROM generate_series(1, 30) n;
"#;

fn shop(postgres: &Postgres) -> Backup {
    let database = postgres.database("inspected");
    postgres.sql(&database, SHOP);
    Backup::of(postgres, &database)
}

fn json(backup: &Backup, schema: &str, arguments: &[&str]) -> Value {
    let value = backup.json(arguments, 0);
    assert_fits_schema(schema, &value);
    value
}

#[test]
fn show_says_what_is_in_a_backup_and_how_it_was_proved() {
    let backup = shop(shared());
    backup.run(&[]).exits(0);
    backup
        .run(&["show"])
        .exits(0)
        .says("never; run `backup verify` to prove it")
        .says("sales.\"Order Items\"")
        .says("5034");
    backup.verify(&[], 0);
    backup.run(&["show"]).exits(0).says("restored and compared on").says("hstore");
    let shown = json(&backup, "show", &["show", "latest"]);
    let database = &shown["databases"][0];
    assert_eq!(database["schemas"]["sales"]["rows"], 5000);
    assert_eq!(database["objects"]["tables"], 5);
    let tables = database["tables"].as_array().unwrap();
    let parted = tables.iter().find(|table| table["name"] == "public.parted").unwrap();
    assert_eq!((&parted["kind"], &parted["rows"]), (&json!("partitioned"), &Value::Null));
    assert_eq!(database["sequences"]["sales.\"Order Items_id_seq\""]["value"], 5000);
}

#[test]
fn diff_says_what_changed_and_that_nothing_did() {
    let backup = shop(shared());
    let database = backup.get("POSTGRES_DB");
    backup.run(&[]).exits(0);
    backup.run(&[]).exits(0);
    let listed = backup.json(&["list"], 0);
    let id = |at: usize| listed["backups"][at]["id"].as_str().unwrap().to_owned();
    assert_eq!(json(&backup, "diff", &["diff", &id(1), &id(0)])["same"], true);
    backup.run(&["diff", &id(1), &id(0)]).exits(0).says("same content");
    shared().sql(
        &database,
        "CREATE TABLE made (a int); DROP TABLE parted_1; ALTER TABLE customers ADD COLUMN mail text;
         UPDATE customers SET name = 'other' WHERE id = 1; DELETE FROM parted WHERE b < '15';
         SELECT nextval('sales.\"Order Items_id_seq\"'); CREATE INDEX ON customers (name)",
    );
    backup.run(&[]).exits(0);
    let changed = json(&backup, "diff", &["diff", &id(0), "latest"]);
    assert_eq!(changed["same"], false);
    let database = &changed["databases"][0];
    assert_eq!(database["objects"]["tables"]["gained"], json!(["public.made"]));
    assert_eq!(database["objects"]["tables"]["lost"], json!(["public.parted_1"]));
    assert!(database["objects"]["tables"]["altered"]["public.customers"].is_array());
    assert_eq!(database["objects"]["indexes"]["gained"], json!(["public.customers_name_idx"]));
    assert_eq!(database["sequences"], json!(["sales.\"Order Items_id_seq\""]));
    assert_eq!(database["unchanged_tables"], 1);
    let tables = database["tables"].as_array().unwrap();
    let customers = tables.iter().find(|table| table["name"] == "public.customers").unwrap();
    assert_eq!(customers["rows"], json!({"before": 4, "after": 4}));
    let table = backup.run(&["diff", &id(0)]).exits(0).says("tables new: public.made").says("rows changed");
    assert!(!table.stdout.contains("Order Items\" "), "{}", table.stdout);
}

#[test]
fn roles_are_shown_and_not_compared() {
    let backup = shop(shared()).set("BACKUP_GLOBALS", "true");
    backup.run(&[]).exits(0);
    let listed = backup.json(&["list"], 0);
    let globals = listed["backups"].as_array().unwrap().iter().find(|one| one["content"] == "globals").unwrap();
    let id = globals["id"].as_str().unwrap();
    backup.run(&["show", id]).exits(0).says(&format!("backup restore {id} --globals"));
    backup.run(&["diff", id, id]).exits(64).says("diff compares databases");
    backup.run(&["peek", id, "--table", "t"]).exits(64).says("holds only roles");
}

#[test]
fn peek_shows_the_first_rows_as_they_are_in_every_form_of_archive() {
    let identity = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let forms: [&[(&str, &str)]; 5] = [
        &[],
        &[("BACKUP_COMPRESSION_LEVEL", "0")],
        &[("BACKUP_FORMAT", "custom")],
        &[("BACKUP_FORMAT", "custom"), ("BACKUP_COMPRESSION_LEVEL", "0")],
        &[("BACKUP_MODE", "cluster")],
    ];
    // a whole server's archive has what other tests make on a shared one
    let postgres = Postgres::start(&tool("PG_BIN"));
    for form in forms {
        for is_encrypted in [false, true] {
            let mut backup = shop(&postgres);
            for (name, value) in form {
                backup = backup.set(name, value);
            }
            if is_encrypted {
                let file = backup.folder.path().join("identity");
                std::fs::write(&file, identity).unwrap();
                let keys: age::x25519::Identity = identity.parse().unwrap();
                let recipient = keys.to_public().to_string();
                backup = backup.set("AGE_RECIPIENTS", &recipient).set("AGE_IDENTITY_FILE", file.to_str().unwrap());
            }
            backup.run(&[]).exits(0);
            let database = backup.get("POSTGRES_DB");
            let peek = |table: &str, rows: &str| {
                let of = ["--source-database", &database];
                json(&backup, "peek", &[&["peek", "--table", table, "--rows", rows][..], &of].concat())
            };
            let customers = peek("customers", "20");
            assert_eq!(customers["columns"], json!(["id", "name"]));
            let odd = "tab\tand\nline\\ \"quoted\", end";
            assert_eq!(customers["rows"], json!([["1", "a"], ["2", null], ["3", odd], ["4", ""]]), "{form:?}");
            let items = peek("sales.Order Items", "3");
            assert_eq!(items["rows"].as_array().unwrap().len(), 3);
            assert_eq!((&items["rows"][2][1], &items["total"]), (&json!("note 3"), &json!(5000)));
            assert_eq!(peek("sales.Order Items", "9999")["rows"].as_array().unwrap().len(), 5000);
            assert_eq!(peek("parted", "1")["table"], "public.parted_2");
            if is_encrypted {
                backup.with("AGE_IDENTITY_FILE", "").run(&["peek", "--table", "customers"]).exits(78).says("age");
            }
        }
    }
}

#[test]
fn peek_prints_a_table_and_comma_separated_values() {
    let backup = shop(shared());
    backup.run(&[]).exits(0);
    backup.run(&["peek", "--table", "customers"]).exits(0).says("NULL").says("4 of 4 rows of public.customers");
    let csv = backup.run(&["peek", "--table", "customers", "--format", "csv"]).exits(0).stdout;
    assert_eq!(csv, "id,name\n1,a\n2,\n3,\"tab\tand\nline\\ \"\"quoted\"\", end\"\n4,\"\"\n");
    backup.run(&["peek", "--table", "nope"]).exits(64).says("no rows of a table nope").says("public.customers");
}

#[test]
fn what_peek_prints_as_comma_separated_values_is_what_copy_reads() {
    let database = shared().database("csv");
    shared().sql(
        &database,
        r"CREATE TABLE one (v text); INSERT INTO one VALUES (NULL), (''), ('\.'), ('NULL'), ('a,b'), (E'x\ny'), ('\N');
          CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES",
    );
    let backup = Backup::of(shared(), &database);
    backup.run(&[]).exits(0);
    assert_eq!(json(&backup, "peek", &["peek", "--table", "nothing"])["rows"], json!([[], []]));
    for table in ["one", "nothing"] {
        let csv = backup.run(&["peek", "--table", table, "--format", "csv"]).exits(0).stdout;
        let rows = format!("SELECT count(*), string_agg(t::text, '|' ORDER BY t::text) FROM {table} t");
        let before = shared().sql(&database, &rows);
        shared().sql(&database, &format!("TRUNCATE {table}"));
        shared().copy_in(&database, &format!("COPY {table} FROM STDIN (FORMAT csv, HEADER)"), &csv);
        assert_eq!(shared().sql(&database, &rows), before, "{csv}");
    }
}

#[test]
fn bytes_that_are_no_text_are_counted_and_said() {
    let database = shared().database("bytes");
    let ascii = format!("{database}_ascii");
    let options = "TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'";
    shared().sql("postgres", &format!("CREATE DATABASE {ascii} {options}"));
    shared().sql(&ascii, r"CREATE TABLE t (a text); INSERT INTO t VALUES (E'a\xff'), ('b')");
    let backup = Backup::of(shared(), &ascii);
    backup.run(&[]).exits(0);
    let rows = json(&backup, "peek", &["peek", "--table", "t"]);
    assert_eq!((&rows["rows"], &rows["replaced_values"]), (&json!([["a\u{fffd}"], ["b"]]), &json!(1)));
    let outcome = backup.run(&["peek", "--table", "t", "--format", "csv"]).exits(0);
    assert!(outcome.log.contains("1 value has bytes that are not text in the encoding of"), "{}", outcome.log);
}

#[test]
fn tables_without_rows_in_the_backup_are_told_apart() {
    let backup = shop(shared());
    let database = backup.get("POSTGRES_DB");
    backup.run(&[]).exits(0);
    shared().sql(&database, "CREATE TABLE empty (a int)");
    backup.with("BACKUP_EXCLUDE_TABLE_DATA", "customers").run(&[]).exits(0);
    backup.run(&["peek", "--table", "customers"]).exits(64).says("the rows of customers were left out of the backup");
    let listed = backup.json(&["list"], 0);
    let first = listed["backups"][1]["id"].as_str().unwrap();
    let changed = backup.run(&["diff", first]).exits(0).says("left out after").says("new table").stdout;
    assert!(!changed.contains("rows changed"), "{changed}");
    backup.run(&["diff", "latest", "latest"]).exits(0).says("same content").says("are not compared");
}

#[test]
fn the_command_that_show_prints_is_one_that_a_shell_takes_as_it_is() {
    let name = format!("{}; touch \"$HOME/x\" 'y'", shared().database("shell"));
    shared().sql("postgres", &format!("CREATE DATABASE \"{}\" TEMPLATE template0", name.replace('"', "\"\"")));
    let backup = Backup::of(shared(), &name);
    backup.run(&[]).exits(0);
    let shown = backup.run(&["show"]).exits(0).stdout;
    let line = shown.lines().find_map(|line| line.trim().strip_prefix("restore")).unwrap().trim().to_owned();
    let words = std::process::Command::new("bash").args(["-c", &format!("printf '%s\\n' {line}")]).output().unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    let words: Vec<&str> = words.lines().collect();
    assert_eq!(words[..2], ["backup", "restore"]);
    assert_eq!(words[3..], ["--into", &format!("{name}_copy")]);
}

#[test]
fn a_manifest_that_cannot_be_read_is_no_backup_that_was_never_made() {
    let backup = shop(shared());
    backup.run(&[]).exits(0);
    let is_manifest = |name: &&String| name.ends_with(".sql.gz.json");
    let manifest = backup.files().iter().find(is_manifest).unwrap().clone();
    let file = std::fs::File::options().write(true).open(backup.path().join(&manifest)).unwrap();
    file.set_len(300).unwrap();
    backup.run(&["list"]).exits(0).says("no backups that can be read; 1 manifest cannot be");
    backup.run(&["show"]).exits(64).says("that can be read; 1 manifest cannot be");
    let listed = json(&backup, "list", &["list"]);
    assert!(listed["unreadable"][0].as_str().unwrap().ends_with(&manifest), "{listed:#}");
}

#[test]
fn peek_reads_the_letters_of_other_encodings() {
    let database = shared().database("latin");
    let latin = format!("{database}_1");
    shared().sql(
        "postgres",
        &format!("CREATE DATABASE {latin} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"),
    );
    shared().sql(&latin, "CREATE TABLE t (a text); INSERT INTO t VALUES (chr(228) || chr(223))");
    let backup = Backup::of(shared(), &latin);
    backup.run(&[]).exits(0);
    assert_eq!(json(&backup, "peek", &["peek", "--table", "t"])["rows"], json!([["äß"]]));
}

#[test]
fn peek_reads_less_of_a_store_than_one_member_and_show_reads_no_archive() {
    let front = Front::start(s3::shared().port, |_, _| Act::Forward);
    let backup = shop(shared()).to("remote", &front.url(), &s3::fresh_prefix());
    shared().sql(
        &backup.get("POSTGRES_DB"),
        "CREATE TABLE large AS SELECT n, sha512(n::text::bytea) AS digest FROM generate_series(1, 60000) n",
    );
    backup.run(&[]).exits(0);
    let shown = backup.json(&["show"], 0);
    let tables = shown["databases"][0]["tables"].as_array().unwrap().clone();
    let stored = tables.iter().find(|table| table["name"] == "public.large").unwrap()["stored_bytes"].as_u64().unwrap();
    let before = front.seen().len();
    assert_eq!(json(&backup, "peek", &["peek", "--table", "large"])["rows"].as_array().unwrap().len(), 20);
    backup.run(&["diff", "latest"]).exits(0);
    let of_archive = |seen: &crate::support::http::Seen| {
        seen.method == "GET" && seen.target.split('?').next().unwrap().ends_with(".sql.gz")
    };
    let seen = front.seen();
    let ranges = seen[before..].iter().filter(|seen| of_archive(seen)).map(|seen| {
        let range = seen.headers["range"].to_str().unwrap().trim_start_matches("bytes=").to_owned();
        let (first, last) = range.split_once('-').unwrap();
        last.parse::<u64>().unwrap() - first.parse::<u64>().unwrap() + 1
    });
    let asked: u64 = ranges.sum();
    assert!(asked > 0 && asked < stored / 10, "{asked} of {stored} bytes");
}
