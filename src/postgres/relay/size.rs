//! Pure: how long the tables are that pg_dump has locked, and with it who reads them.

use super::frames::WireFrame;
use super::statements::{RowsOf, charset};
use crate::dump_format::sql_lexer::qualified;
use std::collections::HashMap;

/// Asked in the session of pg_dump, which has a lock on each of them: nobody else's request for one is in the way. Others are
/// not asked for, and neither are small ones: to hand those to another session would take longer than to read them.
pub(super) const QUESTION: &str = "SAVEPOINT backup_sizes;
    SELECT n.nspname, c.relname, s.bytes, pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8,
           coalesce(a.amname, ''), pg_catalog.current_setting('server_version_num')
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'm')
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
    CROSS JOIN LATERAL pg_catalog.pg_table_size(c.oid) AS s (bytes)
    WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.mode = 'AccessShareLock' AND l.granted
      AND c.oid >= 16384 AND s.bytes >= 131072; RELEASE backup_sizes";

/// Said after an error of that, which must cost nobody his transaction.
pub(super) const FORGET: &str = "ROLLBACK TO backup_sizes";

/// First version whose server finds a range of pages without reading those before it.
const RANGES_SINCE: u32 = 140_000;

/// The first pieces are shorter by this: what lies there is compressed, or empty, and they say how much text it is.
const FIRST: u64 = 4;

/// How long a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableSize {
    /// With TOAST.
    bytes: u64,
    pages: u64,
    /// Ranges of its pages can be read.
    has_ranges: bool,
}

impl TableSize {
    /// Pages of the table, and of one piece of so many bytes; a piece has no end where the table is read in one.
    pub(super) fn ranges(self, of: &RowsOf, piece: usize) -> (u32, u32) {
        let limited = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let pieces = self.bytes / piece as u64;
        if pieces < 2 || !self.has_ranges || of.names.is_empty() {
            return (0, u32::MAX);
        }
        (limited(self.pages), limited(self.pages / pieces / FIRST).max(1))
    }
}

/// Tables by their names, as [`qualified`] writes them.
#[derive(Debug, Default)]
pub(super) struct TableSizes(HashMap<String, TableSize>);

impl TableSizes {
    /// Takes a row of the answer to [`QUESTION`], in that encoding.
    pub(super) fn take(&mut self, row: &WireFrame, encoding: &str) {
        let fields = row.fields();
        let text = |index: usize| fields.get(index).copied().flatten().and_then(|field| charset(encoding).exact(field));
        let number = |index: usize| text(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let (Some(schema), Some(name)) = (text(0), text(1)) else { return };
        let has_ranges = text(4).as_deref() == Some("heap") && number(5) >= u64::from(RANGES_SINCE);
        self.0.insert(qualified(&schema, &name), TableSize { bytes: number(2), pages: number(3), has_ranges });
    }

    /// True where every table is small.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// None for a table that is small, or of which nothing is known.
    pub(super) fn of(&self, of: &RowsOf) -> Option<TableSize> {
        self.0.get(&of.qualified).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_into_pieces_where_that_is_worth_it_and_can_be_done() {
        let of = RowsOf::parse(b"COPY public.t (a) TO stdout;", "UTF8").unwrap();
        let none = RowsOf::parse(b"COPY public.t  TO stdout;", "UTF8").unwrap();
        let size = |bytes, pages, has_ranges| TableSize { bytes, pages, has_ranges };
        let piece = 4 << 20;
        assert_eq!(size(40 << 20, 1280, true).ranges(&of, piece), (1280, 32));
        assert_eq!(size(40 << 20, 3, true).ranges(&of, piece), (3, 1), "almost all of it is TOAST");
        for whole in [size(7 << 20, 900, true), size(40 << 20, 1280, false)] {
            assert_eq!(whole.ranges(&of, piece), (0, u32::MAX));
        }
        assert_eq!(size(40 << 20, 1280, true).ranges(&none, piece), (0, u32::MAX), "columns cannot be named");
        assert_eq!(size(u64::MAX, u64::MAX, true).ranges(&of, piece).0, u32::MAX);
    }
}
