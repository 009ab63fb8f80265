//! Uploads to S3: its requests, and the checksums that it answers with.

use super::S3;
use super::count::CountBody;
use super::error::asks_for_digest;
use super::samples::Sample;
use crate::hex;
use crate::storage::parts::count::Sent;
use crate::storage::parts::{COMPLETE, Likeness, Limits, PartStore};
use crate::storage::{Progress, Storage, StorageError, read_small};
use async_trait::async_trait;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption, StorageClass};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tracing::warn;

/// A part as S3 knows it.
pub(in crate::storage) struct Part {
    number: u32,
    etag: String,
    md5: [u8; 16],
    pub(super) sample: Sample,
}

#[async_trait]
impl PartStore for S3 {
    type Part = Part;

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn guards_keys(&self) -> bool {
        self.options.is_conditional()
    }

    async fn create(&self, key: &str) -> Result<String, StorageError> {
        let options = &self.options;
        let request = self.client().create_multipart_upload().bucket(&self.bucket).key(self.full(key));
        let request = request
            .set_server_side_encryption(options.sse.clone())
            .set_ssekms_key_id(options.kms_key.as_ref().map(|key| key.expose().to_owned()))
            .set_storage_class(options.storage_class.clone());
        let action = || self.action("beginning the upload of", key);
        let created = request.send().await.map_err(|error| self.explain(action(), key, &error))?;
        created.upload_id.ok_or_else(|| StorageError::Failed {
            action: action(),
            cause: "the store returned no upload id".to_owned(),
        })
    }

    async fn send(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
        sent: &Sent,
    ) -> Result<Part, StorageError> {
        let md5: [u8; 16] = Md5::digest(&bytes).into();
        let action = || self.action(&format!("writing part {number} of"), key);
        let answer = loop {
            let (moved, length) = (Progress::default(), bytes.len() as u64);
            let wants_md5 = self.options.wants_md5();
            let request = self.client().upload_part().bucket(&self.bucket).key(self.full(key));
            let request = request.upload_id(upload_id).part_number(number.cast_signed());
            let request = request.set_content_md5(wants_md5.then(|| BASE64_STANDARD.encode(md5)));
            let request = request.body(ByteStream::from(bytes.clone())).customize();
            let request = request.interceptor(CountBody::new(sent.clone(), moved.clone()));
            let request = request.config_override(unhurried()).send();
            let answer = self.limits.moving(&moved, length, request).await.ok_or_else(|| self.stalled(action()))?;
            match answer {
                Ok(answer) => break answer,
                Err(error) if !wants_md5 && asks_for_digest(&error) => self.options.give_md5(),
                Err(error) => return Err(self.explain(action(), key, &error)),
            }
        };
        check_etag(self, key, answer.e_tag(), answer.server_side_encryption(), &hex::encode(&md5))?;
        Ok(Part { number, etag: answer.e_tag.unwrap_or_default(), md5, sample: Sample::of(&bytes) })
    }

