//! The bytes of an object in their order, read in several parts at the same time: one connection to a store is often
//! slower than what is done with its bytes.

use super::resume::Resuming;
use super::{Storage, StorageError};
use crate::background::AbortOnDrop;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::sync::mpsc;

/// Parts that are read at the same time.
const AT_ONCE: usize = 4;
/// Bytes of each; so much of it is in memory.
const PART: u64 = 4 << 20;
/// Bytes handed on at once.
const CHUNK: usize = 256 << 10;

/// Reads an object from its beginning to its end. Errors are those of [`Resuming`].
pub struct ReadAhead {
    storage: Arc<dyn Storage>,
    key: String,
    limit: Duration,
    /// Length of the whole object in bytes.
    size: u64,
    /// Where the next part begins.
    next: u64,
    parts: VecDeque<ReadPart>,
    chunk: Bytes,
}

/// A part that is being read.
struct ReadPart {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    _task: AbortOnDrop,
}

impl ReadPart {
    fn read(mut body: Resuming) -> Self {
        Self::of(async move |chunks| while read_chunk(&mut body, &chunks).await {})
    }

    fn of<F: Future<Output = ()> + Send + 'static>(read: impl FnOnce(mpsc::Sender<io::Result<Bytes>>) -> F) -> Self {
        #[allow(clippy::cast_possible_truncation)]
        let (sender, chunks) = mpsc::channel(PART as usize / CHUNK);
        Self { chunks, _task: AbortOnDrop::spawn(read(sender)) }
    }
}

/// Hands on the next chunk; false at the end, or where nobody wants more.
async fn read_chunk(body: &mut Resuming, chunks: &mpsc::Sender<io::Result<Bytes>>) -> bool {
    let mut chunk = BytesMut::with_capacity(CHUNK);
    let read = loop {
        match body.read_buf(&mut chunk).await {
            Ok(0) => break Ok(()),
            Ok(_) if chunk.len() < CHUNK => {}
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let is_whole = chunk.len() >= CHUNK;
    if !chunk.is_empty() && chunks.send(Ok(chunk.freeze())).await.is_err() {
        return false;
    }
    match read {
        Ok(()) => is_whole,
        Err(error) => {
            // whoever reads has gone
            let _ = chunks.send(Err(error)).await;
            false
        }
    }
}

impl ReadAhead {
    /// Opens the object; a store that gives no byte for `limit` is asked again.
    pub async fn open(storage: Arc<dyn Storage>, key: &str, limit: Duration) -> Result<Self, StorageError> {
        let first = Resuming::open(storage.clone(), key, 0..PART, limit).await?;
        let (size, parts) = (first.size(), VecDeque::from([ReadPart::read(first)]));
        Ok(Self { storage, key: key.to_owned(), limit, size, next: PART, parts, chunk: Bytes::new() })
    }

    fn begin_parts(&mut self) {
        while self.next < self.size && self.parts.len() < AT_ONCE {
            let range = self.next..self.size.min(self.next + PART);
            self.next = range.end;
            let (storage, key, limit, size) = (self.storage.clone(), self.key.clone(), self.limit, self.size);
            self.parts.push_back(ReadPart::of(async move |chunks| {
                let error = match Resuming::open(storage.clone(), &key, range, limit).await {
                    Ok(mut body) if body.size() == size => {
                        while read_chunk(&mut body, &chunks).await {}
                        return;
                    }
                    // it was there a moment ago, and as long as its size says
                    Ok(_) | Err(StorageError::NotFound { .. }) => {
                        StorageError::Changed { place: storage.location().of(&key) }
                    }
                    Err(error) => error,
                };
                // whoever reads has gone
                let _ = chunks.send(Err(io::Error::other(error))).await;
            }));
        }
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.chunk.is_empty() {
            this.begin_parts();
            let Some(part) = this.parts.front_mut() else { return Poll::Ready(Ok(())) };
            match ready!(part.chunks.poll_recv(cx)) {
                Some(Ok(chunk)) => this.chunk = chunk,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => drop(this.parts.pop_front()),
            }
        }
        let some = this.chunk.split_to(buf.remaining().min(this.chunk.len()));
        buf.put_slice(&some);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    async fn read(length: usize, break_off_after: usize) -> io::Result<bool> {
        let bytes: Bytes = (0..length).map(|at| (at / 1000) as u8).collect::<Vec<_>>().into();
        let store = Memory::default();
        store.put("key", bytes.clone()).await.unwrap();
        store.break_off_after(break_off_after);
        let mut reader = ReadAhead::open(Arc::new(store), "key", Duration::from_secs(1)).await.unwrap();
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.map(|_| got == bytes)
    }

    #[tokio::test]
    async fn an_object_of_any_length_is_read_in_its_order_whatever_breaks_off() {
        let part = usize::try_from(PART).unwrap();
        for length in [0, 1, CHUNK, CHUNK + 1, part, part + 1, 6 * part + 12_345] {
            assert!(read(length, usize::MAX).await.unwrap(), "{length}");
            assert!(read(length, part / 2 + 7).await.unwrap(), "{length}");
        }
    }

    #[tokio::test]
    async fn an_object_that_has_gone_is_an_error_and_no_short_archive() {
        let store = Arc::new(Memory::default());
        store.put("key", vec![0; 12 << 20].into()).await.unwrap();
        let mut reader = ReadAhead::open(store.clone(), "key", Duration::from_secs(1)).await.unwrap();
        store.delete("key").await.unwrap();
        let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert!(matches!(error.downcast::<StorageError>().unwrap(), StorageError::Changed { .. }));
    }
}
