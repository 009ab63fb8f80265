//! Pure: a facts file, compressed as its content comes, so that what is in memory at one time does not grow with the
//! catalogue.
//!
//! The file is one JSON document in several gzip members. What comes first and what comes last in it is known at different
//! times: each part is compressed by itself, and the parts are joined in the end. A database begins in a member of its own.

use super::{Columns, DatabaseHead, FactsHead, Kind, LargeObjects, Member, SequenceValue, TableRows};
use crate::record::fingerprint::Fingerprint;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Write;

/// Entries of one JSON object, compressed.
struct Section {
    encoder: GzEncoder<Vec<u8>>,
    count: u64,
}

impl Section {
    fn new() -> Self {
        Self { encoder: GzEncoder::new(Vec::new(), Compression::default()), count: 0 }
    }

    fn add(&mut self, name: &str, value: &impl Serialize) {
        let comma = if self.count > 0 { "," } else { "" };
        self.count += 1;
        // writing to memory cannot fail
        let _ = write!(self.encoder, "{comma}{}:", Value::from(name));
        let _ = serde_json::to_writer(&mut self.encoder, value);
    }

    fn finish(self) -> Vec<u8> {
        self.encoder.finish().unwrap_or_default()
    }
}

/// The objects of a database on their way into the file, a section for each kind.
#[derive(Default)]
pub struct Sections {
    open: [Option<Section>; Kind::ALL.len()],
    packed: [Vec<u8>; Kind::ALL.len()],
    /// Ordinary and partitioned tables.
    tables: u64,
}

impl Sections {
    /// Adds an object.
    pub fn add(&mut self, kind: Kind, name: &str, properties: &Map<String, Value>) {
        let is_table = |kind: &Value| kind == "r" || kind == "p";
        self.tables += u64::from(kind == Kind::Table && properties.get("kind").is_some_and(is_table));
        self.open[kind as usize].get_or_insert_with(Section::new).add(name, properties);
    }

    /// Ordinary and partitioned tables.
    pub fn tables(&self) -> u64 {
        self.tables
    }

    /// Ends the sections, and gives back what compressing them takes.
    pub fn pack(&mut self) {
        for (open, packed) in self.open.iter_mut().zip(&mut self.packed) {
            if let Some(entries) = open.take() {
                *packed = entries.finish();
            }
        }
    }
}

/// A run of rows of one table, as it stands in the archive.
#[derive(Debug)]
pub struct RowRun {
    pub table: Box<str>,
    /// The columns in the order of the fields.
    pub columns: Columns,
    /// Number of rows.
    pub rows: u64,
    pub fingerprint: Fingerprint,
    /// Where they are stored.
    pub member: Member,
}

/// Rows and values of a database in the archive, on their way into the file.
#[derive(Debug, Default)]
pub struct NewContents {
    /// Rows, in the order of the archive.
    pub blocks: Vec<RowRun>,
    pub sequences: BTreeMap<String, SequenceValue>,
    pub large_objects: LargeObjects,
    /// How the bytes of the rows are to be read.
    pub encoding: Option<String>,
}

impl NewContents {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.blocks.iter().map(|block| block.rows).sum()
    }

    /// True when the archive has rows of the table; [`NewContents::sort`] comes first.
    pub fn has(&self, table: &str) -> bool {
        self.blocks.binary_search_by(|block| (*block.table).cmp(table)).is_ok()
    }

    /// Brings the blocks of each table together, in their order.
    pub fn sort(&mut self) {
        self.blocks.sort_unstable_by(|a, b| (&a.table, a.member.offset).cmp(&(&b.table, b.member.offset)));
    }

    fn tables(&self) -> Vec<u8> {
        let mut entries = Section::new();
        for blocks in self.blocks.chunk_by(|a, b| a.table == b.table) {
            entries.add(&blocks[0].table, &join(blocks));
        }
        entries.finish()
    }

    fn sequences(&self) -> Vec<u8> {
        let mut entries = Section::new();
        self.sequences.iter().for_each(|(name, value)| entries.add(name, value));
        entries.finish()
    }
}

/// The blocks of one table as one.
fn join(blocks: &[RowRun]) -> TableRows {
    let mut all = TableRows::default();
    for block in blocks {
        all.is_mixed |= blocks[0].columns != block.columns;
        all.rows += block.rows;
        all.fingerprint.add(block.fingerprint);
        all.members.push(block.member.clone());
        all.columns = block.columns.clone();
    }
    all
}

/// What is known of a database while it is dumped.
pub struct NewFacts {
    /// Everything beside its objects and rows.
    pub head: DatabaseHead,
    pub objects: Sections,
    /// What the dump has.
    pub contents: NewContents,
    /// Tables that were dropped and made again while the dump began: it mixes the old ones with the new.
    pub replaced: Vec<String>,
}

impl NewFacts {
    /// Takes what was found in the dump.
    pub fn fill(&mut self, contents: NewContents) {
        self.contents = contents;
        self.contents.sort();
        self.head.totals.rows = self.contents.rows();
        // what is not in the dump is not missing from it
        self.head.rewritten.retain(|table| self.contents.has(table));
        self.replaced.retain(|table| self.contents.has(table));
    }
}

