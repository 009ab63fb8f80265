//! What an archive is read from: a database, the globals, or the whole server.

use super::context::{At, Context, StageError};
use super::preflight::{self, Ready};
use super::run::Attempt;
use super::tasks::Task;
use crate::config;
use crate::error::{Error, SourceError};
use crate::postgres::cluster::{self, ServerParts, Watch};
use crate::postgres::connection::{self, Connection};
use crate::postgres::dump::{self, Dump, DumpReader, Output, Stopper};
use crate::postgres::relay::{self, Detour, ReadingBudget, Relay, RelayedDump};
use crate::postgres::snapshot::Snapshot;
use crate::postgres::tools::Tools;
use crate::postgres::waits;
use crate::progress;
use crate::record::facts::Subject;
use crate::record::facts::writer::NewFacts;
use tokio_util::io::StreamReader;
use tracing::{info, warn};

/// A source that answers and can be read: nothing that can fail early is left to fail late.
pub(super) enum DumpSource {
    Database {
        connection: Connection,
        name: String,
        bytes: u64,
    },
    /// A database whose snapshot is taken, so that its dump can start at once.
    Snapshot(Taken),
    Globals,
    Cluster(Connection),
}

/// A snapshot, and what is known under it.
type Taken = (Snapshot, Box<NewFacts>);

impl DumpSource {
    /// True when the session ended while it waited.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Snapshot((snapshot, _)) => snapshot.is_lost(),
            Self::Database { connection, .. } | Self::Cluster(connection) => connection.is_closed(),
            Self::Globals => false,
        }
    }

    /// Takes the snapshot of a database.
    pub(super) async fn prepare(self, context: &Context) -> Result<Self, StageError> {
        match self {
            Self::Database { connection, name, bytes } => {
                Ok(Self::Snapshot(take(context, connection, &name, bytes).await?))
            }
            other => Ok(other),
        }
    }
}

async fn take(context: &Context, connection: Connection, name: &str, bytes: u64) -> Result<Taken, StageError> {
    let taken = context.shutdown.guard(async {
        let snapshot = Snapshot::open(connection).await?;
        let facts = snapshot.facts(name, bytes).await?;
        Ok::<_, tokio_postgres::Error>((snapshot, Box::new(facts)))
    });
    taken.await.at("snapshot")?.at("snapshot")
}

/// The bytes of an archive while PostgreSQL's own tools write them.
pub(super) struct Opened {
    pub(super) reader: DumpReader,
    pub(super) running: Running,
    /// Arguments of the child, for the manifest.
    pub(super) arguments: Vec<String>,
}

/// What lives as long as the reader is read.
pub(super) enum Running {
    /// The facts are handed over when the dump is at its end.
    Database {
        stopper: Stopper,
        facts: Option<Box<NewFacts>>,
        snapshot: Snapshot,
    },
    Globals {
        stopper: Stopper,
    },
    Cluster {
        watch: Watch,
        _connection: Connection,
    },
}

impl Running {
    /// Completes what is known of a database while its dump is read. A dump that DDL has come before is an error, and a
    /// fact when the attempt is lenient.
    pub(super) async fn describe(&mut self, context: &Context, attempt: Attempt) -> Result<(), StageError> {
        let Self::Database { facts: Some(facts), snapshot, .. } = self else { return Ok(()) };
        context.shutdown.guard(snapshot.describe(facts, !attempt.alone)).await.at("dump")?.at("dump")?;
        let is_strict = !attempt.lenient && context.config.dump.leaves_out_nothing();
        match is_strict {
            true if !facts.replaced.is_empty() => {
                Err(Error::Source(SourceError::Replaced(facts.replaced.clone()))).at("dump")
            }
            true if !facts.head.rewritten.is_empty() => {
                Err(Error::Source(SourceError::Rewritten(facts.head.rewritten.clone()))).at("dump")
            }
            _ => Ok(()),
        }
    }

    /// An error of the dump, and what it comes from where its snapshot is gone.
    pub(super) fn explain(&self, error: StageError) -> StageError {
        match self {
            Self::Database { snapshot, .. } => explain(snapshot, error),
            Self::Globals { .. } | Self::Cluster { .. } => error,
        }
    }

    /// Ends the child, whatever it was doing, and reaps it.
    pub(super) async fn stop(&self) {
        match self {
            Self::Database { stopper, .. } | Self::Globals { stopper } => stopper.stop().await,
            Self::Cluster { watch, .. } => watch.stop().await,
        }
    }

    /// Takes what is known of the databases in the archive.
    pub(super) fn take_databases(&mut self) -> Vec<NewFacts> {
        match self {
            Self::Database { facts, .. } => facts.take().map(|facts| *facts).into_iter().collect(),
            Self::Globals { .. } => Vec::new(),
            Self::Cluster { watch, .. } => watch.take_databases(),
        }
    }
}

