//! The script of pg_dump with rows at their places.

use super::Relay;
use super::leader::{Asked, LeaderRequest};
use super::rows::{AskedTable, NextRows, TablePart};
use super::statements::Pages;
use crate::dump_format::sql_lexer::{Lexer, Token};
use crate::postgres::dump::{Dump, DumpError, DumpReader};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use std::io;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

/// Bytes of the script that are read at once.
const CHUNK: usize = 128 << 10;

/// The dump, whole, or an error: as that of pg_dump alone, whose rows are its own where there is no relay.
pub fn merged(dump: Dump, relay: Option<Relay>) -> DumpReader {
    let Some(relay) = relay else { return Box::new(dump) };
    let (lexer, chunk) = (Lexer::default(), Bytes::new());
    let merge = Merge { dump, relay, lexer, chunk, place: Place::Script, is_alone: false };
    Box::new(StreamReader::new(Box::pin(stream::try_unfold(merge, |mut merge| async move {
        let next = merge.next().await?;
        Ok::<_, io::Error>(next.map(|bytes| (bytes, merge)))
    }))))
}

struct Merge {
    dump: Dump,
    relay: Relay,
    lexer: Lexer,
    /// What was read of the script and is still to be looked at.
    chunk: Bytes,
    place: Place,
    /// pg_dump reads all rows itself.
    is_alone: bool,
}

/// What comes next.
enum Place {
    Script,
    /// Rows, wherever they come from.
    RowsBegin,
    Rows(TableProgress),
    /// Those that the session of pg_dump reads by its own statement.
    LeadersRows(LeadersRows),
    Done,
}

/// How far the rows of a table have come.
struct TableProgress {
    rows: AskedTable,
    /// The page that the next part has to begin at; none behind the last.
    expected: Option<u32>,
    current: Option<RowsFrom>,
}

enum RowsFrom {
    TablePart(TablePart),
    /// The session of pg_dump reads them.
    Leader(LeadersRows),
}

type LeadersRows = mpsc::Receiver<Result<Option<Bytes>, DumpError>>;

impl TableProgress {
    fn new(rows: AskedTable) -> Self {
        Self { rows, expected: Some(0), current: None }
    }

    /// Notes which pages come next: without a gap, and in their order.
    fn begin(&mut self, pages: Pages) -> Result<(), DumpError> {
        if self.expected != Some(pages.begin) || pages.end.is_some_and(|end| end <= pages.begin) {
            return Err(lost(&self.rows.of.table, "pages are missing or repeated"));
        }
        self.expected = pages.end;
        Ok(())
    }
}

fn lost(table: &str, how: &str) -> DumpError {
    DumpError::Relay(format!("the rows of {table} were not read completely: {how}"))
}

impl Merge {
    /// The next bytes; none at the end of a dump that is whole.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match &mut self.place {
                Place::Script => {
                    if self.chunk.is_empty() && !self.read().await? {
                        self.end().await?;
                        self.place = Place::Done;
                        return Ok(None);
                    }
                    return Ok(Some(self.script()));
                }
                Place::RowsBegin => self.place = self.rows_begin().await?,
                Place::Rows(progress) => match next_rows(progress, &self.relay).await? {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => self.place = Place::Script,
                },
                Place::LeadersRows(rows) => match leaders_next(rows).await? {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => self.place = Place::Script,
                },
                Place::Done => return Ok(None),
            }
        }
    }

    /// Reads on in the script; false at its end.
    async fn read(&mut self) -> io::Result<bool> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let count = self.dump.read_buf(&mut chunk).await?;
        self.chunk = chunk.freeze();
        Ok(count > 0)
    }

    /// The script up to where rows begin.
    fn script(&mut self) -> Bytes {
        let mut input = &self.chunk[..];
        while let Some(token) = self.lexer.next(&mut input) {
            if token == Token::CopyBegin {
                self.place = Place::RowsBegin;
                break;
            }
        }
        let rest = input.len();
        self.chunk.split_to(self.chunk.len() - rest)
    }

    /// Sees who reads the rows that the script has come to.
    async fn rows_begin(&mut self) -> io::Result<Place> {
        if self.is_alone {
            return Ok(Place::Script);
        }
        match self.relay.asked.recv().await {
            Some(Asked::Elsewhere(rows)) => {
                let columns = self.lexer.copy().map(|copy| &copy.columns);
                if columns != Some(&rows.of.names) {
                    return Err(io::Error::other(lost(&rows.of.table, "pg_dump expects other columns there")));
                }
                Ok(Place::Rows(TableProgress::new(rows)))
            }
            Some(Asked::Itself(statement)) => {
                let table = self.lexer.copy().map(|copy| copy.table.clone()).unwrap_or_default();
                Ok(Place::LeadersRows(ask(&self.relay, table, statement).await?))
            }
            Some(Asked::Alone) => {
                self.is_alone = true;
                Ok(Place::Script)
            }
            // the connection of pg_dump has ended before it asked for them: its end says why
            None => Ok(Place::Script),
        }
    }

    /// The script is whole by the account of pg_dump; the rows are, where everything that was asked for has come, and the locks
    /// were held until now.
    async fn end(&mut self) -> io::Result<()> {
        if self.relay.asked.try_recv().is_ok() {
            return Err(io::Error::other(DumpError::Relay("rows were read that have no place in the dump".to_owned())));
        }
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.relay.requests, closed));
        match (&mut self.relay.ended).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(io::Error::other(DumpError::LeaderLost(why))),
            Err(_) => Err(gone()),
        }
    }
}