    async fn complete(&self, key: &str, upload_id: &str, parts: &[Part]) -> Result<(), StorageError> {
        let completed =
            |part: &Part| CompletedPart::builder().part_number(part.number.cast_signed()).e_tag(&part.etag).build();
        let completed = parts.iter().map(completed).collect();
        let completed = CompletedMultipartUpload::builder().set_parts(Some(completed)).build();
        let request = self.client().complete_multipart_upload().bucket(&self.bucket).key(self.full(key));
        let request = request.upload_id(upload_id).multipart_upload(completed);
        let conditional = self.options.is_conditional();
        let request = request.set_if_none_match(conditional.then(|| "*".to_owned())).customize();
        let slow = TimeoutConfig::builder().operation_attempt_timeout(COMPLETE).build();
        let slow = aws_sdk_s3::config::Config::builder().timeout_config(slow);
        let sent = request.config_override(slow).send().await;
        match sent.map_err(|error| self.explain(self.action("completing", key), key, &error)) {
            Ok(answer) => {
                // every part was checked when it was sent; not every store makes the sum of the whole as Amazon does
                let expected = multipart_etag(parts);
                match check_etag(self, key, answer.e_tag(), answer.server_side_encryption(), &expected) {
                    Ok(()) => Ok(()),
                    Err(error) => self.check_whole(key, parts, &error).await,
                }
            }
            Err(StorageError::Failed { cause, .. }) if conditional && says_unsupported(&cause) => {
                self.options.conditional.store(false, Ordering::Relaxed);
                Err(StorageError::Unavailable {
                    action: self.action("completing", key),
                    cause,
                    setting: super::SETTING,
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn is_made_of(&self, key: &str, parts: &[Part], _size: u64) -> Result<Likeness, StorageError> {
        let Some(etag) = stored_etag(self, key).await? else { return Ok(Likeness::Other) };
        // another sum tells little: not every store makes it as Amazon does
        let is_ours = etag == multipart_etag(parts) || self.is_made_of_samples(key, parts).await?;
        Ok(if is_ours { Likeness::Same } else { Likeness::Other })
    }

    async fn put_whole(&self, key: &str, bytes: Bytes, sent: &Sent) -> Result<(), StorageError> {
        put_object(self, key, bytes, self.options.storage_class.clone(), sent).await
    }
}

impl S3 {
    /// What decides where the store's checksum of an object is not the one that its parts make.
    async fn check_whole(&self, key: &str, parts: &[Part], odd: &StorageError) -> Result<(), StorageError> {
        match self.is_made_of_samples(key, parts).await {
            Ok(true) => {
                if !self.options.has_odd_etags.swap(true, Ordering::Relaxed) {
                    warn!("{odd}; its length and the parts that were read back are right, so it is kept");
                }
                Ok(())
            }
            Ok(false) => {
                let cause = "the store assembled the parts differently from how they were sent".to_owned();
                Err(StorageError::Failed { action: self.action("completing", key), cause })
            }
            // whoever may only write cannot look
            Err(StorageError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Creates an object in one request.
pub(super) async fn put_object(
    store: &S3,
    key: &str,
    bytes: Bytes,
    storage_class: Option<StorageClass>,
    sent: &Sent,
) -> Result<(), StorageError> {
    let options = &store.options;
    let digest = Md5::digest(&bytes);
    let md5 = hex::encode(&digest);
    let action = || store.action("writing", key);
    loop {
        let (conditional, wants_md5) = (options.is_conditional(), options.wants_md5());
        if !conditional && store.head(key).await?.is_some() {
            return Err(StorageError::AlreadyExists { key: key.to_owned() });
        }
        let request = store.client().put_object().bucket(&store.bucket).key(store.full(key));
        let request = request
            .body(ByteStream::from(bytes.clone()))
            .set_if_none_match(conditional.then(|| "*".to_owned()))
            .set_content_md5(wants_md5.then(|| BASE64_STANDARD.encode(digest)))
            .set_server_side_encryption(options.sse.clone())
            .set_ssekms_key_id(options.kms_key.as_ref().map(|key| key.expose().to_owned()))
            .set_storage_class(storage_class.clone())
            .customize();
        let moved = Progress::default();
        let request = request.interceptor(CountBody::new(sent.clone(), moved.clone()));
        let request = request.config_override(unhurried()).send();
        let answer = store.limits.moving(&moved, bytes.len() as u64, request).await;
        let answer = answer.ok_or_else(|| store.stalled(action()))?;
        if !wants_md5 && answer.as_ref().err().is_some_and(asks_for_digest) {
            options.give_md5();
            continue;
        }
        match answer.map_err(|error| store.explain(action(), key, &error)) {
            Err(StorageError::Failed { cause, .. }) if conditional && says_unsupported(&cause) => {
                options.conditional.store(false, Ordering::Relaxed);
            }
            Err(StorageError::AlreadyExists { key: existing }) => {
                // the answer to an attempt that did succeed may have been lost
                let same = match stored_etag(store, key).await? {
                    Some(etag) if etag == md5 => true,
                    Some(etag) if is_digest(&etag) && store.options.kms_is_off() => false,
                    _ => read_small(store, key, bytes.len() as u64).await? == bytes,
                };
                return if same { Ok(()) } else { Err(StorageError::AlreadyExists { key: existing }) };
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

/// Looks like an MD5.
fn is_digest(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The store lacks an operation, or one of its forms.
pub(super) fn says_unsupported(cause: &str) -> bool {
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
    let comparable = match (etag.split_once('-'), expected.split_once('-')) {
        (None, None) => is_digest(etag),
        (Some((digest, count)), Some((_, expected_count))) => is_digest(digest) && count == expected_count,
        _ => false,
    };
    // a bucket may encrypt by its own rules, whatever was asked for
    let own_keys = encryption.is_none_or(|encryption| *encryption == ServerSideEncryption::Aes256);
    if comparable && own_keys && !etag.eq_ignore_ascii_case(expected) {
        let cause = format!(
            "the store received different bytes from those that were sent (its checksum {etag}, ours {expected})"
        );
        return Err(StorageError::Unavailable { action: store.action("writing", key), cause, setting: super::SETTING });
    }
    Ok(())
}

async fn stored_etag(store: &S3, key: &str) -> Result<Option<String>, StorageError> {
    match store.client().head_object().bucket(&store.bucket).key(store.full(key)).send().await {
        Ok(head) => Ok(head.e_tag.map(|etag| etag.trim_matches('"').to_owned())),
        Err(error) => match store.explain(store.action("looking at", key), key, &error) {
            StorageError::NotFound { .. } => Ok(None),
            other => Err(other),
        },
    }
}

/// S3's ETag of a multipart object: the MD5 of the parts' MD5s, and their number.
fn multipart_etag(parts: &[Part]) -> String {
    let digests: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
    format!("{}-{}", hex::encode(&Md5::digest(digests)), parts.len())
}
