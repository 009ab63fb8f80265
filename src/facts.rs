//! What is known of a backup's content: pure types, shared by everything that records or compares them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "content", content = "database", rename_all = "lowercase")]
pub enum Subject {
    /// One database.
    Database(String),
    /// What belongs to no database: roles, memberships, tablespaces and their settings.
    Globals,
    /// The whole server: globals and every database.
    Cluster,
}

impl Subject {
    /// The database, where it is one.
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
    /// True when pg_dump ran under the same snapshot that the facts were read in; false when the server could not
    /// export one.
    pub exported: bool,
}

/// The database's own properties, which `pg_dump` leaves out without `--create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseProperties {
    /// Owner.
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

/// Counts over a whole database, or over all of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Ordinary and partitioned tables outside the system's schemas and extensions.
    pub tables: u64,
    /// Bytes on the server's disk.
    pub database_bytes: u64,
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            tables: sum.tables + one.tables,
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

/// What is known of one database in an archive, all of it read under the snapshot of its dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// Name.
    pub name: String,
    /// The snapshot.
    pub snapshot: SnapshotRecord,
    /// Counts.
    pub totals: Totals,
    /// Properties of the database.
    pub properties: DatabaseProperties,
}

/// The facts file `NAME.facts.json.gz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of this layout.
    pub version: u32,
    /// The backup.
    pub id: String,
    /// What the archive holds.
    #[serde(flatten)]
    pub subject: Subject,
    /// Versions.
    pub versions: Versions,
    /// The databases in the archive, in its order; none in one of globals.
    pub databases: Vec<DatabaseFacts>,
}
