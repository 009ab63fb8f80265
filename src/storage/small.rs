//! Small objects, read whole.

use super::{Storage, StorageError, WHOLE};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// How long reading a small object may take, headers and body.
const READ_SMALL: Duration = Duration::from_secs(30);
/// How often a body that breaks off is read again; the request itself is repeated by [`retry::Retrying`].
const READ_ATTEMPTS: usize = 3;

/// Reads a small object whole.
pub async fn read_small(storage: &dyn Storage, key: &str, limit: u64) -> Result<Bytes, StorageError> {
    let mut attempt = 1;
    loop {
        let read = tokio::time::timeout(READ_SMALL, read_once(storage, key, limit)).await;
        let outcome =
            read.unwrap_or_else(|_| Err(storage.location().broke_off(key, "no answer within 30 s".to_owned())));
        match outcome {
            Err(error) if error.is_transient() && attempt < READ_ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

async fn read_once(storage: &dyn Storage, key: &str, limit: u64) -> Result<Bytes, StorageError> {
    let action = || format!("reading {}", storage.location().of(key));
    let download = storage.get(key, WHOLE).await?;
    if download.size > limit {
        let cause = format!("it has {} bytes, more than the {limit} such a file may have", download.size);
        return Err(StorageError::Failed { action: action(), cause });
    }
    let mut bytes = Vec::new();
    match download.body.take(limit + 1).read_to_end(&mut bytes).await {
        Ok(_) if bytes.len() as u64 == download.size => Ok(bytes.into()),
        Ok(got) => Err(storage.location().broke_off(key, format!("got {got} of {} bytes", download.size))),
        Err(error) => Err(storage.location().broke_off(key, error.to_string())),
    }
}
