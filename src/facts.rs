//! What is known of a backup's content: pure types, shared by everything that records or compares them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Counts over the whole database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Ordinary and partitioned tables outside the system's schemas and extensions.
    pub tables: u64,
    /// Bytes of the database on the server's disk.
    pub database_bytes: u64,
}

/// Versions of everything that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The server, such as `15.18`.
    pub server: String,
    /// `pg_dump`.
    pub client: String,
    /// This program.
    pub tool: String,
}

/// The facts file `NAME.facts.json.gz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of this layout.
    pub version: u32,
    /// The backup.
    pub id: String,
    /// Counts.
    pub totals: Totals,
    /// Versions.
    pub versions: Versions,
    /// Properties of the database.
    pub properties: DatabaseProperties,
}
