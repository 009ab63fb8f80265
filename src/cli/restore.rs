//! `backup restore`

use super::confirm::{ask_nobody, confirm};
use super::find::{LATEST, Named};
use super::json;
use super::output::{self, Cell};
use super::restore_document::{PlanDocument, RestoreDocument};
use super::table::Heading;
use super::tally::Tally;
use crate::config::Config;
use crate::error::{Error, Exit, SettingsError};
use crate::inventory::sides::new_run_id;
use crate::job;
use crate::record::facts::Subject;
use crate::repository::{Backup, Repository};
use crate::restore::Restorer;
use crate::restore::plan::{Done, Plan, Request, RestoreContent};
use crate::shutdown::Shutdown;
use crate::text;
use crate::verify::report::Verdict;
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use clap::Args;
use futures_util::FutureExt;
use std::future::ready;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tracing::{Instrument, error_span, warn};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    backup: Named,
    /// Database to restore into, created if it is missing
    #[arg(long, value_name = "DB", conflicts_with = "cluster")]
    into: Option<String>,
    /// The database to restore from an archive of the whole server
    #[arg(long, value_name = "D", conflicts_with = "cluster")]
    source_database: Option<String>,
    /// Only this table; may be given several times
    #[arg(long = "table", value_name = "S.T", conflicts_with_all = ["cluster", "schema_only"])]
    tables: Vec<String>,
    /// Restore objects without their rows
    #[arg(long, conflicts_with_all = ["data_only", "cluster"])]
    schema_only: bool,
    /// Restore rows into objects that already exist
    #[arg(long, conflicts_with = "cluster")]
    data_only: bool,
    /// Replace the existing database or table
    ///
    /// A database is kept as DB_before_TIME. A table is emptied and filled in one transaction; its old rows are lost.
    #[arg(long)]
    replace: bool,
    /// End the sessions of a database at the moment it is replaced
    #[arg(long)]
    disconnect: bool,
    /// Create the roles that the server lacks
    ///
    /// They come from the same backup run; existing roles stay as they are.
    #[arg(long)]
    globals: bool,
    /// Also give existing roles the passwords of the backup
    #[arg(long)]
    reset_passwords: bool,
    /// Restore every database of the server, and the roles
    ///
    /// Each keeps its own name. With `latest`, each comes from its newest good backup; otherwise, from the run that
    /// made BACKUP.
    #[arg(long)]
    cluster: bool,
    /// Leave out owners and privileges
    #[arg(long)]
    no_owner: bool,
    /// Fail when an object cannot be created, instead of leaving it out and reporting it
    #[arg(long)]
    strict: bool,
    /// Check only the SHA-256 of the stored bytes, and do not compare what was restored
    #[arg(long)]
    skip_checks: bool,
    /// Parallel connections [default: RESTORE_JOBS]
    ///
    /// They load rows and create indexes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// The newest good backup from this time or earlier
    ///
    /// It has the database as it was at this time or earlier. TIME is in BACKUP_TIMEZONE unless it has a zone.
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Print JSON, and do not ask
    ///
    /// Without --yes, nothing is replaced.
    #[arg(long)]
    pub(super) json: bool,
    /// Show every check, not only those that did not pass
    #[arg(long)]
    verbose: bool,
}

impl Arguments {
    fn request(&self) -> Result<Request, Error> {
        let problem = if self.into.as_ref().is_some_and(|name| name.is_empty() || name.len() > 63) {
            "--into needs a name of 1 to 63 bytes"
        } else if self.into.is_none() && !self.cluster && !self.globals {
            "say where to restore: --into DB for one database, --cluster for all of them, or --globals for the roles \
             alone"
        } else if self.reset_passwords && !self.globals && !self.cluster {
            "--reset-passwords needs --globals or --cluster"
        } else if self.disconnect && !self.replace {
            "--disconnect needs --replace"
        } else if self.before.is_some() && self.backup.name != LATEST {
            "--before chooses among all backups; leave the backup's name out, or use latest"
        } else {
            ""
        };
        if !problem.is_empty() {
            return Err(Error::Settings(SettingsError::Usage(problem.to_owned())));
        }
        let content = match (self.schema_only, self.data_only) {
            (true, _) => RestoreContent::Schema,
            (_, true) => RestoreContent::Data,
            _ => RestoreContent::All,
        };
        Ok(Request {
            into: self.into.clone(),
            source_database: self.source_database.clone(),
            tables: self.tables.clone(),
            content,
            replace: self.replace,
            disconnect: self.disconnect,
            globals: self.globals || self.cluster,
            reset_passwords: self.reset_passwords,
            cluster: self.cluster,
            no_owner: self.no_owner,
            strict: self.strict,
            skip_checks: self.skip_checks,
            jobs: self.jobs.map(usize::from),
        })
    }

