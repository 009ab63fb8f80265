//! Statements of a dump that say something of its content.

use crate::hex;

/// The rows of one table: `COPY schema.table (columns) FROM stdin;`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The table, as [`qualified`] writes it.
    pub table: String,
    /// The columns in the order of the rows' fields; none where the statement names none.
    pub columns: Vec<String>,
}

/// The value of a sequence: `SELECT pg_catalog.setval('schema.sequence', value, is_called);`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet {
    /// The sequence, as [`qualified`] writes it.
    pub sequence: String,
    /// `last_value`
    pub value: i64,
    /// `is_called`
    pub is_called: bool,
}

/// A name of two parts for people: quoted where it is not made of small letters, digits and `_`, whatever the words
/// that a version of PostgreSQL keeps for itself.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

/// Schema and name of a name that [`qualified`] made.
pub fn parts(qualified: &str) -> Option<(String, String)> {
    let mut words = Words(qualified.as_bytes());
    let schema = words.name()?;
    words.symbol(b'.').then_some(())?;
    Some((schema, words.name()?))
}

/// A name of one part, in the same way.
pub fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.bytes().all(plain) && !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

impl Copy {
    /// None for any other statement.
    pub fn parse(statement: &[u8]) -> Option<Self> {
        let mut words = Words(statement);
        words.keyword("copy")?;
        let table = words.qualified_name()?;
        let mut columns = Vec::new();
        if words.symbol(b'(') {
            columns.push(words.name()?);
            while words.symbol(b',') {
                columns.push(words.name()?);
            }
            if !words.symbol(b')') {
                return None;
            }
        }
        words.keyword("from")?;
        words.keyword("stdin")?;
        Some(Self { table, columns })
    }
}

impl SequenceSet {
    /// None for any other statement.
    pub fn parse(statement: &[u8]) -> Option<Self> {
        let mut words = Words(statement);
        (words.call()? == "setval").then_some(())?;
        let name = words.string()?;
        words.symbol(b',').then_some(())?;
        let value = words.number()?;
        words.symbol(b',').then_some(())?;
        let is_called = match words.name()?.as_str() {
            "true" => true,
            "false" => false,
            _ => return None,
        };
        let sequence = Words(&name).qualified_name()?;
        Some(Self { sequence, value, is_called })
    }
}

/// Part of a large object: `lo_open`, `lowrite` and `lo_close` follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LargeObject {
    /// `SELECT pg_catalog.lo_open('number', …);`
    Open(i64),
    /// `SELECT pg_catalog.lowrite(0, '\\x…');`
    Write(Vec<u8>),
    /// `SELECT pg_catalog.lo_close(0);`
    Close,
}

impl LargeObject {
    /// None for any other statement.
    pub fn parse(statement: &[u8]) -> Option<Self> {
        let mut words = Words(statement);
        let function = words.call()?;
        match function.as_str() {
            "lo_open" => std::str::from_utf8(&words.string()?).ok()?.parse().ok().map(Self::Open),
            "lowrite" => {
                words.number()?;
                words.symbol(b',').then_some(())?;
                hex::decode(words.string()?.strip_prefix(b"\\x")?).map(Self::Write)
            }
            "lo_close" => Some(Self::Close),
            _ => None,
        }
    }
}

/// What `SET standard_conforming_strings` sets; none for any other statement.
pub(super) fn standard_conforming_strings(statement: &[u8]) -> Option<bool> {
    let mut words = Words(statement);
    words.keyword("set")?;
    words.keyword("standard_conforming_strings")?;
    if !words.symbol(b'=') {
        words.keyword("to")?;
    }
    let value = match words.name() {
        Some(value) => value.into_bytes(),
        None => words.string()?,
    };
    Some(value.eq_ignore_ascii_case(b"on") || value.eq_ignore_ascii_case(b"true"))
}

/// The words of one statement, as pg_dump writes them: without comments between.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Takes the word; none, and nothing taken, when another one stands there.
    fn keyword(&mut self, word: &str) -> Option<()> {
        self.skip_space();
        let (first, rest) = self.0.split_at_checked(word.len())?;
        let ends = rest.first().is_none_or(|byte| !super::is_word(*byte) && *byte != b'$');
        if !ends || !first.eq_ignore_ascii_case(word.as_bytes()) {
            return None;
        }
        self.0 = rest;
        Some(())
    }

    /// `SELECT pg_catalog.function(`
    fn call(&mut self) -> Option<String> {
        self.keyword("select")?;
        self.keyword("pg_catalog")?;
        self.symbol(b'.').then_some(())?;
        let function = self.name()?;
        self.symbol(b'(').then_some(function)
    }

    fn symbol(&mut self, symbol: u8) -> bool {
        self.skip_space();
        let found = self.0.first() == Some(&symbol);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn qualified_name(&mut self) -> Option<String> {
        let first = self.name()?;
        if !self.symbol(b'.') {
            return Some(quoted(&first));
        }
        Some(qualified(&first, &self.name()?))
    }

    /// An identifier; one without quotes in small letters, as the server reads it.
    fn name(&mut self) -> Option<String> {
        self.skip_space();
        if self.0.first() == Some(&b'"') {
            let name = self.enclosed(b'"')?;
            return Some(String::from_utf8_lossy(&name).into_owned());
        }
        let length = self.0.iter().take_while(|byte| super::is_word(**byte) || **byte == b'$').count();
        let (name, rest) = self.0.split_at(length);
        self.0 = rest;
        (length > 0).then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
    }

    /// A string; with an `E` before it a backslash stands for the byte behind it.
    fn string(&mut self) -> Option<Vec<u8>> {
        self.skip_space();
        let escapes = matches!(self.0, [b'E' | b'e', b'\'', ..]);
        if escapes {
            self.0 = &self.0[1..];
        }
        let text = self.enclosed(b'\'')?;
        if !escapes {
            return Some(text);
        }
        let mut bytes = text.into_iter();
        let mut plain = Vec::new();
        while let Some(byte) = bytes.next() {
            plain.push(if byte == b'\\' { bytes.next()? } else { byte });
        }
        Some(plain)
    }

    /// What stands between two of these quotes, where a doubled one is itself.
    fn enclosed(&mut self, quote: u8) -> Option<Vec<u8>> {
        let mut rest = self.0.strip_prefix(&[quote])?;
        let mut text = Vec::new();
        loop {
            let end = memchr::memchr(quote, rest)?;
            text.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if rest.first() != Some(&quote) {
                self.0 = rest;
                return Some(text);
            }
            text.push(quote);
            rest = &rest[1..];
        }
    }

    fn number(&mut self) -> Option<i64> {
        self.skip_space();
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}
