//! The bytes of an object, read on where a store breaks off or stands still.

use super::{Storage, StorageError};
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};
use tracing::warn;

/// How often in a row the bytes are asked for again without one more having come.
const ATTEMPTS: u32 = 3;

type Body = Box<dyn AsyncRead + Send + Unpin>;
type Opening = Pin<Box<dyn Future<Output = Result<(u64, Body), StorageError>> + Send>>;

enum ReadState {
    /// The store is asked for the rest.
    Opening(Opening),
    Reading(Body),
    /// Asking again did not help.
    Failed(StorageError),
}

/// Reads a range of an object. An error, which is a [`StorageError`] inside, only where asking again did not help
/// either; it is final, and whoever reads on gets it again.
pub struct Resuming {
    storage: Arc<dyn Storage>,
    key: String,
    left: Range<u64>,
    size: u64,
    state: ReadState,
    limit: Duration,
    /// Runs while a read waits; the time between two reads is not the store's.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Times it was opened again since the last byte.
    attempts: u32,
}

impl Resuming {
    /// Opens the range, or what there is of it; a store that gives no byte for `limit` is asked again.
    pub async fn open(
        storage: Arc<dyn Storage>,
        key: &str,
        range: Range<u64>,
        limit: Duration,
    ) -> Result<Self, StorageError> {
        let download = storage.get(key, range.clone()).await?;
        let left = range.start..range.end.min(download.size);
        let (key, state, size) = (key.to_owned(), ReadState::Reading(download.body), download.size);
        Ok(Self { storage, key, left, size, state, limit, waiting: None, attempts: 0 })
    }

    /// Length of the whole object in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Asks the store for the rest, or gives up.
    fn open_again(&mut self, why: &io::Error) {
        self.attempts += 1;
        let location = self.storage.location();
        if self.attempts > ATTEMPTS {
            self.state = ReadState::Failed(location.broke_off(&self.key, why.to_string()));
            return;
        }
        warn!("reading {}: {why}; asking for the rest again", location.of(&self.key));
        let (storage, key, range) = (self.storage.clone(), self.key.clone(), self.left.clone());
        self.state = ReadState::Opening(Box::pin(async move {
            let download = storage.get(&key, range).await?;
            Ok((download.size, download.body))
        }));
    }

    fn settle_opening(&mut self, opened: Result<(u64, Body), StorageError>) {
        self.state = match opened {
            Ok((size, body)) if size == self.size => ReadState::Reading(body),
            // it was there a moment ago, and as long as its size says
            Ok(_) | Err(StorageError::NotFound { .. }) => {
                ReadState::Failed(StorageError::Changed { place: self.storage.location().of(&self.key) })
            }
            Err(error) => ReadState::Failed(error),
        };
    }

    fn poll_once(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                ReadState::Opening(opening) => {
                    let opened = ready!(opening.as_mut().poll(cx));
                    self.settle_opening(opened);
                }
                ReadState::Reading(body) => return Pin::new(body).poll_read(cx, buf),
                ReadState::Failed(error) => return Poll::Ready(Err(io::Error::other(error.clone()))),
            }
        }
    }
}

impl AsyncRead for Resuming {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left.is_empty() || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let before = buf.filled().len();
            let failed = match this.poll_once(cx, buf) {
                Poll::Pending => {
                    let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(this.limit)));
                    ready!(waiting.as_mut().poll(cx));
                    let text = format!("no data came for {} s (STALL_TIMEOUT)", this.limit.as_secs());
                    io::Error::new(io::ErrorKind::TimedOut, text)
                }
                Poll::Ready(Ok(())) if buf.filled().len() > before => {
                    this.left.start += (buf.filled().len() - before) as u64;
                    (this.waiting, this.attempts) = (None, 0);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => io::Error::new(io::ErrorKind::UnexpectedEof, "it ended early"),
                Poll::Ready(Err(error)) if matches!(this.state, ReadState::Failed(_)) => {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Err(error)) => error,
            };
            this.waiting = None;
            this.open_again(&failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;
    use bytes::Bytes;
    use tokio::io::AsyncReadExt;

    async fn read(range: Range<u64>, unreliable: usize) -> io::Result<Vec<u8>> {
        let store = Memory::default();
        store.put("key", Bytes::from_static(b"0123456789")).await.unwrap();
        store.break_off_after(unreliable);
        let mut reader = Resuming::open(Arc::new(store), "key", range, Duration::from_secs(1)).await.unwrap();
        assert_eq!(reader.size(), 10);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.map(|_| bytes)
    }

    #[tokio::test]
    async fn what_breaks_off_is_read_on_where_it_broke_off() {
        for unreliable in [1, 3, 9, 100] {
            assert_eq!(read(0..u64::MAX, unreliable).await.unwrap(), b"0123456789", "{unreliable}");
            assert_eq!(read(2..7, unreliable).await.unwrap(), b"23456", "{unreliable}");
        }
        assert_eq!(read(7..7, 1).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn a_store_that_gives_nothing_more_is_an_error_in_the_end() {
        let error = read(0..u64::MAX, 0).await.unwrap_err().to_string();
        assert!(error.ends_with("key: it ended early"), "{error}");
    }

    #[tokio::test]
    async fn an_error_is_final_and_stays_the_same_for_whoever_reads_on() {
        let store = Arc::new(Memory::default());
        store.put("key", Bytes::from_static(b"0123456789")).await.unwrap();
        store.break_off_after(4);
        let limit = Duration::from_secs(1);
        let mut reader = Resuming::open(store.clone(), "key", 0..u64::MAX, limit).await.unwrap();
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).await.unwrap();
        store.delete("key").await.unwrap();
        for _ in 0..3 {
            let error = reader.read(&mut bytes).await.unwrap_err();
            assert!(matches!(error.downcast::<StorageError>().unwrap(), StorageError::Changed { .. }));
        }
        store.put("key", Bytes::from_static(b"01234567")).await.unwrap();
        let mut reader = Resuming::open(store.clone(), "key", 0..u64::MAX, limit).await.unwrap();
        reader.read_exact(&mut bytes).await.unwrap();
        store.delete("key").await.unwrap();
        store.put("key", Bytes::from_static(b"0123")).await.unwrap();
        for _ in 0..2 {
            let error = reader.read(&mut bytes).await.unwrap_err();
            assert!(matches!(error.downcast::<StorageError>().unwrap(), StorageError::Changed { .. }));
        }
    }
}
