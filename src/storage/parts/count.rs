//! Counting a request's body while the network takes it, so that a store that takes nothing is noticed.

use crate::storage::Progress;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// What of one part was sent so far, over all attempts: bytes that are only sent again are no progress.
#[derive(Debug, Clone, Default)]
pub(in crate::storage) struct Sent {
    total: Progress,
    highest: Arc<AtomicU64>,
}

impl Sent {
    pub(in crate::storage) fn new(total: Progress) -> Self {
        Self { total, highest: Arc::default() }
    }

    fn note(&self, bytes: u64) {
        let before = self.highest.fetch_max(bytes, Ordering::Relaxed);
        self.total.add(bytes.saturating_sub(before));
    }
}

/// A body handed on in small frames, each counted when it is taken.
pub(in crate::storage) struct Counting<B> {
    inner: B,
    chunk: Bytes,
    length: u64,
    done: u64,
    sent: Sent,
    /// Bytes of this attempt.
    moved: Progress,
}

/// Most bytes that are handed on at once.
const FRAME: usize = 64 << 10;

impl<B> Counting<B> {
    pub(in crate::storage) fn new(inner: B, length: u64, sent: Sent, moved: Progress) -> Self {
        Self { inner, chunk: Bytes::new(), length, done: 0, sent, moved }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counting<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.chunk.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.chunk = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.chunk.len().min(FRAME);
        let frame = self.chunk.split_to(length);
        self.done += length as u64;
        self.moved.add(length as u64);
        self.sent.note(self.done);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.done >= self.length && self.chunk.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length.saturating_sub(self.done))
    }
}