    /// Shows the plan; the answer is the word that somebody has to type first.
    fn show_plan<'p>(&self, plan: &'p Plan) -> Result<Option<&'p String>, Error> {
        if !self.json && !plan.lines.is_empty() {
            output::print_pairs(plan.lines.iter().map(|(what, how)| (*what, Cell::plain(how.clone()))))?;
        }
        if self.dry_run {
            return Err(Error::Settings(SettingsError::OnlyPlanned));
        }
        let word = plan.confirm.as_ref().filter(|_| !self.yes);
        if word.is_some() && self.json { Err(ask_nobody()) } else { Ok(word) }
    }
}

pub(super) async fn execute(arguments: &Arguments, config: &Config, shutdown: &Shutdown) -> Result<Exit, Error> {
    let begun = Instant::now();
    let mut document = RestoreDocument { dry_run: arguments.dry_run, ..RestoreDocument::default() };
    let ended = restore(arguments, config, shutdown, &mut document).await;
    if !arguments.json {
        return ended;
    }
    document.seconds = begun.elapsed().as_secs_f64();
    json::conclude("restore", &document, ended.map(|exit| (exit, Vec::new())))
}

async fn restore(
    arguments: &Arguments,
    config: &Config,
    shutdown: &Shutdown,
    document: &mut RestoreDocument,
) -> Result<Exit, Error> {
    let _timer = job::deadline(config, shutdown);
    let request = arguments.request()?;
    let run_id = new_run_id();
    let before = arguments.before.as_deref().map(|text| parse_time(text, config.dump.timezone)).transpose()?;
    let may = |backup: &Backup| {
        let manifest = &backup.manifest;
        let taken = manifest.snapshot.as_ref().map_or(manifest.started, |snapshot| snapshot.taken);
        let is_early = before.is_none_or(|before| taken <= before);
        backup.is_good() && is_early
    };
    let (repository, backup) = if request.cluster || request.into.is_none() {
        shutdown.guard(arguments.backup.find_newest_run(config, &run_id, may)).await??
    } else {
        shutdown.guard(arguments.backup.find_among(config, &run_id, may)).await??
    };
    if !backup.is_good() {
        warn!("{} failed its latest verification, or its archive is incomplete", backup.manifest.id);
    }
    let (backups, globals) =
        shutdown.guard(set(&repository, backup, &request, arguments.backup.name == LATEST, may)).await??;
    document.backups = globals.iter().chain(&backups).map(|backup| backup.manifest.id.clone()).collect();
    let restorer = Restorer {
        config,
        run_id: &run_id,
        shutdown,
        now: Utc::now,
        repository: &repository,
        request: &request,
        terminal: std::io::stderr().is_terminal(),
    };
    let planned = Mutex::new(PlanDocument::default());
    let consent = |plan: &Plan| {
        planned.lock().unwrap_or_else(PoisonError::into_inner).add(plan);
        match arguments.show_plan(plan) {
            Ok(None) => ready(Ok(())).boxed(),
            Ok(Some(word)) => {
                confirm(shutdown.clone(), "This replaces what is there.".to_owned(), word.clone()).boxed()
            }
            Err(error) => ready(Err(error)).boxed(),
        }
    };
    let only = Some(&backups).filter(|backups| backups.len() == 1).and_then(|backups| backups.first());
    let (database, backup_id) =
        (only.and_then(|one| one.manifest.subject.database()), only.map(|one| &one.manifest.id));
    let source = &config.source.name;
    let span = error_span!("run", run_id, source, stage = "restore", database, backup_id);
    let restoring = Box::pin(restorer.restore(&backups, globals.as_ref(), &mut document.done, &consent));
    let outcome = restoring.instrument(span).await;
    document.plan = planned.into_inner().unwrap_or_else(PoisonError::into_inner);
    // what was done before an error is as important as the error
    if !arguments.json {
        show(&document.done, arguments.verbose)?;
    }
    match outcome {
        Ok(()) | Err(Error::Settings(SettingsError::OnlyPlanned)) => Ok(Exit::Done),
        Err(error) => {
            if let Some(backup) = backups.first().or(globals.as_ref()) {
                arguments.backup.offer_readable(config, &run_id, backup, &error).await;
            }
            Err(error)
        }
    }
}

fn is_same_source(one: &Backup, other: &Backup) -> bool {
    one.manifest.source == other.manifest.source && one.server == other.server
}

/// Adds what other runs have of the databases that the globals name: shards of one server are runs of their own, and a
/// database whose backup failed in one run has an earlier one. Of the latest, the newest good backup of each counts; of
/// a run that was named, its own, and else the one that is nearest in time.
fn complete(of_run: &mut Vec<Backup>, globals: &Backup, others: &[Backup], is_latest: bool) {
    let time = globals.manifest.started;
    let rank = |backup: &Backup| match is_latest {
        true => time.signed_duration_since(backup.manifest.started),
        false => (backup.manifest.started - time).abs(),
    };
    for name in &globals.manifest.databases {
        let is_it = |backup: &&Backup| backup.manifest.subject.database() == Some(name);
        let own = of_run.iter().position(|backup| is_it(&backup));
        if own.is_some() && !is_latest {
            continue;
        }
        let own = own.map(|own| of_run.remove(own));
        let mut candidates = own.iter().filter(|backup| backup.is_good()).chain(others.iter().filter(is_it));
        let first = candidates.next();
        let best =
            first.map(|first| candidates.fold(first, |best, one| if rank(one) < rank(best) { one } else { best }));
        of_run.extend(best.cloned().or(own.clone()));
    }
}

