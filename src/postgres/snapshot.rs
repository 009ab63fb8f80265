//! The exported snapshot that a dump and its facts share.

use super::catalog;
use super::connection::Connection;
use super::extensions;
use super::materialized;
use super::roles_in_rows;
use super::schema;
use crate::record::facts::writer::{NewContents, NewFacts, Sections};
use crate::record::facts::{DatabaseHead, Kind, SnapshotRecord, Totals};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tokio_postgres::SimpleQueryMessage;
use tracing::warn;

/// An open REPEATABLE READ READ ONLY transaction; dropping it ends the transaction.
///
/// [`Snapshot::facts`] are those of a dump under [`Snapshot::id`].
pub struct Snapshot {
    connection: Connection,
    id: Option<String>,
    taken: DateTime<Utc>,
}

/// The first query of the transaction fixes the snapshot.
const EXPORTING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SELECT pg_catalog.clock_timestamp()::text, pg_catalog.pg_export_snapshot()";
const ALONE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_catalog.clock_timestamp()::text, NULL";

async fn begin(
    connection: &Connection,
    statements: &str,
) -> Result<(DateTime<Utc>, Option<String>), tokio_postgres::Error> {
    let answers = connection.simple_query(statements).await?;
    let row = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let column = |index: usize| row.and_then(|row| row.get(index));
    Ok((parse_time(column(0).unwrap_or_default()), column(1).map(str::to_owned)))
}

impl Snapshot {
    /// Opens the transaction on a fresh connection and exports its snapshot.
    ///
    /// A server that cannot export one gives a snapshot without id, after a warning: the dump is then consistent in
    /// itself, but what is read here may differ from it.
    pub async fn open(connection: Connection) -> Result<Self, tokio_postgres::Error> {
        let (taken, id) = match begin(&connection, EXPORTING).await {
            Ok(begun) => begun,
            Err(error) => {
                warn!(
                    "the server cannot export a snapshot ({}); pg_dump takes its own, so what the manifest records may \
                     differ from the dump if the database changes meanwhile",
                    super::cause(&error)
                );
                connection.batch_execute("ROLLBACK").await?;
                begin(&connection, ALONE).await?
            }
        };
        Ok(Self { connection, id, taken })
    }

    /// True when the session has ended, and the snapshot with it.
    pub fn is_lost(&self) -> bool {
        self.connection.is_closed()
    }

    /// Why the session has ended; none while it lives.
    pub fn why_lost(&self) -> Option<String> {
        let unknown = "the connection was closed without a reason";
        self.is_lost().then(|| self.connection.why_ended().unwrap_or(unknown).to_owned())
    }

    /// What `pg_dump --snapshot` wants; none where the server cannot export one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What the snapshot says of its database, whose size on the disk is known; objects and contents are still to come.
    pub async fn facts(&self, name: &str, database_bytes: u64) -> Result<NewFacts, tokio_postgres::Error> {
        let head = DatabaseHead {
            name: name.to_owned(),
            raw_offset: 0,
            snapshot: SnapshotRecord { taken: self.taken, exported: self.id.is_some() },
            totals: Totals { database_bytes, ..Totals::default() },
            properties: catalog::properties(&self.connection).await?,
            has_texts: false,
            migrations: Vec::new(),
            roles: Vec::new(),
            lc_monetary: String::new(),
            left_out: Vec::new(),
            roles_in_rows: Vec::new(),
            materialized: BTreeMap::new(),
            rewritten: Vec::new(),
        };
        let (objects, contents) = (Sections::default(), NewContents::default());
        Ok(NewFacts { head, objects, contents, replaced: Vec::new() })
    }

    /// Adds the objects to facts of the same snapshot.
    ///
    /// Ask for it once pg_dump writes: it has locked every table by then, and read the catalogue, so that no DDL can come
    /// between the two. Without `texts` of the server's own trees, which are made under locks, nothing is locked.
    pub async fn describe(&self, facts: &mut NewFacts, texts: bool) -> Result<(), tokio_postgres::Error> {
        let NewFacts { head, objects, replaced, .. } = facts;
        let mut take = |kind: Kind, name: String, properties: Map<String, Value>| objects.add(kind, &name, &properties);
        let described = schema::describe(&self.connection, texts, &mut take).await?;
        objects.pack();
        head.totals.tables = objects.tables();
        (head.has_texts, head.migrations) = (described.has_texts, described.migrations);
        (head.roles, head.lc_monetary) = (described.roles, described.lc_monetary);
        (head.rewritten, *replaced) = (described.rewritten, described.replaced);
        head.left_out = extensions::left_out(&self.connection).await?;
        if texts {
            head.roles_in_rows = roles_in_rows::read(&self.connection).await?;
            head.materialized = materialized::read(&self.connection, &head.properties.encoding).await?;
        }
        Ok(())
    }
}

/// Reads `2026-01-28 02:05:00.123456+00`, as sessions in UTC write it.
fn parse_time(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").map_or_else(|_| Utc::now(), |time| time.to_utc())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_servers_time_is_read_to_the_microsecond() {
        let time = super::parse_time("2026-01-28 02:05:00.123456+00");
        assert_eq!(time.to_rfc3339(), "2026-01-28T02:05:00.123456+00:00");
    }
}