/// The file's bytes.
pub fn write(head: &FactsHead, databases: Vec<NewFacts>) -> Vec<u8> {
    let mut file = File::default();
    file.open(head);
    file.text(",\"databases\":[");
    for (index, mut database) in databases.into_iter().enumerate() {
        if index > 0 {
            file.text(",");
        }
        file.end_member();
        file.open(&database.head);
        file.text(",\"catalogue\":{");
        database.objects.pack();
        for (kind, packed) in Kind::ALL.into_iter().zip(&database.objects.packed) {
            let comma = if kind as usize > 0 { "," } else { "" };
            file.text(&format!("{comma}\"{}\":{{", kind.key()));
            file.add(packed);
            file.text("}");
        }
        file.text("},\"contents\":{\"tables\":{");
        file.add(&database.contents.tables());
        file.text("},\"sequences\":{");
        file.add(&database.contents.sequences());
        let NewContents { large_objects, encoding, .. } = &database.contents;
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        let large_objects = json(serde_json::to_string(large_objects));
        let encoding = json(serde_json::to_string(encoding));
        file.text(&format!("}},\"large_objects\":{large_objects},\"encoding\":{encoding}}}}}"));
    }
    file.text("]}\n");
    file.end_member();
    file.bytes
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    /// What is not compressed yet.
    text: String,
}

impl File {
    /// Begins an object with these entries, and leaves it open.
    fn open(&mut self, head: &impl Serialize) {
        let json = serde_json::to_string(head).unwrap_or_default();
        self.text.push_str(json.strip_suffix('}').unwrap_or(&json));
    }

    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn add(&mut self, packed: &[u8]) {
        if !packed.is_empty() {
            self.end_member();
            self.bytes.extend_from_slice(packed);
        }
    }

    fn end_member(&mut self) {
        let mut encoder = GzEncoder::new(std::mem::take(&mut self.bytes), Compression::default());
        let _ = encoder.write_all(std::mem::take(&mut self.text).as_bytes());
        self.bytes = encoder.finish().unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Fact, Facts};
    use super::*;
    use crate::record::facts::tests::{facts_head, head};
    use flate2::write::GzEncoder;
    use serde_json::json;

    fn properties(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn database(name: &str, tables: u32) -> NewFacts {
        let mut objects = Sections::default();
        for number in 0..tables {
            objects.add(Kind::Table, &format!("public.t{number}"), &properties(&json!({ "kind": "r", "n": number })));
        }
        objects.add(Kind::Function, "public.f()", &properties(&json!({ "source": "}]{\"\u{1}" })));
        objects.pack();
        let block = |table: &str, columns: &[&str], offset| RowRun {
            table: table.into(),
            columns: columns.iter().collect(),
            rows: 2,
            fingerprint: Fingerprint::default(),
            member: Member { offset, length: 10, sha256: Default::default() },
        };
        let blocks = vec![
            block("public.t1", &["a", "b"], 30),
            block("public.t0", &["a"], 20),
            block("public.t1", &["b", "a"], 10),
        ];
        let sequences = [("public.s".to_owned(), SequenceValue { value: 7, is_called: true })].into();
        let contents = NewContents { blocks, sequences, encoding: Some("UTF8".to_owned()), ..NewContents::default() };
        let mut head = head(name);
        head.rewritten = vec!["public.gone".to_owned(), "public.t0".to_owned()];
        let mut facts = NewFacts { head, objects, contents: NewContents::default(), replaced: Vec::new() };
        facts.fill(contents);
        facts
    }

    #[test]
    fn what_was_written_is_read_database_by_database() {
        let names = ["one", "two \"{\"", "three"];
        let databases = names.into_iter().zip([3, 20_000, 0]).map(|(name, tables)| database(name, tables)).collect();
        let file = write(&facts_head(), databases);
        let whole: Value = serde_json::from_reader(flate2::read::MultiGzDecoder::new(&file[..])).unwrap();
        // as one member, as older versions wrote it
        let mut one = GzEncoder::new(Vec::new(), Compression::fast());
        serde_json::to_writer(&mut one, &whole).unwrap();
        for file in [file, one.finish().unwrap()] {
            let facts = Facts::parse(file.into()).unwrap();
            assert_eq!(facts.head, facts_head());
            assert_eq!(facts.databases().map(|one| one.head.name.as_str()).collect::<Vec<_>>(), names);
            for ((database, name), tables) in facts.databases().rev().zip(names.into_iter().rev()).zip([0, 20_000, 3]) {
                assert_eq!((database.name.as_str(), &*database.rewritten), (name, &["public.t0".to_owned()][..]));
                let catalogue = database.catalogue(|_| true).unwrap();
                assert_eq!((catalogue.tables.len(), catalogue.functions.len()), (tables, 1));
                assert_eq!(catalogue.functions["public.f()"]["source"], "}]{\"\u{1}");
                let contents = database.contents(|_| true).unwrap();
                assert_eq!(contents.sequences["public.s"], SequenceValue { value: 7, is_called: true });
                assert_eq!(contents.encoding.as_deref(), Some("UTF8"));
                let rows = &contents.tables["public.t1"];
                assert_eq!((rows.rows, rows.is_mixed, rows.members[0].offset), (4, true, 10));
                assert_eq!(rows.columns.names().collect::<Vec<_>>(), ["a", "b"]);
                assert!(!contents.tables["public.t0"].is_mixed);
                let mut sequences = 0;
                database.each_content(|fact| sequences += usize::from(matches!(fact, Fact::Sequence(..)))).unwrap();
                assert_eq!(sequences, 1);
            }
        }
    }

    #[test]
    fn a_file_that_is_not_whole_or_not_as_it_should_be_is_an_error() {
        let file = write(&facts_head(), vec![database("one", 3)]);
        for length in [0, 1, 20, file.len() / 2, file.len() - 1] {
            assert!(Facts::parse(file[..length].to_vec().into()).is_err(), "{length} bytes");
        }
        let more = [&file[..], b"more"].concat();
        assert!(Facts::parse(more.into()).is_err());
        for text in ["{}", "[]", "{\"version\": 1, \"databases\": [{}]}"] {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            assert!(Facts::parse(encoder.finish().unwrap().into()).is_err(), "{text}");
        }
    }
}
