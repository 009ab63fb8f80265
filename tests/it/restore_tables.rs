//! Tables into a live database: what is refused, and that a refusal changes nothing.

use crate::support;

use std::collections::BTreeMap;
use support::backup::Backup;
use support::postgres::{Postgres, shared};
use support::{assert_same_text, tool};

const IN_PLACE: [&str; 2] = ["--replace", "--yes"];

fn restore(backup: &Backup, database: &str, tables: &[&str], more: &[&str]) -> support::backup::Outcome {
    let tables = tables.iter().flat_map(|table| ["--table", table]);
    let arguments: Vec<&str> =
        ["restore", "--into", database].into_iter().chain(tables).chain(more.iter().copied()).collect();
    backup.run(&arguments)
}

/// Everything in the database, values of sequences too.
fn state(postgres: &Postgres, database: &str) -> String {
    let sequences = postgres
        .sql(database, "SELECT string_agg(sequencename || last_value, ',' ORDER BY sequencename) FROM pg_sequences");
    // which partition a hash of an enum chooses, and with it the order of rows, is each database's own
    let hashed = match postgres.sql(database, "SELECT to_regclass('hashed') IS NULL").as_str() {
        "t" => String::new(),
        _ => postgres.sql(database, "SELECT c, count(*), sum(n) FROM hashed GROUP BY c ORDER BY c"),
    };
    postgres.dump("pg_dump", database, &["--exclude-table-data=hashed*"]) + &sequences + &hashed
}

