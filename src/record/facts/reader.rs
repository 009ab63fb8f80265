//! Pure: a facts file, whose objects and rows are handed on one by one however many there are.
//!
//! What is held is the file as it is stored, and the heads in it. Whatever else is wanted of a database is read out of the
//! file again; reading begins at the last gzip member that starts before the database, which in files of [`super::writer`]
//! is its own.

use super::{Catalogue, Contents, DatabaseHead, FactsHead, Kind, LargeObjects, SequenceValue, TableRows};
use bytes::Bytes;
use flate2::bufread::GzDecoder;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Map, Value};
use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};

/// Bytes that are unpacked at once.
const CHUNK: usize = 64 << 10;

/// Something that a facts file says of a database beside its head.
pub enum Fact {
    /// An object with its properties.
    Object(Kind, String, Map<String, Value>),
    /// Rows of a table.
    Rows(String, TableRows),
    /// The value of a sequence.
    Sequence(String, SequenceValue),
    LargeObjects(LargeObjects),
    /// How the bytes of the rows are to be read.
    Encoding(Option<String>),
}

/// A facts file that is known to be whole.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What stands before the databases.
    pub head: FactsHead,
    file: Bytes,
    /// Each database, and where it begins in the unpacked document.
    databases: Vec<(DatabaseHead, u64)>,
    /// Where gzip members begin: in the unpacked document, and in the file.
    members: Vec<(u64, usize)>,
}

/// A database of a facts file.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseFacts<'f> {
    /// What is known beside its objects and rows.
    pub head: &'f DatabaseHead,
    facts: &'f Facts,
    begins: u64,
}

impl std::ops::Deref for DatabaseFacts<'_> {
    type Target = DatabaseHead;

    fn deref(&self) -> &DatabaseHead {
        self.head
    }
}

impl Facts {
    /// Reads the whole file, gzip of JSON, once; an error where something in it is not as it should be.
    pub fn parse(file: Bytes) -> Result<Self, Error> {
        let mut unpacked = Unpacked::new(&file, 0);
        let (at, mut members) = (Cell::new(0), vec![(0, 0)]);
        let source = Counted { unpacked: &mut unpacked, at: &at, members: Some(&mut members) };
        let mut json = serde_json::Deserializer::from_reader(source);
        let mut document = DocumentEntries { at: &at, head: Map::new(), databases: Vec::new() };
        Entries(&mut document).deserialize(&mut json)?;
        json.end()?;
        let DocumentEntries { head, databases, .. } = document;
        let head = serde_json::from_value(Value::Object(head))?;
        Ok(Self { head, file, databases, members })
    }

    /// The databases in the archive, in its order; none in one of globals.
    pub fn databases(&self) -> impl ExactSizeIterator<Item = DatabaseFacts<'_>> + DoubleEndedIterator {
        self.databases.iter().map(|(head, begins)| DatabaseFacts { head, facts: self, begins: *begins })
    }

    /// Each database with where its part of the dump ends; none for the last one.
    pub fn parts(&self) -> impl Iterator<Item = (DatabaseFacts<'_>, Option<u64>)> {
        let ends = self.databases.iter().skip(1).map(|(next, _)| Some(next.raw_offset)).chain([None]);
        self.databases().zip(ends)
    }
}

