//! Pure: rows in COPY's text format, cut into fields.

use crate::dump_format::custom_archive::integer;
use crate::dump_format::sql_lexer::Charset;
use std::io::{self, BufRead, Read};

/// Longest row that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// The next row's line, without its end; none where the rows end.
pub(super) fn next_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(LONGEST).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') if line == b"\\." => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() as u64 + 1 == LONGEST => {
            Err(io::Error::other(format!("a row has more than {} MiB; restore the table to see it", LONGEST >> 20)))
        }
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A value as PostgreSQL writes it; none is NULL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FieldText {
    pub(super) text: Option<String>,
    /// No byte of it was replaced by U+FFFD, because each is a letter of the encoding or a part of one.
    pub(super) is_exact: bool,
}

/// The values of a row; a table may have no column, and then has rows without a value.
pub(super) fn fields(line: &[u8], columns: usize, charset: Charset) -> Vec<FieldText> {
    let read = |field: &[u8]| {
        if field == b"\\N" {
            return FieldText { text: None, is_exact: true };
        }
        let bytes = unescaped(field);
        let exact = charset.exact(&bytes);
        let is_exact = exact.is_some();
        FieldText { text: Some(exact.unwrap_or_else(|| charset.text(&bytes))), is_exact }
    };
    if columns == 0 { Vec::new() } else { line.split(|byte| *byte == b'\t').map(read).collect() }
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let (mut value, mut bytes) = (Vec::with_capacity(field.len()), field.iter());
    while let Some(byte) = bytes.next() {
        value.push(match (byte, byte == &b'\\') {
            (_, true) => match bytes.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(other) => *other,
                None => b'\\',
            },
            (byte, false) => *byte,
        });
    }
    value
}

/// The data of one entry of a custom archive: chunks, each behind its length.
pub(super) struct Chunks<R> {
    inner: R,
    int_length: usize,
    left: u64,
    has_ended: bool,
}

impl<R: Read> Chunks<R> {
    /// `inner` stands before the length of a chunk; integers have `int_length` bytes.
    pub(super) fn new(inner: R, int_length: usize) -> Self {
        Self { inner, int_length, left: 0, has_ended: false }
    }
}

impl<R: Read> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.has_ended {
            let mut length = vec![0; self.int_length];
            match self.inner.read_exact(&mut length) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                read => read?,
            }
            self.left = u64::try_from(integer(&length)).map_err(|_| io::ErrorKind::InvalidData)?;
            self.has_ended = self.left == 0;
        }
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..wanted])?;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_cut_into_its_values() {
        let exact = |text: Option<&str>| FieldText { text: text.map(str::to_owned), is_exact: true };
        let values = fields(br"1	\N		a\tb\\N\n	\\N", 5, Charset::default());
        assert_eq!(values, [Some("1"), None, Some(""), Some("a\tb\\N\n"), Some("\\N")].map(exact));
        assert_eq!(fields(b"\xe4", 1, Charset::named("LATIN1")), [exact(Some("ä"))]);
        let replaced = FieldText { text: Some("a\u{fffd}".to_owned()), is_exact: false };
        assert_eq!(fields(b"a\xff", 1, Charset::named("SQL_ASCII")), [replaced]);
        assert_eq!(fields(b"", 0, Charset::default()), []);
    }

    #[test]
    fn rows_end_at_their_mark_and_a_cut_row_is_an_error() {
        let mut input: &[u8] = b"1\n\\.\n2\n";
        assert_eq!(next_line(&mut input).unwrap(), Some(b"1".to_vec()));
        assert_eq!(next_line(&mut input).unwrap(), None);
        assert!(next_line(&mut &b"12"[..]).is_err());
    }

    #[test]
    fn chunks_are_one_stream() {
        let stored = [&[0, 2, 0][..], b"ab", &[0, 1, 0], b"c", &[0, 0, 0], b"rest"].concat();
        let mut text = String::new();
        Chunks::new(&stored[..], 3).read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }
}
