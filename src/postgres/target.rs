//! The database that a restored one replaces: what it is, who uses it, and how another takes its name.

use super::LONGEST_NAME;
use super::catalog::{literal, quote};
use super::connection::{Connection, connect};
use super::scratch::{Scratch, ScratchError, ScratchServer};
use crate::config::ServerRole;
use crate::text;
use std::time::Duration;
use tracing::info;

/// A database that exists.
#[derive(Debug, Clone)]
pub struct ExistingDatabase {
    pub name: String,
    /// Its number, which stays with it whatever it is called.
    pub number: u32,
    /// Its size on the server's disk, where the role may ask.
    pub bytes: Option<u64>,
    /// Nothing was made in it.
    pub is_empty: bool,
    /// It has an owner of its own, privileges, settings or a comment.
    pub is_adorned: bool,
    /// Who is connected, a line each for people.
    pub sessions: Vec<String>,
    /// Why another cannot take its name, each with what to do.
    pub obstacles: Vec<String>,
}

/// What another database that takes this one's name does to it.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub name: String,
    /// What the database that has the name is called from then on; none where there is none.
    pub replaced: Option<String>,
    /// `COMMENT ON DATABASE`, in place of our mark.
    pub comment: Option<String>,
    /// Sessions of the one that is replaced are ended.
    pub disconnect: bool,
}

/// What a replaced database is called: `<name>_before_<time>`, cut so that it fits, and numbered where that is taken.
pub fn name_before(name: &str, time: &str, taken: impl Fn(&str) -> bool) -> String {
    let ended = |ending: String| format!("{}{ending}", &name[..name.floor_char_boundary(LONGEST_NAME - ending.len())]);
    let numbered = |number: u32| match number {
        1 => ended(format!("_before_{time}")),
        number => ended(format!("_before_{time}_{number}")),
    };
    (1..).map(numbered).find(|name| !taken(name)).unwrap_or_default()
}

/// SQL that puts the replaced database back in its place and keeps the restored one as `aside`.
pub fn swap_back(place: &Place, aside: &str) -> Option<String> {
    let (name, replaced) = (quote(&place.name), quote(place.replaced.as_ref()?));
    let aside = quote(aside);
    Some(format!("BEGIN; ALTER DATABASE {name} RENAME TO {aside}; ALTER DATABASE {replaced} RENAME TO {name}; COMMIT;"))
}

/// Kinds of objects that somebody may have made in a database; the server's own have smaller numbers.
const CATALOGUES: &[&str] = &[
    "pg_class",
    "pg_proc",
    "pg_type",
    "pg_extension",
    "pg_publication",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_collation",
    "pg_cast",
    "pg_conversion",
    "pg_operator",
    "pg_opclass",
    "pg_opfamily",
    "pg_language",
    "pg_am",
    "pg_event_trigger",
    "pg_default_acl",
    "pg_transform",
    "pg_largeobject_metadata",
];

const LOOK: &str = "
    SELECT CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
                THEN pg_catalog.pg_database_size(d.oid) END,
           d.datallowconn, d.datistemplate,
           pg_catalog.pg_has_role(d.datdba, 'USAGE') AND (SELECT rolcreatedb OR rolsuper FROM pg_catalog.pg_roles
                                                          WHERE rolname = current_user),
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots s WHERE s.database = d.datname),
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_subscription s WHERE s.subdbid = d.oid),
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts x WHERE x.database = d.datname),
           d.oid, d.datacl IS NOT NULL OR pg_catalog.shobj_description(d.oid, 'pg_database') IS NOT NULL
                  OR pg_catalog.pg_get_userbyid(d.datdba) <> current_user
                  OR EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid)
    FROM pg_catalog.pg_database d WHERE d.datname = $1";

/// Sessions of people and programs, with what tells them apart.
const SESSIONS: &str = "
    SELECT pg_catalog.concat_ws(' ', 'pid', pid, 'of', usename,
                                'by', nullif(application_name, ''), 'from', coalesce(client_addr::text, 'this machine'),
                                'since', backend_start::timestamp(0), coalesce(state, '')),
           (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
           OR pg_catalog.pg_has_role(usesysid, 'USAGE')
           OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')
              AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = usesysid)
    FROM pg_catalog.pg_stat_activity
    -- who may not look at a session does not see what it is
    WHERE datname = $1 AND coalesce(backend_type, 'client backend') IN ('client backend', 'walsender')
      AND pid <> pg_catalog.pg_backend_pid() AND coalesce(application_name, '') <> $2
    ORDER BY backend_start";

