//! Pure: SQL as psql reads it, in chunks as it streams by.
//!
//! The rules are those of `psqlscan.l`: quotes, `E''`, dollar quotes, nested comments, parentheses and the bodies of SQL
//! functions decide where a statement ends; a backslash outside of quotes begins a command of psql; and rows follow
//! `COPY … FROM stdin`, at the start of a statement only, up to the line `\.`. So whatever a function's body or a
//! comment looks like, it is never taken for data. In one thing the server is followed instead: a body begins with
//! `BEGIN ATOMIC`, where psql takes any `begin` for it, be it the name of a column.
//!
//! Longer than other files, because a lexer's states are read together.

mod build;
mod comments;
mod depth;
mod intent;
mod statement;
mod words;

pub use build::{Build, BuildKind, is_said_of_build};
pub use comments::without_comments;
pub use intent::{DumpedObject, Intent, ObjectKind};
pub use statement::{
    Charset, Copy, ForeignKey, LargeObject, SequenceSet, client_encoding, is_call_of_literals, is_row_copy, name_after,
    parts, qualified, quoted,
};

use comments::VERTICAL_TAB;
use depth::Depth;
use statement::is_search_path;

/// Bytes of one statement that are remembered; what comes after them is read all the same.
const REMEMBERED: usize = 1 << 20;

