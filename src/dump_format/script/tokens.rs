//! Pure: what a statement is, by its tokens as the server reads them: comments are none, strings and quoted names are one
//! each, and a string that goes on behind a line break is one still.

use crate::dump_format::sql_lexer::without_comments;

/// The tokens of a statement, each as it is written.
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn of(statement: &'a [u8]) -> Self {
        Self { rest: statement }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.rest = without_comments(self.rest);
        let length = match self.rest.first()? {
            b'\'' => string_length(self.rest, false),
            b'E' | b'e' if self.rest.get(1) == Some(&b'\'') => 1 + string_length(&self.rest[1..], true),
            b'"' => quoted_length(self.rest, b'"', false),
            b'$' => dollar_length(self.rest).unwrap_or(1),
            _ => self.rest.iter().take_while(|byte| is_word(**byte)).count().max(1),
        };
        let (token, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        Some(token)
    }
}

/// Words in capital letters, everything else as it is written.
pub(super) fn capital(token: &[u8]) -> String {
    let text = String::from_utf8_lossy(token);
    if token.first() == Some(&b'"') { text.into_owned() } else { text.to_ascii_uppercase() }
}

/// Enough of a statement to know what it is, however long it is.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) first: Vec<String>,
    /// The last ones, in their order.
    pub(super) last: Vec<String>,
    /// What stands behind the first `ON`.
    pub(super) on: Option<String>,
    /// `AS` stands outside of parentheses.
    pub(super) has_as: bool,
}

/// Tokens at the beginning that are kept.
const FIRST: usize = 24;
/// And at the end.
const LAST: usize = 4;
/// Bytes of a token that are kept: no name and no keyword is longer.
const LONGEST: usize = 400;

impl Shape {
    pub(super) fn of(statement: &[u8]) -> Self {
        let (mut shape, mut depth, mut behind_on) = (Self::default(), 0_usize, false);
        for token in Tokens::of(statement) {
            match token {
                b"(" => depth += 1,
                b")" => depth = depth.saturating_sub(1),
                _ => {}
            }
            let token = capital(&token[..token.len().min(LONGEST)]);
            if std::mem::take(&mut behind_on) && shape.on.is_none() {
                shape.on = Some(token.clone());
            }
            behind_on = token == "ON";
            shape.has_as |= depth == 0 && token == "AS";
            if shape.last.len() == LAST {
                shape.last.remove(0);
            }
            shape.last.push(token.clone());
            if shape.first.len() < FIRST {
                shape.first.push(token);
            }
        }
        shape
    }

    pub(super) fn first(&self) -> Vec<&str> {
        self.first.iter().map(String::as_str).collect()
    }

    pub(super) fn last(&self) -> Vec<&str> {
        self.last.iter().map(String::as_str).collect()
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// Bytes to behind the last quote of a string, which goes on where only space with a line break, and comments to the end of
/// their lines, part it from another quote.
fn string_length(text: &[u8], escapes: bool) -> usize {
    let mut length = quoted_length(text, b'\'', escapes);
    while let Some(gap) = gap(&text[length..]) {
        let begin = length + gap;
        length = begin + quoted_length(&text[begin..], b'\'', escapes);
    }
    length
}

/// Bytes to the quote at which a string goes on.
fn gap(text: &[u8]) -> Option<usize> {
    let (mut at, mut has_line_break) = (0, false);
    loop {
        match text.get(at..)? {
            [b'\'', ..] if has_line_break => return Some(at),
            [b'\n' | b'\r', ..] => has_line_break = true,
            [b' ' | b'\t' | 0x0b | 0x0c, ..] => {}
            [b'-', b'-', ..] => {
                at += memchr::memchr2(b'\n', b'\r', &text[at..])?;
                continue;
            }
            _ => return None,
        }
        at += 1;
    }
}

/// Bytes to behind the closing quote, where a doubled one is itself, and a backslash may stand before one.
fn quoted_length(text: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match *byte {
            b'\\' if escapes => at += 2,
            byte if byte == quote && text.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Bytes to behind the closing `$tag$`.
fn dollar_length(text: &[u8]) -> Option<usize> {
    let tag = text[1..].iter().position(|byte| !is_word(*byte) || *byte == b'$').filter(|at| text[1 + at] == b'$')?;
    let tag = &text[..tag + 2];
    Some(memchr::memmem::find(&text[tag.len()..], tag).map_or(text.len(), |at| at + 2 * tag.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        Tokens::of(text.as_bytes()).map(|token| String::from_utf8_lossy(token).into_owned()).collect()
    }

    #[test]
    fn strings_go_on_behind_line_breaks_as_the_server_reads_them() {
        for (text, expected) in [
            ("a 'b''c' d", &["a", "'b''c'", "d"][..]),
            ("E'a\\'b' c", &["E'a\\'b'", "c"]),
            ("E'a'\n  '\\'' c", &["E'a'\n  '\\''", "c"]),
            ("'a' -- it's\n 'b' c", &["'a' -- it's\n 'b'", "c"]),
            ("'a' 'b'", &["'a'", "'b'"]),
            ("'a' /* x\n */ 'b'", &["'a'", "'b'"]),
            ("$t$ '$ $t$ b", &["$t$ '$ $t$", "b"]),
            ("\"a\"\"b\".c(1)", &["\"a\"\"b\"", ".", "c", "(", "1", ")"]),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }
}
