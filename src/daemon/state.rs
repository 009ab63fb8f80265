//! What the daemon knows, shared by its tasks and its HTTP server.

use crate::inventory::overview::Overview;
use crate::job::RememberedFailure;
use crate::progress::Counters;
use crate::record::facts::Subject;
use crate::report::{Outcome, Report};
use crate::schedule::Due;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(Arc<Mutex<State>>);

/// What is known at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// What is in storage; none before it was first checked.
    pub(super) overview: Option<Arc<Overview>>,
    /// When it was last checked.
    pub(super) looked: Option<DateTime<Utc>>,
    /// The latest run, unless that was lost to a bug.
    pub(super) last_run: Option<Arc<Report>>,
    /// The latest run was lost to a bug.
    pub(super) is_lost: bool,
    /// For each subject the latest run that included it.
    pub(super) attempts: BTreeMap<Subject, Arc<Report>>,
    /// Failed runs before this process began, by their notes in storage; of no interest once it has made a run itself.
    pub(super) remembered: Option<RememberedFailure>,
    /// The run under way.
    pub(super) running: Option<CurrentRun>,
    /// Since when runs have failed.
    pub(super) failing_since: Option<DateTime<Utc>>,
    /// Why backups could not be uploaded at the last attempt.
    pub(super) not_uploaded: Vec<String>,
}

/// A run under way.
#[derive(Debug, Clone)]
pub(super) struct CurrentRun {
    pub(super) due: Due,
    pub(super) begun: DateTime<Utc>,
    pub(super) since: Instant,
    pub(super) counters: Counters,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now.
    pub(super) fn now(&self) -> State {
        self.lock().clone()
    }

    /// A run begins; the answer is since when those before it have failed.
    pub(super) fn begin(&self, running: CurrentRun) -> Option<DateTime<Utc>> {
        let mut state = self.lock();
        state.running = Some(running);
        state.failing_since
    }

    /// The run is over; without a report it was lost to a bug.
    pub(super) fn end(&self, report: Option<Report>, now: DateTime<Utc>) {
        let mut state = self.lock();
        state.running = None;
        state.remembered = None;
        state.is_lost = report.is_none();
        match &report {
            Some(Report { outcome: Outcome::Success, .. }) => state.failing_since = None,
            _ => {
                state.failing_since.get_or_insert(now);
            }
        }
        state.last_run = report.map(Arc::new);
        if let Some(report) = state.last_run.clone() {
            for entry in &report.entries {
                state.attempts.insert(entry.subject.clone(), report.clone());
            }
        }
    }

    /// The storage was checked. For a side that could not be read, what was known before still holds.
    pub(super) fn see(&self, mut overview: Overview, remembered: Option<RememberedFailure>, now: DateTime<Utc>) {
        let mut state = self.lock();
        state.remembered = remembered.filter(|_| state.last_run.is_none());
        if let Some(before) = &state.overview {
            overview.complete(before);
        }
        state.overview = Some(Arc::new(overview));
        state.looked = Some(now);
    }

    /// How the uploads that were tried ended.
    pub(super) fn uploaded(&self, errors: Vec<String>) {
        self.lock().not_uploaded = errors;
    }
}
