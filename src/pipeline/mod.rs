//! The stream: source → gzip → digest → targets.
//!
//! The source is any reader whose last read fails unless it was whole. Blocks are compressed on several cores at once,
//! each into a gzip member of its own, and leave in the order they came. The slowest target sets the pace, and memory
//! holds a few blocks whatever the database's size. Nothing here commits: the caller does, on an `Ok`, and only then.

mod gzip;

pub use gzip::Gzip;

use crate::hex;
use crate::progress::Counters;
use bytes::{BufMut, Bytes};
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Raw bytes in one block. Larger ones compress no better, smaller ones worse.
pub const BLOCK: usize = 512 << 10;
/// Chunks that a target may be behind the fastest one.
pub const TARGET_QUEUE: usize = 4;

/// What went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streamed {
    /// Bytes read from the source.
    pub raw_bytes: u64,
    /// Bytes handed to each target.
    pub stored_bytes: u64,
    /// SHA-256 of the stored bytes, in hexadecimal.
    pub sha256: String,
    /// True for each target that took every byte.
    pub whole: Vec<bool>,
}

/// Why the stream did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The source broke off.
    #[error("reading the dump: {0}")]
    Source(#[from] io::Error),
    /// Every target stopped taking bytes.
    #[error("no target takes the backup any more")]
    NoTarget,
    /// A worker died.
    #[error("compressing: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// What becomes of a block before it is stored.
#[derive(Debug, Clone)]
pub enum Encoding {
    /// Nothing.
    Identity,
    /// A gzip member.
    Gzip(Gzip),
}

/// How many blocks may be encoded at once; clones share the number, so that streams side by side use no more
/// processors and hardly more memory than one.
#[derive(Debug, Clone)]
pub struct Workers {
    free: Arc<Semaphore>,
    /// Encoded blocks that one stream may have waiting for its targets.
    queue: usize,
}

impl Workers {
    /// So many, at least one, for that many streams at once.
    pub fn new(count: usize, streams: usize) -> Self {
        let count = count.max(1);
        Self { free: Arc::new(Semaphore::new(count)), queue: count.div_ceil(streams.max(1)) + 1 }
    }
}

/// Moves the whole source into every target, or says why not. A target whose channel closes is left behind; the others
/// go on.
pub async fn stream(
    source: impl AsyncRead + Unpin,
    encoding: &Encoding,
    workers: &Workers,
    targets: Vec<mpsc::Sender<Bytes>>,
    counters: &Counters,
) -> Result<Streamed, StreamError> {
    let (encoded, in_order) = mpsc::channel(workers.queue);
    let (raw_bytes, mut streamed) = tokio::try_join!(
        read_blocks(source, encoding, workers, encoded, counters),
        deliver(in_order, targets, counters),
    )?;
    streamed.raw_bytes = raw_bytes;
    Ok(streamed)
}

/// Cuts the source into blocks and has each encoded in the background.
async fn read_blocks(
    mut source: impl AsyncRead + Unpin,
    encoding: &Encoding,
    workers: &Workers,
    encoded: mpsc::Sender<JoinHandle<Bytes>>,
    counters: &Counters,
) -> Result<u64, StreamError> {
    let mut total = 0;
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            let room = BLOCK - block.len();
            let count = source.read_buf(&mut (&mut block).limit(room)).await?;
            if count == 0 {
                break;
            }
            counters.add_raw(count as u64);
        }
        if block.is_empty() {
            return Ok(total);
        }
        total += block.len() as u64;
        let Ok(permit) = workers.free.clone().acquire_owned().await else { return Ok(total) };
        let encoding = encoding.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            match encoding {
                Encoding::Identity => block.into(),
                Encoding::Gzip(gzip) => gzip.member(&block),
            }
        });
        if encoded.send(work).await.is_err() {
            // the other side has the reason
            return Ok(total);
        }
    }
}

/// Hands encoded blocks to the digest and to every target, in order.
async fn deliver(
    mut in_order: mpsc::Receiver<JoinHandle<Bytes>>,
    targets: Vec<mpsc::Sender<Bytes>>,
    counters: &Counters,
) -> Result<Streamed, StreamError> {
    let mut targets: Vec<Option<mpsc::Sender<Bytes>>> = targets.into_iter().map(Some).collect();
    let mut digest = Sha256::new();
    let mut stored_bytes = 0;
    while let Some(work) = in_order.recv().await {
        let chunk = work.await?;
        digest.update(&chunk);
        stored_bytes += chunk.len() as u64;
        counters.add_stored(chunk.len() as u64);
        for target in &mut targets {
            if let Some(sender) = target
                && sender.send(chunk.clone()).await.is_err()
            {
                *target = None;
            }
        }
        if targets.iter().all(Option::is_none) {
            return Err(StreamError::NoTarget);
        }
    }
    let sha256 = hex::encode(&digest.finalize());
    Ok(Streamed { raw_bytes: 0, stored_bytes, sha256, whole: targets.iter().map(Option::is_some).collect() })
}

#[cfg(test)]
mod tests;
