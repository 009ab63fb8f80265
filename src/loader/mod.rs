//! A stored archive into databases: SQL of either format, statement by statement and row by row over our own session.
//! Rows come first; what PostgreSQL cannot load from its own dump is left out, and noted.

pub(crate) mod archive;
mod builds;
mod connections;
pub(crate) mod exception;
mod execution;
mod failures;
mod judgement;
pub(crate) mod parts;
mod plain_table;
mod rows;
pub(crate) mod sql;
mod surroundings;
pub(crate) mod transfer;

use crate::config::{Config, Format, ServerRole, Source};
use crate::dump_format::script::{LeaveOut, Script, ScriptError};
use crate::dump_format::sql_lexer::{Charset, Intent};
use crate::error::{Error, ServerError};
use crate::postgres::connection::{Connection, ServerVersion};
use crate::postgres::loading::{LoadSession, SessionOptions};
use crate::postgres::restore::Blame;
use crate::postgres::scratch::{Scratch, ScratchError, ScratchServer};
use crate::postgres::tools::{self, Tools};
use crate::postgres::{self, properties};
use crate::progress::{self, Counters};
use crate::record::facts::reader::DatabaseFacts;
use crate::record::facts::{DatabaseHead, Subject};
use crate::record::manifest::Manifest;
use crate::repository::{Backup, Repository};
use crate::shutdown::{Shutdown, budget};
use crate::text;
use archive::Reading;
use connections::Connections;
use exception::Omission;
use execution::{Execution, Filling, LoadState};
use futures_util::future::join_all;
use judgement::Matter;
use sql::stream_sql;
use std::collections::BTreeSet;
use std::time::Instant;
use tracing::{info, warn};

/// Why a dump does not go on into a database: what is wrong with the backup, or with something else.
pub(crate) enum Broken {
    Backup(String),
    Other(Error),
}

impl<E: Into<Error>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl From<ScriptError> for Broken {
    fn from(error: ScriptError) -> Self {
        Self::Backup(error.to_string())
    }
}

/// What loading an archive needs.
pub(crate) struct Loader<'a> {
    pub(crate) config: &'a Config,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) repository: &'a Repository,
    pub(crate) backup: &'a Backup,
    pub(crate) server: &'a ScratchServer,
    /// Of a custom archive, those that make SQL of it.
    pub(crate) tools: Option<Tools>,
    /// Roles of the source that the server has.
    pub(crate) roles: BTreeSet<String>,
    /// What of the dump does not get into the database.
    pub(crate) leave_out: LeaveOut,
    /// A bar shows how far it has come, instead of lines.
    pub(crate) terminal: bool,
    /// Connections that load at the same time.
    pub(crate) jobs: usize,
}

/// A database that has its part of the dump.
#[derive(Clone, Default)]
pub(crate) struct Filled {
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// Those of them after the last row: indexes, keys and constraints.
    pub(crate) build_seconds: f64,
    /// Subscriptions that were left out.
    pub(crate) subscriptions: Vec<String>,
    /// Every tablespace that the dump names is on the server.
    pub(crate) has_tablespaces: bool,
    /// What the database does not hold, or not as it was.
    pub(crate) left_out: Vec<Omission>,
}

