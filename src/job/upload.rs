//! Sending to the store what the folder has and the store lacks.

use super::{CLEANUP, HASTY_CLEANUP};
use crate::config::Config;
use crate::error::Error;
use crate::human;
use crate::postgres::connection::{self, Connection};
use crate::postgres::{self, lock};
use crate::progress::Counters;
use crate::repository::{Backup, Catalog, Repository};
use crate::shutdown::Shutdown;
use chrono::{DateTime, Utc};
use std::time::Instant;
use tracing::{info, warn};

/// What becomes of a backup that is to be in the store.
#[derive(Debug)]
pub enum Lot {
    /// It is sent.
    Missing,
    /// The same bytes are there already.
    Present,
    /// It cannot be sent.
    Refused(Error),
}

/// Compares a backup of the folder with what the store has.
pub fn lot(backup: &Backup, place: &str, remote: &Catalog, store: &str) -> Lot {
    let manifest = &backup.manifest;
    let same_id = |other: &&Backup| other.manifest.id == manifest.id && other.manifest.source == manifest.source;
    let refused = |reason: String| Lot::Refused(Error::NotSent { id: manifest.id.clone(), reason });
    match remote.backups.iter().find(same_id) {
        Some(there) if there.manifest.sha256 != manifest.sha256 => refused(format!(
            "{store}/{} has the same id and other bytes (SHA-256 {}, here {}); nothing was overwritten",
            there.key, there.manifest.sha256, manifest.sha256
        )),
        Some(there) if there.intact => Lot::Present,
        Some(there) => refused(format!("what {store}/{} has of it is damaged; remove that first", there.key)),
        None if backup.is_good() => Lot::Missing,
        None => Lot::Refused(Error::NotSent {
            id: manifest.id.clone(),
            reason: format!("{place} is damaged, or failed its verification; `backup verify` says what is wrong"),
        }),
    }
}

/// A session on the source's server, by which runs there see that this upload lives, and the sweep of what dead ones
/// left in the store. A server that cannot be reached keeps no backup from being sent.
pub async fn announce(
    config: &Config,
    run_id: &str,
    store: &Repository,
    now: DateTime<Utc>,
) -> Result<Option<Connection>, Error> {
    let mut source = config.source.clone();
    source.retry.attempts = 1;
    let session = match connection::connect(&source, &postgres::application(run_id)).await {
        Ok(session) => Some(session),
        Err(error) => {
            warn!("{error}; this upload goes on without, and a run that begins before its end may take it for dead");
            None
        }
    };
    let leftovers = store.leftovers().await?;
    let living = match &session {
        Some(session) => lock::living_runs(session).await,
        None => None,
    };
    store.sweep(&leftovers, living.as_deref(), now).await;
    Ok(session)
}

/// Sends one backup; the answer is its place in the store. Whatever ends this early leaves nothing there.
pub async fn send(
    config: &Config,
    shutdown: &Shutdown,
    counters: &Counters,
    (from, backup): (&Repository, &Backup),
    store: &Repository,
) -> Result<String, Error> {
    let begun = Instant::now();
    let manifest = &backup.manifest;
    info!("uploading {} ({})", from.location().of(&backup.key), human::size(manifest.stored_bytes));
    let mut draft = shutdown.guard(store.expect(backup)).await??;
    let place = store.location().of(draft.key());
    let received = shutdown.guard(draft.receive(from, backup, config.stall_timeout, counters)).await;
    let outcome = match received {
        Ok(Ok(())) => {
            let seconds = begun.elapsed().as_secs_f64();
            info!("uploaded {place} ({}) in {seconds:.1} s", human::size(manifest.stored_bytes));
            return Ok(place);
        }
        Ok(Err(error)) => error.into(),
        Err(stop) => stop.into(),
    };
    if shutdown.finish(CLEANUP, HASTY_CLEANUP, draft.abandon()).await.is_none() {
        warn!("{place} could not be cleaned up in time; the next run or upload does it");
    }
    Err(outcome)
}
