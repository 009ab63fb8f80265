//! S3 and what speaks like it.
//!
//! Everything the SDK would decide by itself is said here: no retries of its own, explicit timeouts, the
//! form of addresses, payloads signed by their SHA-256, and checksums only where required unless
//! `REMOTE_CHECKSUM` says otherwise, because many compatible stores refuse the newer ones.

mod count;
mod error;
mod examine;
mod listing;
mod samples;
pub mod settings;
mod upload;

use super::parts::count::Sent;
use super::parts::{Limits, PartStore, PartUpload, UploadMemory};
use super::store::{Backend, Store, StoreOptions};
use super::{Advice, Download, Location, Object, Space, Storage, StorageError, Trace, Unfinished, Upload, WHOLE};
use crate::settings::Secret;
use async_trait::async_trait;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::DateTime as SdkTime;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use settings::{Addressing, Checksum, S3Settings, Sse};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// S3, or what speaks like it.
pub const BACKEND: Backend = Backend {
    name: "s3",
    title: "S3-compatible store",
    settings: settings::SETTINGS,
    needed: &["REMOTE_ENDPOINT", "REMOTE_BUCKET"],
    chosen_by: None,
    folder: "REMOTE_PREFIX",
    read: |raw, _| Some(Arc::new(settings::read(raw)?)),
};

#[async_trait]
impl Store for S3Settings {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(Arc::new(S3::new(self, options).await?))
    }
}

/// The setting that says where the store is.
const SETTING: &str = "REMOTE_ENDPOINT";
/// What a certificate begins with.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
/// How long a small request may take.
const SMALL_REQUEST: Duration = Duration::from_secs(30);
/// How long to wait for a TCP connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Pooled connections older than this are not used again: a firewall may have forgotten them.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// A bucket, or a folder in one.
#[derive(Clone)]
pub struct S3 {
    clients: Arc<Clients>,
    bucket: String,
    /// Empty, or ending with a slash.
    prefix: String,
    name: String,
    options: Arc<WriteOptions>,
    limits: Limits,
}

/// One client for each form of addresses.
struct Clients {
    by_path: Client,
    by_host: Client,
    is_by_host: AtomicBool,
    /// The store may ask for the other form.
    may_change: bool,
}

/// How objects are written.
struct WriteOptions {
    sse: Option<ServerSideEncryption>,
    kms_key: Option<Secret>,
    storage_class: Option<StorageClass>,
    /// Cleared when the store says that it has no conditional writes.
    conditional: AtomicBool,
    /// Set when the store wants to be told the MD5 of what it is sent, as buckets with Object Lock do.
    wants_md5: AtomicBool,
    /// Set when the checksum of a whole object was not made as Amazon makes it: said once.
    has_odd_etags: AtomicBool,
}

