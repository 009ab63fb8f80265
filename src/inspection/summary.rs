//! Pure: what is in a backup.

use crate::dump_format::sql_lexer::{parts, quoted};
use crate::record::facts::reader::{DatabaseFacts, Fact};
use crate::record::facts::{
    DatabaseProperties, Facts, Kind, LeftOut, Member, Migration, SequenceValue, Subject, Totals, Versions, ViewRows,
};
use crate::record::manifest::{BackupType, Compression, Format, Verification};
use crate::repository::{Backup, Side};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a backup is, how it was proved, and what it holds.
#[derive(Debug, Serialize)]
pub struct Summary<'b> {
    pub id: &'b str,
    pub source: &'b str,
    pub system_identifier: Option<&'b str>,
    #[serde(flatten)]
    pub subject: &'b Subject,
    #[serde(rename = "type")]
    pub backup_type: BackupType,
    pub format: Format,
    pub compression: &'b Compression,
    /// Its method; none where the archive is not encrypted.
    pub encryption: Option<&'b str>,
    pub started: DateTime<Utc>,
    pub finished: DateTime<Utc>,
    pub versions: &'b Versions,
    pub side: Side,
    /// For people.
    pub location: String,
    pub stored_bytes: u64,
    /// Bytes that pg_dump wrote.
    pub raw_bytes: u64,
    pub sha256: &'b str,
    /// Options of pg_dump.
    pub arguments: &'b [String],
    /// Whole, and not failed in its latest verification.
    pub good: bool,
    /// The latest one of this copy.
    pub verification: Option<&'b Verification>,
    pub databases: Vec<DatabaseSummary<'b>>,
}

/// What an archive holds of one database.
#[derive(Debug, Serialize)]
pub struct DatabaseSummary<'b> {
    pub name: &'b str,
    /// The time that its rows are of.
    pub taken: DateTime<Utc>,
    pub totals: Totals,
    pub properties: &'b DatabaseProperties,
    pub migrations: &'b [Migration],
    /// Objects of each kind.
    pub objects: BTreeMap<&'static str, u64>,
    pub schemas: BTreeMap<String, SchemaSummary>,
    /// Each with its version.
    pub extensions: BTreeMap<String, Option<String>>,
    pub tables: Vec<TableSummary>,
    pub sequences: BTreeMap<String, SequenceValue>,
    pub materialized: &'b BTreeMap<String, ViewRows>,
    pub large_objects: u64,
    pub left_out: &'b [LeftOut],
    pub roles: &'b [String],
}

/// The tables of a schema.
#[derive(Debug, Default, Serialize)]
pub struct SchemaSummary {
    pub tables: u64,
    pub rows: u64,
    pub stored_bytes: u64,
}

/// A table, and what the archive has of its rows.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TableSummary {
    pub name: String,
    pub kind: TableKind,
    /// None where the archive has no rows of it: its kind has none, or it was left out.
    pub rows: Option<u64>,
    /// Bytes of the archive that are its rows, compressed.
    pub stored_bytes: Option<u64>,
}

/// What kind of table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    Ordinary,
    /// Its rows are in its partitions.
    Partitioned,
    /// Its rows are on another server.
    Foreign,
}

impl<'b> Summary<'b> {
    /// Reads the facts once.
    pub fn of(backup: &'b Backup, side: Side, location: String, facts: &'b Facts) -> Result<Self, serde_json::Error> {
        let manifest = &backup.manifest;
        Ok(Self {
            id: &manifest.id,
            source: &manifest.source,
            system_identifier: manifest.system_identifier.as_deref(),
            subject: &manifest.subject,
            backup_type: manifest.backup_type,
            format: manifest.format,
            compression: &manifest.compression,
            encryption: manifest.encryption.as_deref(),
            started: manifest.started,
            finished: manifest.finished,
            versions: &manifest.versions,
            side,
            location,
            stored_bytes: manifest.stored_bytes,
            raw_bytes: manifest.raw_bytes,
            sha256: &manifest.sha256,
            arguments: &manifest.arguments,
            good: backup.is_good(),
            verification: backup.verification.as_ref(),
            databases: facts.databases().map(DatabaseSummary::of).collect::<Result<_, _>>()?,
        })
    }
}

impl<'b> DatabaseSummary<'b> {
    fn of(database: DatabaseFacts<'b>) -> Result<Self, serde_json::Error> {
        let head = database.head;
        let mut summary = Self {
            name: &head.name,
            taken: head.snapshot.taken,
            totals: head.totals,
            properties: &head.properties,
            migrations: &head.migrations,
            objects: BTreeMap::new(),
            schemas: BTreeMap::new(),
            extensions: BTreeMap::new(),
            tables: Vec::new(),
            sequences: BTreeMap::new(),
            materialized: &head.materialized,
            large_objects: 0,
            left_out: &head.left_out,
            roles: &head.roles,
        };
        let mut rows: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        database.each_content(|fact| match fact {
            Fact::Rows(table, found) => drop(rows.insert(table, (found.rows, stored_bytes(&found.members)))),
            Fact::Sequence(name, value) => drop(summary.sequences.insert(name, value)),
            Fact::LargeObjects(all) => summary.large_objects = all.count,
            Fact::Encoding(_) | Fact::Object(..) => {}
        })?;
        database.each_object(|kind, name, properties| {
            *summary.objects.entry(kind.key()).or_default() += 1;
            let text = |property: &str| Some(properties.get(property)?.as_str()?.to_owned());
            match kind {
                Kind::Table => {
                    let kind = match text("kind").as_deref() {
                        Some("p") => TableKind::Partitioned,
                        Some("f") => TableKind::Foreign,
                        _ => TableKind::Ordinary,
                    };
                    let rows = rows.get(&name).copied();
                    let schema = summary.schemas.entry(schema_of(&name)).or_default();
                    schema.tables += 1;
                    schema.rows += rows.map_or(0, |(rows, _)| rows);
                    schema.stored_bytes += rows.map_or(0, |(_, bytes)| bytes);
                    let (rows, stored_bytes) = (rows.map(|(rows, _)| rows), rows.map(|(_, bytes)| bytes));
                    summary.tables.push(TableSummary { name, kind, rows, stored_bytes });
                }
                Kind::Extension => drop(summary.extensions.insert(name, text("version"))),
                _ => {}
            }
        })?;
        Ok(summary)
    }
}

pub(super) fn stored_bytes(members: &[Member]) -> u64 {
    members.iter().map(|member| member.length).sum()
}

/// The schema of a name as the facts write it, quoted where it needs that.
fn schema_of(name: &str) -> String {
    parts(name).map_or_else(|| name.to_owned(), |(schema, _)| quoted(&schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_a_name_ends_at_the_first_dot_outside_quotes() {
        for (name, schema) in
            [("public.t", "public"), ("\"a.b\".\"c.d\"", "\"a.b\""), ("\"a\"\".b\".t", "\"a\"\".b\""), ("t", "t")]
        {
            assert_eq!(schema_of(name), schema);
        }
    }
}
