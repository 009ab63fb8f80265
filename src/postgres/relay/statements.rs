//! Pure: which of pg_dump's statements the relay takes: those that read the rows of a table, and the settings under which
//! they are read.

use super::super::catalog::literal;
use crate::dump_format::sql_lexer::{Charset, Copy, is_row_copy};

/// The rows of one table: `COPY schema.table (columns) TO stdout;`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowsOf {
    /// The table, as SQL names it.
    pub(super) table: String,
    /// The same, as [`crate::dump_format::sql_lexer::qualified`] writes it.
    pub(super) qualified: String,
    /// The columns with their parentheses, as SQL names them; empty where the statement names none.
    columns: String,
    /// The names of the columns.
    pub(super) names: Vec<String>,
    /// How the rows are to be written.
    encoding: String,
    /// Table and columns as pg_dump wrote them, in that encoding.
    written: [Vec<u8>; 2],
}

/// Pages of a table, from `begin` on and up to `end`, or to wherever the table ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) begin: u32,
    pub(super) end: Option<u32>,
}

impl Pages {
    /// All of them.
    pub(super) const ALL: Self = Self { begin: 0, end: None };
}

impl RowsOf {
    /// None for any other statement, and for one that is not in the encoding of the session: pg_dump reads those rows itself.
    pub(super) fn parse(statement: &[u8], encoding: &str) -> Option<Self> {
        let text = charset(encoding).exact(statement)?;
        let what = text.trim_end().strip_prefix("COPY ")?.strip_suffix(" TO stdout;")?.trim_end();
        let equal = format!("COPY {what} FROM stdin;");
        let copy =
            is_row_copy(equal.as_bytes()).then(|| Copy::parse(equal.as_bytes(), Charset::default())).flatten()?;
        let split = |what: &[u8]| {
            let (table, columns) = what.split_at(end_of_name(what));
            [table.trim_ascii_end().to_vec(), columns.trim_ascii_end().to_vec()]
        };
        let [table, columns] = split(what.as_bytes()).map(|text| String::from_utf8(text).unwrap_or_default());
        let written = statement.trim_ascii_end().strip_prefix(b"COPY ")?.strip_suffix(b" TO stdout;")?;
        let (written, encoding) = (split(written), encoding.to_owned());
        Some(Self { table, qualified: copy.table, columns, names: copy.columns, encoding, written })
    }

    /// The statement that reads the rows on these pages; the text is UTF-8, whatever the rows are.
    pub(super) fn statement(&self, pages: Pages) -> String {
        let what = compose(self.table.as_bytes(), self.columns.as_bytes(), pages);
        format!("COPY {} TO stdout WITH (ENCODING {})", String::from_utf8_lossy(&what), literal(&self.encoding))
    }

    /// The same for the session of pg_dump. Several processes would not keep the order of the pages.
    pub(super) fn statement_of_leader(&self, pages: Pages) -> Vec<u8> {
        let [table, columns] = &self.written;
        let what = compose(table, columns, pages);
        [b"SET LOCAL max_parallel_workers_per_gather = 0; COPY ", &what[..], b" TO stdout;"].concat()
    }
}

/// What is copied of a table.
fn compose(table: &[u8], columns: &[u8], pages: Pages) -> Vec<u8> {
    let Pages { begin, end } = match pages {
        Pages::ALL => return [table, b" ", columns].concat(),
        range => range,
    };
    let names = columns.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")).unwrap_or_default();
    let end = end.map(|end| format!(" AND ctid < '({end},0)'")).unwrap_or_default();
    let condition = format!(" WHERE ctid >= '({begin},0)'{end})");
    [b"(SELECT ", names, b" FROM ONLY ", table, condition.as_bytes()].concat()
}

/// How the text of a session of that encoding is read.
pub(super) fn charset(encoding: &str) -> Charset {
    Charset::parse(format!("SET client_encoding = '{encoding}';").as_bytes()).unwrap_or_default()
}

/// Where a list of columns begins: at the first parenthesis that is in no name.
fn end_of_name(what: &[u8]) -> usize {
    let mut is_quoted = false;
    let begins = |byte: &u8| {
        is_quoted ^= *byte == b'"';
        *byte == b'(' && !is_quoted
    };
    what.iter().position(begins).unwrap_or(what.len())
}

/// The statement as UTF-8, where it sets something for the whole session that decides what rows look like or who may read
/// them.
pub(super) fn setting(statement: &[u8], encoding: &str) -> Option<String> {
    let text = charset(encoding).exact(statement)?;
    let lower = text.trim_start().to_ascii_lowercase();
    let is_setting = lower.starts_with("set ") || lower.contains("set_config(") && lower.starts_with("select ");
    // the transaction is our own, and so is the encoding of what is said in it
    let is_ours = ["set transaction", "set client_encoding", "set session characteristics"];
    (is_setting && !is_ours.iter().any(|ours| lower.starts_with(ours))).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_table_are_known_by_the_statement_that_pg_dump_writes() {
        let rows = RowsOf::parse(br#"COPY "my (schema"."t""(" (id, "a,)b") TO stdout;"#, "UTF8").unwrap();
        assert_eq!(
            (rows.table.as_str(), &rows.names[..]),
            (r#""my (schema"."t""(""#, &["id".to_owned(), "a,)b".to_owned()][..])
        );
        assert_eq!(
            rows.statement(Pages::ALL),
            r#"COPY "my (schema"."t""(" (id, "a,)b") TO stdout WITH (ENCODING 'UTF8')"#
        );
        assert_eq!(
            rows.statement(Pages { begin: 7, end: Some(9) }),
            r#"COPY (SELECT id, "a,)b" FROM ONLY "my (schema"."t""(" WHERE ctid >= '(7,0)' AND ctid < '(9,0)') TO stdout WITH (ENCODING 'UTF8')"#
        );
        let none = RowsOf::parse(b"COPY public.t  TO stdout;", "LATIN1").unwrap();
        assert_eq!(none.statement(Pages::ALL), "COPY public.t  TO stdout WITH (ENCODING 'LATIN1')");
        let latin = RowsOf::parse(b"COPY public.\"tabl\xe9\" (a) TO stdout;", "LATIN1").unwrap();
        assert_eq!(latin.table, "public.\"tablé\"");
        let leader = latin.statement_of_leader(Pages { begin: 7, end: None });
        let read = b"; COPY (SELECT a FROM ONLY public.\"tabl\xe9\" WHERE ctid >= '(7,0)') TO stdout;";
        assert!(leader.ends_with(read), "{}", leader.escape_ascii());
        for other in [
            &b"COPY (SELECT a FROM ONLY public.t WHERE true) TO stdout;"[..],
            b"COPY public.t (a) TO PROGRAM 'x';",
            b"COPY public.t (a) TO stdout (FORMAT csv);",
            b"COPY public.\"tabl\xe9\" (a) TO stdout;",
            b"SELECT 1;",
        ] {
            assert_eq!(RowsOf::parse(other, "UTF8"), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn settings_are_those_of_the_session() {
        for set in ["SET DATESTYLE = ISO", "SELECT pg_catalog.set_config('search_path', '', false);", "set role \"é\""]
        {
            assert_eq!(setting(set.as_bytes(), "UTF8").as_deref(), Some(set));
        }
        for other in ["SET TRANSACTION SNAPSHOT '1'", "set client_encoding to 'UTF8'", "SELECT 1", "BEGIN"] {
            assert_eq!(setting(other.as_bytes(), "UTF8"), None, "{other}");
        }
    }
}
