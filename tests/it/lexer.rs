//! Where a statement ends is what the server says: the lexer against PostgreSQL itself, with generated SQL.

use crate::support;

use postgres_backup_job::dump_format::sql_lexer::{Intent, Lexer, Token, without_comments};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::postgres::{PASSWORD, Postgres, USER, shared};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Values that are hard to cut, each of them right.
const VALUES: &[&str] = &[
    "'a'",
    "''",
    "'; SELECT 2;'",
    "'it''s; --'",
    "E'\\'; SELECT 2; --'",
    "e'\\\\'",
    "E'a''\\'b'",
    "'\\'",
    "U&'\\0041;'",
    "U&'d!0061t' UESCAPE '!'",
    "B'01'",
    "x'1F'",
    "N'n;'",
    "$$; SELECT 2; $$",
    "$a$ $$ ; $b$ ; $a$",
    "$_1$;'$_1$",
    "'a'\n'b;'",
    "'a' -- c;\n 'b'",
    "E'a'\n'\\';'",
    "E'a' -- it goes on'\n  '\\'; SELECT 2; --'",
    "E'a'\r\n\t'\\';b'",
    "1 -- ;'\n",
    "1 /* ; ' */",
    "1 /* /* ; */ ' */",
    "1 /*/ ; */",
    "1 - - 2",
    "1 -/* ; */- 2",
    "2 * -1",
    "(SELECT ';')",
    "((1))",
    "1 AS \"a;\"",
    "1 AS \"it\"\"s;'\"",
    "1 AS \"$$\"",
    "1 AS a$b",
    "1 AS a$$",
    "1 AS é",
    "array[1,2]",
    "1::int",
    "1 < 2",
    "'a' || 'b;'",
    "pg_catalog.length($t$;$t$)",
    "CASE WHEN true THEN 1 ELSE 2 END",
    "1 AS begin",
    "1 AS begin, 2 AS atomic",
    "1.5e3",
];

const BETWEEN: &[&str] = &[", ", ",\n", ", -- ;\n", ",/*;*/", " , \t", ",\r\n"];
const BEFORE: &[&str] =
    &["SELECT ", "select\n", "SELECT/**/", "\n-- ;\nSELECT ", "/* ' */ SELECT ", "  SELECT ", "SELECT -- '\n"];
const BEHIND: &[&str] = &[";", " ;", "\n;", "-- ;\n;", "/*;*/;", ";;", "; ;", ";--;\n"];

fn statement() -> impl Strategy<Value = String> {
    let values = prop::collection::vec((prop::sample::select(VALUES), prop::sample::select(BETWEEN)), 1..6);
    (prop::sample::select(BEFORE), values, prop::sample::select(BEHIND)).prop_map(|(before, values, behind)| {
        let mut text = before.to_owned();
        for (index, (value, between)) in values.iter().enumerate() {
            text += if index == 0 { "" } else { between };
            text += value;
        }
        text + behind
    })
}

fn connect(postgres: &Postgres) -> Client {
    let (host, port) = ("127.0.0.1", postgres.port);
    let address = format!("host={host} port={port} user={USER} password={PASSWORD} dbname=postgres");
    let (client, connection) = support::RUNTIME.block_on(tokio_postgres::connect(&address, NoTls)).unwrap();
    support::RUNTIME.spawn(connection);
    client
}

/// What the lexer makes of it, in pieces of that length.
fn cut(text: &str, chunk: usize) -> Vec<String> {
    let (mut lexer, mut held, mut statements) = (Lexer::default(), Vec::new(), Vec::new());
    for bytes in text.as_bytes().chunks(chunk) {
        let mut input = bytes;
        while let Some(token) = lexer.next(&mut input) {
            match token {
                Token::Sql(sql) => held.extend_from_slice(sql),
                Token::StatementEnd => {
                    let statement = String::from_utf8(without_comments(&held).to_vec()).unwrap();
                    held.clear();
                    if statement != ";" {
                        statements.push(statement);
                    }
                }
                other => panic!("{other:?} in {text}"),
            }
        }
    }
    assert!(lexer.is_between_statements() && without_comments(&held).is_empty(), "{text}");
    statements
}

#[test]
fn statements_end_where_the_server_ends_them() {
    let client = connect(shared());
    let mut runner = TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    let tried = runner.run(&prop::collection::vec(statement(), 1..4), |statements| {
        let text = statements.concat();
        let answers = support::RUNTIME.block_on(client.simple_query(&text));
        let answers = answers.map_err(|error| TestCaseError::fail(format!("{text:?}: {error:?}")))?;
        let ends = answers.iter().filter(|answer| matches!(answer, SimpleQueryMessage::CommandComplete(_))).count();
        let ours = cut(&text, text.len());
        prop_assert_eq!(ours.len(), ends, "{:?}", text);
        prop_assert_eq!(&ours, &cut(&text, 1));
        for one in &ours {
            // several commands in one are refused
            let prepared = support::RUNTIME.block_on(client.prepare(one));
            prop_assert!(prepared.is_ok(), "{:?} of {:?}: {:?}", one, text, prepared.err());
            let _ = Intent::of(one.as_bytes(), Default::default());
        }
        Ok(())
    });
    tried.unwrap();
}
