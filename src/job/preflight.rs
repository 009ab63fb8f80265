//! Everything about server and targets that can fail early, before the first byte is dumped.

use super::context::{At, Context, StageError};
use super::tasks::{self, Task, Tasks};
use crate::config::Config;
use crate::error::{Error, SourceError, StoreError};
use crate::postgres;
use crate::postgres::catalog::{self, Database, Known};
use crate::postgres::connection::{self, ConnectError, Connection, ServerVersion};
use crate::postgres::lock::{self, Lock, LockError};
use crate::postgres::privileges::{self, Lack};
use crate::postgres::scratch::ScratchServer;
use crate::postgres::tools::{self, FoundTools, ToolError};
use crate::record::facts::Subject;
use crate::report::{Entry, Previous};
use crate::repository::{Backup, Repository, Side, Whose};
use crate::text;
use chrono::TimeDelta;
use futures_util::future::join_all;
use std::collections::{BTreeSet, HashMap};
use tracing::{info, instrument, warn};

/// What is known of the server before the dump.
#[derive(Debug, Clone)]
pub struct Server {
    pub version: ServerVersion,
    /// The client tools, and those that fit it.
    pub tools: FoundTools,
    /// Its databases that allow connections.
    pub databases: Vec<Database>,
    /// The role may read the passwords of roles.
    pub reads_passwords: bool,
    /// The number by which PostgreSQL knows the server.
    pub system_identifier: Option<String>,
    /// Some run has, or had, scratch databases there.
    pub has_scratch: bool,
    /// All its databases.
    pub known: Vec<Known>,
    /// What `ALTER ROLE ALL SET` says.
    pub settings_of_all_roles: Vec<String>,
    /// How far its clock is ahead of ours.
    pub ahead: TimeDelta,
}

/// A run that may begin to dump.
pub(super) struct Ready<'a> {
    pub(super) server: Server,
    pub(super) tasks: Tasks,
    /// Targets that answer.
    pub(super) sides: Vec<&'a Repository>,
    /// Why the others do not.
    pub(super) failed: Vec<StageError>,
    /// The newest backup of each subject before this run.
    pub(super) previous: HashMap<Subject, Previous>,
}

/// Looks at the server, and finds the client tools that fit it.
pub async fn examine_server(config: &Config, connection: &Connection) -> Result<Server, Error> {
    let version = connection.version().clone();
    let (bin_dir, search_path) = (config.dump.bin_dir.as_deref(), &config.dump.search_path);
    let tools = tools::find(bin_dir, search_path, &config.child_environment, version.major, &version.text).await?;
    tools.chosen.reach(&config.source)?;
    let own = &config.source.database;
    let is_wanted = |database: &Database| config.selection.saves(own, &database.name, database.is_template);
    let mut databases = catalog::databases(connection, is_wanted).await?;
    leave_to_provider(config, &mut databases).await;
    // a pooler may know the database by another name than the server does
    if !databases.iter().any(|database| database.name == *own) {
        let bytes = catalog::own_bytes(connection).await?;
        databases.push(Database { name: own.clone(), is_text: true, bytes, is_template: false });
    }
    let reads_passwords = catalog::reads_role_passwords(connection).await?;
    let system_identifier = catalog::system_identifier(connection).await;
    let has_scratch = catalog::has_scratch(connection).await?;
    let known = catalog::known(connection).await?;
    let ahead = catalog::clock_ahead(connection).await?;
    let settings_of_all_roles = catalog::settings_of_all_roles(connection).await?;
    Ok(Server {
        version,
        tools,
        databases,
        reads_passwords,
        system_identifier,
        has_scratch,
        known,
        settings_of_all_roles,
        ahead,
    })
}

/// Leaves out databases of whoever manages the server which let nobody in.
pub(super) async fn leave_to_provider(config: &Config, databases: &mut Vec<Database>) {
    let mut closed = Vec::new();
    for Database { name, .. } in &*databases {
        if config.selection.is_providers(name) {
            let entered = connection::connect(&config.source.trying_once().of(name), "backup preflight").await;
            if matches!(entered, Err(ConnectError::Refused { .. } | ConnectError::NotAllowed { .. })) {
                closed.push(name.clone());
            }
        }
    }
    if !closed.is_empty() {
        databases.retain(|database| !closed.contains(&database.name));
        info!(
            "{} left out: databases of the service that hosts this server, which nobody else may connect to",
            text::were(&closed)
        );
    }
}

