//! Statements of a dump that say something of its content.

use super::words::Words;
use crate::hex;
use encoding_rs::Encoding;

/// The name that `SET client_encoding = '…'` sets; none for any other statement.
pub fn client_encoding(statement: &[u8]) -> Option<String> {
    let mut words = Words::new(statement, Charset::default());
    words.keyword("set")?;
    words.keyword("client_encoding")?;
    words.symbol(b'=').then_some(())?;
    String::from_utf8(words.string()?).ok()
}

/// How the names in a dump are written: as the database they came from, which `SET client_encoding` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charset(Option<Decoder>);

/// How bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decoder {
    encoding: &'static Encoding,
    /// The bytes from 0x80 to 0x9f are control characters, as PostgreSQL has it; the web has other letters there.
    has_controls: bool,
}

impl Decoder {
    fn decode(self, bytes: &[u8]) -> (String, bool) {
        if !self.has_controls {
            let (text, is_broken) = self.encoding.decode_without_bom_handling(bytes);
            return (text.into_owned(), is_broken);
        }
        let (mut text, mut is_broken) = (String::new(), false);
        for part in bytes.chunk_by(|one, other| CONTROLS.contains(one) == CONTROLS.contains(other)) {
            if part.first().is_some_and(|byte| CONTROLS.contains(byte)) {
                text.extend(part.iter().map(|byte| char::from(*byte)));
            } else {
                let (letters, broken) = self.encoding.decode_without_bom_handling(part);
                text += &letters;
                is_broken |= broken;
            }
        }
        (text, is_broken)
    }
}

const CONTROLS: std::ops::RangeInclusive<u8> = 0x80..=0x9f;

impl Charset {
    /// What the statement sets; none for any other statement.
    pub fn parse(statement: &[u8]) -> Option<Self> {
        Some(Self::named(&client_encoding(statement)?))
    }

    /// The one that PostgreSQL calls so.
    pub fn named(name: &str) -> Self {
        // PostgreSQL's names, where those of the web are others
        let label = match name {
            "LATIN1" => "iso-8859-1".to_owned(),
            "LATIN7" => "iso-8859-13".to_owned(),
            "LATIN8" => "iso-8859-14".to_owned(),
            "LATIN9" => "iso-8859-15".to_owned(),
            "LATIN10" => "iso-8859-16".to_owned(),
            "EUC_CN" | "GBK" => "gbk".to_owned(),
            "KOI8R" => "koi8-r".to_owned(),
            "KOI8U" => "koi8-u".to_owned(),
            "WIN866" => "ibm866".to_owned(),
            "WIN874" => "windows-874".to_owned(),
            name => match (name.strip_prefix("LATIN"), name.strip_prefix("WIN")) {
                (Some(number), _) => format!("latin{number}"),
                (_, Some(page)) => format!("windows-{page}"),
                (None, None) => name.replace('_', "-"),
            },
        };
        // UTF8 and SQL_ASCII have none here
        let encoding = Encoding::for_label(label.as_bytes()).filter(|encoding| *encoding != encoding_rs::UTF_8);
        let has_controls = name.starts_with("LATIN");
        Self(encoding.map(|encoding| Decoder { encoding, has_controls }))
    }

    /// The text of these bytes; none where they are not in this encoding.
    pub fn exact(self, bytes: &[u8]) -> Option<String> {
        match self.0 {
            Some(decoder) => Some(decoder.decode(bytes)).filter(|(_, is_broken)| !is_broken).map(|(text, _)| text),
            None => String::from_utf8(bytes.to_vec()).ok(),
        }
    }

    /// The text of these bytes; what is not in this encoding stands there as something like it.
    pub fn text(self, bytes: &[u8]) -> String {
        match self.0 {
            Some(decoder) => decoder.decode(bytes).0,
            None => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// The rows of one table: `COPY schema.table (columns) FROM stdin;`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The table, as [`qualified`] writes it.
    pub table: String,
    /// The columns in the order of the rows' fields; none where the statement names none.
    pub columns: Vec<String>,
}

/// `ALTER TABLE ONLY schema.table ADD CONSTRAINT name FOREIGN KEY (columns) REFERENCES schema.other …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The table that refers, as [`qualified`] writes it.
    pub table: String,
    /// The table that is referred to.
    pub references: String,
}

/// The value of a sequence: `SELECT pg_catalog.setval('schema.sequence', value, is_called);`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet {
    /// The sequence, as [`qualified`] writes it.
    pub sequence: String,
    /// `last_value`
    pub value: i64,
    pub is_called: bool,
}

