//! What `backup restore --json` prints.

use crate::restore::plan::{Done, Plan, PlannedDatabase, TableTarget};
use serde::Serialize;

/// The plan, and what came of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct RestoreDocument {
    pub(super) dry_run: bool,
    /// Ids of the backups, in the order in which they are restored.
    pub(super) backups: Vec<String>,
    pub(super) plan: PlanDocument,
    pub(super) seconds: f64,
    #[serde(flatten)]
    pub(super) done: Done,
}

/// What is to be done; empty where that was never known.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct PlanDocument {
    databases: Vec<PlannedDatabase>,
    tables: Vec<TableTarget>,
    /// Something that is there makes way, which `--yes` consents to.
    needs_consent: bool,
    /// The same and more for people.
    steps: Vec<PlanStep>,
}

/// A line of the plan.
#[derive(Debug, Clone, Serialize)]
struct PlanStep {
    what: &'static str,
    how: String,
}

impl PlanDocument {
    /// Adds what a plan says; exceptions make a second one.
    pub(super) fn add(&mut self, plan: &Plan) {
        self.databases.extend(plan.databases.iter().cloned());
        self.tables.extend(plan.tables.iter().cloned());
        self.needs_consent |= plan.confirm.is_some();
        self.steps.extend(plan.lines.iter().map(|(what, how)| PlanStep { what, how: how.clone() }));
    }
}
