//! Rows into tables of a database that is in use, all in one transaction of our own session.

use super::catalog::{literal, quote, sql_name};
use super::connection::Connection;
use crate::facts::{Contents, SequenceValue};
use crate::sql_lexer::{parts, qualified, quoted};
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CopyInSink, Error};

/// Bytes handed to the server at once.
const CHUNK: usize = 64 << 10;

/// A transaction that loads rows; dropped without [`Load::commit`] it did nothing.
pub struct Load<'a> {
    connection: &'a Connection,
    /// How the bytes of the rows are to be read.
    encoding: String,
    /// Triggers and foreign keys are switched off for it.
    pub is_quiet: bool,
}

/// The rows of one table on their way.
pub struct Rows {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    waiting: BytesMut,
}

impl<'a> Load<'a> {
    /// Begins. Only some roles may switch triggers off; others let them run.
    pub async fn begin(connection: &'a Connection, contents: &Contents, lc_monetary: &str) -> Result<Self, Error> {
        let quiet = connection.batch_execute("SET session_replication_role = replica").await;
        // a locale that this server lacks matters only where there is money, and then the rows differ
        let _ = connection.batch_execute(&format!("SET lc_monetary = {}", literal(lc_monetary))).await;
        connection.batch_execute("SET synchronous_commit = on; BEGIN").await?;
        let encoding = contents.encoding.clone().unwrap_or_else(|| "UTF8".to_owned());
        Ok(Self { connection, encoding, is_quiet: quiet.is_ok() })
    }

    /// Lets nobody else near the tables, in an order that all sessions of ours keep.
    pub async fn lock(&self, tables: &BTreeSet<String>) -> Result<(), Error> {
        if tables.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = tables.iter().map(|table| sql_name(table)).collect();
        self.connection
            .batch_execute(&format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", names.join(", ONLY ")))
            .await
    }

    /// Foreign keys of tables beside these that refer to them.
    pub async fn keys_from_elsewhere(&self, tables: &BTreeSet<String>) -> Result<Vec<String>, Error> {
        let question = "SELECT k.conname::text, cn.nspname::text, c.relname::text, pn.nspname::text, p.relname::text
             FROM pg_catalog.pg_constraint k
             JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
             JOIN pg_catalog.pg_class p ON p.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
             WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 2, 3, 1";
        let rows = self.connection.query_typed(question, &[]).await?;
        let name = |row: &tokio_postgres::Row, at: usize| qualified(row.get(at), row.get(at + 1));
        let foreign = rows.iter().filter(|row| tables.contains(&name(row, 3)) && !tables.contains(&name(row, 1)));
        Ok(foreign.map(|row| format!("{} of {}", row.get::<_, String>(0), name(row, 1))).collect())
    }

    /// Tables of these that have rows.
    pub async fn with_rows(&self, tables: &BTreeSet<String>) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for table in tables {
            let question = format!("SELECT EXISTS (SELECT FROM ONLY {})", sql_name(table));
            if self.connection.query_typed_one(&question, &[]).await?.get(0) {
                found.push(table.clone());
            }
        }
        Ok(found)
    }

    /// Removes every row.
    pub async fn empty(&self, tables: &BTreeSet<String>) -> Result<(), Error> {
        let names: Vec<String> = tables.iter().map(|table| sql_name(table)).collect();
        self.connection.batch_execute(&format!("TRUNCATE ONLY {}", names.join(", ONLY "))).await
    }

    /// Makes a table of these columns, which are a name and SQL behind it, and nothing else: no keys, no defaults.
    pub async fn create(&self, table: &str, columns: &[(String, String)]) -> Result<(), Error> {
        let columns: Vec<String> = columns.iter().map(|(name, rest)| format!("{} {rest}", quote(name))).collect();
        let (name, list) = (sql_name(table), columns.join(", "));
        self.connection.batch_execute(&format!("CREATE TABLE {name} ({list})")).await
    }

    /// Opens a table for rows of these columns.
    pub async fn rows(&self, table: &str, columns: &[String]) -> Result<Rows, Error> {
        let list = columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        let list = if list.is_empty() { String::new() } else { format!("({list})") };
        let statement = format!("COPY {} {list} FROM STDIN (ENCODING {})", sql_name(table), literal(&self.encoding));
        Ok(Rows { sink: Box::pin(self.connection.copy_in(&statement).await?), waiting: BytesMut::new() })
    }