/// What stands next in the text. Every byte belongs to exactly one token, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// Part of a statement, or of what stands between statements.
    Sql(&'a [u8]),
    /// A statement has ended: [`Lexer::statement`] is its text. No bytes.
    StatementEnd,
    /// Part of a command of psql.
    Command(&'a [u8]),
    /// The command has ended with its line: [`Lexer::command`] is its text. No bytes.
    CommandEnd,
    /// The rows of a table begin: [`Lexer::copy`] says which. No bytes.
    CopyBegin,
    /// A row, or the next part of one; its line break is not in `bytes`, and counts as one byte where the row `ends`.
    Row {
        /// The row's text.
        bytes: &'a [u8],
        /// True when this is all of it.
        ends: bool,
    },
    /// The line that ends the rows, or the rest of it: parts that were handed out as a row are none.
    CopyEnd(&'a [u8]),
}

/// Follows a text through its chunks.
#[derive(Debug, Default)]
pub struct Lexer {
    state: LexerState,
    /// The token without bytes that comes next.
    pending: Option<Pending>,
    /// The statement has been handed out, and the next byte begins another.
    is_over: bool,
    statement: Vec<u8>,
    command: Vec<u8>,
    depth: Depth,
    /// The word that is being read, in small letters.
    word: Vec<u8>,
    /// `standard_conforming_strings` is off.
    backslash_escapes: bool,
    charset: Charset,
    copy: Option<Copy>,
    /// The current line among rows.
    line: Line,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum LexerState {
    #[default]
    Plain,
    /// One `-` or `/` that may begin a comment.
    May(u8),
    LineComment,
    BlockComment {
        depth: usize,
        last: u8,
    },
    Quoted {
        escapes: bool,
        /// Behind a backslash.
        escaped: bool,
    },
    /// Behind a closing quote: another one, at once or in a later line, goes on with the same string. Comments that end
    /// with their line may stand between.
    Closed {
        escapes: bool,
        new_line: bool,
        comment: Comment,
    },
    Identifier,
    DollarTag(Vec<u8>),
    Dollar {
        tag: Vec<u8>,
        candidate: Option<Vec<u8>>,
    },
    Command,
    /// Between a COPY statement and its rows.
    CopyLine,
    Rows,
}

/// How far a comment has begun.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Comment {
    #[default]
    None,
    /// One `-` that may begin it.
    May,
    Line,
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    Statement,
    Command,
    Copy,
}

/// The current line among rows: its first bytes, as long as it may be the end of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Begins(usize),
    IsRow,
}

/// The line that ends the rows; a carriage return may follow.
const END: &[u8] = b"\\.\r";

impl Default for Line {
    fn default() -> Self {
        Self::Begins(0)
    }
}

impl Line {
    /// The line so far and `bytes`.
    fn and(self, bytes: &[u8]) -> Self {
        match self {
            Self::Begins(length) if END[length..].starts_with(bytes) => Self::Begins(length + bytes.len()),
            _ => Self::IsRow,
        }
    }

    fn is_end(self) -> bool {
        matches!(self, Self::Begins(length) if length >= 2)
    }
}

impl Lexer {
    /// A lexer that begins among the rows of a table.
    pub fn in_rows() -> Self {
        Self { state: LexerState::Rows, ..Self::default() }
    }

    /// The statement that has just ended, without what stood before it; at most its first MiB.
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// The command that has just ended, its backslash first.
    pub fn command(&self) -> &[u8] {
        &self.command
    }

    /// How names are written at this place of the text.
    pub fn charset(&self) -> Charset {
        self.charset
    }

    /// The table whose rows are read.
    pub fn copy(&self) -> Option<&Copy> {
        self.copy.as_ref()
    }

    /// True where nothing is open: no statement, no quote, no rows.
    pub fn is_between_statements(&self) -> bool {
        let is_open = !self.statement.is_empty() && !self.is_over;
        matches!(self.state, LexerState::Plain | LexerState::LineComment) && !is_open
    }

    /// The next token of `input`, which is shortened by it; none at its end.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Token<'a>> {
        if self.state == LexerState::Rows && self.pending.is_none() {
            return (!input.is_empty()).then(|| self.next_row(input));
        }
        self.next_sql(input)
    }

    #[inline]
    fn next_row<'a>(&mut self, input: &mut &'a [u8]) -> Token<'a> {
        let all = *input;
        let Some(length) = memchr::memchr(b'\n', all) else {
            *input = &[];
            self.line = self.line.and(all);
            return Token::Row { bytes: all, ends: false };
        };
        let bytes = &all[..length];
        *input = &all[length + 1..];
        let line = std::mem::take(&mut self.line);
        if line != Line::IsRow && line.and(bytes).is_end() {
            self.state = LexerState::Plain;
            self.copy = None;
            return Token::CopyEnd(&all[..=length]);
        }
        Token::Row { bytes, ends: true }
    }

    fn next_sql<'a>(&mut self, input: &mut &'a [u8]) -> Option<Token<'a>> {
        match self.pending.take() {
            Some(Pending::Statement) => {
                self.is_over = true;
                return Some(Token::StatementEnd);
            }
            Some(Pending::Command) => return Some(Token::CommandEnd),
            Some(Pending::Copy) => return Some(Token::CopyBegin),
            None => {}
        }
        let all = *input;
        let in_command = self.state == LexerState::Command;
        let mut at = 0;
        while at < all.len() && self.pending.is_none() && (self.state == LexerState::Command) == in_command {
            at += self.step(&all[at..]);
        }
        if at == 0 {
            // a command begins, or the input is empty
            return if all.is_empty() { None } else { self.next_sql(input) };
        }
        let (taken, rest) = all.split_at(at);
        *input = rest;
        Some(if in_command { Token::Command(taken) } else { Token::Sql(taken) })
    }

    /// Reads on in the current state; the answer is how many bytes that took, none where only the state changed.
    #[allow(clippy::too_many_lines, reason = "one arm for each state, read together")]
    fn step(&mut self, bytes: &[u8]) -> usize {
        let byte = bytes[0];
        match &mut self.state {
            LexerState::Plain => return self.step_plain(byte),
            LexerState::May(first) => {
                let first = *first;
                self.state = match (first, byte) {
                    (b'-', b'-') => LexerState::LineComment,
                    (b'/', b'*') => LexerState::BlockComment { depth: 1, last: 0 },
                    _ => {
                        self.remember(&[first]);
                        self.depth.may_begin = false;
                        LexerState::Plain
                    }
                };
                return usize::from(self.state != LexerState::Plain);
            }
            LexerState::LineComment => {
                // as for psql, a carriage return ends it as well
                let length = memchr::memchr2(b'\n', b'\r', bytes);
                if length.is_some() {
                    self.state = LexerState::Plain;
                }
                return length.unwrap_or(bytes.len());
            }
            LexerState::BlockComment { depth, last } => {
                match (*last, byte) {
                    (b'/', b'*') => (*depth, *last) = (*depth + 1, 0),
                    (b'*', b'/') => (*depth, *last) = (*depth - 1, 0),
                    _ => *last = byte,
                }
                if *depth == 0 {
                    self.state = LexerState::Plain;
                    // it parts two words
                    self.remember(b" ");
                }
                return 1;
            }
            LexerState::Quoted { escapes, escaped } => {
                if *escaped {
                    *escaped = false;
                    self.remember(&[byte]);
                    return 1;
                }
                let special =
                    if *escapes { memchr::memchr2(b'\'', b'\\', bytes) } else { memchr::memchr(b'\'', bytes) };
                let length = special.map_or(bytes.len(), |at| at + 1);
                match special.map(|at| bytes[at]) {
                    Some(b'\'') => {
                        self.state = LexerState::Closed { escapes: *escapes, new_line: false, comment: Comment::None }
                    }
                    Some(_) => *escaped = true,
                    None => {}
                }
                self.remember(&bytes[..length]);
                return length;
            }
            LexerState::Closed { escapes, new_line, comment } => {
                let again = LexerState::Quoted { escapes: *escapes, escaped: false };
                match (*comment, byte) {
                    (Comment::Line, b'\n' | b'\r') => (*comment, *new_line) = (Comment::None, true),
                    (Comment::Line, _) => {}
                    (Comment::May, b'-') => *comment = Comment::Line,
                    (Comment::May, _) => {
                        self.state = LexerState::Plain;
                        self.remember(b"-");
                        return 0;
                    }
                    (Comment::None, b'-') => *comment = Comment::May,
                    (Comment::None, b'\'') if *new_line || self.statement.last() == Some(&b'\'') => {
                        self.state = again;
                        self.remember(&[byte]);
                    }
                    (Comment::None, byte) if byte.is_ascii_whitespace() || byte == VERTICAL_TAB => {
                        *new_line |= matches!(byte, b'\n' | b'\r');
                        self.remember(&[byte]);
                    }
                    (Comment::None, _) => {
                        self.state = LexerState::Plain;
                        return 0;
                    }
                }
                return 1;
            }
            LexerState::Identifier => {
                let end = memchr::memchr(b'"', bytes);
                if end.is_some() {
                    self.state = LexerState::Plain;
                }
                let length = end.map_or(bytes.len(), |at| at + 1);
                self.remember(&bytes[..length]);
                return length;
            }
            LexerState::DollarTag(tag) => {
                let is_tag = is_word(byte) && (!tag.is_empty() || !byte.is_ascii_digit());
                if byte == b'$' {
                    self.state = LexerState::Dollar { tag: std::mem::take(tag), candidate: None };
                } else if is_tag {
                    push(tag, byte);
                } else {
                    self.state = LexerState::Plain;
                    return 0;
                }
            }
            LexerState::Dollar { tag, candidate } => match candidate {
                Some(candidate_tag) if byte == b'$' && candidate_tag == tag => self.state = LexerState::Plain,
                _ if byte == b'$' => *candidate = Some(Vec::new()),
                Some(tag) if is_word(byte) => push(tag, byte),
                _ => {
                    *candidate = None;
                    let length = memchr::memchr(b'$', bytes).unwrap_or(bytes.len());
                    self.remember(&bytes[..length]);
                    return length;
                }
            },
            LexerState::Command => {
                let end = memchr::memchr(b'\n', bytes);
                let length = end.unwrap_or(bytes.len());
                let room = REMEMBERED.saturating_sub(self.command.len());
                self.command.extend_from_slice(&bytes[..length.min(room)]);
                if end.is_some() {
                    (self.state, self.pending) = (LexerState::Plain, Some(Pending::Command));
                    return length + 1;
                }
                return length;
            }
            LexerState::CopyLine => {
                let end = memchr::memchr(b'\n', bytes);
                if end.is_some() {
                    (self.state, self.pending) = (LexerState::Rows, Some(Pending::Copy));
                }
                return end.map_or(bytes.len(), |at| at + 1);
            }
            LexerState::Rows => return 0,
        }
        self.remember(&[byte]);
        1
    }

    fn step_plain(&mut self, byte: u8) -> usize {
        let begins_word = byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
        if begins_word || !self.word.is_empty() && (byte.is_ascii_digit() || byte == b'$') {
            push(&mut self.word, byte.to_ascii_lowercase());
            self.remember(&[byte]);
            return 1;
        }
        let word = std::mem::take(&mut self.word);
        if !word.is_empty() {
            self.depth.word(&word);
        }
        if !byte.is_ascii_whitespace() && ![VERTICAL_TAB, b'-', b'/'].contains(&byte) {
            self.depth.may_begin = false;
        }
        match byte {
            b'\'' => {
                let escapes = word == b"e" || self.backslash_escapes;
                self.state = LexerState::Quoted { escapes, escaped: false };
            }
            b'"' => self.state = LexerState::Identifier,
            b'$' => self.state = LexerState::DollarTag(Vec::new()),
            b'-' | b'/' => {
                self.state = LexerState::May(byte);
                return 1;
            }
            b'\\' => {
                self.command.clear();
                self.state = LexerState::Command;
                return 0;
            }
            b'(' => self.depth.parentheses += 1,
            b')' => self.depth.parentheses = self.depth.parentheses.saturating_sub(1),
            b';' if self.depth.is_outside() => {
                self.remember(b";");
                self.end_statement();
                return 1;
            }
            _ => {}
        }
        self.remember(&[byte]);
        1
    }

    fn end_statement(&mut self) {
        self.depth = Depth::default();
        self.pending = Some(Pending::Statement);
        if let Some(is_on) = statement::standard_conforming_strings(&self.statement) {
            self.backslash_escapes = !is_on;
        }
        self.charset = Charset::parse(&self.statement).unwrap_or(self.charset);
        self.copy = Copy::parse(&self.statement, self.charset);
        if self.copy.is_some() {
            self.state = LexerState::CopyLine;
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        if std::mem::take(&mut self.is_over) {
            self.statement.clear();
        }
        let bytes = if self.statement.is_empty() { bytes.trim_ascii_start() } else { bytes };
        let room = REMEMBERED.saturating_sub(self.statement.len());
        self.statement.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Bytes of a word or a dollar quote's tag that are told apart.
const WORD: usize = 4096;

fn push(word: &mut Vec<u8>, byte: u8) {
    if word.len() < WORD {
        word.push(byte);
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests;
