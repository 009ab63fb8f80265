//! Google Cloud Storage.

use super::cloud::{Cloud, Dialect, Entrance};
use super::store::{Backend, FOLDER, Store, StoreOptions, read_endpoint};
use super::{Storage, StorageError};
use crate::settings::{RawSettings, Retry, Secret, Setting, ValueKind};
use async_trait::async_trait;
use object_store::gcp::GoogleCloudStorageBuilder;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// Google Cloud Storage.
pub const BACKEND: Backend = Backend {
    name: "gcs",
    title: "Google Cloud Storage",
    settings: SETTINGS,
    needed: &["GCS_BUCKET_NAME"],
    chosen_by: Some("GCS_BUCKET_NAME"),
    folder: "GCS_BACKUP_PREFIX",
    read: |raw, is_meant| Some(Arc::new(read(raw, is_meant)?)),
};

const SETTINGS: &[Setting] = &[
Setting::new("GCS_BUCKET_NAME", ValueKind::Text, "Bucket; it must exist. Setting it makes gcs the default of REMOTE_KIND."),
Setting::new("GCS_CREDENTIALS_PATH", ValueKind::Text, "Service-account key file; if the default file does not exist, the identity of the machine or pod is used (workload identity).").default("/gcs-credentials/credentials.json"),
Setting::new("GCS_BACKUP_PREFIX", FOLDER, "Folder inside the bucket, in place of REMOTE_PREFIX.").default("backups/postgres"),
Setting::new("GCS_UPLOAD_RETRY_MAX", ValueKind::Number(1, 100), "Attempts to send each part of an upload; RETRY_COUNT is for everything else.").default("3"),
Setting::new("GCS_ENDPOINT", ValueKind::Text, "Endpoint to use instead of Google's, for example on a private network."),
];
const DIALECT: Dialect = Dialect {
    place: "GCS_ENDPOINT",
    bucket: "GCS_BUCKET_NAME",
    credentials: "check GCS_CREDENTIALS_PATH and the rights of that account in GCS_BUCKET_NAME",
    identity: "GCS_CREDENTIALS_PATH, or the Google identity of this machine or pod,",
    lists_the_prefix: true,
    answers_md5: true,
};

/// A bucket of Google's.
#[derive(Debug)]
pub struct GcsSettings {
    pub bucket: String,
    /// The service account's key, as its file has it; none means the machine's or the pod's own identity.
    pub key: Option<Secret>,
    /// URL of the store; none is Google.
    pub endpoint: Option<String>,
    /// Attempts to send a part.
    pub attempts: u32,
}

/// Reads the settings; problems are recorded in `raw`.
pub(crate) fn read(raw: &mut RawSettings, is_meant: bool) -> Option<GcsSettings> {
    let endpoint = read_endpoint(raw, "GCS_ENDPOINT", "http://host:port or https://host");
    let attempts = raw.number("GCS_UPLOAD_RETRY_MAX");
    let path = raw.text("GCS_CREDENTIALS_PATH");
    let bucket = raw.text("GCS_BUCKET_NAME");
    if !is_meant {
        return None;
    }
    if bucket.is_none() {
        raw.problems.push("GCS_BUCKET_NAME: REMOTE_KIND=gcs needs it".to_owned());
    }
    let is_there = |path: &String| !matches!(Path::new(path).try_exists(), Ok(false));
    let path = path.filter(|path| raw.is_chosen("GCS_CREDENTIALS_PATH") || is_there(path));
    let key = path.and_then(|path| match read_key_file(&path) {
        Ok(text) => Some(Secret::from(text)),
        Err(problem) => {
            raw.problems.push(format!("GCS_CREDENTIALS_PATH: {problem}"));
            None
        }
    });
    if raw.is_set("REMOTE_PREFIX") {
        raw.problems.push("REMOTE_PREFIX: for REMOTE_KIND=gcs, set GCS_BACKUP_PREFIX instead".to_owned());
    }
    Some(GcsSettings { bucket: bucket?, key, endpoint, attempts: attempts? })
}

/// What a service account's key file must hold, as far as we look into it.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
}

fn read_key_file(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("reading {path}: {error}"))?;
    let file: KeyFile =
        serde_json::from_str(&text).map_err(|_| format!("{path} is not the JSON key file of a service account"))?;
    match file.kind.as_str() {
        "service_account" => Ok(text),
        other => Err(format!("{path} is of type `{other}`, but a key of type `service_account` is needed")),
    }
}

#[async_trait]
impl Store for GcsSettings {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn Storage>, StorageError> {
        let base = self.endpoint.as_deref().unwrap_or("https://storage.googleapis.com");
        let part_retry = Retry { attempts: self.attempts, ..options.retry };
        let entrance = Entrance::new(base, options, part_retry, &DIALECT)?;
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(&self.bucket)
            .with_base_url(base)
            .with_retry(entrance.retry())
            .with_http_connector(entrance.connector.clone());
        if let Some(key) = &self.key {
            builder = builder.with_service_account_key(key.expose());
        }
        let client = builder.build().map_err(|error| DIALECT.unusable(&error))?;
        let place = self.endpoint.as_deref().unwrap_or("gs:/");
        let asks_machine = self.key.is_none();
        Ok(Arc::new(Cloud::new(Arc::new(client), place, &self.bucket, entrance, asks_machine)))
    }
}
