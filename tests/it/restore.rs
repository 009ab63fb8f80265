//! Restoring: what was there is back, what is there stays until everything matched.

use crate::support;

use std::path::PathBuf;
use support::backup::{Backup, finish};
use support::postgres::{Postgres, shared};
use support::{assert_same_text, s3, tool};

fn sql_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn every_kind(postgres: &Postgres, prefix: &str) -> String {
    let database = postgres.database(prefix);
    postgres.run_file(&database, &sql_file("sql/every_kind.sql"));
    // what follows another server is another test's
    postgres.sql(&database, "ALTER SUBSCRIPTION from_nowhere SET (slot_name = NONE)");
    postgres.sql(&database, "DROP SUBSCRIPTION from_nowhere");
    database
}

#[test]
fn a_database_comes_back_under_a_new_name_in_every_form() {
    let postgres = shared();
    for (format, encrypted, target) in
        [("plain", false, "local"), ("custom", false, "local"), ("plain", true, "remote"), ("custom", true, "remote")]
    {
        let database = every_kind(postgres, "new");
        postgres.sql("postgres", &format!("COMMENT ON DATABASE {database} IS 'ours'; ALTER DATABASE {database} SET work_mem = '7MB'; ALTER DATABASE {database} CONNECTION LIMIT 9"));
        let mut backup = Backup::of(postgres, &database).set("BACKUP_FORMAT", format).to(
            target,
            &s3::shared().endpoint(),
            &s3::fresh_prefix(),
        );
        if encrypted {
            let (key, public) = support::age_keys(backup.folder.path(), "key.txt");
            backup = backup.set("AGE_RECIPIENTS", &public).set("AGE_IDENTITY_FILE", &key);
        }
        backup.run(&[]).exits(0);
        let copy = format!("{database}_copy");
        let outcome = backup.run(&["restore", "latest", "--into", &copy, "--verbose"]).exits(0);
        assert!(
            outcome.stdout.contains("content fingerprints") && !outcome.stdout.contains("FAILED"),
            "{}",
            outcome.stdout
        );
        assert_same_text(&postgres.picture(&copy).replace(&copy, &database), &postgres.picture(&database));
        // a second time it is there already
        backup.run(&["restore", "--into", &copy]).exits(64).says("exists and is not empty; use --replace");
        assert_eq!(postgres.leftovers().matches(&database).count(), 0);
    }
}

#[test]
fn an_empty_database_is_filled_and_leaves_nothing_behind() {
    let postgres = shared();
    let database = every_kind(postgres, "fill");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let empty = postgres.database("empty");
    backup.run(&["restore", "--into", &empty]).exits(0);
    assert_same_text(&postgres.dump("pg_dump", &empty, &[]), &postgres.dump("pg_dump", &database, &[]));
    assert_eq!(
        postgres.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{empty}_%'")),
        "0"
    );
    // one with a comment, a setting or an owner of its own is kept, although nothing was made in it
    let adorned = postgres.database("adorned");
    postgres.sql("postgres", &format!("COMMENT ON DATABASE {adorned} IS 'ours'"));
    backup.run(&["restore", "--into", &adorned]).exits(0);
    assert!(postgres.exists(&postgres.before(&adorned)));
}

#[test]
fn a_full_database_is_replaced_on_demand_and_kept_and_can_be_swapped_back() {
    let postgres = shared();
    let database = every_kind(postgres, "swap");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let good = postgres.picture(&database);
    postgres.sql(&database, "CREATE TABLE made_later (a int); COMMENT ON TABLE made_later IS 'x'");
    let later = postgres.picture(&database);
    backup.run(&["restore", "--into", &database]).exits(64).says("--replace");
    backup.run(&["restore", "--into", &database, "--replace"]).exits(64).says("pass --yes");
    assert_same_text(&postgres.picture(&database), &later);
    let planned = backup
        .run(&["restore", "--into", &database, "--replace", "--dry-run"])
        .exits(0)
        .says("which is kept as")
        .says("_before_<time>");
    assert!(planned.stdout.contains("replace"));
    assert_same_text(&postgres.picture(&database), &later);
    let outcome = backup.run(&["restore", "--into", &database, "--replace", "--yes"]).exits(0);
    assert_same_text(&postgres.picture(&database), &good);
    let old = postgres.before(&database);
    assert_same_text(&postgres.picture(&old).replace(&old, &database), &later);
    // the printed way back
    let back = outcome.stdout.lines().find_map(|line| line.strip_prefix("to swap back: ")).unwrap();
    postgres.shell(&format!("psql -Xq -v ON_ERROR_STOP=1 -d postgres -c '{}'", back.replace("; ", "' -c '")));
    assert_same_text(&postgres.picture(&database), &later);
}