/// Connects, and makes sure that everything can be read.
pub(super) async fn reach(context: &Context, task: &Task) -> Result<DumpSource, StageError> {
    match &task.subject {
        Subject::Database(name) => {
            let connection = enter(context, name).await?;
            Ok(DumpSource::Database { connection, name: name.clone(), bytes: task.expected_bytes() })
        }
        Subject::Globals => Ok(DumpSource::Globals),
        Subject::Cluster => {
            for database in &task.databases {
                enter(context, &database.name).await?;
            }
            let application = context.application();
            let connected = connection::connect(&context.config.source, &application);
            Ok(DumpSource::Cluster(context.shutdown.guard(connected).await.at("connect")?.at("connect")?))
        }
    }
}

async fn enter(context: &Context, database: &str) -> Result<Connection, StageError> {
    let application = context.application();
    let entered = context.shutdown.guard(preflight::enter(&context.config, database, &application)).await;
    match entered.at("connect")? {
        Err(error @ Error::Source(SourceError::Unreadable { .. })) => Err(error).at("preflight"),
        entered => entered.at("connect"),
    }
}

/// Starts to read: whoever has an answer may ask what the dump shows, because it has locked its tables by now. A cluster
/// asks by itself.
pub(super) async fn open(
    context: &Context,
    ready: &Ready<'_>,
    task: &Task,
    source: DumpSource,
    attempt: Attempt,
    reading: ReadingBudget,
) -> Result<Opened, StageError> {
    let (config, tools) = (&context.config, &ready.server.tools.chosen);
    info!("dumping {}", task.subject);
    let (snapshot, facts) = match source {
        DumpSource::Snapshot(taken) => taken,
        DumpSource::Database { connection, name, bytes } => take(context, connection, &name, bytes).await?,
        DumpSource::Globals => {
            let arguments = dump::globals_arguments(&config.dump, ready.server.reads_passwords, false);
            let dump = begin(context, tools, &config.source, Output::Globals, &arguments, None).await?;
            let running = Running::Globals { stopper: dump.stopper() };
            return Ok(Opened { reader: Box::new(dump), running, arguments });
        }
        DumpSource::Cluster(connection) => {
            return open_cluster(context, ready, task, connection, attempt, reading).await;
        }
    };
    let source = config.source.of(&facts.head.name);
    let arguments = dump::arguments(&config.dump, &facts.head.properties.encoding, snapshot.id());
    let output = config.dump.format.into();
    let bytes = facts.head.totals.database_bytes;
    let wanted = RelayedDump { snapshot: snapshot.id(), output, bytes, environment: &config.child_environment };
    let relay = relay::open(&source, &reading, wanted);
    let begun = begin(context, tools, &source, output, &arguments, relay.as_ref().map(Relay::detour)).await;
    let dump = begun.map_err(|error| explain(&snapshot, error))?;
    let running = Running::Database { stopper: dump.stopper(), facts: Some(facts), snapshot };
    Ok(Opened { reader: relay::merged(dump, relay), running, arguments })
}

fn explain(snapshot: &Snapshot, error: StageError) -> StageError {
    match (snapshot.why_lost(), error) {
        (Some(why), StageError { stage, error }) if !matches!(error, Error::Stopped(_)) => {
            StageError { stage, error: Error::Source(SourceError::SnapshotLost { why, error: Box::new(error) }) }
        }
        (_, error) => error,
    }
}

/// Starts a program and waits until it writes; where that does not come to be, it has ended.
async fn begin(
    context: &Context,
    tools: &Tools,
    source: &config::Source,
    output: Output,
    arguments: &[String],
    detour: Option<&Detour>,
) -> Result<Dump, StageError> {
    let environment = &context.config.child_environment;
    let mut dump = Dump::start(tools, source, output, arguments, environment, detour).at("dump")?;
    let stopper = dump.stopper();
    let told = async || {
        let why = waits::reason_of(source, dump::APPLICATIONS).await;
        warn!("{}: pg_dump has written nothing for another minute; {why}", source.database);
    };
    let begun = context.shutdown.guard(waits::telling(dump.begun(), progress::SILENT, told)).await;
    if !matches!(begun, Ok(Ok(()))) {
        stopper.stop().await;
    }
    begun.at("dump")?.at("dump")?;
    Ok(dump)
}

async fn open_cluster(
    context: &Context,
    ready: &Ready<'_>,
    task: &Task,
    connection: Connection,
    attempt: Attempt,
    reading: ReadingBudget,
) -> Result<Opened, StageError> {
    let config = &context.config;
    let parts = ServerParts {
        source: config.source.clone(),
        tools: ready.server.tools.chosen.clone(),
        settings: config.dump.clone(),
        inherited: config.child_environment.clone(),
        application: context.application(),
        passwords: ready.server.reads_passwords,
        databases: task.databases.clone(),
        lenient: attempt.lenient,
        takes_locks: !attempt.alone,
        reading,
    };
    let opened = context.shutdown.guard(cluster::stream(&connection, parts)).await.at("dump")?;
    let (stream, watch) = opened.map_err(SourceError::Cluster).at("dump")?;
    let reader = Box::new(StreamReader::new(Box::pin(stream)));
    let arguments = dump::create_arguments(&config.dump, "", None);
    Ok(Opened { reader, running: Running::Cluster { watch, _connection: connection }, arguments })
}