/// The next rows of a table; none behind the last.
async fn next_rows(progress: &mut TableProgress, relay: &Relay) -> io::Result<Option<Bytes>> {
    loop {
        let next = match &mut progress.current {
            Some(RowsFrom::TablePart(part)) => match part.next().await.map_err(io::Error::other)? {
                NextRows::Rows(bytes) => Some(bytes),
                NextRows::End => None,
                NextRows::Unread => {
                    let pages = part.pages;
                    progress.current = Some(RowsFrom::Leader(ask_for(progress, relay, pages).await?));
                    continue;
                }
            },
            Some(RowsFrom::Leader(rows)) => leaders_next(rows).await?,
            None => match (progress.rows.parts.recv().await, progress.expected) {
                (Some(part), _) => {
                    progress.begin(part.pages).map_err(io::Error::other)?;
                    progress.current = Some(RowsFrom::TablePart(part));
                    continue;
                }
                (None, Some(begin)) => {
                    let rest = Pages { begin, end: None };
                    progress.begin(rest).map_err(io::Error::other)?;
                    progress.current = Some(RowsFrom::Leader(ask_for(progress, relay, rest).await?));
                    continue;
                }
                (None, None) => return Ok(None),
            },
        };
        match next {
            Some(bytes) => return Ok(Some(bytes)),
            None => progress.current = None,
        }
    }
}

/// Has the session of pg_dump read rows, because it has the lock.
async fn ask_for(progress: &TableProgress, relay: &Relay, pages: Pages) -> io::Result<LeadersRows> {
    let of = &progress.rows.of;
    ask(relay, of.table.clone(), of.statement_of_leader(pages)).await
}

async fn ask(relay: &Relay, table: String, statement: Vec<u8>) -> io::Result<LeadersRows> {
    let (rows, receiver) = mpsc::channel(64);
    relay.requests.send(LeaderRequest { table, statement, rows }).await.map_err(|_| gone())?;
    Ok(receiver)
}

async fn leaders_next(rows: &mut LeadersRows) -> io::Result<Option<Bytes>> {
    rows.recv().await.ok_or_else(gone)?.map_err(io::Error::other)
}

fn gone() -> io::Error {
    io::Error::other(DumpError::Relay("the session that holds the locks was lost".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::relay::statements::RowsOf;
    use std::sync::Arc;

    #[test]
    fn a_range_of_pages_that_is_lost_or_comes_twice_is_an_error() {
        let progress = || {
            let (_, parts) = mpsc::unbounded_channel();
            let of = RowsOf::parse(b"COPY public.t (a) TO stdout;", "UTF8").unwrap();
            TableProgress::new(AskedTable { of: Arc::new(of), parts })
        };
        let pages = |begin, end| Pages { begin, end };
        let outcome = |all: &[Pages]| {
            let mut progress = progress();
            all.iter().try_for_each(|pages| progress.begin(*pages)).map(|()| progress.expected)
        };
        assert_eq!(outcome(&[Pages::ALL]).unwrap(), None);
        assert_eq!(outcome(&[pages(0, Some(3)), pages(3, Some(4)), pages(4, None)]).unwrap(), None);
        assert_eq!(outcome(&[pages(0, Some(3))]).unwrap(), Some(3), "the rest is still to come");
        for lost in [
            &[pages(3, None)][..],
            &[pages(0, Some(3)), pages(4, None)],
            &[pages(0, Some(3)), pages(0, Some(3))],
            &[pages(0, Some(3)), pages(2, None)],
            &[pages(0, None), pages(3, None)],
            &[pages(0, Some(0))],
        ] {
            assert!(outcome(lost).is_err(), "{lost:?}");
        }
    }
}
