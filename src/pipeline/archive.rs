//! A stored archive on its way back: digest → decryption → gunzip → dump, and the facts that pass.

use super::{CopyFacts, GatheredFacts};
use crate::encryption::{Identities, KeyError};
use crate::hex;
use async_compression::tokio::bufread::GzipDecoder;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader, ReadBuf};

/// Bytes handed on at once.
const CHUNK: usize = 256 << 10;

/// What was stored, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBytes {
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
    /// The bytes are not what was written, or no longer.
    #[error("it is damaged or incomplete ({format}): {cause}")]
    Damaged {
        /// `gzip`, or `age and gzip`.
        format: &'static str,
        /// What is wrong with them.
        cause: io::Error,
    },
    /// The bytes can be read, and are others than were written.
    #[error("{0} differ from those that were written")]
    Changed(&'static str),
    /// It is encrypted and cannot be decrypted.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Bytes that are counted and digested as they are read. Errors of the store are told from those of whoever reads through this.
struct Digesting<R> {
    inner: R,
    digest: Sha256,
    bytes: u64,
    failed: bool,
}

impl<R: AsyncRead + Unpin> AsyncRead for Digesting<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut this.inner).poll_read(cx, buf));
        let new = &buf.filled()[before..];
        this.digest.update(new);
        this.bytes += new.len() as u64;
        this.failed |= result.is_err();
        Poll::Ready(result)
    }
}

/// The stored bytes, which the layers above read through, and which are read on when those give up.
struct SharedReader<R>(Arc<Mutex<Digesting<R>>>);

impl<R> SharedReader<R> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Digesting<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for SharedReader<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buf)
    }
}

/// What an archive is wrapped in.
#[derive(Clone, Copy)]
pub struct Wrapping<'a> {
    /// The dump is gzip.
    pub gzip: bool,
    /// The archive is encrypted, and these keys may open it.
    pub age: Option<&'a Identities>,
}

/// A stored archive; read the dump in it to its end, or give it up, then ask [`StoredArchive::finish`].
pub struct StoredArchive<R> {
    stored: SharedReader<R>,
    dump: Box<dyn AsyncRead + Send + Unpin>,
    wrapping: &'static str,
    facts: CopyFacts,
    raw_bytes: u64,
}

impl<R: AsyncRead + Send + Unpin + 'static> StoredArchive<R> {
    /// An archive whose bytes are `body`.
    pub async fn open(body: R, wrapping: Wrapping<'_>, facts: CopyFacts) -> Result<Self, ArchiveReadError> {
        let digesting = Digesting { inner: body, digest: Sha256::new(), bytes: 0, failed: false };
        let stored = SharedReader(Arc::new(Mutex::new(digesting)));
        let mut dump: Box<dyn AsyncRead + Send + Unpin> = Box::new(stored.share());
        if let Some(identities) = wrapping.age {
            dump = match identities.decrypt(dump).await {
                Ok(decrypted) => Box::new(Box::pin(decrypted)),
                Err(KeyError::Damaged(cause)) if stored.lock().failed => {
                    return Err(ArchiveReadError::Store(io::Error::other(cause)));
                }
                Err(error) => return Err(error.into()),
            };
        }
        if wrapping.gzip {
            let mut decoder = GzipDecoder::new(BufReader::with_capacity(CHUNK, dump));
            decoder.multiple_members(true);
            dump = Box::new(decoder);
        }
        let wrapping = if wrapping.age.is_some() { "age and gzip" } else { "gzip" };
        Ok(Self { stored, dump, wrapping, facts, raw_bytes: 0 })
    }

    /// The next bytes of the dump; none at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ArchiveReadError> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        match self.dump.read_buf(&mut chunk).await {
            Ok(0) => Ok(None),
            Ok(_) => {
                self.raw_bytes += chunk.len() as u64;
                let chunk = chunk.freeze();
                self.facts.take(&chunk);
                Ok(Some(chunk))
            }
            Err(error) if self.stored.lock().failed => Err(ArchiveReadError::Store(error)),
            Err(cause) => Err(ArchiveReadError::Damaged { format: self.wrapping, cause }),
        }
    }

    /// Reads what is left of the stored bytes, whatever they are, so that their digest is known.
    pub async fn finish(self) -> Result<(StoredBytes, Result<GatheredFacts, &'static str>), ArchiveReadError> {
        let mut rest = BytesMut::with_capacity(CHUNK);
        while self.stored.share().read_buf(&mut rest).await.map_err(ArchiveReadError::Store)? > 0 {
            rest.clear();
        }
        let digesting = self.stored.lock();
        let (bytes, sha256) = (digesting.bytes, hex::encode(&digesting.digest.clone().finalize()));
        drop(digesting);
        Ok((StoredBytes { bytes, sha256, raw_bytes: self.raw_bytes }, self.facts.finish()))
    }
}
