//! The remote side: which kind of store, where it is, how it is entered, and how long it keeps backups.

use super::received::Received;
use super::{PathFormat, Retention, Secret, settings, source};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use url::Url;

/// The remote side.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Which store, and how it is entered.
    pub store: Store,
    /// Folder inside the bucket, without slashes at the ends.
    pub prefix: String,
    /// Layout under the prefix.
    pub path_format: PathFormat,
    /// More certificate authorities for the endpoint.
    pub ca_file: Option<PathBuf>,
    /// Most parts of one upload.
    pub max_parts: u32,
}

impl Remote {
    /// The prefix as keys begin with it: empty, or ending with a slash.
    pub fn folder(&self) -> String {
        if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) }
    }
}

/// Kinds of stores.
#[derive(Debug, Clone)]
pub enum Store {
    /// S3, or what speaks like it.
    S3(S3),
    /// Google Cloud Storage.
    Gcs(Gcs),
    /// Azure Blob Storage.
    Azure(Azure),
}

/// An S3-compatible store.
#[derive(Debug, Clone)]
pub struct S3 {
    /// URL of the store; none is Amazon.
    pub endpoint: Option<String>,
    /// Bucket.
    pub bucket: String,
    /// Access key and secret key; none means the standard credential chain.
    pub keys: Option<(Secret, Secret)>,
    /// Region.
    pub region: String,
    /// Server-side encryption.
    pub sse: Option<Sse>,
    /// Storage class of archives.
    pub storage_class: Option<String>,
    /// Whether the client adds checksums that no operation requires.
    pub checksum: Checksum,
}

/// Server-side encryption of S3.
#[derive(Debug, Clone)]
pub enum Sse {
    /// Keys of the store.
    Aes256,
    /// Keys of a key management service, the default one or a named one.
    Kms(Option<Secret>),
}

/// When the S3 client adds its own checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// Only where the operation requires one.
    WhenRequired,
    /// Wherever the operation knows one.
    WhenSupported,
}

/// Google Cloud Storage.
#[derive(Debug, Clone)]
pub struct Gcs {
    /// Bucket.
    pub bucket: String,
    /// The service account's key, as its file has it; none means the machine's or the pod's own identity.
    pub key: Option<Secret>,
    /// URL of the store; none is Google.
    pub endpoint: Option<String>,
    /// Attempts to send a part.
    pub attempts: u32,
}

/// Azure Blob Storage.
#[derive(Debug, Clone)]
pub struct Azure {
    /// Storage account.
    pub account: String,
    /// Container.
    pub container: String,
    /// How it is entered.
    pub access: AzureAccess,
    /// URL of the account; none is Azure's own.
    pub endpoint: Option<String>,
}

/// How Azure is entered.
#[derive(Debug, Clone)]
pub enum AzureAccess {
    /// The account's key.
    Key(Secret),
    /// A shared access signature.
    Sas(Secret),
    /// The workload identity of a pod, as AKS describes it in the environment.
    Workload {
        /// Which identity.
        client: String,
        /// Which directory it is in.
        tenant: String,
        /// File of the token that stands for it.
        token_file: String,
        /// Who exchanges that token; none is Azure's own.
        authority: Option<String>,
    },
    /// The managed identity of the machine.
    Managed {
        /// Which one, where it has several.
        client: Option<String>,
        /// Who gives it out; none is the address that virtual machines have.
        endpoint: Option<String>,
    },
}

/// The kind that is meant where `REMOTE_KIND` does not say.
pub(super) fn default_kind(received: &Received) -> &'static str {
    if received.is_set("GCS_BUCKET_NAME") { "gcs" } else { "s3" }
}

/// Set, and to something else than its default, which an example file sets too.
fn is_chosen(received: &Received, name: &str) -> bool {
    let default = settings::find(name).map_or("", |setting| setting.default.literal());
    received.is_set(name) && received.current(name).is_some_and(|value| value != default)
}