impl S3 {
    /// Connects to nothing yet; credentials from the standard chain are looked up at the first request.
    async fn new(store: &S3Settings, options: &StoreOptions) -> Result<Self, StorageError> {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(SMALL_REQUEST);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(store.region.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(http_client(store, options)?);
        if let Some((access, secret)) = &store.keys {
            let keys = Credentials::new(access.expose(), secret.expose(), None, None, "settings");
            loader = loader.credentials_provider(keys);
        }
        let shared = loader.load().await;
        let (request, response) = match store.checksum {
            Checksum::WhenRequired => {
                (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired)
            }
            Checksum::WhenSupported => {
                (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
            }
        };
        let mut builder = aws_sdk_s3::config::Builder::from(&shared)
            .request_checksum_calculation(request)
            .response_checksum_validation(response);
        // the client puts the bucket right behind a path
        let has_path = |url: &String| url.splitn(4, '/').nth(3).is_some_and(|path| !path.is_empty());
        let endpoint = store.endpoint.clone().map(|url| if has_path(&url) { format!("{url}/") } else { url });
        builder.set_endpoint_url(endpoint);
        let prefix = options.folder.clone();
        let sse = store.sse.map(|sse| match sse {
            Sse::Aes256 => ServerSideEncryption::Aes256,
            Sse::Kms => ServerSideEncryption::AwsKms,
        });
        let writing = WriteOptions {
            sse,
            kms_key: store.kms_key.clone(),
            storage_class: store.storage_class.as_deref().map(StorageClass::from),
            conditional: AtomicBool::new(true),
            wants_md5: AtomicBool::new(false),
            has_odd_etags: AtomicBool::new(false),
        };
        let place = store.endpoint.as_deref().map_or("s3:/", |endpoint| endpoint.trim_end_matches('/'));
        let name = format!("{place}/{}/{prefix}", store.bucket).trim_end_matches('/').to_owned();
        let client = |by_path| Client::from_conf(builder.clone().force_path_style(by_path).build());
        let is_by_host = match store.addressing {
            Addressing::Auto => store.endpoint.is_none(),
            Addressing::Path => false,
            Addressing::Virtual => true,
        };
        let clients = Arc::new(Clients {
            by_path: client(true),
            by_host: client(false),
            is_by_host: AtomicBool::new(is_by_host),
            may_change: store.addressing == Addressing::Auto,
        });
        let StoreOptions { retry, max_parts, stall_limit, .. } = *options;
        let limits = Limits {
            retry,
            part_retry: retry,
            max_parts,
            stall_limit,
            memory: UploadMemory::for_uploads(options.uploads),
        };
        Ok(Self { clients, bucket: store.bucket.clone(), prefix, name, options: Arc::new(writing), limits })
    }

    fn client(&self) -> &Client {
        let Clients { by_path, by_host, is_by_host, .. } = &*self.clients;
        if is_by_host.load(Ordering::Relaxed) { by_host } else { by_path }
    }

    /// Sorts an SDK error by what helps; a store that wants the bucket in the host is asked that way from then on.
    fn explain<E>(&self, action: String, key: &str, error: &SdkError<E, HttpResponse>) -> StorageError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Clients { is_by_host, may_change, .. } = &*self.clients;
        if !error::wants_host(error) {
            return error::explain(action, key, error);
        }
        if *may_change && !is_by_host.swap(true, Ordering::Relaxed) {
            let cause = "the store wants the bucket's name in the host; requests use that form from now on".to_owned();
            return StorageError::Unavailable { action, cause, setting: SETTING };
        }
        let cause = "the store does not accept requests that name the bucket in the path".to_owned();
        StorageError::Missing { action, cause, setting: "REMOTE_ADDRESSING and REMOTE_ENDPOINT" }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn short<'a>(&self, key: &'a str) -> &'a str {
        key.strip_prefix(&self.prefix).unwrap_or(key)
    }

    fn stalled(&self, action: String) -> StorageError {
        StorageError::Stalled { action, limit: self.limits.patience() }
    }
}

fn http_client(
    store: &S3Settings,
    options: &StoreOptions,
) -> Result<aws_sdk_s3::config::SharedHttpClient, StorageError> {
    let encrypted = store.endpoint.as_deref().is_none_or(|endpoint| endpoint.starts_with("https"));
    if !encrypted {
        return Ok(aws_smithy_http_client::Builder::new().pool_idle_timeout(POOL_IDLE).build_http());
    }
    let unusable = |cause: String| StorageError::Missing {
        action: "preparing TLS".to_owned(),
        cause,
        setting: "REMOTE_CA_FILE and the system's certificates",
    };
    // the SDK panics without a single authority
    let native = rustls_native_certs::load_native_certs();
    let mut store = TrustStore::empty().with_native_roots(!native.certs.is_empty());
    match &options.ca_file {
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| unusable(format!("reading {}: {error}", path.display())))?;
            if !pem.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE) {
                return Err(unusable(format!("{} has no certificate in it", path.display())));
            }
            store = store.with_pem_certificate(pem);
        }
        None if native.certs.is_empty() => {
            return Err(unusable("this system has no certificate authorities; install ca-certificates".to_owned()));
        }
        None => {}
    }
    let context = TlsContext::builder().with_trust_store(store).build();
    let context = context.map_err(|error| unusable(error.to_string()))?;
    let builder = aws_smithy_http_client::Builder::new().pool_idle_timeout(POOL_IDLE);
    Ok(builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}

