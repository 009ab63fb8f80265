//! What Google Cloud Storage and Azure Blob Storage have in common.
//!
//! The library makes the requests, one attempt each, over our own connections: so a store that takes nothing is
//! noticed, and what it answers is told from what its givers of credentials answer. Neither store can be asked for
//! uploads that were begun: Azure forgets them after a week, Google when a lifecycle rule of the bucket says so.

mod error;
mod http;
mod listing;

use super::parts::count::Sent;
use super::parts::{Likeness, Limits, PartStore, PartUpload, UploadMemory};
use super::store::StoreOptions;
use super::{
    Download, Location, Object, Space, Storage, StorageError, Trace, Unfinished, Upload, WHOLE, innermost, read_small,
};
use crate::hex;
use crate::settings::Retry;
use async_trait::async_trait;
use bytes::Bytes;
use error::{FailedRequest, explain};
use futures_util::TryStreamExt;
use http::{Connector, place_of, watched};
use md5::{Digest, Md5};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::io::StreamReader;
use url::Url;

/// How long to wait for a TCP connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Pooled connections older than this are not used again: a firewall may have forgotten them.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// What the library's stores can do.
pub(super) trait Client: ObjectStore + MultipartStore + PaginatedListStore {}
impl<T: ObjectStore + MultipartStore + PaginatedListStore> Client for T {}

/// A bucket or container, or a folder in one.
#[derive(Clone)]
pub(super) struct Cloud {
    client: Arc<dyn Client>,
    location: Location,
    /// Empty, or ending with a slash.
    folder: String,
    dialect: &'static Dialect,
    /// The credentials are those that the machine or the pod is given.
    asks_machine: bool,
    limits: Limits,
}

/// What a kind of store does in its own way, and the settings that a person would change, by what is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// Where the store is.
    pub(super) place: &'static str,
    /// The bucket or container.
    pub(super) bucket: &'static str,
    /// What to do about credentials that are refused.
    pub(super) credentials: &'static str,
    /// Where they come from when no setting has them.
    pub(super) identity: &'static str,
    /// The library lists the object whose whole name the prefix is.
    pub(super) lists_the_prefix: bool,
    /// What the store answers to a part is the MD5 of what it received.
    pub(super) answers_md5: bool,
}

impl Dialect {
    pub(super) fn unusable(&self, error: &object_store::Error) -> StorageError {
        let cause = innermost(error);
        StorageError::Refused { action: "preparing the store".to_owned(), cause, hint: self.credentials }
    }
}

/// How a store is reached.
pub(super) struct Entrance {
    pub(super) connector: Connector,
    limits: Limits,
    folder: String,
    dialect: &'static Dialect,
}

impl Entrance {
    /// To the store at that URL.
    pub(super) fn new(
        base: &str,
        options: &StoreOptions,
        part_retry: Retry,
        dialect: &'static Dialect,
    ) -> Result<Self, StorageError> {
        let StoreOptions { retry, max_parts, stall_limit, .. } = *options;
        let memory = UploadMemory::for_uploads(options.uploads);
        let limits = Limits { retry, part_retry, max_parts, stall_limit, memory };
        let connector = connector(base, options, &limits, dialect)?;
        Ok(Self { connector, limits, folder: options.folder.clone(), dialect })
    }

    /// What is left alone by the library, because [`super::retry::Retrying`] does it.
    pub(super) fn retry(&self) -> RetryConfig {
        RetryConfig { max_retries: 0, ..RetryConfig::default() }
    }
}

impl Cloud {
    /// The store behind a client of the library; `asks_machine` where its credentials are those that the machine or the
    /// pod is given.
    pub(super) fn new(
        client: Arc<dyn Client>,
        place: &str,
        bucket: &str,
        entrance: Entrance,
        asks_machine: bool,
    ) -> Self {
        let Entrance { limits, folder, dialect, .. } = entrance;
        let name = format!("{place}/{bucket}/{folder}").trim_end_matches('/').to_owned();
        let location = Location { name, setting: dialect.place };
        Self { client, location, folder, dialect, asks_machine, limits }
    }

