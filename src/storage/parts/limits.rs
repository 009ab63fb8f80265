//! How often and how long a store is waited for.

use super::UploadMemory;
use crate::settings::Retry;
use crate::storage::{Progress, while_moving};
use std::time::Duration;

/// How a store takes parts.
#[derive(Debug, Clone)]
pub(in crate::storage) struct Limits {
    /// Attempts of everything but parts.
    pub(in crate::storage) retry: Retry,
    /// Attempts of a part.
    pub(in crate::storage) part_retry: Retry,
    /// Most parts of an upload.
    pub(in crate::storage) max_parts: u32,
    /// How long nothing may move.
    pub(in crate::storage) stall_limit: Duration,
    /// The room that all uploads share.
    pub(in crate::storage) memory: UploadMemory,
}

impl Limits {
    /// How long one attempt may move nothing: the attempts share the limit, as far as that leaves each of them enough.
    pub(in crate::storage) fn patience(&self) -> Duration {
        (self.stall_limit / self.part_retry.attempts).max(self.stall_limit.min(ENOUGH))
    }

    /// Waits as long as bytes move. Once all `length` of them are handed over, what is still on its way and the store's
    /// work have the whole limit.
    pub(in crate::storage) async fn moving<T>(
        &self,
        progress: &Progress,
        length: u64,
        request: impl Future<Output = T>,
    ) -> Option<T> {
        let mut request = std::pin::pin!(request);
        let patience = self.patience();
        match while_moving(progress, patience, request.as_mut()).await {
            None if progress.get() >= length => {
                tokio::time::timeout(self.stall_limit.saturating_sub(patience), request).await.ok()
            }
            outcome => outcome,
        }
    }
}

/// Long enough for one attempt, whatever the number of attempts.
const ENOUGH: Duration = Duration::from_secs(30);
