//! Pure: a dump as the statements and rows that a loader hands to a server, without what must not get there.
//!
//! A file may come from elsewhere, so nothing of it is guessed at. Commands of psql are refused wherever they stand, but for
//! those that pg_dump writes between two statements. A statement is handed on whole and begins with its first word; it is
//! of a kind that pg_dump writes, or refused; and the server that gets it as one prepared statement refuses it in turn if
//! it were several. So a statement that was cut wrongly is an error, and never something else that is run.

mod allowed;
pub mod globals;
mod options;
mod owners;
mod tokens;

use crate::dump_format::sql_lexer::{
    Charset, ForeignKey, LargeObject, Lexer, SequenceSet, Token, name_after, without_comments,
};
use allowed::is_foreign;
use options::without_internal_options;
use owners::{is_of_database, is_of_surroundings, names_roles};
use std::collections::BTreeSet;
use tokens::Shape;

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

/// Why a dump is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A command of psql.
    #[error("line {line} has the psql command `{command}`, which pg_dump does not write there; it was not run")]
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
    /// A byte that no statement has.
    #[error("line {line} ends a statement that contains a zero byte, which pg_dump does not write; it was not run")]
    Zero {
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
    #[error("the dump ends in the middle of a statement, a string or the rows of a table")]
    BreaksOff,
}

/// Longest statement, in bytes; all of it is in memory.
const LONGEST: usize = 256 << 20;

/// Room that is kept for the next statement.
const KEPT: usize = 1 << 20;

/// A statement of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptStatement<'a> {
    /// From its first word to its `;`, in the encoding of the dump.
    pub text: &'a [u8],
    pub charset: Charset,
    /// Line of the dump, from 1, on which it ends.
    pub line: u64,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A statement.
    Statement(ScriptStatement<'a>),
    /// The rows of a table begin, with this statement.
    Copy {
        statement: ScriptStatement<'a>,
        /// As [`crate::dump_format::sql_lexer::qualified`] writes it.
        table: &'a str,
    },
    /// A row, or the next part of one; where the row `ends` its line break belongs to it.
    Row {
        /// The row's text.
        bytes: &'a [u8],
        /// True when this is all of it.
        ends: bool,
    },
    /// The rows have ended.
    RowsEnd,
}

/// Takes a dump in chunks, and gives what is to be done.
pub struct Script {
    lexer: Lexer,
    leave_out: LeaveOut,
    /// Of the current statement, with what stood before it.
    held: Vec<u8>,
    /// The statement that was handed out last.
    statement: Vec<u8>,
    /// The rows that pass are left out.
    is_skipping: bool,
    /// The beginning of a line that may end the rows.
    row: Vec<u8>,
    /// It was handed on, or has ended the rows.
    is_row_over: bool,
    /// The next bytes of rows are behind the first of their line.
    is_in_row: bool,
    subscriptions: Vec<String>,
    lacks_tablespace: bool,
    line: u64,
}

/// The line that ends the rows, with what may stand before its line break.
const END: &[u8] = b"\\.\r";

/// In the place of a tablespace that is left out: what was set before must not hold any longer.
const NO_TABLESPACE: &[u8] = b"SET default_tablespace = '';";

impl Script {
    /// At the beginning of a dump.
    pub fn new(leave_out: LeaveOut) -> Self {
        Self {
            lexer: Lexer::default(),
            leave_out,
            held: Vec::new(),
            statement: Vec::new(),
            is_skipping: false,
            row: Vec::new(),
            is_row_over: false,
            is_in_row: false,
            subscriptions: Vec::new(),
            lacks_tablespace: false,
            line: 1,
        }
    }

    /// True when no tablespace was left out.
    pub fn has_every_tablespace(&self) -> bool {
        !self.lacks_tablespace
    }

