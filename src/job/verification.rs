//! Verification of what a run has stored: restored from one target, and the bytes of the others compared with it.

use super::context::{At, Context, StageError, failure};
use super::outcome::Errors;
use crate::error::{BackupError, Error};
use crate::record::manifest::How;
use crate::report::{self, Entry, Report};
use crate::repository::{Backup, Repository};
use crate::text;
use crate::verify::report::{self as verification, Verdict};
use crate::verify::{Verified, Verifier};
use std::time::Instant;
use tracing::{error, info, instrument, warn};

/// Verifies each backup of the run, one after the other.
#[instrument(level = "error", skip_all, fields(stage = "verify"))]
pub(super) async fn verify_all(context: &Context, report: &mut Report, errors: &mut Errors) {
    if context.config.verify.is_source {
        warn!(
            "backups are verified on the source server itself, which costs it time and space; set VERIFY_HOST to use \
             another server"
        );
    }
    for index in 0..report.entries.len() {
        if report.entries[index].backup.is_none() {
            continue;
        }
        let entry = &mut report.entries[index];
        let begun = Instant::now();
        let verified = verify(context, entry).await;
        entry.add_stage("verify", begun);
        match verified {
            Ok(()) => {}
            Err(error @ StageError { error: Error::Stopped(_), .. }) => return errors.add(report, error),
            Err(error) => {
                let failure = failure(error.stage, &error.error);
                let (database, backup_id) = (entry.subject.database(), entry.backup.as_ref().map(|backup| &backup.id));
                error!(stage = failure.stage, database, backup_id, "{}: {failure}", entry.subject);
                entry.failures.push(failure);
                errors.0.push(error.error);
            }
        }
    }
}

/// Verifies the backup of one entry wherever it is stored.
#[instrument(
    level = "error",
    skip_all,
    fields(database = entry.subject.database(), backup_id = entry.backup.as_ref().map(|backup| &backup.id))
)]
async fn verify(context: &Context, entry: &mut Entry) -> Result<(), StageError> {
    let verifier = verifier(context);
    let mut proof: Option<verification::VerificationReport> = None;
    for place in entry.places.iter().filter(|place| place.stored) {
        let on_side = context.sides.iter().find(|repository| repository.side() == place.side);
        let Some((repository, key)) = on_side.zip(place.key.as_ref()) else { continue };
        let found = context.shutdown.guard(repository.find(key)).await.at("verify")?.at("verify")?;
        let backup = found.ok_or_else(|| Error::Io(format!("{} no longer exists", place.location))).at("verify")?;
        let how = if proof.is_none() { How::Restore } else { How::Checksum };
        let Verified { report: result, unrecorded } = verifier.verify(repository, &backup, how).await.at("verify")?;
        entry.verified = Some(summary(proof.as_ref().filter(|_| result.verification.passed).unwrap_or(&result)));
        if !result.verification.passed {
            let (id, failures) = (result.id.clone(), result.failures());
            return Err(Error::Backup(BackupError::Unproved { id, failures })).at("verify");
        }
        if let Some(error) = unrecorded {
            return Err(error).at("verify");
        }
        match &proof {
            // the same bytes restore the same way
            Some(proof) => record(context, repository, &backup, proof).await.at("verify")?,
            None => proof = Some(result),
        }
    }
    let Some(proof) = proof else { return Ok(()) };
    for (database, check) in proof.with(Verdict::Warning) {
        let database = database.map(|name| format!("{name}: ")).unwrap_or_default();
        let note = format!("{database}{}: {}", check.check, check.details.join("; "));
        warn!("{note}");
        entry.notes.push(note);
    }
    let seconds = proof.restore_seconds();
    match proof.verification.exceptions {
        0 => info!(seconds, "verified {}", proof.id),
        count => warn!(
            seconds,
            exceptions = count,
            "verified {}: every row came back, with {}; its report lists them with the SQL that would create them",
            proof.id,
            text::count(count, "exception")
        ),
    }
    Ok(())
}

fn verifier(context: &Context) -> Verifier<'_> {
    // the run has a bar of its own
    let Context { config, run_id, shutdown, now, .. } = context;
    Verifier { config, run_id, shutdown, now: *now, terminal: false }
}

async fn record(
    context: &Context,
    repository: &Repository,
    backup: &Backup,
    proof: &verification::VerificationReport,
) -> Result<(), Error> {
    let location = repository.location().of(&backup.key);
    let bytes =
        serde_json::to_vec_pretty(&verification::VerificationReport { location, ..proof.clone() }).unwrap_or_default();
    let recorded = repository.record_verification(backup, proof.verification.finished, bytes.into());
    Ok(context.shutdown.guard(recorded).await??)
}

/// What people are told of a verification.
pub fn summary(report: &verification::VerificationReport) -> report::VerificationSummary {
    report::VerificationSummary {
        passed: report.verification.passed,
        tables: report.databases.iter().map(|database| database.tables).sum(),
        rows: report.databases.iter().map(|database| database.rows).sum(),
        restore_seconds: report.restore_seconds(),
        warnings: report.with(Verdict::Warning).count(),
        exceptions: report.exceptions().map(|(_, one)| format!("{} ({})", one.object, one.reason)).collect(),
    }
}
