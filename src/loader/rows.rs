//! Rows of a dump on their way into tables, over several connections at the same time.
//!
//! One reader reads the archive from its beginning to its end, so that its checksum and its keys are the same for every
//! format, and cuts the rows into pieces: whole rows of one `COPY`, about [`PIECE`] bytes. Whoever is free takes the next
//! piece. So a table of any size is loaded by all connections, and its rows lie in about the order in which they were
//! dumped.

use crate::background::counted;
use crate::dump_format::script::ScriptStatement;
use crate::postgres::loading::{LoadSession, RowsIn};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_postgres::Error;

/// Bytes that are handed on at once.
const CHUNK: usize = 128 << 10;
/// Bytes of a piece; one that ends in the middle of a row is as long as that.
const PIECE: usize = 2 << 20;

/// The rows behind one `COPY` statement.
pub(super) struct CopyBlock {
    statement: Vec<u8>,
    /// The table, as the facts name it.
    pub(super) table: String,
    /// Line of the dump, from 1, on which the statement ends.
    pub(super) line: u64,
    /// It is known to be a table of this database.
    is_allowed: AtomicBool,
    /// What is left of them is not wanted any more.
    has_failed: AtomicBool,
    /// Why is said: what fails behind that, such as a row that is cut off, comes of it.
    is_told: AtomicBool,
}

/// Rows that one connection loads, in parts as they come.
struct Piece {
    block: Arc<CopyBlock>,
    rows: mpsc::Receiver<Bytes>,
}

/// Rows that a server did not take.
pub(super) struct FailedRows {
    pub(super) block: Arc<CopyBlock>,
    pub(super) cause: RowsError,
}

/// Why.
pub(super) enum RowsError {
    /// They are of a table that every database has from its beginning.
    OwnTable,
    Server(Error),
}

/// Loads rows over all connections, until it is ended.
pub(super) struct RowLoading {
    pieces: mpsc::Sender<Piece>,
    failures: mpsc::UnboundedReceiver<FailedRows>,
    loaders: JoinSet<()>,
    block: Option<Arc<CopyBlock>>,
    /// Bytes of its rows so far.
    bytes: u64,
    piece: Option<OpenPiece>,
    waiting: BytesMut,
}

/// A piece that is not whole yet.
struct OpenPiece {
    rows: mpsc::Sender<Bytes>,
    bytes: usize,
}

impl RowLoading {
    pub(super) fn begin(sessions: impl Iterator<Item = Arc<LoadSession>>) -> Self {
        let (pieces, queue) = mpsc::channel(1);
        let (failed, failures) = mpsc::unbounded_channel();
        let (queue, mut loaders) = (Arc::new(Mutex::new(queue)), JoinSet::new());
        for session in sessions {
            loaders.spawn(counted(load(session, queue.clone(), failed.clone())));
        }
        Self { pieces, failures, loaders, block: None, bytes: 0, piece: None, waiting: BytesMut::new() }
    }

    /// The rows that follow are those of this statement.
    pub(super) fn begin_block(&mut self, statement: ScriptStatement<'_>, table: &str) {
        self.block = Some(Arc::new(CopyBlock {
            statement: statement.text.to_vec(),
            table: table.to_owned(),
            line: statement.line,
            is_allowed: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
        }));
    }

    /// Takes a row, or a part of one; where the row `ends` its line break belongs to it. True when rows were handed on.
    pub(super) async fn write(&mut self, bytes: &[u8], ends: bool) -> bool {
        self.bytes += bytes.len() as u64 + u64::from(ends);
        self.waiting.extend_from_slice(bytes);
        if ends {
            self.waiting.extend_from_slice(b"\n");
        }
        let is_full = self.waiting.len() >= CHUNK;
        if is_full {
            self.hand_on().await;
            self.piece.take_if(|piece| ends && piece.bytes >= PIECE);
        }
        is_full
    }

