use super::*;

/// What is handed to a server of this dump, each statement and each row on a line of its own.
fn steps(text: &[u8], leave_out: &LeaveOut, chunk: usize) -> Result<Vec<u8>, ScriptError> {
    let (mut script, mut output) = (Script::new(leave_out.clone()), Vec::new());
    for bytes in text.chunks(chunk) {
        let mut input = bytes;
        while let Some(step) = script.next(&mut input)? {
            match step {
                Step::Statement(statement) | Step::Copy { statement, .. } => {
                    output.extend_from_slice(statement.text);
                    output.push(b'\n');
                }
                Step::Row { bytes, ends } => {
                    output.extend_from_slice(bytes);
                    output.extend(ends.then_some(b'\n'));
                }
                Step::RowsEnd => output.extend_from_slice(b"\\.\n"),
            }
        }
    }
    script.finish().map(|_| output)
}

fn passed(text: &str, leave_out: &LeaveOut) -> Result<String, ScriptError> {
    let results: Vec<_> = [1, 7, text.len().max(1)].map(|chunk| steps(text.as_bytes(), leave_out, chunk)).into();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "chunks made a difference: {results:?}");
    results.into_iter().next().unwrap().map(|text| String::from_utf8(text).unwrap())
}

const DUMP: &str = "--\n\\restrict abc\n\nSET lock_timeout = 0;\nALTER TABLE public.t OWNER TO \"my role\";\nGRANT SELECT ON TABLE public.t TO app;\n\
                    COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n\nCOMMENT ON TABLE public.t IS '\n\\! id\n';\n\\unrestrict abc\n";

#[test]
fn a_dump_goes_through_without_its_own_restriction() {
    let passed = passed(DUMP, &LeaveOut::default()).unwrap();
    assert_eq!(
        passed,
        DUMP.replace("--\n\\restrict abc\n\n", "")
            .replace("\n\nCOMMENT", "\nCOMMENT")
            .replace("\\unrestrict abc\n", "")
    );
}

#[test]
fn owners_and_privileges_are_left_out_on_demand_and_rows_never() {
    let passed = passed(DUMP, &LeaveOut { owners: true, ..LeaveOut::default() }).unwrap();
    assert!(!passed.contains("my role") && !passed.contains("GRANT"), "{passed}");
    assert!(passed.contains("COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n"), "{passed}");
    assert!(passed.contains("SET lock_timeout = 0;"));
}

#[test]
fn a_part_of_a_whole_servers_dump_says_nothing_of_its_database() {
    let part = "DROP DATABASE IF EXISTS a;\nCREATE DATABASE a WITH TEMPLATE = template0;\nALTER DATABASE a OWNER TO b;\n\
                \\connect a\nGRANT CONNECT ON DATABASE a TO c;\nALTER ROLE c IN DATABASE a SET x TO '1';\nSET row_security = off;\n";
    let rest = passed(part, &LeaveOut { databases: true, ..LeaveOut::default() }).unwrap();
    assert_eq!(rest.trim(), "SET row_security = off;");
    let grant = "GRANT SELECT ON TABLE t TO c;";
    assert!(passed(grant, &LeaveOut { databases: true, ..LeaveOut::default() }).unwrap().contains(grant));
}

#[test]
fn what_only_looks_like_an_owner_stays() {
    let owners = LeaveOut { owners: true, ..LeaveOut::default() };
    let text = "ALTER TABLE t ADD CONSTRAINT c CHECK ((note <> 'the OWNER TO be'::text)) NOT VALID;";
    assert_eq!(passed(text, &owners.clone()).unwrap(), format!("{text}\n"));
    assert_eq!(passed("ALTER FUNCTION f(a int) OWNER TO \"a b\";", &owners).unwrap(), "");
}

