//! What a restore will have to leave out, or to do in another order than a dump has it: as far as the catalogue tells
//! before there is a dump.

use super::connection::Connection;
use super::extensions;
use tokio_postgres::Error;

/// Something to know before the first night.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    pub what: String,
    /// What a person can do.
    pub hint: &'static str,
}

/// CHECK constraints that call a function of somebody's own which is not immutable, or is written in SQL or a procedural
/// language and may ask tables.
const CHECKS: &str = r"
    SELECT DISTINCT k.conrelid::pg_catalog.regclass::text, k.conname::text, p.oid::pg_catalog.regprocedure::text
    FROM pg_catalog.pg_constraint k
    CROSS JOIN LATERAL pg_catalog.regexp_matches(k.conbin::text, ':(?:op)?funcid (\d+)', 'g') AS f (number)
    JOIN pg_catalog.pg_proc p ON p.oid = f.number[1]::pg_catalog.oid AND p.oid >= 16384
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('c', 'internal')
    WHERE k.contype = 'c' AND k.conrelid <> 0 AND k.oid >= 16384 AND p.prosrc ~* '\m(from|perform|select)\M'
    ORDER BY 1, 2 LIMIT 20";

/// Indexes whose expressions call a function of somebody's own that has no search_path: each with a question that calls it
/// as a restore does.
const INDEXES: &str = r"
    SELECT DISTINCT ON (i.indexrelid) i.indexrelid::pg_catalog.regclass::text,
           pg_catalog.format('SELECT %s FROM %s LIMIT 1',
               pg_catalog.concat_ws(', ', pg_catalog.pg_get_expr(i.indexprs, i.indrelid), pg_catalog.pg_get_expr(i.indpred, i.indrelid)),
               i.indrelid::pg_catalog.regclass)
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL pg_catalog.regexp_matches(i.indexprs::text || coalesce(i.indpred::text, ''), ':(?:op)?funcid (\d+)', 'g') AS f (number)
    JOIN pg_catalog.pg_proc p ON p.oid = f.number[1]::pg_catalog.oid AND p.oid >= 16384
    WHERE i.indexrelid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) c WHERE c LIKE 'search_path=%')
    ORDER BY i.indexrelid LIMIT 200";

/// Constraints whose names PostgreSQL 18 gives to NOT NULL constraints of its own.
const NAMES: &str = "
    SELECT c.oid::pg_catalog.regclass::text, k.conname::text
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnotnull AND a.attnum > 0
    WHERE k.contype <> 'n' AND k.oid >= 16384
      AND k.conname::text = c.relname::text || '_' || a.attname::text || '_not_null'
    ORDER BY 1, 2 LIMIT 20";

/// Looks into the connected database.
pub async fn look(connection: &Connection) -> Result<Vec<Foreseen>, Error> {
    let mut foreseen = Vec::new();
    // those of tables are counted, and said by every run
    for one in extensions::left_out(connection).await?.into_iter().filter(|one| one.rows.is_none()) {
        foreseen.push(Foreseen {
            what: format!("{}: {}, and no dump contains that", one.object, one.why),
            hint: "objects that use it may be exceptions of every restore; wrap it in a function of your own",
        });
    }
    for row in connection.query_typed(CHECKS, &[]).await? {
        let (table, name, function): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        foreseen.push(Foreseen {
            what: format!(
                "CHECK {name} of {table} calls {function}, which may query tables whose rows are loaded later"
            ),
            hint: "backup restore checks it once all rows are loaded; psql alone would refuse the rows",
        });
    }
    connection.batch_execute("BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'").await?;
    for row in connection.query_typed(INDEXES, &[]).await? {
        let (index, question): (String, String) = (row.get(0), row.get(1));
        connection.batch_execute("SAVEPOINT one").await?;
        // the session has no search_path, as that of a restore
        if let Err(error) = connection.query_typed(&question, &[]).await {
            if error.code().is_none() {
                return Err(error);
            }
            foreseen.push(Foreseen {
                what: format!("index {index}: {} when the search_path is empty", super::cause(&error)),
                hint: "it will be an exception of every restore; ALTER FUNCTION … SET search_path fixes it",
            });
        }
        connection.batch_execute("ROLLBACK TO one").await?;
    }
    connection.batch_execute("ROLLBACK").await?;
    if connection.version().major < 18 {
        for row in connection.query_typed(NAMES, &[]).await? {
            let (table, name): (String, String) = (row.get(0), row.get(1));
            foreseen.push(Foreseen {
                what: format!(
                    "constraint {name} of {table} has a name that PostgreSQL 18 itself gives to NOT NULL constraints"
                ),
                hint: "a restore into PostgreSQL 18 would leave it out; rename it before you upgrade",
            });
        }
    }
    Ok(foreseen)
}
