//! A stored archive into databases: read, filtered, and handed to PostgreSQL's own tools.

pub(crate) mod archive;
pub(crate) mod parts;
pub(crate) mod sql;

use crate::config::{Config, Format};
use crate::dump_format::restore_filter::{Filter, FilterError, LeaveOut};
use crate::error::{Error, ServerError};
use crate::postgres::connection::{Connection, ServerVersion};
use crate::postgres::restore::{Restore, Way};
use crate::postgres::scratch::{Scratch, ScratchServer};
use crate::postgres::tools::{self, ToolError, Tools};
use crate::postgres::{self, properties};
use crate::progress::{self, Counters};
use crate::record::facts::{DatabaseHead, Subject};
use crate::record::manifest::Manifest;
use crate::shutdown::{Shutdown, budget};
use archive::Reading;
use sql::{Sink, blame, stream_sql};
use std::collections::BTreeSet;
use std::time::Instant;
use tracing::warn;

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

impl From<FilterError> for Broken {
    fn from(error: FilterError) -> Self {
        Self::Backup(error.to_string())
    }
}

/// What loading an archive needs.
pub(crate) struct Loader<'a> {
    pub(crate) config: &'a Config,
    pub(crate) run_id: &'a str,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) manifest: &'a Manifest,
    pub(crate) server: &'a ScratchServer,
    pub(crate) tools: Tools,
    /// Roles of the source that the server has.
    pub(crate) roles: BTreeSet<String>,
    /// What of the dump does not get into the database.
    pub(crate) leave_out: LeaveOut,
    /// A bar shows how far it has come, instead of lines.
    pub(crate) terminal: bool,
}

/// A database that has its part of the dump.
#[derive(Clone)]
pub(crate) struct Filled {
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// Subscriptions that were left out.
    pub(crate) subscriptions: Vec<String>,
    /// Every tablespace that the dump names is on the server.
    pub(crate) has_tablespaces: bool,
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
                Err(stop.unwrap_or_else(|| Error::Io("making the scratch database: no answer in time".to_owned())))
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
            Some(Err(error)) => warn!("{error}; the next run drops it"),
            None => warn!("{} could not be dropped in time, the next run does it", scratch.name),
        }
    }

    /// Hands the database's part of the dump, which ends there, to psql.
    pub(crate) async fn fill(
        &self,
        scratch: &Scratch,
        reading: &mut Reading,
        expected: &DatabaseHead,
        end: Option<u64>,
    ) -> Result<Filled, Broken> {
        let shutdown = self.shutdown;
        let started = Instant::now();
        let lc_monetary = &expected.lc_monetary;
        let knows_locale = shutdown.guard(self.server.knows_locale(lc_monetary)).await?;
        if !knows_locale {
            warn!("the server lacks the locale {lc_monetary}, so values of type money may be read as others");
        }
        let way = Way {
            lc_monetary: if knows_locale { lc_monetary } else { "" },
            restriction: self.run_id,
            options: self.server.quietly(),
            is_secret: false,
        };
        let (target, environment) = (self.server.source(scratch), &self.config.child_environment);
        let mut restore =
            shutdown.guard(Restore::start(&self.tools, &target, way, environment)).await?.map_err(blame)?;
        let databases = self.manifest.subject == Subject::Cluster;
        let filter = Filter::new(LeaveOut { databases, ..self.leave_out.clone() });
        let counters = Counters::default();
        let (format, begin) = (self.manifest.format, expected.raw_offset);
        let filling = async {
            let (restore, counters) = (&mut restore, counters.clone());
            let mut sink = Filtered { filter, restore, passed: Vec::new(), counters };
            stream_sql(self.config, &self.tools, format, reading, begin, end, &mut sink).await?;
            sink.finish().await
        };
        let (all, lines) = (self.manifest.raw_bytes, counters.clone());
        let progress = async {
            if self.terminal {
                progress::show_restore_bar(lines, all).await
            } else {
                progress::write_restore_lines(lines, &expected.name, all).await
            }
        };
        let filled = shutdown.guard(async {
            tokio::select! {
                filled = filling => filled,
                never = progress => match never {},
            }
        });
        match filled.await {
            Ok(Ok((subscriptions, has_tablespaces))) => {
                shutdown.guard(restore.finish()).await?.map_err(blame)?;
                let seconds = started.elapsed().as_secs_f64();
                Ok(Filled { seconds, subscriptions, has_tablespaces })
            }
            Ok(Err(broken)) => {
                restore.stop().await;
                Err(broken)
            }
            Err(stop) => {
                restore.stop().await;
                Err(stop.into())
            }
        }
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
            refused.push(format!("settings of the role {role}, which is not on this server"));
        }
        refused
    }
}

/// psql behind the filter.
struct Filtered<'a> {
    filter: Filter,
    restore: &'a mut Restore,
    passed: Vec<u8>,
    counters: Counters,
}

impl Sink for Filtered<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.filter.take(bytes, &mut self.passed)?;
        self.restore.write(&self.passed).await.map_err(blame)?;
        self.passed.clear();
        self.counters.add_raw(bytes.len() as u64);
        self.filter.table().into_iter().for_each(|table| self.counters.set_table(table));
        Ok(())
    }
}

impl Filtered<'_> {
    /// What is left, once the SQL is at its end; the answer are the subscriptions that were left out, and whether no
    /// tablespace was.
    async fn finish(mut self) -> Result<(Vec<String>, bool), Broken> {
        let has_tablespaces = self.filter.has_every_tablespace();
        let subscriptions = self.filter.finish(&mut self.passed)?;
        self.restore.write(&self.passed).await.map_err(blame)?;
        Ok((subscriptions, has_tablespaces))
    }
}

/// The client tools that read the dump and speak with a server of that version, which must be no older than they.
pub(crate) async fn client_tools(config: &Config, manifest: &Manifest, server: &ScratchServer) -> Result<Tools, Error> {
    let dumped_by = &manifest.versions.client;
    let (client, version) = (ServerVersion::parse(dumped_by).major, server.connection().version());
    if version.major < client {
        let (server, role) = (version.text.clone(), server.role());
        return Err(Error::Server(ServerError::OlderServer { role, server, client: dumped_by.clone() }));
    }
    let (bin_dir, search_path) = (config.dump.bin_dir.as_deref(), &config.dump.search_path);
    // older ones than made the dump may not read it; newer servers take what any of them sends
    let found = tools::find(bin_dir, search_path, &config.child_environment, client, dumped_by).await;
    let tools = found.map_err(|error| error.of_dump(dumped_by))?.chosen;
    if manifest.format == Format::Plain && !tools.knows_restrict() {
        return Err(ToolError::NoRestrict { version: tools.version, path: tools.folder }.into());
    }
    Ok(tools)
}

/// Roles that a restore of the database names.
pub(crate) fn roles_of(facts: &DatabaseHead) -> BTreeSet<String> {
    let properties = &facts.properties;
    let privileges = properties.privileges.iter().flatten();
    let mut roles: BTreeSet<String> = facts.roles.iter().cloned().collect();
    roles.insert(properties.owner.clone());
    roles.extend(privileges.flat_map(|one| one.grantee.iter().chain([&one.grantor]).cloned()));
    roles.extend(properties.role_settings.keys().cloned());
    roles
}
