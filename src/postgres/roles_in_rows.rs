//! Roles that occur in rows alone: a column of type `regrole` holds the number of one, a dump has its name, and a server
//! that does not know the name does not take the row.

use super::catalog::{LossyText, bytes_of, literal};
use super::connection::Connection;
use std::collections::BTreeSet;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use tracing::warn;

/// Columns of that type, of domains over it and of arrays of it, each as a question for the roles in it. What is
/// temporary is in no dump. 4096 and 4097 are the numbers of the type and of its arrays.
const COLUMNS: &str = "
    WITH RECURSIVE roles AS (
        SELECT oid, oid = 4097 AS is_array FROM pg_catalog.pg_type WHERE oid IN (4096, 4097)
        UNION ALL
        SELECT t.oid, r.is_array FROM pg_catalog.pg_type t JOIN roles r ON t.typtype = 'd' AND t.typbasetype = r.oid)
    SELECT pg_catalog.format(CASE WHEN r.is_array
               THEN 'SELECT pg_catalog.unnest(%I::pg_catalog.oid[]) FROM ONLY %I.%I' ELSE 'SELECT %I::pg_catalog.oid FROM ONLY %I.%I' END,
               a.attname, n.nspname, c.relname)
    FROM pg_catalog.pg_attribute a JOIN roles r ON r.oid = a.atttypid
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid >= 16384 AND NOT a.attisdropped
    ORDER BY c.oid, a.attnum";

/// Somebody holds a lock on the table, or the role may not read it: the dump will say so.
const IN_THE_WAY: &[&SqlState] =
    &[&SqlState::LOCK_NOT_AVAILABLE, &SqlState::INSUFFICIENT_PRIVILEGE, &SqlState::UNDEFINED_TABLE];

/// Reads them, in the transaction that is open.
pub(super) async fn read(connection: &Connection) -> Result<Vec<String>, Error> {
    let mut names = BTreeSet::new();
    for question in connection.query_typed(COLUMNS, &[]).await? {
        let rows: String = question.get(0);
        let name = bytes_of("rolname::text");
        let question = format!("SELECT {name} FROM pg_catalog.pg_roles WHERE oid IN ({rows})");
        connection.batch_execute("SAVEPOINT roles").await?;
        match connection.query_typed(&question, &[]).await {
            Ok(rows) => names.extend(rows.iter().map(|row| row.get::<_, LossyText>(0).text)),
            Err(error) if error.code().is_some_and(|code| IN_THE_WAY.contains(&code)) => {
                warn!("roles named in rows could not be read: {} ({})", super::cause(&error), literal(&rows));
            }
            Err(error) => return Err(error),
        }
        // gives back the lock on the table
        connection.batch_execute("ROLLBACK TO roles; RELEASE roles").await?;
    }
    Ok(names.into_iter().collect())
}
