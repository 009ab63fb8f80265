//! The exported snapshot that a dump and its facts share.

use super::catalog;
use super::connection::Connection;
use crate::facts::{DatabaseFacts, SnapshotRecord};
use chrono::{DateTime, Utc};
use tracing::warn;

/// An open REPEATABLE READ READ ONLY transaction; dropping it ends the transaction.
///
/// [`Snapshot::facts`] are those of a dump under [`Snapshot::id`].
pub struct Snapshot {
    connection: Connection,
    id: Option<String>,
    taken: DateTime<Utc>,
}

impl Snapshot {
    /// Opens the transaction on a fresh connection and exports its snapshot.
    ///
    /// A server that cannot export one gives a snapshot without id, after a warning: the dump is then consistent in
    /// itself, but what is read here may differ from it.
    pub async fn open(connection: Connection) -> Result<Self, tokio_postgres::Error> {
        connection.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // the first statement fixes the snapshot
        let row = connection.query_one("SELECT pg_catalog.clock_timestamp()::text", &[]).await?;
        let taken = parse_time(row.get(0));
        let id = match connection.query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await {
            Ok(row) => Some(row.get(0)),
            Err(error) => {
                warn!(
                    "the server cannot export a snapshot ({error}); pg_dump takes its own, and what the manifest says \
                     of the database may differ from it if the database changes meanwhile"
                );
                connection.batch_execute("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                None
            }
        };
        Ok(Self { connection, id, taken })
    }

    /// What `pg_dump --snapshot` wants; none where the server cannot export one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What the snapshot says of its database, which people call `name`.
    pub async fn facts(&self, name: &str) -> Result<DatabaseFacts, tokio_postgres::Error> {
        Ok(DatabaseFacts {
            name: name.to_owned(),
            snapshot: SnapshotRecord { taken: self.taken, exported: self.id.is_some() },
            totals: catalog::totals(&self.connection).await?,
            properties: catalog::properties(&self.connection).await?,
        })
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