impl DatabaseFacts<'_> {
    /// Hands on every object.
    pub fn each_object(self, mut take: impl FnMut(Kind, String, Map<String, Value>)) -> Result<(), Error> {
        self.read(true, false, &mut |fact| {
            if let Fact::Object(kind, name, properties) = fact {
                take(kind, name, properties);
            }
        })
    }

    /// Hands on what the dump has of tables, sequences and large objects.
    pub fn each_content(self, mut take: impl FnMut(Fact)) -> Result<(), Error> {
        self.read(false, true, &mut take)
    }

    /// The objects of the kinds that `has` names, in memory at once.
    pub fn catalogue(self, has: impl Fn(Kind) -> bool) -> Result<Catalogue, Error> {
        let mut catalogue = Catalogue::default();
        self.each_object(|kind, name, properties| {
            if has(kind) {
                catalogue.of_mut(kind).insert(name, properties);
            }
        })?;
        Ok(catalogue)
    }

    /// What the dump has of the tables that `has` names, and of sequences and large objects.
    pub fn contents(self, has: impl Fn(&str) -> bool) -> Result<Contents, Error> {
        let mut contents = Contents::default();
        self.each_content(|fact| match fact {
            Fact::Rows(table, rows) if has(&table) => drop(contents.tables.insert(table, rows)),
            Fact::Sequence(name, value) => drop(contents.sequences.insert(name, value)),
            Fact::LargeObjects(all) => contents.large_objects = all,
            Fact::Encoding(encoding) => contents.encoding = encoding,
            Fact::Rows(..) | Fact::Object(..) => {}
        })?;
        Ok(contents)
    }

    fn read(self, objects: bool, contents: bool, take: &mut dyn FnMut(Fact)) -> Result<(), Error> {
        let members = &self.facts.members;
        let before = members.partition_point(|(raw, _)| *raw <= self.begins).saturating_sub(1);
        let (raw, stored) = members.get(before).copied().unwrap_or_default();
        let mut unpacked = Unpacked::new(&self.facts.file, stored);
        unpacked.skip(self.begins - raw).map_err(serde::de::Error::custom)?;
        let at = Cell::new(self.begins);
        let source = Counted { unpacked: &mut unpacked, at: &at, members: None };
        let mut json = serde_json::Deserializer::from_reader(source);
        Entries(&mut DatabaseEntries { objects, contents, head: Map::new(), take }).deserialize(&mut json)
    }
}

/// A file of gzip members, unpacked.
struct Unpacked<'f> {
    file: &'f [u8],
    decoder: Option<GzDecoder<&'f [u8]>>,
    /// Bytes of the file before the current member's end.
    chunk: Vec<u8>,
    read: usize,
}

impl<'f> Unpacked<'f> {
    /// From a member that begins there.
    fn new(file: &'f [u8], begins: usize) -> Self {
        let rest = file.get(begins..).unwrap_or_default();
        Self { file, decoder: Some(GzDecoder::new(rest)), chunk: Vec::new(), read: 0 }
    }

    /// Unpacks the next bytes; none at the end. The answer is where in the file a member begins, if one does with them.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        let mut begun = None;
        (self.chunk, self.read) = (std::mem::take(&mut self.chunk), 0);
        self.chunk.resize(CHUNK, 0);
        while let Some(decoder) = &mut self.decoder {
            let count = decoder.read(&mut self.chunk)?;
            if count > 0 {
                self.chunk.truncate(count);
                return Ok(begun);
            }
            let rest = self.decoder.take().map(GzDecoder::into_inner).unwrap_or_default();
            if !rest.is_empty() {
                begun = Some(self.file.len() - rest.len());
                self.decoder = Some(GzDecoder::new(rest));
            }
        }
        self.chunk.clear();
        Ok(begun)
    }

    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let left = self.chunk.len() - self.read;
            if left == 0 {
                self.fill()?;
                if self.chunk.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            let some = left.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.read += some;
            count -= some as u64;
        }
        Ok(())
    }
}

/// Hands out bytes, and knows how many they were.
struct Counted<'a, 'f> {
    unpacked: &'a mut Unpacked<'f>,
    at: &'a Cell<u64>,
    /// Where members begin is put here.
    members: Option<&'a mut Vec<(u64, usize)>>,
}

impl Read for Counted<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unpacked.read == self.unpacked.chunk.len() {
            let begun = self.unpacked.fill()?;
            if let (Some(members), Some(begun)) = (&mut self.members, begun) {
                members.push((self.at.get(), begun));
            }
        }
        let left = &self.unpacked.chunk[self.unpacked.read..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.unpacked.read += count;
        self.at.set(self.at.get() + count as u64);
        Ok(count)
    }
}

/// Takes the entries of a JSON object one by one.
trait TakeEntry<'de> {
    /// Takes the value of that key, whatever it is.
    fn take<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error>;
}

struct Entries<'t, T>(&'t mut T);

impl<'de, T: TakeEntry<'de>> DeserializeSeed<'de> for Entries<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: TakeEntry<'de>> Visitor<'de> for Entries<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.0.take(key, &mut map)?;
        }
        Ok(())
    }
}

