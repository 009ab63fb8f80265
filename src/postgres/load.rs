//! Rows into tables of a database that is in use, all in one transaction of our own session.

use super::LONGEST_NAME;
use super::catalog::{literal, quote, sql_name};
use super::connection::Connection;
use super::session::CopyIn;
use crate::dump_format::sql_lexer::{parts, qualified, quoted};
use crate::record::facts::{Contents, SequenceValue};
use bytes::BytesMut;
use futures_util::SinkExt;
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::Error;

/// Bytes handed to the server at once.
const CHUNK: usize = 64 << 10;

/// A transaction that loads rows; dropped without [`Load::commit`] it did nothing.
pub struct Load<'a> {
    connection: &'a Connection,
    /// How the bytes of the rows are to be read.
    encoding: String,
    /// Triggers and foreign keys are switched off for it.
    pub is_quiet: bool,
}

/// A table that is emptied.
pub struct Emptied {
    pub name: String,
    /// With everything below it.
    pub is_root: bool,
}

impl Emptied {
    fn sql(&self) -> String {
        format!("{}{}", if self.is_root { "" } else { "ONLY " }, sql_name(&self.name))
    }
}

/// The rows of one table on their way.
pub struct LoadingRows<'a> {
    copy: CopyIn<'a>,
    waiting: BytesMut,
}

impl<'a> Load<'a> {
    /// Begins. Only some roles may switch triggers off; others let them run.
    pub async fn begin(connection: &'a Connection, contents: &Contents, lc_monetary: &str) -> Result<Self, Error> {
        let quiet = connection.batch_execute("SET session_replication_role = replica").await;
        // a locale that this server lacks matters only where there is money, and then the rows differ
        let _ = connection.batch_execute(&format!("SET lc_monetary = {}", literal(lc_monetary))).await;
        connection.batch_execute("SET synchronous_commit = on; BEGIN").await?;
        let encoding = contents.encoding.clone().unwrap_or_else(|| "UTF8".to_owned());
        Ok(Self { connection, encoding, is_quiet: quiet.is_ok() })
    }

    /// Lets nobody else near the tables, in an order that all sessions of ours keep.
    pub async fn lock(&self, tables: &BTreeSet<String>) -> Result<(), Error> {
        let names: Vec<String> = tables.iter().map(|table| sql_name(table)).collect();
        self.connection.batch_execute(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "))).await
    }

    /// Triggers of these tables that would fire all the same.
    pub async fn triggers(&self, tables: &BTreeSet<String>) -> Result<Vec<String>, Error> {
        let question = "SELECT t.tgname::text, n.nspname::text, c.relname::text, t.tgenabled::text
             FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE NOT t.tgisinternal AND t.tgtype & 4 <> 0 ORDER BY 2, 3, 1";
        let firing = if self.is_quiet { ["A", "R"] } else { ["A", "O"] };
        let rows = self.connection.query_typed(question, &[]).await?;
        let fires = rows.iter().filter(|row| firing.contains(&row.get(3)));
        let named = fires.map(|row| (row.get::<_, String>(0), qualified(row.get(1), row.get(2))));
        Ok(named
            .filter(|(_, table)| tables.contains(table))
            .map(|(name, table)| format!("{name} of {table}"))
            .collect())
    }

    /// Foreign keys of tables beside these that refer to them.
    pub async fn keys_from_elsewhere(&self, tables: &BTreeSet<String>) -> Result<Vec<String>, Error> {
        let question = "SELECT k.conname::text, cn.nspname::text, c.relname::text, pn.nspname::text, p.relname::text
             FROM pg_catalog.pg_constraint k
             JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
             JOIN pg_catalog.pg_class p ON p.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
             WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 2, 3, 1";
        let rows = self.connection.query_typed(question, &[]).await?;
        let name = |row: &tokio_postgres::Row, at: usize| qualified(row.get(at), row.get(at + 1));
        let foreign = rows.iter().filter(|row| tables.contains(&name(row, 3)) && !tables.contains(&name(row, 1)));
        Ok(foreign.map(|row| format!("{} of {}", row.get::<_, String>(0), name(row, 1))).collect())
    }

    /// Tables of these that have rows.
    pub async fn with_rows(&self, tables: &[Emptied]) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for table in tables {
            let question = format!("SELECT EXISTS (SELECT FROM {})", table.sql());
            if self.connection.query_typed_one(&question, &[]).await?.get(0) {
                found.push(table.name.clone());
            }
        }
        Ok(found)
    }

