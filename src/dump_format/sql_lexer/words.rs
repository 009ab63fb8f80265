//! Pure: the words of a statement, one after the other.

use super::statement::Charset;
use super::{is_word, qualified, quoted};

/// The words of one statement, as pg_dump writes them: without comments between.
pub(super) struct Words<'a> {
    text: &'a [u8],
    charset: Charset,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a [u8], charset: Charset) -> Self {
        Self { text, charset }
    }

    pub(super) fn skip_space(&mut self) {
        self.text = self.text.trim_ascii_start();
    }

    /// Takes the word; none, and nothing taken, when another one stands there.
    pub(super) fn keyword(&mut self, word: &str) -> Option<()> {
        self.skip_space();
        let (first, rest) = self.text.split_at_checked(word.len())?;
        let ends = rest.first().is_none_or(|byte| !is_word(*byte) && *byte != b'$');
        if !ends || !first.eq_ignore_ascii_case(word.as_bytes()) {
            return None;
        }
        self.text = rest;
        Some(())
    }

    /// `SELECT pg_catalog.function(`
    pub(super) fn call(&mut self) -> Option<String> {
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
        let length = self.text.iter().take_while(|byte| is_word(**byte) || **byte == b'$').count();
        let (name, rest) = self.text.split_at(length);
        self.text = rest;
        (length > 0).then(|| self.charset.text(name).to_ascii_lowercase())
    }

    /// A string; with an `E` before it a backslash stands for the byte behind it.
    pub(super) fn string(&mut self) -> Option<Vec<u8>> {
        self.skip_space();
        let escapes = matches!(self.text, [b'E' | b'e', b'\'', ..]);
        if escapes {
            self.text = &self.text[1..];
        }
        if !escapes {
            return self.enclosed(b'\'');
        }
        let (mut bytes, mut plain) = (self.text.strip_prefix(b"'")?.iter(), Vec::new());
        loop {
            match bytes.next()? {
                b'\\' => plain.push(*bytes.next()?),
                b'\'' if bytes.as_slice().first() == Some(&b'\'') => plain.extend(bytes.next()),
                b'\'' => {
                    self.text = bytes.as_slice();
                    return Some(plain);
                }
                other => plain.push(*other),
            }
        }
    }

    /// A value that is written out, be it cast to a type: a string, a number, `true`, `false` or `NULL`.
    pub(super) fn literal(&mut self) -> Option<()> {
        self.skip_space();
        match self.text.first()? {
            b'\'' | b'E' | b'e' => drop(self.string()?),
            b'-' | b'0'..=b'9' => drop(self.number()?),
            _ => ["true", "false", "null"].iter().find_map(|word| self.keyword(word))?,
        }
        if self.symbol(b':') {
            self.symbol(b':').then_some(())?;
            // `double precision`, `integer[]`; a name in quotes might be anything
            self.skip_space();
            while self.text.first() != Some(&b'"') && self.name().is_some() {
                self.skip_space();
            }
            while self.symbol(b'[') {
                self.symbol(b']').then_some(())?;
            }
        }
        Some(())
    }

    /// True when the statement ends here.
    pub(super) fn ends(&mut self) -> bool {
        self.symbol(b';') && self.text.trim_ascii().is_empty()
    }

    /// What stands between two of these quotes, where a doubled one is itself.
    pub(super) fn enclosed(&mut self, quote: u8) -> Option<Vec<u8>> {
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

    pub(super) fn number(&mut self) -> Option<i64> {
        self.skip_space();
        let length = self.text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
        let (digits, rest) = self.text.split_at(length);
        self.text = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}
