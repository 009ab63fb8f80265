//! Google Cloud Storage and Azure Blob Storage.
//!
//! The library makes the requests, one attempt each, over our own connections: so a store that takes nothing is
//! noticed, and what it answers is told from what its givers of credentials answer. Neither store can be asked for
//! uploads that were begun: Azure forgets them after a week, Google when a lifecycle rule of the bucket says so.

mod error;
mod http;
mod listing;

use super::parts::count::Sent;
use super::parts::{Likeness, Limits, Memory, PartStore, PartUpload};
use super::{
    Download, Location, Object, Space, Storage, StorageError, Trace, Unfinished, Upload, WHOLE, innermost, read_small,
};
use crate::config::{self, AzureAccess, Retry};
use crate::hex;
use async_trait::async_trait;
use bytes::Bytes;
use error::{AZURE, Attempt, GCS, Settings, explain};
use futures_util::TryStreamExt;
use http::{Connector, place_of, watched};
use md5::{Digest, Md5};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
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
trait Client: ObjectStore + MultipartStore + PaginatedListStore {}
impl<T: ObjectStore + MultipartStore + PaginatedListStore> Client for T {}

/// A bucket or container, or a folder in one.
#[derive(Clone)]
pub struct Cloud {
    client: Arc<dyn Client>,
    location: Location,
    /// Empty, or ending with a slash.
    prefix: String,
    settings: &'static Settings,
    /// The credentials are those that the machine or the pod is given.
    asks_machine: bool,
    limits: Limits,
}

/// What is left alone by the library, because [`super::retry::Retrying`] does it.
fn one_attempt() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

impl Cloud {
    /// Google Cloud Storage. Connects to nothing yet.
    ///
    /// `uploads` is how many are expected at once; more than that wait for memory.
    pub fn gcs(
        store: &config::Gcs,
        remote: &config::Remote,
        retry: Retry,
        stall_limit: Duration,
        uploads: usize,
    ) -> Result<Self, StorageError> {
        let parts = Retry { attempts: store.attempts, ..retry };
        let limits = limits(remote, (retry, parts), stall_limit, uploads);
        let base = store.endpoint.as_deref().unwrap_or("https://storage.googleapis.com");
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(&store.bucket)
            .with_base_url(base)
            .with_retry(one_attempt())
            .with_http_connector(connector(base, remote, &limits, &GCS)?);
        if let Some(key) = &store.key {
            builder = builder.with_service_account_key(key.expose());
        }
        let client = builder.build().map_err(|error| unusable(&GCS, &error))?;
        let place = store.endpoint.as_deref().unwrap_or("gs:/");
        let cloud = Self::new(Arc::new(client), "gcs", (place, &store.bucket), remote, &GCS, limits);
        Ok(Self { asks_machine: store.key.is_none(), ..cloud })
    }

    /// Azure Blob Storage. Connects to nothing yet.
    ///
    /// `uploads` is how many are expected at once; more than that wait for memory.
    pub fn azure(
        store: &config::Azure,
        remote: &config::Remote,
        retry: Retry,
        stall_limit: Duration,
        uploads: usize,
    ) -> Result<Self, StorageError> {
        let limits = limits(remote, (retry, retry), stall_limit, uploads);
        let own = format!("https://{}.blob.core.windows.net", store.account);
        let base = store.endpoint.clone().unwrap_or(own);
        let builder = MicrosoftAzureBuilder::new()
            .with_account(&store.account)
            .with_container_name(&store.container)
            .with_endpoint(base.clone())
            .with_allow_http(true)
            .with_retry(one_attempt())
            .with_http_connector(connector(&base, remote, &limits, &AZURE)?);
        let builder = match &store.access {
            AzureAccess::Key(key) => builder.with_access_key(key.expose()),
            AzureAccess::Sas(token) => builder.with_config(AzureConfigKey::SasKey, token.expose()),
            AzureAccess::Workload { client, tenant, token_file, authority } => {
                let builder = builder.with_client_id(client).with_tenant_id(tenant);
                let builder = builder.with_federated_token_file(token_file);
                match authority {
                    Some(authority) => builder.with_authority_host(authority),
                    None => builder,
                }
            }
            AzureAccess::Managed { client, endpoint } => {
                let builder = client.iter().fold(builder, MicrosoftAzureBuilder::with_client_id);
                endpoint.iter().fold(builder, MicrosoftAzureBuilder::with_msi_endpoint)
            }
        };
        let client = builder.build().map_err(|error| unusable(&AZURE, &error))?;
        let cloud = Self::new(Arc::new(client), "azure", (&base, &store.container), remote, &AZURE, limits);
        Ok(Self { asks_machine: matches!(store.access, AzureAccess::Managed { .. }), ..cloud })
    }

    fn new(
        client: Arc<dyn Client>,
        kind: &'static str,
        (place, bucket): (&str, &str),
        remote: &config::Remote,
        settings: &'static Settings,
        limits: Limits,
    ) -> Self {
        let prefix = remote.folder();
        let name = format!("{place}/{bucket}/{prefix}").trim_end_matches('/').to_owned();
        let location = Location { kind, name, setting: settings.place };
        Self { client, location, prefix, settings, asks_machine: false, limits }
    }

