//! What is known of a backup's content: pure types, shared by everything that records or compares them.
//!
//! The facts file `NAME.facts.json.gz`, with `.age` behind it where the archive is encrypted, is one JSON document: a
//! `FactsHead`, and in `databases` a `DatabaseHead` for each database with its `Catalogue` and its `Contents`
//! beside it. A large catalogue is neither written nor read in one piece: `writer` compresses objects as they come, and
//! `reader` hands them on one by one.

mod catalogue;
mod columns;
pub mod reader;
pub mod writer;

pub use catalogue::{Catalogue, Kind};
pub use columns::Columns;
pub use reader::Facts;

use crate::hex::{self, Sha256Digest};
use crate::record::fingerprint::Fingerprint;
use crate::text;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "content", content = "database", rename_all = "lowercase")]
pub enum Subject {
    Database(String),
    /// What belongs to no database: roles, memberships, tablespaces and their settings.
    Globals,
    /// The whole server: globals and every database.
    Cluster,
}

impl Subject {
    pub fn database(&self) -> Option<&str> {
        match self {
            Self::Database(name) => Some(name),
            Self::Globals | Self::Cluster => None,
        }
    }
}

/// The database's name as it is; what is no database stands between parentheses.
impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Database(name) => name,
            Self::Globals => "(globals)",
            Self::Cluster => "(cluster)",
        })
    }
}

/// The snapshot that a dump shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The server's time when it was taken.
    pub taken: DateTime<Utc>,
    /// True when pg_dump ran under the same snapshot that the catalogue was read in; false when the server could not
    /// export one.
    pub exported: bool,
}

/// The database's own properties, which `pg_dump` leaves out without `--create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseProperties {
    pub owner: String,
    /// Privileges; none when they are the default ones.
    pub privileges: Option<Vec<Privilege>>,
    /// `COMMENT ON DATABASE`.
    pub comment: Option<String>,
    /// Encoding, such as `UTF8`.
    pub encoding: String,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// Locale of the ICU or builtin provider.
    pub locale: Option<String>,
    /// ICU's tailoring rules.
    pub icu_rules: Option<String>,
    /// Version of the collation that the database was made with.
    pub collation_version: Option<String>,
    /// `CONNECTION LIMIT`; -1 is none.
    pub connection_limit: i64,
    /// `ALTER DATABASE … SET`, `name=value`.
    pub settings: Vec<String>,
    /// `ALTER ROLE … IN DATABASE … SET`, by role.
    pub role_settings: BTreeMap<String, Vec<String>>,
}

/// One privilege on the database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Privilege {
    /// Who has it; none is PUBLIC.
    pub grantee: Option<String>,
    /// Who gave it.
    pub grantor: String,
    /// `CONNECT`, `CREATE` or `TEMPORARY`.
    pub privilege: String,
    /// `WITH GRANT OPTION`.
    pub grantable: bool,
}

/// A run of bytes in the archive, before that is encrypted: for SQL, whole gzip members that hold the rows of a table in COPY's text
/// format and the line `\\.` that ends them, nothing else; in a custom archive, the chunks of a block of data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Bytes of the archive before them.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// SHA-256 of these bytes.
    pub sha256: Sha256Digest,
}

/// Counts over a whole database, or over all of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Ordinary and partitioned tables outside the system's schemas and extensions.
    pub tables: u64,
    /// Rows in the archive.
    pub rows: u64,
    /// Bytes on the server's disk.
    pub database_bytes: u64,
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            tables: sum.tables + one.tables,
            rows: sum.rows + one.rows,
            database_bytes: sum.database_bytes + one.database_bytes,
        })
    }
}

/// Versions of everything that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The server, such as `15.18`.
    pub server: String,
    /// `pg_dump` or `pg_dumpall`.
    pub client: String,
    /// This program.
    pub tool: String,
}

/// Objects of one kind by their names, each with its properties by name.
///
/// A name has its schema before it, and its table where it belongs to one; parts are quoted where they are not made of
/// small letters, digits and `_`. Properties named in [`DEPARSED`] are text that the server made of its own trees.
pub type Objects = BTreeMap<String, Map<String, Value>>;

/// Properties whose text differs from one major to the next, whatever the object.
pub const DEPARSED: &[&str] = &["definition", "defaults", "checks", "bound", "key", "using", "with_check", "body"];

/// Longest source of a function that is recorded as it is, in bytes of UTF-8.
pub const LONGEST_SOURCE: usize = 8 << 10;

