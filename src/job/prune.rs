//! Pruning at the end of a run.

use super::alarms;
use super::context::{At, StageError};
use super::outcome::Errors;
use super::run::Run;
use crate::inventory::prune;
use crate::record::facts::Subject;
use crate::report::Report;
use crate::text;
use tracing::{error, info, instrument, warn};

/// Prunes what this run has saved anew, where that is safe: every side has it, the clocks agree, and the lock is ours.
#[instrument(level = "error", skip_all, fields(stage = "prune"))]
pub(super) async fn prune_saved(run: &Run<'_>, every_side: bool, report: &mut Report, errors: &mut Errors) {
    if report.entries.is_empty() {
        return;
    }
    let saved = report.entries.iter().filter(|entry| entry.is_done());
    let saved: Vec<Subject> = saved.map(|entry| entry.subject.clone()).collect();
    if let Some(wrong) = alarms::wrong_clock(&run.context.config, run.ready.server.ahead) {
        error!("{wrong}");
        report.alarms.push(wrong.to_string());
    } else if !every_side || saved.is_empty() {
        warn!("nothing is pruned, because not every side has a good backup");
    } else if let Err(error) = prune(run, &saved, report, errors).await {
        errors.add(report, error);
    }
}

async fn prune(run: &Run<'_>, done: &[Subject], report: &mut Report, errors: &mut Errors) -> Result<(), StageError> {
    let context = run.context;
    if run.holds_lock().await.at("prune")? != Some(true) {
        warn!("nothing is pruned, because the lock is not held");
        return Ok(());
    }
    let now = (context.now)();
    let plan = context.shutdown.guard(prune::plan(&context.config, &context.sides, now)).await.at("prune")?;
    for plan in plan.at("prune")? {
        let plan = plan.only(done);
        let side = plan.side.as_str();
        match plan.policy.days {
            0 => info!("cleaning up {side} backups: all auto backups are kept, other types go by count"),
            days => {
                let days = text::count(days, "day");
                info!("cleaning up {side} auto backups older than {days}, other types by count");
            }
        }
        let before = report.pruned.len();
        let failed = context.shutdown.guard(prune::apply(&plan, &mut report.pruned)).await.at("prune")?;
        info!("deleted {}", text::count(report.pruned.len() - before, "backup"));
        report.kept.get_or_insert_with(|| plan.kept());
        for error in failed {
            errors.add(report, StageError { stage: "prune", error });
        }
    }
    Ok(())
}
