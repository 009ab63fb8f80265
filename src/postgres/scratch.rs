//! Databases that live for one run: made, marked as ours by their comment, and dropped. What is not marked is never
//! touched.

use super::catalog::{self, Text, bytes_of, literal, quote};
use super::connection::{ConnectError, Connection, connect, connect_with};
use super::properties;
use crate::config::Source;
use crate::facts::DatabaseProperties;
use std::collections::BTreeSet;
use tokio_postgres::error::SqlState;
use tracing::{info, warn};

/// What the comment of a scratch database, and of a role made for it, begins with; the run's id and its source follow.
const MARK: &str = "scratch of backup run ";
/// What a scratch database is called until it has its comment; the run's id follows.
const UNMARKED: &str = "backup_scratch_";

/// Why there is no scratch database.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// The server cannot be reached.
    #[error("verify server: {0}")]
    Connect(#[from] ConnectError),
    /// The server would not.
    #[error("{action}: {}", super::cause(.cause))]
    Query {
        /// What was tried.
        action: String,
        /// What the server said.
        cause: tokio_postgres::Error,
    },
}

/// A server on which scratch databases are made, over one session that shows others that this run lives.
pub struct ScratchServer {
    connection: Connection,
    server: Source,
    run_id: String,
    /// Name of the source whose backups are restored: nobody else's leftovers are swept.
    source: String,
    roles: Vec<String>,
}

/// A scratch database.
#[derive(Debug, Clone)]
pub struct Scratch {
    /// Its name.
    pub name: String,
}

/// Longest name, in bytes; the server cuts longer ones.
const LONGEST: usize = 63;

/// Any number; held shared by every run that needs the roles which others may have made.
const ROLES_LOCK: i64 = 0x6261_636b_7570_0001;

