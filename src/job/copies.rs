//! The targets of one archive: announced on all of them, committed on those that took every byte, cleaned up on the
//! others.

use super::context::{At, Context, StageError};
use super::preflight::one_of;
use super::record;
use super::run::Run;
use super::tasks::Task;
use crate::error::{Error, StoreError};
use crate::record::manifest::Manifest;
use crate::report::{CopyReport, Stage, Stored};
use crate::repository::{BackupRecord, NewBackup, Repository};
use crate::shutdown::budget;
use crate::storage::StorageError;
use crate::storage::key::Naming;
use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::future::join_all;
use tracing::{instrument, warn};

/// Names tried when others have the same second.
const NAME_ATTEMPTS: usize = 10;

/// A new_backup and the error that took its target out of this archive.
pub(super) struct NewCopy<'a> {
    pub(super) repository: &'a Repository,
    pub(super) new_backup: NewBackup,
    pub(super) error: Option<Error>,
}

/// An archive that is announced on at least one target.
pub(super) struct NewCopies<'a> {
    pub(super) naming: Naming,
    pub(super) copies: Vec<NewCopy<'a>>,
    /// Why others could not begin.
    failed: Vec<StageError>,
}

/// A backup that at least one target has.
pub(super) struct Made {
    pub(super) stored: Stored,
    /// Where it is.
    pub(super) places: Vec<CopyReport>,
    /// Why other targets lack it.
    pub(super) failed: Vec<StageError>,
    /// What a person should know of it.
    pub(super) notes: Vec<String>,
    /// How long its making took.
    pub(super) stages: Vec<Stage>,
}

/// Announces the backup on every target, under one name that is free on all of them.
pub(super) async fn begin<'a>(run: &Run<'a>, task: &Task) -> Result<NewCopies<'a>, StageError> {
    let context = run.context;
    let mut naming = record::naming(run, &task.subject);
    // where folders are by type, the same id would not be the same name
    if run.ready.previous.get(&task.subject).is_some_and(|last| last.started.timestamp() == naming.time.timestamp()) {
        naming.time += TimeDelta::seconds(1);
    }
    let (sides, lost): (Vec<&Repository>, Vec<&Repository>) =
        run.ready.sides.iter().partition(|repository| !run.has_given_up(repository));
    let lost = || lost.iter().map(|repository| Error::Store(StoreError::GivenUp(repository.location().name)));
    for _ in 0..NAME_ATTEMPTS {
        let (mut copies, mut failed) = (Vec::new(), Vec::new());
        let begun = begin_all(&sides, &naming, task.expected_bytes(), &mut copies, &mut failed);
        if let Err(stop) = context.shutdown.guard(begun).await {
            let begun = copies.len() + failed.len();
            abandon(context, copies).await;
            if let Some(repository) = sides.get(begun) {
                let _ = context.finish(repository.retract(&naming)).await;
            }
            return Err(stop).at("store");
        }
        if failed.iter().any(|(_, error)| matches!(error, StorageError::AlreadyExists { .. })) {
            abandon(context, copies).await;
            naming.time += TimeDelta::seconds(1);
            continue;
        }
        let failed: Vec<Error> = failed.into_iter().map(|(_, error)| error.into()).chain(lost()).collect();
        if copies.is_empty() {
            return Err(one_of(failed)).at("store");
        }
        let failed = failed.into_iter().map(|error| StageError { stage: "store", error }).collect();
        return Ok(NewCopies { naming, copies, failed });
    }
    Err(StorageError::AlreadyExists { key: naming.id() }).at("store")
}

/// One target after the other; what is begun survives in `copies` when this is dropped half-way.
async fn begin_all<'a>(
    sides: &[&'a Repository],
    naming: &Naming,
    expected_bytes: u64,
    copies: &mut Vec<NewCopy<'a>>,
    failed: &mut Vec<(&'a Repository, StorageError)>,
) {
    for repository in sides.iter().copied() {
        match repository.begin(naming, expected_bytes).await {
            Ok(new_backup) => copies.push(NewCopy { repository, new_backup, error: None }),
            Err(error) => failed.push((repository, error)),
        }
    }
}

impl NewCopies<'_> {
    /// Commits on every target that took all bytes; the others are cleaned up and reported.
    #[instrument(level = "error", skip_all, fields(stage = "store"))]
    pub(super) async fn commit(self, run: &Run<'_>, manifest: &Manifest, facts: Bytes) -> Result<Made, StageError> {
        let context = run.context;
        let commits = self.copies.into_iter().map(|mut copy| {
            let content = BackupRecord::new(manifest, facts.clone());
            async move {
                if copy.error.is_none() {
                    copy.error = commit_one(context, &mut copy.new_backup, &content).await.err();
                    copy.error.iter().for_each(|error| run.note_lost(copy.repository, error));
                }
                copy
            }
        });
        let (failed, done): (Vec<NewCopy>, Vec<NewCopy>) =
            join_all(commits).await.into_iter().partition(|copy| copy.error.is_some());
        let place = |copy: &NewCopy| {
            let location = copy.repository.location().of(copy.new_backup.key());
            CopyReport {
                side: copy.repository.side(),
                key: Some(copy.new_backup.key().to_owned()),
                location,
                stored: true,
            }
        };
        let places: Vec<CopyReport> = done.iter().map(place).collect();
        let mut errors = Vec::new();
        let failed = failed.into_iter().map(|mut copy| {
            errors.extend(copy.error.take());
            copy
        });
        abandon(context, failed.collect()).await;
        if places.is_empty() {
            return Err(one_of(errors)).at("store");
        }
        let stored = Stored::of(manifest);
        let failed = errors.into_iter().map(|error| StageError { stage: "store", error }).chain(self.failed).collect();
        Ok(Made { stored, places, failed, notes: Vec::new(), stages: Vec::new() })
    }
}

/// The archive may take minutes and can be given up; the record takes moments and is not cut.
async fn commit_one(context: &Context, new_backup: &mut NewBackup, content: &BackupRecord<'_>) -> Result<(), Error> {
    {
        let mut storing = std::pin::pin!(new_backup.store_archive(content.manifest.stored_bytes));
        match context.shutdown.guard(storing.as_mut()).await {
            Ok(stored) => stored?,
            Err(stop) => {
                // a store that has begun to make it may be done in a moment, and what is there can be removed
                let _ = context.shutdown.finish(budget::STORE_ANSWER, storing).await;
                return Err(stop.into());
            }
        }
    }
    match context.finish(new_backup.record(content)).await {
        Some(recorded) => Ok(recorded?),
        None => Err(new_backup.unanswered("storing the manifest").into()),
    }
}

/// Cleans up copies, all at once and within a time that is known.
pub(super) async fn abandon(context: &Context, copies: Vec<NewCopy<'_>>) {
    let cleanups = copies.into_iter().map(|copy| async move {
        let location = copy.repository.location().of(copy.new_backup.key());
        if context.finish(copy.new_backup.abandon()).await.is_none() {
            warn!("{location} could not be cleaned up in time; the next run will clean it up");
        }
    });
    join_all(cleanups).await;
}