/// A source with two databases, roles and settings, and its backup as one archive or as several.
fn whole_server(mode: &str) -> (Postgres, Backup) {
    let source = Postgres::start(&tool("PG_BIN"));
    source.sql("postgres", "CREATE ROLE app LOGIN PASSWORD 'from the backup'; CREATE ROLE readers; GRANT readers TO app; ALTER ROLE app SET work_mem = '9MB'");
    for name in ["shop", "stock"] {
        source.sql("postgres", &format!("CREATE DATABASE {name} OWNER app"));
        source.sql(name, &format!("CREATE TABLE t AS SELECT g, '{name}' AS name FROM generate_series(1, 500) g; ALTER TABLE t OWNER TO app; GRANT SELECT ON t TO readers; ALTER TABLE t ADD PRIMARY KEY (g)"));
    }
    source.sql("postgres", "ALTER ROLE app IN DATABASE shop SET search_path = public");
    let backup = Backup::of(&source, "postgres").set("BACKUP_MODE", mode);
    let backup = if mode == "cluster" { backup } else { backup.set("BACKUP_DATABASES", "all") };
    backup.run(&[]).exits(0);
    (source, backup)
}

fn at(backup: &Backup, server: &Postgres) -> Backup {
    backup.with("POSTGRES_PORT", &server.port.to_string())
}

