//! An object of unknown length: one PUT when it is small, equal parts when it is not.

use super::count::{CountBody, Sent};
use super::error::explain;
use super::{S3, Unfinished};
use crate::hex;
use crate::storage::retry::with_retry;
use crate::storage::{Object, Progress, Storage, StorageError, Upload, while_moving};
use async_trait::async_trait;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Smallest part; S3 allows 5 MiB, and larger ones save requests.
const SMALLEST_PART: u64 = 16 << 20;
/// Largest part of S3.
const LARGEST_PART: u64 = 5 << 30;
/// Bytes of parts in memory, over all uploads, unless one part alone is larger or many uploads run at once.
const IN_MEMORY: u64 = 64 << 20;
/// Unit in which memory is counted.
const UNIT: u64 = 1 << 20;
/// Longest wait for the store to put parts together; Amazon speaks of minutes.
const COMPLETE: Duration = Duration::from_secs(600);

/// Length of a part and how many may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    part: u64,
    in_flight: usize,
}

impl Plan {
    /// Equal parts such that an object of twice the expected length still fits: compressed output is usually a
    /// fraction of the database, and sometimes more than it.
    fn new(expected_bytes: u64, max_parts: u32) -> Self {
        let wanted = expected_bytes.saturating_mul(2).div_ceil(u64::from(max_parts)).next_multiple_of(1 << 20);
        Self::of(wanted.clamp(SMALLEST_PART, LARGEST_PART))
    }

    fn of(part: u64) -> Self {
        Self { part, in_flight: usize::try_from(IN_MEMORY / part).unwrap_or(1).clamp(1, 4) }
    }

