//! A database is restored over several connections: it is the one that psql makes, whatever stands in whose way, and what
//! is lost on the way leaves the target as it was.

use crate::support;

use std::path::{Path, PathBuf};
use support::backup::{Backup, finish};
use support::postgres::{Postgres, shared};
use support::{assert_same_text, tool, wait_for};

/// Tables larger than a piece, in every relation to one another that makes them wait for each other.
const TIED: &str = "
    CREATE TABLE wide (id int PRIMARY KEY, note text, payload text, up int);
    INSERT INTO wide SELECT n, 'row ' || n, repeat(md5(n::text), 4), nullif(n - 1, 0) FROM generate_series(1, 60000) n;
    ALTER TABLE wide ADD FOREIGN KEY (up) REFERENCES wide (id);
    CREATE INDEX wide_note ON wide (note); CREATE INDEX wide_lower ON wide (lower(note)); CREATE UNIQUE INDEX wide_pair ON wide (note, id);
    COMMENT ON INDEX wide_note IS 'by note'; ALTER INDEX wide_lower ALTER COLUMN 1 SET STATISTICS 77; ALTER TABLE wide CLUSTER ON wide_note;
    CREATE TABLE long_row (id int PRIMARY KEY, text text); INSERT INTO long_row VALUES (1, repeat('x', 9000000)), (2, ''), (3, NULL);
    CREATE TABLE egg (id int PRIMARY KEY, hen int NOT NULL); CREATE TABLE hen (id int PRIMARY KEY, egg int NOT NULL);
    INSERT INTO egg SELECT n, n FROM generate_series(1, 5000) n; INSERT INTO hen SELECT n, n FROM generate_series(1, 5000) n;
    ALTER TABLE egg ADD CONSTRAINT egg_hen FOREIGN KEY (hen) REFERENCES hen (id) DEFERRABLE INITIALLY DEFERRED;
    ALTER TABLE hen ADD CONSTRAINT hen_egg FOREIGN KEY (egg) REFERENCES egg (id) DEFERRABLE;
    COMMENT ON CONSTRAINT hen_egg ON hen IS 'who was first';
    CREATE TABLE year (day date NOT NULL, area int NOT NULL, id int NOT NULL, PRIMARY KEY (day, area, id)) PARTITION BY RANGE (day);
    CREATE TABLE year_1 PARTITION OF year FOR VALUES FROM ('2026-01-01') TO ('2026-07-01') PARTITION BY LIST (area);
    CREATE TABLE year_1_a PARTITION OF year_1 FOR VALUES IN (1, 2) PARTITION BY HASH (id);
    CREATE TABLE year_1_a_0 PARTITION OF year_1_a FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE year_1_a_1 PARTITION OF year_1_a FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE year_1_b PARTITION OF year_1 DEFAULT; CREATE TABLE year_2 PARTITION OF year DEFAULT;
    INSERT INTO year SELECT '2026-01-01'::date + n % 365, n % 5, n FROM generate_series(1, 20000) n;
    CREATE INDEX year_area ON year (area); CREATE TABLE note (day date, area int, id int, FOREIGN KEY (day, area, id) REFERENCES year);
    INSERT INTO note SELECT * FROM year WHERE id % 3 = 0;
    CREATE TABLE booked (room int, during int4range, EXCLUDE USING gist (during WITH &&)); INSERT INTO booked SELECT n, int4range(n * 10, n * 10 + 5) FROM generate_series(1, 2000) n;
    CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO counted (a) SELECT generate_series(1, 3000);
    CREATE TABLE known_by (id int NOT NULL, other int NOT NULL); CREATE UNIQUE INDEX known_by_id ON known_by (id); ALTER TABLE known_by REPLICA IDENTITY USING INDEX known_by_id;
    CREATE MATERIALIZED VIEW seen AS SELECT area, count(*) AS days FROM year GROUP BY area; CREATE UNIQUE INDEX ON seen (area);
    CREATE MATERIALIZED VIEW again AS SELECT max(days) AS most FROM seen; CREATE INDEX ON again (most);
    CREATE TABLE ruled (a int); INSERT INTO ruled VALUES (1); CREATE RULE no_more AS ON INSERT TO ruled DO INSTEAD NOTHING;
    CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'; CREATE TRIGGER never BEFORE INSERT ON ruled FOR EACH ROW EXECUTE FUNCTION refused();
    CREATE FUNCTION heard() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''heard''; END'; CREATE EVENT TRIGGER hears ON ddl_command_end EXECUTE FUNCTION heard();
    CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; CREATE TABLE \"Na me\" (\"co l\" text); INSERT INTO \"Na me\" VALUES ('\\.'), (E'a\\tb\\nc')";

/// Each run of rows in an order of its own: what a table holds, and not where.
fn sorted(dump: &str) -> String {
    let (mut lines, mut rows, mut is_in_rows) = (Vec::new(), Vec::new(), false);
    for line in dump.lines() {
        match is_in_rows {
            true if line == "\\." => {
                rows.sort_unstable();
                lines.append(&mut rows);
                lines.push(line);
                is_in_rows = false;
            }
            true => rows.push(line),
            false => {
                is_in_rows = line.starts_with("COPY ") && line.ends_with(" FROM stdin;");
                lines.push(line);
            }
        }
    }
    lines.join("\n")
}

