//! `backup verify`

use super::find::{FoundBackup, Named};
use super::json::{self, NothingDone};
use super::output::{self, Cell, Colour};
use super::table::Heading;
use super::tally::Tally;
use crate::config::Config;
use crate::error::{BackupError, Error, Exit, exit_of};
use crate::inventory::sides::{self, new_run_id};
use crate::job;
use crate::job::identity::identify;
use crate::notify::{self, Begun};
use crate::record::manifest::How;
use crate::report::{Activity, CopyReport, Entry, Failure, Outcome, Report, Stored};
use crate::repository::Backup;
use crate::shutdown::Shutdown;
use crate::text;
use crate::verify::report::{self, Check, StageSeconds, Verdict};
use crate::verify::{Verified, Verifier};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use tracing::{Instrument, error_span, instrument};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    backup: Named,
    /// The newest backup of each database, one after the other
    ///
    /// Of this source, including its globals.
    #[arg(long, conflicts_with_all = ["name", "database", "report"])]
    each: bool,
    /// Compare only the stored bytes, and restore nothing
    #[arg(long)]
    checksum_only: bool,
    /// Also write the JSON report to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Show every check, not only those that did not pass
    #[arg(long)]
    verbose: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What is printed as JSON with `--each`.
#[derive(Serialize)]
struct EachDocument {
    reports: Vec<report::VerificationReport>,
}

/// A backup and what came of its verification.
struct Proof {
    backup: Backup,
    place: CopyReport,
    verified: Result<Verified, Error>,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config, shutdown: &Shutdown) -> Result<Exit, Error> {
    let mut reports = Vec::new();
    let ended = prove(arguments, config, shutdown, &mut reports).await;
    match (ended, reports.as_slice()) {
        (ended, _) if !arguments.json => ended.map(|(exit, _)| exit),
        (ended, _) if arguments.each => json::conclude("verify", &EachDocument { reports }, ended),
        (Ok((exit, _)), [report]) => json::written(exit, output::print_json(report)),
        (ended, _) => json::conclude("verify", &NothingDone {}, ended),
    }
}

/// Verifies, and tells everybody; `reports` are those of the backups that could be verified.
async fn prove(
    arguments: &Arguments,
    config: &Config,
    shutdown: &Shutdown,
    reports: &mut Vec<report::VerificationReport>,
) -> Result<(Exit, Vec<Error>), Error> {
    let _timer = job::deadline(config, shutdown);
    let (run_id, started) = (new_run_id(), Utc::now());
    // what cannot be written is better known before
    let mut file = arguments.report.as_deref().map(open).transpose()?;
    let proved = match shutdown.guard(find(arguments, config, &run_id)).await.map_err(Error::from).flatten() {
        // whoever asks for what cannot be is told so, and nobody else
        Err(error) if error.exit() == Exit::Usage => return Err(error),
        Err(error) => Err(error),
        Ok((found, away)) => Ok((verify(found, arguments, config, &run_id, shutdown).await, away)),
    };
    let mut unwritten = None;
    if let Ok((proofs, _)) = &proved {
        reports.extend(proofs.iter().filter_map(|proof| Some(proof.verified.as_ref().ok()?.report.clone())));
        if let (Some(file), Some(path), Some(report)) = (&mut file, &arguments.report, reports.first()) {
            let written = file.set_len(0).and_then(|()| file.write_all(output::json(report).as_bytes()));
            unwritten = written.err().map(|error| unwritable(path, &error));
        }
        if !arguments.json {
            let printed = reports.iter().try_for_each(|report| show(report, arguments.verbose));
            unwritten = unwritten.or(printed.err());
        }
    }
    let report = report(arguments, config, &run_id, started, &proved);
    if config.metrics.is_wanted() {
        let (sides, _) = sides::open_some(config, config.target, &run_id).await;
        identify(config, &sides).await;
        job::metrics::publish(config, &sides, None, shutdown).await;
    }
    notify::send(&config.notifications, &report, Begun::default(), shutdown).await;
    let (proofs, away) = proved?;
    let mut errors: Vec<Error> = away.into_iter().chain(proofs.into_iter().flat_map(Proof::errors)).collect();
    errors.extend(unwritten);
    errors.iter().for_each(output::complain_of);
    Ok((exit_of(errors.iter(), false), errors))
}

/// What is to be verified, and why a side could not be looked at.
#[instrument(level = "error", skip_all, fields(run_id = run_id, source = config.source.name))]
async fn find(arguments: &Arguments, config: &Config, run_id: &str) -> Result<(Vec<FoundBackup>, Vec<Error>), Error> {
    match arguments.each {
        true => arguments.backup.find_each(config, run_id).await,
        false => arguments.backup.find(config, run_id).await.map(|found| (vec![found], Vec::new())),
    }
}

#[instrument(level = "error", skip_all, fields(run_id = run_id, source = config.source.name, stage = "verify"))]
async fn verify(
    found: Vec<FoundBackup>,
    arguments: &Arguments,
    config: &Config,
    run_id: &str,
    shutdown: &Shutdown,
) -> Vec<Proof> {
    let how = if arguments.checksum_only { How::Checksum } else { How::Restore };
    let terminal = std::io::stderr().is_terminal();
    let verifier = Verifier { config, run_id, shutdown, now: Utc::now, terminal };
    let mut proofs = Vec::new();
    for (repository, backup) in found {
        let (side, key) = (repository.side(), Some(backup.key.clone()));
        let place = CopyReport { side, key, location: repository.location().of(&backup.key), stored: true };
        let (database, backup_id) = (backup.manifest.subject.database(), &backup.manifest.id);
        let span = error_span!("backup", database, backup_id);
        let verified = verifier.verify(&repository, &backup, how).instrument(span).await;
        if let Err(error) = &verified {
            arguments.backup.offer_readable(config, run_id, &backup, error).await;
        }
        proofs.push(Proof { backup, place, verified });
        if shutdown.reason().is_some() {
            break;
        }
    }
    proofs
}