impl Loader<'_> {
    /// Makes an empty scratch database of that name, or one like it.
    pub(crate) async fn make(&self, wanted: &str, expected: &DatabaseHead) -> Result<Scratch, Error> {
        let shutdown = self.shutdown;
        if let Some(stop) = shutdown.reason() {
            return Err(stop.into());
        }
        // not dropped half-way: what is made has to be marked
        match shutdown.finish(budget::SCRATCH, self.server.create(wanted, &expected.properties)).await {
            Some(made) => Ok(made?),
            None => {
                let stop = shutdown.reason().map(Error::from);
                Err(stop.unwrap_or_else(|| Error::Io("creating the scratch database: no answer in time".to_owned())))
            }
        }
    }

    /// Drops a scratch database; one that was not filled to its end may have filled the server's disk.
    pub(crate) async fn remove(&self, scratch: &Scratch, is_whole: bool) {
        if !is_whole && let Some(Err(error)) = self.shutdown.finish(budget::SCRATCH, self.server.empty(scratch)).await {
            warn!("{error}");
        }
        match self.shutdown.finish(budget::SCRATCH, self.server.drop(scratch)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!("{error}; the next run will drop it"),
            None => warn!("{} could not be dropped in time; the next run will drop it", scratch.name),
        }
    }

    /// Loads the database's part of the dump, which ends there. Where rows break a constraint while they are loaded, the
    /// database is made anew and loaded once more without it, from a second reading; the first one goes on, for the
    /// checksum.
    pub(crate) async fn fill(
        &self,
        scratch: &mut Scratch,
        reading: &mut Reading,
        expected: DatabaseFacts<'_>,
        end: Option<u64>,
    ) -> Result<Filled, Broken> {
        if let Some(filled) = self.fill_once(scratch, reading, expected, end, false).await? {
            return Ok(filled);
        }
        info!(
            "rows of {} violate a constraint while they load; \
             they are loaded again, and the constraint is checked afterwards",
            expected.name
        );
        self.remove(scratch, false).await;
        *scratch = self.make(&scratch.name, &expected).await?;
        let keys = self.config.encryption.identities.as_ref();
        let opened = Reading::open_bytes(self.repository, self.backup, keys);
        let mut second = self.shutdown.guard(opened).await??;
        let filled = self.fill_once(scratch, &mut second, expected, end, true).await?;
        filled.ok_or_else(|| Broken::Backup("its rows violate a constraint that is switched off".to_owned()))
    }

    /// None where rows broke a constraint that was not taken off.
    async fn fill_once(
        &self,
        scratch: &Scratch,
        reading: &mut Reading,
        expected: DatabaseFacts<'_>,
        end: Option<u64>,
        all_off: bool,
    ) -> Result<Option<Filled>, Broken> {
        let started = Instant::now();
        let session = self.shutdown.guard(self.open_session(scratch, &expected)).await??;
        let mut connections = Connections::new(session, self.server.role());
        let lacking = self.shutdown.guard(surroundings::make_extensions(self, scratch, expected)).await??;
        let session = connections.first();
        let target = Filling { loader: self, scratch, expected, session: &session };
        let mut state = LoadState::new(lacking, all_off);
        let passed = self.pass(target, reading, end, &mut state, &mut connections).await?;
        if state.again {
            return Ok(None);
        }
        let (subscriptions, has_tablespaces) = passed;
        let ended = Instant::now();
        let rows_ended = state.rows_ended.unwrap_or(ended);
        Ok(Some(Filled {
            seconds: (ended - started).as_secs_f64(),
            build_seconds: (ended - rows_ended).as_secs_f64(),
            subscriptions,
            has_tablespaces,
            left_out: state.left_out,
        }))
    }

    /// A session as the dump wants it, in which things are as at the source.
    async fn open_session(&self, scratch: &Scratch, expected: &DatabaseHead) -> Result<LoadSession, Error> {
        let lc_monetary = &expected.lc_monetary;
        let knows_locale = self.server.knows_locale(lc_monetary).await;
        if !knows_locale {
            warn!("the server lacks the locale {lc_monetary}, so values of type money may be misread");
        }
        let lc_monetary = if knows_locale { lc_monetary } else { "" };
        let options = SessionOptions { lc_monetary, more: self.server.quietly() };
        let (target, server) = (self.server.source(scratch), self.server.role());
        let opened = LoadSession::open(&target, options).await;
        let session = opened.map_err(|cause| ScratchError::Connect { server, cause })?;
        session.set_as_at_source(expected, &target.user).await.map_err(ServerError::Compare)?;
        session.fit_memory(self.jobs).await.map_err(ServerError::Compare)?;
        Ok(session)
    }

    /// Sessions beside the first one; one that the server does not give is one less.
    async fn open_beside(&self, target: Filling<'_>) -> Vec<LoadSession> {
        let Filling { scratch, expected, .. } = target;
        let opened = join_all((1..self.jobs).map(|_| self.open_session(scratch, &expected))).await;
        let (mut sessions, mut refused) = (Vec::new(), None);
        for one in opened {
            match one {
                Ok(session) => sessions.push(session),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            warn!("loading over {} instead of {}: {error}", text::count(sessions.len() + 1, "connection"), self.jobs);
        }
        sessions
    }

    /// Reads the dump once, and says how far it has come.
    async fn pass(
        &self,
        target: Filling<'_>,
        reading: &mut Reading,
        end: Option<u64>,
        state: &mut LoadState,
        connections: &mut Connections,
    ) -> Result<(Vec<String>, bool), Broken> {
        let expected = target.expected;
        let databases = self.manifest().subject == Subject::Cluster;
        let script = Script::new(LeaveOut { databases, ..self.leave_out.clone() });
        let counters = Counters::default();
        let begin = expected.raw_offset;
        let filling = async {
            let mut execution = Execution::new(target, script, state, connections, counters.clone());
            stream_sql(self.config, self.tools.as_ref(), reading, begin, end, &mut execution).await?;
            execution.finish().await
        };
        let (all, lines) = (self.manifest().raw_bytes, counters.clone());
        let progress = async {
            if self.terminal {
                progress::show_restore_bar(lines, all).await
            } else {
                progress::write_restore_lines(lines, &expected.name, all).await
            }
        };
        let filled = self.shutdown.guard(async {
            tokio::select! {
                filled = filling => filled,
                never = progress => match never {},
            }
        });
        filled.await?
    }

    /// What is known of the backup.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.backup.manifest
    }

    /// Gives a filled database the properties of the source; the answer is what was refused.
    pub(crate) async fn give_properties(
        &self,
        scratch: &Scratch,
        expected: &DatabaseHead,
    ) -> Result<Vec<String>, Error> {
        let connection = self.server.enter(scratch, "backup restore").await?;
        Ok(self.apply_properties(&connection, scratch, expected).await)
    }

    /// Gives the database the properties of the source; the answer is what was refused. Last, because they change what
    /// sessions may do.
    pub(crate) async fn apply_properties(
        &self,
        connection: &Connection,
        scratch: &Scratch,
        expected: &DatabaseHead,
    ) -> Vec<String> {
        let (name, wanted) = (&scratch.name, &expected.properties);
        let mut statements = properties::settings(name, wanted, &self.roles);
        if !self.leave_out.owners {
            statements.extend(properties::ownership(name, wanted));
        }
        let mut refused = Vec::new();
        for statement in statements {
            // inside the database, whose encoding the texts are stored in
            if let Err(error) = connection.batch_execute(&statement).await {
                // not the value of a setting, which may be a secret
                let what = statement.split(" TO '").next().unwrap_or_default();
                refused.push(format!("{what}: {}", postgres::cause(&error)));
            }
        }
        for role in wanted.role_settings.keys().filter(|role| !self.roles.contains(*role)) {
            refused.push(format!("settings of the role {role}, which does not exist on this server"));
        }
        refused
    }
}

