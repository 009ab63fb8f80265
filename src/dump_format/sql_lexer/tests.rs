use super::*;
use proptest::prelude::*;

/// What a text comes to, read in chunks of that size.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    statements: Vec<String>,
    commands: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
    bytes: Vec<u8>,
    between_statements: bool,
}

fn read(text: &[u8], chunk: usize) -> Read {
    let (mut lexer, mut read, mut row) = (Lexer::default(), Read::default(), Vec::new());
    for mut input in text.chunks(chunk) {
        while let Some(token) = lexer.next(&mut input) {
            match token {
                Token::Sql(bytes) | Token::Command(bytes) => read.bytes.extend(bytes),
                Token::StatementEnd => read.statements.push(String::from_utf8_lossy(lexer.statement()).into_owned()),
                Token::CommandEnd => read.commands.push(String::from_utf8_lossy(lexer.command()).into_owned()),
                Token::CopyBegin => read.rows.push((lexer.copy().unwrap().table.clone(), Vec::new())),
                Token::Row { bytes, ends } => {
                    read.bytes.extend(bytes);
                    row.extend(bytes);
                    if ends {
                        read.bytes.push(b'\n');
                        let row = String::from_utf8_lossy(&std::mem::take(&mut row)).into_owned();
                        read.rows.last_mut().unwrap().1.push(row);
                    }
                }
                Token::CopyEnd(bytes) => {
                    read.bytes.extend(bytes);
                    row.clear();
                }
            }
        }
    }
    read.between_statements = lexer.is_between_statements();
    read
}

/// Reads the text in chunks of many sizes, which must make no difference.
fn read_whole(text: &str) -> Read {
    let whole = read(text.as_bytes(), text.len().max(1));
    assert_eq!(whole.bytes, text.as_bytes(), "bytes were lost or doubled");
    for chunk in [1, 2, 3, 5, 7, 64] {
        assert_eq!(read(text.as_bytes(), chunk), whole, "in chunks of {chunk}");
    }
    whole
}

#[test]
fn rows_follow_copy_at_the_start_of_a_statement_and_end_with_their_line() {
    let read = read_whole(
        "-- Data for Name: t\nSET x = 1;\nCOPY public.t (a, \"B;\"\"c\") FROM stdin;\n1\tx\n\\\\.\n\\N\t\\.\n\n\\.\n\n\nSELECT 1;\n",
    );
    let rows = ["1\tx", "\\\\.", "\\N\t\\.", ""].map(str::to_owned).to_vec();
    assert_eq!(read.rows, [("public.t".to_owned(), rows)]);
    assert_eq!(read.statements.len(), 3, "{:?}", read.statements);
    assert!(read.between_statements);
}

#[test]
fn nothing_that_only_looks_like_rows_is_taken_for_them() {
    let imitation = "COPY public.t (a) FROM stdin;\n1\n2\n\\.\n";
    for around in [
        format!("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $_$\n;\n{imitation}$_$;\n"),
        format!("CREATE FUNCTION f() AS $a$ $b$;\n{imitation} $b$ $ a$ $a$;\n"),
        format!("COMMENT ON TABLE t IS 'it''s;\n{imitation}';\n"),
        format!("COMMENT ON TABLE t IS E'it\\'s;\n{imitation}\\\\';\n"),
        format!("/* ;\n /* nested */ {imitation} */ SELECT 1;\n"),
        format!("CREATE TABLE \"x;\n{imitation}\"\"\" (a int);\n"),
        format!("CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; {imitation});\n"),
    ] {
        let read = read_whole(&around);
        assert_eq!(read.rows, [], "{around}");
        assert_eq!(read.statements.len(), 1, "{around}");
        assert!(read.between_statements, "{around}");
    }
}

#[test]
fn the_body_of_an_sql_function_is_part_of_its_statement() {
    let text = "CREATE OR REPLACE FUNCTION f() RETURNS int\nBEGIN ATOMIC\n SELECT CASE WHEN true THEN 1 ELSE 2 END;\n \
                SELECT 2;\nEND;\nSELECT 3;\n";
    assert_eq!(read_whole(text).statements.len(), 2);
}

#[test]
fn a_view_called_function_makes_no_function() {
    let text = "CREATE VIEW public.function AS SELECT begin FROM t;\nCOPY public.t (a) FROM stdin;\n1\n\\.\n";
    let read = read_whole(text);
    assert_eq!((read.statements.len(), read.rows.len()), (2, 1));
}

#[test]
fn a_string_ends_where_the_server_says_so() {
    let off = "SET standard_conforming_strings = off;\nSELECT 'a\\';b';\nSELECT 1;\n";
    assert_eq!(read_whole(off).statements.len(), 3);
    let on = "SET standard_conforming_strings = on;\nSELECT 'a\\';\nSELECT 1;\n";
    assert_eq!(read_whole(on).statements.len(), 3);
    assert_eq!(read_whole("SELECT E'a'\n 'b\\';c';\nSELECT 1;\n").statements.len(), 2);
}