/// Settings that belong to one kind alone.
const KINDS: &[(&str, &[&str])] = &[
    (
        "s3",
        &[
            "REMOTE_ENDPOINT",
            "REMOTE_BUCKET",
            "REMOTE_ACCESS_KEY",
            "REMOTE_SECRET_KEY",
            "REMOTE_REGION",
            "REMOTE_SSE",
            "REMOTE_SSE_KMS_KEY",
            "REMOTE_STORAGE_CLASS",
            "REMOTE_CHECKSUM",
        ],
    ),
    ("gcs", &["GCS_BUCKET_NAME", "GCS_CREDENTIALS_PATH", "GCS_BACKUP_PREFIX", "GCS_UPLOAD_RETRY_MAX", "GCS_ENDPOINT"]),
    (
        "azure",
        &["AZURE_STORAGE_ACCOUNT", "AZURE_CONTAINER", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_ENDPOINT"],
    ),
];

pub(super) fn read(received: &mut Received, several: bool) -> Option<Remote> {
    let kind = received.text("REMOTE_KIND").unwrap_or_else(|| default_kind(received).to_owned());
    let kind = kind.to_ascii_lowercase();
    for (owner, settings) in KINDS.iter().filter(|(owner, _)| *owner != kind) {
        let set: Vec<&&str> = settings.iter().filter(|name| is_chosen(received, name)).collect();
        for name in set {
            received.warnings.push(format!("{name} is for REMOTE_KIND={owner} and means nothing for {kind}"));
        }
    }
    refuse_odd_characters(received);
    // every kind is read, so that its slips are found before it is needed
    let (s3, gcs, azure) =
        (read_s3(received), read_gcs(received, kind == "gcs"), read_azure(received, kind == "azure"));
    let prefixes = [read_prefix(received, "REMOTE_PREFIX"), read_prefix(received, "GCS_BACKUP_PREFIX")];
    let [remote_prefix, gcs_prefix] = prefixes;
    let (store, prefix) = match kind.as_str() {
        "s3" => (s3.map(Store::S3), remote_prefix),
        "gcs" => {
            if received.is_set("REMOTE_PREFIX") {
                received.problems.push("REMOTE_PREFIX: the folder in Google's bucket is GCS_BACKUP_PREFIX".to_owned());
            }
            (gcs.map(Store::Gcs), gcs_prefix)
        }
        "azure" => (azure.map(Store::Azure), remote_prefix),
        _ => {
            received.refuse("REMOTE_KIND", "s3, gcs or azure");
            (None, remote_prefix)
        }
    };
    let ca_file = received.text("REMOTE_CA_FILE").map(PathBuf::from);
    if let Some(path) = &ca_file
        && let Err(error) = std::fs::File::open(path)
    {
        received.problems.push(format!("REMOTE_CA_FILE: opening {}: {error}", path.display()));
    }
    let path_format = if received.is_set("REMOTE_PATH_FORMAT") {
        received.get("REMOTE_PATH_FORMAT", PathFormat::ALLOWED)
    } else {
        let _ = received.text("REMOTE_PATH_FORMAT");
        Some(if several { PathFormat::Database } else { PathFormat::Monthly })
    };
    let max_parts = received.number("REMOTE_MAX_PARTS", 100, 10_000);
    Some(Remote { store: store?, prefix, path_format: path_format?, ca_file, max_parts: max_parts? })
}

fn read_prefix(received: &mut Received, name: &'static str) -> String {
    let prefix = received.text(name).unwrap_or_default().trim_matches('/').to_owned();
    if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
        received.refuse(name, "folder names between single slashes, without `.` and `..`");
    }
    prefix
}

/// The URL of a store, and its host. What may hold a secret is not shown.
fn read_endpoint(received: &mut Received, name: &'static str, allowed: &str) -> Option<(String, String)> {
    let text = received.text(name).filter(|text| !(name == "REMOTE_ENDPOINT" && text == "aws"))?;
    let is_clean = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && text.contains("://")
            && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\')
    };
    match Url::parse(&text) {
        Ok(url) if is_clean(&url) => {
            let host = url.host_str().unwrap_or_default().to_owned();
            Some((url.as_str().trim_end_matches('/').to_owned(), host))
        }
        _ if text.contains(['@', '?', ';']) => {
            let why = "has a user, a password or a query in it and is not shown here";
            received.problems.push(format!("{name}: what it is set to {why}; allowed: {allowed}"));
            None
        }
        _ => {
            received.refuse(name, allowed);
            None
        }
    }
}

