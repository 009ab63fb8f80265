//! The stream: source → facts → gzip → encryption → digest → targets.
//!
//! The source is any reader whose last read fails unless it was whole. What passes is read for its facts. Blocks are
//! compressed on several cores at once, each into gzip members of its own that begin and end where the rows of a table
//! do, and leave in the order they came. The slowest target sets the pace, and memory
//! holds a few blocks whatever the database's size. Nothing here commits: the caller does, on an `Ok`, and only then.

mod archive;
mod copy_facts;
mod custom_facts;
mod gathered;
mod gzip;
mod sql_facts;

pub use archive::{ArchiveReadError, StoredArchive, StoredBytes, Wrapping};
pub use copy_facts::CopyFacts;
pub use gathered::{CountedRows, GatheredFacts, Mark, Sums};
pub use gzip::Gzip;

use crate::encryption::Recipients;
use crate::hex::{self, Sha256Digest};
use crate::progress::Counters;
use crate::record::facts::Member;
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
    /// What is in it.
    pub found: GatheredFacts,
}

/// Why the stream did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The source broke off.
    #[error("reading the dump: {0}")]
    Source(#[from] io::Error),
    /// Every target stopped taking bytes.
    #[error("no side accepts the backup any more")]
    NoTarget,
    /// The dump is whole by its own account, and cannot be read.
    #[error("reading what is in the dump: {0}")]
    Unreadable(&'static str),
    /// The stream cannot be encrypted.
    #[error("encrypting: {0}")]
    Encrypt(#[source] io::Error),
    /// A worker died.
    #[error("compressing: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// What becomes of the dump before it is stored.
#[derive(Debug, Clone, Default)]
pub struct Encoding {
    /// Each block becomes gzip members; none leaves the blocks as they are.
    pub gzip: Option<Gzip>,
    /// Who may read the stream; none is everybody.
    pub recipients: Option<Recipients>,
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

/// A block on its way to the targets.
struct Encoded {
    bytes: Bytes,
    /// Where rows begin and end in them.
    marks: Vec<Mark>,
}

impl Encoding {
    fn encode(&self, block: Vec<u8>, mut marks: Vec<Mark>) -> Encoded {
        let Some(gzip) = &self.gzip else { return Encoded { bytes: block.into(), marks } };
        let cuts: Vec<usize> = marks.iter().map(|mark| mark.at).collect();
        let (bytes, ends) = gzip.members(&block, &cuts);
        marks.iter_mut().zip(ends).for_each(|(mark, end)| mark.at = end);
        Encoded { bytes, marks }
    }
}

/// Moves the whole source into every target, or says why not. A target whose channel closes is left behind; the others
/// go on.
pub async fn stream(
    source: impl AsyncRead + Unpin,
    facts: CopyFacts,
    encoding: &Encoding,
    workers: &Workers,
    targets: Vec<mpsc::Sender<Bytes>>,
    counters: &Counters,
) -> Result<Streamed, StreamError> {
    let (encoded, in_order) = mpsc::channel(workers.queue);
    let ((raw_bytes, facts), (mut streamed, members)) = tokio::try_join!(
        read_blocks(source, facts, encoding, workers, encoded, counters),
        deliver(in_order, encoding.recipients.as_ref(), targets, counters),
    )?;
    streamed.raw_bytes = raw_bytes;
    streamed.found = facts.finish().map_err(StreamError::Unreadable)?;
    streamed.found.rows.iter_mut().zip(members).for_each(|(rows, member)| rows.member = member);
    Ok(streamed)
}

/// Cuts the source into blocks and has each encoded in the background.
async fn read_blocks(
    mut source: impl AsyncRead + Unpin,
    mut facts: CopyFacts,
    encoding: &Encoding,
    workers: &Workers,
    encoded: mpsc::Sender<JoinHandle<Encoded>>,
    counters: &Counters,
) -> Result<(u64, CopyFacts), StreamError> {
    let mut total = 0;
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            let room = BLOCK - block.len();
            counters.set_waiting(true);
            let count = source.read_buf(&mut (&mut block).limit(room)).await?;
            counters.set_waiting(false);
            if count == 0 {
                break;
            }
            counters.add_raw(count as u64);
        }
        if block.is_empty() {
            return Ok((total, facts));
        }
        total += block.len() as u64;
        let marks = facts.take(&block);
        facts.table().into_iter().for_each(|table| counters.set_table(table));
        let Ok(permit) = workers.free.clone().acquire_owned().await else { return Ok((total, facts)) };
        let encoding = encoding.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            encoding.encode(block, marks)
        });
        if encoded.send(work).await.is_err() {
            // the other side has the reason
            return Ok((total, facts));
        }
    }
}

/// Hands encoded blocks to the digests and to every target, in order; the answer are also the members of the rows.
async fn deliver(
    mut in_order: mpsc::Receiver<JoinHandle<Encoded>>,
    recipients: Option<&Recipients>,
    targets: Vec<mpsc::Sender<Bytes>>,
    counters: &Counters,
) -> Result<(Streamed, Vec<Member>), StreamError> {
    let mut encryptor = recipients.map(Recipients::encryptor).transpose().map_err(StreamError::Encrypt)?;
    let mut index = MemberIndex::default();
    let targets = targets.into_iter().map(Some).collect();
    let mut stored = Outgoing { targets, digest: Sha256::new(), bytes: 0, counters };
    while let Some(work) = in_order.recv().await {
        let Encoded { bytes, marks } = work.await?;
        index.take(&bytes, &marks);
        match &mut encryptor {
            Some(encryptor) => stored.take(encryptor.take(&bytes).map_err(StreamError::Encrypt)?).await?,
            None => stored.take(bytes).await?,
        }
    }
    if let Some(encryptor) = encryptor {
        stored.take(encryptor.finish().map_err(StreamError::Encrypt)?).await?;
    }
    let (stored_bytes, sha256) = (stored.bytes, hex::encode(&stored.digest.finalize()));
    Ok((Streamed { raw_bytes: 0, stored_bytes, sha256, found: GatheredFacts::default() }, index.members))
}

/// What leaves for the targets.
struct Outgoing<'a> {
    /// None for one that was left behind.
    targets: Vec<Option<mpsc::Sender<Bytes>>>,
    digest: Sha256,
    bytes: u64,
    counters: &'a Counters,
}

impl Outgoing<'_> {
    async fn take(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.digest.update(&bytes);
        self.bytes += bytes.len() as u64;
        self.counters.add_stored(bytes.len() as u64);
        for target in &mut self.targets {
            if let Some(sender) = target
                && sender.send(bytes.clone()).await.is_err()
            {
                *target = None;
            }
        }
        if self.targets.iter().all(Option::is_none) { Err(StreamError::NoTarget) } else { Ok(()) }
    }
}

/// Notes where the rows of each table are stored, and the digest of just these bytes.
#[derive(Default)]
struct MemberIndex {
    offset: u64,
    current: Option<(u64, Sha256)>,
    members: Vec<Member>,
}

impl MemberIndex {
    fn take(&mut self, bytes: &[u8], marks: &[Mark]) {
        let mut done = 0;
        for mark in marks {
            self.advance(&bytes[done..mark.at]);
            done = mark.at;
            if mark.begins {
                self.current = Some((self.offset, Sha256::new()));
            } else if let Some((offset, digest)) = self.current.take() {
                let sha256 = Sha256Digest(digest.finalize().into());
                self.members.push(Member { offset, length: self.offset - offset, sha256 });
            }
        }
        self.advance(&bytes[done..]);
    }

    fn advance(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        if let Some((_, digest)) = &mut self.current {
            digest.update(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