    fn path(&self, key: &str) -> Result<Path, StorageError> {
        let full = format!("{}{key}", self.folder);
        Path::parse(&full)
            .map_err(|error| StorageError::Failed { action: self.action("naming", key), cause: error.to_string() })
    }

    fn short<'a>(&self, path: &'a Path) -> &'a str {
        path.as_ref().strip_prefix(&self.folder).unwrap_or(path.as_ref())
    }

    /// Runs one operation of the library; an error says what helps.
    async fn ask<T>(
        &self,
        verb: &str,
        key: &str,
        sent: &Sent,
        operation: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StorageError> {
        let (outcome, trouble) = watched(sent, operation).await;
        outcome.map_err(|error| {
            let (dialect, asks_machine) = (self.dialect, self.asks_machine);
            explain(FailedRequest { action: self.action(verb, key), key, dialect, asks_machine }, &error, trouble)
        })
    }

    async fn create_object(&self, key: &str, bytes: Bytes, sent: &Sent) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.client.put_opts(&path, PutPayload::from_bytes(bytes), options);
        self.ask("writing", key, sent, put).await.map(drop)
    }
}

/// Connections to the store and to those who give out its credentials.
fn connector(
    base: &str,
    options: &StoreOptions,
    limits: &Limits,
    dialect: &'static Dialect,
) -> Result<Connector, StorageError> {
    let missing = |cause: String, setting: &'static str| StorageError::Missing {
        action: "preparing the store".to_owned(),
        cause,
        setting,
    };
    let url = Url::parse(base).map_err(|error| missing(format!("{base}: {error}"), dialect.place))?;
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT).pool_idle_timeout(POOL_IDLE);
    // a redirect would make other requests of these, tell its target the signature, or take a login page for a store
    builder = builder.redirect(reqwest::redirect::Policy::none()).referer(false).no_proxy();
    if let Some(path) = &options.ca_file {
        let authorities = std::fs::read(path).map_err(|error| error.to_string());
        let authorities = authorities
            .and_then(|pem| reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string()))
            .and_then(
                |found| if found.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(found) },
            )
            .map_err(|cause| missing(format!("reading {}: {cause}", path.display()), "REMOTE_CA_FILE"))?;
        builder = builder.tls_certs_merge(authorities);
    }
    let client = builder.build().map_err(|error| {
        missing(format!("TLS: {}", innermost(&error)), "REMOTE_CA_FILE and the system's certificates")
    })?;
    Ok(Connector { client, store: place_of(&url), limits: limits.clone() })
}

