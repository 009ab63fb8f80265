//! What the archives of one run share: the lock, the slots, the encoder, and what is known of the targets.

use super::context::{At, Context, StageError};
use super::preflight::Ready;
use super::tasks::Task;
use crate::error::{Error, StoreError};
use crate::pipeline::Gzip;
use crate::postgres::lock::Lock;
use crate::postgres::relay::ReadingBudget;
use crate::repository::Repository;
use crate::shutdown::Stop;
use crate::storage::StorageError;
use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit};
use tracing::warn;

/// The dump of a smaller database takes a moment.
const SMALL: u64 = 64 << 20;

fn is_small(task: &Task) -> bool {
    task.subject.database().is_some() && task.expected_bytes() < SMALL
}

/// What the archives of one run share.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) ready: &'a Ready<'a>,
    lock: Mutex<Option<Lock>>,
    /// Dumps that may begin; a commit needs none, so that it goes on beside the next dump.
    slots: Semaphore,
    /// Held by every dump, and by one that runs alone for itself.
    company: RwLock<()>,
    /// Dumps of small databases under way.
    small_dumps: AtomicUsize,
    /// The encoder of everything that is SQL; it learns from one archive for the next.
    gzip: Gzip,
    /// Who reads rows beside pg_dump.
    reading: ReadingBudget,
    /// Places that took no byte for too long and are not waited for again.
    given_up: std::sync::Mutex<HashSet<String>>,
}

/// How a dump is tried.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attempt {
    /// DDL that comes before the dump is a fact and no error.
    pub(super) lenient: bool,
    /// No other dump runs beside it, and nothing of ours takes a lock: the server has room for so many, and pg_dump needs
    /// them.
    pub(super) alone: bool,
}

/// The right to dump.
pub(super) struct Slot<'a> {
    small_dumps: Option<&'a AtomicUsize>,
    _permit: SemaphorePermit<'a>,
    _company: Company<'a>,
}

/// Dumps that run beside others, or one that runs alone.
enum Company<'a> {
    Others { _guard: RwLockReadGuard<'a, ()> },
    None { _guard: RwLockWriteGuard<'a, ()> },
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.small_dumps {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(context: &'a Context, ready: &'a Ready<'a>, lock: Option<Lock>) -> Self {
        let slots = Semaphore::new(context.config.selection.jobs);
        let gzip = Gzip::new(context.config.dump.sql_level());
        let (small_dumps, given_up) = (AtomicUsize::new(0), std::sync::Mutex::default());
        let company = RwLock::new(());
        let reading = ReadingBudget::new(context.config.dump.connections);
        Self { context, ready, lock: Mutex::new(lock), slots, company, small_dumps, gzip, reading, given_up }
    }

    /// Says that an archive goes on without this target, and gives that up where it took nothing for too long.
    pub(super) fn note_lost(&self, repository: &Repository, error: &Error) {
        let name = repository.location().name;
        warn!("{name} is dropped from this backup: {error}");
        if matches!(error, Error::Store(StoreError::Storage(StorageError::Stalled { .. }))) {
            self.given_up.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        }
    }

    /// The encoder of archives that are SQL.
    pub(super) fn encoder(&self) -> Gzip {
        self.gzip.clone()
    }

    /// Who reads rows beside pg_dump in that attempt: they take locks.
    pub(super) fn reading(&self, attempt: Attempt) -> ReadingBudget {
        if attempt.alone { ReadingBudget::new(1) } else { self.reading.clone() }
    }

    /// True when an archive of this run has given the target up.
    pub(super) fn has_given_up(&self, repository: &Repository) -> bool {
        let given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.contains(&repository.location().name)
    }

    /// Archives in work at once: those that are dumped, one that is committed and one that is reached meanwhile.
    pub(super) fn at_once(&self) -> usize {
        self.context.config.selection.jobs + 2
    }

    /// Waits until the dump may begin; until the slot is dropped it counts as under way.
    pub(super) async fn slot(&self, task: &Task, attempt: Attempt) -> Result<Slot<'_>, StageError> {
        let acquired = self.context.shutdown.guard(self.slots.acquire()).await.at("connect")?;
        let permit = acquired.map_err(|_| Stop::Terminate).at("connect")?;
        let company = async {
            match attempt.alone {
                true => Company::None { _guard: self.company.write().await },
                false => Company::Others { _guard: self.company.read().await },
            }
        };
        let company = self.context.shutdown.guard(company).await.at("connect")?;
        let small_dumps = is_small(task).then_some(&self.small_dumps);
        if let Some(count) = small_dumps {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Slot { small_dumps, _permit: permit, _company: company })
    }

    /// True when a slot is free soon for this task, so that its snapshot may be taken meanwhile. The largest come first,
    /// so behind a small dump there are only small ones. A session that waited for long would be in the way of whoever
    /// wants to drop the database, and its snapshot in the way of cleaning up.
    pub(super) fn has_slot_soon(&self, task: &Task) -> bool {
        // one that runs alone is waited for as long as the others take
        let is_soon = || self.company.try_read().is_ok();
        is_small(task) && self.small_dumps.load(Ordering::Relaxed) > 0 && is_soon()
    }

    /// True when the lock is ours, false when it was lost, none when it was never to be had.
    pub(super) async fn holds_lock(&self) -> Result<Option<bool>, Stop> {
        match &mut *self.lock.lock().await {
            Some(lock) => self.context.shutdown.guard(lock.is_held(&self.context.config.source)).await.map(Some),
            None => Ok(None),
        }
    }
}