/// How long the swap waits for locks, and for sessions to leave.
const PATIENCE: Duration = Duration::from_secs(30);

/// A session in which two databases change their names.
pub struct Swap {
    connection: Connection,
    session: i32,
    server: ServerRole,
}

impl Swap {
    /// The commit is a message of its own: what is given up before it is not done.
    async fn run(&self, scratch: &Scratch, place: &Place) -> Result<(), ScratchError> {
        let (new, wanted) = (quote(&scratch.name), quote(&place.name));
        let comment = place.comment.as_deref().map_or("NULL".to_owned(), literal);
        let mut statements = vec!["BEGIN".to_owned()];
        statements
            .extend(place.replaced.as_ref().map(|old| format!("ALTER DATABASE {wanted} RENAME TO {}", quote(old))));
        statements.push(format!("ALTER DATABASE {new} RENAME TO {wanted}"));
        statements.push(format!("COMMENT ON DATABASE {wanted} IS {comment}"));
        statements.push("COMMIT".to_owned());
        for statement in statements {
            self.connection.batch_execute(&statement).await.map_err(|cause| ScratchError::Query {
                server: self.server,
                action: format!("giving the restored database the name {}", place.name),
                cause,
            })?;
        }
        Ok(())
    }
}

impl ScratchServer {
    /// Looks at a database; none where there is none of that name.
    pub async fn look(&self, name: &str) -> Result<Option<ExistingDatabase>, ScratchError> {
        let action = || self.asking(format!("looking at the database {name}"));
        let row = self.connection().query_opt(LOOK, &[&name]).await.map_err(action())?;
        let Some(row) = row else { return Ok(None) };
        let (bytes, allows_connections, is_template): (Option<i64>, bool, bool) = (row.get(0), row.get(1), row.get(2));
        let counts: [i64; 3] = [row.get(4), row.get(5), row.get(6)];
        let mut obstacles = Vec::new();
        let what = ["logical replication slot", "subscription", "prepared transaction"];
        for (count, what) in counts.into_iter().zip(what).filter(|(count, _)| *count > 0) {
            let many = text::count(count, what);
            obstacles.push(format!("it has {many}, which would stay behind; drop or finish them first"));
        }
        if !row.get::<_, bool>(3) {
            let user = self.role().setting("USER");
            obstacles.push(format!(
                "{user} is not allowed to rename it; its owner can, with CREATEDB, and so can a superuser"
            ));
        }
        if is_template {
            obstacles.push("it is a template; run ALTER DATABASE … IS_TEMPLATE false first".to_owned());
        }
        let ours = super::application(self.run_id());
        let sessions = self.connection().query(SESSIONS, &[&name, &ours]).await.map_err(action())?;
        let beyond = sessions.iter().filter(|row| row.get::<_, Option<bool>>(1) != Some(true)).count();
        if beyond > 0 {
            let (user, count) = (self.role().setting("USER"), text::count(beyond, "session"));
            obstacles.push(format!(
                "{user} is not allowed to end {count} of other roles in it; end them first, or connect as a superuser"
            ));
        }
        let sessions = sessions.iter().map(|row| row.get(0)).collect();
        // what cannot be looked into is not taken for empty
        let is_empty = allows_connections && self.is_empty(name).await.unwrap_or(false);
        let (bytes, number, is_adorned) = (bytes.map(i64::unsigned_abs), row.get(7), row.get(8));
        Ok(Some(ExistingDatabase { name: name.to_owned(), number, bytes, is_empty, is_adorned, sessions, obstacles }))
    }

    async fn is_empty(&self, name: &str) -> Result<bool, ScratchError> {
        let connection = self.enter_database(name).await?;
        let made = CATALOGUES.iter().map(|kind| format!("EXISTS (SELECT FROM pg_catalog.{kind} WHERE oid >= 16384)"));
        let namespaces =
            "EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE oid >= 16384 AND nspname NOT LIKE 'pg\\_%')";
        let question = format!("SELECT NOT ({} OR {namespaces})", made.collect::<Vec<_>>().join(" OR "));
        let row = connection.query_typed_one(&question, &[]).await;
        Ok(row.map_err(self.asking(format!("looking into the database {name}")))?.get(0))
    }

