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
    #[error("its archive breaks off after {0} bytes")]
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
        let magnitude = bytes[1..].iter().rev().fold(0_i64, |value, byte| (value << 8) | i64::from(*byte));
        Some(if bytes[0] == 0 { magnitude } else { magnitude.wrapping_neg() })
    }

    fn damaged(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Damaged(self.offset, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tiny archive of that version: one entry with two chunks of data, one of large objects, one without data.
    fn archive(minor: u8) -> Vec<u8> {
        fn int(value: i64, out: &mut Vec<u8>) {
            out.push(u8::from(value < 0));
            out.extend_from_slice(&u32::try_from(value.abs()).unwrap().to_le_bytes());
        }
        fn text(value: &str, out: &mut Vec<u8>) {
            int(value.len() as i64, out);
            out.extend_from_slice(value.as_bytes());
        }
        let mut out = b"PGDMP".to_vec();
        out.extend([1, minor, 0, 4, 8, 1]);
        if minor >= 15 {
            out.push(1);
        } else {
            int(6, &mut out);
        }
        (0..7).for_each(|value| int(value, &mut out));
        ["db", "18.6", "18.6"].iter().for_each(|value| text(value, &mut out));
        int(3, &mut out);
        for (entry, has_data) in [(7, 1), (8, 1), (9, 0)] {
            int(entry, &mut out);
            int(has_data, &mut out);
            ["1259", "16384", "t", "TABLE DATA"].iter().for_each(|value| text(value, &mut out));
            int(3, &mut out);
            ["", "", "COPY t FROM stdin;\n", "public", ""].iter().for_each(|value| text(value, &mut out));
            int(-1, &mut out);
            if minor >= 16 {
                int(114, &mut out);
            }
            ["owner", "false", "3", "4"].iter().for_each(|value| text(value, &mut out));
            int(-1, &mut out);
            out.extend([1; 9]);
        }
        out.push(1);
        int(7, &mut out);
        ["abc", "defg", ""].iter().for_each(|value| text(value, &mut out));
        out.push(3);
        int(8, &mut out);
        for object in [500, 501] {
            int(object, &mut out);
            ["large", ""].iter().for_each(|value| text(value, &mut out));
        }
        int(0, &mut out);
        out
    }

    /// The same without any data, as of a database without rows: the table of contents ends the archive.
    fn archive_without_data(minor: u8) -> Vec<u8> {
        let bytes = archive(minor);
        // the nine bytes of the last entry's offset, and the type of the first block
        let toc = bytes.windows(10).rposition(|window| window == [1; 10]).unwrap() + 9;
        let mut bytes = bytes[..toc].to_vec();
        for entry in [7_u8, 8] {
            // the entry's number, and whether it has data
            let at = bytes.windows(10).position(|window| window == [0, entry, 0, 0, 0, 0, 1, 0, 0, 0]).unwrap();
            bytes[at + 6] = 0;
        }
        bytes
    }

    #[test]
    fn an_archive_without_data_is_whole_when_its_table_of_contents_is() {
        for minor in 14..=16 {
            let bytes = archive_without_data(minor);
            for step in [1, 7, bytes.len()] {
                assert_eq!(read(&bytes, step), Ok(()), "version 1.{minor} in chunks of {step}");
            }
            assert!(read(&bytes[..bytes.len() - 1], 100).is_err());
        }
    }

    #[test]
    fn entries_and_their_data_come_out_as_they_went_in() {
        for minor in 14..=16 {
            let bytes = archive(minor);
            for step in [1, 5, bytes.len()] {
                let (mut archive, mut entries, mut data) = (CustomArchive::default(), Vec::new(), Vec::new());
                for mut input in bytes.chunks(step) {
                    while let Some(event) = archive.next(&mut input) {
                        match event {
                            Event::Entry(entry) => entries.push(entry),
                            Event::Begin(number) => data.push((number, Vec::new())),
                            Event::Data(bytes) => data.last_mut().unwrap().1.extend_from_slice(bytes),
                            Event::Object(_) | Event::ObjectEnd | Event::End => {}
                        }
                    }
                }
                assert_eq!(entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [7, 8, 9]);
                assert_eq!(entries[0].kind, b"TABLE DATA");
                assert_eq!(entries[0].copy, b"COPY t FROM stdin;\n");
                assert_eq!(data, [(7, b"abcdefg".to_vec()), (8, b"largelarge".to_vec())]);
                assert_eq!(archive.compression(), ArchiveCompression::Zlib);
                assert_eq!(archive.offset(), bytes.len() as u64);
            }
        }
    }

    fn read(bytes: &[u8], step: usize) -> Result<(), ArchiveError> {
        let mut end = CustomArchive::default();
        bytes.chunks(step).for_each(|chunk| end.feed(chunk));
        end.finish()
    }

    #[test]
    fn a_whole_archive_of_every_version_is_accepted_however_it_is_cut_into_chunks() {
        for minor in 14..=16 {
            let bytes = archive(minor);
            for step in [1, 2, 3, 7, 64, bytes.len()] {
                assert_eq!(read(&bytes, step), Ok(()), "version 1.{minor} in steps of {step}");
            }
        }
    }

    #[test]
    fn an_archive_that_breaks_off_anywhere_is_refused() {
        let bytes = archive(16);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], 16).is_err(), "accepted the first {length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        assert_eq!(read(b"--\n-- PostgreSQL database dump\n", 5), Err(ArchiveError::Magic));
        let mut unknown = archive(16);
        unknown[6] = 99;
        assert_eq!(read(&unknown, 64), Err(ArchiveError::Version("1.99".to_owned())));
        let mut trailing = archive(16);
        trailing.push(9);
        assert!(read(&trailing, 64).is_err());
    }
}