fn asking(action: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> ScratchError {
    let action = action.into();
    |cause| ScratchError::Query { action, cause }
}

impl ScratchServer {
    /// Connects for a run that restores backups of the source of that name.
    pub async fn connect(server: &Source, run_id: &str, source: &str) -> Result<Self, ScratchError> {
        let application = super::application(run_id);
        let connection = match connect(server, &application).await {
            // every server has this one
            Err(ConnectError::NoDatabase { .. }) => connect(&server.of("template1"), &application).await?,
            connection => connection?,
        };
        let (run_id, source) = (run_id.to_owned(), source.to_owned());
        Ok(Self { connection, server: server.clone(), run_id, source, roles: Vec::new() })
    }

    /// The session.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The number by which PostgreSQL knows the server and its clones; none where the role may not ask.
    pub async fn system_identifier(&self) -> Option<String> {
        catalog::system_identifier(&self.connection).await
    }

    /// True when the server knows the locale, which may be that of another operating system.
    pub async fn knows_locale(&self, lc_monetary: &str) -> bool {
        let set = format!("SET lc_monetary = {}", literal(lc_monetary));
        let known = self.connection.batch_execute(&set).await.is_ok();
        let _ = self.connection.batch_execute("RESET lc_monetary").await;
        known
    }

    /// True when the role may make databases.
    pub async fn may_create(&self) -> Result<bool, ScratchError> {
        let question = "SELECT rolcreatedb OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
        let row = self.connection.query_typed_one(question, &[]).await.map_err(asking("asking for privileges"))?;
        Ok(row.get(0))
    }

    /// Drops what dead runs of the same source left: those without a session on this server.
    pub async fn sweep(&self) -> Result<(), ScratchError> {
        for (kind, name, run_id) in self.leftovers().await? {
            let dropped = match kind {
                Kind::Database => drop_database(&self.connection, &name).await.map(|()| true),
                Kind::Role => self.drop_role(&name).await,
            };
            match dropped {
                Ok(false) => {}
                Ok(true) => info!("dropped the {kind} {name}, which run {run_id} left on the verify server"),
                Err(error) => warn!("the {kind} {name}, which run {run_id} left, stays: {error}"),
            }
        }
        Ok(())
    }

    /// What runs of this source left that have no session any more, databases first; each with its run.
    async fn leftovers(&self) -> Result<Vec<(Kind, String, String)>, ScratchError> {
        let marked = format!(
            "SELECT true, {}, {} FROM pg_catalog.pg_database d
             UNION ALL SELECT false, {}, {} FROM pg_catalog.pg_roles r ORDER BY 1 DESC",
            bytes_of("d.datname::text"),
            bytes_of("coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), '')"),
            bytes_of("r.rolname::text"),
            bytes_of("coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), '')"),
        );
        let rows = self.connection.query_typed(&marked, &[]).await.map_err(asking("looking for leftovers"))?;
        // asked after the leftovers were looked for: what was made since belongs to a run that lives
        let living = format!("SELECT {} FROM pg_catalog.pg_stat_activity", bytes_of("coalesce(application_name, '')"));
        let living = self.connection.query_typed(&living, &[]).await.map_err(asking("asking who lives"))?;
        let living: Vec<Text> = living.iter().map(|row| row.get(0)).collect();
        let mut leftovers = Vec::new();
        for row in rows {
            let (is_database, name, comment): (bool, Text, Text) = (row.get(0), row.get(1), row.get(2));
            let kind = if is_database { Kind::Database } else { Kind::Role };
            let marked = comment.text.strip_prefix(MARK).and_then(|rest| rest.split_once(" of "));
            let marked = marked.filter(|(_, source)| *source == self.source).map(|(run_id, _)| run_id);
            // one whose maker died before it got its comment
            let unmarked = name.text.strip_prefix(UNMARKED).filter(|run_id| is_database && is_run_id(run_id));
            let Some(run_id) = marked.or(unmarked) else { continue };
            if !living.iter().any(|application| super::run_of(&application.text) == Some(run_id)) {
                leftovers.push((kind, name.text.clone(), run_id.to_owned()));
            }
        }
        Ok(leftovers)
    }

    /// Makes an empty database of the wanted name and with these properties, or, where that name is taken, of one that
    /// ends in the run's id. It gets its name only with its mark.
    pub async fn create(&self, wanted: &str, properties: &DatabaseProperties) -> Result<Scratch, ScratchError> {
        let major = self.connection.version().major;
        let unmarked = format!("{UNMARKED}{}", self.run_id);
        let kept = wanted.floor_char_boundary(LONGEST - 1 - self.run_id.len());
        let other = format!("{}_{}", &wanted[..kept], self.run_id);
        let made = self.connection.batch_execute(&properties::create(&unmarked, properties, major)).await;
        made.map_err(asking("making a database on the verify server"))?;
        let comment = format!("COMMENT ON DATABASE {} IS {}", quote(&unmarked), literal(&self.mark()));
        self.connection.batch_execute(&comment).await.map_err(asking("marking the scratch database"))?;
        for name in [wanted, &other] {
            let rename = format!("ALTER DATABASE {} RENAME TO {}", quote(&unmarked), quote(name));
            match self.connection.batch_execute(&rename).await {
                Ok(()) => {
                    info!("made the scratch database {name} on {}", self.server.name);
                    return Ok(Scratch { name: name.to_owned() });
                }
                Err(error) if error.code().is_some_and(|code| TAKEN.contains(&code)) => {}
                Err(cause) => {
                    let action = format!("naming the scratch database {name}");
                    return Err(ScratchError::Query { action, cause });
                }
            }
        }
        Ok(Scratch { name: unmarked })
    }

    fn mark(&self) -> String {
        format!("{MARK}{} of {}", self.run_id, self.source)
    }

    /// A session in a scratch database, in which nothing of the database itself is run.
    pub async fn enter(&self, scratch: &Scratch, application: &str) -> Result<Connection, ScratchError> {
        // only superusers make event triggers, and only they may switch them off
        let quiet = self.connection.version().major >= 17 && self.connection.is_superuser();
        let options = if quiet { "-c event_triggers=off" } else { "" };
        Ok(connect_with(&self.server.of(&scratch.name), application, options).await?)
    }

    /// How client programs reach a scratch database.
    pub fn source(&self, scratch: &Scratch) -> Source {
        self.server.of(&scratch.name)
    }

    /// Drops a scratch database, and whoever is still in it.
    pub async fn drop(&self, scratch: &Scratch) -> Result<(), ScratchError> {
        if self.connection.is_closed() {
            let again = Self::connect(&self.server, &self.run_id, &self.source).await?;
            return self.drop_by(&again.connection, scratch).await;
        }
        self.drop_by(&self.connection, scratch).await
    }

    /// Drops the largest tables. A server drops a database with a checkpoint, and panics there when its disk is full, which
    /// would end every session on it.
    pub async fn empty(&self, scratch: &Scratch) -> Result<(), ScratchError> {
        let connection = self.enter(scratch, &super::application(&self.run_id)).await?;
        let ended = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid();
                     SET lock_timeout = '5s'";
        connection.batch_execute(ended).await.map_err(asking("ending the restore's sessions"))?;
        let largest = "SELECT oid::regclass::text FROM pg_catalog.pg_class WHERE relkind = 'r' AND oid >= 16384
                       ORDER BY pg_catalog.pg_table_size(oid) DESC LIMIT 20";
        let largest = connection.query_typed(largest, &[]).await.map_err(asking("asking for the largest tables"))?;
        for table in largest {
            // where there is no room for even that, the next one may do
            // TRUNCATE would need room for new files
            let drop = format!("DROP TABLE IF EXISTS {} CASCADE", table.get::<_, String>(0));
            connection.batch_execute(&drop).await.map_err(asking("dropping the largest tables"))?;
        }
        Ok(())
    }

    async fn drop_by(&self, connection: &Connection, scratch: &Scratch) -> Result<(), ScratchError> {
        let question = "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database
                        WHERE datname = $1";
        let row = connection.query_opt(question, &[&scratch.name]).await.map_err(asking("looking at the comment"))?;
        let comment: Option<String> = row.and_then(|row| row.get(0));
        if comment != Some(self.mark()) {
            warn!("the database {} does not carry our mark any more and is left alone", scratch.name);
            return Ok(());
        }
        drop_database(connection, &scratch.name).await?;
        info!("dropped the scratch database {}", scratch.name);
        Ok(())
    }

    /// False where another run needs the role: whoever comes last drops it.
    async fn drop_role(&self, name: &str) -> Result<bool, ScratchError> {
        let lock = format!("SELECT pg_catalog.pg_try_advisory_lock({ROLES_LOCK})");
        let row = self.connection.query_typed_one(&lock, &[]).await.map_err(asking("taking the lock for roles"))?;
        if !row.get::<_, bool>(0) {
            return Ok(false);
        }
        let statement = format!("DROP ROLE IF EXISTS {}", quote(name));
        let dropped = self.connection.batch_execute(&statement).await;
        let unlock = format!("SELECT pg_catalog.pg_advisory_unlock({ROLES_LOCK})");
        self.connection.batch_execute(&unlock).await.map_err(asking("giving back the lock for roles"))?;
        dropped.map(|()| true).map_err(asking(format!("dropping the role {name}")))
    }

    /// Makes those roles that are missing, without login, where that is allowed; the answer are those that are there
    /// in the end.
    pub async fn provide_roles(
        &mut self,
        needed: &BTreeSet<String>,
        make: bool,
    ) -> Result<BTreeSet<String>, ScratchError> {
        let lock = format!("SELECT pg_catalog.pg_advisory_lock_shared({ROLES_LOCK})");
        self.connection.batch_execute(&lock).await.map_err(asking("taking the lock for roles"))?;
        let mut present = BTreeSet::new();
        let roles = format!("SELECT {} FROM pg_catalog.pg_roles", bytes_of("rolname::text"));
        let rows = self.connection.query_typed(&roles, &[]).await.map_err(asking("asking for roles"))?;
        let existing: BTreeSet<String> = rows.iter().map(|row| row.get::<_, Text>(0).text).collect();
        for role in needed {
            if existing.contains(role) {
                present.insert(role.clone());
                continue;
            }
            // names that begin like this are the server's own
            if !make || role.starts_with("pg_") {
                continue;
            }
            let (name, mark) = (quote(role), literal(&self.mark()));
            let statements = format!("BEGIN; CREATE ROLE {name} NOLOGIN; COMMENT ON ROLE {name} IS {mark}; COMMIT");
            let made = self.connection.batch_execute(&statements).await;
            if made.is_err() {
                self.connection.batch_execute("ROLLBACK").await.map_err(asking("making a role"))?;
            }
            match made {
                Ok(()) => self.roles.push(role.clone()),
                // another run was faster
                Err(error) if error.code().is_some_and(|code| TAKEN.contains(&code)) => {}
                Err(cause) => return Err(ScratchError::Query { action: format!("making the role {role}"), cause }),
            }
            present.insert(role.clone());
        }
        if !self.roles.is_empty() {
            info!("made {} on the verify server for the time being", crate::human::count(self.roles.len(), "role"));
        }
        Ok(present)
    }

    /// Drops the roles that were made, once the scratch databases are gone, and those that other runs left to whoever
    /// comes last.
    pub async fn close(self) -> Result<(), ScratchError> {
        let unlock = format!("SELECT pg_catalog.pg_advisory_unlock_shared({ROLES_LOCK})");
        self.connection.batch_execute(&unlock).await.map_err(asking("giving back the lock for roles"))?;
        let others = self.leftovers().await?.into_iter().filter(|(kind, _, _)| *kind == Kind::Role);
        for role in self.roles.iter().cloned().chain(others.map(|(_, name, _)| name)) {
            if let Err(error) = self.drop_role(&role).await {
                warn!("the role {role}, made for a verification, stays: {error}");
            }
        }
        Ok(())
    }
}

async fn drop_database(connection: &Connection, name: &str) -> Result<(), ScratchError> {
    let force = if connection.version().major >= 13 { " WITH (FORCE)" } else { "" };
    let statement = format!("DROP DATABASE IF EXISTS {}{force}", quote(name));
    connection.batch_execute(&statement).await.map_err(asking(format!("dropping the database {name}")))
}

/// What a leftover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Database,
    Role,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Database { "database" } else { "role" })
    }
}

/// Somebody has the name, or takes it at this moment.
const TAKEN: &[&SqlState] = &[&SqlState::DUPLICATE_DATABASE, &SqlState::DUPLICATE_OBJECT, &SqlState::UNIQUE_VIOLATION];

fn is_run_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
