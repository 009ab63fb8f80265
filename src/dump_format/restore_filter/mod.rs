//! Pure: a dump as SQL on its way into psql, without what must not get there.
//!
//! The dump's own `\restrict` pair is left out, because ours is around it and such pairs do not nest. Any other command
//! of psql is refused: pg_dump writes none, and in a file that came from elsewhere it could run a program here.

pub mod globals;
mod statements;

use crate::dump_format::sql_lexer::{ForeignKey, LargeObject, Lexer, SequenceSet, Token, name_after};
use statements::is_foreign;
use std::collections::BTreeSet;

/// What else is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaveOut {
    /// Statements that give objects an owner or privileges.
    pub owners: bool,
    /// Statements that make, drop, or describe databases, and `\connect`: the dump is part of one of a whole server.
    pub databases: bool,
    /// Statements that tie a database to its surroundings: tablespaces, which another server lacks, and subscriptions,
    /// which would follow another server and cannot be dropped with their database.
    pub surroundings: bool,
    /// Tablespaces that are there, and stay in spite of that.
    pub tablespaces: BTreeSet<String>,
    /// Rows, and what depends on them.
    pub rows: Rows,
}

/// The tables whose rows are restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Rows {
    /// Every table's, and everything else that is data.
    #[default]
    All,
    /// No table's, no values of sequences and no large objects.
    None,
    /// Those of these tables, as [`crate::dump_format::sql_lexer::qualified`] writes them, and no large objects. Foreign keys stay
    /// only between them: others would refer to rows that are not there.
    Of(BTreeSet<String>),
}

impl Rows {
    /// True when the table's rows are restored.
    pub fn has(&self, table: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Of(tables) => tables.contains(table),
        }
    }
}

/// Why a dump is not handed to psql.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A command of psql.
    #[error("line {line} has the command `{command}` of psql, which pg_dump does not write; it was not run")]
    Command {
        /// Line of the dump, from 1.
        line: u64,
        /// Its first word.
        command: String,
    },
    /// A statement that reaches beyond the database.
    #[error("line {line} has `{statement}`, which pg_dump does not write into the dump of a database; it was not run")]
    Statement {
        /// Line of the dump, from 1, on which it ends.
        line: u64,
        /// Its first words.
        statement: String,
    },
    /// A statement that no server takes.
    #[error("line {line} is in a statement of more than 256 MiB, which pg_dump does not write")]
    TooLong {
        /// Line of the dump, from 1.
        line: u64,
    },
    /// A name, or what is said of one, is not in the encoding that the dump says it is in.
    #[error("line {line} is not in the encoding that the dump says it is in; restore it by hand with psql")]
    Encoding {
        /// Line of the dump, from 1, on which the statement ends.
        line: u64,
    },
    /// The text ends in the middle of something.
    #[error("the dump breaks off in the middle of a statement, a string or the rows of a table")]
    BreaksOff,
}

/// Bytes of a statement that are held back to be looked at; nothing of a longer one passes before that.
const HELD: usize = 1 << 20;

/// Longest statement, in bytes; psql holds all of it.
const LONGEST: usize = 256 << 20;

/// Passes a dump on in chunks.
pub struct Filter {
    lexer: Lexer,
    leave_out: LeaveOut,
    /// Of the current statement, as long as it may be left out.
    held: Vec<u8>,
    /// Bytes of the current statement.
    length: usize,
    /// It was too long to be held to its end: whether it is left out.
    verdict: Option<bool>,
    /// The rows that pass are left out.
    is_skipping: bool,
    subscriptions: Vec<String>,
    lacks_tablespace: bool,
    line: u64,
}

impl Filter {
    /// A filter at the beginning of a dump.
    pub fn new(leave_out: LeaveOut) -> Self {
        Self {
            lexer: Lexer::default(),
            leave_out,
            held: Vec::new(),
            length: 0,
            verdict: None,
            is_skipping: false,
            subscriptions: Vec::new(),
            lacks_tablespace: false,
            line: 1,
        }
    }

    /// The table whose rows pass now.
    pub fn table(&self) -> Option<&str> {
        self.lexer.copy().map(|copy| copy.table.as_str())
    }

