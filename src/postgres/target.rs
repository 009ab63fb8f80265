//! The database that a restored one replaces: what it is, who uses it, and how another takes its name.

use super::catalog::{literal, quote};
use super::connection::{Connection, connect};
use super::scratch::{Scratch, ScratchError, ScratchServer};
use crate::human;
use std::time::Duration;
use tracing::info;

/// Longest name of a database, in bytes; the server cuts longer ones.
const LONGEST: usize = 63;

/// A database that exists.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its size on the server's disk, where the role may ask.
    pub bytes: Option<u64>,
    /// Nothing was made in it.
    pub is_empty: bool,
    /// Who is connected, a line each for people.
    pub sessions: Vec<String>,
    /// Why another cannot take its name, each with what to do.
    pub obstacles: Vec<String>,
}

/// What another database that takes this one's name does to it.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The name.
    pub name: String,
    /// What the database that has the name is called from then on; none where there is none.
    pub replaced: Option<String>,
    /// `COMMENT ON DATABASE`, in place of our mark.
    pub comment: Option<String>,
    /// Sessions of the one that is replaced are ended.
    pub disconnect: bool,
}

/// What a replaced database is called: `<name>_before_<time>`, cut so that it fits.
pub fn name_before(name: &str, time: &str) -> String {
    let ending = format!("_before_{time}");
    format!("{}{ending}", &name[..name.floor_char_boundary(LONGEST - ending.len())])
}

/// SQL that puts the replaced database back in its place and keeps the restored one as `aside`.
pub fn swap_back(place: &Place, aside: &str) -> Option<String> {
    let (name, replaced) = (quote(&place.name), quote(place.replaced.as_ref()?));
    let aside = quote(aside);
    Some(format!("BEGIN; ALTER DATABASE {name} RENAME TO {aside}; ALTER DATABASE {replaced} RENAME TO {name}; COMMIT;"))
}

/// Objects that somebody made; the server's own have smaller numbers.
const IS_EMPTY: &str = "
    SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid >= 16384)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid >= 16384)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_type WHERE oid >= 16384)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE oid >= 16384 AND nspname NOT LIKE 'pg\\_%')
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE oid >= 16384)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)";

const LOOK: &str = "
    SELECT CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
                THEN pg_catalog.pg_database_size(d.oid) END,
           d.datallowconn, d.datistemplate,
           pg_catalog.pg_has_role(d.datdba, 'USAGE') AND (SELECT rolcreatedb OR rolsuper FROM pg_catalog.pg_roles
                                                          WHERE rolname = current_user),
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots s WHERE s.database = d.datname),
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_subscription s WHERE s.subdbid = d.oid),
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts x WHERE x.database = d.datname)
    FROM pg_catalog.pg_database d WHERE d.datname = $1";

/// Sessions of people and programs, with what tells them apart.
const SESSIONS: &str = "
    SELECT pg_catalog.concat_ws(' ', 'pid', pid, 'of', usename,
                                'by', nullif(application_name, ''), 'from', coalesce(client_addr::text, 'this machine'),
                                'since', backend_start::timestamp(0), coalesce(state, ''))
    FROM pg_catalog.pg_stat_activity
    WHERE datname = $1 AND backend_type IN ('client backend', 'walsender') AND pid <> pg_catalog.pg_backend_pid()
    ORDER BY backend_start";

impl ScratchServer {
    /// Looks at a database; none where there is none of that name.
    pub async fn look(&self, name: &str) -> Result<Option<Target>, ScratchError> {
        let action = || self.asking(format!("looking at the database {name}"));
        let row = self.connection().query_opt(LOOK, &[&name]).await.map_err(action())?;
        let Some(row) = row else { return Ok(None) };
        let (bytes, allows_connections, is_template): (Option<i64>, bool, bool) = (row.get(0), row.get(1), row.get(2));
        let counts: [i64; 3] = [row.get(4), row.get(5), row.get(6)];
        let mut obstacles = Vec::new();
        let what = ["logical replication slot", "subscription", "prepared transaction"];
        for (count, what) in counts.into_iter().zip(what).filter(|(count, _)| *count > 0) {
            let many = human::count(usize::try_from(count).unwrap_or_default(), what);
            obstacles.push(format!("it has {many}, which would stay behind; drop or finish what is there first"));
        }
        if !row.get::<_, bool>(3) {
            let user = self.role().setting("USER");
            obstacles.push(format!("{user} may not rename it; its owner with CREATEDB may, or a superuser"));
        }
        if is_template {
            obstacles.push("it is a template; ALTER DATABASE … IS_TEMPLATE false makes it none".to_owned());
        }
        let sessions = self.connection().query(SESSIONS, &[&name]).await.map_err(action())?;
        let sessions = sessions.iter().map(|row| row.get(0)).collect();
        let is_empty = if allows_connections { self.is_empty(name).await? } else { false };
        let bytes = bytes.map(i64::unsigned_abs);
        Ok(Some(Target { name: name.to_owned(), bytes, is_empty, sessions, obstacles }))
    }