fn time(time: Option<&SdkTime>) -> Option<DateTime<Utc>> {
    let time = time?;
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

fn size(length: Option<i64>) -> u64 {
    length.unwrap_or_default().unsigned_abs()
}

#[async_trait]
impl Storage for S3 {
    fn location(&self) -> Location {
        Location { name: self.name.clone(), setting: SETTING }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        self.list_in_pages(prefix, None).await
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, StorageError> {
        match self.client().head_object().bucket(&self.bucket).key(self.full(key)).send().await {
            Ok(head) => Ok(Some(Object {
                key: key.to_owned(),
                size: size(head.content_length()),
                modified: time(head.last_modified()),
            })),
            Err(error) => match self.explain(self.action("looking at", key), key, &error) {
                StorageError::NotFound { .. } => Ok(None),
                other => Err(other),
            },
        }
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Download, StorageError> {
        let request = self.client().get_object().bucket(&self.bucket).key(self.full(key));
        let answer = if range == WHOLE {
            request.send().await
        } else {
            // the last byte is named, not the one behind it
            let last = if range.end == WHOLE.end { String::new() } else { (range.end - 1).to_string() };
            request.range(format!("bytes={}-{last}", range.start)).send().await
        };
        let answer = answer.map_err(|error| self.explain(self.action("reading", key), key, &error))?;
        // of a part, the store says `bytes 0-9/100`
        let total = answer.content_range().and_then(|range| range.rsplit('/').next()?.parse().ok());
        let is_part = total.is_some() || range == WHOLE;
        if !is_part {
            let cause = "the store returned the whole object when a part was requested".to_owned();
            return Err(StorageError::Failed { action: self.action("reading", key), cause });
        }
        let size = total.unwrap_or_else(|| size(answer.content_length()));
        Ok(Download { size, body: Box::new(answer.body.into_async_read()) })
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        upload::put_object(self, key, bytes, None, &Sent::default()).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let deleted = self.client().delete_object().bucket(&self.bucket).key(self.full(key)).send().await;
        match deleted.map_err(|error| self.explain(self.action("deleting", key), key, &error)) {
            Ok(_) | Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn upload(&self, key: &str, expected_bytes: u64) -> Result<Box<dyn Upload>, StorageError> {
        Ok(Box::new(PartUpload::new(self.clone(), key, expected_bytes).await))
    }

    async fn unfinished(&self, key: &str) -> Result<Vec<Unfinished>, StorageError> {
        let full = self.full(key);
        let mut found = Vec::new();
        let mut marker: (Option<String>, Option<String>) = (None, None);
        loop {
            let request = self.client().list_multipart_uploads().bucket(&self.bucket).prefix(&full);
            let request = request.set_key_marker(marker.0.take()).set_upload_id_marker(marker.1.take());
            let page = request.send().await;
            let page = match page.map_err(|error| self.explain(self.action("listing uploads of", key), key, &error)) {
                Ok(page) => page,
                Err(StorageError::Failed { cause, .. }) if upload::says_unsupported(&cause) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let ours = page.uploads().iter().filter(|upload| upload.key() == Some(&full));
            found.extend(
                ours.filter_map(|upload| {
                    Some(Unfinished { key: key.to_owned(), handle: upload.upload_id()?.to_owned() })
                }),
            );
            marker = (page.next_key_marker, page.next_upload_id_marker);
            if page.is_truncated != Some(true) || marker.0.is_none() {
                return Ok(found);
            }
        }
    }

    async fn unfinished_with_owner(&self) -> Result<Vec<(Trace, Unfinished)>, StorageError> {
        Ok(Vec::new())
    }

    async fn discard(&self, unfinished: &Unfinished) -> Result<(), StorageError> {
        let request = self.client().abort_multipart_upload().bucket(&self.bucket).key(self.full(&unfinished.key));
        match request.upload_id(&unfinished.handle).send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                match self.explain(self.action("aborting the upload of", &unfinished.key), &unfinished.key, &error) {
                    StorageError::NotFound { .. } => Ok(()),
                    other => Err(other),
                }
            }
        }
    }

    async fn space(&self) -> Option<Space> {
        None
    }

    async fn examine(&self, prefix: &str) -> Result<Vec<Advice>, StorageError> {
        self.examine_bucket(prefix).await
    }
}

impl WriteOptions {
    /// Objects have an MD5 for an ETag, as far as we decide that.
    fn kms_is_off(&self) -> bool {
        !matches!(self.sse, Some(ServerSideEncryption::AwsKms))
    }

    fn wants_md5(&self) -> bool {
        self.wants_md5.load(Ordering::Relaxed)
    }

    /// From now on the MD5 goes with everything that is sent.
    fn give_md5(&self) {
        self.wants_md5.store(true, Ordering::Relaxed);
    }

    fn is_conditional(&self) -> bool {
        self.conditional.load(Ordering::Relaxed)
    }
}