#[test]
fn a_lost_server_comes_back_whole_with_its_roles() {
    for mode in ["cluster", "database"] {
        let (source, backup) = whole_server(mode);
        let server = Postgres::start(&tool("PG_BIN"));
        server.sql("postgres", "CREATE ROLE app LOGIN PASSWORD 'of this server'");
        let password =
            |server: &Postgres| server.sql("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
        let here = password(&server);
        let outcome = at(&backup, &server).run(&["restore", "latest", "--cluster", "--yes"]).exits(0);
        assert!(outcome.stdout.contains("1 role created"), "{}", outcome.stdout);
        for name in ["shop", "stock"] {
            assert_same_text(&server.picture(name), &source.picture(name));
        }
        assert_eq!(password(&server), here, "a password of somebody was overwritten");
        assert_eq!(
            server.sql(
                "postgres",
                "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE rolname = 'readers'"
            ),
            "1"
        );
        // again: refused, and with --replace everything is put aside
        server.sql("shop", "INSERT INTO t VALUES (501, 'later')");
        at(&backup, &server).run(&["restore", "--cluster", "--yes"]).exits(64).says("--replace");
        let again = ["restore", "--cluster", "--replace", "--yes", "--reset-passwords"];
        at(&backup, &server).run(&again).exits(0);
        assert_eq!(password(&server), password(&source));
        assert_eq!(server.sql("shop", "SELECT count(*) FROM t"), "500");
        assert_eq!(server.sql(&server.before("shop"), "SELECT count(*) FROM t"), "501");
        assert_eq!(server.leftovers(), "");
    }
}

#[test]
fn one_database_comes_out_of_a_whole_servers_archive() {
    let (source, backup) = whole_server("cluster");
    backup.run(&["restore", "--into", "one"]).exits(64).says("--source-database").says("shop");
    backup.run(&["restore", "--into", "one", "--source-database", "nothing"]).exits(64).says("has no database nothing");
    backup.run(&["restore", "--into", "one", "--source-database", "stock"]).exits(0);
    assert_same_text(&source.picture("one").replace("one", "stock"), &source.picture("stock").replace("one", "stock"));
    // on a server without the roles
    let server = Postgres::start(&tool("PG_BIN"));
    let there = at(&backup, &server);
    let restore = ["restore", "--into", "one", "--source-database", "shop"];
    there.run(&restore).exits(78).says("the server lacks the roles app, readers; --globals creates them");
    there.run(&[&restore[..], &["--no-owner"]].concat()).exits(0);
    assert_eq!(server.sql("one", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "backup_user");
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname IN ('app', 'readers')"), "0");
    there.run(&[&restore[..], &["--globals", "--replace", "--yes"]].concat()).exits(0);
    assert_eq!(server.sql("one", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "app");
    // roles alone
    let other = Postgres::start(&tool("PG_BIN"));
    at(&backup, &other).run(&["restore", "--globals"]).exits(0).says("2 roles created");
    assert_eq!(other.sql("postgres", "SELECT count(*) FROM pg_database"), "3");
}

#[test]
fn the_newest_backup_before_a_time_is_found_and_a_failed_one_is_passed_over() {
    let postgres = shared();
    let database = postgres.database("times");
    let backup = Backup::of(postgres, &database);
    let mut moments = Vec::new();
    for count in 1..=3 {
        postgres.sql(&database, &format!("CREATE TABLE t{count} (a int)"));
        backup.run(&[]).exits(0);
        moments.push(
            postgres.sql("postgres", "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.USZ')"),
        );
    }
    let restored = |arguments: &[&str]| {
        let copy = format!("{database}_copy");
        postgres.sql("postgres", &format!("DROP DATABASE IF EXISTS {copy}"));
        backup.run(&[&["restore", "--into", &copy], arguments].concat()).exits(0);
        postgres.sql(&copy, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    };
    assert_eq!(restored(&["--before", &moments[0]]), "1");
    assert_eq!(restored(&["--before", &moments[1]]), "2");
    assert_eq!(restored(&[]), "3");
    backup.run(&["restore", "--into", "x", "--before", "2001-01-01"]).exits(64).says("no backup matches");
    backup.run(&["restore", "--into", "x", "--before", "soon"]).exits(64).says("--before: `soon` is not a time");
    // the newest is damaged, and a verification has seen it
    let newest = backup.files().into_iter().rfind(|file| file.ends_with(".sql.gz")).unwrap();
    let path = backup.path().join(&newest);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let id = newest.trim_end_matches(".sql.gz");
    backup.run(&["verify", "latest", "--checksum-only"]).exits(65);
    assert_eq!(restored(&[]), "2");
    backup.run(&["restore", id, "--into", "damaged"]).exits(65).says("failed its latest verification");
    assert!(!postgres.exists("damaged"));
}

/// A shop whose tables refer to each other, and its backup.
fn shop(format: &str, encrypted: bool) -> (&'static Postgres, String, Backup) {
    let postgres = shared();
    let database = postgres.database("shop");
    postgres.sql(&database, "
        CREATE TYPE state AS ENUM ('new', 'paid');
        CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
        CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, state state DEFAULT 'new',
                             price numeric, vat numeric GENERATED ALWAYS AS (price * 0.07) STORED, \"or der\" bytea);
        CREATE TABLE notes (id int, note text);
        CREATE TABLE log (at date, line text) PARTITION BY RANGE (at);
        CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
        CREATE INDEX ON orders (state);
        INSERT INTO customers (name) SELECT 'customer ' || g FROM generate_series(1, 50) g;
        INSERT INTO orders (customer, price, \"or der\") SELECT g, g * 1.5, decode(lpad(to_hex(g), 8, '0'), 'hex') FROM generate_series(1, 50) g;
        INSERT INTO notes SELECT g, E'a\\tb\\\\\\n' || g FROM generate_series(1, 2000) g;
        INSERT INTO log SELECT date '2026-01-01' + g, 'line ' || g FROM generate_series(0, 57) g;
        CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not by hand'; END $$;
        CREATE TRIGGER guard BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION forbid();
        SELECT lo_from_bytea(0, 'large');
    ");
    let mut backup = Backup::of(postgres, &database).set("BACKUP_FORMAT", format);
    if encrypted {
        let (key, public) = support::age_keys(backup.folder.path(), "key.txt");
        backup = backup.set("AGE_RECIPIENTS", &public).set("AGE_IDENTITY_FILE", &key);
    }
    backup.run(&[]).exits(0);
    (postgres, database, backup)
}

fn rows(postgres: &Postgres, database: &str, table: &str) -> String {
    postgres.sql(
        database,
        &format!("SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) || count(*) FROM {table} t"),
    )
}

#[test]
fn a_table_is_restored_beside_the_live_one_or_in_its_place() {
    for (format, encrypted) in [("plain", false), ("custom", false), ("plain", true)] {
        let (postgres, database, backup) = shop(format, encrypted);
        let good = rows(postgres, &database, "orders");
        postgres.sql(&database, "UPDATE orders SET price = 0; INSERT INTO orders (customer, price) VALUES (1, 1)");
        let bad = rows(postgres, &database, "orders");
        let outcome = backup.run(&["restore", "--into", &database, "--table", "public.orders"]).exits(0);
        assert_eq!(rows(postgres, &database, "orders"), bad);
        let beside = postgres.sql(&database, "SELECT relname FROM pg_class WHERE relname LIKE 'orders_restored_%'");
        assert!(outcome.stdout.contains(&format!("with 50 rows, as public.{beside}")), "{}", outcome.stdout);
        assert_eq!(postgres.sql(&database, &format!("SELECT sum(price), count(*) FROM {beside}")), "1912.5|50");
        // in its place only when asked, and with a yes
        let place = ["restore", "--into", &database, "--table", "orders", "--replace"];
        backup.run(&place).exits(64).says("pass --yes");
        backup.run(&[&place[..], &["--yes"]].concat()).exits(0);
        assert_eq!(rows(postgres, &database, "orders"), good);
        assert_eq!(postgres.sql(&database, "INSERT INTO orders (customer) VALUES (1) RETURNING id"), "51");
        // others refer to it
        backup
            .run(&["restore", "--into", &database, "--table", "customers", "--replace", "--yes"])
            .exits(77)
            .says("orders_customer_fkey of public.orders");
        // together they go
        postgres.sql(&database, "DELETE FROM orders; DELETE FROM customers");
        backup
            .run(&["restore", "--into", &database, "--table", "customers", "--table", "orders", "--replace", "--yes"])
            .exits(0);
        assert_eq!(rows(postgres, &database, "orders"), good);
        assert_eq!(postgres.sql(&database, "INSERT INTO customers (name) VALUES ('x') RETURNING id"), "51");
        // a partitioned one stands for its partitions, and triggers do not fire
        postgres.sql(&database, "TRUNCATE log, notes");
        backup
            .run(&["restore", "--into", &database, "--table", "log", "--table", "notes", "--replace", "--yes"])
            .exits(0);
        assert_eq!(
            postgres.sql(
                &database,
                "SELECT (SELECT count(*) FROM log_1), (SELECT count(*) FROM log_2), (SELECT count(*) FROM notes)"
            ),
            "31|27|2000"
        );
    }
}

#[test]
fn a_table_that_is_gone_is_made_again_with_everything_that_belongs_to_it() {
    let (postgres, database, backup) = shop("plain", false);
    let dump = |table: &str| postgres.dump("pg_dump", &database, &["--table", table]);
    let (orders, notes) = (dump("orders"), dump("notes"));
    postgres.sql(&database, "DROP TABLE notes, orders");
    backup.run(&["restore", "--into", &database, "--table", "notes"]).exits(0);
    assert_same_text(&dump("notes"), &notes);
    let outcome = backup.run(&["restore", "--into", &database, "--table", "orders"]).exits(0);
    assert!(
        outcome.stdout.contains("the foreign key public.orders.orders_customer_fkey is left out"),
        "{}",
        outcome.stdout
    );
    postgres.sql(
        &database,
        "ALTER TABLE orders ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer) REFERENCES customers",
    );
    assert_same_text(&dump("orders"), &orders);
    assert_eq!(postgres.leftovers().matches(&database).count(), 0);
    // what it needs is gone as well
    postgres.sql(&database, "DROP TABLE orders; DROP TYPE state");
    backup
        .run(&["restore", "--into", &database, "--table", "orders"])
        .exits(77)
        .says("does not accept the tables")
        .says("nothing was changed");
    assert_eq!(postgres.sql(&database, "SELECT to_regclass('orders') IS NULL"), "t");
    assert_eq!(postgres.leftovers().matches(&database).count(), 0);
}

#[test]
fn a_new_database_gets_the_whole_schema_and_the_rows_that_are_wanted() {
    for (format, encrypted) in [("plain", false), ("custom", true)] {
        let (postgres, database, backup) = shop(format, encrypted);
        let schema =
            |of: &str, arguments: &[&str]| postgres.dump("pg_dump", of, &[&["--schema-only"], arguments].concat());
        let objects = format!("{database}_objects");
        backup.run(&["restore", "--into", &objects, "--schema-only"]).exits(0);
        assert_same_text(&schema(&objects, &[]), &schema(&database, &[]));
        assert_eq!(
            postgres
                .sql(&objects, "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM pg_largeobject_metadata)"),
            "0|0"
        );
        let one = format!("{database}_one");
        backup.run(&["restore", "--into", &one, "--table", "public.orders"]).exits(0);
        assert_eq!(rows(postgres, &one, "orders"), rows(postgres, &database, "orders"));
        assert_eq!(postgres.sql(&one, "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM notes)"), "0|0");
        assert_eq!(postgres.sql(&one, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"), "0");
        backup
            .run(&["restore", "--into", &format!("{database}_x"), "--table", "nothing"])
            .exits(64)
            .says("has no rows of a table nothing");
        // rows into objects that are there
        backup.run(&["restore", "--into", &objects, "--data-only"]).exits(0);
        for table in ["orders", "customers", "notes", "log"] {
            assert_eq!(rows(postgres, &objects, table), rows(postgres, &database, table));
        }
        assert_eq!(postgres.sql(&objects, "SELECT nextval('orders_id_seq')"), "51");
        backup.run(&["restore", "--into", &objects, "--data-only"]).exits(64).says("already has rows");
        backup.run(&["restore", "--into", &objects, "--data-only", "--replace", "--yes"]).exits(0);
        backup
            .run(&["restore", "--into", "not_there", "--data-only"])
            .exits(64)
            .says("needs a database that has the objects");
    }
}

#[test]
fn several_connections_restore_a_custom_archive_wherever_it_lies() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = every_kind(&postgres, "jobs");
    postgres
        .sql(&database, "CREATE FUNCTION slowly(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN $1; END'; CREATE TABLE more AS SELECT g FROM generate_series(1, 10) g; CREATE INDEX ON more (slowly(g))");
    for (target, encrypted) in [("local", false), ("remote", false), ("local", true)] {
        let backup = Backup::of(&postgres, &database).set("BACKUP_FORMAT", "custom");
        let mut backup = backup.to(target, &s3::shared().endpoint(), &s3::fresh_prefix());
        if encrypted {
            let (key, public) = support::age_keys(backup.folder.path(), "key.txt");
            backup = backup.set("AGE_RECIPIENTS", &public).set("AGE_IDENTITY_FILE", &key);
        }
        let temporary = backup.folder.path().join("temporary");
        std::fs::create_dir(&temporary).unwrap();
        let backup = backup.set("TMPDIR", temporary.to_str().unwrap());
        backup.run(&[]).exits(0);
        postgres.sql("postgres", "DROP DATABASE IF EXISTS copy");
        let outcome = backup.run(&["restore", "--into", "copy", "--jobs", "2", "--verbose"]).exits(0);
        assert!(outcome.stdout.contains("content fingerprints"), "{}", outcome.stdout);
        assert_same_text(&postgres.dump("pg_dump", "copy", &[]), &postgres.dump("pg_dump", &database, &[]));
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
        // stopped in the middle, and cut off
        let child = backup.spawn(&["restore", "--into", "other", "--jobs", "2"]);
        let works = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backup load' AND query LIKE 'CREATE INDEX%slowly%'";
        support::wait_for("an index to be made", || postgres.sql("postgres", works) != "0");
        support::signal(&child, "TERM");
        finish(child).exits(143);
        assert_eq!((postgres.leftovers().as_str(), postgres.exists("other")), ("", false));
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    }
}

#[test]
fn a_download_goes_on_where_it_broke_off_and_its_checksum_decides() {
    let postgres = shared();
    let database = every_kind(postgres, "download");
    let backup = Backup::of(postgres, &database).to("remote", &s3::shared().endpoint(), &s3::fresh_prefix());
    backup.run(&[]).exits(0);
    let folder = backup.folder.path().join("here");
    let output = folder.to_str().unwrap().to_owned();
    let download = ["download", "latest", "--output", &output];
    backup.run(&download).exits(0);
    let name = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = name.collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let archive = folder.join(names.iter().find(|name| name.ends_with(".sql.gz")).unwrap());
    postgres.shell(&format!("cd '{output}' && sha256sum -c *.sha256"));
    let copy = postgres.database("by_hand");
    postgres.restore(&archive, &copy, true);
    // what is there is left alone, and proves itself
    backup.run(&download).exits(0).says("is already there and complete");
    // another file of that name is not touched
    let whole = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, b"mine").unwrap();
    backup.run(&download).exits(74).says("has different bytes");
    assert_eq!(std::fs::read(&archive).unwrap(), b"mine");
    // broken off: gone on with; and what does not go together is begun anew
    let partial = format!("{}.partial", archive.display());
    for (left, says) in [(&whole[..whole.len() / 2], "resuming "), (&b"something else"[..], "starting over")] {
        std::fs::remove_file(&archive).unwrap();
        std::fs::write(&partial, left).unwrap();
        backup.run(&download).exits(0).says(says);
        assert_eq!(std::fs::read(&archive).unwrap(), whole);
        assert!(!PathBuf::from(&partial).exists());
    }
    // from there it is restored without the store
    let restored = format!("{database}_restored");
    let offline = backup.with("BACKUP_TARGET", "local");
    offline.run(&["restore", archive.to_str().unwrap(), "--into", &restored]).exits(0);
    assert_same_text(&postgres.dump("pg_dump", &restored, &[]), &postgres.dump("pg_dump", &database, &[]));
}

#[test]
fn one_table_out_of_a_large_archive_in_a_bucket_is_read_alone() {
    let postgres = shared();
    let database = postgres.database("range");
    // what is not wanted does not compress, before and behind what is
    postgres.sql(
        &database,
        "
        CREATE TABLE a_large AS SELECT gen_random_uuid() AS a, gen_random_uuid() AS b FROM generate_series(1, 60000);
        CREATE TABLE b_wanted AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 2000) g;
        CREATE TABLE b_wanted_too AS SELECT g AS id FROM generate_series(1, 10) g;
        CREATE TABLE c_large AS SELECT * FROM a_large; CREATE TABLE d_large AS SELECT * FROM a_large;
        CREATE INDEX ON c_large (a); ALTER TABLE b_wanted ADD PRIMARY KEY (id)",
    );
    let s3 = s3::shared();
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(postgres, &database).to("remote", &s3.endpoint(), &prefix);
    backup.run(&[]).exits(0);
    let archive = s3.keys(&prefix).into_iter().find(|key| key.ends_with(".sql.gz")).unwrap();
    let size = s3.contents(&prefix).into_iter().find(|(key, _)| *key == archive).unwrap().1.len();
    let copy = format!("{database}_copy");
    let restore = ["restore", "--table", "b_wanted", "--table", "b_wanted_too", "--into"];
    for into in [&copy, &database] {
        let outcome = backup.run(&[&restore[..], &[into.as_str()]].concat()).exits(0);
        let read = outcome
            .log
            .lines()
            .find_map(|line| line.split("INFO  read ").nth(1))
            .unwrap_or_else(|| panic!("{}", outcome.log));
        let read: usize = read.split(' ').next().unwrap().parse().unwrap();
        assert!(read * 10 < size, "{read} of {size} bytes");
    }
    assert_eq!(rows(postgres, &copy, "b_wanted"), rows(postgres, &database, "b_wanted"));
    assert_eq!(
        postgres.sql(
            &copy,
            "SELECT (SELECT count(*) FROM a_large), (SELECT count(*) FROM d_large), (SELECT count(*) FROM b_wanted_too)"
        ),
        "0|0|10"
    );
    // the rows were changed where they lie, and everything else was not
    let local = Backup::of(postgres, &database);
    local.run(&[]).exits(0);
    let facts = local.facts();
    let member = &facts["databases"][0]["contents"]["tables"]["public.b_wanted"]["members"][0];
    let (offset, length) = (member["offset"].as_u64().unwrap(), member["length"].as_u64().unwrap());
    let path = local.archive();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = usize::try_from(offset + length / 2).unwrap();
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    for into in [&format!("{database}_other"), &database] {
        local.run(&[&restore[..], &[into.as_str()]].concat()).exits(65);
        assert!(!postgres.exists(&format!("{database}_other")));
    }
    assert_eq!(postgres.sql(&database, "SELECT count(*) FROM pg_class WHERE relname LIKE 'b_wanted_restored_%'"), "1");
    // what is damaged elsewhere is in nobody's way
    bytes[middle] ^= 1;
    let elsewhere = usize::try_from(offset).unwrap() - 100_000;
    bytes[elsewhere] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    local.run(&[&restore[..], &[format!("{database}_other").as_str()]].concat()).exits(0);
}