/// The source of a function as it is recorded: of a long one the digest and the length, which are enough to see that it is
/// another. Older facts have all of it.
pub fn shortened(source: &str) -> Cow<'_, str> {
    match source.len() {
        ..=LONGEST_SOURCE => source.into(),
        bytes => format!("sha256:{}, {bytes} bytes", hex::encode(&Sha256::digest(source))).into(),
    }
}

/// The rows of a table in an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// The columns in the order of the rows' fields.
    pub columns: Columns,
    /// Number of rows.
    pub rows: u64,
    pub fingerprint: Fingerprint,
    /// The blocks of rows have their fields in different orders, and the fingerprint cannot be made again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_mixed: bool,
    /// Where they are stored; several where the dump has them in several blocks.
    pub members: Vec<Member>,
}

/// The value of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceValue {
    /// `last_value`
    pub value: i64,
    /// `is_called`: the next value is another one.
    pub is_called: bool,
}

/// Rows and values in an archive, by the names of tables and sequences as [`Objects`] has them. A table that is not
/// here has no rows in the archive by somebody's wish, or because its kind has none: that is not the same as none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    pub tables: BTreeMap<String, TableRows>,
    pub sequences: BTreeMap<String, SequenceValue>,
    /// Large objects.
    #[serde(default)]
    pub large_objects: LargeObjects,
    /// How the bytes of the rows are to be read, as `SET client_encoding` in the dump says; none where it does not.
    #[serde(default)]
    pub encoding: Option<String>,
}

/// All large objects of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeObjects {
    /// How many.
    pub count: u64,
    /// Their fingerprint, as if each were a row: its number in decimal digits, a tab, and its bytes.
    pub fingerprint: Fingerprint,
}

/// The rows of a materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRows {
    pub rows: u64,
    pub fingerprint: Fingerprint,
}

/// Rows and values that were read back from a database, as far as they are not those expected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Tables whose rows could be read.
    pub tables: u64,
    pub rows: u64,
    /// Tables with other rows than expected, and number and fingerprint of those; none where they cannot be read.
    pub differing: BTreeMap<String, Option<(u64, Fingerprint)>>,
    /// Materialized views with other rows than expected, and those.
    pub views: BTreeMap<String, ViewRows>,
    /// Sequences with another value than expected, and that; none where there is no such sequence.
    pub sequences: BTreeMap<String, Option<SequenceValue>>,
    /// Large objects, whatever was expected.
    pub large_objects: LargeObjects,
}

/// How far the schema was migrated, by the tool whose table says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// Such as `golang-migrate`.
    pub tool: String,
    /// The tool's table.
    pub table: String,
    /// The version; none when the table is empty.
    pub version: Option<String>,
    /// A migration broke off half-way; false where the tool does not say.
    pub dirty: bool,
}

/// Something that pg_dump leaves out by its own rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// What, such as `table public.orders`.
    pub object: String,
    /// Its rows; none where it is no table, or they could not be counted.
    pub rows: Option<u64>,
    pub why: String,
}

/// `table public.orders (1000 rows): it belongs to the extension hstore`
impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.rows.map(|rows| format!(" ({})", text::count(rows, "row"))).unwrap_or_default();
        write!(f, "{}{rows}: {}", self.object, self.why)
    }
}

/// What is known of one database in an archive beside its objects and rows: read under the snapshot of its dump, and from
/// the dump as it passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseHead {
    pub name: String,
    /// Bytes of the dump before this database's part of it.
    #[serde(default)]
    pub raw_offset: u64,
    pub snapshot: SnapshotRecord,
    /// Counts.
    pub totals: Totals,
    /// Properties of the database.
    pub properties: DatabaseProperties,
    /// The properties named in [`DEPARSED`] are among those of its objects; false where a lock was in the way.
    pub has_texts: bool,
    /// Migration tools whose tables are there.
    pub migrations: Vec<Migration>,
    /// Roles that own something, have privileges or are named by policies.
    pub roles: Vec<String>,
    /// Roles that occur in rows, in columns of type `regrole`: without them those rows cannot be loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles_in_rows: Vec<String>,
    /// Rows of materialized views, as far as they can be compared: a dump has none of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub materialized: BTreeMap<String, ViewRows>,
    /// `lc_monetary`, by which values of type money are written.
    pub lc_monetary: String,
    /// What pg_dump leaves out by its own rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Tables that were truncated or rewritten while the dump began: it may show them empty although they were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewritten: Vec<String>,
}

/// What stands before the databases of a facts file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsHead {
    /// Version of this layout.
    pub version: u32,
    /// The backup.
    pub id: String,
    /// What the archive holds.
    #[serde(flatten)]
    pub subject: Subject,
    pub versions: Versions,
}

#[cfg(test)]
pub(crate) mod tests;