#[test]
fn surroundings_are_left_out_on_demand() {
    let text = "SET default_tablespace = fast;\nCREATE TABLE t ();\nSET default_tablespace = \"my \"\"own\";\nCREATE TABLE u ();\n\
                CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p;\n";
    let lines = |tablespaces: &[&str]| {
        let tablespaces = tablespaces.iter().map(|name| (*name).to_owned()).collect();
        let passed = passed(text, &LeaveOut { surroundings: true, tablespaces, ..LeaveOut::default() }).unwrap();
        passed.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let none = "SET default_tablespace = '';";
    assert_eq!(lines(&[]), format!("{none} CREATE TABLE t (); {none} CREATE TABLE u ();"));
    assert_eq!(
        lines(&["my \"own"]),
        format!("{none} CREATE TABLE t (); SET default_tablespace = \"my \"\"own\"; CREATE TABLE u ();")
    );
}

#[test]
fn only_the_rows_that_are_wanted_pass_and_what_depends_on_others_does_not() {
    let text = "CREATE TABLE public.a (id int);\nCOPY public.a (id) FROM stdin;\n1\n\\.\n\
                COPY public.\"B b\" (id) FROM stdin;\n2\n\\.\nSELECT pg_catalog.setval('public.s', 3, true);\n\
                SELECT pg_catalog.lo_create('5');\nALTER LARGE OBJECT 5 OWNER TO x;\n\
                ALTER TABLE ONLY public.a ADD CONSTRAINT \"FOREIGN KEY\" PRIMARY KEY (id);\n\
                ALTER TABLE ONLY public.a ADD CONSTRAINT k FOREIGN KEY (id) REFERENCES public.\"B b\"(id);\n";
    let of = |tables: &[&str]| Rows::Of(tables.iter().map(|name| (*name).to_owned()).collect());
    let of_rows = |rows| passed(text, &LeaveOut { rows, ..LeaveOut::default() }).unwrap();
    assert_eq!(of_rows(Rows::All), text);
    let lines = |rows| of_rows(rows).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let schema = text.lines().filter(|line| line.starts_with("CREATE") || line.contains("PRIMARY")).collect::<Vec<_>>();
    let none = lines(Rows::None);
    assert_eq!(none.len(), 3, "{none:?}");
    assert!(schema.iter().all(|line| none.contains(&(*line).to_owned())));
    assert!(none.iter().any(|line| line.contains("REFERENCES")), "an empty table refers to nothing");
    let one = lines(of(&["public.a"]));
    assert!(one.contains(&"1".to_owned()) && !one.contains(&"2".to_owned()), "{one:?}");
    assert!(one.iter().any(|line| line.contains("setval")) && !one.iter().any(|line| line.contains("REFERENCES")));
    assert!(lines(of(&["public.a", "public.\"B b\""])).iter().any(|line| line.contains("REFERENCES")));
}

#[test]
fn statements_that_reach_beyond_the_database_are_refused() {
    for statement in [
        "DROP DATABASE precious;",
        "create role evil superuser;",
        "ALTER SYSTEM SET lock_timeout = 0;",
        "DROP TABLESPACE t;",
        "COPY t FROM PROGRAM 'id';",
        "COPY (SELECT 1) TO '/tmp/x';",
        "ALTER USER postgres PASSWORD 'x';",
        "create/* x */role evil superuser;",
        "CREATE -- x\nROLE evil;",
        "CREATE /* /* */ */ DATABASE x;",
        "DO $$ BEGIN END $$;",
        "CALL evil();",
        "SELECT evil();",
        "SELECT pg_catalog.pg_read_file('/etc/passwd');",
        "GRANT pg_execute_server_program TO app;",
        "COMMENT ON DATABASE x IS 'y';",
        "INSERT INTO t VALUES (1);",
        "VACUUM;",
        "-- x\rCREATE ROLE evil;",
        "COPY t (a) FROM stdin; CREATE ROLE evil;\n1\n\\.",
        "SET standard_conforming_strings = off;",
        "SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false);",
        "SET SESSION standard_conforming_strings = off;",
        "RESET ALL;",
        "GRANT CONNECT ON DATABASE precious TO app;",
        "GRANT SELECT(\"ON\", \"TABLE\") TO app;",
        "UPDATE pg_authid SET rolsuper = true;",
        "LOAD '/etc/passwd';",
        "COPY t (a) FROM stdin WITH (FORMAT csv);\n1\n\\.",
        "COPY t (a) FROM stdin;\n1\n\\.\r\nCREATE ROLE evil;\n1\n\\.",
        "CREATE USER MAPPING SUPERUSER PASSWORD 'x';",
        "ALTER USER MAPPING PASSWORD 'x';",
        "DROP OWNED BY app;",
        "CREATE LOCAL TEMP TABLE x AS SELECT 1;",
        "CREATE TABLE x WITH (a = E'o'\n'ff\\'(') AS SELECT 1;",
        "CREATE MATERIALIZED VIEW v AS SELECT 1;",
        "create subscription s connection 'x' publication p;",
        "ALTER EXTENSION x UPDATE;",
        "SECURITY LABEL FOR E'a'\n'\\' ON TABLE x ''' ON ROLE app IS 'x';",
        "RESET SESSION AUTHORIZATION DEFAULT;",
        "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;",
    ] {
        let refused = passed(&format!("SET lock_timeout = 0;\n{statement}\n"), &LeaveOut::default());
        let short: String = statement.chars().take(80).collect();
        assert!(
            matches!(refused, Err(ScriptError::Statement { .. } | ScriptError::TooLong { .. })),
            "{short}: {refused:?}"
        );
    }
    assert!(passed("CREATE USER MAPPING FOR u SERVER s;", &LeaveOut::default()).is_ok());
    assert!(passed("ALTER TABLE t RENAME TO role;", &LeaveOut::default()).is_ok());
    for written in [
        "DROP USER MAPPING IF EXISTS FOR u SERVER s;",
        "SET SESSION AUTHORIZATION reader;\nGRANT SELECT ON TABLE t TO app;\nRESET SESSION AUTHORIZATION;",
        "CREATE TABLE execute (execute int, select_ int);",
        "CREATE TABLE t OF s.execute;",
        "CREATE MATERIALIZED VIEW v AS\n SELECT 1\n  WITH NO DATA;",
        "CREATE UNLOGGED TABLE t (a int);",
        "CREATE OR REPLACE VIEW v AS SELECT 1;",
        "CREATE TRUSTED PROCEDURAL LANGUAGE x;",
        "CREATE DEFAULT CONVERSION c FOR 'LATIN1' TO 'UTF8' FROM f;",
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON x EXECUTE FUNCTION f();",
        "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '16403';",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT p.begin FROM p; SELECT CASE WHEN true THEN 1 END; END;",
        "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;",
    ] {
        let passed = passed(&format!("{written}\n"), &LeaveOut::default());
        assert_eq!(passed.as_deref(), Ok(&*format!("{written}\n")), "{written}");
    }
    let owners = LeaveOut { owners: true, ..LeaveOut::default() };
    assert_eq!(passed("SET SESSION AUTHORIZATION a;\nRESET SESSION AUTHORIZATION;", &owners).as_deref(), Ok(""));
    let surroundings = LeaveOut { surroundings: true, ..LeaveOut::default() };
    let labelled = "create subscription s connection 'x';\nSECURITY LABEL FOR p ON SUBSCRIPTION s IS 'x';";
    assert_eq!(passed(labelled, &surroundings).as_deref(), Ok(""));
}

#[test]
fn a_statement_is_looked_at_and_handed_on_whole_however_long_it_is() {
    let space = " ".repeat(2 << 20);
    for text in [
        format!("DROP DATABASE {space} precious;"),
        format!("{space} DROP DATABASE precious;"),
        format!("DROP DATABASE x{space};"),
    ] {
        assert!(steps(text.as_bytes(), &LeaveOut::default(), 100_000).is_err());
    }
    let long = format!("COMMENT ON TABLE t IS '{space}; CREATE ROLE evil';\nSET row_security = off;\n");
    assert_eq!(steps(long.as_bytes(), &LeaveOut::default(), 100_000).unwrap(), long.as_bytes());
}

#[test]
fn no_statement_is_put_together_from_what_stood_on_two_sides_of_something() {
    let refused = |text: &[u8]| steps(text, &LeaveOut::default(), 7).unwrap_err();
    // without the command the next literal would have escapes
    let glued = b"COMMENT ON TABLE t IS E\n\\restrict x\n'\\'; CREATE ROLE evil; --';\n";
    assert!(matches!(refused(glued), ScriptError::Command { .. }));
    // a string goes on behind a comment, with the same escapes
    let continued = b"COMMENT ON TABLE t IS E'a' -- it goes on\n 'b\\'; CREATE ROLE evil; --';\n";
    assert_eq!(steps(continued, &LeaveOut::default(), 7).unwrap(), continued);
    assert!(matches!(refused(b"COMMENT ON TABLE t IS 'a\0b';\n"), ScriptError::Zero { .. }));
    let sjis = b"SET client_encoding = 'SJIS';\n";
    assert!(matches!(refused(sjis), ScriptError::Statement { .. }));
    for call in [
        "SELECT pg_catalog.lo_create(1), pg_catalog.lo_export(2, '/any/file');",
        "SELECT pg_catalog.lo_create(pg_catalog.lo_import('/etc/passwd'));",
        "SELECT pg_catalog.setval('s', 1, true) FROM pg_catalog.pg_ls_dir('/');",
        "SELECT pg_catalog.lo_create('1'); SELECT 1;",
        "SELECT * FROM pg_catalog.pg_restore_relation_stats('x', (SELECT 1));",
        "CREATE TABLE t AS SELECT pg_catalog.lo_export(2, '/any/file');",
        "CREATE TABLE t (a) AS EXECUTE p;",
        "CREATE SCHEMA s CREATE TABLE t (a int);",
        "SELECT pg_catalog.setval('s', 2, E'\\'' <> concat('::\"', pg_catalog.lo_export(7, '/x')) --\"\n);",
        "SELECT pg_catalog.setval('s', 2, '1'::\"x\");",
        "SELECT pg_catalog.setval('s', 2 /* x */);",
    ] {
        assert!(matches!(refused(format!("{call}\n").as_bytes()), ScriptError::Statement { .. }), "{call}");
    }
    for call in [
        "SELECT pg_catalog.lo_create('16403');",
        "SELECT pg_catalog.lowrite(0, '\\x00');",
        "SELECT pg_catalog.set_config('search_path', '', false);",
        "SELECT * FROM pg_catalog.pg_restore_relation_stats('version', '180006'::integer, 'a', E'\\\\'::text[], 'b', '1'::double precision);",
        "CREATE TABLE t (\"as\" int DEFAULT 1) PARTITION BY RANGE (a);",
    ] {
        assert!(passed(&format!("{call}\n"), &LeaveOut::default()).is_ok(), "{call}");
    }
}

#[test]
fn a_command_of_psql_is_refused_by_line_and_name() {
    for command in ["\\! touch /tmp/x", "\\copy t from program 'id'", "\\connect other", "\\i /etc/passwd"] {
        let text = format!("SET lock_timeout = 0;\nCOPY t (a) FROM stdin;\n1\n\\.\n{command}\nSELECT 1;\n");
        let word = command.split(' ').next().unwrap().to_owned();
        assert_eq!(passed(&text, &LeaveOut::default()), Err(ScriptError::Command { line: 5, command: word }));
    }
}

#[test]
fn a_dump_that_breaks_off_is_refused() {
    for text in ["COPY t (a) FROM stdin;\n1\n", "SELECT 'x", "SELECT 1"] {
        assert_eq!(passed(text, &LeaveOut::default()), Err(ScriptError::BreaksOff), "{text}");
    }
}
