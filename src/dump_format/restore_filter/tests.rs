use super::*;

fn filter(text: &str, leave_out: &LeaveOut) -> Result<String, FilterError> {
    let mut results = Vec::new();
    for chunk in [1, 7, text.len().max(1)] {
        let (mut filter, mut output) = (Filter::new(leave_out.clone()), Vec::new());
        let taken = text.as_bytes().chunks(chunk).try_for_each(|bytes| filter.take(bytes, &mut output));
        let result = taken.and_then(|()| filter.finish(&mut output));
        results.push(result.map(|_| String::from_utf8(output).unwrap()));
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "chunks made a difference: {results:?}");
    results.remove(0)
}

const DUMP: &str = "--\n\\restrict abc\n\nSET lock_timeout = 0;\nALTER TABLE public.t OWNER TO \"my role\";\nGRANT SELECT ON TABLE public.t TO app;\n\
                    COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n\nCOMMENT ON TABLE public.t IS '\n\\! id\n';\n\\unrestrict abc\n";

#[test]
fn a_dump_goes_through_without_its_own_restriction() {
    let passed = filter(DUMP, &LeaveOut::default()).unwrap();
    assert_eq!(passed, DUMP.replace("\\restrict abc\n", "").replace("\\unrestrict abc\n", ""));
}

#[test]
fn owners_and_privileges_are_left_out_on_demand_and_rows_never() {
    let passed = filter(DUMP, &LeaveOut { owners: true, ..LeaveOut::default() }).unwrap();
    assert!(!passed.contains("my role") && !passed.contains("GRANT"), "{passed}");
    assert!(passed.contains("COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n"), "{passed}");
    assert!(passed.contains("SET lock_timeout = 0;"));
}

#[test]
fn a_part_of_a_whole_servers_dump_says_nothing_of_its_database() {
    let part = "DROP DATABASE IF EXISTS a;\nCREATE DATABASE a WITH TEMPLATE = template0;\nALTER DATABASE a OWNER TO b;\n\
                \\connect a\nGRANT CONNECT ON DATABASE a TO c;\nALTER ROLE c IN DATABASE a SET x TO '1';\nSET row_security = off;\n";
    let passed = filter(part, &LeaveOut { databases: true, ..LeaveOut::default() }).unwrap();
    assert_eq!(passed.trim(), "SET row_security = off;");
    let grant = "GRANT SELECT ON TABLE t TO c;";
    assert!(filter(grant, &LeaveOut { databases: true, ..LeaveOut::default() }).unwrap().contains(grant));
}

#[test]
fn what_only_looks_like_an_owner_stays() {
    let owners = LeaveOut { owners: true, ..LeaveOut::default() };
    let text = "ALTER TABLE t ADD CONSTRAINT c CHECK ((note <> 'the OWNER TO be'::text)) NOT VALID;";
    assert_eq!(filter(text, &owners.clone()).unwrap(), text);
    assert_eq!(filter("ALTER FUNCTION f(a int) OWNER TO \"a b\";", &owners).unwrap(), "");
}

#[test]
fn surroundings_are_left_out_on_demand() {
    let text = "SET default_tablespace = fast;\nCREATE TABLE t ();\nSET default_tablespace = \"my \"\"own\";\nCREATE TABLE u ();\n\
                CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p;\n";
    let passed = |tablespaces: &[&str]| {
        let tablespaces = tablespaces.iter().map(|name| (*name).to_owned()).collect();
        let passed = filter(text, &LeaveOut { surroundings: true, tablespaces, ..LeaveOut::default() }).unwrap();
        passed.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let none = "SET default_tablespace = '';";
    assert_eq!(passed(&[]), format!("{none} CREATE TABLE t (); {none} CREATE TABLE u ();"));
    assert_eq!(
        passed(&["my \"own"]),
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
    let passed = |rows| filter(text, &LeaveOut { rows, ..LeaveOut::default() }).unwrap();
    assert_eq!(passed(Rows::All), text);
    let lines = |rows| passed(rows).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
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
    ] {
        let refused = filter(&format!("SET lock_timeout = 0;\n{statement}\n"), &LeaveOut::default());
        let short: String = statement.chars().take(80).collect();
        assert!(
            matches!(refused, Err(FilterError::Statement { .. } | FilterError::TooLong { .. })),
            "{short}: {refused:?}"
        );
    }
    assert!(filter("CREATE USER MAPPING FOR u SERVER s;", &LeaveOut::default()).is_ok());
    assert!(filter("ALTER TABLE t RENAME TO role;", &LeaveOut::default()).is_ok());
}

#[test]
fn what_is_too_long_to_be_held_is_looked_at_before_any_of_it_passes() {
    let space = " ".repeat(HELD * 2);
    for text in [
        format!("DROP DATABASE {space} precious;"),
        format!("{space} DROP DATABASE precious;"),
        format!("DROP DATABASE x{space}"),
    ] {
        let (mut filter, mut output) = (Filter::new(LeaveOut::default()), Vec::new());
        let taken = text.as_bytes().chunks(CHUNK).try_for_each(|bytes| filter.take(bytes, &mut output));
        assert!(taken.is_err() && output.is_empty());
    }
    let long = format!("COMMENT ON TABLE t IS '{space}';\nSET row_security = off;\n");
    let (mut filter, mut output) = (Filter::new(LeaveOut::default()), Vec::new());
    long.as_bytes().chunks(CHUNK).try_for_each(|bytes| filter.take(bytes, &mut output)).unwrap();
    assert!(filter.finish(&mut output).is_ok() && output == long.as_bytes());
}

const CHUNK: usize = 100_000;

#[test]
fn a_command_of_psql_is_refused_by_line_and_name() {
    for command in ["\\! touch /tmp/x", "\\copy t from program 'id'", "\\connect other", "\\i /etc/passwd"] {
        let text = format!("SET lock_timeout = 0;\nCOPY t (a) FROM stdin;\n1\n\\.\n{command}\nSELECT 1;\n");
        let word = command.split(' ').next().unwrap().to_owned();
        assert_eq!(filter(&text, &LeaveOut::default()), Err(FilterError::Command { line: 5, command: word }));
    }
}

#[test]
fn a_dump_that_breaks_off_is_refused() {
    for text in ["COPY t (a) FROM stdin;\n1\n", "SELECT 'x", "SELECT 1"] {
        assert_eq!(filter(text, &LeaveOut::default()), Err(FilterError::BreaksOff), "{text}");
    }
}
