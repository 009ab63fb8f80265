//! A store in memory, for tests.

use super::{Download, Location, Object, Progress, Space, Storage, StorageError, Trace, Unfinished, Upload};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct StoredObject {
    objects: BTreeMap<String, (Bytes, DateTime<Utc>)>,
    unfinished: Vec<Unfinished>,
    uploads: u64,
    /// Bytes after which every download ends.
    breaks_off_after: Option<usize>,
}

/// Objects that live as long as the last clone.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<StoredObject>>);

impl Memory {
    fn content(&self) -> MutexGuard<'_, StoredObject> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every download from now on ends after so many bytes, as if the connection was lost.
    #[cfg(test)]
    pub(super) fn break_off_after(&self, bytes: usize) {
        self.content().breaks_off_after = Some(bytes);
    }

    fn create(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        let mut content = self.content();
        if content.objects.contains_key(key) {
            return Err(StorageError::AlreadyExists { key: key.to_owned() });
        }
        content.objects.insert(key.to_owned(), (bytes, Utc::now()));
        Ok(())
    }
}

#[async_trait]
impl Storage for Memory {
    fn location(&self) -> Location {
        Location { name: "memory:".to_owned(), setting: "nothing" }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        let content = self.content();
        let ours = content.objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(ours
            .map(|(key, (bytes, time))| Object { key: key.clone(), size: bytes.len() as u64, modified: Some(*time) })
            .collect())
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, StorageError> {
        Ok(self.list(key).await?.into_iter().find(|object| object.key == key))
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Download, StorageError> {
        let content = self.content();
        let Some((bytes, _)) = content.objects.get(key) else {
            return Err(StorageError::NotFound { key: key.to_owned() });
        };
        let at = |offset: u64| usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let part = bytes.slice(at(range.start)..at(range.end));
        let part = content.breaks_off_after.map_or(part.clone(), |most| part.slice(..most.min(part.len())));
        Ok(Download { size: bytes.len() as u64, body: Box::new(Cursor::new(part)) })
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        self.create(key, bytes)
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.content().objects.remove(key);
        Ok(())
    }

    async fn upload(&self, key: &str, _expected_bytes: u64) -> Result<Box<dyn Upload>, StorageError> {
        let mut content = self.content();
        content.uploads += 1;
        let ticket = Unfinished { key: key.to_owned(), handle: content.uploads.to_string() };
        content.unfinished.push(ticket.clone());
        drop(content);
        Ok(Box::new(MemoryUpload {
            store: self.clone(),
            ticket,
            bytes: BytesMut::new(),
            progress: Progress::default(),
        }))
    }

    async fn unfinished(&self, key: &str) -> Result<Vec<Unfinished>, StorageError> {
        Ok(self.content().unfinished.iter().filter(|unfinished| unfinished.key == key).cloned().collect())
    }

    async fn unfinished_with_owner(&self) -> Result<Vec<(Trace, Unfinished)>, StorageError> {
        Ok(Vec::new())
    }

    async fn discard(&self, unfinished: &Unfinished) -> Result<(), StorageError> {
        self.content().unfinished.retain(|other| other != unfinished);
        Ok(())
    }

    async fn space(&self) -> Option<Space> {
        None
    }
}

struct MemoryUpload {
    store: Memory,
    ticket: Unfinished,
    bytes: BytesMut,
    progress: Progress,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        self.bytes.extend_from_slice(&bytes);
        self.progress.add(bytes.len() as u64);
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<Object, StorageError> {
        let size = self.bytes.len() as u64;
        self.store.discard(&self.ticket).await?;
        self.store.create(&self.ticket.key, self.bytes.freeze())?;
        Ok(Object { key: self.ticket.key, size, modified: Some(Utc::now()) })
    }

    async fn abort(self: Box<Self>) -> Result<(), StorageError> {
        self.store.discard(&self.ticket).await
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}
