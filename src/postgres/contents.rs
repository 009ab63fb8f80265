//! What lies in a restored database, read back as pg_dump would write it.

use super::catalog::{literal, quote, sql_name};
use super::connection::Connection;
use crate::facts::{Contents, LargeObjects, SequenceValue, TableRows};
use crate::fingerprint::{Fingerprint, RowSum};
use crate::sql_lexer::{Lexer, Token, qualified, quoted};
use futures_util::TryStreamExt;
use std::collections::{BTreeMap, HashMap};
use tokio_postgres::{Error, SimpleQueryMessage};

/// Sequences asked for at once.
const SEQUENCES: usize = 200;
/// Bytes of a large object read at once.
const OBJECT_BYTES: i32 = 256 << 10;

/// Reads what is expected, as far as it is there. Rows come in the bytes of `encoding`.
pub async fn read(
    connection: &Connection,
    expected: &Contents,
    encoding: &str,
    lc_monetary: &str,
) -> Result<Contents, Error> {
    // a policy that hides rows is an error, as for pg_dump
    connection.batch_execute("SET row_security = off").await?;
    // a locale that this server lacks matters only where there is money, and then the rows differ
    let _ = connection.batch_execute(&format!("SET lc_monetary = {}", literal(lc_monetary))).await;
    let relations = relations(connection).await?;
    let mut found = Contents::default();
    for (table, rows) in &expected.tables {
        if let Some(relation) = relations.get(table) {
            let statement = relation.copy(table, &rows.columns, encoding);
            let (count, fingerprint) = match sum(connection, &statement).await {
                Ok(sum) => sum,
                // without these columns it is another table, and that is told of elsewhere
                Err(error) if error.as_db_error().is_some() => continue,
                Err(error) => return Err(error),
            };
            let rows = TableRows { columns: rows.columns.clone(), rows: count, fingerprint, members: Vec::new() };
            found.tables.insert(table.clone(), rows);
        }
    }
    let names: Vec<&String> = expected.sequences.keys().filter(|name| relations.contains_key(*name)).collect();
    for names in names.chunks(SEQUENCES) {
        found.sequences.extend(sequences(connection, names).await?);
    }
    found.large_objects = large_objects(connection).await?;
    Ok(found)
}

/// How the rows of a table are copied.
struct Relation {
    /// Its rows are those of its partitions, or some of them belong to its extension.
    by_query: bool,
    /// `WHERE …` that tells the rows that people have put there from those of an extension.
    condition: String,
}

async fn relations(connection: &Connection) -> Result<HashMap<String, Relation>, Error> {
    let question = "
        SELECT n.nspname::text, c.relname::text, c.relkind = 'p', coalesce(
            (SELECT e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)]
             FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig) LIMIT 1), '')
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'S')";
    let rows = connection.query_typed(question, &[]).await?;
    let relation = |row: &tokio_postgres::Row| {
        let (schema, name, is_partitioned, condition): (String, String, bool, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let by_query = is_partitioned || !condition.is_empty();
        (qualified(&schema, &name), Relation { by_query, condition })
    };
    Ok(rows.iter().map(relation).collect())
}

impl Relation {
    fn copy(&self, table: &str, columns: &[String], encoding: &str) -> String {
        let (table, list) = (sql_name(table), columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", "));
        let what = match (self.by_query, columns.is_empty()) {
            (true, _) => format!("(SELECT {list} FROM {table} {})", self.condition),
            (false, true) => table,
            (false, false) => format!("{table} ({list})"),
        };
        format!("COPY {what} TO STDOUT (ENCODING {})", literal(encoding))
    }
}

/// Number of rows and their fingerprint.
async fn sum(connection: &Connection, statement: &str) -> Result<(u64, Fingerprint), Error> {
    let (mut lexer, mut sum) = (Lexer::in_rows(), RowSum::default());
    let mut stream = std::pin::pin!(connection.copy_out(statement).await?);
    while let Some(bytes) = stream.try_next().await? {
        let mut input = &bytes[..];
        while let Some(Token::Row { bytes, ends }) = lexer.next(&mut input) {
            sum.take(bytes, ends);
        }
    }
    Ok(sum.finish())
}

async fn sequences(connection: &Connection, names: &[&String]) -> Result<BTreeMap<String, SequenceValue>, Error> {
    let one =
        |(index, name): (usize, &&String)| format!("SELECT {index}, last_value, is_called FROM {}", sql_name(name));
    let question = names.iter().enumerate().map(one).collect::<Vec<_>>().join(" UNION ALL ");
    let rows = connection.query_typed(&question, &[]).await?;
    let value = |row: &tokio_postgres::Row| {
        let index: i32 = row.get(0);
        let name = names.get(usize::try_from(index).ok()?)?;
        Some(((*name).clone(), SequenceValue { value: row.get(1), is_called: row.get(2) }))
    };
    Ok(rows.iter().filter_map(value).collect())
}

