//! The whole server as one stream of SQL: what `pg_dumpall --clean --if-exists` writes, made of its parts.
//!
//! `pg_dumpall` knows no snapshots, so its work is done here in its order: databases dropped, globals, then each
//! database by `pg_dump --create` under an exported snapshot of its own. Every part must end well before the next one
//! begins, and the last read fails unless all did.

use super::catalog::{self, Database};
use super::connection::{ConnectError, Connection, connect};
use super::dump::{self, Dump, DumpError, DumpReader, Output, Stopper};
use super::relay::{self, ReadingBudget, Relay, RelayedDump};
use super::snapshot::Snapshot;
use super::tools::Tools;
use crate::config::{self, Source};
use crate::record::facts::writer::NewFacts;
use crate::text;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncReadExt;
use tracing::info;

/// Bytes handed on at once.
const CHUNK: usize = 256 << 10;

/// These exist on every server, and a restore may be connected to them: not dropped beforehand, but in their turn.
const ALWAYS_THERE: &[&str] = &["postgres", "template1"];

/// Why the stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A question failed.
    #[error("querying the database: {}", super::cause(.0))]
    Query(#[from] tokio_postgres::Error),
    /// DDL came between a snapshot and its dump.
    #[error("{} truncated or rewritten while the dump began, so the dump would show them empty", crate::text::were(.0))]
    Rewritten(Vec<String>),
    /// A part is not whole.
    #[error("{part}: {cause}")]
    Dump {
        /// The database, or globals.
        part: String,
        /// What happened.
        cause: DumpError,
    },
}

/// What the parts need.
pub struct ServerParts {
    /// The server.
    pub source: Source,
    /// Its client tools.
    pub tools: Tools,
    /// What pg_dump is asked for.
    pub settings: config::DumpSettings,
    /// Variables that child processes inherit.
    pub inherited: Vec<(String, OsString)>,
    /// Name of the sessions.
    pub application: String,
    /// The role may read passwords.
    pub passwords: bool,
    /// The databases, in the order of the archive.
    pub databases: Vec<Database>,
    /// Go on although DDL came between a snapshot and its dump.
    pub lenient: bool,
    /// Texts that are made under locks are asked for.
    pub takes_locks: bool,
    /// Who reads rows beside pg_dump.
    pub reading: ReadingBudget,
}

/// What a stream of the whole server shows of itself while somebody else reads it; clones look at the same stream.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    stopper: Option<Stopper>,
    databases: Vec<NewFacts>,
}

impl Watch {
    /// Ends the child that runs now and reaps it.
    pub async fn stop(&self) {
        let stopper = self.seen().stopper.clone();
        if let Some(stopper) = stopper {
            stopper.stop().await;
        }
    }