/// The archives to restore databases from, and the one to restore roles from. Of other runs only what `may` be is taken.
async fn set(
    repository: &Repository,
    backup: Backup,
    request: &Request,
    is_latest: bool,
    may: impl Fn(&Backup) -> bool,
) -> Result<(Vec<Backup>, Option<Backup>), Error> {
    let is_of_server = backup.manifest.subject == Subject::Cluster;
    let is_globals = backup.manifest.subject == Subject::Globals;
    if !request.globals || is_of_server {
        let globals = request.globals.then(|| backup.clone());
        let is_wanted = request.cluster || request.into.is_some();
        return Ok((if is_wanted { vec![backup] } else { Vec::new() }, globals));
    }
    if is_globals && !request.cluster {
        return Ok((Vec::new(), Some(backup)));
    }
    let run = backup.manifest.run_id.clone();
    let all = repository.catalog().await?.backups;
    let (mut of_run, others): (Vec<Backup>, Vec<Backup>) =
        all.into_iter().partition(|other| other.manifest.run_id == run);
    let globals =
        of_run.iter().position(|other| other.manifest.subject == Subject::Globals).map(|at| of_run.remove(at));
    if globals.is_none() && !request.cluster {
        let why = format!(
            "the run that made {} did not save roles; set BACKUP_GLOBALS=true to save them",
            backup.manifest.id
        );
        return Err(Error::Settings(SettingsError::Usage(why)));
    }
    if let Some(globals) = globals.as_ref().filter(|_| request.cluster) {
        let others = others.into_iter().filter(|other| is_same_source(other, globals) && may(other));
        complete(&mut of_run, globals, &others.collect::<Vec<_>>(), is_latest);
    }
    let all = of_run;
    let backups = match (request.cluster, request.into.is_some()) {
        (true, _) => all,
        (false, true) => vec![backup],
        (false, false) => Vec::new(),
    };
    Ok((backups, globals))
}

/// A time with its zone, or a date, or a date and a time in the zone of the names.
fn parse_time(text: &str, zone: Tz) -> Result<DateTime<Utc>, Error> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let formats = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d_%H-%M-%S"];
    let time = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let day = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
    let local = time.or_else(day).and_then(|time| zone.from_local_datetime(&time).earliest());
    local.map(|time| time.to_utc()).ok_or_else(|| {
        Error::Settings(SettingsError::Usage(format!(
            "--before: `{text}` is not a time; write 2026-01-28, \"2026-01-28 02:05\" or 2026-01-28T02:05:00Z"
        )))
    })
}

/// What was restored, and every check that did not pass; those that did are counted.
fn show(done: &Done, verbose: bool) -> Result<(), Error> {
    let (mut rows, mut tallies) = (Vec::new(), Vec::new());
    for result in &done.checks {
        let tally = Tally::of(&result.checks);
        if !result.checks.is_empty() {
            tallies.push(format!("{}: {tally}", result.database));
        }
        for check in &result.checks {
            let verdict = match check.verdict {
                Verdict::Ok if !verbose => continue,
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Failed => "FAILED",
                Verdict::NotApplicable => continue,
            };
            let detail = if check.verdict == Verdict::Ok { check.found.clone() } else { check.details.join("; ") };
            let cells = [result.database.clone(), check.check.clone(), verdict.to_owned(), detail];
            rows.push(cells.iter().map(|cell| text::one_line(cell).into_owned()).collect());
        }
    }
    if !rows.is_empty() {
        let headings = vec![
            Heading::text("DATABASE"),
            Heading::text("CHECK").wraps(),
            Heading::text("VERDICT"),
            Heading::text("RESULT").wraps(),
        ];
        output::print_table(headings, rows)?;
    }
    tallies.iter().chain(&done.lines).try_for_each(|line| output::say(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_zone_of_the_names_unless_they_have_one() {
        let time = |text: &str| parse_time(text, chrono_tz::Asia::Bangkok).map(|time| time.to_rfc3339()).unwrap();
        assert_eq!(time("2026-01-28"), "2026-01-27T17:00:00+00:00");
        assert_eq!(time("2026-01-28 02:05"), "2026-01-27T19:05:00+00:00");
        assert_eq!(time("2026-01-28_02-05-09"), "2026-01-27T19:05:09+00:00");
        assert_eq!(time("2026-01-28T02:05:00Z"), "2026-01-28T02:05:00+00:00");
        assert!(parse_time("yesterday", chrono_tz::UTC).unwrap_err().to_string().contains("--before"));
    }
}
