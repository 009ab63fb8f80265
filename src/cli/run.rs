//! `backup run`

use super::json::{self, NothingDone};
use super::run_plan::{ClientTools, PlannedBackup, PlannedDeletion, PlannedLocation, RunPlan};
use super::{TypeArgument, output};
use crate::config::{Config, Mode, Shard};
use crate::error::{Error, Exit, SettingsError, exit_of};
use crate::inventory::prune;
use crate::inventory::sides::{self, new_run_id};
use crate::job::{self, Context};
use crate::pipeline::Workers;
use crate::postgres::{self, connection};
use crate::progress::Counters;
use crate::report::Pruned;
use crate::shutdown::Shutdown;
use crate::text;
use chrono::Utc;
use clap::Args;
use std::io::IsTerminal;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Type: auto, daily, weekly, monthly or manual
    ///
    /// It decides how long retention keeps the backup [default: BACKUP_TYPE].
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<TypeArgument>,
    /// This database, not those of BACKUP_DATABASES; repeatable
    #[arg(long = "database", value_name = "D")]
    databases: Vec<String>,
    /// This run's part of the databases, I from 0 to N-1
    ///
    /// Unless given, SHARD_COUNT and JOB_COMPLETION_INDEX decide.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Check everything, print what would be done, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON when the run is over
    #[arg(long)]
    pub(super) json: bool,
}

impl Arguments {
    /// The configuration as the command line changes it.
    fn apply(&self, mut config: Config) -> Result<Config, Error> {
        let is_cluster = config.selection.mode == Mode::Cluster;
        if is_cluster && !(self.databases.is_empty() && self.shard.is_none()) {
            let why = "--database and --shard choose among databases, but BACKUP_MODE=cluster saves them all in one \
                       archive; leave out the options, or set BACKUP_MODE=database";
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
    let config = match arguments.apply(config) {
        Ok(config) => config,
        Err(error) if arguments.json => return json::conclude("configuration", &NothingDone {}, Err(error)),
        Err(error) => return Err(error),
    };
    if arguments.dry_run {
        let mut plan = RunPlan { dry_run: true, source: config.source.name.clone(), ..RunPlan::default() };
        let ended = shutdown.guard(dry_run(&config, arguments.json, &mut plan)).await.map_err(Error::from).flatten();
        return match arguments.json {
            true => json::conclude("preflight", &plan, ended),
            false => ended.map(|(exit, _)| exit),
        };
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
    let (report, exit) = job::run(&context).await;
    if arguments.json { json::print_report(&report, exit) } else { Ok(exit) }
}

/// Examines everything, and says what would be done: in words, or in `plan`.
async fn dry_run(config: &Config, is_json: bool, plan: &mut RunPlan) -> Result<(Exit, Vec<Error>), Error> {
    let say = |sentence: &str| if is_json { Ok(()) } else { output::say(sentence) };
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
    plan.server_version = Some(server.version.text.clone());
    let folder = tools.folder.display().to_string();
    plan.client = Some(ClientTools { version: tools.version.clone(), folder });
    let mut errors: Vec<Error> = tasks.errors().map(|(_, error)| error).collect();
    let mut possible = false;
    for task in &tasks.list {
        let before = errors.len();
        plan.backups.push(PlannedBackup { subject: task.subject.clone(), database_bytes: task.expected_bytes() });
        say(&format!(
            "would dump {} ({}) of {} (PostgreSQL {}) with pg_dump {} ({})",
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
        let (side, location) = (repository.side(), repository.location().name);
        if let Err(error) = repository.refuse_unwritable().await {
            errors.push(error.into());
            continue;
        }
        say(&format!("would store in {location}"))?;
        plan.locations.push(PlannedLocation { side, location });
    }
    possible &= !plan.locations.is_empty();
    if config.verify.enabled {
        say(&format!("would verify on {}", config.verify.server.name))?;
        plan.verify_server = Some(config.verify.server.name.clone());
    }
    for pruning in prune::plan(config, &sides, Utc::now()).await? {
        let pruning = pruning.only(&tasks.subjects());
        let side = pruning.side;
        for (backup, decision) in pruning.decisions.iter().filter(|(_, decision)| !decision.keep) {
            let (id, reason) = (&decision.id, &decision.reason);
            say(&format!("would delete the {} {id} ({reason}), if the backup succeeds", side.as_str()))?;
            let (location, reason) = (pruning.location(backup), reason.clone());
            let backup = Pruned { id: id.clone(), subject: backup.manifest.subject.clone(), side };
            plan.deletions.push(PlannedDeletion { backup, location, reason });
        }
    }
    errors.iter().for_each(output::complain_of);
    Ok((exit_of(errors.iter(), possible), errors))
}
