//! What PostgreSQL cannot load from its own dump: every row comes back all the same, what does not is named, and nothing
//! counts against the backup.

use crate::support;

use support::backup::Backup;
use support::postgres::{Postgres, shared};
use support::{assert_same_text, tool};

/// A schema that a dump cannot load in one go: what is asked of it, and the objects that are exceptions.
struct World {
    name: &'static str,
    sql: &'static str,
    settings: &'static [(&'static str, &'static str)],
    exceptions: &'static [&'static str],
}

const WORLDS: &[World] = &[
    World {
        name: "a key whose rows are orphans",
        sql: "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a int REFERENCES a);
              SET session_replication_role = replica; INSERT INTO b VALUES (1), (2)",
        settings: &[],
        exceptions: &["foreign key public.b.b_a_fkey: created as NOT VALID"],
    },
    World {
        name: "a table that is left out and referred to",
        sql: "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
              CREATE TABLE child (p int REFERENCES parent, note text); INSERT INTO child VALUES (1, 'x')",
        settings: &[("BACKUP_EXCLUDE_TABLES", "public.parent")],
        exceptions: &["foreign key public.child.child_p_fkey: left out"],
    },
    World {
        name: "rows that are left out and referred to",
        sql: "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
              CREATE TABLE child (p int REFERENCES parent, note text); INSERT INTO child VALUES (1, 'x')",
        settings: &[("BACKUP_EXCLUDE_TABLE_DATA", "public.parent")],
        exceptions: &["foreign key public.child.child_p_fkey: created as NOT VALID"],
    },
    World {
        name: "a view on a table that is left out, and one on that view",
        sql: "CREATE TABLE gone (id int); CREATE TABLE kept (id int); INSERT INTO kept VALUES (1);
              CREATE VIEW v AS SELECT * FROM gone; CREATE VIEW w AS SELECT * FROM v; COMMENT ON VIEW w IS 'x'",
        settings: &[("BACKUP_EXCLUDE_TABLES", "public.gone")],
        exceptions: &["view public.v: left out", "view public.w: left out"],
    },
    World {
        name: "a CHECK that asks a table whose rows come later",
        sql: "CREATE TABLE b (id int); CREATE FUNCTION b_has_rows() RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.b)';
              INSERT INTO b VALUES (1); CREATE TABLE a (id int CHECK (public.b_has_rows())); INSERT INTO a VALUES (1), (2)",
        settings: &[],
        exceptions: &[],
    },
    World {
        name: "a CHECK that no row obeys any more",
        sql: "CREATE FUNCTION ok(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
              CREATE TABLE a (id int CONSTRAINT \"od d\" CHECK (public.ok(id))); INSERT INTO a VALUES (1), (2);
              CREATE OR REPLACE FUNCTION ok(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false'",
        settings: &[],
        exceptions: &["check public.a.\"od d\": created as NOT VALID"],
    },
    World {
        name: "a CHECK of PostgreSQL's own that rows break all the same",
        sql: "CREATE TABLE a (id int CHECK (id > 0)); CREATE TABLE z (id int); INSERT INTO z VALUES (7);
              ALTER TABLE a DROP CONSTRAINT a_id_check; INSERT INTO a VALUES (-1);
              ALTER TABLE a ADD CONSTRAINT a_id_check CHECK (id > 0) NOT VALID;
              UPDATE pg_constraint SET convalidated = true WHERE conname = 'a_id_check'",
        settings: &[],
        exceptions: &["check public.a.a_id_check: created as NOT VALID"],
    },
    World {
        name: "a domain that asks a table",
        sql: "CREATE TABLE zone (name text); INSERT INTO zone VALUES ('x');
              CREATE FUNCTION is_zone(text) RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.zone WHERE name = $1)';
              CREATE DOMAIN zoned AS text CHECK (public.is_zone(VALUE)); CREATE TABLE a (z zoned); INSERT INTO a VALUES ('x')",
        settings: &[],
        exceptions: &[],
    },
    World {
        name: "an extension's function that was altered, in an index",
        sql: "CREATE EXTENSION unaccent; ALTER FUNCTION unaccent(text) IMMUTABLE; CREATE TABLE t (a text);
              CREATE INDEX plain ON t (unaccent(a)); INSERT INTO t VALUES ('ä'), ('b')",
        settings: &[],
        exceptions: &["index public.plain: left out"],
    },
    World {
        name: "an extension's function that was altered, in a generated column",
        sql: "CREATE EXTENSION unaccent; ALTER FUNCTION unaccent(text) IMMUTABLE;
              CREATE TABLE t (a text, b text GENERATED ALWAYS AS (public.unaccent(a)) STORED); INSERT INTO t VALUES ('ä'), ('b')",
        settings: &[],
        exceptions: &["table public.t: created with only its columns"],
    },
    World {
        name: "a function in an index that finds its table by the search_path",
        sql: "CREATE TABLE k (id int); CREATE FUNCTION n(int) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) + $1 FROM k';
              CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE INDEX by_n ON t (n(a))",
        settings: &[],
        exceptions: &["index public.by_n: left out"],
    },
    World {
        name: "a schema of its own name alone",
        sql: "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE SCHEMA other; CREATE TABLE other.t (a int)",
        settings: &[("PG_DUMP_EXTRA_ARGS", "-n public")],
        exceptions: &[],
    },
    World {
        name: "an extension whose name needs quotes",
        sql: "CREATE EXTENSION \"uuid-ossp\"; CREATE TABLE t (id uuid DEFAULT uuid_generate_v4()); INSERT INTO t VALUES (DEFAULT)",
        settings: &[],
        exceptions: &[],
    },
    World {
        name: "a view whose column the server names after a restore",
        sql: "CREATE TABLE a (c text); INSERT INTO a VALUES ('x');
              CREATE VIEW v1 AS SELECT c FROM (SELECT c FROM a UNION ALL SELECT null FROM a b) q",
        settings: &[],
        exceptions: &[],
    },
    World {
        name: "a day that depends on the database's time zone",
        sql: "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''', current_database()); END $$;
              SET timezone = 'Asia/Tokyo'; CREATE TABLE t (at timestamptz, day date CHECK (at::date = day));
              INSERT INTO t VALUES ('2026-01-28 00:30+09', '2026-01-28'), ('2026-01-28 23:30+09', '2026-01-28');
              CREATE MATERIALIZED VIEW days AS SELECT date_trunc('day', at) AS day, count(*) FROM t GROUP BY 1",
        settings: &[],
        exceptions: &[],
    },
    World {
        name: "privileges that were given by somebody to whom they were given",
        sql: "DO $$ BEGIN CREATE ROLE world_reader; CREATE ROLE world_app; EXCEPTION WHEN duplicate_object THEN END $$;
              CREATE TABLE t (a int); INSERT INTO t VALUES (1); GRANT SELECT ON t TO world_reader WITH GRANT OPTION;
              SET ROLE world_reader; GRANT SELECT ON t TO world_app",
        settings: &[],
        exceptions: &[],
    },
    World {
        name: "names that are words of SQL",
        sql: "CREATE TABLE execute (execute int, begin timestamptz, \"end\" timestamptz); INSERT INTO execute VALUES (1, now(), now());
              CREATE FUNCTION begin() RETURNS timestamptz LANGUAGE sql BEGIN ATOMIC SELECT e.begin FROM execute e; SELECT CASE WHEN true THEN e.end END FROM execute e; END;
              CREATE TYPE atomic AS (begin int); CREATE TABLE t OF atomic; INSERT INTO t VALUES (2)",
        settings: &[],
        exceptions: &[],
    },
    World {
        name: "a setting of the database by which arrays would be read in another way",
        sql: "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET array_nulls = off', current_database()); END $$;
              CREATE TABLE t (a text[]); INSERT INTO t VALUES (ARRAY[NULL, 'x'])",
        settings: &[],
        exceptions: &[],
    },
    World {
        name: "objects that are dropped before they are made",
        sql: "CREATE TABLE t (a int); INSERT INTO t VALUES (1); SELECT lo_from_bytea(0, 'x'); CREATE VIEW v AS SELECT * FROM t",
        settings: &[("PG_DUMP_EXTRA_ARGS", "--clean --if-exists")],
        exceptions: &[],
    },
    World {
        name: "a CHECK and a domain of functions, described, one of them within an array",
        sql: "CREATE FUNCTION ok(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
              CREATE TABLE t (a int CONSTRAINT c CHECK (ok(a))); COMMENT ON CONSTRAINT c ON t IS 'import''ant'; INSERT INTO t VALUES (1);
              CREATE DOMAIN d AS int CONSTRAINT dc CHECK (ok(VALUE)); COMMENT ON CONSTRAINT dc ON DOMAIN d IS 'also';
              CREATE DOMAIN e AS int CONSTRAINT ec CHECK (ok(VALUE)); CREATE TYPE pair AS (e e);
              CREATE TABLE u (x d, y e[], z pair); INSERT INTO u VALUES (2, '{3,4}', '(5)')",
        settings: &[],
        exceptions: &[],
    },
];

/// A question for the rows of every table that is saved, in an order of their own. What a generated column holds is in no
/// dump.
const ROWS: &str = "
    SELECT string_agg(format('SELECT %L, count(*), md5(string_agg(t::text, ''|'' ORDER BY t::text)) FROM (SELECT %s FROM %s) t',
           c.oid::regclass, columns, c.oid::regclass), ' UNION ALL ' ORDER BY c.oid::regclass::text)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
                        WHERE attrelid = c.oid AND attnum > 0 AND attgenerated = '') AS a (columns)
    WHERE relkind IN ('r', 'm') AND n.nspname = 'public' AND relname NOT IN ('gone', 'parent')";

