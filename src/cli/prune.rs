//! `backup prune`

use super::calendar;
use super::confirm::{ask_nobody, confirm};
use super::find::{Choices, Filters};
use super::output::{Cell, Colour};
use super::prune_document::{AdoptedBackups, PruneDocument, ReleasedDatabase};
use super::table::Heading;
use super::{json, output};
use crate::config::Config;
use crate::error::{Error, Exit, SettingsError, exit_of};
use crate::inventory::overview::Overview;
use crate::inventory::prune::{self, PrunePlan};
use crate::inventory::retention::Decision;
use crate::inventory::shrink::Fall;
use crate::inventory::sides::{self, new_run_id};
use crate::job::alarms;
use crate::job::identity::identify;
use crate::postgres::lock::Lock;
use crate::postgres::{application, catalog};
use crate::record::facts::Subject;
use crate::repository::{Backup, Repository, Side};
use crate::shutdown::Shutdown;
use crate::text;
use chrono::{TimeDelta, Utc};
use clap::Args;
use std::collections::HashSet;
use std::time::Duration;
use tracing::{Instrument, error_span, warn};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print each decision, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Take over the backups of a replaced server
    ///
    /// The backups that it stored under this source's name become this server's own.
    #[arg(long, value_name = "SYSTEM_IDENTIFIER")]
    adopt: Option<String>,
    /// Confirm that a database lost rows on purpose
    ///
    /// The last backup before the loss may then be pruned.
    #[arg(long, conflicts_with = "adopt")]
    release: bool,
    /// Only this database, with --release
    #[arg(long, requires = "release", value_name = "D")]
    database: Option<String>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Print JSON, and do not ask
    ///
    /// Without --yes, nothing is deleted.
    #[arg(long)]
    pub(super) json: bool,
}

/// How a prune ended that was not cut short, and what went wrong.
type PruneEnd = (Exit, Vec<Error>);

const DONE: PruneEnd = (Exit::Done, Vec::new());

impl Arguments {
    /// An error that says that nothing was changed, unless somebody says yes.
    async fn consent(&self, shutdown: &Shutdown, question: &str, word: &str) -> Result<(), Error> {
        match (self.yes, self.json) {
            (true, _) => Ok(()),
            (false, true) => Err(ask_nobody()),
            (false, false) => confirm(shutdown.clone(), question.to_owned(), word.to_owned()).await,
        }
    }

    /// Prints a sentence, unless JSON has what it says.
    fn say(&self, sentence: &str) -> Result<(), Error> {
        if self.json { Ok(()) } else { output::say(sentence) }
    }

    fn show(&self, plans: &[PrunePlan], document: &mut PruneDocument) -> Result<(), Error> {
        for plan in plans {
            plan.namesakes.iter().for_each(|text| warn!("{text}"));
            document.plan(plan);
        }
        if self.json { Ok(()) } else { plans.iter().try_for_each(show) }
    }
}

pub(super) async fn execute(arguments: &Arguments, config: &Config, shutdown: &Shutdown) -> Result<Exit, Error> {
    let mut document = PruneDocument::new(&config.source.name, arguments.dry_run);
    let pruning = shutdown.guard(prune(arguments, config, shutdown, &mut document)).await;
    let ended = pruning.map_err(Error::from).flatten();
    let errors = ended.as_ref().map(|(_, errors)| errors.as_slice()).unwrap_or_default();
    errors.iter().for_each(output::complain_of);
    if arguments.json {
        document.finish(errors);
        return json::conclude("prune", &document, ended);
    }
    ended.map(|(exit, _)| exit)
}

