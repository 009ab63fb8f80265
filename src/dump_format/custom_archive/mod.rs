//! Pure: pg_dump's custom archive, read as it streams by.
//!
//! The layout is that of `pg_backup_archiver.c` and `pg_backup_custom.c`, archive versions 1.14 (PostgreSQL 12) to
//! 1.16 (PostgreSQL 17 and 18): a header, the table of contents, then one block for each entry that has data. Integers
//! are a sign byte and `int_size` bytes, least significant first; strings are an integer length (-1 for none) and the
//! bytes. A block is a type byte, the entry's number, and chunks of an integer length and bytes, ended by length 0; a
//! block of large objects has such chunks for each object, ended by object 0.

use std::collections::{BTreeSet, VecDeque};

/// Why an archive is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The first bytes are not those of a custom archive.
    #[error("its output is not a custom archive")]
    Magic,
    /// A layout that this parser does not know.
    #[error("its archive has version {0}, which this program cannot read")]
    Version(String),
    /// Something impossible stands there.
    #[error("its archive is damaged at byte {0}: {1}")]
    Damaged(u64, &'static str),
    /// The bytes ended too early.
    #[error("its archive ends early, after {0} bytes")]
    Truncated(u64),
    /// An entry of the table of contents has no block.
    #[error("its archive lacks the data of {0} entries of its table of contents")]
    Missing(usize),
}

/// Longest string of the table of contents that is believed.
const LONGEST_STRING: i64 = 1 << 30;

/// What stands next in an archive.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The next entry of the table of contents.
    Entry(TocEntry),
    /// The data of that entry begin.
    Begin(i64),
    /// Among those data, those of a large object of that number begin.
    Object(i64),
    /// Bytes of those data, as they are compressed.
    Data(&'a [u8]),
    /// The data of a large object have ended.
    ObjectEnd,
    /// The data of the entry have ended.
    End,
}

/// An entry of the table of contents.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TocEntry {
    /// Its number, by which its data are found.
    pub number: i64,
    /// What it is, such as `TABLE DATA`.
    pub kind: Vec<u8>,
    /// The SQL that makes it.
    pub definition: Vec<u8>,
    /// The COPY statement that its rows belong to.
    pub copy: Vec<u8>,
}

/// How the data are compressed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveCompression {
    /// Not at all.
    #[default]
    None,
    /// One zlib stream for each entry.
    Zlib,
    /// LZ4 or Zstandard, which we never ask for.
    Other,
}

/// Follows an archive to its end. Feed it every byte, then ask [`CustomArchive::finish`].
#[derive(Debug, Default)]
pub struct CustomArchive {
    offset: u64,
    partial: Vec<u8>,
    version: (u8, u8),
    int_size: usize,
    offset_size: usize,
    state: ArchiveState,
    fields: VecDeque<Field>,
    values: Vec<i64>,
    texts: Vec<Vec<u8>>,
    compression: ArchiveCompression,
    entries_left: i64,
    expected: BTreeSet<i64>,
    error: Option<ArchiveError>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ArchiveState {
    #[default]
    Magic,
    Header,
    Entry,
    BlockType,
    BlockEntry(BlockKind),
    ObjectId,
    ChunkLength(BlockKind),
    Chunk(u64, BlockKind),
}

/// What one step came to.
enum Step<'a> {
    Event(Event<'a>),
    On,
    /// More bytes are needed.
    Wants,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Data,
    Objects,
}

/// What comes next in the header or an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Byte,
    Int,
    Text,
    TextBody(usize),
    Texts,
    Offset,
}

impl CustomArchive {
    /// Takes the next bytes. Errors are kept for [`CustomArchive::finish`].
    pub fn feed(&mut self, mut input: &[u8]) {
        while self.next(&mut input).is_some() {}
    }