#[test]
fn every_row_of_a_schema_that_cannot_be_loaded_in_one_go_comes_back_and_the_rest_is_named() {
    let postgres = shared();
    for world in WORLDS {
        for format in ["plain", "custom"] {
            let database = postgres.database("world");
            postgres.sql(&database, world.sql);
            let mut backup = Backup::of(postgres, &database).set("BACKUP_FORMAT", format);
            for (name, value) in world.settings {
                backup = backup.set(name, value);
            }
            backup.with("VERIFY_ENABLED", "true").run(&[]).exits(0);
            let report = backup.verifications().remove(0);
            assert_eq!(report.0["passed"], true);
            let exceptions = report.0["databases"][0]["exceptions"].as_array().cloned().unwrap_or_default();
            let named: Vec<&str> = exceptions.iter().map(|one| one["object"].as_str().unwrap()).collect();
            for exception in world.exceptions {
                assert!(
                    named.iter().any(|name| name.starts_with(exception)),
                    "{}, {format}: {exception} is not among {named:?}",
                    world.name
                );
            }
            if world.exceptions.is_empty() {
                assert!(named.is_empty(), "{}, {format}: {named:?}", world.name);
            }
            if format == "custom" {
                continue;
            }
            let copy = format!("{database}_copy");
            let mut outcome = backup.run(&["restore", "--into", &copy]).exits(0);
            for exception in world.exceptions {
                outcome = outcome.says(exception);
            }
            let rows = postgres.sql(&database, ROWS);
            assert_same_text(&postgres.sql(&copy, &rows), &postgres.sql(&database, &rows));
            assert_eq!(postgres.sql(&copy, COMMENTS), postgres.sql(&database, COMMENTS), "{}", world.name);
        }
    }
}

