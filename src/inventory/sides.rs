//! The folder and the store that the settings name, opened.

use crate::config::{Config, Target};
use crate::error::Error;
use crate::repository::{Repository, Side};
use crate::storage::local::Local;
use crate::storage::retry::Retrying;
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
        let uploads = config.selection.jobs;
        match config.remote.open(source.retry, config.stall_timeout, uploads).await {
            Ok(store) => {
                let storage = Arc::new(Retrying::new(store, source.retry));
                sides.push(open(storage, Side::Remote, config.remote.path_format));
            }
            Err(error) => unusable.push(error),
        }
    }
    (sides, unusable)
}

/// A fresh id of a run, in the order of time.
pub fn new_run_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
