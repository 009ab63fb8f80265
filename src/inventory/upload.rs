//! Sending to the store what the folder has and the store lacks.

use super::prune;
use crate::config::Config;
use crate::error::{Error, StoreError};
use crate::progress::Counters;
use crate::record::facts::Subject;
use crate::repository::{Backup, Catalog, ReceiveError, Repository};
use crate::shutdown::{Shutdown, budget};
use crate::storage::StorageError;
use crate::text;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::HashSet;
use std::time::Instant;
use tracing::{error, info, instrument, warn};

/// What becomes of a backup that is to be in the store.
#[derive(Debug)]
enum Lot {
    /// It is sent.
    Missing,
    /// The same bytes are there already.
    Present,
    /// It cannot be sent.
    Refused(Error),
}

/// Compares a backup of the folder with what the store has.
fn lot(backup: &Backup, place: &str, remote: &Catalog, store: &str) -> Lot {
    let manifest = &backup.manifest;
    let same_id = |other: &&Backup| other.manifest.id == manifest.id && other.source() == backup.source();
    let refused = |reason: String| Lot::Refused(Error::Store(StoreError::NotSent { id: manifest.id.clone(), reason }));
    let there: Vec<&Backup> = remote.backups.iter().filter(same_id).collect();
    let ours = || there.iter().filter(|other| other.manifest.sha256 == manifest.sha256);
    if ours().any(|other| other.is_good()) {
        return Lot::Present;
    }
    if let Some(bad) = ours().next() {
        let key = &bad.key;
        return refused(format!("the copy at {store}/{key} is damaged or failed its verification; remove that first"));
    }
    if let Some(other) = there.iter().find(|other| other.manifest.subject == manifest.subject) {
        let (key, theirs) = (&other.key, &other.manifest.sha256);
        return refused(format!(
            "{store}/{key} has the same id but different bytes (SHA-256 {theirs}, here {}); nothing was overwritten",
            manifest.sha256
        ));
    }
    match backup.is_good() {
        true => Lot::Missing,
        false => refused(format!("{place} is damaged, or failed its verification; `backup verify` says what is wrong")),
    }
}

/// What became of a backup that was to be in the store, and why, where it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadOutcome {
    /// It was sent.
    Uploaded,
    /// The same bytes were there already.
    Present,
    /// It stays where it is, which is no error.
    PassedOver,
    /// It could not be sent.
    Failed,
    /// Nobody tried, because the store was gone or it was time to stop.
    Pending,
}

/// One backup that was to be in the store.
#[derive(Debug, Serialize)]
pub struct UploadedBackup {
    pub id: String,
    #[serde(flatten)]
    pub subject: Subject,
    pub source: String,
    pub stored_bytes: u64,
    pub outcome: UploadOutcome,
    /// Why it is not in the store; none when it is.
    pub reason: Option<String>,
    /// Seconds that sending took; none when it was not sent.
    pub seconds: Option<f64>,
}

impl UploadedBackup {
    fn of(backup: &Backup, outcome: UploadOutcome, reason: Option<String>) -> Self {
        let manifest = &backup.manifest;
        Self {
            id: manifest.id.clone(),
            subject: manifest.subject.clone(),
            source: backup.source(),
            stored_bytes: manifest.stored_bytes,
            outcome,
            reason,
            seconds: None,
        }
    }
}

/// What of several backups is to be sent.
#[derive(Default)]
pub struct Choice {
    /// Those that are, with where they are.
    pub missing: Vec<(Repository, Backup)>,
    /// How many the store has.
    pub present: usize,
    /// Why others cannot be.
    pub errors: Vec<Error>,
    /// Why others stay where they are, which is no error.
    pub passed_over: Vec<String>,
    /// Each backup with what became of it.
    pub outcomes: Vec<UploadedBackup>,
}

impl Choice {
    fn note(&mut self, backup: &Backup, outcome: UploadOutcome, reason: Option<String>) {
        self.outcomes.push(UploadedBackup::of(backup, outcome, reason));
    }

    /// Bytes that are to be sent.
    pub fn bytes(&self) -> u64 {
        self.missing.iter().map(|(_, backup)| backup.manifest.stored_bytes).sum()
    }
}

/// Chooses among backups of a source. Those that somebody `is_named` are sent in any case; of the others, what the store
/// would keep, and what failed its verification stays where it is, and `status` tells of it.
pub async fn choose(
    config: &Config,
    wanted: Vec<(Repository, Backup)>,
    store: &Repository,
    source: &str,
    is_named: bool,
    now: DateTime<Utc>,
) -> Result<Choice, Error> {
    let remote = store.catalog().await?;
    let name = store.location().name;
    let own = |backup: &&Backup| backup.is_of(source);
    let here: Vec<Backup> = wanted.iter().map(|(_, backup)| backup).filter(own).cloned().collect();
    let there: Vec<Backup> = remote.backups.iter().filter(own).cloned().collect();
    let kept = prune::missing_remotely(config, &here, &there, now);
    let mut seen = HashSet::new();
    let mut choice = Choice::default();
    for (from, backup) in wanted {
        if !seen.insert((backup.source(), backup.manifest.identity())) {
            continue;
        }
        match lot(&backup, &from.location().of(&backup.key), &remote, &name) {
            Lot::Missing if is_named || kept.contains(&backup.manifest.identity()) => {
                choice.note(&backup, UploadOutcome::Pending, None);
                choice.missing.push((from, backup));
            }
            Lot::Missing => {
                let reason =
                    format!("{} is not uploaded, because remote retention would not keep it", backup.manifest.id);
                choice.note(&backup, UploadOutcome::PassedOver, Some(reason.clone()));
                choice.passed_over.push(reason);
            }
            Lot::Present => {
                choice.note(&backup, UploadOutcome::Present, None);
                choice.present += 1;
            }
            Lot::Refused(error) if !is_named && !backup.is_good() => {
                choice.note(&backup, UploadOutcome::PassedOver, Some(error.to_string()));
                choice.passed_over.push(error.to_string());
            }
            Lot::Refused(error) => {
                choice.note(&backup, UploadOutcome::Failed, Some(error.to_string()));
                choice.errors.push(error);
            }
        }
    }
    Ok(choice)
}

