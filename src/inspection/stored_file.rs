//! An archive in a store, read as a file is: from where somebody seeks to, and only as far as somebody reads.

use crate::repository::{Backup, Repository};
use crate::storage::resume::Resuming;
use std::io::{self, Read, Seek, SeekFrom};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;

/// Bytes that are asked for first, and after each seek; twice as many each time that more are needed.
const FIRST_WINDOW: u64 = 64 << 10;
/// Most bytes that are asked for at once.
const LARGEST_WINDOW: u64 = 8 << 20;

/// The stored bytes of an archive. For threads that may block: each read waits for the store.
pub(super) struct StoredFile {
    repository: Repository,
    backup: Backup,
    runtime: Handle,
    position: u64,
    /// Goes on from the position to the end of its window.
    open: Option<Resuming>,
    /// Length of the next window.
    window: u64,
}

impl StoredFile {
    pub(super) fn new(repository: &Repository, backup: &Backup, runtime: Handle) -> Self {
        Self {
            repository: repository.clone(),
            backup: backup.clone(),
            runtime,
            position: 0,
            open: None,
            window: FIRST_WINDOW,
        }
    }
}

impl Read for StoredFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.backup.manifest.stored_bytes;
        if self.position >= size || buffer.is_empty() {
            return Ok(0);
        }
        if let Some(open) = &mut self.open {
            let count = self.runtime.block_on(open.read(buffer))?;
            self.position += count as u64;
            if count > 0 {
                return Ok(count);
            }
        }
        let range = self.position..size.min(self.position + self.window);
        self.window = LARGEST_WINDOW.min(self.window * 2);
        let opened = self.runtime.block_on(self.repository.open(&self.backup, range)).map_err(io::Error::other)?;
        let count = self.runtime.block_on(self.open.insert(opened).read(buffer))?;
        self.position += count as u64;
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
    }
}

impl Seek for StoredFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.backup.manifest.stored_bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let target = target.ok_or(io::ErrorKind::InvalidInput)?;
        if target != self.position {
            (self.position, self.open, self.window) = (target, None, FIRST_WINDOW);
        }
        Ok(target)
    }
}