async fn large_objects(connection: &Connection) -> Result<LargeObjects, Error> {
    let rows = connection.query_typed("SELECT oid FROM pg_catalog.pg_largeobject_metadata", &[]).await?;
    let mut all = LargeObjects { count: rows.len() as u64, fingerprint: Fingerprint::default() };
    if rows.is_empty() {
        return Ok(all);
    }
    let part = connection.prepare("SELECT pg_catalog.lo_get($1, $2, $3)").await?;
    for row in &rows {
        let number: u32 = row.get(0);
        let (mut sum, mut offset) = (RowSum::default(), 0_i64);
        sum.take(format!("{number}\t").as_bytes(), false);
        loop {
            let row = connection.query_one(&part, &[&number, &offset, &OBJECT_BYTES]).await?;
            let bytes: &[u8] = row.get(0);
            if !bytes.is_empty() {
                sum.take(bytes, false);
            }
            offset += bytes.len() as i64;
            if bytes.len() < OBJECT_BYTES.unsigned_abs() as usize {
                break;
            }
        }
        sum.take(&[], true);
        all.fingerprint.add(sum.finish().1);
    }
    Ok(all)
}

/// Questions for rows that their validated foreign key does not allow, one for each key, by the key's own operators.
const FOREIGN_KEYS: &str = "
    SELECT n.nspname::text, c.relname::text, k.conname::text, pg_catalog.format(
        'SELECT pg_catalog.count(*) FROM %s%I.%I c WHERE %s AND NOT EXISTS (SELECT FROM %s%I.%I p WHERE %s)',
        CASE c.relkind WHEN 'r' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname,
        CASE k.confmatchtype
            WHEN 'f' THEN 'NOT (' || pg_catalog.string_agg(pg_catalog.format('c.%I IS NULL', a.attname), ' AND ') || ')'
            ELSE pg_catalog.string_agg(pg_catalog.format('c.%I IS NOT NULL', a.attname), ' AND ') END,
        CASE pc.relkind WHEN 'r' THEN 'ONLY ' ELSE '' END, pn.nspname, pc.relname,
        pg_catalog.string_agg(
            pg_catalog.format('p.%I OPERATOR(%I.%s) c.%I', pa.attname, op_n.nspname, op.oprname, a.attname), ' AND '))
    FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_class pc ON pc.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
    CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey),
                                  pg_catalog.unnest(k.conpfeqop)) AS u(child, parent, operator)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.child
    JOIN pg_catalog.pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = u.parent
    JOIN pg_catalog.pg_operator op ON op.oid = u.operator JOIN pg_catalog.pg_namespace op_n ON op_n.oid = op.oprnamespace
    WHERE k.contype = 'f' AND k.convalidated AND k.conparentid = 0 AND k.oid >= 16384
      AND coalesce(pg_catalog.to_jsonb(k) ->> 'conperiod', 'false') = 'false'
    GROUP BY k.oid, n.nspname, c.relname, c.relkind, k.conname, k.confmatchtype, pc.relkind, pn.nspname, pc.relname
    ORDER BY 1, 2, 3";

/// Rows without the row that their validated foreign key wants, by key; the first number is that of the keys.
pub async fn orphans(connection: &Connection) -> Result<(usize, BTreeMap<String, u64>), Error> {
    let keys = connection.query_typed(FOREIGN_KEYS, &[]).await?;
    let mut orphans = BTreeMap::new();
    for key in &keys {
        let (schema, table, name, question): (String, String, String, String) =
            (key.get(0), key.get(1), key.get(2), key.get(3));
        let count: i64 = connection.query_typed_one(&question, &[]).await?.get(0);
        if count > 0 {
            orphans.insert(format!("{}.{}", qualified(&schema, &table), quoted(&name)), count.unsigned_abs());
        }
    }
    Ok((keys.len(), orphans))
}

/// Runs a query that must give one row of one column that is true, and nothing else; the answer is what it gave.
pub async fn is_true(connection: &Connection, query: &str) -> Result<bool, String> {
    // a transaction of its own, which can change nothing
    let text = format!("BEGIN READ ONLY; {query}; ROLLBACK");
    let answers = connection.simple_query(&text).await;
    if answers.is_err() {
        let _ = connection.batch_execute("ROLLBACK").await;
    }
    let answers = answers.map_err(|error| super::cause(&error))?;
    let rows: Vec<_> = answers
        .iter()
        .filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect();
    match rows.as_slice() {
        [row] if row.len() == 1 => Ok(row.get(0) == Some("t")),
        [row] => Err(format!("gave {} columns instead of one", row.len())),
        rows => Err(format!("gave {} rows instead of one", rows.len())),
    }
}
