//! Every archive of a run, so many at once as the settings say.

use super::backup;
use super::context::failure;
use super::outcome::Errors;
use super::run::Run;
use crate::error::Error;
use crate::progress;
use crate::report::Report;
use futures_util::{StreamExt, stream};
use tracing::{error, info};

/// Saves every subject, so many at once as the settings say. What becomes of one is no matter to the others.
pub(super) async fn save_all(run: &Run<'_>, report: &mut Report, errors: &mut Errors) {
    let tasks = &run.ready.tasks;
    let subjects = tasks.subjects();
    let several = subjects.len() > 1;
    if let (true, Some(shard)) = (subjects.is_empty(), &report.shard) {
        info!("no database of the server belongs to shard {shard}");
        report.wanted = "no database in this shard".to_owned();
    }
    let expected_bytes = tasks.list.iter().map(|task| run.ready.likely_bytes(task)).sum();
    let _bar = run.context.terminal.then(|| progress::show_bar(run.context.counters.clone(), expected_bytes));
    let lost = tasks.errors().map(|(name, error)| backup::lost(run, name, error));
    let saved = stream::iter(&tasks.list).map(|task| backup::save(run, task)).buffer_unordered(run.at_once());
    let mut all = std::pin::pin!(stream::iter(lost).chain(saved));
    let mut stopped = None;
    while let Some((mut entry, failed)) = all.next().await {
        for error in failed {
            if let Error::Stopped(_) = error.error {
                // one wish to stop is one failure, however many databases it cuts
                stopped.get_or_insert(error);
                continue;
            }
            let failure = failure(error.stage, &error.error);
            let subject = if several { format!("{}: ", entry.subject) } else { String::new() };
            let (database, backup_id) = (entry.subject.database(), entry.backup.as_ref().map(|backup| &backup.id));
            error!(stage = failure.stage, database, backup_id, "{subject}{failure}");
            entry.failures.push(failure);
            errors.0.push(error.error);
        }
        report.entries.push(entry);
    }
    if let Some(error) = stopped {
        errors.add(report, error);
    }
    report.entries.sort_by_key(|entry| subjects.iter().position(|subject| *subject == entry.subject));
}
