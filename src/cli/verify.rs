//! `backup verify`

use super::find::{LATEST, Named};
use super::output;
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::human;
use crate::job;
use crate::manifest::How;
use crate::notify::{self, Begun};
use crate::report::{Activity, Entry, Outcome, Place, Report, Stored};
use crate::repository::Backup;
use crate::shutdown::Shutdown;
use crate::targets::{self, new_run_id};
use crate::verify::report::{self, Check, Verdict};
use crate::verify::{Verified, Verifier};
use chrono::{DateTime, Utc};
use clap::Args;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    backup: Named,
    /// Read the stored bytes and compare them, and restore nothing
    #[arg(long)]
    checksum_only: bool,
    /// Write the JSON report to this file, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config, shutdown: &Shutdown) -> Result<Exit, Error> {
    let _timer = job::deadline(config, shutdown);
    let (run_id, started) = (new_run_id(), Utc::now());
    // what cannot be written is better known before
    let mut file = arguments.report.as_deref().map(open).transpose()?;
    let found = shutdown.guard(arguments.backup.find(config, &run_id)).await.map_err(Error::from).flatten();
    let how = if arguments.checksum_only { How::Checksum } else { How::Restore };
    let terminal = std::io::stderr().is_terminal();
    let verifier = Verifier { config, run_id: &run_id, shutdown, now: Utc::now, terminal };
    let (subject, verified) = match found {
        Ok((repository, backup)) => {
            let place =
                Place { side: repository.side(), location: repository.location().of(&backup.key), stored: true };
            let verified = verifier.verify(&repository, &backup, how).await;
            (Some((backup, place)), verified)
        }
        // whoever mistypes a name is told so, and nobody else
        Err(error @ Error::Usage(_)) if arguments.backup.name != LATEST => return Err(error),
        Err(error) => (None, Err(error)),
    };
    let mut unwritten = None;
    if let Ok(Verified { report, .. }) = &verified {
        let json = serde_json::to_string_pretty(report).unwrap_or_default() + "\n";
        if let (Some(file), Some(path)) = (&mut file, &arguments.report) {
            let written = file.set_len(0).and_then(|()| file.write_all(json.as_bytes()));
            unwritten = written.err().map(|error| unwritable(path, &error));
        }
        if arguments.json {
            output::print(&json);
        } else {
            show(report);
        }
    }
    let notice = notice(config, &run_id, started, subject, &verified);
    if config.metrics.is_wanted() {
        let (sides, _) = targets::open_some(config, config.target, &run_id).await;
        job::publish(config, &sides, None, shutdown).await;
    }
    notify::send(&config.notices, &notice, Begun::default(), shutdown).await;
    let Verified { report, unrecorded } = verified?;
    let left: Vec<Error> = unrecorded.into_iter().chain(unwritten).collect();
    if report.verification.passed {
        return left.into_iter().next().map_or(Ok(Exit::Done), Err);
    }
    left.iter().for_each(|error| output::complain(&error.to_string()));
    Err(Error::Unproved { id: report.id.clone(), failures: report.failures() })
}

fn open(path: &Path) -> Result<File, Error> {
    let opened = File::options().create(true).write(true).truncate(false).open(path);
    opened.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::Io(format!("--report: writing {}: {error}", path.display()))
}

fn show(report: &report::Report) {
    let several = report.databases.len() > 1;
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
        cells.iter().map(|cell| human::one_line(cell).into_owned()).collect()
    };
    let mut headings = vec!["", "CHECK", "VERDICT", "RESULT"];
    if several {
        headings.insert(1, "DATABASE");
    }
    output::print_table(&headings, report.checks().map(row).collect());
    let restored = report.restore_seconds().map(|seconds| format!(", restored in {seconds:.1} s")).unwrap_or_default();
    let word = if report.verification.passed { "passed" } else { "FAILED" };
    output::print(&format!("{} {word}{restored}\n", report.id));
}

/// What people are told; without a backup none could be found.
fn notice(
    config: &Config,
    run_id: &str,
    started: DateTime<Utc>,
    subject: Option<(Backup, Place)>,
    verified: &Result<Verified, Error>,
) -> Report {
    let mut report = Report {
        activity: Activity::Verification,
        run_id: run_id.to_owned(),
        source: config.source.name.clone(),
        shard: None,
        wanted: "the latest backup".to_owned(),
        backup_type: config.dump.backup_type,
        started,
        finished: Utc::now(),
        outcome: Outcome::Success,
        entries: Vec::new(),
        targets: Vec::new(),
        pruned: Vec::new(),
        failures: Vec::new(),
        kept: None,
        failing_since: None,
    };
    let failure = match verified {
        Ok(Verified { report, .. }) if report.verification.passed => None,
        Ok(Verified { report, .. }) => {
            let error = Error::Unproved { id: report.id.clone(), failures: report.failures() };
            Some(job::failure("verify", &error))
        }
        Err(error) => Some(job::failure("verify", error)),
    };
    if failure.is_some() {
        report.outcome = Outcome::Failure;
    }
    let Some((Backup { manifest, .. }, place)) = subject else {
        report.failures.extend(failure);
        return report;
    };
    report.source.clone_from(&manifest.source);
    report.backup_type = manifest.backup_type;
    report.wanted = manifest.subject.to_string();
    report.entries.push(Entry {
        backup: Some(Stored::of(&manifest)),
        places: vec![place],
        verified: verified.as_ref().ok().map(|verified| job::summary(&verified.report)),
        failures: failure.into_iter().collect(),
        ..Entry::new(manifest.subject)
    });
    report
}