    /// Past four fifths of the parts that the store allows they double, so that a guess too low is no dead end.
    fn after(self, parts: u32, max_parts: u32) -> Self {
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
pub(super) struct Memory {
    free: Arc<Semaphore>,
    units: u32,
    large: Arc<Semaphore>,
}

impl Memory {
    /// Room for one part of each of `uploads` and one more, and no less than for a single upload.
    pub(super) fn for_uploads(uploads: usize) -> Self {
        let bytes = IN_MEMORY.max((uploads as u64 + 1) * SMALLEST_PART);
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        Self { free: Arc::new(Semaphore::new(units as usize)), units, large: Arc::new(Semaphore::new(1)) }
    }

    /// What a part takes; none when it is a large one.
    fn units(&self, part: u64) -> Option<u32> {
        u32::try_from(part / UNIT).ok().filter(|units| *units <= self.units / 2)
    }

    /// Waits for the room of one part.
    async fn reserve(&self, part: u64) -> Option<OwnedSemaphorePermit> {
        let reserved = match self.units(part) {
            Some(units) => self.free.clone().acquire_many_owned(units).await,
            None => self.large.clone().acquire_owned().await,
        };
        reserved.ok()
    }

    /// The room of one more part, when it is there now.
    fn try_reserve(&self, part: u64) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_many_owned(self.units(part)?).ok()
    }
}

pub(super) struct S3Upload {
    store: S3,
    key: String,
    first_plan: Plan,
    plan: Plan,
    /// Room of the part that this upload always has.
    _reserved: Option<OwnedSemaphorePermit>,
    own: Arc<Semaphore>,
    buffer: BytesMut,
    permit: Option<OwnedSemaphorePermit>,
    upload_id: Option<String>,
    sent: u32,
    bytes: u64,
    parts: JoinSet<Result<Part, StorageError>>,
    done: Vec<Part>,
    progress: Progress,
}

struct Part {
    number: u32,
    etag: String,
    md5: [u8; 16],
}

impl S3Upload {
    /// Waits until there is memory for it.
    pub(super) async fn new(store: S3, key: &str, expected_bytes: u64) -> Self {
        let plan = Plan::new(expected_bytes, store.options.max_parts);
        let reserved = store.memory.reserve(plan.part).await;
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
            if let Some(extra) = self.store.memory.try_reserve(self.plan.part).filter(|_| more) {
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

    fn note(
        &mut self,
        finished: Result<Result<Part, StorageError>, tokio::task::JoinError>,
    ) -> Result<(), StorageError> {
        let crashed = |error: tokio::task::JoinError| StorageError::Failed {
            action: self.store.action("writing", &self.key),
            cause: error.to_string(),
        };
        self.done.push(finished.map_err(crashed)??);
        Ok(())
    }

    /// Sends the buffer as the next part, in the background.
    async fn send_part(&mut self) -> Result<(), StorageError> {
        let action = self.store.action("writing", &self.key);
        if self.sent == self.store.options.max_parts {
            let cause = format!("the backup does not fit {} parts; raise REMOTE_MAX_PARTS", self.sent);
            return Err(StorageError::Failed { action, cause });
        }
        let upload_id = match &self.upload_id {
            Some(id) => id.clone(),
            None => self.upload_id.insert(create_multipart(&self.store, &self.key).await?).clone(),
        };
        self.sent += 1;
        let (number, bytes) = (self.sent, self.buffer.split().freeze());
        let (store, key, progress) = (self.store.clone(), self.key.clone(), self.progress.clone());
        let permit = self.permit.take();
        self.parts.spawn(async move {
            let part = upload_part(&store, &key, &upload_id, number, bytes, &progress).await;
            drop(permit);
            part
        });
        self.plan = self.first_plan.after(self.sent, self.store.options.max_parts);
        Ok(())
    }

    async fn complete(mut self, upload_id: &str) -> Result<Object, StorageError> {
        if !self.buffer.is_empty() {
            self.send_part().await?;
        }
        while let Some(finished) = self.parts.join_next().await {
            self.note(finished)?;
        }
        self.done.sort_by_key(|part| part.number);
        let etag = multipart_etag(&self.done);
        let parts = self
            .done
            .iter()
            .map(|part| CompletedPart::builder().part_number(part.number.cast_signed()).e_tag(&part.etag).build());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let (store, key) = (&self.store, self.key.as_str());
        let completed = with_retry(store.options.retry, || async {
            let request = store.client.complete_multipart_upload().bucket(&store.bucket).key(store.full(key));
            let request = request.upload_id(upload_id).multipart_upload(parts.clone());
            let request = request.set_if_none_match(store.options.is_conditional().then(|| "*".to_owned()));
            let slow = TimeoutConfig::builder().operation_attempt_timeout(COMPLETE).build();
            let sent = request
                .customize()
                .config_override(aws_sdk_s3::config::Config::builder().timeout_config(slow))
                .send()
                .await;
            match sent.map_err(|error| explain(store.action("completing", key), key, &error)) {
                Ok(answer) => check_etag(store, key, answer.e_tag(), answer.server_side_encryption(), &etag),
                // the answer to an attempt that did succeed may have been lost
                Err(StorageError::NotFound { .. } | StorageError::AlreadyExists { .. })
                    if stored_etag(store, key).await?.as_deref() == Some(&etag) =>
                {
                    Ok(())
                }
                Err(StorageError::Failed { cause, .. })
                    if store.options.is_conditional() && says_unsupported(&cause) =>
                {
                    store.options.conditional.store(false, Ordering::Relaxed);
                    Err(StorageError::Unavailable { action: store.action("completing", key), cause })
                }
                Err(error) => Err(error),
            }
        })
        .await;
        if let Err(error) = completed
            && !(error.is_transient() && stored_etag(store, key).await?.as_deref() == Some(&etag))
        {
            return Err(error);
        }
        stored(store, key, self.bytes).await
    }
}

#[async_trait]
impl Upload for S3Upload {
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

    async fn commit(mut self: Box<Self>) -> Result<Object, StorageError> {
        let Some(upload_id) = self.upload_id.clone() else {
            let bytes = std::mem::take(&mut self.buffer).freeze();
            let (store, key) = (&self.store, self.key.as_str());
            let class = store.options.storage_class.clone();
            let put = || put_object(store, key, bytes.clone(), class.clone(), &self.progress);
            with_retry(store.options.retry, put).await?;
            return stored(store, key, self.bytes).await;
        };
        let store = self.store.clone();
        let unfinished = Unfinished { key: self.key.clone(), handle: upload_id.clone() };
        match self.complete(&upload_id).await {
            Ok(object) => Ok(object),
            Err(error) => {
                let _ = with_retry(store.options.retry, || store.discard(&unfinished)).await;
                Err(error)
            }
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StorageError> {
        // a part that arrives after the abort would bring the upload back to life
        self.parts.shutdown().await;
        let Some(handle) = self.upload_id.take() else { return Ok(()) };
        let unfinished = Unfinished { key: self.key.clone(), handle };
        with_retry(self.store.options.retry, || self.store.discard(&unfinished)).await
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

async fn create_multipart(store: &S3, key: &str) -> Result<String, StorageError> {
    let options = &store.options;
    with_retry(options.retry, || async {
        let request = store.client.create_multipart_upload().bucket(&store.bucket).key(store.full(key));
        let request = request
            .set_server_side_encryption(options.sse.clone())
            .set_ssekms_key_id(options.kms_key.as_ref().map(|key| key.expose().to_owned()))
            .set_storage_class(options.storage_class.clone());
        let created = request.send().await;
        let created = created.map_err(|error| explain(store.action("beginning the upload of", key), key, &error))?;
        created.upload_id.ok_or_else(|| StorageError::Failed {
            action: store.action("beginning the upload of", key),
            cause: "the store gave the upload no number".to_owned(),
        })
    })
    .await
}

async fn upload_part(
    store: &S3,
    key: &str,
    upload_id: &str,
    number: u32,
    bytes: Bytes,
    progress: &Progress,
) -> Result<Part, StorageError> {
    let md5: [u8; 16] = Md5::digest(&bytes).into();
    let action = || store.action(&format!("writing part {number} of"), key);
    let sent = Sent::new(progress.clone());
    let attempt = || async {
        let moved = Progress::default();
        let request = store.client.upload_part().bucket(&store.bucket).key(store.full(key));
        let request = request.upload_id(upload_id).part_number(number.cast_signed());
        let request = request.body(ByteStream::from(bytes.clone())).customize();
        let request = request.interceptor(CountBody::new(sent.clone(), moved.clone()));
        let answer = moving(store, action(), &moved, request.config_override(unhurried()).send()).await?;
        answer.map_err(|error| explain(action(), key, &error))
    };
    let answer = with_retry(store.options.retry, attempt).await?;
    check_etag(store, key, answer.e_tag(), answer.server_side_encryption(), &hex::encode(&md5))?;
    Ok(Part { number, etag: answer.e_tag.unwrap_or_default(), md5 })
}

/// Creates an object in one request.
pub(super) async fn put_object(
    store: &S3,
    key: &str,
    bytes: Bytes,
    storage_class: Option<aws_sdk_s3::types::StorageClass>,
    progress: &Progress,
) -> Result<(), StorageError> {
    let options = &store.options;
    let md5 = hex::encode(&Md5::digest(&bytes));
    let action = || store.action("writing", key);
    loop {
        let conditional = options.is_conditional();
        if !conditional && store.head(key).await?.is_some() {
            return Err(StorageError::AlreadyExists { key: key.to_owned() });
        }
        let request = store.client.put_object().bucket(&store.bucket).key(store.full(key));
        let request = request
            .body(ByteStream::from(bytes.clone()))
            .set_if_none_match(conditional.then(|| "*".to_owned()))
            .set_server_side_encryption(options.sse.clone())
            .set_ssekms_key_id(options.kms_key.as_ref().map(|key| key.expose().to_owned()))
            .set_storage_class(storage_class.clone())
            .customize();
        let moved = Progress::default();
        let sent = Sent::new(progress.clone());
        let request = request.interceptor(CountBody::new(sent, moved.clone()));
        let answer = moving(store, action(), &moved, request.config_override(unhurried()).send()).await?;
        match answer.map_err(|error| explain(action(), key, &error)) {
            Err(StorageError::Failed { cause, .. }) if conditional && says_unsupported(&cause) => {
                options.conditional.store(false, Ordering::Relaxed);
            }
            Err(StorageError::AlreadyExists { key: existing }) => {
                // the answer to an attempt that did succeed may have been lost
                if stored_etag(store, key).await?.as_deref() == Some(&md5) {
                    return Ok(());
                }
                return Err(StorageError::AlreadyExists { key: existing });
            }
            Ok(answer) => return check_etag(store, key, answer.e_tag(), answer.server_side_encryption(), &md5),
            Err(error) => return Err(error),
        }
    }
}

/// No deadline for a request whose bytes are watched while they move.
fn unhurried() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Config::builder()
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(86_400)).build())
}

/// Waits as long as bytes move. The limit is shared by the attempts, so that all of them together end within it.
async fn moving<T>(
    store: &S3,
    action: String,
    progress: &Progress,
    request: impl Future<Output = T>,
) -> Result<T, StorageError> {
    let limit = store.options.stall_limit / store.options.retry.attempts;
    while_moving(progress, limit, request).await.ok_or(StorageError::Stalled { action, limit })
}

fn says_unsupported(cause: &str) -> bool {
    cause.contains(" 501 ") || cause.contains("NotImplemented")
}

/// Compares an ETag with the MD5 it should be. Stores that encrypt with other keys answer with something else; that
/// is told by its form and proves nothing.
fn check_etag(
    store: &S3,
    key: &str,
    etag: Option<&str>,
    encryption: Option<&ServerSideEncryption>,
    expected: &str,
) -> Result<(), StorageError> {
    let etag = etag.unwrap_or_default().trim_matches('"');
    let is_digest = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let comparable = match (etag.split_once('-'), expected.split_once('-')) {
        (None, None) => is_digest(etag),
        (Some((digest, count)), Some((_, expected_count))) => is_digest(digest) && count == expected_count,
        _ => false,
    };
    // a bucket may encrypt by its own rules, whatever was asked for
    let own_keys = encryption.is_none_or(|encryption| *encryption == ServerSideEncryption::Aes256);
    if comparable && own_keys && !etag.eq_ignore_ascii_case(expected) {
        let cause = format!("the store received other bytes than were sent (its checksum {etag}, ours {expected})");
        return Err(StorageError::Unavailable { action: store.action("writing", key), cause });
    }
    Ok(())
}

async fn stored_etag(store: &S3, key: &str) -> Result<Option<String>, StorageError> {
    match store.client.head_object().bucket(&store.bucket).key(store.full(key)).send().await {
        Ok(head) => Ok(head.e_tag.map(|etag| etag.trim_matches('"').to_owned())),
        Err(error) => match explain(store.action("looking at", key), key, &error) {
            StorageError::NotFound { .. } => Ok(None),
            other => Err(other),
        },
    }
}

/// Looks at the object as the store shows it now, and refuses a length that is not ours.
async fn stored(store: &S3, key: &str, bytes: u64) -> Result<Object, StorageError> {
    let object = with_retry(store.options.retry, || store.head(key)).await?;
    let object = object.ok_or_else(|| StorageError::NotFound { key: key.to_owned() })?;
    if object.size == bytes {
        return Ok(object);
    }
    let cause = format!("the store shows {} bytes after {bytes} were sent", object.size);
    Err(StorageError::Failed { action: store.action("writing", key), cause })
}

/// S3's ETag of a multipart object: the MD5 of the parts' MD5s, and their number.
fn multipart_etag(parts: &[Part]) -> String {
    let digests: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
    format!("{}-{}", hex::encode(&Md5::digest(digests)), parts.len())
}

#[cfg(test)]
mod tests {
    use super::Plan;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_small_database_gets_small_parts_and_a_huge_one_large_parts_one_at_a_time() {
        assert_eq!(Plan::new(1000, 10_000), Plan { part: 16 << 20, in_flight: 4 });
        let huge = Plan::new(5000 * GIB, 10_000);
        assert_eq!(huge.in_flight, 1);
        assert!(huge.part * 10_000 >= 10_000 * GIB);
    }

    proptest! {
        #[test]
        fn twice_the_expected_length_fits_and_four_times_does_after_doubling(expected in 0..4000 * GIB, max_parts in 100_u32..=10_000) {
            let first = Plan::new(expected, max_parts);
            let capacity: u64 = (0..max_parts).map(|sent| first.after(sent, max_parts).part).sum();
            let possible = expected.min(u64::from(max_parts) * (2 << 30));
            prop_assert!(capacity >= possible * 2);
            prop_assert!(capacity >= u64::from(max_parts) * first.part);
        }
    }
}
