//! Rows of a restored database, read back as pg_dump would write them and summed up, over several sessions at the same time.

use super::catalog::{literal, quote, sql_name};
use super::connection::Connection;
use super::contents::{name_columns, name_of};
use crate::dump_format::sql_lexer::{Lexer, Token};
use crate::record::facts::{Columns, Contents, ReadBack, TableRows};
use crate::record::fingerprint::{Fingerprint, RowSum};
use futures_util::future::try_join_all;
use std::collections::{HashMap, btree_map};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row};

/// The rows of the tables that are expected, by the settings of the session, which may be in a transaction where the tables
/// are all there and it is alone. Each of those `beside` takes the next table as well, or the next part of a large one.
pub async fn read(connection: &Connection, beside: &[Connection], expected: &Contents) -> Result<ReadBack, Error> {
    let connections = || beside.iter().chain([connection]);
    // a policy that hides rows is an error, as for pg_dump
    try_join_all(connections().map(|one| one.batch_execute("SET row_security = off"))).await?;
    let special = special_tables(connection, expected).await?;
    let pages = if beside.is_empty() { HashMap::new() } else { large_tables(connection, expected).await? };
    let parts = Mutex::new(TableParts { tables: expected.tables.iter(), pages, current: None });
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (encoding, ordinary) = (expected.encoding.as_deref().unwrap_or("UTF8"), Relation::default());
    let (special, ordinary) = (&special, &ordinary);
    let next = &next;
    let all = connections().map(|connection| async move {
        let mut sums = Vec::new();
        while let Some(TablePart { table, wanted, range }) = next() {
            let relation = special.get(table).unwrap_or(ordinary);
            let statement = relation.copy(table, &wanted.columns, encoding, range.as_ref());
            // nothing of a name that is not UTF-8, and stands here as something like it, can be asked for
            let is_known = !table.contains(char::REPLACEMENT_CHARACTER);
            sums.push((table, if is_known { sum(connection, &statement).await? } else { None }));
        }
        Ok::<_, Error>(sums)
    });
    let mut tables: HashMap<&String, Option<(u64, Fingerprint)>> = HashMap::new();
    for (table, part) in try_join_all(all).await?.into_iter().flatten() {
        let sum = tables.entry(table).or_insert(Some((0, Fingerprint::default())));
        *sum = sum.zip(part).map(|((rows, mut fingerprint), (more, other))| {
            fingerprint.add(other);
            (rows + more, fingerprint)
        });
    }
    let mut found = ReadBack::default();
    for (table, wanted) in &expected.tables {
        let sum = tables.remove(table).flatten();
        found.tables += u64::from(sum.is_some());
        found.rows += sum.map_or(0, |(rows, _)| rows);
        if sum != Some((wanted.rows, wanted.fingerprint)) {
            found.differing.insert(table.clone(), sum);
        }
    }
    Ok(found)
}

/// What one session reads at once.
struct TablePart<'e> {
    table: &'e String,
    wanted: &'e TableRows,
    /// Pages of a large table; none is all of it.
    range: Option<Range<u64>>,
}

/// Tables one after the other, the large ones in parts.
struct TableParts<'e> {
    tables: btree_map::Iter<'e, String, TableRows>,
    /// How many pages each large table has, and how many of them are read at once.
    pages: HashMap<String, (u64, u64)>,
    current: Option<(&'e String, &'e TableRows, u64)>,
}

impl<'e> Iterator for TableParts<'e> {
    type Item = TablePart<'e>;

    fn next(&mut self) -> Option<TablePart<'e>> {
        let (table, wanted, begin) = match self.current.take() {
            Some(current) => current,
            None => self.tables.next().map(|(table, wanted)| (table, wanted, 0))?,
        };
        let Some((pages, at_once)) = self.pages.get(table).copied() else {
            return Some(TablePart { table, wanted, range: None });
        };
        let end = begin + at_once;
        let is_last = end >= pages;
        self.current = (!is_last).then_some((table, wanted, end));
        Some(TablePart { table, wanted, range: Some(begin..if is_last { u64::from(u32::MAX) } else { end }) })
    }
}

/// Bytes of a large table that are read at once.
const AT_ONCE: u64 = 64 << 20;

/// Ordinary tables with more bytes than that: their pages, and how many of them are read at once. PostgreSQL reads ranges
/// of pages from version 14 on.
async fn large_tables(connection: &Connection, expected: &Contents) -> Result<HashMap<String, (u64, u64)>, Error> {
    let mut large = HashMap::new();
    if connection.version().major < 14 {
        return Ok(large);
    }
    let name = name_columns();
    let question = format!(
        "SELECT pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint,
                pg_catalog.pg_table_size(c.oid), {name}
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_catalog.pg_am a ON a.oid = c.relam AND a.amname = 'heap'
         WHERE c.oid >= 16384 AND c.relkind = 'r' AND pg_catalog.pg_table_size(c.oid) > {AT_ONCE}"
    );
    let take = |row: Row| {
        let (pages, bytes) = (row.get::<_, i64>(0).unsigned_abs(), row.get::<_, i64>(1).unsigned_abs());
        let name = name_of(&row, 2);
        if expected.tables.contains_key(&name) {
            large.insert(name, (pages, (pages / bytes.div_ceil(AT_ONCE)).max(1)));
        }
    };
    connection.each_row(&question, take).await?;
    Ok(large)
}

