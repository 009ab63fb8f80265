//! The proof that backups could be kept in a store, made before one has to be.

use super::Repository;
use crate::record::manifest;
use crate::storage::{Advice, SMALLEST_PART, Side, StorageError, read_small};
use crate::text;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

/// Bytes handed to an upload at once.
const CHUNK: usize = 1 << 20;

/// What a store showed.
#[derive(Debug)]
pub struct Probe {
    /// How far its clock is ahead of ours, where it tells the time.
    pub skew: Option<TimeDelta>,
    /// What to know about it.
    pub advice: Vec<Advice>,
}

impl Repository {
    /// Writes, reads back, lists and deletes small objects, and begins an upload of which it sends the first part and
    /// aborts the rest. Nothing stays, but where the bucket keeps what is deleted.
    pub async fn probe(&self) -> Result<Probe, StorageError> {
        let prefix = format!("backup-check-{}", self.owner.run_id);
        let (first, second) = (format!("{prefix}-1"), format!("{prefix}-2"));
        let probed = self.probe_with(&prefix, &first, &second).await;
        let mut deleted = Ok(());
        for key in [&first, &second] {
            deleted = deleted.and(self.storage.delete(key).await);
        }
        let probe = probed?;
        deleted?;
        Ok(probe)
    }

    async fn probe_with(&self, prefix: &str, first: &str, second: &str) -> Result<Probe, StorageError> {
        let bytes = self.marker();
        let before = Utc::now();
        self.storage.put(first, bytes.clone()).await?;
        let after = Utc::now();
        self.storage.put(second, bytes.clone()).await?;
        if read_small(&*self.storage, first, manifest::LIMIT).await? != bytes {
            return Err(self.unfit("it returns different bytes from those that were written"));
        }
        let listed = self.storage.list(prefix).await?;
        let [object, other] = listed.as_slice() else {
            return Err(self.unfit("its listing lacks what was just written"));
        };
        if object.key != first || other.key != second {
            return Err(self.unfit("its listing shows different names from those that were written"));
        }
        // the request took a while, and that is no skew
        let skew = |modified: DateTime<Utc>| match modified {
            late if late > after => late - after,
            early => (early - before).min(TimeDelta::zero()),
        };
        let skew = object.modified.map(skew);
        let mut advice = self.storage.examine(prefix).await?;
        if self.side == Side::Remote {
            advice.extend(self.probe_parts(&format!("{prefix}-3")).await?);
        }
        Ok(Probe { skew, advice })
    }

    /// Sends one part of the usual size, and aborts the upload.
    async fn probe_parts(&self, key: &str) -> Result<Option<Advice>, StorageError> {
        let size = text::size(SMALLEST_PART);
        let explain = |error| match error {
            StorageError::Failed { cause, .. } | StorageError::Missing { cause, .. } => {
                let cause = format!("it does not accept parts of {size}, in which larger backups are sent: {cause}");
                self.unfit(&cause)
            }
            StorageError::NotFound { .. } => {
                self.unfit(&format!("it does not accept parts of {size}, in which larger backups are sent"))
            }
            other => other,
        };
        let mut upload = self.storage.upload(key, 0).await?;
        let chunk = Bytes::from(vec![0; CHUNK]);
        let sent = async {
            for _ in 0..SMALLEST_PART / CHUNK as u64 {
                upload.write(chunk.clone()).await?;
            }
            upload.flush().await
        };
        let sent = sent.await;
        let aborted = upload.abort().await;
        sent.map_err(explain)?;
        aborted.map_err(explain)?;
        let left = self.storage.unfinished(key).await?;
        Ok((!left.is_empty()).then(|| Advice {
            what: "an upload that was aborted is still listed as unfinished".to_owned(),
            hint: Some("give the bucket a lifecycle rule that aborts incomplete multipart uploads".to_owned()),
        }))
    }

    fn unfit(&self, cause: &str) -> StorageError {
        StorageError::Failed { action: format!("checking {}", self.location().name), cause: cause.to_owned() }
    }
}