/// Customers, orders that are partitioned and refer to them and to each other, and notes.
fn partitioned(postgres: &Postgres) -> (String, Backup) {
    let database = postgres.database("parts");
    postgres.sql(&database, "
        CREATE TABLE customers (id serial PRIMARY KEY, name text);
        CREATE TABLE orders (id serial, customer int REFERENCES customers, year int, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
        CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (2025);
        CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (2025) TO (2030);
        CREATE TABLE lines (id serial PRIMARY KEY, parent int REFERENCES lines, note text);
        CREATE TYPE colour AS ENUM ('red', 'green');
        CREATE TABLE hashed (c colour, n int) PARTITION BY HASH (c);
        CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO customers (name) SELECT 'c' || g FROM generate_series(1, 20) g;
        INSERT INTO orders (customer, year) SELECT 1 + g % 20, 2020 + g % 10 FROM generate_series(1, 100) g;
        INSERT INTO lines (parent, note) SELECT nullif(g - 1, 0), 'n' FROM generate_series(1, 10) g;
        INSERT INTO hashed SELECT 'red', g FROM generate_series(1, 10) g;
        INSERT INTO hashed SELECT 'green', g FROM generate_series(1, 10) g");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    (database, backup)
}

#[test]
fn a_refusal_leaves_rows_and_sequences_as_they_are() {
    let postgres = shared();
    let (database, backup) = partitioned(postgres);
    postgres.sql(&database, "INSERT INTO lines (note) SELECT 'later' FROM generate_series(1, 500); ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey; DELETE FROM customers WHERE id < 3; DELETE FROM orders WHERE customer < 3; ALTER TABLE orders ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer) REFERENCES customers");
    postgres.sql(&database, "CREATE TABLE refers (line int REFERENCES lines); CREATE VIEW a_view AS SELECT 1; SELECT nextval('orders_id_seq'), nextval('orders_id_seq')");
    let before = state(postgres, &database);
    for (tables, code, says) in [
        // rows that the live database has deleted since
        (vec!["orders"], 77, "rows would refer to missing rows through public.orders.orders_customer_fkey"),
        (vec!["customers"], 77, "orders_customer_fkey of public.orders"),
        (vec!["lines"], 77, "refers_line_fkey of public.refers"),
        (vec!["nothing"], 64, "has no rows of a table nothing"),
    ] {
        restore(&backup, &database, &tables, &IN_PLACE).exits(code).says(says);
        assert_same_text(&state(postgres, &database), &before);
    }
    // held by somebody
    postgres.sql(&database, "DROP TABLE refers");
    let quick = backup.with("BACKUP_LOCK_TIMEOUT", "1s");
    let before = state(postgres, &database);
    let mut holder = postgres.client("psql");
    holder.args([
        "-Xqd",
        &database,
        "-o",
        "/dev/null",
        "-c",
        "BEGIN",
        "-c",
        "LOCK TABLE lines",
        "-c",
        "SELECT pg_sleep(100)",
    ]);
    let mut holder = holder.spawn().unwrap();
    support::wait_for("the lock", || {
        postgres.sql(&database, "SELECT count(*) FROM pg_locks WHERE granted AND relation = 'lines'::regclass") == "1"
    });
    restore(&quick, &database, &["lines"], &IN_PLACE)
        .exits(74)
        .says("raise BACKUP_LOCK_TIMEOUT")
        .says("nothing was changed");
    holder.kill().unwrap();
    holder.wait().unwrap();
    postgres.sql(&database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(100)%' AND datname = current_database()");
    assert_same_text(&state(postgres, &database), &before);
}

#[test]
fn families_of_tables_go_together() {
    let postgres = shared();
    let (database, backup) = partitioned(postgres);
    let before = state(postgres, &database);
    // together, to themselves, and through their root
    postgres.sql(&database, "DELETE FROM orders; DELETE FROM customers; DELETE FROM lines; DELETE FROM hashed");
    restore(&backup, &database, &["customers", "orders"], &IN_PLACE).exits(0);
    restore(&backup, &database, &["lines", "hashed"], &IN_PLACE).exits(0);
    assert_same_text(&state(postgres, &database), &before);
    // a partition that the backup lacks is emptied with the rest, which the plan says
    postgres.sql(&database, "CREATE TABLE orders_3 PARTITION OF orders FOR VALUES FROM (2030) TO (2040); INSERT INTO orders (customer, year) VALUES (1, 2035)");
    restore(&backup, &database, &["orders"], &IN_PLACE).exits(0).says("including partitions that the backup lacks");
    assert_eq!(postgres.sql(&database, "SELECT count(*) FROM orders"), "100");
    postgres.sql(&database, "DROP TABLE orders_3");
    // one partition alone
    postgres.sql(&database, "DELETE FROM orders_2");
    restore(&backup, &database, &["orders_2"], &IN_PLACE).exits(0);
    assert_same_text(&state(postgres, &database), &before);
    // gone as a whole: made again
    postgres.sql(&database, "DROP TABLE orders, hashed");
    restore(&backup, &database, &["orders"], &[])
        .exits(0)
        .says("the foreign key public.orders.orders_customer_fkey is left out");
    restore(&backup, &database, &["hashed"], &[]).exits(0);
    postgres.sql(
        &database,
        "ALTER TABLE orders ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer) REFERENCES customers",
    );
    assert_same_text(&state(postgres, &database), &before);
    // gone in part
    postgres.sql(&database, "DROP TABLE orders_2");
    restore(&backup, &database, &["orders"], &IN_PLACE).exits(64).says("the existing ones separately");
    restore(&backup, &database, &["orders_2"], &[]).exits(77).says("is a partition of an existing table");
    // two names that are one once they are cut
    let long = |last: &str| format!("{}{last}", "n".repeat(60));
    postgres.sql(&database, &format!("CREATE TABLE {} (a int); CREATE TABLE {} (a int)", long("1"), long("2")));
    std::fs::remove_dir_all(backup.path()).unwrap();
    backup.run(&[]).exits(0);
    restore(&backup, &database, &[&long("1"), &long("2")], &[]).exits(0);
    assert_eq!(postgres.sql(&database, "SELECT count(*) FROM pg_class WHERE relname LIKE 'nnn%_restored_%'"), "2");
}

#[test]
fn an_owner_without_more_rights_is_told_what_stands_in_the_way() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    postgres.sql("postgres", "CREATE ROLE owner LOGIN PASSWORD 'x'");
    postgres.sql("postgres", "CREATE DATABASE owned OWNER owner");
    let as_owner = |sql: &str| {
        postgres.shell(&format!("PGUSER=owner PGPASSWORD=x psql -Xq -v ON_ERROR_STOP=1 -d owned <<'X'\n{sql}\nX"))
    };
    as_owner("CREATE TABLE b_parents (id int PRIMARY KEY); CREATE TABLE a_children (id int REFERENCES b_parents); CREATE TABLE t (a int);
              CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a := 0; RETURN NEW; END $$;
              CREATE TRIGGER fires BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
              INSERT INTO b_parents SELECT generate_series(1, 5); INSERT INTO a_children SELECT generate_series(1, 5);
              ALTER TABLE t DISABLE TRIGGER fires; INSERT INTO t VALUES (7); ALTER TABLE t ENABLE TRIGGER fires;");
    let backup = Backup::of(&postgres, "owned");
    backup.run(&[]).exits(0);
    let owner = backup.with("POSTGRES_USER", "owner").set("POSTGRES_PASSWORD", "x");
    let before = state(&postgres, "owned");
    restore(&owner, "owned", &["t"], &IN_PLACE)
        .exits(77)
        .says("the trigger fires of public.t would fire")
        .says("POSTGRES_USER is not allowed to disable it");
    restore(&owner, "owned", &["a_children", "b_parents"], &IN_PLACE)
        .exits(77)
        .says("restore the tables that the rows refer to first");
    assert_same_text(&state(&postgres, "owned"), &before);
    as_owner("ALTER TABLE t DISABLE TRIGGER fires; DELETE FROM t");
    restore(&owner, "owned", &["t"], &IN_PLACE).exits(0);
    assert_eq!(postgres.sql("owned", "SELECT a FROM t"), "7");
    // a trigger that fires for replicas as well is in a superuser's way, too
    postgres.sql("owned", "ALTER TABLE t ENABLE ALWAYS TRIGGER fires");
    restore(&backup, "owned", &["t"], &IN_PLACE).exits(77).says("it is enabled for replicas");
}

#[test]
fn facts_from_elsewhere_do_not_become_sql() {
    let postgres = shared();
    let database = postgres.database("facts");
    postgres.sql(
        &database,
        "CREATE TABLE plain (a int, b text); CREATE TABLE precious (a int); INSERT INTO plain VALUES (1, 'x')",
    );
    let columns = |facts: &mut serde_json::Value, text: &str| {
        facts["databases"][0]["catalogue"]["tables"]["public.plain"]["columns"][0] = text.into();
    };
    let privilege = |facts: &mut serde_json::Value, text: &str| {
        facts["databases"][0]["properties"]["privileges"] = serde_json::json!([{"grantee": "backup_user", "grantor": "backup_user", "privilege": text, "grantable": false}]);
    };
    let member = |facts: &mut serde_json::Value, place: &str, value: u64| {
        facts["databases"][0]["contents"]["tables"]["public.plain"]["members"][0][place] = value.into();
    };
    let provider = |facts: &mut serde_json::Value, text: &str| {
        facts["databases"][0]["properties"]["locale_provider"] = text.into();
    };
    type Change<'a> = Box<dyn Fn(&mut serde_json::Value) + 'a>;
    let drops = "a integer, b text); DROP TABLE public.precious; CREATE TABLE x (q int";
    let makes = "CONNECT ON DATABASE postgres TO backup_user; CREATE ROLE evil; GRANT CONNECT";
    let cases: BTreeMap<&str, Change<'_>> = BTreeMap::from([
        ("columns", Box::new(|facts: &mut _| columns(facts, drops)) as Change<'_>),
        ("default", Box::new(|facts: &mut _| columns(facts, "a integer default pg_reload_conf()::int"))),
        ("privileges", Box::new(|facts: &mut _| privilege(facts, makes))),
        ("provider", Box::new(|facts: &mut _| provider(facts, "libc; CREATE ROLE evil"))),
        ("offset", Box::new(|facts: &mut _| member(facts, "offset", 1 << 63))),
        ("length", Box::new(|facts: &mut _| member(facts, "length", u64::MAX))),
    ]);
    let before = state(postgres, &database);
    for (name, change) in cases {
        let backup = Backup::of(postgres, &database);
        backup.run(&[]).exits(0);
        let mut facts = backup.facts();
        change(&mut facts);
        backup.forge_facts(&facts);
        for arguments in [vec!["--table", "plain"], vec![]] {
            let into = if arguments.is_empty() { format!("{database}_copy") } else { database.clone() };
            let code = backup.run(&[&["restore", "--into", &into], &arguments[..]].concat()).code;
            assert!(code != 70, "{name}: a bug");
            postgres.sql("postgres", &format!("DROP DATABASE IF EXISTS {database}_copy"));
            let beside = postgres.sql(&database, "SELECT coalesce(string_agg(format('DROP TABLE %I', relname), ';'), 'SELECT 1') FROM pg_class WHERE relname LIKE 'plain_restored%'");
            postgres.sql(&database, &beside);
        }
        assert_same_text(&state(postgres, &database), &before);
        assert_eq!(postgres.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'evil'"), "0", "{name}");
    }
}
