//! What a database is made of, read by one question.
//!
//! Asked in the transaction of a snapshot it shows the database as pg_dump does under it: catalogues are read as the
//! snapshot has them, and so are views and constraints.

use super::catalog::{Text, bytes_of};
use super::connection::Connection;
use super::migrations;
use crate::facts::{Catalogue, Schema};
use serde::Deserialize;
use tokio_postgres::Error;
use tracing::warn;

/// A database's schema, and what happened to it since the snapshot of the transaction that asks.
#[derive(Debug, Default)]
pub struct Described {
    /// The schema.
    pub schema: Schema,
    /// Tables whose rows were replaced since: to the snapshot they look empty.
    pub rewritten: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Row {
    #[serde(flatten)]
    catalogue: Catalogue,
    roles: Vec<String>,
    rewritten: Vec<String>,
    lc_monetary: String,
}

/// Reads the schema of the connected database.
pub async fn describe(connection: &Connection) -> Result<Described, Error> {
    let question = question(connection.version().major);
    let question = format!("SELECT {} FROM ({question}) AS schema (json)", bytes_of("schema.json"));
    let row = connection.query_typed_one(&question, &[]).await?;
    let row: Text = row.get(0);
    let row = serde_json::from_str(&row.text).unwrap_or_else(|error| {
        warn!("the server's answer about the schema is not understood ({error}); it is not recorded");
        Row::default()
    });
    let Row { catalogue, roles, rewritten, lc_monetary } = row;
    let migrations = migrations::read(connection, &catalogue).await?;
    Ok(Described { schema: Schema { catalogue, migrations, roles, lc_monetary }, rewritten })
}

/// A name as [`crate::facts::Objects`] has it.
fn quoted(name: &str) -> String {
    format!(
        "CASE WHEN {name} ~ '^[a-z_][a-z0-9_]*$' THEN {name}::text
         ELSE '\"' || pg_catalog.replace({name}, '\"', '\"\"') || '\"' END"
    )
}

/// A name with its schema.
fn qualified(schema: &str, name: &str) -> String {
    format!("({} || '.' || {})", quoted(schema), quoted(name))
}

/// True for what belongs to no extension. Objects below number 16384 are the server's own.
fn is_ours(catalogue: &str, number: &str) -> String {
    format!(
        "{number} >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.deptype = 'e'
         AND e.classid = 'pg_catalog.{catalogue}'::pg_catalog.regclass AND e.objid = {number})"
    )
}

/// Names of columns by their numbers, in order.
fn columns_of(table: &str, numbers: &str) -> String {
    format!(
        "(SELECT pg_catalog.jsonb_agg(a.attname ORDER BY k.i)
          FROM pg_catalog.unnest({numbers}::int2[]) WITH ORDINALITY AS k(number, i)
          LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = {table} AND a.attnum = k.number)"
    )
}

/// An object of JSON by name: `from` gives rows of a name and its properties.
fn objects(name: &str, properties: &[(&str, &str)], from: &str) -> String {
    let pairs: Vec<String> = properties.iter().map(|(name, value)| format!("'{name}', {value}")).collect();
    format!(
        "coalesce((SELECT pg_catalog.jsonb_object_agg({name},
            pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object({}))) FROM {from}), '{{}}')",
        pairs.join(", ")
    )
}

