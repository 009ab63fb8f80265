//! What lies in a restored database, read back as pg_dump would write it.

use super::catalog::{LossyText, bytes_of, literal, sql_name};
use super::connection::Connection;
use super::{materialized, table_rows};
use crate::dump_format::sql_lexer::{qualified, quoted};
use crate::record::facts::{Contents, DatabaseHead, LargeObjects, ReadBack, SequenceValue};
use crate::record::fingerprint::RowSum;
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row, SimpleQueryMessage};

/// Sequences asked for at once.
const SEQUENCES: usize = 200;
/// Large objects read at once.
const AT_ONCE: i64 = 500;
/// Bytes of each of them at first.
const FIRST_BYTES: i32 = 8 << 10;
/// Bytes of all that have more, shared among them.
const MORE_BYTES: i32 = 4 << 20;

/// Reads back what is expected, rows over those `beside` as well and in the bytes of the encoding that the dump has them in.
pub async fn read(
    connection: &Connection,
    beside: &[Connection],
    expected: &Contents,
    head: &DatabaseHead,
) -> Result<ReadBack, Error> {
    for one in beside.iter().chain([connection]) {
        // a locale that this server lacks matters only where there is money, and then the rows differ
        let _ = one.batch_execute(&format!("SET lc_monetary = {}", literal(&head.lc_monetary))).await;
    }
    let mut found = table_rows::read(connection, beside, expected).await?;
    found.views = materialized::differing(connection, &head.materialized, &head.properties.encoding).await?;
    found.sequences = read_sequences(connection, &expected.sequences).await?;
    found.large_objects = large_objects(connection).await?;
    Ok(found)
}

/// SQL: both parts of the name of relation `c` in namespace `n`.
pub(super) fn name_columns() -> String {
    format!("{}, {}", bytes_of("n.nspname::text"), bytes_of("c.relname::text"))
}

/// The name whose two parts stand there in a row.
pub(super) fn name_of(row: &Row, at: usize) -> String {
    let (schema, name): (LossyText, LossyText) = (row.get(at), row.get(at + 1));
    qualified(&schema.text, &name.text)
}

