//! Counting a request's body while the network takes it, so that a store that takes nothing is noticed.

use crate::storage::Progress;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// What of one part was sent so far, over all attempts: bytes that are only sent again are no progress.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    total: Progress,
    highest: Arc<AtomicU64>,
}

impl Sent {
    pub(super) fn new(total: Progress) -> Self {
        Self { total, highest: Arc::default() }
    }

    fn note(&self, bytes: u64) {
        let before = self.highest.fetch_max(bytes, Ordering::Relaxed);
        self.total.add(bytes.saturating_sub(before));
    }
}

/// Counts a request's body while the network takes it.
#[derive(Debug)]
pub(super) struct CountBody {
    sent: Sent,
    /// Bytes of this attempt.
    moved: Progress,
}

impl CountBody {
    pub(super) fn new(sent: Sent, moved: Progress) -> Self {
        Self { sent, moved }
    }
}

impl Intercept for CountBody {
    fn name(&self) -> &'static str {
        "CountBody"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = std::mem::replace(context.request_mut().body_mut(), SdkBody::taken());
        let length = body.content_length().unwrap_or_default();
        let (sent, moved) = (self.sent.clone(), self.moved.clone());
        let counting = Counting { inner: body, chunk: Bytes::new(), length, done: 0, sent, moved };
        *context.request_mut().body_mut() = SdkBody::from_body_1_x(counting);
        Ok(())
    }
}

/// A body handed on in small frames, each counted when it is taken.
struct Counting {
    inner: SdkBody,
    chunk: Bytes,
    length: u64,
    done: u64,
    sent: Sent,
    moved: Progress,
}

impl Counting {
    const FRAME: usize = 64 << 10;
}

impl Body for Counting {
    type Data = Bytes;
    type Error = aws_smithy_types::body::Error;

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
        let length = self.chunk.len().min(Self::FRAME);
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