    /// Takes the facts of the databases whose dump has begun, in their order.
    pub fn take_databases(&self) -> Vec<NewFacts> {
        std::mem::take(&mut self.seen().databases)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part that is read now; the snapshot lives as long as its dump.
struct ServerPart {
    name: String,
    dump: DumpReader,
    snapshot: Option<Snapshot>,
}

struct Cluster {
    parts: ServerParts,
    left: VecDeque<Database>,
    current: Option<ServerPart>,
    watch: Watch,
    /// Bytes handed on so far.
    offset: u64,
}

/// The stream and what shows where it is. `connection` answers questions about the server.
pub async fn stream(
    connection: &Connection,
    parts: ServerParts,
) -> Result<(impl Stream<Item = io::Result<Bytes>> + Send + use<>, Watch), ClusterError> {
    let watch = Watch::default();
    let preamble = preamble(connection, &parts.databases).await?;
    let (left, offset) = (parts.databases.iter().cloned().collect(), preamble.len() as u64);
    let mut cluster = Cluster { left, parts, current: None, watch: watch.clone(), offset };
    cluster.begin_globals().await?;
    let first = stream::iter([Ok(Bytes::from(preamble))]);
    let rest = stream::try_unfold(cluster, |mut cluster| async move {
        let next = cluster.next().await.map_err(io::Error::other)?;
        cluster.offset += next.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(next.map(|bytes| (bytes, cluster)))
    });
    Ok((stream::StreamExt::chain(first, rest), watch))
}

/// What makes room: as `pg_dumpall --clean --if-exists`, which drops databases before roles, because roles own them.
async fn preamble(connection: &Connection, databases: &[Database]) -> Result<String, tokio_postgres::Error> {
    let dropped: Vec<&Database> =
        databases.iter().filter(|database| !ALWAYS_THERE.contains(&database.name.as_str())).collect();
    let names: Vec<String> = dropped.iter().map(|database| database.name.clone()).collect();
    let mut text = "--\n-- Whole server: databases dropped, roles and tablespaces, then each database\n--\n\n\
                    SET default_transaction_read_only = off;\nSET client_encoding = 'UTF8';\n\n"
        .to_owned();
    for (database, quoted) in dropped.iter().zip(catalog::quoted(connection, &names).await?) {
        if database.is_template {
            let literal = database.name.replace('\'', "''");
            let of = "UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname =";
            text.push_str(&format!("{of} '{literal}';\n"));
        }
        text.push_str(&format!("DROP DATABASE IF EXISTS {quoted};\n"));
    }
    Ok(text + "\n")
}

impl Cluster {
    async fn begin_globals(&mut self) -> Result<(), ClusterError> {
        let arguments = dump::globals_arguments(&self.parts.settings, self.parts.passwords, true);
        let source = self.parts.source.clone();
        self.current = Some(self.begin("globals".to_owned(), &source, Output::Globals, &arguments, None).await?);
        Ok(())
    }

    async fn begin_database(&mut self, database: &Database) -> Result<Bytes, ClusterError> {
        let source = self.parts.source.of(&database.name);
        let snapshot = Snapshot::open(connect(&source, &self.parts.application).await?).await?;
        let mut facts = snapshot.facts(&database.name, database.bytes).await?;
        let arguments = dump::create_arguments(&self.parts.settings, &facts.head.properties.encoding, snapshot.id());
        info!("dumping {}", database.name);
        let (output, environment) = (Output::Plain, self.parts.inherited.as_slice());
        let wanted = RelayedDump { snapshot: snapshot.id(), output, bytes: database.bytes, environment };
        let relay = relay::open(&source, &self.parts.reading, wanted);
        let mut part = self.begin(database.name.clone(), &source, output, &arguments, relay).await?;
        snapshot.describe(&mut facts, self.parts.takes_locks).await?;
        if !facts.head.rewritten.is_empty() && !self.parts.lenient && self.parts.settings.leaves_out_nothing() {
            return Err(ClusterError::Rewritten(facts.head.rewritten));
        }
        facts.head.raw_offset = self.offset;
        self.watch.seen().databases.push(facts);
        part.snapshot = Some(snapshot);
        self.current = Some(part);
        // the first of these is restored while psql may still be connected to it
        let elsewhere =
            self.parts.databases.iter().all(|other| other.name != "template1") && database.name == "postgres";
        let connect = if elsewhere { "\\connect template1\n\n" } else { "" };
        Ok(Bytes::from(format!("--\n-- Database {}\n--\n\n{connect}", text::one_line(&database.name))))
    }

    async fn begin(
        &mut self,
        name: String,
        source: &Source,
        output: Output,
        arguments: &[String],
        relay: Option<Relay>,
    ) -> Result<ServerPart, ClusterError> {
        let detour = relay.as_ref().map(Relay::detour);
        let started = Dump::start(&self.parts.tools, source, output, arguments, &self.parts.inherited, detour);
        let failed = |cause| ClusterError::Dump { part: name.clone(), cause };
        let mut dump = started.map_err(failed)?;
        self.watch.seen().stopper = Some(dump.stopper());
        dump.begun().await.map_err(failed)?;
        Ok(ServerPart { name, dump: relay::merged(dump, relay), snapshot: None })
    }

    /// The next bytes; none after the last part has ended well.
    async fn next(&mut self) -> Result<Option<Bytes>, ClusterError> {
        loop {
            if let Some(part) = &mut self.current {
                let mut chunk = BytesMut::with_capacity(CHUNK);
                match part.dump.read_buf(&mut chunk).await {
                    Ok(0) => self.current = None,
                    Ok(_) => return Ok(Some(chunk.freeze())),
                    Err(error) => {
                        let cause = error.downcast::<DumpError>().unwrap_or_else(DumpError::Read);
                        return Err(ClusterError::Dump { part: part.name.clone(), cause });
                    }
                }
            } else if let Some(database) = self.left.pop_front() {
                return self.begin_database(&database).await.map(Some);
            } else {
                return Ok(None);
            }
        }
    }
}
