//! The targets of one archive: announced on all of them, committed on those that took every byte, cleaned up on the
//! others.

use super::preflight::one_of;
use super::run::Run;
use super::tasks::Task;
use super::{At, Context, StageError, record};
use crate::error::Error;
use crate::record::manifest::Manifest;
use crate::report::{Place, Stage, Stored};
use crate::repository::{Content, Draft, Side};
use crate::storage::StorageError;
use crate::storage::key::Naming;
use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::future::join_all;
use std::time::Duration;
use tracing::warn;

/// How long a store may take to end what it was asked for when it is time to stop.
const SETTLE: Duration = Duration::from_secs(6);

/// Names tried when others have the same second.
const NAME_ATTEMPTS: usize = 10;

/// A draft and the error that took its target out of this archive.
pub(super) struct Leg<'a> {
    pub(super) side: &'a Side,
    pub(super) draft: Draft,
    pub(super) error: Option<Error>,
}

/// An archive that is announced on at least one target.
pub(super) struct Begun<'a> {
    pub(super) naming: Naming,
    pub(super) legs: Vec<Leg<'a>>,
    /// Why others could not begin.
    failed: Vec<StageError>,
}

/// A backup that at least one target has.
pub(super) struct Made {
    pub(super) stored: Stored,
    /// Where it is.
    pub(super) places: Vec<Place>,
    /// Why other targets lack it.
    pub(super) failed: Vec<StageError>,
    /// What a person should know of it.
    pub(super) notes: Vec<String>,
    /// How long its making took.
    pub(super) stages: Vec<Stage>,
}

/// Announces the backup on every target, under one name that is free on all of them.
pub(super) async fn begin<'a>(run: &Run<'a>, task: &Task) -> Result<Begun<'a>, StageError> {
    let context = run.context;
    let mut naming = record::naming(run, &task.subject);
    // where folders are by type, the same id would not be the same name
    if run.ready.previous.get(&task.subject).is_some_and(|last| last.started.timestamp() == naming.time.timestamp()) {
        naming.time += TimeDelta::seconds(1);
    }
    let (sides, lost): (Vec<&Side>, Vec<&Side>) = run.ready.sides.iter().partition(|side| !run.has_given_up(side));
    let lost = || lost.iter().map(|side| Error::GivenUp(side.repository.location().name));
    for _ in 0..NAME_ATTEMPTS {
        let (mut legs, mut failed) = (Vec::new(), Vec::new());
        let begun = begin_all(&sides, &naming, task.expected_bytes(), &mut legs, &mut failed);
        if let Err(stop) = context.shutdown.guard(begun).await {
            let begun = legs.len() + failed.len();
            abandon(context, legs).await;
            if let Some(side) = sides.get(begun) {
                let _ = context.finish(side.repository.retract(&naming)).await;
            }
            return Err(stop).at("store");
        }
        if failed.iter().any(|(_, error)| matches!(error, StorageError::AlreadyExists { .. })) {
            abandon(context, legs).await;
            naming.time += TimeDelta::seconds(1);
            continue;
        }
        let failed: Vec<Error> = failed.into_iter().map(|(_, error)| error.into()).chain(lost()).collect();
        if legs.is_empty() {
            return Err(one_of(failed)).at("store");
        }
        let failed = failed.into_iter().map(|error| StageError { stage: "store", error }).collect();
        return Ok(Begun { naming, legs, failed });
    }
    Err(StorageError::AlreadyExists { key: naming.id() }).at("store")
}

/// One target after the other; what is begun survives in `legs` when this is dropped half-way.
async fn begin_all<'a>(
    sides: &[&'a Side],
    naming: &Naming,
    expected_bytes: u64,
    legs: &mut Vec<Leg<'a>>,
    failed: &mut Vec<(&'a Side, StorageError)>,
) {
    for side in sides.iter().copied() {
        match side.repository.begin(naming, expected_bytes).await {
            Ok(draft) => legs.push(Leg { side, draft, error: None }),
            Err(error) => failed.push((side, error)),
        }
    }
}

impl Begun<'_> {
    /// Commits on every target that took all bytes; the others are cleaned up and reported.
    pub(super) async fn commit(self, run: &Run<'_>, manifest: &Manifest, facts: Bytes) -> Result<Made, StageError> {
        let context = run.context;
        let commits = self.legs.into_iter().map(|mut leg| {
            let content = Content::new(manifest, facts.clone());
            async move {
                if leg.error.is_none() {
                    leg.error = commit_one(context, &mut leg.draft, &content).await.err();
                    leg.error.iter().for_each(|error| run.note_lost(leg.side, error));
                }
                leg
            }
        });
        let (failed, done): (Vec<Leg>, Vec<Leg>) =
            join_all(commits).await.into_iter().partition(|leg| leg.error.is_some());
        let place = |leg: &Leg| {
            let location = leg.side.repository.location().of(leg.draft.key());
            Place { side: leg.side.kind, location, stored: true }
        };
        let places: Vec<Place> = done.iter().map(place).collect();
        let mut errors = Vec::new();
        let failed = failed.into_iter().map(|mut leg| {
            errors.extend(leg.error.take());
            leg
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
async fn commit_one(context: &Context, draft: &mut Draft, content: &Content<'_>) -> Result<(), Error> {
    {
        let mut storing = std::pin::pin!(draft.store_archive(content.manifest.stored_bytes));
        match context.shutdown.guard(storing.as_mut()).await {
            Ok(stored) => stored?,
            Err(stop) => {
                // a store that has begun to make it may be done in a moment, and what is there can be removed
                let _ = context.shutdown.finish(SETTLE, SETTLE, storing).await;
                return Err(stop.into());
            }
        }
    }
    match context.finish(draft.record(content)).await {
        Some(recorded) => Ok(recorded?),
        None => Err(draft.unanswered("storing the manifest").into()),
    }
}

/// Cleans up drafts, all at once and within a time that is known.
pub(super) async fn abandon(context: &Context, legs: Vec<Leg<'_>>) {
    let cleanups = legs.into_iter().map(|leg| async move {
        let location = leg.side.repository.location().of(leg.draft.key());
        if context.finish(leg.draft.abandon()).await.is_none() {
            warn!("{location} could not be cleaned up in time, the next run will");
        }
    });
    join_all(cleanups).await;
}
