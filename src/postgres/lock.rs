//! One run at a time for a source and a target: advisory locks in the source's database.

use super::connection::{ConnectError, Connection, connect_directly};
use crate::config::Source;
use sha2::{Digest, Sha256};
use tokio_postgres::Statement;
use tokio_postgres::types::Type;
use tracing::warn;

/// Why the lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error("another run holds the lock for {target}: {holder}; wait for it, or end that session")]
    Taken {
        /// What both runs write to.
        target: String,
        /// The other session, as far as the server shows it.
        holder: String,
    },
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server does not grant advisory locks.
    #[error("taking the lock: {}", super::cause(.0))]
    Query(#[from] tokio_postgres::Error),
}

/// Session-level advisory locks, one for each place the run writes to, on a connection of their own.
///
/// Runs that share a server as shards hold the place together, each its own shard alone.
///
/// Held until dropped, or until the connection is lost: ask [`Lock::is_held`] before a step that relies on it.
pub struct Lock {
    connection: Connection,
    application: String,
    keys: Vec<LockKey>,
    held: Statement,
}

const HELD: &str = "
    SELECT count(*) FROM pg_catalog.pg_locks l, pg_catalog.unnest($1::bigint[]) AS k(key)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid = pg_catalog.pg_backend_pid()
      AND l.classid = ((k.key >> 32) & 4294967295)::oid AND l.objid = (k.key & 4294967295)::oid";

/// One advisory lock.
#[derive(Debug, Clone)]
struct LockKey {
    /// What it stands for, for people.
    target: String,
    number: i64,
    shared: bool,
}

impl Lock {
    /// Takes the locks for `targets`, or for this `shard` of them, or none.
    ///
    /// `application` is the session's name, by which other runs see that this one lives.
    pub async fn take(
        source: &Source,
        targets: &[String],
        shard: Option<&str>,
        application: &str,
    ) -> Result<Self, LockError> {
        let keys = targets.iter().flat_map(|target| keys(&source.name, target, shard)).collect();
        Self::take_keys(source, keys, application).await
    }

    async fn take_keys(source: &Source, keys: Vec<LockKey>, application: &str) -> Result<Self, LockError> {
        let connection = connect_directly(source, application).await?;
        // asked before every commit
        let held = connection.prepare_typed(HELD, &[Type::INT8_ARRAY]).await?;
        let lock = Self { connection, application: application.to_owned(), keys, held };
        lock.acquire().await?;
        Ok(lock)
    }

    /// Gives it back at once, where the end of the session would be a moment later.
    pub async fn release(self) -> Result<(), LockError> {
        Ok(self.connection.batch_execute("SELECT pg_catalog.pg_advisory_unlock_all()").await?)
    }

    /// The connection that holds the lock, for questions about the server.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn acquire(&self) -> Result<(), LockError> {
        for key in &self.keys {
            let try_lock = match key.shared {
                false => "SELECT pg_catalog.pg_try_advisory_lock($1)",
                true => "SELECT pg_catalog.pg_try_advisory_lock_shared($1)",
            };
            let row = self.connection.query_one(try_lock, &[&key.number]).await?;
            if !row.get::<_, bool>(0) {
                let holder = self.holder(key.number).await;
                let holder = holder.unwrap_or_else(|| "a session that has just ended".to_owned());
                return Err(LockError::Taken { target: key.target.clone(), holder });
            }
        }
        Ok(())
    }

    async fn holder(&self, key: i64) -> Option<String> {
        let row = self
            .connection
            .query_opt(
                "SELECT a.application_name, a.pid, coalesce(pg_catalog.host(a.client_addr), 'this host'),
                        pg_catalog.to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS')
                 FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
                 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                   AND l.classid = (($1::bigint >> 32) & 4294967295)::oid
                   AND l.objid = ($1::bigint & 4294967295)::oid
                   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
                 ORDER BY a.backend_start LIMIT 1",
                &[&key],
            )
            .await
            .ok()??;
        let (name, pid, address, since): (String, i32, String, Option<String>) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        Some(format!("{name} (process {pid} of the server, from {address}, since {})", since.unwrap_or_default()))
    }

    /// True when the locks are still ours; a lost connection is replaced and the locks taken again where nobody else
    /// has them by now.
    pub async fn is_held(&mut self, source: &Source) -> bool {
        if self.all_granted().await {
            return true;
        }
        warn!("the connection that held the lock was lost; taking the lock again");
        match Self::take_keys(source, self.keys.clone(), &self.application).await {
            Ok(again) => {
                *self = again;
                true
            }
            Err(error) => {
                warn!("{error}");
                false
            }
        }
    }

    async fn all_granted(&self) -> bool {
        let keys: Vec<i64> = self.keys.iter().map(|key| key.number).collect();
        let row = self.connection.query_one(&self.held, &[&keys]).await;
        row.is_ok_and(|row| row.get::<_, i64>(0) == keys.len() as i64)
    }
}

/// Ids of the runs that have a session on the server; none when that says nothing of other runs: the question failed, or
/// this is a standby, which shares neither sessions nor locks with its primary.
pub async fn living_runs(connection: &Connection) -> Option<Vec<String>> {
    let standby = connection.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await.ok()?;
    if standby.get(0) {
        return None;
    }
    let query = "SELECT application_name FROM pg_catalog.pg_stat_activity WHERE application_name <> ''";
    let rows = connection.query(query, &[]).await.ok()?;
    Some(rows.iter().filter_map(|row| super::run_of(row.get(0)).map(str::to_owned)).collect())
}

/// The whole place for a run that works alone. A shard shares the place with its like and has its own part alone, so
/// that it stands beside other shards and never beside a run of everything.
fn keys(source: &str, target: &str, shard: Option<&str>) -> Vec<LockKey> {
    let place = LockKey { target: target.to_owned(), number: number(&[source, target]), shared: shard.is_some() };
    let part = shard.map(|shard| LockKey {
        target: format!("shard {shard} of {target}"),
        number: number(&[source, target, shard]),
        shared: false,
    });
    [place].into_iter().chain(part).collect()
}

fn number(names: &[&str]) -> i64 {
    let mut digest = Sha256::new();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            digest.update([0]);
        }
        digest.update(name);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&digest.finalize()[..8]);
    i64::from_be_bytes(first)
}