    /// The next step in `input`, which is shortened by what was read; none at its end.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<Step<'s>>, ScriptError> {
        while let Some(token) = self.lexer.next(input) {
            match token {
                Token::Sql(sql) => self.take_sql(sql)?,
                Token::StatementEnd => {
                    if self.end_statement()? {
                        return Ok(Some(Step::Statement(self.statement())));
                    }
                }
                Token::Command(_) => {}
                Token::CommandEnd => {
                    self.check_command()?;
                    self.line += 1;
                }
                Token::CopyBegin => {
                    // psql would run what stands behind the statement on its line, after the rows
                    if !std::mem::take(&mut self.held).trim_ascii().is_empty() {
                        return Err(self.foreign("COPY … FROM stdin; …"));
                    }
                    self.is_skipping = self.lexer.copy().is_some_and(|copy| !self.leave_out.rows.has(&copy.table));
                    if !self.is_skipping {
                        let table = self.lexer.copy().map(|copy| copy.table.as_str()).unwrap_or_default();
                        return Ok(Some(Step::Copy { statement: self.statement(), table }));
                    }
                }
                Token::Row { bytes, ends } => {
                    self.line += u64::from(ends);
                    if self.is_skipping || self.holds_back(bytes, ends) {
                        continue;
                    }
                    if self.row.is_empty() {
                        return Ok(Some(Step::Row { bytes, ends }));
                    }
                    self.row.extend_from_slice(bytes);
                    (self.is_row_over, self.is_in_row) = (true, !ends);
                    return Ok(Some(Step::Row { bytes: &self.row, ends }));
                }
                Token::CopyEnd(_) => {
                    self.line += 1;
                    (self.is_row_over, self.is_in_row) = (true, false);
                    if !self.is_skipping {
                        return Ok(Some(Step::RowsEnd));
                    }
                }
            }
        }
        Ok(None)
    }

    /// True for the beginning of a line that may end the rows, as long as it is not seen how it goes on.
    fn holds_back(&mut self, bytes: &[u8], ends: bool) -> bool {
        if std::mem::take(&mut self.is_row_over) {
            self.row.clear();
        }
        let length = self.row.len();
        let may_end = !self.is_in_row && !ends && END.get(length..).is_some_and(|rest| rest.starts_with(bytes));
        if may_end {
            self.row.extend_from_slice(bytes);
        } else {
            self.is_in_row = !ends;
        }
        may_end
    }

    fn take_sql(&mut self, sql: &[u8]) -> Result<(), ScriptError> {
        self.line += memchr::memchr_iter(b'\n', sql).count() as u64;
        self.held.extend_from_slice(sql);
        if self.held.len() > LONGEST {
            return Err(ScriptError::TooLong { line: self.line });
        }
        Ok(())
    }

    /// True when the statement is to be run by itself.
    fn end_statement(&mut self) -> Result<bool, ScriptError> {
        self.statement.clear();
        self.statement.extend_from_slice(without_comments(&self.held));
        self.held.clear();
        self.held.shrink_to(KEPT);
        if memchr::memchr(0, &self.statement).is_some() {
            return Err(ScriptError::Zero { line: self.line });
        }
        if let Some(rest) = without_internal_options(&self.statement) {
            self.statement = rest;
            if self.statement.is_empty() {
                return Ok(false);
            }
        }
        let shape = Shape::of(&self.statement);
        if self.is_left_out(&shape)? {
            if let Some(name) = name_after(&self.statement, &["create", "subscription"]) {
                self.subscriptions.push(name);
            } else if is_tablespace(&shape).is_some() {
                self.lacks_tablespace = true;
                self.statement = NO_TABLESPACE.to_vec();
                return Ok(true);
            }
            return Ok(false);
        }
        Ok(self.lexer.copy().is_none() && self.statement != b";")
    }

    fn statement(&self) -> ScriptStatement<'_> {
        ScriptStatement { text: &self.statement, charset: self.lexer.charset(), line: self.line }
    }

    fn foreign(&self, statement: &str) -> ScriptError {
        ScriptError::Statement { line: self.line, statement: statement.to_owned() }
    }

    /// Ends at the end of the dump; the answer are the subscriptions that were left out.
    pub fn finish(self) -> Result<Vec<String>, ScriptError> {
        let is_whole = self.lexer.is_between_statements() && without_comments(&self.held).is_empty();
        if is_whole { Ok(self.subscriptions) } else { Err(ScriptError::BreaksOff) }
    }

    /// pg_dump writes commands between statements alone: in one, what is left of it would be another.
    fn check_command(&self) -> Result<(), ScriptError> {
        let text = String::from_utf8_lossy(self.lexer.command());
        let command = text.split_whitespace().next().unwrap_or("\\");
        let is_between = without_comments(&self.held).is_empty();
        match command {
            "\\restrict" | "\\unrestrict" if is_between => Ok(()),
            // pg_dump writes it before a name that needs quotes
            "\\connect" | "\\encoding" if is_between && self.leave_out.databases => Ok(()),
            _ => {
                let command = command.chars().take(40).collect();
                Err(ScriptError::Command { line: self.line, command })
            }
        }
    }

    fn is_left_out(&self, shape: &Shape) -> Result<bool, ScriptError> {
        let leave_out = &self.leave_out;
        let is_left_out = leave_out.databases && is_of_database(shape)
            || leave_out.owners && names_roles(shape)
            || leave_out.surroundings && is_of_surroundings(shape) && !self.has_tablespace(shape)
            || leave_out.rows != Rows::All && self.is_data(shape);
        if !is_left_out && is_foreign(&self.statement, shape, self.lexer.copy().is_some()) {
            let text = String::from_utf8_lossy(&self.statement[..self.statement.len().min(SHOWN)]);
            let words = text.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
            return Err(self.foreign(&words.chars().take(80).collect::<String>()));
        }
        Ok(is_left_out)
    }
}

impl Script {
    /// True for a tablespace that is there, or none.
    fn has_tablespace(&self, shape: &Shape) -> bool {
        is_tablespace(shape).is_some_and(|name| name.is_empty() || self.leave_out.tablespaces.contains(&name))
    }

    /// True for data that go with rows, where not all of those are wanted.
    fn is_data(&self, shape: &Shape) -> bool {
        let (statement, charset) = (self.statement.as_slice(), self.lexer.charset());
        let is_large_object = match shape.first().as_slice() {
            ["SELECT", "PG_CATALOG", ".", "LO_CREATE" | "LO_UNLINK", ..] | ["ALTER", "LARGE", "OBJECT", ..] => true,
            ["SELECT", ..] => LargeObject::parse(statement).is_some(),
            ["COMMENT" | "SECURITY" | "GRANT" | "REVOKE", ..] => shape.on.as_deref() == Some("LARGE"),
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

/// The tablespace that objects are to be made in from then on; empty is that of the database.
fn is_tablespace(shape: &Shape) -> Option<String> {
    let first = shape.first();
    let ["SET", "DEFAULT_TABLESPACE", "=", name, ..] = first.as_slice() else { return None };
    Some(match name.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            name.trim_matches(quote).replace(&String::from(quote).repeat(2), &String::from(quote))
        }
        _ => name.to_ascii_lowercase(),
    })
}

/// Bytes of a statement among which its first words are.
const SHOWN: usize = 400;

#[cfg(test)]
mod tests;