impl Proof {
    fn failure(&self) -> Option<Failure> {
        match &self.verified {
            Ok(Verified { report, .. }) if report.verification.passed => None,
            Ok(Verified { report, .. }) => Some(job::failure("verify", &unproved(report))),
            Err(error) => Some(job::failure("verify", error)),
        }
    }

    /// What failed; the backup's own fault comes last.
    fn errors(self) -> Vec<Error> {
        match self.verified {
            Ok(Verified { report, unrecorded }) => {
                let failed = (!report.verification.passed).then(|| unproved(&report));
                unrecorded.into_iter().chain(failed).collect()
            }
            Err(error) => vec![error],
        }
    }
}

fn unproved(report: &report::VerificationReport) -> Error {
    Error::Backup(BackupError::Unproved { id: report.id.clone(), failures: report.failures() })
}

fn open(path: &Path) -> Result<File, Error> {
    let opened = File::options().create(true).write(true).truncate(false).open(path);
    opened.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::Io(format!("--report: writing {}: {error}", path.display()))
}

/// One sentence about the backup, behind every check that did not pass, or all of them.
fn show(report: &report::VerificationReport, verbose: bool) -> Result<(), Error> {
    let several = report.databases.len() > 1;
    let is_shown = |check: &Check| verbose || !matches!(check.verdict, Verdict::Ok | Verdict::NotApplicable);
    let row = |(database, check): (Option<&str>, &Check)| {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
            Verdict::NotApplicable => "-",
        };
        let result = match check.verdict {
            Verdict::Ok => check.found.clone(),
            _ => check.details.join("; "),
        };
        let result = if result.is_empty() { check.found.clone() } else { result };
        let mut cells = vec![check.number.to_string(), check.check.clone(), verdict.to_owned(), result];
        if several {
            cells.insert(1, database.unwrap_or_default().to_owned());
        }
        cells.iter().map(|cell| text::one_line(cell).into_owned()).collect()
    };
    let rows: Vec<Vec<String>> = report.checks().filter(|(_, check)| is_shown(check)).map(row).collect();
    if !rows.is_empty() {
        let mut headings = vec![
            Heading::number(""),
            Heading::text("CHECK").wraps(),
            Heading::text("VERDICT"),
            Heading::text("RESULT").wraps(),
        ];
        if several {
            headings.insert(1, Heading::text("DATABASE"));
        }
        output::print_table(headings, rows)?;
    }
    for (database, exception) in report.exceptions() {
        let database = database.filter(|_| several).map(|name| format!("{name}: ")).unwrap_or_default();
        output::say(&format!("exception: {database}{} ({})", exception.object, exception.reason))?;
    }
    output::print_line(&sentence(report))
}

fn sentence(report: &report::VerificationReport) -> Cell {
    let restored = report.seconds().map(|StageSeconds { load, index, compare }| {
        let all = load + index;
        format!(
            ", restored in {all:.1} s (rows {load:.1} s, indexes and keys {index:.1} s), compared in {compare:.1} s"
        )
    });
    let restored = restored.unwrap_or_default();
    let exceptions = match report.verification.exceptions {
        0 => String::new(),
        count => format!(" with {}", text::count(count, "exception")),
    };
    let tally = Tally::of(report.checks().map(|(_, check)| check));
    let (word, colour) = match (report.verification.passed, report.verification.exceptions) {
        (false, _) => ("FAILED", Colour::Red),
        (true, 0) => ("passed", Colour::Green),
        (true, _) => ("passed", Colour::Yellow),
    };
    Cell::coloured(&text::one_line(&format!("{} {word}{exceptions}{restored}, {tally}", report.id)), colour)
}

/// What people are told; an error where no backup could be found.
fn report(
    arguments: &Arguments,
    config: &Config,
    run_id: &str,
    started: DateTime<Utc>,
    proved: &Result<(Vec<Proof>, Vec<Error>), Error>,
) -> Report {
    let wanted = if arguments.each { "the latest backup of each database" } else { "the latest backup" };
    let mut report = Report::begin(Activity::Verification, run_id, config.dump.backup_type, started);
    (report.outcome, report.finished) = (Outcome::Success, Utc::now());
    report.source.clone_from(&config.source.name);
    wanted.clone_into(&mut report.wanted);
    let (proofs, away) = match proved {
        Ok(proved) => proved,
        Err(error) => {
            report.outcome = Outcome::Failure;
            report.failures.push(job::failure("verify", error));
            return report;
        }
    };
    if !away.is_empty() {
        report.outcome = Outcome::Failure;
        report.failures.extend(away.iter().map(|error| job::failure("verify", error)));
    }
    if let [Proof { backup, .. }] = proofs.as_slice() {
        report.source.clone_from(&backup.manifest.source);
        report.backup_type = backup.manifest.backup_type;
        report.wanted = backup.manifest.subject.to_string();
    }
    for proof in proofs {
        let failure = proof.failure();
        if failure.is_some() {
            report.outcome = Outcome::Failure;
        }
        report.entries.push(Entry {
            backup: Some(Stored::of(&proof.backup.manifest)),
            places: vec![proof.place.clone()],
            verified: proof.verified.as_ref().ok().map(|verified| job::summary(&verified.report)),
            failures: failure.into_iter().collect(),
            ..Entry::new(proof.backup.manifest.subject.clone())
        });
    }
    report
}
