//! How long parts are, and the memory that they take.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Smallest part; S3 and GCS allow 5 MiB, and larger ones save requests.
pub const SMALLEST_PART: u64 = 16 << 20;
/// Largest part: that of Azure is the smallest of all largest ones, 4000 MiB.
pub const LARGEST_PART: u64 = 4000 << 20;
/// Bytes of parts in memory, over all uploads, unless one part alone is larger or many uploads run at once.
const IN_MEMORY: u64 = 64 << 20;
/// Unit in which memory is counted.
const UNIT: u64 = 1 << 20;

/// Length of a part and how many may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartPlan {
    pub(super) part: u64,
    pub(super) in_flight: usize,
}

impl PartPlan {
    /// Equal parts such that an object of twice the expected length still fits: compressed output is usually a
    /// fraction of the database, and sometimes more than it.
    pub(super) fn new(expected_bytes: u64, max_parts: u32) -> Self {
        let wanted = expected_bytes.saturating_mul(2).div_ceil(u64::from(max_parts)).next_multiple_of(1 << 20);
        Self::of(wanted.clamp(SMALLEST_PART, LARGEST_PART))
    }

    pub(super) fn of(part: u64) -> Self {
        Self { part, in_flight: usize::try_from(IN_MEMORY / part).unwrap_or(1).clamp(1, 4) }
    }

    /// Past four fifths of the parts that the store allows they double, so that a guess too low is no dead end.
    pub(super) fn after(self, parts: u32, max_parts: u32) -> Self {
        if u64::from(parts) * 5 >= u64::from(max_parts) * 4 {
            Self::of((self.part * 2).min(LARGEST_PART))
        } else {
            self
        }
    }
}

/// The memory that all uploads of a store share.
///
/// Every upload holds the room of one part for as long as it lives, so that it never waits for another one once it has
/// begun; what is left goes to whoever has a part to fill. Parts larger than half of all there is are beside it, one
/// upload at a time, so that they keep no small one waiting.
#[derive(Debug, Clone)]
pub(in crate::storage) struct UploadMemory {
    free: Arc<Semaphore>,
    units: u32,
    large: Arc<Semaphore>,
}

impl UploadMemory {
    /// Room for one part of each of `uploads` and one more, and no less than for a single upload.
    pub(in crate::storage) fn for_uploads(uploads: usize) -> Self {
        let bytes = IN_MEMORY.max((uploads as u64 + 1) * SMALLEST_PART);
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        Self { free: Arc::new(Semaphore::new(units as usize)), units, large: Arc::new(Semaphore::new(1)) }
    }

    /// What a part takes; none when it is a large one.
    pub(super) fn units(&self, part: u64) -> Option<u32> {
        u32::try_from(part / UNIT).ok().filter(|units| *units <= self.units / 2)
    }

    /// Waits for the room of one part.
    pub(super) async fn reserve(&self, part: u64) -> Option<OwnedSemaphorePermit> {
        let reserved = match self.units(part) {
            Some(units) => self.free.clone().acquire_many_owned(units).await,
            None => self.large.clone().acquire_owned().await,
        };
        reserved.ok()
    }

    /// The room of one more part, when it is there now.
    pub(super) fn try_reserve(&self, part: u64) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_many_owned(self.units(part)?).ok()
    }
}
