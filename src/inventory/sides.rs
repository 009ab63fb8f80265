//! The folder and the store that the settings name, opened.

use crate::config::{Config, Store, Target};
use crate::error::Error;
use crate::repository::{Repository, Side};
use crate::storage::cloud::Cloud;
use crate::storage::local::Local;
use crate::storage::retry::Retrying;
use crate::storage::s3::S3;
use crate::storage::{Owner, Storage, StorageError};
use std::sync::Arc;

/// The targets that `target` names, opened for a run; one that cannot be opened is an error.
pub async fn open(config: &Config, target: Target, run_id: &str) -> Result<Vec<Repository>, Error> {
    let (sides, mut unusable) = open_some(config, target, run_id).await;
    if unusable.is_empty() { Ok(sides) } else { Err(unusable.remove(0).into()) }
}

/// As [`open`], with what cannot be opened beside what can.
pub async fn open_some(config: &Config, target: Target, run_id: &str) -> (Vec<Repository>, Vec<StorageError>) {
    let source = &config.source;
    let owner = Owner::new(&source.name, run_id);
    let open = |storage: Arc<dyn Storage>, side, layout| {
        Repository::new(storage, side, layout, owner.clone(), config.stall_timeout)
    };
    let (mut sides, mut unusable) = (Vec::new(), Vec::new());
    if target.has_local() {
        let storage = Arc::new(Local::new(&config.local.folder, owner.clone()));
        sides.push(open(storage, Side::Local, config.local.path_format));
    }
    if target.has_remote() {
        match open_store(config).await {
            Ok(store) => {
                let storage = Arc::new(Retrying::new(store, source.retry));
                sides.push(open(storage, Side::Remote, config.remote.path_format));
            }
            Err(error) => unusable.push(error),
        }
    }
    (sides, unusable)
}

async fn open_store(config: &Config) -> Result<Arc<dyn Storage>, StorageError> {
    let (remote, retry, stall_limit) = (&config.remote, config.source.retry, config.stall_timeout);
    let uploads = config.selection.jobs;
    Ok(match &remote.store {
        Store::S3(store) => Arc::new(S3::new(store, remote, retry, stall_limit, uploads).await?),
        Store::Gcs(store) => Arc::new(Cloud::gcs(store, remote, retry, stall_limit, uploads)?),
        Store::Azure(store) => Arc::new(Cloud::azure(store, remote, retry, stall_limit, uploads)?),
    })
}

/// A fresh id of a run, in the order of time.
pub fn new_run_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
