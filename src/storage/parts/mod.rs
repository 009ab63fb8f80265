//! An object of unknown length in a store that takes it in parts: one request when it is small, equal parts when it is not.

pub(super) mod count;
mod limits;
mod plan;

pub(super) use limits::Limits;
pub(super) use plan::UploadMemory;
pub use plan::{LARGEST_PART, SMALLEST_PART};

use super::retry::with_retry;
use super::{Note, Object, Progress, Storage, StorageError, Unfinished, Upload};
use crate::background::counted;
use crate::text;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use count::Sent;
use plan::PartPlan;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

/// Longest wait for the store to put parts together; Amazon speaks of minutes.
pub(super) const COMPLETE: Duration = Duration::from_secs(600);

/// A store that takes objects in parts. Each call is one attempt; trying again is the upload's business.
#[async_trait]
pub(super) trait PartStore: Storage + Clone + 'static {
    /// What the store answers to a part, and what is needed to name it again.
    type Part: Send + Sync + 'static;

    fn limits(&self) -> &Limits;
    /// True when the store itself refuses to complete an upload to a key that exists.
    fn guards_keys(&self) -> bool;
    /// Begins an upload; the answer is its number.
    async fn create(&self, key: &str) -> Result<String, StorageError>;
    /// Sends one part; they are counted from 1.
    async fn send(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
        sent: &Sent,
    ) -> Result<Self::Part, StorageError>;
    /// Puts the parts together, in the order given.
    async fn complete(&self, key: &str, upload_id: &str, parts: &[Self::Part]) -> Result<(), StorageError>;
    /// Whether what the key shows now are these parts: the answer to an attempt that did succeed may have been lost.
    async fn is_made_of(&self, key: &str, parts: &[Self::Part], size: u64) -> Result<Likeness, StorageError>;
    /// Creates a small archive in one request.
    async fn put_whole(&self, key: &str, bytes: Bytes, sent: &Sent) -> Result<(), StorageError>;

    fn action(&self, verb: &str, key: &str) -> String {
        format!("{verb} {}", self.location().of(key))
    }
}

/// Whether an object is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// Its checksum says so.
    Same,
    /// It has our length, and no checksum that says anything.
    SameLength,
    /// It is another, or there is none.
    Other,
}

/// An upload on its way to a store.
pub(super) struct PartUpload<S: PartStore> {
    store: S,
    key: String,
    first_plan: PartPlan,
    plan: PartPlan,
    /// Room of the part that this upload always has.
    _reserved: Option<OwnedSemaphorePermit>,
    own: Arc<Semaphore>,
    buffer: BytesMut,
    permit: Option<OwnedSemaphorePermit>,
    upload_id: Option<String>,
    sent: u32,
    bytes: u64,
    parts: JoinSet<Result<(u32, S::Part), StorageError>>,
    done: Vec<(u32, S::Part)>,
    progress: Progress,
    note: Option<Note>,
}

impl<S: PartStore> PartUpload<S> {
    /// Waits until there is memory for it.
    pub(super) async fn new(store: S, key: &str, expected_bytes: u64) -> Self {
        let plan = PartPlan::new(expected_bytes, store.limits().max_parts);
        let reserved = store.limits().memory.reserve(plan.part).await;
        Self {
            store,
            key: key.to_owned(),
            first_plan: plan,
            plan,
            _reserved: reserved,
            own: Arc::new(Semaphore::new(1)),
            buffer: BytesMut::new(),
            permit: None,
            upload_id: None,
            sent: 0,
            bytes: 0,
            parts: JoinSet::new(),
            done: Vec::new(),
            progress: Progress::default(),
            note: None,
        }
    }

    /// Takes the permit before the first byte of a part, so that memory is bounded by the permits.
    async fn permit(&mut self) -> Result<(), StorageError> {
        if self.permit.is_some() {
            return Ok(());
        }
        while let Some(finished) = self.parts.try_join_next() {
            self.note(finished)?;
        }
        self.permit = loop {
            if let Ok(own) = self.own.clone().try_acquire_owned() {
                break Some(own);
            }
            let more = self.parts.len() < self.plan.in_flight;
            if let Some(extra) = self.store.limits().memory.try_reserve(self.plan.part).filter(|_| more) {
                break Some(extra);
            }
            // the own permit is with a part on its way
            match self.parts.join_next().await {
                Some(finished) => self.note(finished)?,
                None => break self.own.clone().acquire_owned().await.ok(),
            }
        };
        self.buffer.reserve(usize::try_from(self.plan.part).unwrap_or(usize::MAX));
        Ok(())
    }

    fn note(&mut self, finished: Result<Result<(u32, S::Part), StorageError>, JoinError>) -> Result<(), StorageError> {
        let crashed = |error: JoinError| StorageError::Failed {
            action: self.store.action("writing", &self.key),
            cause: error.to_string(),
        };
        self.done.push(finished.map_err(crashed)??);
        Ok(())
    }