/// Sends what was chosen, one after the other, and says how many. One that cannot be sent keeps none of the others from
/// it, unless the store does not answer at all.
pub async fn send_all(
    shutdown: &Shutdown,
    counters: &Counters,
    choice: &mut Choice,
    store: &Repository,
) -> Result<usize, Error> {
    let mut sent = 0;
    for (from, backup) in &choice.missing {
        let begun = Instant::now();
        let is_it = |one: &&mut UploadedBackup| {
            one.id == backup.manifest.id && one.subject == backup.manifest.subject && one.source == backup.source()
        };
        let mut noted = choice.outcomes.iter_mut().find(is_it);
        let mut note = |outcome, reason| {
            if let Some(noted) = &mut noted {
                (noted.outcome, noted.reason) = (outcome, reason);
                noted.seconds = (outcome == UploadOutcome::Uploaded).then(|| begun.elapsed().as_secs_f64());
            }
        };
        match send(shutdown, counters, from, backup, store).await {
            Ok(SendOutcome::Now) => {
                note(UploadOutcome::Uploaded, None);
                sent += 1;
            }
            Ok(SendOutcome::Already) => {
                note(UploadOutcome::Present, None);
                choice.present += 1;
            }
            Err(Error::Stopped(stop)) => return Err(stop.into()),
            Err(error) => {
                let (database, backup_id) = (backup.manifest.subject.database(), &backup.manifest.id);
                error!(stage = "upload", database, backup_id, "{} was not uploaded: {error}", backup.manifest.id);
                note(UploadOutcome::Failed, Some(error.to_string()));
                let is_gone = matches!(&error, Error::Store(StoreError::Storage(cause)) if cause.is_transient());
                choice.errors.push(error);
                if is_gone {
                    break;
                }
            }
        }
    }
    Ok(sent)
}

/// What became of a backup that was sent.
#[derive(Debug)]
enum SendOutcome {
    /// It is in the store now.
    Now,
    /// Somebody else has put it there meanwhile.
    Already,
}

/// Sends one backup. Whatever ends this early leaves nothing in the store.
#[instrument(
    level = "error",
    skip_all,
    fields(stage = "upload", database = backup.manifest.subject.database(), backup_id = backup.manifest.id)
)]
async fn send(
    shutdown: &Shutdown,
    counters: &Counters,
    from: &Repository,
    backup: &Backup,
    store: &Repository,
) -> Result<SendOutcome, Error> {
    let begun = Instant::now();
    let manifest = &backup.manifest;
    let bytes = manifest.stored_bytes;
    info!(bytes, "uploading {} ({})", from.location().of(&backup.key), text::size(bytes));
    // dropped half-way it would leave a marker
    let mut new_backup = match shutdown.finish(budget::UPLOAD_RECORD, store.expect(backup)).await {
        Some(Ok(new_backup)) => new_backup,
        Some(Err(ReceiveError::Storage(StorageError::AlreadyExists { key }))) => {
            return taken(backup, store, &key).await;
        }
        Some(Err(error)) => return Err(error.into()),
        None => return Err(shutdown.reason().map_or_else(|| unanswered(store), Error::Stopped)),
    };
    let place = store.location().of(new_backup.key());
    let received = shutdown.guard(new_backup.receive(from, backup, counters)).await;
    let outcome = match received {
        Ok(Ok(content)) => match shutdown.finish(budget::UPLOAD_RECORD, new_backup.record(&content)).await {
            Some(Ok(())) => {
                let seconds = begun.elapsed().as_secs_f64();
                info!(bytes, seconds, "uploaded {place} ({}) in {seconds:.1} s", text::size(bytes));
                return Ok(SendOutcome::Now);
            }
            Some(Err(error)) => error.into(),
            None => unanswered(store),
        },
        Ok(Err(error)) => error.into(),
        Err(stop) => stop.into(),
    };
    if shutdown.finish(budget::CLEANUP, new_backup.abandon()).await.is_none() {
        warn!("{place} could not be cleaned up in time; the next run or upload will clean it up");
    }
    Err(outcome)
}

fn unanswered(store: &Repository) -> Error {
    store.location().broke_off("", "no answer in time".to_owned()).into()
}

/// Something of that name is there: the same backup, sent by somebody else since we looked, or what is in its way.
async fn taken(backup: &Backup, store: &Repository, key: &str) -> Result<SendOutcome, Error> {
    let catalog = store.catalog().await?;
    let location = store.location();
    match lot(backup, "here", &catalog, &location.name) {
        Lot::Present => Ok(SendOutcome::Already),
        Lot::Refused(error) => Err(error),
        Lot::Missing => Err(Error::Store(StoreError::NotSent {
            id: backup.manifest.id.clone(),
            reason: format!(
                "{} already exists: another upload or run is writing it, or one was killed; what a killed one left is \
                 swept once the database can tell which runs are alive, or after a day",
                location.of(key)
            ),
        })),
    }
}
