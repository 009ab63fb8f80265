//! `backup prune`

use super::{new_run_id, output, sides};
use crate::config::{Config, Target};
use crate::error::{Error, Exit};
use crate::human;
use crate::job::prune::{self, Plan};
use crate::postgres::application;
use crate::postgres::lock::Lock;
use chrono::Utc;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print each backup with its decision and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, Error> {
    let run_id = new_run_id();
    let sides = sides(config, config.target, &run_id).await?;
    if config.target == Target::Remote {
        output::print("nothing to prune: the remote side is never pruned in this version\n");
        return Ok(Exit::Done);
    }
    if arguments.dry_run {
        if let Some(plan) = prune::plan(config, &sides, Utc::now()).await? {
            show(&plan);
        }
        return Ok(Exit::Done);
    }
    // no run may store or prune while the plan is made and carried out
    let targets: Vec<String> = sides.iter().map(|side| side.repository.location().name).collect();
    let mut lock = Lock::take(&config.source, &targets, None, &application(&run_id)).await?;
    let Some(plan) = prune::plan(config, &sides, Utc::now()).await? else { return Ok(Exit::Done) };
    show(&plan);
    let count = plan.decisions.iter().filter(|(_, decision)| !decision.keep).count();
    if count == 0 {
        return Ok(Exit::Done);
    }
    if !arguments.yes && !output::confirm(&format!("Delete {count} backups for good?"), "delete") {
        let refusal = "nothing was deleted: confirm on a terminal, or say --yes";
        return Err(Error::Usage(refusal.to_owned()));
    }
    if !lock.is_held(&config.source).await {
        return Err(Error::Io("nothing was deleted: the lock was lost; try again".to_owned()));
    }
    let mut pruned = Vec::new();
    prune::apply(&plan, &mut pruned).await?;
    output::print(&format!("deleted {} backups\n", pruned.len()));
    Ok(Exit::Done)
}

fn show(plan: &Plan) {
    if plan.decisions.is_empty() {
        output::print("no backups\n");
        return;
    }
    let row = |(backup, decision): &(crate::repository::Backup, crate::retention::Decision)| {
        vec![
            decision.id.clone(),
            human::one_line(&backup.manifest.subject.to_string()).into_owned(),
            backup.manifest.backup_type.as_str().to_owned(),
            if decision.keep { "keep" } else { "delete" }.to_owned(),
            decision.reason.clone(),
        ]
    };
    output::print_table(&["ID", "DATABASE", "TYPE", "DECISION", "REASON"], plan.decisions.iter().map(row).collect());
}
