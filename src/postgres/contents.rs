//! What lies in a restored database, read back as pg_dump would write it.

use super::catalog::{Text, bytes_of, literal, quote, sql_name};
use super::connection::Connection;
use crate::facts::{Contents, LargeObjects, SequenceValue, TableRows};
use crate::fingerprint::{Fingerprint, RowSum};
use crate::sql_lexer::{Lexer, Token, qualified, quoted};
use std::collections::{BTreeMap, HashMap};
use tokio_postgres::error::SqlState;
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

/// Reads what is expected, as far as it is there; rows in the bytes of the encoding that the dump has them in.
pub async fn read(connection: &Connection, expected: &Contents, lc_monetary: &str) -> Result<Contents, Error> {
    let (tables, relations) = read_tables(connection, expected, Some(lc_monetary)).await?;
    let mut found = Contents { tables, ..Contents::default() };
    let names: Vec<&String> = expected.sequences.keys().filter(|name| relations.contains_key(*name)).collect();
    for names in names.chunks(SEQUENCES) {
        found.sequences.extend(sequences(connection, names).await?);
    }
    found.large_objects = large_objects(connection).await?;
    Ok(found)
}

/// The rows alone, by the settings of the session, which may be in a transaction.
pub async fn read_rows(connection: &Connection, expected: &Contents) -> Result<BTreeMap<String, TableRows>, Error> {
    Ok(read_tables(connection, expected, None).await?.0)
}

async fn read_tables(
    connection: &Connection,
    expected: &Contents,
    lc_monetary: Option<&str>,
) -> Result<(BTreeMap<String, TableRows>, HashMap<String, Relation>), Error> {
    let encoding = expected.encoding.as_deref().unwrap_or("UTF8");
    // a policy that hides rows is an error, as for pg_dump
    connection.batch_execute("SET row_security = off").await?;
    if let Some(lc_monetary) = lc_monetary {
        // a locale that this server lacks matters only where there is money, and then the rows differ
        let _ = connection.batch_execute(&format!("SET lc_monetary = {}", literal(lc_monetary))).await;
    }
    let relations = relations(connection).await?;
    let mut found = BTreeMap::new();
    for (table, rows) in &expected.tables {
        if let Some(relation) = relations.get(table) {
            let elsewhere = relation.leaves.iter().filter(|leaf| expected.tables.contains_key(&leaf.name));
            let elsewhere: Vec<u32> = elsewhere.flat_map(|leaf| leaf.below.iter().copied()).collect();
            let statement = relation.copy(table, &rows.columns, encoding, &elsewhere);
            let (count, fingerprint) = match sum(connection, &statement).await {
                Ok(sum) => sum,
                // without these columns it is another table, and that is told of elsewhere
                Err(error) if error.code().is_some_and(|code| MISSING.contains(&code)) => continue,
                Err(error) => return Err(error),
            };
            let rows = TableRows { columns: rows.columns.clone(), rows: count, fingerprint, ..TableRows::default() };
            found.insert(table.clone(), rows);
        }
    }
    Ok((found, relations))
}

/// The table or one of its columns is not there.
const MISSING: &[&SqlState] = &[&SqlState::UNDEFINED_COLUMN, &SqlState::UNDEFINED_TABLE];

/// A table below a partitioned one.
struct Leaf {
    name: String,
    /// Its own number, and those of all tables below it.
    below: Vec<u32>,
}

/// How the rows of a table are copied.
struct Relation {
    /// Tables below it, which may have their rows in the dump for themselves.
    leaves: Vec<Leaf>,
    /// Its rows are those of its partitions, or some of them belong to its extension.
    by_query: bool,
    /// `WHERE …` that tells the rows that people have put there from those of an extension.
    condition: String,
}

async fn relations(connection: &Connection) -> Result<HashMap<String, Relation>, Error> {
    let (schema, name) = (bytes_of("n.nspname::text"), bytes_of("c.relname::text"));
    let question = format!(
        "SELECT c.oid, {schema}, {name}, c.relkind = 'p', coalesce(
            (SELECT e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)]
             FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig) LIMIT 1), '')
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'S')"
    );
    let inherits = "SELECT i.inhparent, i.inhrelid FROM pg_catalog.pg_inherits i
                    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relispartition AND c.relkind IN ('r', 'p')";
    let mut partitions: HashMap<u32, Vec<u32>> = HashMap::new();
    for row in connection.query_typed(inherits, &[]).await? {
        partitions.entry(row.get(0)).or_default().push(row.get(1));
    }
    let rows = connection.query_typed(&question, &[]).await?;
    let name_of = |row: &tokio_postgres::Row| {
        let (schema, name): (Text, Text) = (row.get(1), row.get(2));
        qualified(&schema.text, &name.text)
    };
    let names: HashMap<u32, String> = rows.iter().map(|row| (row.get(0), name_of(row))).collect();
    let relation = |row: &tokio_postgres::Row| {
        let (oid, is_partitioned, condition): (u32, bool, String) = (row.get(0), row.get(3), row.get(4));
        let leaf = |oid: u32| Some(Leaf { name: names.get(&oid)?.clone(), below: below(&partitions, oid) });
        let leaves = below(&partitions, oid).into_iter().filter(|other| *other != oid).filter_map(leaf).collect();
        let by_query = is_partitioned || !condition.is_empty();
        (name_of(row), Relation { leaves, by_query, condition })
    };
    Ok(rows.iter().map(relation).collect())
}

/// A partitioned table's number and those of everything below it.
fn below(partitions: &HashMap<u32, Vec<u32>>, oid: u32) -> Vec<u32> {
    let mut all = vec![oid];
    let mut at = 0;
    while let Some(oid) = all.get(at).copied() {
        all.extend(partitions.get(&oid).into_iter().flatten());
        at += 1;
    }
    all
}

impl Relation {
    /// Rows in tables of these numbers are left out: the dump has them elsewhere.
    fn copy(&self, table: &str, columns: &[String], encoding: &str, elsewhere: &[u32]) -> String {
        let (table, list) = (sql_name(table), columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", "));
        let numbers = elsewhere.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let condition = match numbers.is_empty() {
            true => self.condition.clone(),
            false => format!("WHERE tableoid NOT IN ({numbers})"),
        };
        let what = match (self.by_query, columns.is_empty()) {
            (true, _) => format!("(SELECT {list} FROM {table} {condition})"),
            (false, true) => table,
            (false, false) => format!("{table} ({list})"),
        };
        format!("COPY {what} TO STDOUT (ENCODING {})", literal(encoding))
    }
}

/// Number of rows and their fingerprint.
async fn sum(connection: &Connection, statement: &str) -> Result<(u64, Fingerprint), Error> {
    let (mut lexer, mut sum) = (Lexer::in_rows(), RowSum::default());
    let take = |mut input: &[u8]| {
        while let Some(Token::Row { bytes, ends }) = lexer.next(&mut input) {
            sum.take(bytes, ends);
        }
    };
    connection.copy_out(statement, take).await?;
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

/// Ends row security for the owner of a restored table.
pub async fn unforce_row_security(connection: &Connection, table: &str) -> Result<(), Error> {
    connection.batch_execute(&format!("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", sql_name(table))).await
}