    async fn is_empty(&self, name: &str) -> Result<bool, ScratchError> {
        let connection = self.enter_database(name).await?;
        let row = connection.query_typed_one(IS_EMPTY, &[]).await;
        Ok(row.map_err(self.asking(format!("looking into the database {name}")))?.get(0))
    }

    /// Gives a scratch database its final name, and the one that had it another, in one transaction: both, with the
    /// comment, or neither. While the server waits for sessions to leave it lets nobody new in.
    pub async fn take_place(&self, scratch: &Scratch, place: &Place) -> Result<(), ScratchError> {
        let number = self.number(self.connection(), &scratch.name).await?;
        let Place { name, replaced, comment, disconnect } = place;
        let (new, wanted) = (quote(&scratch.name), quote(name));
        let aside = replaced.as_ref().map(|old| format!("ALTER DATABASE {wanted} RENAME TO {};", quote(old)));
        let comment = comment.as_deref().map_or("NULL".to_owned(), literal);
        let statements = format!(
            "BEGIN; {} ALTER DATABASE {new} RENAME TO {wanted}; COMMENT ON DATABASE {wanted} IS {comment}; COMMIT",
            aside.unwrap_or_default()
        );
        let swapped = if *disconnect && replaced.is_some() {
            let other = self.connect_beside().await?;
            let ended = self.end_sessions(&other, name);
            tokio::select! {
                swapped = self.connection().batch_execute(&statements) => swapped,
                error = ended => return Err(error),
            }
        } else {
            self.connection().batch_execute(&statements).await
        };
        let Err(cause) = swapped else { return Ok(()) };
        if self.connection().is_closed() {
            // whether the commit arrived, only the server knows
            let again = self.connect_beside().await?;
            if number.is_some() && self.number(&again, name).await? == number {
                return Ok(());
            }
        } else {
            let _ = self.connection().batch_execute("ROLLBACK").await;
        }
        Err(self.asking(format!("giving the restored database the name {name}"))(cause))
    }

    async fn number(&self, connection: &Connection, name: &str) -> Result<Option<u32>, ScratchError> {
        let question = "SELECT oid FROM pg_catalog.pg_database WHERE datname = $1";
        let row = connection.query_opt(question, &[&name]).await;
        Ok(row.map_err(self.asking(format!("looking for the database {name}")))?.map(|row| row.get(0)))
    }

    async fn connect_beside(&self) -> Result<Connection, ScratchError> {
        let server = self.server();
        let connected = connect(server, "backup restore").await;
        connected.map_err(|cause| ScratchError::Connect { server: self.role(), cause })
    }

    /// Ends the sessions of a database again and again, until dropped; returns only when it may not.
    async fn end_sessions(&self, connection: &Connection, name: &str) -> ScratchError {
        let end = "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity
                   WHERE datname = $1 AND backend_type IN ('client backend', 'walsender')";
        loop {
            match connection.query_one(end, &[&name]).await {
                Ok(row) => match usize::try_from(row.get::<_, i64>(0)) {
                    Ok(0) | Err(_) => {}
                    Ok(ended) => info!("ended {} of {name}", human::count(ended, "session")),
                },
                Err(cause) => return self.asking(format!("ending the sessions of {name}"))(cause),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_database_has_a_name_that_fits_and_a_way_back() {
        assert_eq!(name_before("shop", "20260128_020500"), "shop_before_20260128_020500");
        assert_eq!(
            name_before(&"ä".repeat(31), "20260128_020500"),
            format!("{}_before_20260128_020500", "ä".repeat(20))
        );
        let place = Place { name: "a\"b".to_owned(), replaced: Some("old".to_owned()), ..Place::default() };
        assert_eq!(
            swap_back(&place, "aside").unwrap(),
            "BEGIN; ALTER DATABASE \"a\"\"b\" RENAME TO \"aside\"; ALTER DATABASE \"old\" RENAME TO \"a\"\"b\"; COMMIT;"
        );
    }
}
