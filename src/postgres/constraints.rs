//! CHECK constraints that rows may break while they are loaded although they did not at the source: those that ask other
//! tables, or the clock, or the session. They are taken off before the rows come, and put back behind them.

use super::connection::Connection;
use tokio_postgres::Error;

/// Which constraints are taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsteady {
    /// Those whose expression has more in it than what PostgreSQL itself calls immutable.
    Expressions,
    /// All of them: rows broke one although it looked steady.
    All,
}

/// A constraint that was taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOff {
    /// The table or the domain, as SQL.
    pub owner: String,
    /// The constraint's name, as SQL.
    pub name: String,
    /// `CHECK (…)`
    pub definition: String,
    /// It is a domain's.
    pub is_domain: bool,
    /// What is said of it, as SQL.
    pub comment: Option<String>,
}

impl TakenOff {
    fn target(&self) -> String {
        format!("ALTER {} {}", if self.is_domain { "DOMAIN" } else { "TABLE" }, self.owner)
    }

    /// The statement that puts it back.
    pub fn add(&self) -> String {
        format!("{} ADD CONSTRAINT {} {}", self.target(), self.name, self.definition)
    }

    /// The statement that says of it what was said; none where that is nothing.
    pub fn comment(&self) -> Option<String> {
        let Self { owner, name, comment, is_domain, .. } = self;
        let on = if *is_domain { "DOMAIN " } else { "" };
        comment.as_ref().map(|comment| format!("COMMENT ON CONSTRAINT {name} ON {on}{owner} IS {comment}"))
    }

    /// The statement that has its rows looked at, once it is back without that.
    pub fn validate(&self) -> String {
        format!("{} VALIDATE CONSTRAINT {}", self.target(), self.name)
    }
}

/// Nodes of an expression's tree that name a function, by number, and those that ask the session without naming one.
const UNSTEADY: &str = r"k.conbin::text ~ '\{(SQLVALUEFUNCTION|COERCEVIAIO|NEXTVALUEEXPR) '
    OR EXISTS (SELECT FROM pg_catalog.regexp_matches(k.conbin::text, ':(?:op)?funcid (\d+)', 'g') AS f (number)
               JOIN pg_catalog.pg_proc p ON p.oid = f.number[1]::pg_catalog.oid
               WHERE p.provolatile <> 'i' OR p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace)";

/// Domains that are only part of what is in a column: of those no constraint can be put back as long as there are rows.
const WITHIN: &str = "
    k.contypid <> 0 AND EXISTS (
        WITH RECURSIVE within (type) AS (
            SELECT k.contypid
            UNION SELECT t.oid FROM within w JOIN pg_catalog.pg_type t
                ON t.typbasetype = w.type OR t.typelem = w.type AND t.typlen = -1
                OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.atttypid = w.type
                           AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped)
                OR EXISTS (SELECT FROM pg_catalog.pg_range r WHERE r.rngsubtype = w.type AND r.rngtypid = t.oid)
        )
        SELECT FROM within w JOIN pg_catalog.pg_attribute a ON a.atttypid = w.type
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'm')
        WHERE w.type <> k.contypid AND NOT a.attisdropped
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = w.type AND t.typtype = 'd'))";

/// How long somebody else's lock may be in the way.
const PATIENCE: &str = "SET LOCAL lock_timeout = '10s'";

/// Takes off what rows may break, all of it or nothing; in the order in which they go back.
pub async fn take_off(connection: &Connection, which: Unsteady) -> Result<Vec<TakenOff>, Error> {
    let condition = match which {
        Unsteady::Expressions => format!("({UNSTEADY}) AND NOT ({WITHIN})"),
        Unsteady::All => "true".to_owned(),
    };
    // parents are made before their children
    let question = format!(
        "SELECT CASE WHEN k.contypid = 0 THEN k.conrelid::pg_catalog.regclass::text
                     ELSE k.contypid::pg_catalog.regtype::text END,
                pg_catalog.quote_ident(k.conname), pg_catalog.pg_get_constraintdef(k.oid), k.contypid <> 0,
                pg_catalog.quote_literal(pg_catalog.obj_description(k.oid, 'pg_constraint'))
         FROM pg_catalog.pg_constraint k
         WHERE k.contype = 'c' AND k.oid >= 16384 AND k.conislocal AND k.convalidated AND ({condition})
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                           WHERE d.deptype = 'e' AND d.objid IN (k.conrelid, k.contypid, k.oid))
         ORDER BY greatest(k.conrelid, k.contypid), k.conname"
    );
    let rows = connection.query_typed(&question, &[]).await?;
    let taken_off = |row: &tokio_postgres::Row| TakenOff {
        owner: row.get(0),
        name: row.get(1),
        definition: row.get(2),
        is_domain: row.get(3),
        comment: row.get(4),
    };
    let all: Vec<TakenOff> = rows.iter().map(taken_off).collect();
    let drops = all.iter().map(|one| format!("{} DROP CONSTRAINT IF EXISTS {}", one.target(), one.name));
    let statements: Vec<String> = [PATIENCE.to_owned()].into_iter().chain(drops).collect();
    connection.batch_execute(&format!("BEGIN; {}; COMMIT", statements.join("; "))).await?;
    Ok(all)
}
