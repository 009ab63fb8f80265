//! The exported snapshot that a dump and its facts share.

use super::connection::{ConnectError, Connection, connect};
use crate::config::Source;
use chrono::{DateTime, Utc};
use tracing::warn;

/// An open REPEATABLE READ READ ONLY transaction; dropping it ends the transaction.
///
/// Everything read through [`Snapshot::connection`] is what a dump under [`Snapshot::id`] contains.
pub struct Snapshot {
    connection: Connection,
    id: Option<String>,
    taken: DateTime<Utc>,
}

/// Why there is no transaction.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused the transaction.
    #[error("opening a read-only transaction: {0}")]
    Query(#[from] tokio_postgres::Error),
}

impl Snapshot {
    /// Opens the transaction and exports its snapshot.
    ///
    /// A server that cannot export one gives a snapshot without id, after a warning: the dump is then consistent in
    /// itself, but what is read here may differ from it.
    pub async fn open(source: &Source, application: &str) -> Result<Self, SnapshotError> {
        let connection = connect(source, application).await?;
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

    /// The transaction.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What `pg_dump --snapshot` wants; none where the server cannot export one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The server's time when the snapshot was taken.
    pub fn taken(&self) -> DateTime<Utc> {
        self.taken
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