/// Chooses what to save, and makes sure that the tools for it are there.
pub fn choose_tasks(config: &Config, server: &Server) -> Result<Tasks, Error> {
    let tasks = tasks::choose(&config.selection, &config.source.database, &server.databases)?;
    let path = server.tools.chosen.program("pg_dumpall");
    if tasks.list.iter().any(|task| task.subject.database().is_none()) && !path.is_file() {
        return Err(ToolError::Incomplete { path }.into());
    }
    Ok(tasks)
}

/// A connection to a database in which nothing is out of the role's reach.
pub async fn enter(config: &Config, database: &str, application: &str) -> Result<Connection, Error> {
    let (connection, lacks) = look_into(config, database, application).await?;
    if lacks.is_empty() {
        return Ok(connection);
    }
    let error = Error::Source(SourceError::Unreadable { role: config.source.user.clone(), lacks });
    // pg_dump fails as a whole when it may not read one table; where some are left out on purpose only it knows which
    if config.dump.leaves_out_nothing() {
        return Err(error);
    }
    warn!("{error}; the dump of {database} will fail unless they are excluded");
    Ok(connection)
}

/// Connects to a database of the server, and asks what of it is out of the role's reach.
pub async fn look_into(config: &Config, database: &str, application: &str) -> Result<(Connection, Vec<Lack>), Error> {
    let connected = connection::connect(&config.source.of(database), application).await;
    let connection = connected.map_err(|error| match error {
        ConnectError::NoDatabase { .. } => Error::Source(SourceError::NoDatabase(database.to_owned())),
        error => error.into(),
    })?;
    let lacks = privileges::lacking(&connection).await?;
    Ok((connection, lacks))
}

/// Takes the lock, connecting with retry. A server that grants none is no reason not to back it up.
#[instrument(level = "error", skip_all, fields(stage = "preflight"))]
pub(super) async fn take_lock(context: &Context) -> Result<Option<Lock>, StageError> {
    let source = &context.config.source;
    let targets: Vec<String> = context.sides.iter().map(|repository| repository.location().name).collect();
    let (application, shard) = (context.application(), context.shard());
    let take = Lock::take(source, &targets, shard.as_deref(), &application);
    match context.shutdown.guard(take).await.at("connect")? {
        Ok(lock) => {
            info!("connected to {}", source.display());
            Ok(Some(lock))
        }
        Err(LockError::Query(error)) => {
            warn!("the server does not grant a lock ({}), so this run prunes nothing", postgres::cause(&error));
            Ok(None)
        }
        Err(error @ LockError::Taken { .. }) => Err(error).at("lock"),
        Err(error) => Err(error).at("connect"),
    }
}

/// Examines server and targets, and sweeps what dead runs left.
#[instrument(level = "error", skip_all, fields(stage = "preflight"))]
pub(super) async fn prepare<'a>(context: &'a Context, lock: Option<&Lock>) -> Result<Ready<'a>, StageError> {
    let config = &context.config;
    let guarded = context.shutdown.guard(async {
        match lock {
            Some(lock) => examine_server(config, lock.connection()).await,
            None => {
                let connection = connection::connect(&config.source, &context.application()).await?;
                examine_server(config, &connection).await
            }
        }
    });
    let server = guarded.await.at("preflight")?.at("preflight")?;
    for repository in &context.sides {
        repository.learn_server(server.system_identifier.as_deref());
    }
    let tools = &server.tools.chosen;
    info!("PostgreSQL {}, dumped by pg_dump {} ({})", server.version.text, tools.version, tools.folder.display());
    let tasks = choose_tasks(config, &server).at("preflight")?;
    for glob in &tasks.idle_globs {
        warn!("`{glob}` matches no database on the server; check BACKUP_DATABASES and BACKUP_EXCLUDE_DATABASES");
    }

    if server.has_scratch {
        context.shutdown.guard(sweep_server(context)).await.at("preflight")?;
    }
    let unusable = context.unusable.iter().map(|error| StageError { stage: "preflight", error: error.clone().into() });
    let (sides, failed) = (Vec::new(), unusable.collect());
    let mut ready = Ready { server, tasks, sides, failed, previous: HashMap::new() };
    for repository in &context.sides {
        let prepared = context.shutdown.guard(prepare_side(context, repository, lock, &ready.tasks)).await;
        match prepared.at("preflight")? {
            Ok(previous) => {
                ready.sides.push(repository);
                for (subject, previous) in previous {
                    ready.previous.entry(subject).or_insert(previous);
                }
            }
            Err(error) => ready.failed.push(StageError { stage: "preflight", error }),
        }
    }
    if ready.sides.is_empty() {
        let errors: Vec<Error> = ready.failed.drain(..).map(|failed| failed.error).collect();
        return Err(one_of(errors)).at("preflight");
    }
    Ok(ready)
}