async fn prune(
    arguments: &Arguments,
    config: &Config,
    shutdown: &Shutdown,
    document: &mut PruneDocument,
) -> Result<PruneEnd, Error> {
    let run_id = new_run_id();
    let sides = sides::open(config, config.target, &run_id).await?;
    if let Some(server) = &arguments.adopt {
        return adopt(arguments, config, &sides, server, shutdown, document).await;
    }
    if arguments.release {
        return release(arguments, config, &sides, shutdown, document).await;
    }
    if sides.iter().all(|repository| repository.side() == Side::Remote) && config.remote_retention.is_none() {
        arguments.say("nothing to prune: REMOTE_RETENTION_ENABLED is off, and only the remote side is used")?;
        return Ok(DONE);
    }
    if arguments.dry_run {
        identify(config, &sides).await;
        let plans = prune::plan(config, &sides, Utc::now()).await?;
        arguments.show(&plans, document)?;
        for plan in plans.iter().filter(|plan| !arguments.json && !plan.decisions.is_empty() && output::is_terminal()) {
            output::print("\n")?;
            output::print_lines(&calendar::draw(plan.side, &plan.decisions, config.dump.timezone))?;
        }
        return Ok(DONE);
    }
    // no run may store or prune while a plan is made or carried out
    let targets: Vec<String> = sides.iter().map(|repository| repository.location().name).collect();
    let application = application(&run_id);
    let lock = || Lock::take(&config.source, &targets, None, &application);
    let mut held = lock().await?;
    let server = catalog::system_identifier(held.connection()).await;
    sides.iter().for_each(|repository| repository.learn_server(server.as_deref()));
    let ahead = catalog::clock_ahead(held.connection()).await?;
    if let Some(wrong) = alarms::wrong_clock(config, ahead) {
        return Err(Error::Io(wrong.to_string()));
    }
    let plans = prune::plan(config, &sides, Utc::now()).await?;
    arguments.show(&plans, document)?;
    let going = plans.iter().flat_map(|plan| &plan.decisions).filter(|(_, decision)| !decision.keep).count();
    if going == 0 {
        return Ok(DONE);
    }
    let question = format!("Delete {} for good?", text::count(going, "backup"));
    if !arguments.yes {
        // a question may stay open all night, and a run must not wait for its answer
        held.release().await?;
        arguments.consent(shutdown, &question, "delete").await?;
        held = lock().await?;
    }
    if !held.is_held(&config.source).await {
        return Err(Error::Io("nothing was deleted: the lock was lost; try again".to_owned()));
    }
    // much may have happened while the question waited: what is deleted was shown, and would be now
    let shown: HashSet<(Side, String)> = plans.iter().flat_map(PrunePlan::going).collect();
    let plans = prune::plan(config, &sides, Utc::now()).await?;
    let mut errors = Vec::new();
    for plan in plans {
        let plan = &plan.among(&shown);
        let span = error_span!("run", run_id, source = config.source.name, stage = "prune");
        errors.extend(prune::apply(plan, &mut document.pruned).instrument(span).await);
    }
    let printed = arguments.say(&format!("deleted {}", text::count(document.pruned.len(), "backup")));
    errors.extend(printed.err());
    Ok((exit_of(errors.iter(), true), errors))
}

/// Takes over the backups of another server: from now on they are counted, and pruned.
async fn adopt(
    arguments: &Arguments,
    config: &Config,
    sides: &[Repository],
    server: &str,
    shutdown: &Shutdown,
    document: &mut PruneDocument,
) -> Result<PruneEnd, Error> {
    identify(config, sides).await;
    let mut meant = Vec::new();
    for repository in sides {
        if repository.server().is_none() {
            let user = &config.source.user;
            return Err(Error::Io(format!(
                "--adopt needs the system identifier of this server, which could not be read; try again when the \
                 server answers, and let {user} execute pg_control_system()"
            )));
        }
        let catalog = repository.catalog().await?;
        let namesakes = repository.namesakes(&catalog, &config.source.name);
        meant.extend(namesakes.get(server).map(|count| (repository, *count)));
    }
    if meant.is_empty() {
        let source = &config.source.name;
        return Err(Error::Settings(SettingsError::Usage(format!(
            "--adopt: there is no backup of another server {server} under the name {source}"
        ))));
    }
    for (repository, count) in &meant {
        let (place, backups) = (repository.location().name, text::count(*count, "backup"));
        arguments.say(&format!("{place}: {backups} of the server {server} will become this server's"))?;
    }
    let adopted = meant.iter().map(|(repository, count)| AdoptedBackups {
        side: repository.side(),
        location: repository.location().name,
        system_identifier: server.to_owned(),
        backups: *count,
    });
    let adopted = adopted.collect();
    if arguments.dry_run {
        document.adopted = adopted;
        return Ok(DONE);
    }
    let question = "From now on they are counted and pruned as this server's own.";
    arguments.consent(shutdown, question, "adopt").await?;
    for (repository, _) in meant {
        repository.adopt(server).await?;
    }
    document.adopted = adopted;
    Ok(DONE)
}