    fn path(&self, key: &str) -> Result<Path, StorageError> {
        let full = format!("{}{key}", self.prefix);
        Path::parse(&full)
            .map_err(|error| StorageError::Failed { action: self.action("naming", key), cause: error.to_string() })
    }

    fn short<'a>(&self, path: &'a Path) -> &'a str {
        path.as_ref().strip_prefix(&self.prefix).unwrap_or(path.as_ref())
    }

    /// Runs one operation of the library; an error says what helps.
    async fn ask<T>(
        &self,
        (verb, key): (&str, &str),
        sent: &Sent,
        operation: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StorageError> {
        let (outcome, trouble) = watched(sent, operation).await;
        outcome.map_err(|error| {
            let (settings, asks_machine) = (self.settings, self.asks_machine);
            explain(Attempt { action: self.action(verb, key), key, settings, asks_machine }, &error, trouble)
        })
    }

    async fn create_object(&self, key: &str, bytes: Bytes, sent: &Sent) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.client.put_opts(&path, PutPayload::from_bytes(bytes), options);
        self.ask(("writing", key), sent, put).await.map(drop)
    }
}

fn limits(
    remote: &config::Remote,
    (retry, part_retry): (Retry, Retry),
    stall_limit: Duration,
    uploads: usize,
) -> Limits {
    Limits { retry, part_retry, max_parts: remote.max_parts, stall_limit, memory: Memory::for_uploads(uploads) }
}

fn unusable(settings: &Settings, error: &object_store::Error) -> StorageError {
    let cause = innermost(error);
    StorageError::Refused { action: "preparing the store".to_owned(), cause, hint: settings.credentials }
}

/// Connections to the store and to those who give out its credentials.
fn connector(
    base: &str,
    remote: &config::Remote,
    limits: &Limits,
    settings: &'static Settings,
) -> Result<Connector, StorageError> {
    let missing = |cause: String, setting: &'static str| StorageError::Missing {
        action: "preparing the store".to_owned(),
        cause,
        setting,
    };
    let url = Url::parse(base).map_err(|error| missing(format!("{base}: {error}"), settings.place))?;
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT).pool_idle_timeout(POOL_IDLE);
    // a redirect would make other requests of these, tell its target the signature, or take a login page for a store
    builder = builder.redirect(reqwest::redirect::Policy::none()).referer(false).no_proxy();
    if let Some(path) = &remote.ca_file {
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
        let full = format!("{}{prefix}", self.prefix);
        let full = (!full.is_empty()).then_some(full.as_str());
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let options = PaginatedListOptions { page_token: token.clone(), ..PaginatedListOptions::default() };
            let page = self.client.list_paginated(full, options);
            let page = self.ask(("listing", prefix), &Sent::default(), page).await;
            let page = page.map_err(|error| self.location.no_list(error, prefix))?;
            found.extend(page.result.objects.into_iter().map(|meta| Object {
                key: self.short(&meta.location).to_owned(),
                size: meta.size,
                modified: Some(meta.last_modified),
            }));
            match page.page_token.filter(|token| !token.is_empty()) {
                Some(next) if token.as_ref() == Some(&next) => {
                    let cause = "the store gives the same page again and again".to_owned();
                    return Err(StorageError::Failed { action: self.action("listing", prefix), cause });
                }
                Some(next) => token = Some(next),
                None => break,
            }
        }
        // for Azure, the library leaves out the object whose whole name the prefix is
        let may_be_name = self.location.kind == "azure" && !prefix.is_empty() && !prefix.ends_with('/');
        if may_be_name && !found.iter().any(|object| object.key == prefix) {
            found.extend(self.head(prefix).await?);
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, StorageError> {
        let path = self.path(key)?;
        match self.ask(("looking at", key), &Sent::default(), self.client.head(&path)).await {
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
        let answer = self.ask(("reading", key), &Sent::default(), self.client.get_opts(&path, options)).await?;
        let size = answer.meta.size;
        let body = answer.into_stream().map_err(|error| io::Error::other(innermost(&error)));
        Ok(Download { size, body: Box::new(StreamReader::new(body)) })
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        self.create_object(key, bytes, &Sent::default()).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(key)?;
        match self.ask(("deleting", key), &Sent::default(), self.client.delete(&path)).await {
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
        match self.ask(("aborting the upload of", &unfinished.key), &Sent::default(), abort).await {
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
        self.ask(("beginning the upload of", key), &Sent::default(), self.client.create_multipart(&path)).await
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
        let part = self.ask((&verb, key), sent, part).await?;
        // Google answers with the MD5 of what it received, Azure with a name of its own
        let answered = part.content_id.trim_matches('"');
        let is_digest = self.location.kind == "gcs" && answered.len() == 32;
        if is_digest && !answered.eq_ignore_ascii_case(&md5) {
            let cause = format!("the store received other bytes than were sent (its checksum {answered}, ours {md5})");
            let setting = self.settings.place;
            return Err(StorageError::Unavailable { action: self.action(&verb, key), cause, setting });
        }
        Ok(part)
    }

    async fn complete(&self, key: &str, upload_id: &str, parts: &[PartId]) -> Result<(), StorageError> {
        let (path, upload_id) = (self.path(key)?, upload_id.to_owned());
        let completed = self.client.complete_multipart(&path, &upload_id, parts.to_vec());
        self.ask(("completing", key), &Sent::default(), completed).await.map(drop)
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