    /// What stands next in `input`, which is shortened by it; none at its end and after an error.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        // the last field of the table of contents may be the last byte, and is settled without another one
        while self.error.is_none() {
            match self.step(input) {
                Ok(Step::Event(event)) => return Some(event),
                Ok(Step::On) => {}
                Ok(Step::Wants) => return None,
                Err(error) => self.error = Some(error),
            }
        }
        None
    }

    /// How the data are compressed; known once the first entry was read.
    pub fn compression(&self) -> ArchiveCompression {
        self.compression
    }

    /// Bytes of an integer, its sign included; known once the first bytes were read.
    pub fn int_length(&self) -> usize {
        self.int_size + 1
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The archive is whole: table of contents read, every block ended, no block missing.
    pub fn finish(&self) -> Result<(), ArchiveError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None if self.state != ArchiveState::BlockType || !self.partial.is_empty() => {
                Err(ArchiveError::Truncated(self.offset))
            }
            None if !self.expected.is_empty() => Err(ArchiveError::Missing(self.expected.len())),
            None => Ok(()),
        }
    }

    fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>, ArchiveError> {
        match self.state {
            ArchiveState::Magic => {
                let Some(head) = self.take(input, 11) else { return Ok(Step::Wants) };
                self.read_magic(&head)?;
            }
            ArchiveState::Header | ArchiveState::Entry => {
                let Some(field) = self.fields.pop_front() else {
                    return Ok(self.end_of_fields()?.map_or(Step::On, |entry| Step::Event(Event::Entry(entry))));
                };
                return Ok(if self.read_field(field, input)? { Step::On } else { Step::Wants });
            }
            ArchiveState::BlockType => {
                let Some(byte) = self.take(input, 1) else { return Ok(Step::Wants) };
                self.state = match byte[0] {
                    1 => ArchiveState::BlockEntry(BlockKind::Data),
                    3 => ArchiveState::BlockEntry(BlockKind::Objects),
                    _ => return Err(self.damaged("unknown type of block")),
                };
            }
            ArchiveState::BlockEntry(kind) => {
                let Some(entry) = self.int(input) else { return Ok(Step::Wants) };
                if !self.expected.remove(&entry) {
                    return Err(self.damaged("a block that the table of contents does not name"));
                }
                self.state = match kind {
                    BlockKind::Data => ArchiveState::ChunkLength(kind),
                    BlockKind::Objects => ArchiveState::ObjectId,
                };
                return Ok(Step::Event(Event::Begin(entry)));
            }
            ArchiveState::ObjectId => {
                let Some(object) = self.int(input) else { return Ok(Step::Wants) };
                self.state =
                    if object == 0 { ArchiveState::BlockType } else { ArchiveState::ChunkLength(BlockKind::Objects) };
                return Ok(Step::Event(if object == 0 { Event::End } else { Event::Object(object) }));
            }
            ArchiveState::ChunkLength(kind) => {
                let Some(length) = self.int(input) else { return Ok(Step::Wants) };
                self.state = match (u64::try_from(length), kind) {
                    (Err(_), _) => return Err(self.damaged("a chunk of negative length")),
                    (Ok(0), BlockKind::Data) => ArchiveState::BlockType,
                    (Ok(0), BlockKind::Objects) => ArchiveState::ObjectId,
                    (Ok(length), _) => ArchiveState::Chunk(length, kind),
                };
                match self.state {
                    ArchiveState::BlockType => return Ok(Step::Event(Event::End)),
                    ArchiveState::ObjectId => return Ok(Step::Event(Event::ObjectEnd)),
                    _ => {}
                }
            }
            ArchiveState::Chunk(..) if input.is_empty() => return Ok(Step::Wants),
            ArchiveState::Chunk(left, kind) => {
                let here = left.min(input.len() as u64);
                let (data, rest) = input.split_at(usize::try_from(here).unwrap_or(input.len()));
                *input = rest;
                self.offset += here;
                self.state =
                    if here == left { ArchiveState::ChunkLength(kind) } else { ArchiveState::Chunk(left - here, kind) };
                return Ok(Step::Event(Event::Data(data)));
            }
        }
        Ok(Step::On)
    }

    fn read_magic(&mut self, head: &[u8]) -> Result<(), ArchiveError> {
        if !head.starts_with(b"PGDMP") {
            return Err(ArchiveError::Magic);
        }
        self.version = (head[5], head[6]);
        if head[5] != 1 || !(14..=16).contains(&head[6]) {
            return Err(ArchiveError::Version(format!("{}.{}", head[5], head[6])));
        }
        (self.int_size, self.offset_size) = (usize::from(head[8]), usize::from(head[9]));
        if !(1..=8).contains(&self.int_size) || !(1..=8).contains(&self.offset_size) || head[10] != 1 {
            return Err(self.damaged("header"));
        }
        let compression = if self.version.1 >= 15 { Field::Byte } else { Field::Int };
        self.fields.push_back(compression);
        self.fields.extend([Field::Int; 7]); // creation time
        self.fields.extend([Field::Text; 3]); // database, versions of server and pg_dump
        self.fields.push_back(Field::Int); // entries
        self.state = ArchiveState::Header;
        Ok(())
    }

    /// Settles the header or an entry, which is the answer.
    fn end_of_fields(&mut self) -> Result<Option<TocEntry>, ArchiveError> {
        let mut read = None;
        if self.state == ArchiveState::Header {
            self.entries_left = self.values.last().copied().unwrap_or_default();
            if self.entries_left < 0 {
                return Err(self.damaged("number of entries"));
            }
            // a level before 1.15, and the number of a method since
            self.compression = match self.values.first() {
                Some(0) => ArchiveCompression::None,
                Some(1) => ArchiveCompression::Zlib,
                _ if self.version.1 < 15 => ArchiveCompression::Zlib,
                _ => ArchiveCompression::Other,
            };
        } else {
            // the first two integers of an entry: its number, and whether it has data
            if let [entry, has_data, ..] = self.values[..]
                && has_data != 0
            {
                self.expected.insert(entry);
            }
            self.entries_left -= 1;
            let mut text = |index: usize| self.texts.get_mut(index).map(std::mem::take).unwrap_or_default();
            let number = self.values.first().copied().unwrap_or_default();
            read = Some(TocEntry { number, kind: text(3), definition: text(4), copy: text(6) });
        }
        self.values.clear();
        self.texts.clear();
        if self.entries_left == 0 {
            self.state = ArchiveState::BlockType;
            return Ok(read);
        }
        self.state = ArchiveState::Entry;
        self.fields.extend([Field::Int, Field::Int]);
        self.fields.extend([Field::Text; 4]); // table oid, oid, tag, kind
        self.fields.push_back(Field::Int); // section
        self.fields.extend([Field::Text; 6]); // definition, drop, copy, schema, tablespace, access method
        if self.version.1 >= 16 {
            self.fields.push_back(Field::Int); // kind of relation
        }
        self.fields.extend([Field::Text; 2]); // owner, with oids
        self.fields.extend([Field::Texts, Field::Offset]);
        Ok(read)
    }

    fn read_field(&mut self, field: Field, input: &mut &[u8]) -> Result<bool, ArchiveError> {
        let done = match field {
            Field::Byte => self.take(input, 1).map(|byte| self.values.push(byte[0].into())),
            Field::Int => self.int(input).map(|value| self.values.push(value)),
            Field::TextBody(length) => self.take(input, length).map(|text| {
                if let Some(last) = self.texts.last_mut() {
                    *last = text;
                }
            }),
            Field::Offset => self.take(input, self.offset_size + 1).map(|_| ()),
            Field::Text | Field::Texts => match self.int(input) {
                Some(length) if length > LONGEST_STRING => return Err(self.damaged("a string that is too long")),
                Some(length) => {
                    if field == Field::Texts && length >= 0 {
                        self.fields.push_front(Field::Texts);
                    }
                    self.texts.push(Vec::new());
                    if let Ok(length @ 1..) = usize::try_from(length) {
                        self.fields.push_front(Field::TextBody(length));
                    }
                    Some(())
                }
                None => None,
            },
        };
        if done.is_none() {
            self.fields.push_front(field);
        }
        Ok(done.is_some())
    }

    /// The next `count` bytes, or none after keeping what there is.
    fn take(&mut self, input: &mut &[u8], count: usize) -> Option<Vec<u8>> {
        let missing = count - self.partial.len();
        let (here, rest) = input.split_at(missing.min(input.len()));
        *input = rest;
        self.offset += here.len() as u64;
        self.partial.extend_from_slice(here);
        (self.partial.len() == count).then(|| std::mem::take(&mut self.partial))
    }

    fn int(&mut self, input: &mut &[u8]) -> Option<i64> {
        let bytes = self.take(input, self.int_size + 1)?;
        Some(integer(&bytes))
    }

    fn damaged(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Damaged(self.offset, what)
    }
}

/// An integer of the archive: its sign, and its bytes from the least significant one.
pub fn integer(bytes: &[u8]) -> i64 {
    let (sign, digits) = bytes.split_first().unwrap_or((&0, &[]));
    let magnitude = digits.iter().rev().fold(0_i64, |value, byte| (value << 8) | i64::from(*byte));
    if *sign == 0 { magnitude } else { magnitude.wrapping_neg() }
}

#[cfg(test)]
mod tests;
