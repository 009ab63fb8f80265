//! The facts of a custom archive as it streams by.

use super::gathered::{Current, GatheredFacts, Mark, compact};
use crate::dump_format::custom_archive::{ArchiveCompression, CustomArchive, Event};
use crate::dump_format::sql_lexer::{Charset, Copy, Lexer, SequenceSet, Token, client_encoding};
use crate::record::facts::Columns;
use crate::record::fingerprint::RowSum;
use flate2::{Decompress, FlushDecompress};
use std::collections::HashMap;

/// Reads a custom archive: its table of contents says which rows a block of data holds, and the blocks are inflated as
/// they pass, so that no table is read twice.
#[derive(Default)]
pub struct CustomFacts {
    archive: CustomArchive,
    offset: u64,
    charset: Charset,
    copies: HashMap<i64, (Box<str>, Columns)>,
    current: Option<Block>,
    pub(super) found: GatheredFacts,
    pub(super) error: Option<&'static str>,
}

/// Data that pass: the rows of a table, or a large object.
struct Block {
    content: TableContent,
    inflate: Option<Inflate>,
}

enum TableContent {
    Rows { current: Current, lexer: Box<Lexer>, is_over: bool },
    LargeObject(RowSum),
}

impl Block {
    fn rows(&self) -> Option<&Current> {
        match &self.content {
            TableContent::Rows { current, .. } => Some(current),
            TableContent::LargeObject(_) => None,
        }
    }
}

/// A zlib stream, and room for what comes out of it.
struct Inflate {
    stream: Decompress,
    output: Vec<u8>,
}

/// Bytes that are inflated at once.
const INFLATED: usize = 64 << 10;

impl Inflate {
    fn new() -> Self {
        Self { stream: Decompress::new(true), output: vec![0; INFLATED] }
    }

    /// Inflates the next of `input`, which is shortened by it; nothing when there is no more for now.
    fn next(&mut self, input: &mut &[u8]) -> Result<&[u8], &'static str> {
        let (read, written) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, &mut self.output, FlushDecompress::None);
        status.map_err(|_| "the compressed rows of a table are damaged")?;
        let taken = usize::try_from(self.stream.total_in() - read).unwrap_or(usize::MAX);
        let made = usize::try_from(self.stream.total_out() - written).unwrap_or(usize::MAX);
        *input = input.get(taken..).unwrap_or_default();
        Ok(self.output.get(..made).unwrap_or_default())
    }
}

impl CustomFacts {
    /// The table whose rows pass now.
    pub(super) fn rows(&self) -> Option<&Current> {
        self.current.as_ref().and_then(Block::rows)
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Mark> {
        let (mut marks, mut input) = (Vec::new(), bytes);
        while self.error.is_none() {
            let Some(event) = self.archive.next(&mut input) else { break };
            let at = bytes.len() - input.len();
            match event {
                Event::Entry(entry) => match entry.kind.as_slice() {
                    b"ENCODING" => {
                        self.charset = Charset::parse(&entry.definition).unwrap_or_default();
                        let name = client_encoding(&entry.definition);
                        self.found.encodings.extend(name.map(|name| (self.archive.offset(), name)));
                    }
                    b"TABLE DATA" => {
                        let copy = Copy::parse(&entry.copy, self.charset);
                        self.copies.extend(copy.map(|copy| (entry.number, compact(&copy))));
                    }
                    b"SEQUENCE SET" => {
                        let set = SequenceSet::parse(&entry.definition, self.charset);
                        self.found.add_sequence(self.archive.offset(), set);
                    }
                    _ => {}
                },
                Event::Begin(number) => {
                    let Some((table, columns)) = self.copies.remove(&number) else { continue };
                    let current = Current::new(self.offset + at as u64, table, columns);
                    self.begin(TableContent::Rows { current, lexer: Box::new(Lexer::in_rows()), is_over: false });
                    marks.push(Mark { at, begins: true });
                }
                Event::Object(number) => {
                    // the archive writes numbers of objects as if they had a sign
                    let number = (number & 0xffff_ffff) as u32;
                    self.begin(TableContent::LargeObject(RowSum::of_large_object(number)));
                }
                Event::Data(data) => {
                    if let Some(block) = &mut self.current {
                        self.error = self.error.or(block.take(data).err());
                    }
                }
                Event::ObjectEnd | Event::End => match self.current.take().map(|block| block.content) {
                    Some(TableContent::Rows { current, is_over, .. }) => {
                        if !is_over {
                            self.error = Some("the rows of a table end early");
                        }
                        self.found.add_rows(current.finish());
                        marks.push(Mark { at, begins: false });
                    }
                    Some(TableContent::LargeObject(large_object)) => {
                        let fingerprint = large_object.finish_large_object();
                        self.found.add_large_object(self.offset + at as u64, false, fingerprint);
                    }
                    None => {}
                },
            }
        }
        self.offset += bytes.len() as u64;
        marks
    }

    fn begin(&mut self, content: TableContent) {
        let inflate = match self.archive.compression() {
            ArchiveCompression::None => None,
            ArchiveCompression::Zlib => Some(Inflate::new()),
            ArchiveCompression::Other => {
                self.error = Some("its data are compressed by a method that this program cannot read");
                None
            }
        };
        self.current = Some(Block { content, inflate });
    }
}

impl Block {
    fn take(&mut self, mut data: &[u8]) -> Result<(), &'static str> {
        let Some(mut inflate) = self.inflate.take() else {
            self.content.take(data);
            return Ok(());
        };
        loop {
            let bytes = inflate.next(&mut data)?;
            self.content.take(bytes);
            if bytes.is_empty() {
                break;
            }
        }
        self.inflate = Some(inflate);
        Ok(())
    }
}

impl TableContent {
    fn take(&mut self, mut input: &[u8]) {
        match self {
            Self::LargeObject(_) if input.is_empty() => {}
            Self::LargeObject(sum) => sum.take(input, false),
            Self::Rows { current, lexer, is_over } => {
                while !*is_over && let Some(token) = lexer.next(&mut input) {
                    match token {
                        Token::Row { bytes, ends } => current.sum.take(bytes, ends),
                        _ => {
                            current.sum.forget_part();
                            *is_over = true;
                        }
                    }
                }
            }
        }
    }
}
