//! An object on its way into a store, and how far it has come.

use super::{Object, StorageError};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// An object on its way. Nothing shows under its key before [`Upload::commit`] returns; dropping it without either
/// call leaves what [`super::Storage::unfinished`] lists.
#[async_trait]
pub trait Upload: Send {
    /// Takes the next bytes, waiting while the store is behind.
    async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError>;
    /// Waits until the store has taken what was written so far, as far as it can be sent before the end is known.
    async fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
    /// Makes the object visible, whole and durable, and returns it as the store now shows it.
    async fn commit(self: Box<Self>) -> Result<Object, StorageError>;
    /// Removes every trace.
    async fn abort(self: Box<Self>) -> Result<(), StorageError>;
    /// Counts what the store has taken.
    fn progress(&self) -> Progress;
    /// Where the store takes the object in parts under a number of its own, the number is noted before the first part is
    /// sent: not every store can be asked for it later. Whoever hands in the note removes it.
    fn note(&mut self, _note: Note) {}
}

/// Where the number of an upload is noted; clones are the same note.
#[derive(Debug, Clone)]
pub struct Note {
    pub key: String,
    written: Arc<AtomicBool>,
}

impl Note {
    /// A note that is not written yet.
    pub fn new(key: String) -> Self {
        Self { key, written: Arc::default() }
    }

    /// True once it may be there.
    pub fn is_written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn set_written(&self) {
        self.written.store(true, Ordering::Relaxed);
    }
}

/// Bytes that a store has taken so far; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Adds taken bytes.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs `work` for as long as `progress` moves at least once in every `limit`; none when it stalled.
pub(crate) async fn while_moving<T>(progress: &Progress, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut seen = (progress.get(), Instant::now());
    loop {
        tokio::select! {
            output = &mut work => return Some(output),
            () = tokio::time::sleep(limit / 8) => {
                let now = progress.get();
                if now != seen.0 {
                    seen = (now, Instant::now());
                } else if seen.1.elapsed() >= limit {
                    return None;
                }
            }
        }
    }
}
