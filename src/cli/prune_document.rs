//! What `backup prune --json` prints.

use crate::config::BackupType;
use crate::error::{Error, StoreError};
use crate::inventory::prune::PrunePlan;
use crate::inventory::shrink::Fall;
use crate::record::facts::Subject;
use crate::report::Pruned;
use crate::repository::Side;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// Each backup with what was decided and done, and totals.
#[derive(Debug, Default, Serialize)]
pub(super) struct PruneDocument {
    dry_run: bool,
    source: String,
    backups: Vec<PruneRow>,
    /// What retention keeps.
    kept: Vec<SideTotals>,
    /// What was deleted.
    deleted: Vec<SideTotals>,
    /// With `--adopt`.
    pub(super) adopted: Vec<AdoptedBackups>,
    /// With `--release`.
    pub(super) released: Vec<ReleasedDatabase>,
    #[serde(skip)]
    pub(super) pruned: Vec<Pruned>,
}

#[derive(Debug, Serialize)]
struct PruneRow {
    id: String,
    #[serde(flatten)]
    subject: Subject,
    #[serde(rename = "type")]
    backup_type: BackupType,
    started: DateTime<Utc>,
    stored_bytes: u64,
    side: Side,
    location: String,
    decision: PruneDecision,
    reason: String,
    outcome: PruneOutcome,
}

/// What retention says of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum PruneDecision {
    Keep,
    Delete,
}

/// What became of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum PruneOutcome {
    Kept,
    Deleted,
    /// It could not be deleted.
    Failed,
    /// Nobody tried: a dry run, no consent, or it was time to stop.
    NotDeleted,
}

/// Backups of one side.
#[derive(Debug, Serialize)]
struct SideTotals {
    side: Side,
    backups: usize,
    bytes: u64,
}

/// Backups of another server that became this one's.
#[derive(Debug, Serialize)]
pub(super) struct AdoptedBackups {
    pub(super) side: Side,
    pub(super) location: String,
    pub(super) system_identifier: String,
    pub(super) backups: usize,
}

/// A database that was meant to lose its rows.
#[derive(Debug, Serialize)]
pub(super) struct ReleasedDatabase {
    #[serde(flatten)]
    pub(super) subject: Subject,
    #[serde(flatten)]
    pub(super) fall: Fall,
}

impl PruneDocument {
    pub(super) fn new(source: &str, dry_run: bool) -> Self {
        Self { source: source.to_owned(), dry_run, ..Self::default() }
    }

    /// Notes what one side's plan says.
    pub(super) fn plan(&mut self, plan: &PrunePlan) {
        for (backup, decision) in &plan.decisions {
            let manifest = &backup.manifest;
            let (decided, outcome) = match decision.keep {
                true => (PruneDecision::Keep, PruneOutcome::Kept),
                false => (PruneDecision::Delete, PruneOutcome::NotDeleted),
            };
            self.backups.push(PruneRow {
                id: manifest.id.clone(),
                subject: manifest.subject.clone(),
                backup_type: manifest.backup_type,
                started: manifest.started,
                stored_bytes: manifest.stored_bytes,
                side: plan.side,
                location: plan.location(backup),
                decision: decided,
                reason: decision.reason.clone(),
                outcome,
            });
        }
    }

    /// Works out what became of each backup.
    pub(super) fn finish(&mut self, errors: &[Error]) {
        for row in &mut self.backups {
            let is_it = |one: &Pruned| one.side == row.side && one.id == row.id && one.subject == row.subject;
            let has_failed = |error: &Error| match error {
                Error::Store(StoreError::NotDeleted { place, .. }) => *place == row.location,
                _ => false,
            };
            if self.pruned.iter().any(is_it) {
                row.outcome = PruneOutcome::Deleted;
            } else if errors.iter().any(has_failed) {
                row.outcome = PruneOutcome::Failed;
            }
        }
        self.kept = self.totals(|row| row.decision == PruneDecision::Keep);
        self.deleted = self.totals(|row| row.outcome == PruneOutcome::Deleted);
    }

    fn totals(&self, counts: impl Fn(&PruneRow) -> bool) -> Vec<SideTotals> {
        let mut totals: Vec<SideTotals> = Vec::new();
        for row in &self.backups {
            let at = totals.iter().position(|one| one.side == row.side).unwrap_or_else(|| {
                totals.push(SideTotals { side: row.side, backups: 0, bytes: 0 });
                totals.len() - 1
            });
            if counts(row) {
                totals[at].backups += 1;
                totals[at].bytes += row.stored_bytes;
            }
        }
        totals
    }
}