/// Drops what restores that were killed left on the source; what cannot be dropped is in nobody's way.
async fn sweep_server(context: &Context) {
    let source = &context.config.source;
    let swept = async {
        let server = ScratchServer::connect(source, &context.run_id, &source.name).await?;
        server.sweep().await
    };
    if let Err(error) = swept.await {
        warn!("looking for leftovers of killed restores: {error}");
    }
}

/// One error stays itself; several become one.
pub(super) fn one_of(mut errors: Vec<Error>) -> Error {
    if errors.len() == 1 { errors.remove(0) } else { Error::Targets(errors) }
}

/// Reaches one target: sweeps it, and asks it for the previous backups and for space.
async fn prepare_side(
    context: &Context,
    repository: &Repository,
    lock: Option<&Lock>,
    tasks: &Tasks,
) -> Result<HashMap<Subject, Previous>, Error> {
    let repository = &repository;
    let leftovers = repository.leftovers().await?;
    let living = match lock {
        Some(lock) => lock::living_runs(lock.connection()).await,
        None => None,
    };
    repository.sweep(&leftovers, living.as_deref(), (context.now)()).await;
    let newest = repository.newest(&tasks.subjects()).await?;
    let previous: HashMap<Subject, Previous> =
        newest.iter().map(|(subject, backup)| (subject.clone(), previous(backup))).collect();
    if repository.side() == Side::Local
        && let Some(space) = repository.space().await
    {
        let last = previous.values().map(|previous| previous.stored_bytes).sum();
        check_space(&repository.location().name, space.free, last)?;
    }
    Ok(previous)
}

fn previous(backup: &Backup) -> Previous {
    let manifest = &backup.manifest;
    Previous {
        started: manifest.started,
        finished: manifest.finished,
        stored_bytes: manifest.stored_bytes,
        rows: manifest.totals.rows,
        raw_bytes: manifest.raw_bytes,
    }
}

/// The subjects that the source has backups of, and the newest good one of each, on any side that answers.
pub(super) async fn newest_of_all(context: &Context) -> (BTreeSet<Subject>, HashMap<Subject, Previous>) {
    let asked = join_all(context.sides.iter().map(super::super::repository::Repository::catalog)).await;
    let (mut saved, mut newest) = (BTreeSet::new(), HashMap::<Subject, Previous>::new());
    for catalog in asked {
        let backups = catalog.map(|catalog| catalog.backups).unwrap_or_default();
        let own = || backups.iter().filter(|backup| backup.whose == Whose::Ours);
        saved.extend(own().map(|backup| backup.manifest.subject.clone()));
        for backup in own().filter(|backup| backup.is_good()) {
            let found = previous(backup);
            let known = newest.entry(backup.manifest.subject.clone()).or_insert(found);
            if known.started < found.started {
                *known = found;
            }
        }
    }
    (saved, newest)
}

/// A disk with less than half of the last backups' size would be filled for nothing.
fn check_space(place: &str, free: u64, last: u64) -> Result<(), Error> {
    let no_space = || {
        Error::Store(StoreError::NoSpace { place: place.to_owned(), free: text::size(free), needed: text::size(last) })
    };
    if free < last / 2 {
        return Err(no_space());
    }
    if free < last + last / 10 {
        warn!("{}", no_space());
    }
    Ok(())
}

impl Ready<'_> {
    /// Bytes that the dump is likely to have: those of the last one, or else of the databases on the server's disk.
    pub(super) fn likely_bytes(&self, task: &Task) -> u64 {
        let last = self.previous.get(&task.subject).map(|previous| previous.raw_bytes);
        last.filter(|bytes| *bytes > 0).unwrap_or_else(|| task.expected_bytes())
    }

    /// An entry for a subject, with what is known of it beforehand.
    pub(super) fn entry(&self, subject: Subject) -> Entry {
        let previous = self.previous.get(&subject).copied();
        Entry { previous, ..Entry::new(subject) }
    }
}
