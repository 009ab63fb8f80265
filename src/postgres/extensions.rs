//! Extensions, and what pg_dump leaves out by its own rules: it writes `CREATE EXTENSION`, and of what belongs to an extension nothing but
//! the rows of the tables that the extension has named for that.

use super::catalog::{LossyText, bytes_of, quote};
use super::connection::Connection;
use crate::dump_format::sql_lexer::qualified;
use crate::record::facts::LeftOut;
use tokio_postgres::Error;
use tokio_postgres::types::Type;

/// Extensions that want to be told of a restore: functions of theirs that are called before rows come into their tables, and
/// behind that. From the documentation of each.
const TOLD: &[(&str, [&str; 2])] = &[("timescaledb", ["timescaledb_pre_restore", "timescaledb_post_restore"])];

/// When an extension is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restoring {
    Begins,
    Ends,
}

/// Makes an extension where it is not there yet.
pub async fn make(connection: &Connection, name: &str, schema: Option<&str>) -> Result<(), Error> {
    let mut statement = format!("CREATE EXTENSION IF NOT EXISTS {}", quote(name));
    if let Some(schema) = schema.map(quote) {
        connection.execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"), &[]).await?;
        statement += &format!(" WITH SCHEMA {schema}");
    }
    connection.execute(&statement, &[]).await.map(drop)
}

/// Tells an extension of a restore, where it wants that.
pub async fn tell(connection: &Connection, extension: &str, restoring: Restoring) -> Result<(), Error> {
    let Some((_, functions)) = TOLD.iter().find(|(name, _)| *name == extension) else { return Ok(()) };
    let schema = "SELECT extnamespace::pg_catalog.regnamespace::text FROM pg_catalog.pg_extension WHERE extname = $1";
    let Some(row) = connection.query_typed(schema, &[(&extension, Type::TEXT)]).await?.pop() else { return Ok(()) };
    let function = functions[restoring as usize];
    let schema: String = row.get(0);
    connection.query_typed(&format!("SELECT {schema}.{function}()"), &[]).await.map(drop)
}

/// Tables that belong to an extension whose rows are not dumped.
const TABLES: &str = "
    SELECT n.nspname::text AS schema, c.relname::text AS name, e.extname::text AS extension
    FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
         AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e'
    JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'r'
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE e.extconfig IS NULL OR NOT c.oid = ANY (e.extconfig)
    ORDER BY 1, 2";

/// Members of extensions that are not as their extension made them, by the transactions that wrote them: one that is
/// newer than both its membership and the extension was altered; a membership that is newer than the extension was given
/// by hand, unless most of them are, as pg_upgrade leaves it. What may have been a GRANT alone is passed over, because
/// pg_dump keeps those.
const MEMBERS: &str = "
    WITH member AS (
        SELECT e.oid AS extension_oid, e.extname, e.xmin AS made, d.xmin AS joined, d.classid, d.objid
        FROM pg_catalog.pg_extension e
        JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
             AND d.deptype = 'e'
    ), object AS (
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass AS classid, p.oid, p.xmin AS written,
               CASE p.prokind WHEN 'p' THEN 'procedure ' WHEN 'a' THEN 'aggregate ' ELSE 'function ' END
               || p.oid::pg_catalog.regprocedure::text AS name, p.proacl AS acl
        FROM pg_catalog.pg_proc p
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, c.xmin,
               CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'S' THEN 'sequence '
                              WHEN 'r' THEN 'table ' ELSE 'relation ' END || c.oid::pg_catalog.regclass::text, c.relacl
        FROM pg_catalog.pg_class c WHERE c.relkind IN ('v', 'm', 'S', 'r', 'p', 'f')
        UNION ALL
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, t.xmin, 'type ' || t.oid::pg_catalog.regtype::text, t.typacl
        FROM pg_catalog.pg_type t WHERE t.typtype IN ('b', 'd', 'e', 'r')
    ), judged AS (
        SELECT m.extname, m.extension_oid, o.name,
               pg_catalog.age(m.joined) < pg_catalog.age(m.made) AS is_added,
               pg_catalog.age(o.written) < pg_catalog.age(m.joined) AND pg_catalog.age(o.written) < pg_catalog.age(m.made)
               AND o.name NOT LIKE 'table %'
               AND o.acl::text IS NOT DISTINCT FROM (SELECT i.initprivs::text FROM pg_catalog.pg_init_privs i
                   WHERE i.classoid = m.classid AND i.objoid = m.objid AND i.objsubid = 0) AS is_altered
        FROM member m JOIN object o ON o.classid = m.classid AND o.oid = m.objid
    ), added AS (
        SELECT extension_oid, pg_catalog.count(*) FILTER (WHERE is_added) * 2 < pg_catalog.count(*) AS by_hand
        FROM judged GROUP BY extension_oid
    )
    SELECT j.name, j.extname::text AS extension, NOT j.is_altered AS is_added
    FROM judged j JOIN added a USING (extension_oid)
    WHERE j.is_altered OR j.is_added AND a.by_hand
    ORDER BY 2, 1 LIMIT 100";

/// What a dump of the connected database leaves out although it is somebody's own.
pub(super) async fn left_out(connection: &Connection) -> Result<Vec<LeftOut>, Error> {
    let mut left_out = Vec::new();
    let question = format!(
        "SELECT {}, {}, {} FROM ({TABLES}) AS t",
        bytes_of("t.schema"),
        bytes_of("t.name"),
        bytes_of("t.extension")
    );
    let text = |row: &tokio_postgres::Row, at: usize| row.get::<_, LossyText>(at).text;
    for row in connection.query_typed(&question, &[]).await? {
        let (table, extension) = (qualified(&text(&row, 0), &text(&row, 1)), text(&row, 2));
        let rows = count(connection, &table).await?;
        if rows != Some(0) {
            let why = format!("it belongs to the extension {extension}");
            left_out.push(LeftOut { object: format!("table {table}"), rows, why });
        }
    }
    let question =
        format!("SELECT {}, {}, m.is_added FROM ({MEMBERS}) AS m", bytes_of("m.name"), bytes_of("m.extension"));
    for row in connection.query_typed(&question, &[]).await? {
        let (object, extension, is_added) = (text(&row, 0), text(&row, 1), row.get::<_, bool>(2));
        let why = match is_added {
            true => format!("it was added to the extension {extension}, which does not recreate it"),
            false => format!(
                "it was altered after the extension {extension} created it, and is recreated in its original form"
            ),
        };
        if !left_out.iter().any(|known: &LeftOut| known.object == object) {
            left_out.push(LeftOut { object, rows: None, why });
        }
    }
    Ok(left_out)
}

/// Number of rows; none where the role may not count them, or somebody holds the table.
async fn count(connection: &Connection, table: &str) -> Result<Option<u64>, Error> {
    let question = format!("SELECT pg_catalog.count(*) FROM ONLY {}", super::catalog::sql_name(table));
    connection.batch_execute("SAVEPOINT counting").await?;
    match connection.query_typed_one(&question, &[]).await {
        Ok(row) => {
            connection.batch_execute("RELEASE counting").await?;
            Ok(Some(row.get::<_, i64>(0).unsigned_abs()))
        }
        Err(error) if error.code().is_some() => {
            connection.batch_execute("ROLLBACK TO counting").await?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