/// Sequences whose values are not those expected; none where there is no such sequence.
async fn read_sequences(
    connection: &Connection,
    expected: &BTreeMap<String, SequenceValue>,
) -> Result<BTreeMap<String, Option<SequenceValue>>, Error> {
    let name = name_columns();
    let question = format!(
        "SELECT {name} FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid >= 16384 AND c.relkind = 'S'"
    );
    let mut there = BTreeSet::new();
    let take = |row: Row| there.extend(expected.get_key_value(&name_of(&row, 0)).map(|(name, _)| name));
    connection.each_row(&question, take).await?;
    let missing = expected.keys().filter(|name| !there.contains(name));
    let mut differing: BTreeMap<String, Option<SequenceValue>> = missing.map(|name| (name.clone(), None)).collect();
    let there: Vec<&String> = there.into_iter().collect();
    for names in there.chunks(SEQUENCES) {
        let values = sequences(connection, names).await?;
        let other = values.into_iter().filter(|(name, value)| expected.get(name) != Some(value));
        differing.extend(other.map(|(name, value)| (name, Some(value))));
    }
    Ok(differing)
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

/// Large objects from that number on, each with its first bytes.
const OBJECTS: &str = "
    SELECT oid, pg_catalog.lo_get(oid, 0, $2) FROM pg_catalog.pg_largeobject_metadata
    WHERE oid > $1 ORDER BY oid LIMIT $3";
/// More bytes of large objects.
const MORE: &str = "
    SELECT o.oid, pg_catalog.lo_get(o.oid, $2, $3) FROM pg_catalog.unnest($1::oid[]) AS o (oid)";

/// Reads all of them, many at once: most are small, and a question for each would take longer than its bytes.
async fn large_objects(connection: &Connection) -> Result<LargeObjects, Error> {
    let first = connection.prepare_typed(OBJECTS, &[Type::OID, Type::INT4, Type::INT8]).await?;
    let more = connection.prepare_typed(MORE, &[Type::OID_ARRAY, Type::INT8, Type::INT4]).await?;
    let (mut all, mut last) = (LargeObjects::default(), 0_u32);
    loop {
        let rows = connection.query(&first, &[&last, &FIRST_BYTES, &AT_ONCE]).await?;
        let Some(row) = rows.last() else { return Ok(all) };
        last = row.get(0);
        let mut unread: BTreeMap<u32, RowSum> =
            rows.iter().map(|row| row.get(0)).map(|number| (number, RowSum::of_large_object(number))).collect();
        take_bytes(&mut all, &mut unread, &rows, FIRST_BYTES);
        let mut offset = i64::from(FIRST_BYTES);
        while !unread.is_empty() {
            let numbers: Vec<u32> = unread.keys().copied().collect();
            let length = MORE_BYTES / i32::try_from(numbers.len()).unwrap_or(MORE_BYTES).max(1);
            take_bytes(&mut all, &mut unread, &connection.query(&more, &[&numbers, &offset, &length]).await?, length);
            offset += i64::from(length);
        }
    }
}

/// Takes the next bytes of large objects; one that has fewer than were asked for is read.
fn take_bytes(all: &mut LargeObjects, unread: &mut BTreeMap<u32, RowSum>, rows: &[Row], asked: i32) {
    for row in rows {
        let (number, bytes): (u32, &[u8]) = (row.get(0), row.get(1));
        let Some(mut sum) = unread.remove(&number) else { continue };
        if !bytes.is_empty() {
            sum.take(bytes, false);
        }
        if bytes.len() < asked as usize {
            all.count += 1;
            all.fingerprint.add(sum.finish_large_object());
        } else {
            unread.insert(number, sum);
        }
    }
}

/// Questions for rows that their validated foreign key does not allow, one for each of the next keys, by the key's own
/// operators.
const FOREIGN_KEYS: &str = "
    SELECT k.oid, n.nspname::text, c.relname::text, k.conname::text, pg_catalog.format(
        'SELECT pg_catalog.count(*) FROM %s%I.%I c WHERE %s AND NOT EXISTS (SELECT FROM %s%I.%I p WHERE %s)',
        CASE c.relkind WHEN 'r' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname,
        CASE k.confmatchtype
            WHEN 'f' THEN 'NOT (' || pg_catalog.string_agg(pg_catalog.format('c.%I IS NULL', a.attname), ' AND ') || ')'
            ELSE pg_catalog.string_agg(pg_catalog.format('c.%I IS NOT NULL', a.attname), ' AND ') END,
        CASE pc.relkind WHEN 'r' THEN 'ONLY ' ELSE '' END, pn.nspname, pc.relname,
        pg_catalog.string_agg(
            pg_catalog.format('p.%I OPERATOR(%I.%s) c.%I', pa.attname, op_n.nspname, op.oprname, a.attname)
            -- of two collations that of the key decides, as for the server
            || CASE WHEN a.attcollation <> pa.attcollation AND a.attcollation <> 0 AND pa.attcollation <> 0
                    THEN ' COLLATE ' || pa.attcollation::pg_catalog.regcollation::text ELSE '' END, ' AND '))
    FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_class pc ON pc.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
    CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey),
                                  pg_catalog.unnest(k.conpfeqop)) AS u(child, parent, operator)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.child
    JOIN pg_catalog.pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = u.parent
    JOIN pg_catalog.pg_operator op ON op.oid = u.operator JOIN pg_catalog.pg_namespace op_n ON op_n.oid = op.oprnamespace
    WHERE k.contype = 'f' AND k.convalidated AND k.conparentid = 0 AND k.oid >= 16384
      AND coalesce(pg_catalog.to_jsonb(k) ->> 'conperiod', 'false') = 'false' AND k.oid > $1
    GROUP BY k.oid, n.nspname, c.relname, c.relkind, k.conname, k.confmatchtype, pc.relkind, pn.nspname, pc.relname
    ORDER BY k.oid LIMIT 500";

/// Rows without the row that their validated foreign key wants, by key; the first number is that of the keys.
pub async fn orphans(connection: &Connection) -> Result<(usize, BTreeMap<String, u64>), Error> {
    let (mut count, mut orphans, mut last) = (0, BTreeMap::new(), 0_u32);
    loop {
        let keys = connection.query_typed(FOREIGN_KEYS, &[(&last, Type::OID)]).await?;
        let Some(key) = keys.last() else { return Ok((count, orphans)) };
        last = key.get(0);
        count += keys.len();
        for key in &keys {
            let (schema, table, name): (String, String, String) = (key.get(1), key.get(2), key.get(3));
            let rows: i64 = connection.query_typed_one(key.get(4), &[]).await?.get(0);
            if rows > 0 {
                orphans.insert(format!("{}.{}", qualified(&schema, &table), quoted(&name)), rows.unsigned_abs());
            }
        }
    }
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

/// Ends row security for the owner of a restored table.
pub async fn unforce_row_security(connection: &Connection, table: &str) -> Result<(), Error> {
    connection.batch_execute(&format!("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", sql_name(table))).await
}
