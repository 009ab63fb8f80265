//! The facts of SQL as it streams by.

use super::gathered::{Current, GatheredFacts, Mark, compact};
use crate::dump_format::sql_lexer::{LargeObject, Lexer, SequenceSet, Token, client_encoding};
use crate::record::fingerprint::RowSum;

/// Reads SQL.
#[derive(Default)]
pub struct SqlFacts {
    offset: u64,
    lexer: Lexer,
    pub(super) current: Option<Current>,
    large_object: RowSum,
    had_command: bool,
    pub(super) found: GatheredFacts,
}

impl SqlFacts {
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Mark> {
        let mut marks = Vec::new();
        let mut input = bytes;
        while let Some(token) = self.lexer.next(&mut input) {
            let at = bytes.len() - input.len();
            match token {
                Token::Row { bytes, ends } => {
                    if let Some(current) = &mut self.current {
                        current.sum.take(bytes, ends);
                    }
                }
                Token::CopyBegin => {
                    let copy = self.lexer.copy().map(compact);
                    self.current = copy.map(|(table, columns)| Current::new(self.offset + at as u64, table, columns));
                    marks.push(Mark { at, begins: true });
                }
                Token::CopyEnd(_) => {
                    if let Some(mut current) = self.current.take() {
                        current.sum.forget_part();
                        self.found.add_rows(current.finish());
                    }
                    marks.push(Mark { at, begins: false });
                }
                Token::StatementEnd => {
                    let (statement, at) = (self.lexer.statement(), self.offset + at as u64);
                    self.found.add_sequence(at, SequenceSet::parse(statement, self.lexer.charset()));
                    match LargeObject::parse(statement) {
                        Some(LargeObject::Open(number)) => self.large_object = RowSum::of_large_object(number),
                        Some(LargeObject::Write(bytes)) => self.large_object.take(&bytes, false),
                        Some(LargeObject::Close) => {
                            let fingerprint = std::mem::take(&mut self.large_object).finish_large_object();
                            // another database of the server may have begun
                            self.found.add_large_object(at, std::mem::take(&mut self.had_command), fingerprint);
                        }
                        None => {}
                    }
                    self.found.encodings.extend(client_encoding(statement).map(|name| (at, name)));
                }
                Token::CommandEnd => self.had_command = true,
                Token::Sql(_) | Token::Command(_) => {}
            }
        }
        self.offset += bytes.len() as u64;
        marks
    }
}
