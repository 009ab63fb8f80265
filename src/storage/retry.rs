//! Trying again, for every backend alike.

use super::{Advice, Download, Location, Object, Space, Storage, StorageError, Trace, Unfinished, Upload, read_small};
use crate::settings::Retry;
use async_trait::async_trait;
use backon::{ConstantBuilder, Retryable};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tracing::warn;

/// Runs `operation` until it succeeds, fails for good, or the attempts are used up.
pub(super) async fn with_retry<T, F>(retry: Retry, operation: impl FnMut() -> F) -> Result<T, StorageError>
where
    F: Future<Output = Result<T, StorageError>>,
{
    let policy =
        ConstantBuilder::default().with_delay(retry.delay).with_max_times(retry.attempts as usize - 1).with_jitter();
    operation
        .retry(policy)
        .when(StorageError::is_transient)
        .notify(|error, pause| warn!("{error} (trying again in {:.1} s)", pause.as_secs_f64()))
        .await
}

/// A storage whose operations are tried as often as `RETRY_COUNT` says.
pub struct Retrying {
    inner: Arc<dyn Storage>,
    retry: Retry,
}

impl Retrying {
    /// Wraps a backend.
    pub fn new(inner: Arc<dyn Storage>, retry: Retry) -> Self {
        Self { inner, retry }
    }
}

#[async_trait]
impl Storage for Retrying {
    fn location(&self) -> Location {
        self.inner.location()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        with_retry(self.retry, || self.inner.list(prefix)).await
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, StorageError> {
        with_retry(self.retry, || self.inner.head(key)).await
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Download, StorageError> {
        with_retry(self.retry, || self.inner.get(key, range.clone())).await
    }

    /// A repeated attempt that finds our very bytes there takes them for the work of the one before, whose answer was
    /// lost.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        let mut repeated = false;
        with_retry(self.retry, || {
            let again = std::mem::replace(&mut repeated, true);
            let bytes = bytes.clone();
            async move {
                match self.inner.put(key, bytes.clone()).await {
                    Err(StorageError::AlreadyExists { .. })
                        if again
                            && read_small(&*self.inner, key, bytes.len() as u64)
                                .await
                                .is_ok_and(|there| there == bytes) =>
                    {
                        Ok(())
                    }
                    outcome => outcome,
                }
            }
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        with_retry(self.retry, || self.inner.delete(key)).await
    }

    async fn upload(&self, key: &str, expected_bytes: u64) -> Result<Box<dyn Upload>, StorageError> {
        with_retry(self.retry, || self.inner.upload(key, expected_bytes)).await
    }

    async fn unfinished(&self, key: &str) -> Result<Vec<Unfinished>, StorageError> {
        with_retry(self.retry, || self.inner.unfinished(key)).await
    }

    async fn unfinished_with_owner(&self) -> Result<Vec<(Trace, Unfinished)>, StorageError> {
        with_retry(self.retry, || self.inner.unfinished_with_owner()).await
    }

    async fn discard(&self, unfinished: &Unfinished) -> Result<(), StorageError> {
        with_retry(self.retry, || self.inner.discard(unfinished)).await
    }

    async fn space(&self) -> Option<Space> {
        self.inner.space().await
    }

    async fn examine(&self, prefix: &str) -> Result<Vec<Advice>, StorageError> {
        with_retry(self.retry, || self.inner.examine(prefix)).await
    }
}