    /// A session of its own for [`ScratchServer::take_place`]. It waits for nobody for long.
    pub async fn begin_swap(&self) -> Result<Swap, ScratchError> {
        let connection = self.connect_beside().await?;
        let prepare = format!(
            "SET default_transaction_read_only = off; SET lock_timeout = '{0}s'; SET statement_timeout = '{0}s'",
            PATIENCE.as_secs()
        );
        connection.batch_execute(&prepare).await.map_err(self.asking("preparing the swap"))?;
        let row = connection.query_typed_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
        let session = row.map_err(self.asking("preparing the swap"))?.get(0);
        Ok(Swap { connection, session, server: self.role() })
    }

    /// Gives a scratch database its final name, and the one that had it another, in one transaction: both, with the
    /// comment, or neither. While the server waits for sessions to leave it lets nobody new in. Those of the scratch
    /// database are nobody's business and are ended in any case.
    pub async fn take_place(&self, swap: &Swap, scratch: &Scratch, place: &Place) -> Result<(), ScratchError> {
        let mut leaving = vec![scratch.name.clone()];
        leaving.extend(place.disconnect.then(|| place.name.clone()));
        let other = self.connect_beside().await?;
        tokio::select! {
            swapped = swap.run(scratch, place) => swapped,
            error = self.end_sessions(&other, &leaving, swap.session) => Err(error),
        }
    }

    /// Ends a swap whose outcome is not known, waits until it is over, and says what the server has in the end: true when
    /// the database has its final name.
    pub async fn settle(&self, swap: Swap, scratch: &Scratch, name: &str) -> Result<bool, ScratchError> {
        let connection = self.connect_beside().await?;
        let action = || self.asking("checking the outcome of the swap");
        let session = swap.session;
        drop(swap);
        let end = "SELECT pg_catalog.count(*), pg_catalog.count(pg_catalog.pg_terminate_backend(pid))
                   FROM pg_catalog.pg_stat_activity WHERE pid = $1";
        while connection.query_one(end, &[&session]).await.map_err(action())?.get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let question = "SELECT datname::text FROM pg_catalog.pg_database WHERE oid = $1";
        let row = connection.query_opt(question, &[&scratch.number]).await.map_err(action())?;
        Ok(row.is_some_and(|row| row.get::<_, String>(0) == name))
    }

    async fn connect_beside(&self) -> Result<Connection, ScratchError> {
        let server = self.server();
        let connected = connect(server, "backup restore").await;
        connected.map_err(|cause| ScratchError::Connect { server: self.role(), cause })
    }

    /// Ends the sessions of databases again and again, until dropped; returns only when it may not.
    async fn end_sessions(&self, connection: &Connection, names: &[String], but: i32) -> ScratchError {
        let end = "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity
                   WHERE datname = ANY ($1) AND pid <> $2
                     AND coalesce(backend_type, 'client backend') IN ('client backend', 'walsender')";
        let name = names.join(", ");
        loop {
            match connection.query_one(end, &[&names, &but]).await {
                Ok(row) => match usize::try_from(row.get::<_, i64>(0)) {
                    Ok(0) | Err(_) => {}
                    Ok(ended) => info!("ended {} of {name}", text::count(ended, "session")),
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
        assert_eq!(name_before("shop", "20260128_020500", |_| false), "shop_before_20260128_020500");
        assert_eq!(
            name_before(&"ä".repeat(31), "20260128_020500", |_| false),
            format!("{}_before_20260128_020500", "ä".repeat(20))
        );
        let taken = |name: &str| name == "shop_before_20260128_020500";
        assert_eq!(name_before("shop", "20260128_020500", taken), "shop_before_20260128_020500_2");
        let place = Place { name: "a\"b".to_owned(), replaced: Some("old".to_owned()), ..Place::default() };
        assert_eq!(
            swap_back(&place, "aside").unwrap(),
            "BEGIN; ALTER DATABASE \"a\"\"b\" RENAME TO \"aside\"; ALTER DATABASE \"old\" RENAME TO \"a\"\"b\"; COMMIT;"
        );
    }
}
