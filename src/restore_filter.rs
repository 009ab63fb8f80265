//! Pure: a dump as SQL on its way into psql, without what must not get there.
//!
//! The dump's own `\restrict` pair is left out, because ours is around it and such pairs do not nest. Any other command
//! of psql is refused: pg_dump writes none, and in a file that came from elsewhere it could run a program here.

use crate::sql_lexer::{Lexer, Token};

/// What else is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaveOut {
    /// Statements that give objects an owner or privileges.
    pub owners: bool,
    /// Statements that make, drop, or describe databases, and `\connect`: the dump is part of one of a whole server.
    pub databases: bool,
}

/// Why a dump is not handed to psql.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A command of psql.
    #[error("line {line} has the command `{command}` of psql, which pg_dump does not write; nothing of it was run")]
    Command {
        /// Line of the dump, from 1.
        line: u64,
        /// Its first word.
        command: String,
    },
    /// The text ends in the middle of something.
    #[error("the dump breaks off in the middle of a statement, a string or the rows of a table")]
    BreaksOff,
}

/// Longest statement that is held back to be looked at; longer ones own nothing and are no `CREATE DATABASE`.
const HELD: usize = 64 << 10;

/// Passes a dump on in chunks.
pub struct Filter {
    lexer: Lexer,
    leave_out: LeaveOut,
    /// Of the current statement, as long as it may be left out.
    held: Vec<u8>,
    line: u64,
}

impl Filter {
    /// A filter at the beginning of a dump.
    pub fn new(leave_out: LeaveOut) -> Self {
        Self { lexer: Lexer::default(), leave_out, held: Vec::new(), line: 1 }
    }

