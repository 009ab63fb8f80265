//! Statements of a dump that say something of its content.

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
pub struct Charset(Option<&'static Encoding>);

impl Charset {
    /// What the statement sets; none for any other statement.
    pub fn parse(statement: &[u8]) -> Option<Self> {
        let name = client_encoding(statement)?;
        // PostgreSQL's names, where those of the web are others
        let label = match name.as_str() {
            "LATIN1" => "iso-8859-1".to_owned(),
            "LATIN9" => "iso-8859-15".to_owned(),
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
        Some(Self(Encoding::for_label(label.as_bytes()).filter(|encoding| *encoding != encoding_rs::UTF_8)))
    }

    /// The text of these bytes; none where they are not in this encoding.
    pub fn exact(self, bytes: &[u8]) -> Option<String> {
        match self.0 {
            Some(encoding) => Some(encoding.decode_without_bom_handling_and_without_replacement(bytes)?.into_owned()),
            None => String::from_utf8(bytes.to_vec()).ok(),
        }
    }

    /// The text of these bytes; what is not in this encoding stands there as something like it.
    pub fn text(self, bytes: &[u8]) -> String {
        match self.0 {
            Some(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
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

/// `GRANT role TO member … ;`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The role that is given.
    pub role: String,
    /// Who gets it.
    pub member: String,
}

impl Membership {
    /// None for any other statement, privileges among them.
    pub fn parse(statement: &[u8]) -> Option<Self> {
        let mut words = Words::new(statement, Charset::default());
        words.keyword("grant")?;
        let role = words.name()?;
        words.keyword("to")?;
        Some(Self { role, member: words.name()? })
    }
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

/// The words of one statement, as pg_dump writes them: without comments between.
pub(super) struct Words<'a> {
    text: &'a [u8],
    charset: Charset,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a [u8], charset: Charset) -> Self {
        Self { text, charset }
    }

    fn skip_space(&mut self) {
        self.text = self.text.trim_ascii_start();
    }

    /// Takes the word; none, and nothing taken, when another one stands there.
    pub(super) fn keyword(&mut self, word: &str) -> Option<()> {
        self.skip_space();
        let (first, rest) = self.text.split_at_checked(word.len())?;
        let ends = rest.first().is_none_or(|byte| !super::is_word(*byte) && *byte != b'$');
        if !ends || !first.eq_ignore_ascii_case(word.as_bytes()) {
            return None;
        }
        self.text = rest;
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

    pub(super) fn symbol(&mut self, symbol: u8) -> bool {
        self.skip_space();
        let found = self.text.first() == Some(&symbol);
        if found {
            self.text = &self.text[1..];
        }
        found
    }

    pub(super) fn qualified_name(&mut self) -> Option<String> {
        let first = self.name()?;
        if !self.symbol(b'.') {
            return Some(quoted(&first));
        }
        Some(qualified(&first, &self.name()?))
    }

    /// Both parts of a name.
    pub(super) fn two_names(&mut self) -> Option<(String, String)> {
        let schema = self.name()?;
        self.symbol(b'.').then_some(())?;
        Some((schema, self.name()?))
    }

    /// The schema of a name of two parts.
    pub(super) fn schema(&mut self) -> Option<String> {
        Some(self.two_names()?.0)
    }

    /// Goes on to behind the next such word that stands by itself.
    pub(super) fn skip_to(&mut self, word: &str) -> Option<()> {
        loop {
            if self.keyword(word).is_some() {
                return Some(());
            }
            match self.text.first()? {
                b'\'' => drop(self.enclosed(b'\'')?),
                _ if self.name().is_some() => {}
                _ => self.text = &self.text[1..],
            }
        }
    }

    /// An identifier; one without quotes in small letters, as the server reads it.
    pub(super) fn name(&mut self) -> Option<String> {
        self.skip_space();
        if self.text.first() == Some(&b'"') {
            let name = self.enclosed(b'"')?;
            return Some(self.charset.text(&name));
        }
        let length = self.text.iter().take_while(|byte| super::is_word(**byte) || **byte == b'$').count();
        let (name, rest) = self.text.split_at(length);
        self.text = rest;
        (length > 0).then(|| self.charset.text(name).to_ascii_lowercase())
    }

    /// A string; with an `E` before it a backslash stands for the byte behind it.
    fn string(&mut self) -> Option<Vec<u8>> {
        self.skip_space();
        let escapes = matches!(self.text, [b'E' | b'e', b'\'', ..]);
        if escapes {
            self.text = &self.text[1..];
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

    /// A value that is written out, be it cast to a type: a string, a number, `true`, `false` or `NULL`.
    fn literal(&mut self) -> Option<()> {
        self.skip_space();
        match self.text.first()? {
            b'\'' | b'E' | b'e' => drop(self.string()?),
            b'-' | b'0'..=b'9' => drop(self.number()?),
            _ => ["true", "false", "null"].iter().find_map(|word| self.keyword(word))?,
        }
        if self.symbol(b':') {
            self.symbol(b':').then_some(())?;
            // `double precision`, `integer[]`
            while self.name().is_some() {}
            while self.symbol(b'[') {
                self.symbol(b']').then_some(())?;
            }
        }
        Some(())
    }

    /// True when the statement ends here.
    fn ends(&mut self) -> bool {
        self.symbol(b';') && self.text.trim_ascii().is_empty()
    }

    /// What stands between two of these quotes, where a doubled one is itself.
    fn enclosed(&mut self, quote: u8) -> Option<Vec<u8>> {
        let mut rest = self.text.strip_prefix(&[quote])?;
        let mut text = Vec::new();
        loop {
            let end = memchr::memchr(quote, rest)?;
            text.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if rest.first() != Some(&quote) {
                self.text = rest;
                return Some(text);
            }
            text.push(quote);
            rest = &rest[1..];
        }
    }

    fn number(&mut self) -> Option<i64> {
        self.skip_space();
        let length = self.text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
        let (digits, rest) = self.text.split_at(length);
        self.text = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}