    /// Removes every row.
    pub async fn empty(&self, tables: &[Emptied]) -> Result<(), Error> {
        let names: Vec<String> = tables.iter().map(Emptied::sql).collect();
        self.connection.batch_execute(&format!("TRUNCATE {}", names.join(", "))).await
    }

    /// Makes a table of these columns, which are a name and SQL behind it, and nothing else: no keys, no defaults.
    pub async fn create(&self, table: &str, columns: &[(String, String)]) -> Result<(), Error> {
        // one statement is all that this way of asking takes
        self.connection.execute(&create_table(table, columns), &[]).await.map(drop)
    }

    /// Opens a table for rows of these columns.
    pub async fn rows(&self, table: &str, columns: &[String]) -> Result<LoadingRows<'_>, Error> {
        let list = columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
        let list = if list.is_empty() { String::new() } else { format!("({list})") };
        let statement = format!("COPY {} {list} FROM STDIN (ENCODING {})", sql_name(table), literal(&self.encoding));
        Ok(LoadingRows { copy: self.connection.copy_in(&statement).await?, waiting: BytesMut::new() })
    }

    /// Sequences that belong to columns of these tables.
    pub async fn sequences_of(&self, tables: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        let question = "SELECT sn.nspname::text, s.relname::text, tn.nspname::text, t.relname::text
             FROM pg_catalog.pg_depend d
             JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
             JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
             JOIN pg_catalog.pg_class t ON t.oid = d.refobjid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
             WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')";
        let rows = self.connection.query_typed(question, &[]).await?;
        let name = |row: &tokio_postgres::Row, at: usize| qualified(row.get(at), row.get(at + 1));
        Ok(rows.iter().filter(|row| tables.contains(&name(row, 2))).map(|row| name(row, 0)).collect())
    }

    /// Sets sequences, as part of the transaction, which `setval` alone is not: behind RESTART it writes to storage that only
    /// this transaction has. Those that are not there are passed over.
    pub async fn set(&self, values: &BTreeMap<String, SequenceValue>) -> Result<(), Error> {
        let known = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
                     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S'";
        for row in self.connection.query_typed(known, &[]).await? {
            let name = qualified(row.get(0), row.get(1));
            let Some(SequenceValue { value, is_called }) = values.get(&name) else { continue };
            let sequence = sql_name(&name);
            let set = format!("SELECT pg_catalog.setval({}, {value}, {is_called})", literal(&sequence));
            self.connection.batch_execute(&format!("ALTER SEQUENCE {sequence} RESTART; {set}")).await?;
        }
        Ok(())
    }

    /// Keeps everything.
    pub async fn commit(self) -> Result<(), Error> {
        self.connection.batch_execute("COMMIT").await
    }
}

impl LoadingRows<'_> {
    /// Hands on bytes of rows in COPY's text format, line breaks and all.
    pub async fn write(&mut self, bytes: &[u8], ends: bool) -> Result<(), Error> {
        self.waiting.extend_from_slice(bytes);
        if ends {
            self.waiting.extend_from_slice(b"\n");
        }
        if self.waiting.len() >= CHUNK {
            let chunk = self.waiting.split().freeze();
            self.copy.sink.as_mut().send(chunk).await?;
        }
        Ok(())
    }

    /// Ends them; the answer is how many they were.
    pub async fn finish(mut self) -> Result<u64, Error> {
        let rest = self.waiting.split().freeze();
        if !rest.is_empty() {
            self.copy.sink.as_mut().send(rest).await?;
        }
        self.copy.sink.as_mut().finish().await
    }
}