    /// The rows of the statement are at their end; without any of them the table is looked at all the same. The answer is
    /// how many bytes they were.
    pub(super) async fn end_block(&mut self) -> Option<(Arc<CopyBlock>, u64)> {
        if self.bytes == 0 || !self.waiting.is_empty() {
            self.hand_on().await;
        }
        self.piece = None;
        Some((self.block.take()?, std::mem::take(&mut self.bytes)))
    }

    async fn hand_on(&mut self) {
        let Some(block) = &self.block else { return };
        let chunk = self.waiting.split().freeze();
        if block.has_failed.load(Ordering::Relaxed) {
            self.piece = None;
            return;
        }
        let piece = match &mut self.piece {
            Some(piece) => piece,
            None => {
                let (rows, queue) = mpsc::channel(PIECE / CHUNK + 1);
                // nobody is left to take it, and has said why
                if self.pieces.send(Piece { block: block.clone(), rows: queue }).await.is_err() {
                    block.has_failed.store(true, Ordering::Relaxed);
                    return;
                }
                self.piece.insert(OpenPiece { rows, bytes: 0 })
            }
        };
        piece.bytes += chunk.len();
        if !chunk.is_empty() && piece.rows.send(chunk).await.is_err() {
            // before whoever had it says so: the rest of a row is no row for somebody else
            block.has_failed.store(true, Ordering::Relaxed);
            self.piece = None;
        }
    }

    /// What a server has not taken since this was last asked.
    pub(super) fn next_failure(&mut self) -> Option<FailedRows> {
        self.failures.try_recv().ok()
    }

    /// Waits until everything that was handed on is in its table; the answer is what was not taken.
    pub(super) async fn end(mut self) -> Vec<FailedRows> {
        drop((self.pieces, self.piece));
        while let Some(ended) = self.loaders.join_next().await {
            // its rows are in no table
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        std::iter::from_fn(|| self.failures.try_recv().ok()).collect()
    }
}

/// Takes pieces until there are no more. Pieces of one statement that follow one another are one `COPY`.
async fn load(
    session: Arc<LoadSession>,
    queue: Arc<Mutex<mpsc::Receiver<Piece>>>,
    failed: mpsc::UnboundedSender<FailedRows>,
) {
    let mut open: Option<(Arc<CopyBlock>, RowsIn<'_>)> = None;
    let fail = |block: Arc<CopyBlock>, cause: RowsError| {
        block.has_failed.store(true, Ordering::Relaxed);
        let is_lost = matches!(&cause, RowsError::Server(error) if error.code().is_none());
        if !block.is_told.swap(true, Ordering::Relaxed) || is_lost {
            // whoever asked may have gone
            let _ = failed.send(FailedRows { block, cause });
        }
    };
    loop {
        let next = queue.lock().await.recv().await;
        let block = next.as_ref().map(|piece| &piece.block);
        if let Some((block, rows)) = open.take_if(|(open, _)| block.is_none_or(|block| !Arc::ptr_eq(open, block)))
            && let Err(error) = rows.finish().await
        {
            fail(block, RowsError::Server(error));
        }
        let Some(Piece { block, rows }) = next else { return };
        if let Err(cause) = load_piece(&session, &block, rows, &mut open).await {
            open = None;
            fail(block, cause);
        }
        if session.connection().is_closed() {
            return;
        }
    }
}

async fn load_piece<'s>(
    session: &'s LoadSession,
    block: &Arc<CopyBlock>,
    mut rows: mpsc::Receiver<Bytes>,
    open: &mut Option<(Arc<CopyBlock>, RowsIn<'s>)>,
) -> Result<(), RowsError> {
    if open.is_none() {
        if !block.is_allowed.load(Ordering::Relaxed) {
            if session.is_own_table(&block.table).await.map_err(RowsError::Server)? {
                return Err(RowsError::OwnTable);
            }
            block.is_allowed.store(true, Ordering::Relaxed);
        }
        *open = Some((block.clone(), session.copy(&block.statement).await.map_err(RowsError::Server)?));
    }
    while let Some(chunk) = rows.recv().await {
        if let Some((_, into)) = open {
            into.pass(chunk).await.map_err(RowsError::Server)?;
        }
    }
    Ok(())
}