    /// Sequences that belong to columns of these tables.
    pub async fn sequences_of(&self, tables: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        let question = "SELECT sn.nspname::text, s.relname::text, tn.nspname::text, t.relname::text
             FROM pg_catalog.pg_depend d
             JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
             JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
             JOIN pg_catalog.pg_class t ON t.oid = d.refobjid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
             WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')";
        let rows = self.connection.query_typed(question, &[]).await?;
        let name = |row: &tokio_postgres::Row, at: usize| qualified(row.get(at), row.get(at + 1));
        Ok(rows.iter().filter(|row| tables.contains(&name(row, 2))).map(|row| name(row, 0)).collect())
    }

    /// Sets sequences; those that are not there are passed over.
    pub async fn set(&self, values: &BTreeMap<String, SequenceValue>) -> Result<(), Error> {
        for (sequence, value) in values {
            let question = "SELECT pg_catalog.setval(pg_catalog.to_regclass($1)::pg_catalog.regclass, $2, $3)
                            WHERE pg_catalog.to_regclass($1) IS NOT NULL";
            self.connection.query_opt(question, &[&sql_name(sequence), &value.value, &value.is_called]).await?;
        }
        Ok(())
    }

    /// Keeps everything.
    pub async fn commit(self) -> Result<(), Error> {
        self.connection.batch_execute("COMMIT").await
    }
}

impl Rows {
    /// Hands on bytes of rows in COPY's text format, line breaks and all.
    pub async fn write(&mut self, bytes: &[u8], ends: bool) -> Result<(), Error> {
        self.waiting.extend_from_slice(bytes);
        if ends {
            self.waiting.extend_from_slice(b"\n");
        }
        if self.waiting.len() >= CHUNK {
            let chunk = self.waiting.split().freeze();
            self.sink.as_mut().send(chunk).await?;
        }
        Ok(())
    }

    /// Ends them; the answer is how many they were.
    pub async fn finish(mut self) -> Result<u64, Error> {
        let rest = self.waiting.split().freeze();
        if !rest.is_empty() {
            self.sink.as_mut().send(rest).await?;
        }
        self.sink.as_mut().finish().await
    }
}

/// The name of a table beside another one, cut so that it fits.
pub fn beside(table: &str, time: &str) -> Option<String> {
    let (schema, name) = parts(table)?;
    let ending = format!("_restored_{time}");
    Some(qualified(&schema, &format!("{}{ending}", &name[..name.floor_char_boundary(63 - ending.len())])))
}

/// The columns of a table, as the facts have them, that its rows have: name and type, without what only a whole table
/// needs.
pub fn plain_columns(described: &[String], wanted: &[String]) -> Option<Vec<(String, String)>> {
    let column = |name: &String| {
        let prefix = format!("{} ", quoted(name));
        let rest = described.iter().find_map(|column| column.strip_prefix(&prefix))?;
        let rest = rest.split(" identity ").next()?;
        Some((name.clone(), rest.to_owned()))
    };
    wanted.iter().map(column).collect()
}

/// True when nobody let go of a table for as long as we were ready to wait.
pub fn is_locked_by_others(error: &Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_beside_another_has_a_name_that_fits_and_the_columns_of_its_rows() {
        assert_eq!(beside("public.orders", "20260128_020500").unwrap(), "public.orders_restored_20260128_020500");
        let long = format!("public.\"{}\"", "Ä".repeat(31));
        assert_eq!(parts(&beside(&long, "20260128_020500").unwrap()).unwrap().1.len(), 63);
        let described = ["id integer not null identity a", "\"or der\" text collate \"C\"", "sum integer generated s"];
        let described = described.map(str::to_owned);
        let wanted = ["or der", "id"].map(str::to_owned);
        let columns = plain_columns(&described, &wanted).unwrap();
        assert_eq!(columns[0], ("or der".to_owned(), "text collate \"C\"".to_owned()));
        assert_eq!(columns[1], ("id".to_owned(), "integer not null".to_owned()));
        assert!(plain_columns(&described, &["gone".to_owned()]).is_none());
    }
}
