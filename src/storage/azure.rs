//! Azure Blob Storage.

use super::cloud::{Cloud, Dialect, Entrance};
use super::store::{Backend, Store, StoreOptions, read_endpoint};
use super::{Storage, StorageError};
use crate::settings::{RawSettings, Secret, Setting, ValueKind};
use async_trait::async_trait;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use std::sync::Arc;
use url::Url;

/// Azure Blob Storage.
pub const BACKEND: Backend = Backend {
    name: "azure",
    title: "Azure Blob Storage",
    settings: SETTINGS,
    needed: &["AZURE_STORAGE_ACCOUNT", "AZURE_CONTAINER"],
    chosen_by: None,
    folder: "REMOTE_PREFIX",
    read: |raw, is_meant| Some(Arc::new(read(raw, is_meant)?)),
};

const SETTINGS: &[Setting] = &[
Setting::new("AZURE_STORAGE_ACCOUNT", ValueKind::Text, "Storage account, for REMOTE_KIND=azure."),
Setting::new("AZURE_CONTAINER", ValueKind::Text, "Container; it must exist."),
Setting::new("AZURE_STORAGE_KEY", ValueKind::Text, "Account key.").secret(),
Setting::new("AZURE_STORAGE_SAS_TOKEN", ValueKind::Text, "Shared access signature with read, create, write, delete and list rights, instead of the key. Without either: the workload identity of the pod (AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE, as AKS sets them), else the managed identity.").secret(),
Setting::new("AZURE_ENDPOINT", ValueKind::Text, "Endpoint to use instead of https://ACCOUNT.blob.core.windows.net."),
];
const DIALECT: Dialect = Dialect {
    place: "AZURE_STORAGE_ACCOUNT and AZURE_ENDPOINT",
    bucket: "AZURE_CONTAINER",
    credentials: "check AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN (or the identity of this machine or pod), and its rights in AZURE_CONTAINER",
    identity: "AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or the managed identity of this machine",
    lists_the_prefix: false,
    answers_md5: false,
};

/// A container of an Azure account.
#[derive(Debug)]
pub struct AzureSettings {
    pub account: String,
    pub container: String,
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

/// Reads the settings; problems are recorded in `raw`.
pub(crate) fn read(raw: &mut RawSettings, is_meant: bool) -> Option<AzureSettings> {
    let endpoint = read_endpoint(raw, "AZURE_ENDPOINT", "http://host:port/account or https://host");
    let account = raw.text("AZURE_STORAGE_ACCOUNT");
    let container = raw.text("AZURE_CONTAINER");
    let key = raw.text("AZURE_STORAGE_KEY");
    let token = raw.text("AZURE_STORAGE_SAS_TOKEN");
    if !is_meant {
        return None;
    }
    for (name, value) in [("AZURE_STORAGE_ACCOUNT", &account), ("AZURE_CONTAINER", &container)] {
        if value.is_none() {
            raw.problems.push(format!("{name}: REMOTE_KIND=azure needs it"));
        }
    }
    let is_account = |name: &String| {
        (3..=24).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if account.as_ref().is_some_and(|name| !is_account(name)) {
        // a whole connection string has the key in it
        let allowed = "the account's name alone, 3 to 24 lowercase letters and digits";
        raw.problems.push(format!("AZURE_STORAGE_ACCOUNT: allowed: {allowed}"));
    }
    if key.is_some() && token.is_some() {
        raw.problems.push("AZURE_STORAGE_KEY and AZURE_STORAGE_SAS_TOKEN: set only one of them".to_owned());
    }
    let pod = ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"];
    let [client, tenant, token_file, authority] = pod.map(|name| raw.foreign(name));
    let access = match (key, token, client, tenant, token_file) {
        (Some(key), ..) => AzureAccess::Key(key.into()),
        (None, Some(token), ..) => AzureAccess::Sas(token.into()),
        (None, None, Some(client), Some(tenant), Some(token_file)) => {
            let authority = authority.map(|url| url.trim_end_matches('/').to_owned());
            if authority.as_ref().is_some_and(|url| Url::parse(url).is_err()) {
                raw.problems.push("AZURE_AUTHORITY_HOST: allowed: an http or https URL".to_owned());
            }
            AzureAccess::Workload { client, tenant, token_file, authority }
        }
        (None, None, client, ..) => AzureAccess::Managed { client, endpoint: raw.foreign("IDENTITY_ENDPOINT") },
    };
    Some(AzureSettings { account: account?, container: container?, access, endpoint })
}

#[async_trait]
impl Store for AzureSettings {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn Storage>, StorageError> {
        let base = self.endpoint.clone().unwrap_or_else(|| format!("https://{}.blob.core.windows.net", self.account));
        let entrance = Entrance::new(&base, options, options.retry, &DIALECT)?;
        let builder = MicrosoftAzureBuilder::new()
            .with_account(&self.account)
            .with_container_name(&self.container)
            .with_endpoint(base.clone())
            .with_allow_http(true)
            .with_retry(entrance.retry())
            .with_http_connector(entrance.connector.clone());
        let builder = match &self.access {
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
        let client = builder.build().map_err(|error| DIALECT.unusable(&error))?;
        let asks_machine = matches!(self.access, AzureAccess::Managed { .. });
        Ok(Arc::new(Cloud::new(Arc::new(client), &base, &self.container, entrance, asks_machine)))
    }
}
