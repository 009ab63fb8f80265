//! Where an S3-compatible store is, and how it is entered.

use crate::settings::{RawSettings, Secret, Setting, ValueKind, is_local_host, words_of};
use crate::storage::store::read_endpoint;
use serde::Deserialize;
use url::Url;

pub(super) const SETTINGS: &[Setting] = &[
Setting::new("REMOTE_ENDPOINT", ValueKind::Text, "URL of the S3-compatible store; `aws` means Amazon S3 itself.").default("http://localhost:9000"),
Setting::new("REMOTE_BUCKET", ValueKind::Text, "Bucket; it must exist.").default("test-backup"),
Setting::new("REMOTE_ACCESS_KEY", ValueKind::Text, "Access key. The default applies only to a localhost endpoint; elsewhere, unset means the standard AWS credential chain.").default_where("minioadmin", is_local).secret(),
Setting::new("REMOTE_SECRET_KEY", ValueKind::Text, "Secret key; the default works like that of REMOTE_ACCESS_KEY.").default_where("minioadmin", is_local).secret(),
Setting::new("REMOTE_REGION", ValueKind::Text, "Region.").default("us-east-1"),
Setting::new("REMOTE_SSE", ValueKind::Words(words_of::<Sse>), "Server-side encryption."),
Setting::new("REMOTE_SSE_KMS_KEY", ValueKind::Text, "KMS key for REMOTE_SSE=aws:kms.").secret(),
Setting::new("REMOTE_STORAGE_CLASS", ValueKind::Text, "Storage class of the archive, for example STANDARD_IA."),
Setting::new("REMOTE_ADDRESSING", ValueKind::Words(words_of::<Addressing>), "How requests name the bucket: in the path (path), in the host name (virtual), or whichever the store accepts (auto).").default("auto"),
Setting::new("REMOTE_CHECKSUM", ValueKind::Words(words_of::<Checksum>), "When the S3 client adds its own checksums.").default("when_required"),
];
/// Amazon itself, as `REMOTE_ENDPOINT`.
const AMAZON: &str = "aws";

/// Storage classes whose objects cannot be read at once.
const COLD: &[&str] = &["GLACIER", "DEEP_ARCHIVE"];

/// True where the default keys hold.
fn is_local(raw: &RawSettings) -> bool {
    let url = raw.text("REMOTE_ENDPOINT").and_then(|text| Url::parse(&text).ok());
    url.is_some_and(|url| is_local_host(url.host_str().unwrap_or_default()))
}

/// An S3-compatible store.
#[derive(Debug)]
pub struct S3Settings {
    /// URL of the store; none is Amazon.
    pub endpoint: Option<String>,
    pub bucket: String,
    /// Access key and secret key; none means the standard credential chain.
    pub keys: Option<(Secret, Secret)>,
    pub region: String,
    /// Server-side encryption.
    pub sse: Option<Sse>,
    /// KMS key, where another than the default one is meant.
    pub kms_key: Option<Secret>,
    /// Storage class of archives.
    pub storage_class: Option<String>,
    /// When the client adds its own checksums.
    pub checksum: Checksum,
    /// How requests name the bucket.
    pub addressing: Addressing,
}

/// Server-side encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Sse {
    /// Keys of the store.
    #[serde(rename = "AES256")]
    Aes256,
    /// Keys of a key management service.
    #[serde(rename = "aws:kms")]
    Kms,
}

/// When the client adds its own checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// Only where the operation requires one.
    WhenRequired,
    /// Wherever the operation knows one.
    WhenSupported,
}

/// How requests name the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// In the path of a store of one's own and in the host of Amazon, and the other way where the store asks for that.
    Auto,
    Path,
    /// In the host.
    Virtual,
}

/// Reads the settings; problems are recorded in `raw`.
pub(crate) fn read(raw: &mut RawSettings) -> Option<S3Settings> {
    let endpoint = match raw.text("REMOTE_ENDPOINT").as_deref() {
        Some(AMAZON) => None,
        _ => read_endpoint(raw, "REMOTE_ENDPOINT", "http://host:port, https://host, or `aws`"),
    };
    if raw.is_set("REMOTE_ACCESS_KEY") != raw.is_set("REMOTE_SECRET_KEY") {
        raw.problems.push("REMOTE_ACCESS_KEY and REMOTE_SECRET_KEY go together; set both or none".to_owned());
    }
    let (sse, kms_key) = (raw.word("REMOTE_SSE"), raw.secret("REMOTE_SSE_KMS_KEY"));
    if kms_key.is_some() && sse != Some(Sse::Kms) {
        raw.problems.push("REMOTE_SSE_KMS_KEY needs REMOTE_SSE=aws:kms".to_owned());
    }
    let storage_class = raw.text("REMOTE_STORAGE_CLASS");
    if let Some(class) = storage_class.as_deref().filter(|class| COLD.contains(class)) {
        raw.warnings.push(format!(
            "REMOTE_STORAGE_CLASS={class}: the store must retrieve such a backup, which takes hours, before it can be verified or restored"
        ));
    }
    Some(S3Settings {
        endpoint,
        bucket: raw.text("REMOTE_BUCKET")?,
        keys: raw.secret("REMOTE_ACCESS_KEY").zip(raw.secret("REMOTE_SECRET_KEY")),
        region: raw.text("REMOTE_REGION")?,
        sse,
        kms_key,
        storage_class,
        checksum: raw.word("REMOTE_CHECKSUM")?,
        addressing: raw.word("REMOTE_ADDRESSING")?,
    })
}
