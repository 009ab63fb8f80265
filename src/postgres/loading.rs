//! A session that a dump is loaded into: each statement goes over the wire as one prepared statement, which the server
//! refuses if it were several, and rows go by COPY. No client program is in between, so nothing of a dump is read by one.

use super::connection::{ConnectError, Connection, connect_for_bytes};
use super::session::CopyIn;
use super::wire::as_text;
use crate::config::Source;
use crate::dump_format::sql_lexer::parts;
use crate::record::facts::DatabaseHead;
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::Error;
use tokio_postgres::types::Type;
use tracing::debug;

/// Bytes of rows handed to the server at once.
const CHUNK: usize = 64 << 10;

/// A session for statements of any bytes, in whatever encoding the dump sets.
pub struct LoadSession {
    connection: Connection,
}

/// How a session is opened.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions<'a> {
    /// `lc_monetary` of the dump, by which values of type money are read; empty is the server's own.
    pub lc_monetary: &'a str,
    /// More options of the session, as `-c name=value`.
    pub more: &'a str,
}

impl LoadSession {
    /// Connects to the database that `target` names.
    pub async fn open(target: &Source, options: SessionOptions<'_>) -> Result<Self, ConnectError> {
        let money = options.lc_monetary.replace('\\', "\\\\").replace(' ', "\\ ");
        let money = if money.is_empty() { String::new() } else { format!(" -c lc_monetary={money}") };
        let all = format!("-c synchronous_commit=off -c default_transaction_read_only=off{money} {}", options.more);
        Ok(Self { connection: connect_for_bytes(target, "backup load", &all).await? })
    }

    /// Gives it memory for making indexes: what it has, or its share of the server's buffers where that is more, at most
    /// 1 GiB.
    pub async fn fit_memory(&self, connections: usize) -> Result<(), Error> {
        let connections = i64::try_from(connections).unwrap_or(i64::MAX);
        self.connection.query_typed(MEMORY, &[(&connections, Type::INT8)]).await.map(drop)
    }

    /// Runs one statement.
    pub async fn run(&self, statement: &[u8]) -> Result<(), Error> {
        self.connection.query_typed(&as_text(statement), &[]).await.map(drop)
    }

    /// Runs one statement of ours, whatever encoding the dump has set.
    pub async fn run_text(&self, statement: &str) -> Result<(), Error> {
        if statement.is_ascii() {
            return self.run(statement.as_bytes()).await;
        }
        let encoding = self.connection.query_typed_one("SELECT pg_catalog.current_setting('client_encoding')", &[]);
        let encoding: String = encoding.await?.get(0);
        self.run(b"SET client_encoding = 'UTF8'").await?;
        let ran = self.run(statement.as_bytes()).await;
        self.run(format!("SET client_encoding = '{encoding}'").as_bytes()).await?;
        ran
    }

    /// Begins `COPY … FROM stdin`.
    pub async fn copy(&self, statement: &[u8]) -> Result<RowsIn<'_>, Error> {
        Ok(RowsIn { copy: self.connection.copy_in(&as_text(statement)).await?, waiting: BytesMut::new() })
    }

    /// True for a table, named as SQL, that every database has from its beginning: roles and functions are rows as well.
    pub async fn is_own_table(&self, table: &str) -> Result<bool, Error> {
        // asked for each table: by the catalogue's indexes, whatever the number of tables
        let question = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c
                        WHERE c.relname = $2::pg_catalog.name AND c.oid < 16384 AND c.relnamespace = (
                            SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = $1::pg_catalog.name))";
        // pg_dump names the schema; without one it would be that of the server itself
        let Some((schema, name)) = parts(table) else { return Ok(true) };
        if !schema.is_ascii() || !name.is_ascii() {
            return Ok(false);
        }
        let row = self.connection.query_typed_one(question, &[(&schema, Type::TEXT), (&name, Type::TEXT)]).await?;
        Ok(row.get(0))
    }

    /// The session, for questions in ASCII.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Sets what sessions of the source's database have, so that rows are judged and views are filled as there. What the
    /// server does not know, or would change how a dump is read, is left out.
    pub async fn set_as_at_source(&self, head: &DatabaseHead, role: &str) -> Result<(), Error> {
        let of_role = head.properties.role_settings.get(role).into_iter().flatten();
        for setting in head.properties.settings.iter().chain(of_role) {
            let Some((name, value)) = setting.split_once('=') else { continue };
            if OURS.contains(&name.to_ascii_lowercase().as_str()) || !name.is_ascii() || !value.is_ascii() {
                continue;
            }
            let set = self.connection.query_typed(SET, &[(&name, Type::TEXT), (&value, Type::TEXT)]).await;
            match set {
                Ok(_) => {}
                Err(error) if error.code().is_some() => {
                    debug!("{name} is not set while loading: {}", super::cause(&error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Sets what every role may set, and nothing that only superusers may: the file may come from elsewhere, and that could let
/// it reach beyond its database.
const SET: &str = "
    SELECT pg_catalog.set_config($1, $2, false)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings s
                      WHERE pg_catalog.lower(s.name) = pg_catalog.lower($1) AND s.context <> 'user')";

/// Buffers are in blocks, memory is in kB.
const MEMORY: &str = "
    SELECT pg_catalog.set_config('maintenance_work_mem', greatest(m.setting::bigint, least(
        b.setting::bigint * pg_catalog.current_setting('block_size')::bigint / 1024 / $1, 1048576))::text, false)
    FROM pg_catalog.pg_settings m, pg_catalog.pg_settings b
    WHERE m.name = 'maintenance_work_mem' AND b.name = 'shared_buffers'";

/// Settings that a dump sets for itself, that decide how it is read, or that would keep it out.
const OURS: &[&str] = &[
    "array_nulls",
    "backslash_quote",
    "check_function_bodies",
    "client_encoding",
    "default_table_access_method",
    "default_tablespace",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "event_triggers",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "lc_messages",
    "lc_monetary",
    "lock_timeout",
    "role",
    "row_security",
    "search_path",
    "session_authorization",
    "session_replication_role",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronous_commit",
    "transaction_timeout",
    "xmloption",
];

/// Rows on their way into a table.
pub struct RowsIn<'a> {
    copy: CopyIn<'a>,
    waiting: BytesMut,
}

impl RowsIn<'_> {
    /// Hands on bytes of rows in COPY's text format, line breaks and all.
    pub async fn write(&mut self, bytes: &[u8], ends: bool) -> Result<(), Error> {
        self.waiting.extend_from_slice(bytes);
        if ends {
            self.waiting.extend_from_slice(b"\n");
        }
        if self.waiting.len() >= CHUNK { self.send().await } else { Ok(()) }
    }

    /// Hands on a chunk of the same as it is.
    pub async fn pass(&mut self, chunk: Bytes) -> Result<(), Error> {
        match self.copy.sink.as_mut().send(chunk).await {
            Ok(()) => Ok(()),
            // the server has ended it, and its answer says why
            Err(error) => Err(self.copy.sink.as_mut().finish().await.err().unwrap_or(error)),
        }
    }

    /// Ends them; the answer is how many they were.
    pub async fn finish(mut self) -> Result<u64, Error> {
        if !self.waiting.is_empty() {
            self.send().await?;
        }
        self.copy.sink.as_mut().finish().await
    }

    async fn send(&mut self) -> Result<(), Error> {
        let chunk = self.waiting.split().freeze();
        self.pass(chunk).await
    }
}
