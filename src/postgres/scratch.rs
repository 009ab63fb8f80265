//! Databases that live for one run: made, marked as ours by their comment, and dropped. What is not marked is never
//! touched.

use super::catalog::{self, literal, quote};
use super::connection::{ConnectError, Connection, connect};
use super::properties;
use crate::config::Source;
use crate::facts::DatabaseProperties;
use std::collections::BTreeSet;
use tokio_postgres::error::SqlState;
use tracing::{info, warn};

/// What the comment of a scratch database, and of a role made for it, begins with; the run's id follows.
const MARK: &str = "scratch of backup run ";

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
    /// Both names are taken.
    #[error("the databases {0} and {1} exist already and are not ours; look at VERIFY_DB")]
    Taken(String, String),
}

/// A server on which scratch databases are made, over one session that shows others that this run lives.
pub struct ScratchServer {
    connection: Connection,
    server: Source,
    run_id: String,
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
    /// Connects for a run.
    pub async fn connect(server: &Source, run_id: &str) -> Result<Self, ScratchError> {
        let application = super::application(run_id);
        let connection = match connect(server, &application).await {
            // every server has this one
            Err(ConnectError::NoDatabase { .. }) => connect(&server.of("template1"), &application).await?,
            connection => connection?,
        };
        Ok(Self { connection, server: server.clone(), run_id: run_id.to_owned(), roles: Vec::new() })
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

    /// Drops what dead runs left: those without a session on this server.
    pub async fn sweep(&self) -> Result<(), ScratchError> {
        let marked = "
            SELECT 'database', d.datname::text, pg_catalog.shobj_description(d.oid, 'pg_database')
            FROM pg_catalog.pg_database d
            UNION ALL
            SELECT 'role', r.rolname::text, pg_catalog.shobj_description(r.oid, 'pg_authid') FROM pg_catalog.pg_roles r";
        let rows = self.connection.query_typed(marked, &[]).await.map_err(asking("looking for leftovers"))?;
        // asked after the leftovers were looked for: what was made since belongs to a run that lives
        let living = "SELECT application_name FROM pg_catalog.pg_stat_activity WHERE application_name <> ''";
        let living = self.connection.query_typed(living, &[]).await.map_err(asking("asking who lives"))?;
        let living: Vec<String> = living.iter().map(|row| row.get(0)).collect();
        for row in rows {
            let (kind, name, comment): (String, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
            let Some(run_id) = comment.as_deref().and_then(|comment| comment.strip_prefix(MARK)) else { continue };
            if living.iter().any(|application| super::run_of(application) == Some(run_id)) {
                continue;
            }
            let dropped = match kind.as_str() {
                "database" => self.drop_database(&name).await.map(|()| true),
                _ => self.drop_role(&name).await,
            };
            match dropped {
                Ok(false) => {}
                Ok(true) => info!("dropped the {kind} {name}, which run {run_id} left on the verify server"),
                Err(error) => warn!("the {kind} {name}, which run {run_id} left, stays: {error}"),
            }
        }
        Ok(())
    }

    /// Makes an empty database of the wanted name and with these properties, or, where that name is taken, of one that
    /// ends in the run's id.
    pub async fn create(&self, wanted: &str, properties: &DatabaseProperties) -> Result<Scratch, ScratchError> {
        let major = self.connection.version().major;
        let wanted = cut(wanted, LONGEST);
        let other = format!("{}_{}", cut(wanted, LONGEST - 1 - self.run_id.len()), self.run_id);
        for name in [wanted, &other] {
            match self.connection.batch_execute(&properties::create(name, properties, major)).await {
                Ok(()) => {}
                Err(error) if error.code() == Some(&SqlState::DUPLICATE_DATABASE) => continue,
                Err(cause) => {
                    let action = format!("making the database {name} on the verify server");
                    return Err(ScratchError::Query { action, cause });
                }
            }
            let comment = format!("COMMENT ON DATABASE {} IS {}", quote(name), literal(&self.mark()));
            let scratch = Scratch { name: name.to_owned() };
            if let Err(cause) = self.connection.batch_execute(&comment).await {
                // it is ours all the same, and a moment old
                let _ = self.drop_database(name).await;
                return Err(ScratchError::Query { action: format!("marking the database {name}"), cause });
            }
            info!("made the scratch database {name} on {}", self.server.name);
            return Ok(scratch);
        }
        Err(ScratchError::Taken(wanted.to_owned(), other))
    }

    fn mark(&self) -> String {
        format!("{MARK}{}", self.run_id)
    }

    /// A session in a scratch database.
    pub async fn enter(&self, scratch: &Scratch, application: &str) -> Result<Connection, ScratchError> {
        Ok(connect(&self.server.of(&scratch.name), application).await?)
    }

    /// How client programs reach a scratch database.
    pub fn source(&self, scratch: &Scratch) -> Source {
        self.server.of(&scratch.name)
    }

    /// Drops a scratch database, and whoever is still in it.
    pub async fn drop(&self, scratch: &Scratch) -> Result<(), ScratchError> {
        let question = "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database
                        WHERE datname = $1";
        let row =
            self.connection.query_opt(question, &[&scratch.name]).await.map_err(asking("looking at the comment"))?;
        let comment: Option<String> = row.and_then(|row| row.get(0));
        if comment != Some(self.mark()) {
            warn!("the database {} does not carry our mark any more and is left alone", scratch.name);
            return Ok(());
        }
        self.drop_database(&scratch.name).await?;
        info!("dropped the scratch database {}", scratch.name);
        Ok(())
    }

    async fn drop_database(&self, name: &str) -> Result<(), ScratchError> {
        let force = if self.connection.version().major >= 13 { " WITH (FORCE)" } else { "" };
        let statement = format!("DROP DATABASE IF EXISTS {}{force}", quote(name));
        self.connection.batch_execute(&statement).await.map_err(asking(format!("dropping the database {name}")))
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
        let rows = self.connection.query_typed("SELECT rolname::text FROM pg_catalog.pg_roles", &[]).await;
        let existing: BTreeSet<String> =
            rows.map_err(asking("asking for roles"))?.iter().map(|row| row.get(0)).collect();
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
            match self.connection.batch_execute(&statements).await {
                Ok(()) => self.roles.push(role.clone()),
                // another run was faster
                Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => {
                    self.connection.batch_execute("ROLLBACK").await.map_err(asking("making a role"))?;
                }
                Err(cause) => return Err(ScratchError::Query { action: format!("making the role {role}"), cause }),
            }
            present.insert(role.clone());
        }
        if !self.roles.is_empty() {
            info!("made {} on the verify server for the time being", crate::human::count(self.roles.len(), "role"));
        }
        Ok(present)
    }

    /// Drops the roles that were made, once the scratch databases are gone; those that another run needs too are left
    /// to it.
    pub async fn close(self) -> Result<(), ScratchError> {
        let unlock = format!("SELECT pg_catalog.pg_advisory_unlock_shared({ROLES_LOCK})");
        self.connection.batch_execute(&unlock).await.map_err(asking("giving back the lock for roles"))?;
        for role in &self.roles {
            self.drop_role(role).await?;
        }
        Ok(())
    }
}

/// At most so many bytes, and no part of a letter.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    &text[..end]
}