fn content(postgres: &Postgres, database: &str) -> String {
    sorted(&postgres.dump("pg_dump", database, &[]))
}

fn tied(postgres: &Postgres) -> String {
    let database = postgres.database("tied");
    postgres.sql(&database, TIED);
    database
}

#[test]
fn over_any_number_of_connections_it_is_the_database_that_psql_makes() {
    let postgres = shared();
    let every_kind = postgres.database("tied_kinds");
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql/every_kind.sql");
    postgres.run_file(&every_kind, &file);
    postgres.sql(&every_kind, "ALTER SUBSCRIPTION from_nowhere SET (slot_name = NONE)");
    postgres.sql(&every_kind, "DROP SUBSCRIPTION from_nowhere");
    for database in [every_kind, tied(postgres)] {
        let backup = Backup::of(postgres, &database);
        backup.run(&[]).exits(0);
        let psql = format!("{database}_psql");
        postgres.sql("postgres", &format!("CREATE DATABASE {psql} TEMPLATE template0"));
        postgres.restore(&backup.archive(), &psql, true);
        let by_psql = content(postgres, &psql);
        for (format, jobs) in [("plain", "1"), ("plain", "2"), ("plain", "7"), ("custom", "4")] {
            let backup = Backup::of(postgres, &database).set("BACKUP_FORMAT", format).set("RESTORE_JOBS", jobs);
            backup.run(&[]).exits(0);
            let copy = format!("{database}_{format}_{jobs}");
            let outcome = backup.run(&["restore", "--into", &copy]).exits(0);
            assert!(!outcome.log.contains("WARN"), "{}", outcome.log);
            assert_same_text(&content(postgres, &copy), &by_psql);
            postgres.sql("postgres", &format!("DROP DATABASE {copy}"));
        }
    }
}

#[test]
fn a_connection_that_the_server_does_not_give_is_one_less() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = tied(&postgres);
    postgres.sql("postgres", "CREATE ROLE few LOGIN CREATEDB CONNECTION LIMIT 3 PASSWORD 'few'");
    postgres.sql("postgres", &format!("ALTER DATABASE {database} OWNER TO few"));
    let backup = Backup::of(&postgres, &database).set("RESTORE_JOBS", "8");
    backup.run(&[]).exits(0);
    let few = backup.set("POSTGRES_USER", "few").set("POSTGRES_PASSWORD", "few");
    let outcome = few.run(&["restore", "--into", "copy", "--no-owner", "--skip-checks"]).exits(0);
    assert!(outcome.log.contains("loading over 2 connections instead of 8"), "{}", outcome.log);
    assert_eq!(postgres.sql("copy", "SELECT count(*) FROM wide"), "60000");
    assert_eq!(postgres.leftovers(), "");
}

#[test]
fn a_connection_that_is_lost_in_the_middle_leaves_the_target_as_it_was() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    let database = tied(&postgres);
    postgres.sql(&database, "CREATE FUNCTION slowly(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN IF $1 % 1000 = 0 THEN PERFORM pg_sleep(0.2); END IF; RETURN $1; END'");
    postgres.sql(&database, "CREATE INDEX slow_a ON egg (slowly(id)); CREATE INDEX slow_b ON hen (slowly(id))");
    postgres.sql(
        &database,
        "CREATE TABLE checked (a int CHECK (slowly(a) > 0)); INSERT INTO checked SELECT generate_series(1, 20000)",
    );
    let backup = Backup::of(&postgres, &database).set("RESTORE_JOBS", "3");
    backup.run(&[]).exits(0);
    postgres.sql("postgres", "CREATE DATABASE target");
    postgres.sql("target", "CREATE TABLE mine AS SELECT 1 AS a");
    for during in ["COPY%", "CREATE INDEX slow_%"] {
        let child = backup.spawn(&["restore", "--into", "target", "--replace", "--yes"]);
        let ends = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
             WHERE application_name = 'backup load' AND state = 'active' AND query LIKE '{during}' LIMIT 1) one"
        );
        wait_for("a connection to end", || postgres.sql("postgres", &ends) != "0");
        finish(child).exits(69);
        assert_eq!((postgres.leftovers().as_str(), postgres.sql("target", "SELECT a FROM mine").as_str()), ("", "1"));
    }
}

#[test]
fn rows_that_break_a_check_over_several_connections_are_all_there_in_the_end() {
    let postgres = shared();
    let database = tied(postgres);
    postgres.sql(&database, "CREATE TABLE often AS SELECT generate_series(1, 400000) AS a; ALTER TABLE often ADD CONSTRAINT small CHECK (a < 0) NOT VALID");
    // as if it had been there before the rows
    postgres.sql(&database, "UPDATE pg_constraint SET convalidated = true WHERE conname = 'small'");
    let backup = Backup::of(postgres, &database).set("RESTORE_JOBS", "4");
    backup.run(&[]).exits(0);
    let copy = format!("{database}_copy");
    let outcome = backup.run(&["restore", "--into", &copy, "--skip-checks"]).exits(0);
    assert!(outcome.log.contains("they are loaded again"), "{}", outcome.log);
    assert_eq!(postgres.sql(&copy, "SELECT count(*), sum(a) FROM often"), "400000|80000200000");
    assert_eq!(postgres.sql(&copy, "SELECT count(*) FROM wide"), "60000");
}