/// A name of two parts for people: quoted where it is not made of small letters, digits and `_`, whatever the words
/// that a version of PostgreSQL keeps for itself.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

/// Schema and name of a name that [`qualified`] made.
pub fn parts(qualified: &str) -> Option<(String, String)> {
    let mut words = Words::new(qualified.as_bytes(), Charset::default());
    let schema = words.name()?;
    words.symbol(b'.').then_some(())?;
    Some((schema, words.name()?))
}

/// The name behind these keywords, with which the statement begins; that of a role, for example.
pub fn name_after(statement: &[u8], keywords: &[&str]) -> Option<String> {
    let mut words = Words::new(statement, Charset::default());
    keywords.iter().try_for_each(|keyword| words.keyword(keyword))?;
    words.name()
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
    pub fn parse(statement: &[u8], charset: Charset) -> Option<Self> {
        Self::read(&mut Words::new(statement, charset))
    }

    fn read(words: &mut Words<'_>) -> Option<Self> {
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

/// True for `COPY … FROM stdin;` in the format of rows that are told apart by their lines, and nothing behind it.
pub fn is_row_copy(statement: &[u8]) -> bool {
    let mut words = Words::new(statement, Charset::default());
    Copy::read(&mut words).is_some() && words.ends()
}

/// True for `SELECT pg_catalog.set_config('search_path', …)`.
pub(super) fn is_search_path(statement: &[u8]) -> bool {
    let mut words = Words::new(statement, Charset::default());
    words.call().as_deref() == Some("set_config")
}

/// True for one call of a function of `pg_catalog` whose values are written out, and nothing behind it: no other function
/// is called for them.
pub fn is_call_of_literals(statement: &[u8]) -> bool {
    let mut words = Words::new(statement, Charset::default());
    let mut read = || {
        words.keyword("select")?;
        if words.symbol(b'*') {
            words.keyword("from")?;
        }
        words.keyword("pg_catalog")?;
        words.symbol(b'.').then_some(())?;
        words.name()?;
        words.symbol(b'(').then_some(())?;
        if words.symbol(b')') {
            return words.ends().then_some(());
        }
        loop {
            words.literal()?;
            if !words.symbol(b',') {
                break;
            }
        }
        words.symbol(b')').then_some(())?;
        words.ends().then_some(())
    };
    read().is_some()
}

impl ForeignKey {
    /// None for any other statement.
    pub fn parse(statement: &[u8], charset: Charset) -> Option<Self> {
        let mut words = Words::new(statement, charset);
        words.keyword("alter")?;
        words.keyword("table")?;
        let _ = words.keyword("only");
        let table = words.qualified_name()?;
        words.keyword("add")?;
        words.keyword("constraint")?;
        words.name()?;
        words.keyword("foreign")?;
        words.keyword("key")?;
        words.symbol(b'(').then_some(())?;
        words.name()?;
        while words.symbol(b',') {
            words.name()?;
        }
        words.symbol(b')').then_some(())?;
        words.keyword("references")?;
        Some(Self { table, references: words.qualified_name()? })
    }
}

impl SequenceSet {
    /// None for any other statement.
    pub fn parse(statement: &[u8], charset: Charset) -> Option<Self> {
        let mut words = Words::new(statement, charset);
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
        let sequence = Words::new(&name, charset).qualified_name()?;
        Some(Self { sequence, value, is_called })
    }
}

/// Part of a large object: `lo_open`, `lowrite` and `lo_close` follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LargeObject {
    /// `SELECT pg_catalog.lo_open('number', …);`
    Open(u32),
    /// `SELECT pg_catalog.lowrite(0, '\\x…');`
    Write(Vec<u8>),
    /// `SELECT pg_catalog.lo_close(0);`
    Close,
}

impl LargeObject {
    /// None for any other statement.
    pub fn parse(statement: &[u8]) -> Option<Self> {
        let mut words = Words::new(statement, Charset::default());
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
    let mut words = Words::new(statement, Charset::default());
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
