//! Sessions that read rows beside that of pg_dump, under the same snapshot and the same settings.
//!
//! What is to be read waits in the order of the dump. A session is begun when something waits and nobody is free; one that
//! cannot be had is one less, and where there is none left the session of pg_dump reads everything.

use super::super::cause;
use super::super::connection::{Connection, connect_for_rows};
use super::super::dump::{DumpError, ROWS};
use super::rows::{PartSender, TablePart, WINDOW, Window, part};
use super::size::TableSize;
use super::statements::{Pages, RowsOf};
use crate::background::AbortOnDrop;
use crate::config::Source;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{debug, info};

/// Bytes of a table on the server's disk, TOAST included, that are one piece of work: long enough to be worth asking for,
/// and so short that the pieces of all sessions fit the window several times.
const PIECES: std::ops::RangeInclusive<usize> = 2 << 20..=8 << 20;

/// A table that is to be read, or what is left of it.
struct TableWork {
    /// Which of the tables of the dump it is: what comes first is read first. Whoever reads something else that comes later may
    /// have to wait for it.
    number: u64,
    of: Arc<RowsOf>,
    left: Left,
    /// Takes each part when somebody begins to read it.
    parts: mpsc::UnboundedSender<TablePart>,
}

/// What is left of a table: from `begin` on, where it had `pages` when it was looked at. `step` pages are one piece, as long as
/// nobody knows how much text they are.
struct Left {
    begin: u32,
    pages: u32,
    step: u32,
    text: Arc<TextOfPages>,
}

/// How much text the pages are that were read.
#[derive(Default)]
struct TextOfPages {
    bytes: AtomicU64,
    pages: AtomicU64,
}

impl TextOfPages {
    fn add(&self, pages: Pages, bytes: u64) {
        // how long the last range was, nobody knows, and nobody asks any more
        let Some(end) = pages.end else { return };
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pages.fetch_add(u64::from(end - pages.begin), Ordering::Relaxed);
    }

    /// Pages of so much text; none where nothing was read yet.
    fn pages_of(&self, bytes: usize) -> Option<u32> {
        let (read, pages) = (self.bytes.load(Ordering::Relaxed), self.pages.load(Ordering::Relaxed));
        let wanted = (bytes as u64).saturating_mul(pages) / read.max(1);
        (pages > 0).then(|| u32::try_from(wanted).unwrap_or(u32::MAX))
    }
}

/// What several sessions make of one step, at most: pages at the end of a table may be of another kind.
const LONGER: u32 = 8;

/// Everything that the sessions share.
struct ReaderPool {
    source: Source,
    /// The transaction that they all begin.
    snapshot: String,
    window: Window,
    /// Sessions that may read rows in the whole run.
    budget: Arc<Semaphore>,
    most: usize,
    state: Mutex<PoolState>,
    changed: Notify,
}

#[derive(Default)]
struct PoolState {
    /// In the order of the dump.
    waiting: VecDeque<TableWork>,
    /// Tables so far.
    tables: u64,
    settings: Vec<String>,
    /// Sessions that wait for work.
    idle: usize,
    /// Sessions that are there, or on their way.
    alive: usize,
    /// One could not be had: nobody asks for more.
    is_limited: bool,
    tasks: Vec<AbortOnDrop>,
}

/// Readers of rows; dropping it ends them.
pub(super) struct RowReaders(Arc<ReaderPool>);

impl Drop for RowReaders {
    fn drop(&mut self) {
        // the tasks hold the pool, and the pool holds the tasks
        let tasks = std::mem::take(&mut self.0.lock().tasks);
        drop(tasks);
        self.0.lock().waiting.clear();
    }
}

impl RowReaders {
    /// None yet, and at most so many.
    pub(super) fn new(source: &Source, snapshot: &str, most: usize, budget: Arc<Semaphore>) -> Self {
        let (state, changed) = (Mutex::default(), Notify::new());
        let (source, snapshot) = (source.trying_once(), snapshot.to_owned());
        Self(Arc::new(ReaderPool { source, snapshot, window: Window::default(), budget, most, state, changed }))
    }

