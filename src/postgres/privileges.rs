//! What the dumping role lacks, and the statement that would mend it.
//!
//! The rules are pg_dump's: it locks and copies every table outside the system's schemas and extensions, reads every
//! sequence and large object, and refuses to leave out rows that row security hides. One missing privilege fails the
//! whole dump. What is excluded on purpose is not known here and is the caller's affair.

use super::catalog::{LossyText, bytes_of};
use super::connection::Connection;
use crate::text;
use serde::Serialize;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

/// Something that pg_dump needs and the role may not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// What it may not read, such as `table public.orders`.
    pub object: String,
    /// The statement that would mend it, to be run by the owner or a superuser.
    pub mend: String,
}

/// More than this many are not asked for.
const MOST: i64 = 1000;

/// Everything in the connected database that the session's role lacks, at most 1000.
pub async fn lacking(connection: &Connection) -> Result<Vec<Lack>, Error> {
    let mut lacks = Vec::new();
    if connection.is_superuser() {
        return Ok(lacks);
    }
    for query in [RELATIONS, large_objects(connection.version().major), ROW_SECURITY] {
        let (object, mend) = (bytes_of("lack.object"), bytes_of("lack.mend"));
        let question = format!("SELECT {object}, {mend} FROM ({query}) AS lack (object, mend)");
        let rows = connection.query_typed(&question, &[(&MOST, Type::INT8)]).await?;
        let text = |row: &Row, column| row.get::<_, LossyText>(column).text;
        lacks.extend(rows.iter().map(|row| Lack { object: text(row, 0), mend: text(row, 1) }));
    }
    Ok(lacks)
}

/// Tables that belong to an extension count only where it asks for their rows to be dumped.
const RELATIONS: &str = "
    SELECT pg_catalog.format('%s %I.%I', r.kind, r.nspname, r.relname),
           pg_catalog.concat_ws(' ',
               CASE WHEN NOT r.usage THEN pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I;', r.nspname, current_user) END,
               CASE WHEN NOT r.readable THEN pg_catalog.format('GRANT SELECT ON %s %I.%I TO %I;', pg_catalog.upper(r.kind), r.nspname, r.relname, current_user) END)
    FROM (SELECT n.nspname, c.relname, CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind,
                 pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS usage,
                 CASE c.relkind WHEN 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
                                ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END AS readable
          FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            AND (NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e'
                             AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid)
                 OR EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig)))) r
    WHERE NOT (r.usage AND r.readable) ORDER BY 1 LIMIT $1";

/// Servers since 18 answer for themselves; before that the access list is read as the server would.
fn large_objects(server_major: u32) -> &'static str {
    if server_major >= 18 {
        "SELECT 'large object ' || m.oid,
                pg_catalog.format('GRANT SELECT ON LARGE OBJECT %s TO %I;', m.oid, current_user)
         FROM pg_catalog.pg_largeobject_metadata m
         WHERE pg_catalog.current_setting('lo_compat_privileges') = 'off'
           AND NOT pg_catalog.has_largeobject_privilege(m.oid, 'SELECT')
         ORDER BY m.oid LIMIT $1"
    } else {
        "SELECT 'large object ' || m.oid,
                pg_catalog.format('GRANT SELECT ON LARGE OBJECT %s TO %I;', m.oid, current_user)
         FROM pg_catalog.pg_largeobject_metadata m
         WHERE pg_catalog.current_setting('lo_compat_privileges') = 'off'
           AND NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)
           AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
           AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(m.lomacl, pg_catalog.acldefault('L', m.lomowner))) a
                           WHERE a.privilege_type = 'SELECT'
                             AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
         ORDER BY m.oid LIMIT $1"
    }
}

/// pg_dump copies a partitioned table's partitions, each by its own policies, and not the table itself.
const ROW_SECURITY: &str = "
    SELECT pg_catalog.format('table %I.%I past its row security', n.nspname, c.relname),
           pg_catalog.format('ALTER ROLE %I BYPASSRLS;', current_user)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid)
      AND (NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e'
                       AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid)
           OR EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig)))
    ORDER BY 1 LIMIT $1";

/// The first of them in one sentence, with what would mend them.
pub fn describe(lacks: &[Lack]) -> (String, String) {
    const NAMED: usize = 5;
    let objects: Vec<&String> = lacks.iter().map(|lack| &lack.object).collect();
    let objects = text::some(&objects, NAMED);
    let mut mends: Vec<&str> = lacks.iter().map(|lack| lack.mend.as_str()).collect();
    mends.dedup();
    mends.truncate(NAMED);
    (objects, mends.join(" "))
}