/// Refuses what no name or key has, and what a carelessly made secret often has: a line break at its end.
fn refuse_odd_characters(received: &mut Received) {
    for name in KINDS.iter().flat_map(|(_, settings)| settings.iter()) {
        let is_odd = |text: &String| text.chars().any(char::is_control) || text.trim() != text;
        if received.is_set(name) && received.current(name).as_ref().is_some_and(is_odd) {
            received
                .problems
                .push(format!("{name}: it has a space at an end, a line break, or another control character"));
        }
    }
}

fn read_s3(received: &mut Received) -> Option<S3> {
    let endpoint = read_endpoint(received, "REMOTE_ENDPOINT", "http://host:port, https://host, or `aws`");
    let default_holds = endpoint.as_ref().is_some_and(|(_, host)| source::is_local(host));
    let set = (received.is_set("REMOTE_ACCESS_KEY"), received.is_set("REMOTE_SECRET_KEY"));
    if set.0 != set.1 {
        received.problems.push("REMOTE_ACCESS_KEY and REMOTE_SECRET_KEY go together; set both or none".to_owned());
    }
    let keys = received.text("REMOTE_ACCESS_KEY").zip(received.text("REMOTE_SECRET_KEY"));
    let keys = keys.filter(|_| default_holds || set == (true, true));
    let kms_key = received.text("REMOTE_SSE_KMS_KEY");
    if kms_key.is_some() && received.text("REMOTE_SSE").as_deref() != Some("aws:kms") {
        received.problems.push("REMOTE_SSE_KMS_KEY needs REMOTE_SSE=aws:kms".to_owned());
    }
    let sse = match received.text("REMOTE_SSE").as_deref() {
        None => None,
        Some("AES256") => Some(Sse::Aes256),
        Some("aws:kms") => Some(Sse::Kms(kms_key.map(Secret::from))),
        Some(_) => {
            received.refuse("REMOTE_SSE", "AES256 or aws:kms");
            None
        }
    };
    let checksum = received.get("REMOTE_CHECKSUM", "when_required or when_supported");
    let storage_class = received.text("REMOTE_STORAGE_CLASS");
    Some(S3 {
        endpoint: endpoint.map(|(url, _)| url),
        bucket: received.text("REMOTE_BUCKET")?,
        keys: keys.map(|(access, secret)| (access.into(), secret.into())),
        region: received.text("REMOTE_REGION")?,
        sse,
        storage_class,
        checksum: checksum?,
    })
}

/// What a service account's key file must hold, as far as we look into it.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
}

fn read_gcs(received: &mut Received, wanted: bool) -> Option<Gcs> {
    let endpoint = read_endpoint(received, "GCS_ENDPOINT", "http://host:port or https://host");
    let attempts = received.number("GCS_UPLOAD_RETRY_MAX", 1, 100);
    let path = received.text("GCS_CREDENTIALS_PATH");
    let bucket = received.text("GCS_BUCKET_NAME");
    if !wanted {
        return None;
    }
    if bucket.is_none() {
        received.problems.push("GCS_BUCKET_NAME: REMOTE_KIND=gcs needs it".to_owned());
    }
    let path = path.filter(|path| {
        is_chosen(received, "GCS_CREDENTIALS_PATH") || !matches!(Path::new(path).try_exists(), Ok(false))
    });
    let key = path.and_then(|path| match read_key_file(&path) {
        Ok(text) => Some(Secret::from(text)),
        Err(problem) => {
            received.problems.push(format!("GCS_CREDENTIALS_PATH: {problem}"));
            None
        }
    });
    Some(Gcs { bucket: bucket?, key, endpoint: endpoint.map(|(url, _)| url), attempts: attempts? })
}

fn read_key_file(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("reading {path}: {error}"))?;
    let file: KeyFile =
        serde_json::from_str(&text).map_err(|_| format!("{path} is not the JSON key file of a service account"))?;
    match file.kind.as_str() {
        "service_account" => Ok(text),
        other => Err(format!("{path} is of type `{other}`, and a key of type `service_account` is needed")),
    }
}