fn question(major: u32) -> String {
    let user = "n.nspname !~ '^pg_'";
    let relation = qualified("n.nspname", "c.relname");
    let with_schema = "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";
    let ours = is_ours("pg_class", "c.oid");

    let columns = format!(
        "(SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
            'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
            'identity', nullif(a.attidentity, ''), 'generated', nullif(a.attgenerated, ''),
            'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
            'collation', CASE WHEN a.attcollation <> t.typcollation THEN {} END)) ORDER BY a.attnum)
          FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
          LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          LEFT JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)",
        quoted("o.collname")
    );
    let parents = format!(
        "(SELECT pg_catalog.jsonb_agg({} ORDER BY h.inhseqno) FROM pg_catalog.pg_inherits h
          JOIN pg_catalog.pg_class pc ON pc.oid = h.inhparent JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
          WHERE h.inhrelid = c.oid)",
        qualified("pn.nspname", "pc.relname")
    );
    let checks = "(SELECT pg_catalog.jsonb_object_agg(k.conname, pg_catalog.pg_get_constraintdef(k.oid))
          FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c')";
    let tables = objects(
        &relation,
        &[
            ("kind", "c.relkind"),
            ("persistence", "c.relpersistence"),
            ("columns", &columns),
            ("parents", &parents),
            ("key", "CASE c.relkind WHEN 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END"),
            ("bound", "CASE WHEN c.relispartition THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid) END"),
            ("checks", checks),
            ("row_security", "nullif(c.relrowsecurity, false)"),
            ("forced_row_security", "nullif(c.relforcerowsecurity, false)"),
        ],
        &format!("{with_schema} WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND {user} AND {ours}"),
    );
    let enums = objects(
        &qualified("n.nspname", "t.typname"),
        &[(
            "labels",
            "(SELECT pg_catalog.jsonb_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l
              WHERE l.enumtypid = t.oid)",
        )],
        &format!(
            "pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
             WHERE t.typtype = 'e' AND {user} AND {}",
            is_ours("pg_type", "t.oid")
        ),
    );
    let table = qualified("tn.nspname", "tc.relname");
    let indexes = objects(
        &relation,
        &[
            ("table", &table),
            ("valid", "i.indisvalid AND i.indisready"),
            ("unique", "i.indisunique"),
            ("primary", "i.indisprimary"),
            ("columns", &columns_of("i.indrelid", "i.indkey")),
            ("definition", "pg_catalog.pg_get_indexdef(i.indexrelid)"),
        ],
        &format!(
            "{with_schema} JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
             JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = tc.relnamespace
             WHERE {user} AND tc.relpersistence <> 't' AND {ours} AND {}",
            is_ours("pg_class", "tc.oid")
        ),
    );
    let foreign_keys = objects(
        &format!("{relation} || '.' || {}", quoted("k.conname")),
        &[
            ("validated", "k.convalidated"),
            ("columns", &columns_of("k.conrelid", "k.conkey")),
            ("references", &table),
            ("referenced_columns", &columns_of("k.confrelid", "k.confkey")),
            ("on_update", "k.confupdtype"),
            ("on_delete", "k.confdeltype"),
            ("match", "k.confmatchtype"),
            ("deferrable", "nullif(k.condeferrable, false)"),
            ("deferred", "nullif(k.condeferred, false)"),
        ],
        &format!(
            "pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_catalog.pg_class tc ON tc.oid = k.confrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = tc.relnamespace
             WHERE k.contype = 'f' AND k.conparentid = 0 AND {user} AND c.relpersistence <> 't' AND {ours}"
        ),
    );
    let sequences = objects(
        &relation,
        &[
            ("type", "pg_catalog.format_type(s.seqtypid, NULL)"),
            ("start", "s.seqstart"),
            ("increment", "s.seqincrement"),
            ("least", "s.seqmin"),
            ("most", "s.seqmax"),
            ("cache", "s.seqcache"),
            ("cycles", "nullif(s.seqcycle, false)"),
        ],
        &format!(
            "{with_schema} JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid WHERE {user} AND c.relpersistence <> 't' AND {ours}"
        ),
    );
    let view_columns = columns.replace("a.attnotnull", "NULL");
    let views = objects(
        &relation,
        &[
            ("kind", "c.relkind"),
            ("columns", &view_columns),
            ("populated", "CASE c.relkind WHEN 'm' THEN c.relispopulated END"),
            ("options", "pg_catalog.to_jsonb(c.reloptions)"),
            ("definition", "pg_catalog.pg_get_viewdef(c.oid)"),
        ],
        &format!("{with_schema} WHERE c.relkind IN ('v', 'm') AND {user} AND c.relpersistence <> 't' AND {ours}"),
    );
    let body = if major >= 14 { "pg_catalog.pg_get_function_sqlbody(p.oid)" } else { "NULL" };
    let functions = objects(
        &format!(
            "{} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')'",
            qualified("n.nspname", "p.proname")
        ),
        &[
            ("kind", "p.prokind"),
            ("result", "pg_catalog.pg_get_function_result(p.oid)"),
            ("language", "(SELECT l.lanname FROM pg_catalog.pg_language l WHERE l.oid = p.prolang)"),
            ("volatility", "p.provolatile"),
            ("parallel", "p.proparallel"),
            ("strict", "nullif(p.proisstrict, false)"),
            ("security_definer", "nullif(p.prosecdef, false)"),
            ("leakproof", "nullif(p.proleakproof, false)"),
            ("settings", "pg_catalog.to_jsonb(p.proconfig)"),
            ("source", "p.prosrc"),
            ("file", "p.probin"),
            ("body", body),
        ],
        &format!(
            "pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE {user} AND {}",
            is_ours("pg_proc", "p.oid")
        ),
    );
    let triggers = objects(
        &format!("{relation} || '.' || {}", quoted("g.tgname")),
        &[("enabled", "g.tgenabled"), ("definition", "pg_catalog.pg_get_triggerdef(g.oid)")],
        &format!(
            "{with_schema} JOIN pg_catalog.pg_trigger g ON g.tgrelid = c.oid
             WHERE NOT g.tgisinternal AND {} AND {user} AND {ours}",
            if major >= 13 { "g.tgparentid = 0" } else { "true" }
        ),
    );
    let event_triggers = objects(
        &format!("'event trigger ' || {}", quoted("v.evtname")),
        &[
            ("enabled", "v.evtenabled"),
            ("event", "v.evtevent"),
            ("function", "v.evtfoid::pg_catalog.regproc::text"),
            ("tags", "pg_catalog.to_jsonb(v.evttags)"),
        ],
        &format!("pg_catalog.pg_event_trigger v WHERE {}", is_ours("pg_event_trigger", "v.oid")),
    );
    let policies = objects(
        &format!("{relation} || '.' || {}", quoted("y.polname")),
        &[
            ("command", "y.polcmd"),
            ("permissive", "y.polpermissive"),
            (
                "roles",
                "(SELECT pg_catalog.jsonb_agg(CASE r WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(r) END
                  ORDER BY 1) FROM pg_catalog.unnest(y.polroles) AS r)",
            ),
            ("using", "pg_catalog.pg_get_expr(y.polqual, y.polrelid)"),
            ("with_check", "pg_catalog.pg_get_expr(y.polwithcheck, y.polrelid)"),
        ],
        &format!("{with_schema} JOIN pg_catalog.pg_policy y ON y.polrelid = c.oid WHERE {user} AND {ours}"),
    );
    let extensions = objects(
        &quoted("x.extname"),
        &[("schema", "n.nspname"), ("version", "x.extversion")],
        "pg_catalog.pg_extension x JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace WHERE x.oid >= 16384",
    );
    format!(
        "SELECT pg_catalog.jsonb_build_object('tables', {tables}, 'enums', {enums}, 'indexes', {indexes},
            'foreign_keys', {foreign_keys}, 'sequences', {sequences}, 'views', {views}, 'functions', {functions},
            'triggers', {triggers} || {event_triggers}, 'policies', {policies}, 'extensions', {extensions},
            'roles', {ROLES}, 'rewritten', {}, 'lc_monetary', pg_catalog.current_setting('lc_monetary'))::text",
        rewritten(&relation)
    )
}

/// Roles that something in the database, or the database itself, depends on.
const ROLES: &str = "coalesce((SELECT pg_catalog.jsonb_agg(DISTINCT r.rolname)
    FROM pg_catalog.pg_database d JOIN pg_catalog.pg_shdepend s
      ON s.dbid = d.oid OR s.dbid = 0 AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND s.objid = d.oid
    JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid
    WHERE d.datname = pg_catalog.current_database()
      AND s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass), '[]')";

/// The function answers with the file of now, the column with that of the snapshot. TRUNCATE and the forms of ALTER
/// TABLE that rewrite give a table another file, and older snapshots see no rows in it.
fn rewritten(relation: &str) -> String {
    format!(
        "coalesce((SELECT pg_catalog.jsonb_agg({relation}) FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid >= 16384 AND c.relfilenode <> 0
           AND pg_catalog.pg_relation_filenode(c.oid) <> c.relfilenode), '[]')"
    )
}