/// Says that what databases have lost was meant.
async fn release(
    arguments: &Arguments,
    config: &Config,
    sides: &[Repository],
    shutdown: &Shutdown,
    document: &mut PruneDocument,
) -> Result<PruneEnd, Error> {
    identify(config, sides).await;
    let (source, now) = (&config.source.name, Utc::now());
    let mut overview = Overview::look(config, sides, source, now, Duration::MAX).await;
    if !overview.unread.is_empty() {
        let (.., error) = overview.unread.remove(0);
        return Err(error.into());
    }
    let status = overview.status(source, TimeDelta::MAX, now);
    let is_meant =
        |subject: &Subject| arguments.database.as_deref().is_none_or(|name| subject.database() == Some(name));
    let fallen: Vec<(&Subject, &Fall)> = status
        .databases
        .iter()
        .filter(|kept| is_meant(&kept.subject))
        .filter_map(|kept| Some((&kept.subject, kept.shrunk.as_ref()?)))
        .collect();
    if fallen.is_empty() {
        let filters = Filters { database: arguments.database.as_deref(), source: Some(source), kind: None };
        let mut choices = Choices::beside(overview.inventory.unreadable.len());
        for entry in &overview.inventory.entries {
            choices.add(filters, &entry.manifest, entry.is_of(source));
        }
        if let Some(emptied) = choices.emptied(filters) {
            arguments.say(&format!("nothing to release: there is no backup {emptied}"))?;
            return Ok(DONE);
        }
        let what = arguments.database.as_deref().unwrap_or("no database");
        let verb = if arguments.database.is_some() { "has not shrunk" } else { "has shrunk" };
        arguments.say(&format!("nothing to release: {what} {verb}"))?;
        return Ok(DONE);
    }
    for (subject, fall) in &fallen {
        arguments.say(&format!("{subject}: {fall}"))?;
    }
    let released =
        fallen.iter().map(|(subject, fall)| ReleasedDatabase { subject: (*subject).clone(), fall: (*fall).clone() });
    let released = released.collect();
    if arguments.dry_run {
        document.released = released;
        return Ok(DONE);
    }
    let question = "From now on, backups from before the loss are kept no longer than others.";
    arguments.consent(shutdown, question, "release").await?;
    for repository in sides {
        for (subject, fall) in &fallen {
            // names of notes know no part of a millisecond
            let until = fall.after.started + TimeDelta::milliseconds(1);
            repository.release(subject, until).await?;
        }
    }
    document.released = released;
    Ok(DONE)
}

fn show(plan: &PrunePlan) -> Result<(), Error> {
    let side = plan.side.as_str();
    if plan.decisions.is_empty() {
        output::print(&format!("no {side} backups\n"))?;
        return Ok(());
    }
    let row = |(backup, decision): &(Backup, Decision)| {
        let (word, colour) = if decision.keep { ("keep", Colour::None) } else { ("delete", Colour::Yellow) };
        vec![
            Cell::plain(text::one_line(&decision.id).into_owned()),
            Cell::plain(text::one_line(&backup.manifest.subject.to_string()).into_owned()),
            Cell::plain(backup.manifest.backup_type.as_str().to_owned()),
            Cell::plain(side.to_owned()),
            Cell::coloured(word, colour),
            Cell::plain(decision.reason.clone()),
        ]
    };
    // a table is of one side alone
    let headings = vec![
        Heading::text("ID"),
        Heading::text("DATABASE").rank(2),
        Heading::text("TYPE").rank(1),
        Heading::text("SIDE").rank(3),
        Heading::text("DECISION"),
        Heading::text("REASON").wraps(),
    ];
    output::print_table(headings, plan.decisions.iter().map(row).collect())
}