fn read_azure(received: &mut Received, wanted: bool) -> Option<Azure> {
    let endpoint = read_endpoint(received, "AZURE_ENDPOINT", "http://host:port/account or https://host");
    let account = received.text("AZURE_STORAGE_ACCOUNT");
    let container = received.text("AZURE_CONTAINER");
    let key = received.text("AZURE_STORAGE_KEY");
    let token = received.text("AZURE_STORAGE_SAS_TOKEN");
    if !wanted {
        return None;
    }
    for (name, value) in [("AZURE_STORAGE_ACCOUNT", &account), ("AZURE_CONTAINER", &container)] {
        if value.is_none() {
            received.problems.push(format!("{name}: REMOTE_KIND=azure needs it"));
        }
    }
    let is_account = |name: &String| {
        (3..=24).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if account.as_ref().is_some_and(|name| !is_account(name)) {
        // a whole connection string has the key in it
        let allowed = "the account's name alone, 3 to 24 lowercase letters and digits";
        received.problems.push(format!("AZURE_STORAGE_ACCOUNT: allowed is {allowed}"));
    }
    if key.is_some() && token.is_some() {
        received.problems.push("AZURE_STORAGE_KEY and AZURE_STORAGE_SAS_TOKEN: set one of them".to_owned());
    }
    let pod = ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"];
    let [client, tenant, token_file, authority] = pod.map(|name| received.foreign(name));
    let access = match (key, token, client, tenant, token_file) {
        (Some(key), ..) => AzureAccess::Key(key.into()),
        (None, Some(token), ..) => AzureAccess::Sas(token.into()),
        (None, None, Some(client), Some(tenant), Some(token_file)) => {
            let authority = authority.map(|url| url.trim_end_matches('/').to_owned());
            if authority.as_ref().is_some_and(|url| Url::parse(url).is_err()) {
                received.problems.push("AZURE_AUTHORITY_HOST: an http or https URL is allowed".to_owned());
            }
            AzureAccess::Workload { client, tenant, token_file, authority }
        }
        (None, None, client, ..) => AzureAccess::Managed { client, endpoint: received.foreign("IDENTITY_ENDPOINT") },
    };
    Some(Azure { account: account?, container: container?, access, endpoint: endpoint.map(|(url, _)| url) })
}

/// Names of the remote side's rules; those of GCS are other names for the same.
const ALIASES: &[(&str, &str)] = &[
    ("GCS_RETENTION_ENABLED", "REMOTE_RETENTION_ENABLED"),
    ("GCS_RETENTION_DAILY", "REMOTE_RETENTION_DAILY"),
    ("GCS_RETENTION_WEEKLY", "REMOTE_RETENTION_WEEKLY"),
];

/// None, inside, when the remote side keeps everything.
pub(super) fn read_retention(received: &mut Received, local: Option<&Retention>) -> Option<Option<Retention>> {
    for (alias, name) in ALIASES {
        if received.is_set(alias) && received.is_set(name) && received.current(alias) != received.current(name) {
            received.problems.push(format!("{alias} and {name} mean the same and differ; set one of them"));
        }
    }
    let named = |received: &Received, name: &'static str| {
        let alias = ALIASES.iter().find(|(alias, of)| *of == name && received.is_set(alias));
        alias.map_or(name, |(alias, _)| *alias)
    };
    let enabled = named(received, "REMOTE_RETENTION_ENABLED");
    let enabled = received.flag(enabled);
    let mut count = |name| {
        let name = named(received, name);
        received.number(name, 0, 1_000_000)
    };
    let days = count("REMOTE_RETENTION_DAYS");
    let daily = count("REMOTE_RETENTION_DAILY");
    let weekly = count("REMOTE_RETENTION_WEEKLY");
    let monthly = count("REMOTE_RETENTION_MONTHLY");
    // so that none counts as never looked at
    ALIASES.iter().flat_map(|(alias, name)| [alias, name]).for_each(|name| drop(received.text(name)));
    let retention =
        Retention { days: days?, daily: daily?, weekly: weekly?, monthly: monthly?, min_keep: local?.min_keep };
    Some(enabled.then_some(retention))
}
