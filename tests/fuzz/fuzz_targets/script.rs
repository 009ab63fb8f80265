//! Whatever text a dump is, it is cut in the same way however it arrives, and what is run is one statement.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postgres_backup_job::dump_format::script::{LeaveOut, Script, ScriptError, Step};
use postgres_backup_job::dump_format::sql_lexer::{Lexer, Token, without_comments};

/// A step, owned; the pieces of a row as one.
#[derive(Debug, PartialEq)]
enum Done {
    Statement(Vec<u8>),
    Copy(Vec<u8>, String),
    Row(Vec<u8>),
    RowsEnd,
}

fn steps(text: &[u8], chunk: usize) -> Result<Vec<Done>, ScriptError> {
    let (mut script, mut done, mut row) = (Script::new(LeaveOut::default()), Vec::new(), Vec::new());
    for bytes in text.chunks(chunk) {
        let mut input = bytes;
        while let Some(step) = script.next(&mut input)? {
            match step {
                Step::Statement(statement) => done.push(Done::Statement(statement.text.to_vec())),
                Step::Copy { statement, table } => done.push(Done::Copy(statement.text.to_vec(), table.to_owned())),
                Step::Row { bytes, ends } => {
                    row.extend_from_slice(bytes);
                    if ends {
                        done.push(Done::Row(std::mem::take(&mut row)));
                    }
                }
                Step::RowsEnd => done.push(Done::RowsEnd),
            }
        }
    }
    script.finish().map(|_| done)
}

/// The statement, read by itself, ends at its last byte and nowhere before, and no command of psql is in it.
fn is_one_statement(statement: &[u8]) -> bool {
    let (mut lexer, mut input, mut ends) = (Lexer::default(), statement, Vec::new());
    while let Some(token) = lexer.next(&mut input) {
        match token {
            Token::Sql(_) => {}
            Token::StatementEnd => ends.push(input.len()),
            _ => return false,
        }
    }
    ends == [0] && without_comments(statement) == statement
}

/// Settings that decide how strings are read hold from one statement to the next, and not for one that is read alone.
fn settings_decide(statement: &[u8]) -> bool {
    let statement = statement.to_ascii_lowercase();
    [&b"client_encoding"[..], b"standard_conforming_strings"]
        .iter()
        .any(|name| statement.windows(name.len()).any(|window| window == *name))
}

fuzz_target!(|text: &[u8]| {
    let whole = steps(text, text.len().max(1));
    for chunk in [1, 7] {
        assert_eq!(whole, steps(text, chunk));
    }
    for done in whole.into_iter().flatten() {
        match done {
            Done::Statement(statement) if settings_decide(&statement) => break,
            Done::Statement(statement) => assert!(is_one_statement(&statement), "{}", statement.escape_ascii()),
            _ => {}
        }
    }
});