/// There is no such table, or it is something else, or has other columns, and that is told of elsewhere.
const MISSING: &[&SqlState] = &[
    &SqlState::UNDEFINED_COLUMN,
    &SqlState::UNDEFINED_TABLE,
    &SqlState::INVALID_SCHEMA_NAME,
    &SqlState::WRONG_OBJECT_TYPE,
];

/// How the rows of a table are copied.
#[derive(Default)]
struct Relation {
    /// Its rows are those of its partitions, or some of them belong to its extension.
    by_query: bool,
    /// `WHERE …` that tells the rows that people have put there from those of an extension.
    condition: String,
    /// Tables below it whose rows the dump has for themselves, and everything below those.
    elsewhere: Vec<u32>,
}

/// Expected tables whose rows are not simply all of theirs: partitioned ones, and those that an extension has named.
async fn special_tables(connection: &Connection, expected: &Contents) -> Result<HashMap<String, Relation>, Error> {
    let name = name_columns();
    let question = format!(
        "SELECT c.oid, {name}, c.relkind = 'p', coalesce(e.condition, '')
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN (SELECT c.oid, c.condition FROM pg_catalog.pg_extension,
                    ROWS FROM (pg_catalog.unnest(extconfig), pg_catalog.unnest(extcondition)) AS c (oid, condition)) AS e
              ON e.oid = c.oid
         WHERE c.oid >= 16384 AND (c.relkind = 'p' OR c.relkind = 'r' AND e.condition <> '')"
    );
    let mut special = HashMap::new();
    let take = |row: Row| {
        let (oid, is_partitioned, condition): (u32, bool, String) = (row.get(0), row.get(3), row.get(4));
        let name = name_of(&row, 1);
        if expected.tables.contains_key(&name) {
            special.insert(name, (oid, is_partitioned, condition));
        }
    };
    connection.each_row(&question, take).await?;
    let mut relations = HashMap::new();
    for (name, (oid, is_partitioned, condition)) in special {
        let elsewhere = if is_partitioned { elsewhere(connection, oid, expected).await? } else { Vec::new() };
        relations.insert(name, Relation { by_query: true, condition, elsewhere });
    }
    Ok(relations)
}

/// Tables below a partitioned one whose rows the dump has for themselves, and everything below those.
async fn elsewhere(connection: &Connection, root: u32, expected: &Contents) -> Result<Vec<u32>, Error> {
    let name = name_columns();
    let question = format!(
        "WITH RECURSIVE below AS (
             SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = {root}
             UNION ALL
             SELECT i.inhparent, i.inhrelid FROM pg_catalog.pg_inherits i JOIN below b ON i.inhparent = b.inhrelid)
         SELECT b.inhparent, b.inhrelid, {name} FROM below b
         JOIN pg_catalog.pg_class c ON c.oid = b.inhrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    );
    let (mut partitions, mut own): (HashMap<u32, Vec<u32>>, Vec<u32>) = (HashMap::new(), Vec::new());
    let take = |row: Row| {
        partitions.entry(row.get(0)).or_default().push(row.get(1));
        own.extend(expected.tables.contains_key(&name_of(&row, 2)).then(|| row.get::<_, u32>(1)));
    };
    connection.each_row(&question, take).await?;
    let mut at = 0;
    while let Some(oid) = own.get(at).copied() {
        own.extend(partitions.remove(&oid).into_iter().flatten());
        at += 1;
    }
    Ok(own)
}

impl Relation {
    fn copy(&self, table: &str, columns: &Columns, encoding: &str, range: Option<&Range<u64>>) -> String {
        let (table, list) = (sql_name(table), columns.names().map(quote).collect::<Vec<_>>().join(", "));
        let numbers = self.elsewhere.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let condition = match numbers.is_empty() {
            true => self.condition.clone(),
            false => format!("WHERE tableoid NOT IN ({numbers})"),
        };
        let pages = range.map_or_else(String::new, |range| {
            format!("WHERE ctid >= '({},0)' AND ctid < '({},0)'", range.start, range.end)
        });
        let what = match (self.by_query, columns.is_empty()) {
            (true, _) => format!("(SELECT {list} FROM {table} {condition})"),
            // what inherits from it is for itself
            (false, _) if range.is_some() => format!("(SELECT {list} FROM ONLY {table} {pages})"),
            (false, true) => table,
            (false, false) => format!("{table} ({list})"),
        };
        format!("COPY {what} TO STDOUT (ENCODING {})", literal(encoding))
    }
}

/// Number of rows and their fingerprint; none where there are no such rows.
async fn sum(connection: &Connection, statement: &str) -> Result<Option<(u64, Fingerprint)>, Error> {
    match sum_of(connection, statement).await {
        Ok(sum) => Ok(Some(sum)),
        Err(error) if error.code().is_some_and(|code| MISSING.contains(&code)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same of rows that are there.
pub(super) async fn sum_of(connection: &Connection, statement: &str) -> Result<(u64, Fingerprint), Error> {
    let (mut lexer, mut sum) = (Lexer::in_rows(), RowSum::default());
    let take = |mut input: &[u8]| {
        while let Some(Token::Row { bytes, ends }) = lexer.next(&mut input) {
            sum.take(bytes, ends);
        }
    };
    connection.copy_out(statement, take).await?;
    Ok(sum.finish())
}
