//! A kind of store, and what is said to every kind alike.

use super::{Storage, StorageError};
use crate::settings::{RawSettings, Retry, Setting, ValueKind};
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// One kind of store.
pub struct Backend {
    /// Its word in `REMOTE_KIND`.
    pub name: &'static str,
    /// Heading of its settings.
    pub title: &'static str,
    /// Settings that mean nothing for the others.
    pub settings: &'static [Setting],
    /// Those without which nobody knows where the store is, as the chart's notes ask for them.
    pub needed: &'static [&'static str],
    /// The setting whose presence makes this the default of `REMOTE_KIND`.
    pub chosen_by: Option<&'static str>,
    /// The setting of the folder inside the store.
    pub folder: &'static str,
    /// Reads the settings, so that slips are found before they are needed; what is lacking is a problem only where the
    /// store `is_meant`.
    pub read: fn(raw: &mut RawSettings, is_meant: bool) -> Option<Arc<dyn Store>>,
}

/// A store that the settings describe.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Opens it. Connects to nothing yet.
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn Storage>, StorageError>;
}

/// What is said to every kind of store alike.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Folder inside the store: empty, or ending with a slash.
    pub folder: String,
    /// More certificate authorities for the endpoint.
    pub ca_file: Option<PathBuf>,
    /// Most parts of one upload.
    pub max_parts: u32,
    pub retry: Retry,
    /// How long nothing may move.
    pub stall_limit: Duration,
    /// How many uploads are expected at once; more than that wait for memory.
    pub uploads: usize,
}

/// Folders inside a store.
pub const FOLDER: ValueKind = ValueKind::Form("folder names between single slashes, without `.` and `..`", |text| {
    !text.trim_matches('/').split('/').any(|part| matches!(part, "." | "..")) && !text.trim_matches('/').contains("//")
});

/// The URL of a store. What may hold a secret is not shown.
pub(super) fn read_endpoint(raw: &mut RawSettings, name: &'static str, allowed: &str) -> Option<String> {
    let text = raw.text(name)?;
    match Url::parse(&text) {
        Ok(url) if is_clean(&url, &text) => Some(url.as_str().trim_end_matches('/').to_owned()),
        _ if text.contains(['@', '?', ';']) => {
            let why = "contains a user, a password or a query and is not shown here";
            raw.problems.push(format!("{name}: its value {why}; allowed: {allowed}"));
            None
        }
        _ => {
            raw.refuse(name, allowed);
            None
        }
    }
}

fn is_clean(url: &Url, text: &str) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && text.contains("://")
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\')
}
