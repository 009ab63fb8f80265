//! `backup run`

use super::{Kind, new_run_id, open_sides, output, sides};
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::job::{self, Context, examine_server, prune};
use crate::postgres::connection;
use crate::shutdown::Shutdown;
use chrono::Utc;
use clap::Args;
use std::io::IsTerminal;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Type of the backup, by which retention keeps it [default: BACKUP_TYPE]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Connect, examine everything, say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn execute(arguments: &Arguments, config: Config, shutdown: Shutdown) -> Result<Exit, Error> {
    if arguments.dry_run {
        return shutdown.guard(dry_run(&config)).await?;
    }
    let run_id = new_run_id();
    let (sides, unusable) = open_sides(&config, config.target, &run_id).await;
    let context = Context {
        backup_type: arguments.kind.map_or(config.dump.backup_type, Into::into),
        config,
        run_id,
        sides,
        unusable,
        shutdown,
        now: Utc::now,
        terminal: std::io::stderr().is_terminal(),
    };
    let (_, exit) = job::run(&context).await;
    Ok(exit)
}

async fn dry_run(config: &Config) -> Result<Exit, Error> {
    let run_id = new_run_id();
    let connection = connection::connect(&config.source, &format!("backup {run_id}")).await?;
    let server = examine_server(config, &connection).await?;
    let sides = sides(config, config.target, &run_id).await?;
    output::print(&format!(
        "would dump {} (PostgreSQL {}) with pg_dump {} ({})\n",
        config.source.display(),
        server.version.text,
        server.tool.version,
        server.tool.path.display()
    ));
    for object in &server.unreadable {
        output::print(&format!("the role {} may not read {object}\n", config.source.user));
    }
    for side in &sides {
        side.repository.newest(&config.source.database).await?;
        output::print(&format!("would store in {}\n", side.repository.location().name));
    }
    if let Some(plan) = prune::plan(config, &sides, Utc::now()).await? {
        let plan = plan.only(&config.source.database);
        for (_, decision) in plan.decisions.iter().filter(|(_, decision)| !decision.keep) {
            output::print(&format!("would delete {} ({}), if the backup succeeds\n", decision.id, decision.reason));
        }
    }
    Ok(if server.unreadable.is_empty() { Exit::Done } else { Exit::Refused })
}
