//! `backup prune`

use super::output;
use super::output::{Cell, Colour};
use crate::config::Config;
use crate::error::{Error, Exit, exit_of};
use crate::human;
use crate::job::prune::{self, Plan};
use crate::postgres::application;
use crate::postgres::lock::Lock;
use crate::repository::{Backup, SideKind};
use crate::retention::Decision;
use crate::targets::{self, new_run_id};
use chrono::Utc;
use clap::Args;
use std::collections::HashSet;

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
    let sides = targets::open(config, config.target, &run_id).await?;
    if sides.iter().all(|side| side.kind == SideKind::Remote) && config.remote_retention.is_none() {
        output::print("nothing to prune: REMOTE_RETENTION_ENABLED is off, and only the remote side is used\n");
        return Ok(Exit::Done);
    }
    if arguments.dry_run {
        prune::plan(config, &sides, Utc::now()).await?.iter().for_each(show);
        return Ok(Exit::Done);
    }
    // no run may store or prune while the plan is made and carried out
    let targets: Vec<String> = sides.iter().map(|side| side.repository.location().name).collect();
    let mut lock = Lock::take(&config.source, &targets, None, &application(&run_id)).await?;
    let plans = prune::plan(config, &sides, Utc::now()).await?;
    plans.iter().for_each(show);
    let going = plans.iter().flat_map(|plan| &plan.decisions).filter(|(_, decision)| !decision.keep).count();
    if going == 0 {
        return Ok(Exit::Done);
    }
    let question = format!("Delete {} for good?", human::count(going, "backup"));
    if !arguments.yes && !output::confirm(&question, "delete") {
        let refusal = "nothing was deleted: confirm on a terminal, or say --yes";
        return Err(Error::Usage(refusal.to_owned()));
    }
    if !lock.is_held(&config.source).await {
        return Err(Error::Io("nothing was deleted: the lock was lost; try again".to_owned()));
    }
    // much may have happened while the question waited: what is deleted was shown, and would be now
    let shown: HashSet<(SideKind, String)> = plans.iter().flat_map(Plan::going).collect();
    let plans = prune::plan(config, &sides, Utc::now()).await?;
    let (mut pruned, mut errors) = (Vec::new(), Vec::new());
    for plan in plans {
        let plan = &plan.among(&shown);
        errors.extend(prune::apply(plan, &mut pruned).await);
    }
    output::print(&format!("deleted {}\n", human::count(pruned.len(), "backup")));
    errors.iter().for_each(|error| output::complain(&error.to_string()));
    Ok(exit_of(errors.iter(), true))
}

fn show(plan: &Plan) {
    let side = plan.side.as_str();
    if plan.decisions.is_empty() {
        output::print(&format!("no {side} backups\n"));
        return;
    }
    let row = |(backup, decision): &(Backup, Decision)| {
        let (word, colour) = if decision.keep { ("keep", Colour::None) } else { ("delete", Colour::Yellow) };
        vec![
            Cell::plain(human::one_line(&decision.id).into_owned()),
            Cell::plain(human::one_line(&backup.manifest.subject.to_string()).into_owned()),
            Cell::plain(backup.manifest.backup_type.as_str().to_owned()),
            Cell::plain(side.to_owned()),
            Cell::coloured(word, colour),
            Cell::plain(decision.reason.clone()),
        ]
    };
    let headings = ["ID", "DATABASE", "TYPE", "SIDE", "DECISION", "REASON"];
    output::print_table(&headings, plan.decisions.iter().map(row).collect());
}