    /// Settings of the session of pg_dump; what is read from now on is read under them.
    pub(super) fn set(&self, settings: &[String]) {
        self.0.lock().settings = settings.to_vec();
    }

    /// Has a table read; where its rows come is the answer.
    pub(super) fn read(&self, of: Arc<RowsOf>, size: TableSize) -> mpsc::UnboundedReceiver<TablePart> {
        let (sender, parts) = mpsc::unbounded_channel();
        let (pages, step) = size.ranges(&of, self.0.piece());
        let left = Left { begin: 0, pages, step, text: Arc::default() };
        {
            let mut state = self.0.lock();
            state.tables += 1;
            let number = state.tables;
            state.waiting.push_back(TableWork { number, of, left, parts: sender });
        }
        self.0.begin();
        parts
    }
}

impl ReaderPool {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever is free, or begins another session.
    fn begin(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.idle > 0 {
            self.changed.notify_one();
        }
        let may_begin = state.waiting.len() > state.idle && state.alive < self.most && !state.is_limited;
        let permit = match state.alive {
            _ if !may_begin => None,
            // the first one needs none
            0 => Some(None),
            _ => self.budget.clone().try_acquire_owned().ok().map(Some),
        };
        if let Some(permit) = permit {
            state.alive += 1;
            let work = self.clone().work(permit);
            state.tasks.push(AbortOnDrop::spawn(work));
        } else if state.alive == 0 {
            // whoever waits for the rows sees that nobody reads them
            state.waiting.clear();
        }
    }

    async fn work(self: Arc<Self>, permit: Option<OwnedSemaphorePermit>) {
        match self.connect().await {
            Ok(session) => {
                let mut reader = Reader { session, locked: None };
                // a session that failed has said so where its rows are waited for
                while self.take(&mut reader, self.next().await).await.is_ok() {}
            }
            Err(cause) => {
                info!("{}: rows are read over one connection fewer: {cause}", self.source.database);
                self.lock().is_limited = true;
            }
        }
        drop(permit);
        self.lock().alive -= 1;
        // what waits is for another session, or for that of pg_dump
        self.begin();
    }

    async fn connect(&self) -> Result<Connection, String> {
        let session = connect_for_rows(&self.source, ROWS).await.map_err(|error| error.to_string())?;
        let settings = self.lock().settings.join("; ");
        let set = async {
            session.batch_execute(&settings).await?;
            session.batch_execute(PLAIN).await?;
            session.batch_execute(&format!("{}; SAVEPOINT rows", self.snapshot)).await
        };
        set.await.map_err(|error| cause(&error))?;
        Ok(session)
    }

    /// What is to be read next, once there is something.
    async fn next(self: &Arc<Self>) -> NextWork {
        loop {
            let mut changed = pin!(self.changed.notified());
            // whoever comes between here and there is heard
            changed.as_mut().enable();
            let work = {
                let mut state = self.lock();
                let work = state.waiting.pop_front();
                state.idle += usize::from(work.is_none());
                work
            };
            match work {
                Some(work) => return self.cut(work),
                None => changed.await,
            }
            self.lock().idle -= 1;
        }
    }

    /// The next range; the rest of the table waits at its place for somebody else. Its parts are said in their order, because
    /// nobody else has the rest until this one is.
    fn cut(self: &Arc<Self>, work: TableWork) -> NextWork {
        let Left { begin, pages, step, text } = work.left;
        let length = text.pages_of(self.piece()).map_or(step, |length| length.clamp(1, step.saturating_mul(LONGER)));
        let end = begin.checked_add(length).filter(|end| *end < pages);
        let range = Pages { begin, end };
        let (sender, part) = part(range, &self.window);
        // nobody may want it any more, which whoever reads it finds out
        let _ = work.parts.send(part);
        let of = work.of.clone();
        if let Some(begin) = end {
            let mut state = self.lock();
            let place = state.waiting.partition_point(|other| other.number < work.number);
            let left = Left { begin, pages, step, text: text.clone() };
            state.waiting.insert(place, TableWork { left, ..work });
            drop(state);
            self.begin();
        }
        NextWork { of, pages: range, rows: sender, text }
    }