/// A session for statements in UTF-8, into no database in particular.
pub(crate) async fn open_session(target: &Source) -> Result<LoadSession, Error> {
    let opened = LoadSession::open(target, SessionOptions { lc_monetary: "", more: "" }).await;
    Ok(opened.map_err(|cause| ScratchError::Connect { server: target.role, cause })?)
}

/// Runs one statement that was put together from a dump, all or nothing; it is not shown, because it may hold a password.
pub(crate) async fn run_alone(session: &LoadSession, statement: &str, server: ServerRole) -> Result<(), Error> {
    let intent = Intent::of(statement.as_bytes(), Charset::default());
    match session.run(statement.as_bytes()).await {
        Ok(()) => Ok(()),
        Err(error) => Err(match failures::judge_alone(&error, &intent) {
            (Matter::Bytes | Matter::Schema, cause) => {
                Error::Server(ServerError::Loading { cause, blame: Blame::Backup })
            }
            (matter, cause) => Error::Server(ServerError::Loading { cause, blame: matter.blame(server) }),
        }),
    }
}

/// The client tools that make SQL of the archive, where it is not SQL already. A server that is older than those that made
/// the dump may not take it.
pub(crate) async fn client_tools(
    config: &Config,
    manifest: &Manifest,
    server: &ScratchServer,
) -> Result<Option<Tools>, Error> {
    let dumped_by = &manifest.versions.client;
    let (client, version) = (ServerVersion::parse(dumped_by).major, server.connection().version());
    if version.major < client {
        let (server, role) = (version.text.clone(), server.role());
        return Err(Error::Server(ServerError::OlderServer { role, server, client: dumped_by.clone() }));
    }
    if manifest.format == Format::Plain {
        return Ok(None);
    }
    let (bin_dir, search_path) = (config.dump.bin_dir.as_deref(), &config.dump.search_path);
    // older ones than made the dump may not read it; newer servers take what any of them sends
    let found = tools::find(bin_dir, search_path, &config.child_environment, client, dumped_by).await;
    Ok(Some(found.map_err(|error| error.of_dump(dumped_by))?.chosen))
}

/// Roles that a restore of the database names.
pub(crate) fn roles_of(facts: &DatabaseHead) -> BTreeSet<String> {
    let properties = &facts.properties;
    let privileges = properties.privileges.iter().flatten();
    let mut roles: BTreeSet<String> = facts.roles.iter().chain(&facts.roles_in_rows).cloned().collect();
    roles.insert(properties.owner.clone());
    roles.extend(privileges.flat_map(|one| one.grantee.iter().chain([&one.grantor]).cloned()));
    roles.extend(properties.role_settings.keys().cloned());
    roles
}
