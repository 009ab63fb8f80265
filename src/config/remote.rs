//! The remote side: which kind of store, where it is, and how it is entered.

use super::PathFormat;
use crate::settings::{RawSettings, Retry};
use crate::storage::backends;
use crate::storage::store::{Store, StoreOptions};
use crate::storage::{Storage, StorageError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The remote side.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Which store, and how it is entered.
    pub store: Arc<dyn Store>,
    /// Folder inside the store, without slashes at the ends.
    pub prefix: String,
    /// Layout under it.
    pub path_format: PathFormat,
    /// More certificate authorities for the endpoint.
    pub ca_file: Option<PathBuf>,
    /// Most parts of one upload.
    pub max_parts: u32,
}

impl Remote {
    /// Opens the store for so many uploads at once. Connects to nothing yet.
    pub async fn open(
        &self,
        retry: Retry,
        stall_limit: Duration,
        uploads: usize,
    ) -> Result<Arc<dyn Storage>, StorageError> {
        let folder = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let (ca_file, max_parts) = (self.ca_file.clone(), self.max_parts);
        self.store.open(&StoreOptions { folder, ca_file, max_parts, retry, stall_limit, uploads }).await
    }
}

/// Reads the settings of every kind, so that slips are found before they are needed.
pub(super) fn read(raw: &mut RawSettings) -> Option<Remote> {
    let kind = raw.text("REMOTE_KIND").map(|kind| kind.to_ascii_lowercase());
    let meant = backends::ALL.iter().find(|backend| kind.as_deref() == Some(backend.name));
    let mut store = None;
    for backend in backends::ALL {
        let is_meant = meant.is_some_and(|meant| meant.name == backend.name);
        if let (Some(meant), false) = (meant, is_meant) {
            let chosen = backend.settings.iter().filter(|setting| raw.is_chosen(setting.name));
            let warn = |name: &str| {
                format!("{name} is for REMOTE_KIND={} and has no effect with {}", backend.name, meant.name)
            };
            let warnings: Vec<String> = chosen.map(|setting| warn(setting.name)).collect();
            raw.warnings.extend(warnings);
        }
        raw.refuse_odd_characters(backend.settings);
        let read = (backend.read)(raw, is_meant);
        store = store.or(read.filter(|_| is_meant));
    }
    Some(Remote {
        store: store?,
        prefix: raw.text(meant?.folder).unwrap_or_default().trim_matches('/').to_owned(),
        path_format: raw.word("REMOTE_PATH_FORMAT")?,
        ca_file: raw.path("REMOTE_CA_FILE"),
        max_parts: raw.number("REMOTE_MAX_PARTS")?,
    })
}
