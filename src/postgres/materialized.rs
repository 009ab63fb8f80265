//! Rows of materialized views. A dump has none of them: a restore fills the views anew, which gives the same rows where
//! the view was fresh and its definition asks neither the clock nor chance.

use super::catalog::{LossyText, bytes_of, literal, sql_name};
use super::connection::Connection;
use super::table_rows;
use crate::dump_format::sql_lexer::qualified;
use crate::record::facts::ViewRows;
use std::collections::BTreeMap;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row};
use tracing::info;

/// Views that have rows, and whose definition gives the same rows whenever it is asked: no function in it is volatile, or
/// gives the time. The numbers of functions stand in the tree of the view's rule.
const STEADY: &str = r"
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid
    WHERE c.relkind = 'm' AND c.relispopulated AND c.oid >= 16384
      AND r.ev_action::text !~ '\{(SQLVALUEFUNCTION|TABLESAMPLECLAUSE) '
      AND NOT EXISTS (SELECT FROM pg_catalog.regexp_matches(r.ev_action::text, ':(?:op)?funcid (\d+)', 'g') AS f (number)
                      JOIN pg_catalog.pg_proc p ON p.oid = f.number[1]::pg_catalog.oid
                      WHERE p.provolatile = 'v' OR p.proname IN ('now', 'transaction_timestamp', 'statement_timestamp',
                            'age', 'current_setting', 'current_database', 'pg_relation_size', 'pg_total_relation_size'))";

/// Somebody is in the way, or the role may not read it.
const IN_THE_WAY: &[&SqlState] = &[
    &SqlState::LOCK_NOT_AVAILABLE,
    &SqlState::INSUFFICIENT_PRIVILEGE,
    &SqlState::UNDEFINED_TABLE,
    &SqlState::UNTRANSLATABLE_CHARACTER,
    &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
];

/// Reads those whose rows can be compared, in the transaction that is open.
pub(super) async fn read(connection: &Connection, encoding: &str) -> Result<BTreeMap<String, ViewRows>, Error> {
    let mut views = BTreeMap::new();
    for name in names(connection, STEADY).await? {
        connection.batch_execute("SAVEPOINT materialized").await?;
        match rows(connection, &name, encoding).await {
            Ok(rows) => drop(views.insert(name, rows)),
            Err(error) if error.code().is_some_and(|code| IN_THE_WAY.contains(&code)) => {
                info!("the rows of the materialized view {name} are not recorded: {}", super::cause(&error));
            }
            Err(error) => return Err(error),
        }
        // gives back the lock
        connection.batch_execute("ROLLBACK TO materialized; RELEASE materialized").await?;
    }
    Ok(views)
}

/// Expected views that have other rows here, with those rows; what is not there or was not filled is told of elsewhere.
pub(super) async fn differing(
    connection: &Connection,
    expected: &BTreeMap<String, ViewRows>,
    encoding: &str,
) -> Result<BTreeMap<String, ViewRows>, Error> {
    if expected.is_empty() {
        return Ok(BTreeMap::new());
    }
    let filled = "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind = 'm' AND c.relispopulated AND c.oid >= 16384";
    let mut differing = BTreeMap::new();
    for name in names(connection, filled).await? {
        let Some(wanted) = expected.get(&name) else { continue };
        match rows(connection, &name, encoding).await {
            Ok(found) if found == *wanted => {}
            Ok(found) => drop(differing.insert(name, found)),
            Err(error) if error.code().is_some_and(|code| IN_THE_WAY.contains(&code)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(differing)
}

async fn names(connection: &Connection, which: &str) -> Result<Vec<String>, Error> {
    let (schema, name) = (bytes_of("n.nspname::text"), bytes_of("c.relname::text"));
    let mut names = Vec::new();
    let take = |row: Row| {
        let (schema, name): (LossyText, LossyText) = (row.get(0), row.get(1));
        names.push(qualified(&schema.text, &name.text));
    };
    connection.each_row(&format!("SELECT {schema}, {name} {which} ORDER BY c.oid"), take).await?;
    // nothing of a name that is not UTF-8, and stands here as something like it, can be asked for
    names.retain(|name| !name.contains(char::REPLACEMENT_CHARACTER));
    Ok(names)
}

async fn rows(connection: &Connection, name: &str, encoding: &str) -> Result<ViewRows, Error> {
    let statement = format!("COPY (SELECT * FROM {}) TO STDOUT (ENCODING {})", sql_name(name), literal(encoding));
    let (rows, fingerprint) = table_rows::sum_of(connection, &statement).await?;
    Ok(ViewRows { rows, fingerprint })
}