/// What is said of constraints.
const COMMENTS: &str = "SELECT string_agg(description, ', ' ORDER BY description) FROM pg_description
                        WHERE classoid = 'pg_constraint'::regclass AND objoid >= 16384";

#[test]
fn what_the_archive_itself_has_lost_or_changed_is_no_exception() {
    let postgres = shared();
    let sql = "CREATE TABLE a_first (a int); INSERT INTO a_first VALUES (1);
               CREATE TABLE t (a int PRIMARY KEY, b int CONSTRAINT c CHECK (b > 0)); INSERT INTO t VALUES (1, 2);
               CREATE INDEX i ON t (b); CREATE TABLE z (a int REFERENCES t); INSERT INTO z VALUES (1);
               CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
               CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION f(text) RETURNS int LANGUAGE sql AS 'SELECT 1'";
    let without = |text: &str, begin: &str| {
        let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin} is not in the archive"));
        format!("{before}{}", rest.split_once(";\n").unwrap().1)
    };
    let damages: [(&str, &dyn Fn(String) -> String); 7] = [
        ("a column of an index", &|text| text.replace("btree (b)", "btree (bx)")),
        ("a column of a key", &|text| text.replace("PRIMARY KEY (a)", "PRIMARY KEY (ax)")),
        ("a column of a CHECK", &|text| text.replace("CHECK ((b > 0))", "CHECK ((bx > 0))")),
        ("a column that is referred to", &|text| text.replace("REFERENCES public.t(a)", "REFERENCES public.t(ax)")),
        ("a table", &|text| without(&text, "CREATE TABLE public.a_first (")),
        ("a materialized view", &|text| without(&text, "CREATE MATERIALIZED VIEW public.m AS")),
        ("one of two functions", &|text| {
            let text = without(&text, "CREATE FUNCTION public.f(text)");
            text.replace("FUNCTION public.f(integer) RETURNS integer", "FUNCTION public.f(integer) RETURNS nothing")
        }),
    ];
    for (what, damage) in damages {
        let database = postgres.database("damaged");
        postgres.sql(&database, sql);
        let backup = Backup::of(postgres, &database);
        backup.run(&[]).exits(0);
        backup.rewrite(|text| {
            let damaged = damage(text.clone());
            assert_ne!(damaged, text, "{what}");
            damaged
        });
        let copy = format!("{database}_copy");
        for command in [&["restore", "--into", &copy][..], &["verify"]] {
            let outcome = backup.run(command);
            assert_eq!(outcome.code, 65, "{what}: {}\n{}", outcome.stdout, outcome.log);
        }
        assert!(!postgres.exists(&copy), "{what}");
    }
}

