//! A stored archive on its way back: digest → gunzip → dump, and the facts that pass.

use super::{CopyFacts, Found};
use crate::hex;
use async_compression::tokio::bufread::GzipDecoder;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader, ReadBuf};

/// Bytes handed on at once.
const CHUNK: usize = 256 << 10;

/// What was stored, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Bytes of the archive.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal.
    pub sha256: String,
    /// Bytes of the dump.
    pub raw_bytes: u64,
}

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveReadError {
    /// The store breaks off or stands still.
    #[error("{0}")]
    Store(io::Error),
    /// The bytes are not gzip, or no longer.
    #[error("it is not whole gzip: {0}")]
    Gzip(io::Error),
}

/// Bytes that are counted and digested as they are read. A read that takes too long is an error, and errors of the
/// store are told from those of whoever reads through this.
struct Digesting<R> {
    inner: R,
    digest: Sha256,
    bytes: u64,
    failed: bool,
    limit: Duration,
    /// Runs while a read waits; the time between two reads is not the store's.
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Digesting<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Pending => {
                let waiting = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.limit)));
                if waiting.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let text = format!("no byte came for {} s (STALL_TIMEOUT)", this.limit.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
            Poll::Ready(result) => {
                this.waiting = None;
                result
            }
        };
        let new = &buf.filled()[before..];
        this.digest.update(new);
        this.bytes += new.len() as u64;
        this.failed |= result.is_err();
        Poll::Ready(result)
    }
}

enum Layers<R> {
    Gzip(Box<GzipDecoder<BufReader<Digesting<R>>>>),
    Identity(Digesting<R>),
}

/// A stored archive; read the dump in it to its end, or give it up, then ask [`Archive::finish`].
pub struct Archive<R> {
    layers: Layers<R>,
    facts: CopyFacts,
    raw_bytes: u64,
}

impl<R: AsyncRead + Unpin> Archive<R> {
    /// An archive whose bytes are `body`; a store that gives none for so long is given up.
    pub fn new(body: R, is_gzip: bool, facts: CopyFacts, limit: Duration) -> Self {
        let digesting = Digesting { inner: body, digest: Sha256::new(), bytes: 0, failed: false, limit, waiting: None };
        let layers = if is_gzip {
            let mut decoder = GzipDecoder::new(BufReader::with_capacity(CHUNK, digesting));
            decoder.multiple_members(true);
            Layers::Gzip(Box::new(decoder))
        } else {
            Layers::Identity(digesting)
        };
        Self { layers, facts, raw_bytes: 0 }
    }

    /// The next bytes of the dump; none at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ArchiveReadError> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let (read, failed) = match &mut self.layers {
            Layers::Gzip(decoder) => {
                let read = decoder.read_buf(&mut chunk).await;
                (read, decoder.get_ref().get_ref().failed)
            }
            Layers::Identity(body) => {
                let read = body.read_buf(&mut chunk).await;
                (read, body.failed)
            }
        };
        match read {
            Ok(0) => Ok(None),
            Ok(_) => {
                self.raw_bytes += chunk.len() as u64;
                let chunk = chunk.freeze();
                self.facts.take(&chunk);
                Ok(Some(chunk))
            }
            Err(error) if failed => Err(ArchiveReadError::Store(error)),
            Err(error) => Err(ArchiveReadError::Gzip(error)),
        }
    }

    /// Reads what is left of the stored bytes, whatever they are, so that their digest is known.
    pub async fn finish(self) -> Result<(Stored, Result<Found, &'static str>), ArchiveReadError> {
        let mut digesting = match self.layers {
            Layers::Gzip(decoder) => decoder.into_inner().into_inner(),
            Layers::Identity(body) => body,
        };
        let mut rest = BytesMut::with_capacity(CHUNK);
        while digesting.read_buf(&mut rest).await.map_err(ArchiveReadError::Store)? > 0 {
            rest.clear();
        }
        let (bytes, sha256) = (digesting.bytes, hex::encode(&digesting.digest.finalize()));
        Ok((Stored { bytes, sha256, raw_bytes: self.raw_bytes }, self.facts.finish()))
    }
}