/// The whole file.
struct DocumentEntries<'a> {
    at: &'a Cell<u64>,
    head: Map<String, Value>,
    databases: Vec<(DatabaseHead, u64)>,
}

impl<'de> TakeEntry<'de> for DocumentEntries<'_> {
    fn take<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        match key.as_str() {
            "databases" => map.next_value_seed(DatabaseList { at: self.at, all: &mut self.databases }),
            _ => map.next_value().map(|value| drop(self.head.insert(key, value))),
        }
    }
}

/// The list of databases.
struct DatabaseList<'a> {
    at: &'a Cell<u64>,
    all: &'a mut Vec<(DatabaseHead, u64)>,
}

impl<'de> DeserializeSeed<'de> for DatabaseList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for DatabaseList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of databases")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(placed) = list.next_element_seed(Placed(self.at))? {
            self.all.push(placed);
        }
        Ok(())
    }
}

/// One of them, read from its first byte to its last, and where it begins.
struct Placed<'a>(&'a Cell<u64>);

impl<'de> DeserializeSeed<'de> for Placed<'_> {
    type Value = (DatabaseHead, u64);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // its brace was looked at, and is the last byte that was read
        let begins = self.0.get().saturating_sub(1);
        let mut database = DatabaseEntries { objects: true, contents: true, head: Map::new(), take: &mut drop };
        Entries(&mut database).deserialize(deserializer)?;
        let head = serde_json::from_value(Value::Object(database.head)).map_err(serde::de::Error::custom)?;
        Ok((head, begins))
    }
}

/// A database whose objects and contents are handed on, or passed over.
struct DatabaseEntries<'t> {
    objects: bool,
    contents: bool,
    head: Map<String, Value>,
    take: &'t mut dyn FnMut(Fact),
}

impl<'de> TakeEntry<'de> for DatabaseEntries<'_> {
    fn take<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        match key.as_str() {
            "catalogue" if self.objects => map.next_value_seed(Entries(&mut CatalogueEntries(&mut *self.take))),
            "contents" if self.contents => map.next_value_seed(Entries(&mut ContentsEntries(&mut *self.take))),
            "catalogue" | "contents" => map.next_value::<IgnoredAny>().map(drop),
            _ => map.next_value().map(|value| drop(self.head.insert(key, value))),
        }
    }
}

struct CatalogueEntries<'t>(&'t mut dyn FnMut(Fact));

impl<'de> TakeEntry<'de> for CatalogueEntries<'_> {
    fn take<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        match Kind::ALL.into_iter().find(|kind| kind.key() == key) {
            Some(kind) => map.next_value_seed(Entries(&mut ObjectEntries(kind, &mut *self.0))),
            None => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

/// The objects of a kind.
struct ObjectEntries<'t>(Kind, &'t mut dyn FnMut(Fact));

impl<'de> TakeEntry<'de> for ObjectEntries<'_> {
    fn take<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        map.next_value().map(|properties| (self.1)(Fact::Object(self.0, key, properties)))
    }
}

struct ContentsEntries<'t>(&'t mut dyn FnMut(Fact));

impl<'de> TakeEntry<'de> for ContentsEntries<'_> {
    fn take<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        match key.as_str() {
            "tables" => map.next_value_seed(Entries(&mut NamedEntries { fact: Fact::Rows, take: &mut *self.0 })),
            "sequences" => map.next_value_seed(Entries(&mut NamedEntries { fact: Fact::Sequence, take: &mut *self.0 })),
            "large_objects" => map.next_value().map(|all| (self.0)(Fact::LargeObjects(all))),
            "encoding" => map.next_value().map(|encoding| (self.0)(Fact::Encoding(encoding))),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

/// Entries that are facts, each with its name.
struct NamedEntries<'t, V> {
    fact: fn(String, V) -> Fact,
    take: &'t mut dyn FnMut(Fact),
}

impl<'de, V: Deserialize<'de>> TakeEntry<'de> for NamedEntries<'_, V> {
    fn take<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        map.next_value().map(|value| (self.take)((self.fact)(key, value)))
    }
}
