//! Whether a store put parts together as they were sent, found by reading a little of the object: its own checksum of the
//! whole says nothing where it is not made as Amazon makes it.

use super::S3;
use super::upload::Part;
use crate::storage::{Storage, StorageError};
use bytes::Bytes;
use tokio::io::AsyncReadExt;

/// Bytes kept of the beginning of each part. Archives are compressed, so that two parts hardly begin alike.
const LENGTH: usize = 64;
/// Most parts of an object that are looked at, the first and the last among them.
const MOST: usize = 16;

/// The beginning of a part, and its length in bytes.
pub(super) struct Sample {
    beginning: Vec<u8>,
    size: u64,
}

impl Sample {
    pub(super) fn of(part: &Bytes) -> Self {
        Self { beginning: part[..part.len().min(LENGTH)].to_vec(), size: part.len() as u64 }
    }
}

impl S3 {
    /// True where the object has the length of all parts, and each of those looked at begins where it should.
    pub(super) async fn is_made_of_samples(&self, key: &str, parts: &[Part]) -> Result<bool, StorageError> {
        let mut starts = Vec::with_capacity(parts.len());
        let mut end = 0;
        for part in parts {
            starts.push(end);
            end += part.sample.size;
        }
        if self.head(key).await?.is_none_or(|object| object.size != end) {
            return Ok(false);
        }
        let last = parts.len().saturating_sub(1);
        let steps = last.clamp(1, MOST - 1);
        let mut chosen: Vec<usize> = (0..=steps).map(|step| last * step / steps).collect();
        chosen.dedup();
        for (part, start) in chosen.into_iter().filter_map(|at| Some((parts.get(at)?, *starts.get(at)?))) {
            let expected = &part.sample.beginning;
            let download = self.get(key, start..start + expected.len() as u64).await?;
            let mut found = Vec::with_capacity(expected.len());
            let read = download.body.take(expected.len() as u64).read_to_end(&mut found).await;
            read.map_err(|error| self.location().broke_off(key, error.to_string()))?;
            if found != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