#[test]
fn commands_of_psql_are_told_from_statements() {
    let read = read_whole("\\restrict abc\nSELECT 1;\n\\unrestrict abc\nSELECT '\n\\! id\n';\n\\connect db\n");
    assert_eq!(read.commands, ["\\restrict abc", "\\unrestrict abc", "\\connect db"]);
    assert_eq!(read.statements, ["SELECT 1;", "SELECT '\n\\! id\n';"]);
}

#[test]
fn a_text_that_breaks_off_is_known_by_it() {
    for text in ["SELECT 1", "COPY t FROM stdin;\n1\n", "SELECT '", "/* ", "SELECT $a$ ;"] {
        assert!(!read_whole(text).between_statements, "{text}");
    }
}

#[test]
fn tables_without_columns_have_empty_rows() {
    let read = read_whole("COPY public.nothing  FROM stdin;\n\n\n\n\\.\n");
    assert_eq!(read.rows, [("public.nothing".to_owned(), vec![String::new(); 3])]);
}

#[test]
fn names_are_read_as_the_server_reads_them() {
    let copy =
        Copy::parse(b"COPY \"a\"\"b\".\"New\nTable\" (id, \"Order\", a$b) FROM stdin;", Charset::default()).unwrap();
    assert_eq!(copy.table, "\"a\"\"b\".\"New\nTable\"");
    assert_eq!(copy.columns, ["id", "Order", "a$b"]);
    assert_eq!(Copy::parse(b"COPY public.t (a) TO stdout;", Charset::default()), None);
    assert_eq!(Copy::parse(b"COPY public.t (a) FROM '/etc/passwd';", Charset::default()), None);
    assert_eq!(Copy::parse(b"COPYING public.t FROM stdin;", Charset::default()), None);
}

#[test]
fn the_value_of_a_sequence_is_read_from_its_statement() {
    let set = SequenceSet::parse(b"SELECT pg_catalog.setval('public.\"it''s \\ a\"', -12, false);", Charset::default())
        .unwrap();
    assert_eq!(set, SequenceSet { sequence: "public.\"it's \\ a\"".to_owned(), value: -12, is_called: false });
    let set = SequenceSet::parse(b"SELECT pg_catalog.setval(E'public.\"a\\\\\\\\b\"', 7, true);", Charset::default())
        .unwrap();
    assert_eq!(set.sequence, "public.\"a\\\\b\"");
    assert_eq!(SequenceSet::parse(b"SELECT pg_catalog.lowrite(0, '\\x00');", Charset::default()), None);
}

#[test]
fn names_are_read_in_the_encoding_that_the_dump_names() {
    let mut text = b"SET client_encoding = 'LATIN1';\nCOPY public.\"caf\xe9\" (a) FROM stdin;\n1\n\\.\n".to_vec();
    assert_eq!(read(&text, 7).rows[0].0, "public.\"café\"");
    text.splice(23..29, *b"EUC_JP");
    let name = text.windows(4).position(|window| window == b"caf\xe9").unwrap();
    text.splice(name..name + 4, [0xc5, 0xec]);
    assert_eq!(read(&text, 7).rows[0].0, "public.\"東\"");
}

proptest! {
    #[test]
    fn any_rows_come_out_as_they_went_in(rows in proptest::collection::vec("[a-z\\\\\\\\\\t.;'$\"-]{0,12}", 0..20), chunk in 1_usize..40) {
        prop_assume!(!rows.iter().any(|row| row == "\\."));
        let mut text = "COPY public.t (a) FROM stdin;\n".to_owned();
        rows.iter().for_each(|row| text += &format!("{row}\n"));
        text += "\\.\nSELECT 1;\n";
        let read = read(text.as_bytes(), chunk);
        prop_assert_eq!(&read.rows, &[("public.t".to_owned(), rows)]);
        prop_assert_eq!(read.statements.len(), 2);
    }

    #[test]
    fn no_text_is_lost_whatever_it_is(text in "[ -~\n\\\\$';]{0,200}", chunk in 1_usize..40) {
        prop_assert_eq!(read(text.as_bytes(), chunk).bytes, text.as_bytes());
    }
}

#[test]
fn bytes_that_the_web_reads_as_letters_are_what_postgresql_has_there() {
    let read = |encoding: &str, bytes: &[u8]| {
        Charset::parse(format!("SET client_encoding = '{encoding}';").as_bytes()).unwrap().exact(bytes).unwrap()
    };
    assert_eq!(read("LATIN1", b"a\x80\xe9"), "a\u{80}é");
    assert_eq!(read("LATIN5", b"\x9f\xfd"), "\u{9f}ı");
    assert_eq!(read("WIN1252", b"\x80"), "€");
}