    /// Sends the buffer as the next part, in the background.
    async fn send_part(&mut self) -> Result<(), StorageError> {
        let max_parts = self.store.limits().max_parts;
        if self.sent == max_parts {
            let cause =
                format!("the backup does not fit into {}; raise REMOTE_MAX_PARTS", text::count(self.sent, "part"));
            return Err(StorageError::Failed { action: self.store.action("writing", &self.key), cause });
        }
        let upload_id = match &self.upload_id {
            Some(id) => id.clone(),
            None => {
                let id = with_retry(self.store.limits().retry, || self.store.create(&self.key)).await?;
                let id = self.upload_id.insert(id).clone();
                self.write_note(&id).await?;
                id
            }
        };
        self.sent += 1;
        let (number, bytes) = (self.sent, self.buffer.split().freeze());
        let (store, key, sent) = (self.store.clone(), self.key.clone(), Sent::new(self.progress.clone()));
        let permit = self.permit.take();
        self.parts.spawn(counted(async move {
            let send = || store.send(&key, &upload_id, number, bytes.clone(), &sent);
            let part = with_retry(store.limits().part_retry, send).await;
            drop(permit);
            Ok((number, part?))
        }));
        self.plan = self.first_plan.after(self.sent, max_parts);
        Ok(())
    }

    async fn write_note(&self, upload_id: &str) -> Result<(), StorageError> {
        let Some(note) = &self.note else { return Ok(()) };
        let number = Bytes::copy_from_slice(upload_id.as_bytes());
        note.set_written();
        with_retry(self.store.limits().retry, || self.store.put(&note.key, number.clone())).await
    }

    async fn complete(&mut self, upload_id: &str) -> Result<Object, StorageError> {
        if !self.buffer.is_empty() {
            self.send_part().await?;
        }
        self.flush().await?;
        self.done.sort_by_key(|(number, _)| *number);
        let parts: Vec<S::Part> = std::mem::take(&mut self.done).into_iter().map(|(_, part)| part).collect();
        let (store, key, size) = (&self.store, self.key.as_str(), self.bytes);
        let retry = store.limits().retry;
        if !store.guards_keys() && with_retry(retry, || store.head(key)).await?.is_some() {
            return Err(StorageError::AlreadyExists { key: key.to_owned() });
        }
        let attempts = AtomicU32::new(0);
        // whoever says that there is no such upload, or that these are not its parts, may have put them together
        let is_done = || async {
            match store.is_made_of(key, &parts, size).await {
                Ok(Likeness::Same) => true,
                Ok(Likeness::SameLength) => attempts.load(Ordering::Relaxed) > 1,
                _ => false,
            }
        };
        let attempt = || async {
            attempts.fetch_add(1, Ordering::Relaxed);
            match store.complete(key, upload_id, &parts).await {
                Err(error) if !error.is_transient() && !is_done().await => Err(error),
                Err(error) if error.is_transient() => Err(error),
                _ => Ok(()),
            }
        };
        if let Err(error) = with_retry(retry, attempt).await {
            // that nobody answered says nothing of what was done
            attempts.fetch_add(1, Ordering::Relaxed);
            if !(error.is_transient() && is_done().await) {
                return Err(error);
            }
        }
        self.stored().await
    }

    /// Looks at the object as the store shows it now, and refuses a length that is not ours.
    async fn stored(&self) -> Result<Object, StorageError> {
        let (store, key, bytes) = (&self.store, self.key.as_str(), self.bytes);
        let object = with_retry(store.limits().retry, || store.head(key)).await?;
        let object = object.ok_or_else(|| StorageError::NotFound { key: key.to_owned() })?;
        if object.size == bytes {
            return Ok(object);
        }
        let cause = format!("the store reports {} bytes after {bytes} were sent", object.size);
        Err(StorageError::Failed { action: store.action("writing", key), cause })
    }

    async fn discard(&self, upload_id: String) -> Result<(), StorageError> {
        let unfinished = Unfinished { key: self.key.clone(), handle: upload_id };
        with_retry(self.store.limits().retry, || self.store.discard(&unfinished)).await
    }
}

#[async_trait]
impl<S: PartStore> Upload for PartUpload<S> {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), StorageError> {
        while !bytes.is_empty() {
            self.permit().await?;
            let room = usize::try_from(self.plan.part).unwrap_or(usize::MAX) - self.buffer.len();
            let here = bytes.split_to(room.min(bytes.len()));
            self.bytes += here.len() as u64;
            self.buffer.extend_from_slice(&here);
            if here.len() == room {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StorageError> {
        while let Some(finished) = self.parts.join_next().await {
            self.note(finished)?;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<Object, StorageError> {
        let Some(upload_id) = self.upload_id.clone() else {
            let bytes = std::mem::take(&mut self.buffer).freeze();
            let (store, sent) = (&self.store, Sent::new(self.progress.clone()));
            with_retry(store.limits().part_retry, || store.put_whole(&self.key, bytes.clone(), &sent)).await?;
            return self.stored().await;
        };
        match self.complete(&upload_id).await {
            Ok(object) => Ok(object),
            Err(error) => {
                // a part that arrives after the abort would bring the upload back to life
                self.parts.shutdown().await;
                let _ = self.discard(upload_id).await;
                Err(error)
            }
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StorageError> {
        self.parts.shutdown().await;
        match self.upload_id.take() {
            Some(upload_id) => self.discard(upload_id).await,
            None => Ok(()),
        }
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn note(&mut self, note: Note) {
        self.note = Some(note);
    }
}

#[cfg(test)]
mod tests;