#[async_trait]
impl Storage for Cloud {
    fn location(&self) -> Location {
        self.location.clone()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        let full = format!("{}{prefix}", self.folder);
        let full = (!full.is_empty()).then_some(full.as_str());
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let options = PaginatedListOptions { page_token: token.clone(), ..PaginatedListOptions::default() };
            let page = self.client.list_paginated(full, options);
            let page = self.ask("listing", prefix, &Sent::default(), page).await;
            let page = page.map_err(|error| self.location.no_list(error, prefix))?;
            found.extend(page.result.objects.into_iter().map(|meta| Object {
                key: self.short(&meta.location).to_owned(),
                size: meta.size,
                modified: Some(meta.last_modified),
            }));
            match page.page_token.filter(|token| !token.is_empty()) {
                Some(next) if token.as_ref() == Some(&next) => {
                    let cause = "the store keeps returning the same page".to_owned();
                    return Err(StorageError::Failed { action: self.action("listing", prefix), cause });
                }
                Some(next) => token = Some(next),
                None => break,
            }
        }
        // the library may leave out the object whose whole name the prefix is
        let may_be_name = !self.dialect.lists_the_prefix && !prefix.is_empty() && !prefix.ends_with('/');
        if may_be_name && !found.iter().any(|object| object.key == prefix) {
            found.extend(self.head(prefix).await?);
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, StorageError> {
        let path = self.path(key)?;
        match self.ask("looking at", key, &Sent::default(), self.client.head(&path)).await {
            Ok(meta) => Ok(Some(Object { key: key.to_owned(), size: meta.size, modified: Some(meta.last_modified) })),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Download, StorageError> {
        let path = self.path(key)?;
        let range = match range {
            whole if whole == WHOLE => None,
            Range { start, end: u64::MAX } => Some(GetRange::Offset(start)),
            part => Some(GetRange::Bounded(part)),
        };
        let options = GetOptions { range, ..GetOptions::default() };
        let answer = self.ask("reading", key, &Sent::default(), self.client.get_opts(&path, options)).await?;
        let size = answer.meta.size;
        let body = answer.into_stream().map_err(|error| io::Error::other(innermost(&error)));
        Ok(Download { size, body: Box::new(StreamReader::new(body)) })
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        self.create_object(key, bytes, &Sent::default()).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(key)?;
        match self.ask("deleting", key, &Sent::default(), self.client.delete(&path)).await {
            Ok(()) | Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn upload(&self, key: &str, expected_bytes: u64) -> Result<Box<dyn Upload>, StorageError> {
        self.path(key)?;
        Ok(Box::new(PartUpload::new(self.clone(), key, expected_bytes).await))
    }

    async fn unfinished(&self, _key: &str) -> Result<Vec<Unfinished>, StorageError> {
        Ok(Vec::new())
    }

    async fn unfinished_with_owner(&self) -> Result<Vec<(Trace, Unfinished)>, StorageError> {
        Ok(Vec::new())
    }

    async fn discard(&self, unfinished: &Unfinished) -> Result<(), StorageError> {
        let path = self.path(&unfinished.key)?;
        let abort = self.client.abort_multipart(&path, &unfinished.handle);
        match self.ask("aborting the upload of", &unfinished.key, &Sent::default(), abort).await {
            Ok(()) | Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn space(&self) -> Option<Space> {
        None
    }
}

#[async_trait]
impl PartStore for Cloud {
    type Part = PartId;

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn guards_keys(&self) -> bool {
        false
    }

    async fn create(&self, key: &str) -> Result<String, StorageError> {
        let path = self.path(key)?;
        self.ask("beginning the upload of", key, &Sent::default(), self.client.create_multipart(&path)).await
    }

    async fn send(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        bytes: Bytes,
        sent: &Sent,
    ) -> Result<PartId, StorageError> {
        let path = self.path(key)?;
        let (verb, upload_id) = (format!("writing part {number} of"), upload_id.to_owned());
        let md5 = hex::encode(&Md5::digest(&bytes));
        let part = self.client.put_part(&path, &upload_id, number as usize - 1, PutPayload::from_bytes(bytes));
        let part = self.ask(&verb, key, sent, part).await?;
        // Google answers with the MD5 of what it received, Azure with a name of its own
        let answered = part.content_id.trim_matches('"');
        let is_digest = self.dialect.answers_md5 && answered.len() == 32;
        if is_digest && !answered.eq_ignore_ascii_case(&md5) {
            let cause = format!(
                "the store received different bytes from those that were sent (its checksum {answered}, ours {md5})"
            );
            let setting = self.dialect.place;
            return Err(StorageError::Unavailable { action: self.action(&verb, key), cause, setting });
        }
        Ok(part)
    }

    async fn complete(&self, key: &str, upload_id: &str, parts: &[PartId]) -> Result<(), StorageError> {
        let (path, upload_id) = (self.path(key)?, upload_id.to_owned());
        let completed = self.client.complete_multipart(&path, &upload_id, parts.to_vec());
        self.ask("completing", key, &Sent::default(), completed).await.map(drop)
    }

    /// Nothing was there when the upload was completed first, so what has our length may be ours.
    async fn is_made_of(&self, key: &str, _parts: &[PartId], size: u64) -> Result<Likeness, StorageError> {
        let is_there = self.head(key).await?.is_some_and(|object| object.size == size);
        Ok(if is_there { Likeness::SameLength } else { Likeness::Other })
    }

    async fn put_whole(&self, key: &str, bytes: Bytes, sent: &Sent) -> Result<(), StorageError> {
        match self.create_object(key, bytes.clone(), sent).await {
            // the answer to an attempt that did succeed may have been lost
            Err(error @ StorageError::AlreadyExists { .. }) => {
                match read_small(self, key, bytes.len() as u64).await {
                    Ok(there) if there == bytes => Ok(()),
                    // what cannot be read may be ours
                    Err(unread) if unread.is_transient() => Err(unread),
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }
}
