//! Databases that live for one run: made, marked as ours by their comment, and dropped. What is not marked is never
//! touched.

mod roles;
mod sweep;

use super::catalog::{self, LossyText, bytes_of, literal, quote, stored_bytes_of};
use super::connection::{ConnectError, Connection, connect_directly, connect_with};
use super::properties;
use super::{LONGEST_NAME, MARK, UNMARKED, waits};
use crate::config::{ServerRole, Source};
use crate::record::facts::DatabaseProperties;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tracing::{info, warn};

/// Why there is no scratch database.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// The server cannot be reached.
    #[error("{server}: {cause}")]
    Connect {
        /// Which.
        server: ServerRole,
        /// Why.
        cause: ConnectError,
    },
    /// The server would not.
    #[error("{action}: {}", super::cause(.cause))]
    Query {
        /// Which.
        server: ServerRole,
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
    /// Made for this run.
    made: Vec<String>,
    /// The lock for roles is held.
    holds_roles: bool,
}

/// A scratch database.
#[derive(Debug, Clone)]
pub struct Scratch {
    pub name: String,
    /// Its number, which stays with it whatever it is called.
    pub number: u32,
}

fn asking(server: ServerRole, action: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> ScratchError {
    let action = action.into();
    move |cause| ScratchError::Query { server, action, cause }
}

impl ScratchServer {
    /// Connects for a run that restores backups of the source of that name.
    pub async fn connect(server: &Source, run_id: &str, source: &str) -> Result<Self, ScratchError> {
        let application = super::application(run_id);
        let connection = match connect_directly(server, &application).await {
            // every server has this one
            Err(ConnectError::NoDatabase { .. }) => connect_directly(&server.of("template1"), &application).await,
            connection => connection,
        };
        let connection = connection.map_err(|cause| ScratchError::Connect { server: server.role, cause })?;
        let writable = connection.batch_execute("SET default_transaction_read_only = off").await;
        writable.map_err(asking(server.role, "preparing the session"))?;
        let (run_id, source) = (run_id.to_owned(), source.to_owned());
        Ok(Self { connection, server: server.clone(), run_id, source, made: Vec::new(), holds_roles: false })
    }

    pub(super) fn asking(&self, action: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> ScratchError {
        asking(self.server.role, action)
    }

    /// Which server it is.
    pub fn role(&self) -> ServerRole {
        self.server.role
    }

    pub fn run_id(&self) -> &str {
        &self.run_id
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
        let row = self.connection.query_typed_one(question, &[]).await.map_err(self.asking("checking privileges"))?;
        Ok(row.get(0))
    }

    /// Names of what the server has, which a restore may need.
    async fn names(&self, what: &str, question: &str) -> Result<BTreeSet<String>, ScratchError> {
        let rows = self.connection.query_typed(question, &[]).await;
        let rows = rows.map_err(self.asking(format!("asking for {what}")))?;
        Ok(rows.iter().map(|row| row.get::<_, LossyText>(0).text).collect())
    }

    pub async fn roles(&self) -> Result<BTreeSet<String>, ScratchError> {
        self.names("roles", &format!("SELECT {} FROM pg_catalog.pg_roles", bytes_of("rolname::text"))).await
    }

    pub async fn databases(&self) -> Result<BTreeSet<String>, ScratchError> {
        let question = format!("SELECT {} FROM pg_catalog.pg_database", stored_bytes_of("datname"));
        self.names("databases", &question).await
    }

    /// Extensions whose files are there.
    pub async fn extensions(&self) -> Result<BTreeSet<String>, ScratchError> {
        let question = format!("SELECT {} FROM pg_catalog.pg_available_extensions", bytes_of("name::text"));
        self.names("extensions", &question).await
    }

    pub async fn tablespaces(&self) -> Result<BTreeSet<String>, ScratchError> {
        let question = format!("SELECT {} FROM pg_catalog.pg_tablespace", bytes_of("spcname::text"));
        self.names("tablespaces", &question).await
    }

    /// Drops a database that nobody is connected to.
    pub async fn drop_database(&self, name: &str) -> Result<(), ScratchError> {
        let dropped = self.connection.batch_execute(&format!("DROP DATABASE {}", quote(name))).await;
        dropped.map_err(self.asking(format!("dropping the database {name}")))
    }

    /// Makes an empty database of the wanted name and with these properties, or, where that name is taken, of one that
    /// ends in the run's id. It gets its name only with its mark.
    pub async fn create(&self, wanted: &str, properties: &DatabaseProperties) -> Result<Scratch, ScratchError> {
        let major = self.connection.version().major;
        let unmarked = format!("{UNMARKED}{}", self.run_id);
        // what the server would cut would be somebody else's name
        let wanted = &wanted[..wanted.floor_char_boundary(LONGEST_NAME)];
        let kept = wanted.floor_char_boundary(LONGEST_NAME - 1 - self.run_id.len());
        let other = format!("{}_{}", &wanted[..kept], self.run_id);
        let made = self.connection.batch_execute(&properties::create(&unmarked, properties, major)).await;
        made.map_err(self.asking(format!("creating a database on the {}", self.server.role)))?;
        let comment = format!("COMMENT ON DATABASE {} IS {}", quote(&unmarked), literal(&self.mark()));
        self.connection.batch_execute(&comment).await.map_err(self.asking("marking the scratch database"))?;
        let number = "SELECT oid FROM pg_catalog.pg_database WHERE datname = $1";
        let number = self.connection.query_one(number, &[&unmarked]).await;
        let number: u32 = number.map_err(self.asking("looking at the scratch database"))?.get(0);
        for name in [wanted, &other] {
            let rename = format!("ALTER DATABASE {} RENAME TO {}", quote(&unmarked), quote(name));
            match self.connection.batch_execute(&rename).await {
                Ok(()) => {
                    info!("created the scratch database {name} on {}", self.server.name);
                    return Ok(Scratch { name: name.to_owned(), number });
                }
                Err(error) if error.code().is_some_and(|code| TAKEN.contains(&code)) => {}
                Err(cause) => {
                    let action = format!("naming the scratch database {name}");
                    return Err(ScratchError::Query { server: self.server.role, action, cause });
                }
            }
        }
        Ok(Scratch { name: unmarked, number })
    }

    fn mark(&self) -> String {
        format!("{MARK}{} of {}", self.run_id, self.source)
    }

    /// A session in a scratch database, in which nothing of the database itself is run.
    pub async fn enter(&self, scratch: &Scratch, application: &str) -> Result<Connection, ScratchError> {
        let entered = connect_with(&self.server.of(&scratch.name), application, self.quietly()).await;
        entered.map_err(|cause| ScratchError::Connect { server: self.server.role, cause })
    }

    /// Options of sessions in which nothing of the database itself is run: only superusers make event triggers, and only
    /// they may switch them off.
    pub fn quietly(&self) -> &'static str {
        let may = self.connection.version().major >= 17 && self.connection.is_superuser();
        if may { "-c event_triggers=off" } else { "" }
    }

    /// A session in any database of the server.
    pub async fn enter_database(&self, name: &str) -> Result<Connection, ScratchError> {
        let entered = connect_with(&self.server.of(name), &super::application(&self.run_id), self.quietly()).await;
        entered.map_err(|cause| ScratchError::Connect { server: self.server.role, cause })
    }

    /// How the server is reached.
    pub fn server(&self) -> &Source {
        &self.server
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
        // by number: whoever has the name now may be somebody else
        let ours = format!(
            "SELECT oid = {} AND pg_catalog.shobj_description(oid, 'pg_database') = {} FROM pg_catalog.pg_database
             WHERE datname = pg_catalog.current_database()",
            scratch.number,
            literal(&self.mark())
        );
        let ours = connection.query_typed_one(&ours, &[]).await.map_err(self.asking("looking at the comment"))?;
        if ours.get::<_, Option<bool>>(0) != Some(true) {
            return Ok(());
        }
        let ended = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid();
                     SET lock_timeout = '5s'; SET default_transaction_read_only = off";
        connection.batch_execute(ended).await.map_err(self.asking("ending the restore's sessions"))?;
        let largest = "SELECT oid::regclass::text FROM pg_catalog.pg_class WHERE relkind = 'r' AND oid >= 16384
                       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = pg_class.oid AND d.deptype = 'e')
                       ORDER BY pg_catalog.pg_table_size(oid) DESC LIMIT 20";
        let largest = connection.query_typed(largest, &[]).await.map_err(self.asking("listing the largest tables"))?;
        for table in largest {
            // TRUNCATE would need room for new files
            let drop = format!("DROP TABLE IF EXISTS {} CASCADE", table.get::<_, String>(0));
            connection.batch_execute(&drop).await.map_err(self.asking("dropping the largest tables"))?;
        }
        Ok(())
    }

    async fn drop_by(&self, connection: &Connection, scratch: &Scratch) -> Result<(), ScratchError> {
        let question = "SELECT datname::text, pg_catalog.shobj_description(oid, 'pg_database')
                        FROM pg_catalog.pg_database WHERE oid = $1";
        let row = connection.query_opt(question, &[&scratch.number]).await;
        let row = row.map_err(self.asking("looking at the comment"))?;
        let found: Option<(String, Option<String>)> = row.map(|row| (row.get(0), row.get(1)));
        match found {
            Some((name, Some(comment))) if comment == self.mark() => {
                drop_database(connection, &self.server, &name).await?;
                info!("dropped the scratch database {name}");
            }
            Some((name, _)) => warn!("the database {name} no longer carries our mark and is left alone"),
            None => {}
        }
        Ok(())
    }
}

/// Time after which a removal that waits is told of, and again after as long.
const SLOW: Duration = Duration::from_secs(10);

async fn drop_database(connection: &Connection, server: &Source, name: &str) -> Result<(), ScratchError> {
    let force = if connection.version().major >= 13 { " WITH (FORCE)" } else { "" };
    let statement = format!("DROP DATABASE IF EXISTS {}{force}", quote(name));
    let pid = connection.query_typed_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
    let pid: i32 = pid.map_err(asking(server.role, "asking for the session"))?.get(0);
    let dropping = connection.batch_execute(&statement);
    let told = waits::telling(dropping, SLOW, async || {
        let why = waits::reason(server, pid).await;
        warn!("dropping the database {name} on the {} waits: {why}", server.role);
    });
    told.await.map_err(asking(server.role, format!("dropping the database {name}")))
}

/// Somebody has the name, or takes it at this moment.
const TAKEN: &[&SqlState] = &[&SqlState::DUPLICATE_DATABASE, &SqlState::DUPLICATE_OBJECT, &SqlState::UNIQUE_VIOLATION];
