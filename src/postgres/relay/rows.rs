//! Rows on their way from whoever reads them to their place in the dump, in a window that bounds the memory of all of them.
//!
//! Whoever reads ahead of the dump takes room of the window. The rows that the dump waits for have room of their own, so
//! that they come through however full the window is of rows that have to wait for them.

use super::super::dump::DumpError;
use super::statements::{Pages, RowsOf};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Bytes of rows that are handed on at once; one block may be longer by a row, or by a part of one.
pub(super) const BLOCK: usize = 128 << 10;
/// Bytes of rows that may wait for their turn.
pub(super) const WINDOW: usize = 40 << 20;
/// Bytes on their way of the rows whose turn it is.
const DIRECT: usize = 8 * BLOCK;
/// Bytes that a permit stands for.
const UNIT: usize = 1 << 10;

/// Room for rows; clones share it.
#[derive(Clone)]
pub(super) struct Window {
    ahead: Arc<Semaphore>,
    direct: Arc<Semaphore>,
}

impl Default for Window {
    fn default() -> Self {
        let room = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        Self { ahead: room(WINDOW), direct: room(DIRECT) }
    }
}

/// A table whose rows are not in the script of pg_dump.
pub(super) struct AskedTable {
    pub(super) of: Arc<RowsOf>,
    /// In the order of the pages, each when somebody begins to read it. Where they end before the table does, the session of
    /// pg_dump reads the rest.
    pub(super) parts: mpsc::UnboundedReceiver<TablePart>,
}

/// The rows on some pages of a table.
pub(super) struct TablePart {
    pub(super) pages: Pages,
    messages: mpsc::UnboundedReceiver<PartMessage>,
    is_awaited: watch::Sender<bool>,
}

enum PartMessage {
    Rows { bytes: Bytes, _room: OwnedSemaphorePermit },
    End,
    Failed(DumpError),
}

/// What comes next of a part.
pub(super) enum NextRows {
    Rows(Bytes),
    /// All of them have come.
    End,
    /// Nobody has read anything: the session of pg_dump has to.
    Unread,
}

/// Where the rows of a part are handed in.
pub(super) struct PartSender {
    messages: mpsc::UnboundedSender<PartMessage>,
    is_awaited: watch::Receiver<bool>,
    window: Window,
    /// Rows of which nobody was told yet.
    block: Vec<u8>,
}

/// Nobody wants the rows any more.
pub(super) struct Unwanted;

/// Both ends of a part.
pub(super) fn part(pages: Pages, window: &Window) -> (PartSender, TablePart) {
    let (sender, messages) = mpsc::unbounded_channel();
    let (set_awaited, is_awaited) = watch::channel(false);
    let sender = PartSender { messages: sender, is_awaited, window: window.clone(), block: Vec::new() };
    (sender, TablePart { pages, messages, is_awaited: set_awaited })
}

impl PartSender {
    /// Hands in bytes of rows, and waits for room for them.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Unwanted> {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Unwanted> {
        if self.block.is_empty() {
            return Ok(());
        }
        // at most a block and a part of a row
        let room = u32::try_from(self.block.len() / UNIT + 1).unwrap_or(u32::MAX);
        let awaited = async {
            if self.is_awaited.wait_for(|awaited| *awaited).await.is_err() {
                return None;
            }
            self.window.direct.clone().acquire_many_owned(room).await.ok()
        };
        let permit = tokio::select! {
            permit = awaited => permit,
            permit = self.window.ahead.clone().acquire_many_owned(room) => permit.ok(),
        };
        let mut block = std::mem::take(&mut self.block);
        block.shrink_to_fit();
        let Some(room) = permit else { return Err(Unwanted) };
        let bytes = Bytes::from(block);
        self.block.reserve(BLOCK + BLOCK / 16);
        self.messages.send(PartMessage::Rows { bytes, _room: room }).map_err(|_| Unwanted)
    }

    /// All rows were handed in.
    pub(super) async fn finish(mut self) -> Result<(), Unwanted> {
        self.flush().await?;
        self.messages.send(PartMessage::End).map_err(|_| Unwanted)
    }

    /// The rows cannot be read to their end.
    pub(super) fn fail(self, error: DumpError) {
        // whoever wanted them may be gone
        let _ = self.messages.send(PartMessage::Failed(error));
    }
}

impl TablePart {
    /// What comes next, now that these rows have their turn.
    pub(super) async fn next(&mut self) -> Result<NextRows, DumpError> {
        let is_first = !self.is_awaited.send_replace(true);
        match self.messages.recv().await {
            Some(PartMessage::Rows { bytes, .. }) => Ok(NextRows::Rows(bytes)),
            Some(PartMessage::End) => Ok(NextRows::End),
            Some(PartMessage::Failed(error)) => Err(error),
            None if is_first => Ok(NextRows::Unread),
            None => Err(DumpError::Relay("a connection that read rows has ended in the middle of them".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_whose_turn_it_is_come_through_a_window_that_is_full() {
        let window = Window::default();
        let (mut early, mut first) = part(Pages { begin: 0, end: Some(1) }, &window);
        let (mut late, _second) = part(Pages { begin: 1, end: None }, &window);
        let full = tokio::spawn(async move {
            // ends only when nobody wants the rows any more
            while late.send(&[b'x'; BLOCK]).await.is_ok() {}
        });
        let early = tokio::spawn(async move {
            for _ in 0..100 {
                assert!(early.send(&[b'y'; BLOCK]).await.is_ok());
            }
            assert!(early.finish().await.is_ok());
        });
        while window.ahead.available_permits() > BLOCK / UNIT {
            tokio::task::yield_now().await;
        }
        let mut bytes = 0;
        while let Ok(NextRows::Rows(rows)) = first.next().await {
            bytes += rows.len();
        }
        assert_eq!(bytes, 100 * BLOCK);
        early.await.unwrap();
        full.abort();
    }

    #[tokio::test]
    async fn what_nobody_read_is_told_from_what_broke_off() {
        let window = Window::default();
        let (sender, mut unread) = part(Pages::ALL, &window);
        drop(sender);
        assert!(matches!(unread.next().await, Ok(NextRows::Unread)));
        let (mut sender, mut broken) = part(Pages::ALL, &window);
        assert!(sender.send(&[b'x'; BLOCK]).await.is_ok());
        drop(sender);
        assert!(matches!(broken.next().await, Ok(NextRows::Rows(_))));
        assert!(broken.next().await.is_err());
        let (sender, mut empty) = part(Pages::ALL, &window);
        assert!(sender.finish().await.is_ok());
        assert!(matches!(empty.next().await, Ok(NextRows::End)));
    }
}