/// The name of a table beside another one, cut so that it fits.
pub fn beside(table: &str, time: &str, taken: impl Fn(&str) -> bool) -> Option<String> {
    let (schema, name) = parts(table)?;
    let numbered = |number: u32| match number {
        1 => beside_as(&schema, &name, &format!("_restored_{time}")),
        number => beside_as(&schema, &name, &format!("_restored_{time}_{number}")),
    };
    (1..1000).map(numbered).find(|name| !taken(name))
}

fn beside_as(schema: &str, name: &str, ending: &str) -> String {
    qualified(schema, &format!("{}{ending}", &name[..name.floor_char_boundary(LONGEST_NAME - ending.len())]))
}

/// A table of these columns, which are a name and SQL behind it, and nothing else.
pub fn create_table(table: &str, columns: &[(String, String)]) -> String {
    let columns: Vec<String> = columns.iter().map(|(name, rest)| format!("{} {rest}", quote(name))).collect();
    format!("CREATE TABLE {} ({})", sql_name(table), columns.join(", "))
}

/// The columns of a table, as the facts have them, that its rows have: name and type, without what only a whole table
/// needs.
pub fn plain_columns(described: &[String], wanted: &[String]) -> Option<Vec<(String, String)>> {
    let column = |name: &String| {
        let prefix = format!("{} ", quoted(name));
        let rest = described.iter().find_map(|column| column.strip_prefix(&prefix))?;
        let rest = rest.split(" identity ").next()?;
        is_type(rest).then(|| (name.clone(), rest.to_owned()))
    };
    wanted.iter().map(column).collect()
}

/// True for what stands behind a column's name: words, names in quotes, `[]`, and numbers in parentheses. Facts may come
/// from elsewhere, and nothing else of them becomes SQL.
fn is_type(text: &str) -> bool {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' => match rest[1..].find('"') {
                Some(end) => &rest[end + 2..],
                None => return false,
            },
            '(' => match rest.split_once(')') {
                Some((inside, behind))
                    if inside.len() > 1 && inside[1..].chars().all(|c| c.is_ascii_digit() || ",- ".contains(c)) =>
                {
                    behind
                }
                _ => return false,
            },
            '[' => match rest.strip_prefix("[]") {
                Some(behind) => behind,
                None => return false,
            },
            first if first.is_alphanumeric() || "_$. ".contains(first) => &rest[first.len_utf8()..],
            _ => return false,
        };
    }
    let is_other = |word: &str| ["default", "check", "references", "generated", "primary", "unique"].contains(&word);
    !text.is_empty() && !text.split(' ').any(is_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_beside_another_has_a_name_that_fits_and_the_columns_of_its_rows() {
        assert_eq!(
            beside("public.orders", "20260128_020500", |_| false).unwrap(),
            "public.orders_restored_20260128_020500"
        );
        let is_taken = |name: &str| name == "public.orders_restored_20260128_020500";
        let second = beside("public.orders", "20260128_020500", is_taken).unwrap();
        assert_eq!(second, "public.orders_restored_20260128_020500_2");
        let long = format!("public.\"{}\"", "Ä".repeat(31));
        assert_eq!(parts(&beside(&long, "20260128_020500", |_| false).unwrap()).unwrap().1.len(), 63);
        let described = ["id integer not null identity a", "\"or der\" text collate \"C\"", "sum integer generated s"];
        let described = described.map(str::to_owned);
        let wanted = ["or der", "id"].map(str::to_owned);
        let columns = plain_columns(&described, &wanted).unwrap();
        assert_eq!(columns[0], ("or der".to_owned(), "text collate \"C\"".to_owned()));
        assert_eq!(columns[1], ("id".to_owned(), "integer not null".to_owned()));
        assert!(plain_columns(&described, &["gone".to_owned()]).is_none());
        for kind in
            ["numeric(10,-2)[] not null", "timestamp(3) with time zone", "s.\"a \"\"b\" collate pg_catalog.\"C\""]
        {
            assert!(is_type(kind), "{kind}");
        }
        for kind in ["text); DROP TABLE t; --", "text default evil()", "int check (true)", "int check (1)", "x'y", ""] {
            assert!(!is_type(kind), "{kind}");
        }
    }
}