#[test]
fn what_does_not_come_back_is_said_with_the_sql_that_would_make_it_before_a_database_is_replaced() {
    let postgres = shared();
    let database = postgres.database("replaced");
    postgres.sql(
        &database,
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a int REFERENCES a);
         SET session_replication_role = replica; INSERT INTO b VALUES (1)",
    );
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    // whoever wants all or nothing gets that
    let strict = format!("{database}_strict");
    backup.run(&["restore", "--into", &strict, "--strict"]).exits(65).says("--strict");
    assert!(!postgres.exists(&strict));
    backup.with("VERIFY_STRICT", "true").verify(&[], 65);
    backup.verify(&[], 0);
    // nobody is there who could be asked
    backup.run(&["restore", "--into", &database, "--replace"]).exits(64);
    let outcome = backup.run(&["restore", "--into", &database, "--replace", "--yes"]).exits(0);
    outcome.says("foreign key public.b.b_a_fkey").says("VALIDATE CONSTRAINT b_a_fkey").says("every row came back");
    assert_eq!(postgres.sql(&database, "SELECT convalidated FROM pg_constraint WHERE contype = 'f'"), "f");
}

#[test]
fn what_the_server_lacks_counts_for_nothing_against_the_backup() {
    let postgres = shared();
    let database = postgres.database("lacking");
    postgres.sql(&database, "CREATE EXTENSION unaccent; CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    backup.verify(&[], 0);
    // an extension that no server has the files of
    backup.rewrite(|text| text.replace("EXTENSION IF NOT EXISTS unaccent", "EXTENSION IF NOT EXISTS nowhere"));
    backup.run(&["verify"]).exits(74).says("extension \"nowhere\"").says("lacks");
    assert_eq!(backup.json(&["list"], 0)["backups"][0]["good"], true);
}

#[test]
fn tables_come_back_whatever_encoding_their_names_are_in() {
    let postgres = &Postgres::start(&tool("PG_BIN"));
    for (encoding, name) in [
        ("LATIN7", "žuvėdra"),
        ("LATIN8", "ŵyth"),
        ("LATIN10", "țară"),
        ("EUC_TW", "表格"),
        ("EUC_JIS_2004", "表"),
        ("EUC_KR", "표"),
        ("ISO_8859_7", "πίνακας"),
        ("KOI8R", "таблица"),
        ("WIN1258", "đá"),
    ] {
        let database = postgres.database("encoded");
        postgres.sql("postgres", &format!("DROP DATABASE {database}"));
        postgres.sql(
            "postgres",
            &format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"),
        );
        let made = format!(
            "CREATE TABLE \"{name}\" (\"{name}\" text PRIMARY KEY); INSERT INTO \"{name}\" VALUES ('{name}');
             COMMENT ON TABLE \"{name}\" IS '{name}'"
        );
        let mut client = postgres.client("psql");
        client.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", &database, "-c", &made]).env("PGCLIENTENCODING", "UTF8");
        assert!(client.status().unwrap().success(), "{encoding}");
        for format in ["plain", "custom"] {
            let backup = Backup::of(postgres, &database).set("BACKUP_FORMAT", format);
            backup.with("VERIFY_ENABLED", "true").run(&[]).exits(0);
            let report = backup.verifications().remove(0);
            assert_eq!(report.with("failed"), [] as [u64; 0], "{encoding}, {format}: {:#}", report.0);
            assert_eq!(report.0["databases"][0]["rows"], 1, "{encoding}, {format}");
            let copy = format!("{database}_{format}");
            backup.run(&["restore", "--into", &copy, "--table", &format!("public.\"{name}\"")]).exits(0);
            assert_same_text(
                &postgres.dump("pg_dump", &copy, &["--encoding=UTF8"]),
                &postgres.dump("pg_dump", &database, &["--encoding=UTF8"]),
            );
        }
    }
}

/// A server that has none of the source's roles.
fn elsewhere(backup: &Backup, server: &Postgres) -> Backup {
    let port = server.port.to_string();
    backup.with("POSTGRES_PORT", &port).set("BACKUP_SOURCE", &format!("127.0.0.1:{}", backup.get("POSTGRES_PORT")))
}

#[test]
fn roles_that_only_rows_name_are_provided_or_asked_for_before_anything_is_loaded() {
    let (postgres, server) = (shared(), Postgres::start(&tool("PG18_BIN")));
    let database = postgres.database("regrole");
    let role = format!("{database} Röle");
    postgres.sql(
        &database,
        &format!(
            "CREATE ROLE \"{role}\"; CREATE DOMAIN who AS regrole; CREATE TABLE t (r regrole, d who, a regrole[]);
             INSERT INTO t VALUES ('\"{role}\"', '\"{role}\"', ARRAY['\"{role}\"', 'postgres']::regrole[])"
        )
        .replace("'postgres'", "'backup_user'"),
    );
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    backup.with("VERIFY_HOST", "127.0.0.1").set("VERIFY_PORT", &server.port.to_string()).verify(&[], 0);
    let elsewhere = elsewhere(&backup, &server);
    for owners in [&[][..], &["--no-owner"][..]] {
        let arguments = [&["restore", "--into", "regrole_copy"], owners].concat();
        elsewhere.run(&arguments).exits(78).says(&role);
        assert!(!server.exists("regrole_copy"));
    }
    server.sql("postgres", &format!("CREATE ROLE \"{role}\""));
    elsewhere.run(&["restore", "--into", "regrole_copy", "--no-owner"]).exits(0);
    assert_eq!(server.sql("regrole_copy", "SELECT r = d FROM t"), "t");
    postgres.sql("postgres", &format!("DROP DATABASE {database}"));
    postgres.sql("postgres", &format!("DROP ROLE \"{role}\""));
}

#[test]
fn what_a_plain_role_may_not_make_is_left_out_and_listed() {
    let postgres = shared();
    let database = postgres.database("rights");
    let role = format!("{database}_app");
    postgres.sql(
        &database,
        &format!(
            "CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'secret'; CREATE EXTENSION hstore;
             CREATE FUNCTION tight(int) RETURNS boolean LANGUAGE sql LEAKPROOF IMMUTABLE AS 'SELECT true';
             CREATE TABLE t (a int CHECK (tight(a))); INSERT INTO t VALUES (1), (2); CREATE VIEW v AS SELECT tight(a) FROM t;
             CREATE FUNCTION audit() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
             CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION audit();
             CREATE PUBLICATION everything FOR ALL TABLES"
        ),
    );
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let plain = backup.with("POSTGRES_USER", &role).set("POSTGRES_PASSWORD", "secret");
    let copy = format!("{database}_copy");
    let outcome = plain.run(&["restore", "--into", &copy, "--no-owner"]).exits(0);
    let outcome =
        outcome.says("function public.tight: created without LEAKPROOF").says("event trigger watch: left out");
    outcome.says("publication everything: left out");
    assert_eq!(postgres.sql(&copy, "SELECT count(*) FROM v"), "2");
    let verify = backup.with("VERIFY_USER", &role).set("VERIFY_PASSWORD", "secret");
    assert!(verify.verify(&[], 0).0["exceptions"].as_u64().unwrap() >= 3);
    postgres.sql("postgres", &format!("DROP DATABASE {copy}"));
    postgres.sql("postgres", &format!("DROP ROLE {role}"));
}

#[test]
fn an_extension_that_only_one_database_may_hold_is_an_exception_and_the_rest_comes_back() {
    let postgres = Postgres::start(&tool("PG18_BIN"));
    let folder = postgres.sql("postgres", "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'");
    let file = |name: &str| std::path::Path::new(&folder).join("extension").join(name);
    let (control, script) = (file("backup_alone.control"), file("backup_alone--1.sql"));
    std::fs::write(&control, "default_version = '1'\nrelocatable = true\n").unwrap();
    let refuses = "DO $$ BEGIN IF current_database() <> 'app' THEN RAISE 'only app may have it'; END IF; END $$;\n";
    std::fs::write(&script, refuses).unwrap();
    postgres.sql("postgres", "CREATE DATABASE app");
    postgres.sql("app", "CREATE EXTENSION backup_alone; CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let backup = Backup::of(&postgres, "app");
    backup.with("VERIFY_ENABLED", "true").run(&[]).exits(0);
    let report = backup.verifications().remove(0);
    assert_eq!(report.0["databases"][0]["exceptions"][0]["object"], "extension backup_alone: left out");
    backup
        .run(&["restore", "--into", "app", "--replace", "--yes"])
        .exits(0)
        .says("CREATE EXTENSION IF NOT EXISTS backup_alone");
    assert_eq!(postgres.sql("app", "SELECT * FROM t"), "1");
    // under its own name it can be made, as the restore has said
    postgres.sql("app", "CREATE EXTENSION backup_alone");
    std::fs::remove_file(control).unwrap();
    std::fs::remove_file(script).unwrap();
}

#[test]
fn check_says_before_the_first_night_what_a_restore_will_leave_out() {
    let postgres = shared();
    let database = postgres.database("foreseen");
    postgres.sql(&database, "CREATE EXTENSION unaccent");
    postgres.sql(
        &database,
        "ALTER FUNCTION unaccent(text) IMMUTABLE; CREATE TABLE k (id int);
         CREATE FUNCTION has() RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.k)';
         CREATE FUNCTION n(int) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) + $1 FROM k';
         CREATE TABLE t (c int NOT NULL, CHECK (has())); CREATE INDEX by_n ON t (n(c));
         ALTER TABLE t ADD CONSTRAINT t_c_not_null CHECK (c IS NOT NULL); INSERT INTO k VALUES (1); INSERT INTO t VALUES (1)",
    );
    let findings = Backup::of(postgres, &database).json(&["check"], 0);
    let found: Vec<&str> = findings["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["check"] == format!("restore of {database}"))
        .map(|finding| finding["detail"].as_str().unwrap())
        .collect();
    for part in ["unaccent(text)", "CHECK t_check of public.t", "index public.by_n", "t_c_not_null"] {
        assert!(found.iter().any(|text| text.contains(part)), "{part} is not in {found:?}");
    }
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn a_materialized_view_that_was_not_fresh_is_a_warning_and_a_fresh_one_is_none() {
    let postgres = shared();
    let database = postgres.database("fresh");
    postgres.sql(
        &database,
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE MATERIALIZED VIEW m AS SELECT a FROM t;
         CREATE MATERIALIZED VIEW clock AS SELECT now() AS at FROM t",
    );
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    assert_eq!(backup.verify(&[], 0).with("warning"), [] as [u64; 0]);
    postgres.sql(&database, "INSERT INTO t VALUES (2)");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let report = backup.verify(&[], 0);
    assert_eq!(report.with("warning"), [7]);
    assert!(report.check(7).1.contains("materialized view public.m: 1 row at the source, 2 here"), "{:#}", report.0);
}

#[test]
fn a_latest_backup_that_is_bad_is_named_with_its_reason_and_the_command_that_restores_it() {
    let postgres = shared();
    let database = postgres.database("bad");
    postgres.sql(&database, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let backup = Backup::of(postgres, &database);
    backup.run(&[]).exits(0);
    let id = backup.manifest()["id"].as_str().unwrap().to_owned();
    let whole = std::fs::read(backup.archive()).unwrap();
    backup.rewrite(|text| text.replace("FROM stdin;\n1\n", "FROM stdin;\n2\n"));
    backup.verify(&[], 65);
    let copy = format!("{database}_copy");
    let outcome = backup.run(&["restore", "--into", &copy]).exits(64).says(&id).says("content fingerprints");
    outcome.says(&format!("backup restore {id}")).says(&format!("backup verify {id}"));
    backup.run(&["restore", &id, "--into", &copy, "--skip-checks"]).exits(0);
    // a wrong judgement is superseded by a new one
    std::fs::write(backup.archive(), whole).unwrap();
    backup.make_sums_right(&backup.archive());
    backup.verify(&[], 0);
    postgres.sql("postgres", &format!("DROP DATABASE {copy}"));
    backup.run(&["restore", "--into", &copy]).exits(0);
}