    /// Bytes of one piece.
    fn piece(&self) -> usize {
        (WINDOW / (4 * self.most)).clamp(*PIECES.start(), *PIECES.end())
    }

    /// Reads it; an error is one of the session.
    async fn take(&self, reader: &mut Reader, next: NextWork) -> Result<(), ()> {
        let NextWork { of, pages, rows, text } = next;
        if !reader.has_locked(&of) && !reader.lock(&of).await? {
            // what was to be read is dropped, and the session of pg_dump reads it
            return Ok(());
        }
        let bytes = reader.read(&of, pages, rows).await?;
        text.add(pages, bytes);
        Ok(())
    }
}

/// What a session reads next.
struct NextWork {
    of: Arc<RowsOf>,
    pages: Pages,
    rows: PartSender,
    text: Arc<TextOfPages>,
}

/// Ranges of pages are found by their numbers, one page after the other, whatever the planner would like better.
const PLAIN: &str = "SET enable_seqscan = off; SET enable_indexscan = off; SET enable_indexonlyscan = off; \
                     SET enable_bitmapscan = off; SET enable_tidscan = on; SET max_parallel_workers_per_gather = 0; \
                     SET jit = off";

/// A session that reads rows.
struct Reader {
    session: Connection,
    /// The table that it has a lock on.
    locked: Option<Arc<RowsOf>>,
}

impl Reader {
    fn has_locked(&self, of: &Arc<RowsOf>) -> bool {
        self.locked.as_ref().is_some_and(|locked| Arc::ptr_eq(locked, of))
    }

    /// Locks the table at once or not at all, and gives the lock before it back; true where it was to be had. Whoever asks for
    /// more than the lock of pg_dump stands in a queue before us, and pg_dump holds its lock until we have ours.
    async fn lock(&mut self, of: &Arc<RowsOf>) -> Result<bool, ()> {
        let RowsOf { table, .. } = &**of;
        let statements = format!("ROLLBACK TO rows; LOCK TABLE ONLY {table} IN ACCESS SHARE MODE NOWAIT");
        self.locked = None;
        let Err(error) = self.session.batch_execute(&statements).await else {
            self.locked = Some(of.clone());
            return Ok(true);
        };
        debug!("{table} is left to the session of pg_dump: {}", cause(&error));
        let is_kept = error.code().is_some() && self.session.batch_execute("ROLLBACK TO rows").await.is_ok();
        if is_kept { Ok(false) } else { Err(()) }
    }

    /// Reads rows to their end, and says how many bytes they are. An error is one of the session, and was said.
    async fn read(&self, of: &RowsOf, pages: Pages, mut rows: PartSender) -> Result<u64, ()> {
        match self.copy(of, pages, &mut rows).await {
            Ok(Some(read)) => {
                rows.finish().await.map_err(|_| ())?;
                Ok(read)
            }
            // whoever wanted the rows is gone, and we go with it
            Ok(None) => Err(()),
            Err(error) => {
                rows.fail(failed(of, &error));
                Err(())
            }
        }
    }

    /// Hands in rows; none where nobody wants them any more.
    async fn copy(
        &self,
        of: &RowsOf,
        pages: Pages,
        rows: &mut PartSender,
    ) -> Result<Option<u64>, tokio_postgres::Error> {
        let (mut copied, mut read) = (self.session.begin_copy_out(&of.statement(pages)).await?, 0);
        while let Some(bytes) = copied.next().await? {
            read += bytes.len() as u64;
            if rows.send(&bytes).await.is_err() {
                return Ok(None);
            }
        }
        Ok(Some(read))
    }
}

fn failed(of: &RowsOf, error: &tokio_postgres::Error) -> DumpError {
    DumpError::Rows { table: of.table.clone(), cause: cause(error) }
}
