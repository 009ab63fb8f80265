//! `backup run`

use super::{TypeArgument, output};
use crate::config::{Config, Mode, Shard};
use crate::error::{Error, Exit, SettingsError, exit_of};
use crate::inventory::prune;
use crate::inventory::sides::{self, new_run_id};
use crate::job::{self, Context};
use crate::pipeline::Workers;
use crate::postgres::{self, connection};
use crate::progress::Counters;
use crate::shutdown::Shutdown;
use crate::text;
use chrono::Utc;
use clap::Args;
use std::io::IsTerminal;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Type: auto, daily, weekly, monthly or manual
    ///
    /// By the type retention keeps it [default: BACKUP_TYPE].
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<TypeArgument>,
    /// This database, not those of BACKUP_DATABASES; repeatable
    #[arg(long = "database", value_name = "D")]
    databases: Vec<String>,
    /// This run's part of the databases, I from 0 to N-1
    ///
    /// Unset, it is the part that SHARD_COUNT and JOB_COMPLETION_INDEX say.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Examine everything, say what would be done, write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Arguments {
    /// The configuration as the command line changes it.
    fn apply(&self, mut config: Config) -> Result<Config, Error> {
        let is_cluster = config.selection.mode == Mode::Cluster;
        if is_cluster && !(self.databases.is_empty() && self.shard.is_none()) {
            let why = "--database and --shard choose among databases, and BACKUP_MODE=cluster saves them all in one \
                       archive; leave one of them out";
            return Err(Error::Settings(SettingsError::Usage(why.to_owned())));
        }
        if !self.databases.is_empty() {
            config.selection.narrow(self.databases.clone());
        }
        config.selection.shard = self.shard.or(config.selection.shard);
        Ok(config)
    }
}

pub(super) async fn execute(arguments: &Arguments, config: Config, shutdown: Shutdown) -> Result<Exit, Error> {
    let config = arguments.apply(config)?;
    if arguments.dry_run {
        return shutdown.guard(dry_run(&config)).await?;
    }
    let run_id = new_run_id();
    let (sides, unusable) = sides::open_some(&config, config.target, &run_id).await;
    let context = Context {
        backup_type: arguments.kind.map_or(config.dump.backup_type, Into::into),
        workers: Workers::new(config.dump.jobs, config.selection.jobs),
        config,
        run_id,
        sides,
        unusable,
        scheduled: None,
        shutdown,
        now: Utc::now,
        terminal: std::io::stderr().is_terminal(),
        counters: Counters::default(),
    };
    let (_, exit) = job::run(&context).await;
    Ok(exit)
}

async fn dry_run(config: &Config) -> Result<Exit, Error> {
    let run_id = new_run_id();
    let application = postgres::application(&run_id);
    let connection = connection::connect_directly(&config.source, &application).await?;
    let server = job::examine_server(config, &connection).await?;
    let sides = sides::open(config, config.target, &run_id).await?;
    for repository in &sides {
        repository.learn_server(server.system_identifier.as_deref());
    }
    let tasks = job::choose_tasks(config, &server)?;
    let (tools, display) = (&server.tools.chosen, config.source.display());
    let mut errors: Vec<Error> = tasks.errors().map(|(_, error)| error).collect();
    let mut possible = false;
    for task in &tasks.list {
        let before = errors.len();
        output::print(&format!(
            "would dump {} ({}) of {} (PostgreSQL {}) with pg_dump {} ({})\n",
            text::one_line(&task.subject.to_string()),
            text::size(task.expected_bytes()),
            text::one_line(&display),
            server.version.text,
            tools.version,
            tools.folder.display()
        ))?;
        for database in &task.databases {
            errors.extend(job::enter(config, &database.name, &application).await.err());
        }
        possible |= errors.len() == before;
    }
    for repository in &sides {
        repository.newest(&tasks.subjects()).await?;
        output::print(&format!("would store in {}\n", repository.location().name))?;
    }
    if config.verify.enabled {
        output::print(&format!("would verify on {}\n", config.verify.server.name))?;
    }
    for plan in prune::plan(config, &sides, Utc::now()).await? {
        let plan = plan.only(&tasks.subjects());
        let side = plan.side.as_str();
        for (_, decision) in plan.decisions.iter().filter(|(_, decision)| !decision.keep) {
            let (id, reason) = (&decision.id, &decision.reason);
            output::print(&format!("would delete the {side} {id} ({reason}), if the backup succeeds\n"))?;
        }
    }
    errors.iter().for_each(|error| output::complain(&error.to_string()));
    Ok(exit_of(errors.iter(), possible))
}