    /// True when no tablespace was left out.
    pub fn has_every_tablespace(&self) -> bool {
        !self.lacks_tablespace
    }

    /// Adds to `output` what psql may have of the next bytes.
    pub fn take(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<(), FilterError> {
        let mut input = bytes;
        while let Some(token) = self.lexer.next(&mut input) {
            match token {
                Token::Sql(sql) => self.take_sql(sql, output)?,
                Token::StatementEnd => self.end_statement(output)?,
                Token::Command(_) => {}
                Token::CommandEnd => {
                    self.check_command()?;
                    self.line += 1;
                }
                Token::CopyBegin => {
                    // psql would run what stands behind the statement on its line, after the rows
                    if !self.held.trim_ascii().is_empty() {
                        return Err(self.foreign("COPY … FROM stdin; …"));
                    }
                    self.is_skipping = self.lexer.copy().is_some_and(|copy| !self.leave_out.rows.has(&copy.table));
                    if !self.is_skipping {
                        output.append(&mut self.held);
                    }
                    self.held.clear();
                }
                Token::Row { bytes, ends } => {
                    self.line += u64::from(ends);
                    if !self.is_skipping {
                        output.extend_from_slice(bytes);
                        output.extend(ends.then_some(b'\n'));
                    }
                }
                Token::CopyEnd(bytes) => {
                    self.line += 1;
                    if !self.is_skipping {
                        output.extend_from_slice(bytes);
                    }
                }
            }
        }
        Ok(())
    }

    fn take_sql(&mut self, sql: &[u8], output: &mut Vec<u8>) -> Result<(), FilterError> {
        self.count(sql);
        self.length += sql.len();
        if self.length > LONGEST {
            return Err(FilterError::TooLong { line: self.line });
        }
        match self.verdict {
            Some(true) => {}
            Some(false) => output.extend_from_slice(sql),
            None => {
                self.held.extend_from_slice(sql);
                if self.held.len() > HELD {
                    // what is between two statements is none yet
                    let statement = String::from_utf8_lossy(self.lexer.statement()).into_owned();
                    if statement.trim().is_empty() {
                        return Err(FilterError::TooLong { line: self.line });
                    }
                    let is_left_out = self.is_left_out(&statement)?;
                    self.verdict = Some(is_left_out);
                    if !is_left_out {
                        output.append(&mut self.held);
                    }
                    self.held.clear();
                }
            }
        }
        Ok(())
    }

    fn end_statement(&mut self, output: &mut Vec<u8>) -> Result<(), FilterError> {
        self.length = 0;
        let statement = String::from_utf8_lossy(self.lexer.statement()).into_owned();
        let is_left_out = match self.verdict.take() {
            Some(verdict) => verdict,
            None => self.is_left_out(&statement)?,
        };
        if !is_left_out {
            output.append(&mut self.held);
        } else if let Some(name) = name_after(self.lexer.statement(), &["create", "subscription"]) {
            self.subscriptions.push(name);
        } else if self.lexer.statement().starts_with(DEFAULT_TABLESPACE.as_bytes()) {
            self.lacks_tablespace = true;
            // what was set before must not hold any longer
            output.extend_from_slice(b"\nSET default_tablespace = '';");
        }
        // errors name the lines of the dump
        output.extend(self.held.drain(..).filter(|byte| *byte == b'\n'));
        Ok(())
    }

    fn foreign(&self, statement: &str) -> FilterError {
        FilterError::Statement { line: self.line, statement: statement.to_owned() }
    }

    /// The rest of what psql may have, once the dump is at its end; the answer are the subscriptions that were left out.
    pub fn finish(self, output: &mut Vec<u8>) -> Result<Vec<String>, FilterError> {
        // psql would run a statement that lacks its end
        output.extend(self.held.iter().filter(|byte| **byte == b'\n'));
        if self.lexer.is_between_statements() { Ok(self.subscriptions) } else { Err(FilterError::BreaksOff) }
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

    fn is_left_out(&self, statement: &str) -> Result<bool, FilterError> {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let leave_out = &self.leave_out;
        let is_left_out = leave_out.databases && is_of_database(&words)
            || leave_out.owners && names_roles(&words)
            || leave_out.surroundings && is_of_surroundings(&words) && !self.has_tablespace(&words)
            || leave_out.rows != Rows::All && self.is_data(&words);
        if !is_left_out && is_foreign(statement, self.lexer.copy().is_some()) {
            let words = words.iter().take(3).copied().collect::<Vec<_>>().join(" ");
            return Err(self.foreign(&words.chars().take(80).collect::<String>()));
        }
        Ok(is_left_out)
    }
}

impl Filter {
    /// True for a tablespace that is there, or none.
    fn has_tablespace(&self, words: &[&str]) -> bool {
        let ["SET", "default_tablespace", "=", name @ ..] = words else { return false };
        let name = name.join(" ");
        let name = name.trim_end_matches(';');
        let plain = name.trim_matches(['\'', '"']).replace("\"\"", "\"");
        plain.is_empty() || self.leave_out.tablespaces.contains(&plain)
    }

    /// True for data that go with rows, where not all of those are wanted.
    fn is_data(&self, words: &[&str]) -> bool {
        let (statement, charset) = (self.lexer.statement(), self.lexer.charset());
        let is_large_object = match words {
            ["SELECT", call, ..] => {
                call.starts_with("pg_catalog.lo_create(") || LargeObject::parse(statement).is_some()
            }
            ["ALTER", "LARGE", "OBJECT", ..] | ["COMMENT", "ON", "LARGE", "OBJECT", ..] => true,
            ["SECURITY", "LABEL", rest @ ..] | ["GRANT" | "REVOKE", rest @ ..] => {
                rest.windows(3).any(|words| words == ["ON", "LARGE", "OBJECT"])
            }
            _ => false,
        };
        is_large_object
            || self.lexer.copy().is_some_and(|copy| !self.leave_out.rows.has(&copy.table))
            || match &self.leave_out.rows {
                Rows::None => SequenceSet::parse(statement, charset).is_some(),
                rows => ForeignKey::parse(statement, charset)
                    .is_some_and(|key| !rows.has(&key.table) || !rows.has(&key.references)),
            }
    }
}

const DEFAULT_TABLESPACE: &str = "SET default_tablespace";

fn names_roles(words: &[&str]) -> bool {
    match words {
        ["GRANT" | "REVOKE", ..] | ["ALTER", "DEFAULT", "PRIVILEGES", ..] | ["SET", "SESSION", "AUTHORIZATION", ..] => {
            true
        }
        ["ALTER", rest @ ..] => rest.windows(2).rposition(|pair| pair == ["OWNER", "TO"]).is_some_and(|at| {
            // one name is all that may follow
            let role = rest[at + 2..].join(" ");
            let role = role.trim_end_matches(';');
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80;
            let quoted = role.len() > 1 && role.starts_with('"') && role.ends_with('"');
            !role.is_empty() && (quoted || role.bytes().all(plain))
        }),
        _ => false,
    }
}

fn is_of_database(words: &[&str]) -> bool {
    match words {
        ["CREATE" | "DROP" | "ALTER", "DATABASE", ..]
        | ["COMMENT", "ON", "DATABASE", ..]
        | ["UPDATE", "pg_catalog.pg_database", ..] => true,
        ["GRANT" | "REVOKE", rest @ ..] => rest.windows(2).any(|pair| pair == ["ON", "DATABASE"]),
        // a label may have any words in it, behind what it is on
        ["SECURITY", "LABEL", rest @ ..] => {
            rest.iter().position(|word| *word == "ON").is_some_and(|at| rest.get(at + 1) == Some(&"DATABASE"))
        }
        ["ALTER", "ROLE", rest @ ..] => rest.windows(2).any(|pair| pair == ["IN", "DATABASE"]),
        _ => false,
    }
}

fn is_of_surroundings(words: &[&str]) -> bool {
    matches!(
        words,
        ["SET", "default_tablespace", ..]
            | ["CREATE" | "ALTER", "SUBSCRIPTION", ..]
            | ["COMMENT", "ON", "SUBSCRIPTION", ..]
    )
}

#[cfg(test)]
mod tests;