    /// Adds to `output` what psql may have of the next bytes.
    pub fn take(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<(), FilterError> {
        let mut input = bytes;
        while let Some(token) = self.lexer.next(&mut input) {
            match token {
                Token::Sql(sql) => {
                    self.count(sql);
                    self.held.extend_from_slice(sql);
                    if self.held.len() > HELD || self.leave_out == LeaveOut::default() {
                        output.append(&mut self.held);
                    }
                }
                Token::StatementEnd => {
                    if !self.is_left_out() {
                        output.append(&mut self.held);
                    }
                    self.held.clear();
                }
                Token::Command(_) => {}
                Token::CommandEnd => {
                    self.check_command()?;
                    self.line += 1;
                }
                Token::CopyBegin => output.append(&mut self.held),
                Token::Row { bytes, ends } => {
                    output.extend_from_slice(bytes);
                    if ends {
                        output.push(b'\n');
                        self.line += 1;
                    }
                }
                Token::CopyEnd(bytes) => {
                    output.extend_from_slice(bytes);
                    self.line += 1;
                }
            }
        }
        Ok(())
    }

    /// The rest of what psql may have, once the dump is at its end.
    pub fn finish(mut self, output: &mut Vec<u8>) -> Result<(), FilterError> {
        output.append(&mut self.held);
        if self.lexer.is_between_statements() { Ok(()) } else { Err(FilterError::BreaksOff) }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }

    fn check_command(&self) -> Result<(), FilterError> {
        let text = String::from_utf8_lossy(self.lexer.command());
        let command = text.split_whitespace().next().unwrap_or("\\");
        match command {
            "\\restrict" | "\\unrestrict" => Ok(()),
            // pg_dump writes it before a name that needs quotes
            "\\connect" | "\\encoding" if self.leave_out.databases => Ok(()),
            _ => {
                let command = command.chars().take(40).collect();
                Err(FilterError::Command { line: self.line, command })
            }
        }
    }

    fn is_left_out(&self) -> bool {
        let statement = self.lexer.statement();
        if self.held.is_empty() || statement.len() > HELD {
            return false;
        }
        let text = String::from_utf8_lossy(statement);
        let words: Vec<&str> = text.split_whitespace().collect();
        self.leave_out.owners && names_roles(&words) || self.leave_out.databases && is_of_database(&words)
    }
}

fn names_roles(words: &[&str]) -> bool {
    match words {
        ["GRANT" | "REVOKE", ..] | ["ALTER", "DEFAULT", "PRIVILEGES", ..] | ["SET", "SESSION", "AUTHORIZATION", ..] => {
            true
        }
        // the role is one word, or a quoted one that may have spaces in it
        ["ALTER", rest @ ..] => rest.windows(2).any(|pair| pair == ["OWNER", "TO"]),
        _ => false,
    }
}

fn is_of_database(words: &[&str]) -> bool {
    match words {
        ["CREATE" | "DROP" | "ALTER", "DATABASE", ..]
        | ["COMMENT", "ON", "DATABASE", ..]
        | ["SECURITY", "LABEL", ..]
        | ["UPDATE", "pg_catalog.pg_database", ..] => true,
        ["GRANT" | "REVOKE", rest @ ..] => rest.windows(2).any(|pair| pair == ["ON", "DATABASE"]),
        ["ALTER", "ROLE", rest @ ..] => rest.windows(2).any(|pair| pair == ["IN", "DATABASE"]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str, leave_out: LeaveOut) -> Result<String, FilterError> {
        let mut results = Vec::new();
        for chunk in [1, 7, text.len().max(1)] {
            let (mut filter, mut output) = (Filter::new(leave_out), Vec::new());
            let taken = text.as_bytes().chunks(chunk).try_for_each(|bytes| filter.take(bytes, &mut output));
            let result = taken.and_then(|()| filter.finish(&mut output));
            results.push(result.map(|()| String::from_utf8(output).unwrap()));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "chunks made a difference: {results:?}");
        results.remove(0)
    }

    const DUMP: &str = "--\n\\restrict abc\n\nSET x = 1;\nALTER TABLE public.t OWNER TO \"my role\";\nGRANT SELECT ON TABLE public.t TO app;\n\
                        COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n\nSELECT '\n\\! id\n';\n\\unrestrict abc\n";

    #[test]
    fn a_dump_goes_through_without_its_own_restriction() {
        let passed = filter(DUMP, LeaveOut::default()).unwrap();
        assert_eq!(passed, DUMP.replace("\\restrict abc\n", "").replace("\\unrestrict abc\n", ""));
    }

    #[test]
    fn owners_and_privileges_are_left_out_on_demand_and_rows_never() {
        let passed = filter(DUMP, LeaveOut { owners: true, databases: false }).unwrap();
        assert!(!passed.contains("my role") && !passed.contains("GRANT"), "{passed}");
        assert!(passed.contains("COPY public.t (a) FROM stdin;\n\\N\nALTER TABLE x OWNER TO y;\n\\.\n"), "{passed}");
        assert!(passed.contains("SET x = 1;"));
    }

    #[test]
    fn a_part_of_a_whole_servers_dump_says_nothing_of_its_database() {
        let part = "DROP DATABASE IF EXISTS a;\nCREATE DATABASE a WITH TEMPLATE = template0;\nALTER DATABASE a OWNER TO b;\n\
                    \\connect a\nGRANT CONNECT ON DATABASE a TO c;\nALTER ROLE c IN DATABASE a SET x TO '1';\nSELECT 1;\n";
        let passed = filter(part, LeaveOut { owners: false, databases: true }).unwrap();
        assert_eq!(passed.trim(), "SELECT 1;");
        let grant = "GRANT SELECT ON TABLE t TO c;";
        assert!(filter(grant, LeaveOut { owners: false, databases: true }).unwrap().contains(grant));
    }

    #[test]
    fn a_command_of_psql_is_refused_by_line_and_name() {
        for command in ["\\! touch /tmp/x", "\\copy t from program 'id'", "\\connect other", "\\i /etc/passwd"] {
            let text = format!("SET x = 1;\nCOPY t (a) FROM stdin;\n1\n\\.\n{command}\nSELECT 1;\n");
            let word = command.split(' ').next().unwrap().to_owned();
            assert_eq!(filter(&text, LeaveOut::default()), Err(FilterError::Command { line: 5, command: word }));
        }
    }

    #[test]
    fn a_dump_that_breaks_off_is_refused() {
        for text in ["COPY t (a) FROM stdin;\n1\n", "SELECT 'x", "SELECT 1"] {
            assert_eq!(filter(text, LeaveOut::default()), Err(FilterError::BreaksOff), "{text}");
        }
    }
}
