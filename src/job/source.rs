//! What an archive is read from: a database, the globals, or the whole server.

use super::preflight::{self, Ready};
use super::tasks::Task;
use super::{At, Context, StageError};
use crate::error::Error;
use crate::facts::{DatabaseFacts, Subject};
use crate::postgres::catalog::Database;
use crate::postgres::cluster::{self, ClusterError, Parts, Watch};
use crate::postgres::connection::{self, Connection};
use crate::postgres::dump::{self, Dump, Output, Stopper};
use crate::postgres::snapshot::Snapshot;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;
use tracing::{info, warn};

/// Sources that answer and can be read: nothing that can fail early is left to fail late.
pub(super) enum Reached {
    Database(Connection, Database),
    Globals,
    Cluster(Connection),
}

/// Sources whose dump can start at once: of a database the snapshot is taken.
pub(super) enum Prepared {
    Database { snapshot: Snapshot, facts: Box<DatabaseFacts> },
    Globals,
    Cluster(Connection),
}

/// How far a source has come when its archive is announced.
pub(super) enum Stage {
    Reached(Reached),
    Prepared(Prepared),
}

impl Prepared {
    /// True when the session ended while it waited.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Database { snapshot, .. } => snapshot.is_lost(),
            Self::Cluster(connection) => connection.is_closed(),
            Self::Globals => false,
        }
    }
}

/// The bytes of an archive while PostgreSQL's own tools write them.
pub(super) struct Opened {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) running: Running,
    /// Arguments of the child, for the manifest.
    pub(super) arguments: Vec<String>,
}

/// What lives as long as the reader is read.
pub(super) enum Running {
    Database { stopper: Stopper, facts: Box<DatabaseFacts>, _snapshot: Snapshot },
    Globals { stopper: Stopper },
    Cluster { watch: Watch, _connection: Connection },
}

impl Running {
    /// Ends the child, whatever it was doing, and reaps it.
    pub(super) async fn stop(&self) {
        match self {
            Self::Database { stopper, .. } | Self::Globals { stopper } => stopper.stop().await,
            Self::Cluster { watch, .. } => watch.stop().await,
        }
    }

    /// What is known of the databases in the archive.
    pub(super) fn databases(&self) -> Vec<DatabaseFacts> {
        match self {
            Self::Database { facts, .. } => vec![(**facts).clone()],
            Self::Globals { .. } => Vec::new(),
            Self::Cluster { watch, .. } => watch.databases(),
        }
    }
}

/// Connects, and makes sure that everything can be read.
pub(super) async fn reach(context: &Context, task: &Task) -> Result<Reached, StageError> {
    let application = context.application();
    match &task.subject {
        Subject::Database(name) => {
            let database =
                Database { name: name.clone(), is_text: true, bytes: task.expected_bytes, is_template: false };
            Ok(Reached::Database(enter(context, name).await?, database))
        }
        Subject::Globals => Ok(Reached::Globals),
        Subject::Cluster => {
            for database in &task.databases {
                enter(context, &database.name).await?;
            }
            let connected = connection::connect(&context.config.source, &application);
            Ok(Reached::Cluster(context.shutdown.guard(connected).await.at("connect")?.at("connect")?))
        }
    }
}

/// A connection to a database in which nothing is out of the role's reach.
async fn enter(context: &Context, database: &str) -> Result<Connection, StageError> {
    let (config, application) = (&context.config, context.application());
    let entered = context.shutdown.guard(preflight::enter(config, database, &application)).await;
    let (connection, lacks) = entered.at("connect")?.at("connect")?;
    if lacks.is_empty() {
        return Ok(connection);
    }
    let error = Error::Unreadable { role: config.source.user.clone(), lacks };
    // pg_dump fails as a whole when it may not read one table; where some are left out on purpose only it knows which
    if config.dump.leaves_out_nothing() {
        return Err(error).at("preflight");
    }
    warn!("{error}; the dump of {database} fails unless they are excluded");
    Ok(connection)
}

/// Takes the snapshot of a database, and what is known under it.
pub(super) async fn prepare(context: &Context, reached: Reached) -> Result<Prepared, StageError> {
    Ok(match reached {
        Reached::Database(connection, database) => {
            let (snapshot, facts) =
                context.shutdown.guard(snapshot(connection, &database)).await.at("snapshot")?.at("snapshot")?;
            Prepared::Database { snapshot, facts: Box::new(facts) }
        }
        Reached::Globals => Prepared::Globals,
        Reached::Cluster(connection) => Prepared::Cluster(connection),
    })
}

async fn snapshot(
    connection: Connection,
    database: &Database,
) -> Result<(Snapshot, DatabaseFacts), tokio_postgres::Error> {
    let snapshot = Snapshot::open(connection).await?;
    let facts = snapshot.facts(database).await?;
    Ok((snapshot, facts))
}

/// Starts to read.
pub(super) async fn open(
    context: &Context,
    ready: &Ready<'_>,
    task: &Task,
    prepared: Prepared,
) -> Result<Opened, StageError> {
    let (config, tools) = (&context.config, &ready.server.tools.chosen);
    info!("dumping {}", task.subject);
    match prepared {
        Prepared::Database { snapshot, facts } => {
            let source = config.source.of(&facts.name);
            let arguments = dump::arguments(&config.dump, snapshot.id());
            let output = config.dump.format.into();
            let dump = Dump::start(tools, &source, output, &arguments, &config.child_environment).at("dump")?;
            let running = Running::Database { stopper: dump.stopper(), facts, _snapshot: snapshot };
            Ok(Opened { reader: Box::new(dump), running, arguments })
        }
        Prepared::Globals => {
            let arguments = dump::globals_arguments(&config.dump, ready.server.reads_passwords, false);
            let output = Output::Globals;
            let dump = Dump::start(tools, &config.source, output, &arguments, &config.child_environment).at("dump")?;
            Ok(Opened { running: Running::Globals { stopper: dump.stopper() }, reader: Box::new(dump), arguments })
        }
        Prepared::Cluster(connection) => {
            let parts = Parts {
                source: config.source.clone(),
                tools: tools.clone(),
                settings: config.dump.clone(),
                inherited: config.child_environment.clone(),
                application: context.application(),
                passwords: ready.server.reads_passwords,
                databases: task.databases.clone(),
            };
            let opened = context.shutdown.guard(cluster::stream(&connection, parts)).await.at("dump")?;
            let (stream, watch) = opened.map_err(|error: ClusterError| Error::Cluster(error)).at("dump")?;
            let reader = Box::new(StreamReader::new(Box::pin(stream)));
            let mut arguments = dump::arguments(&config.dump, None);
            arguments.extend(dump::CREATE.map(str::to_owned));
            Ok(Opened { reader, running: Running::Cluster { watch, _connection: connection }, arguments })
        }
    }
}
