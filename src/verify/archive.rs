//! Check 0: a stored archive is what its manifest and facts say.

use super::report::{Check, Verdict};
use crate::error::{Error, StoreError};
use crate::loader::Broken;
use crate::loader::archive::{Ended, Reading};
use crate::loader::parts::ArchiveParts;
use crate::pipeline::{self, GatheredFacts, Sums};
use crate::record::facts::reader::Fact;
use crate::record::facts::{Facts, Subject};
use crate::record::manifest::Manifest;
use crate::text;
use std::collections::BTreeSet;
use tracing::info;

/// Title of check 0, which comes before those of databases.
const ARCHIVE: &str = "archive";

/// Check 0, once the dump was read as far as it goes; without facts it is of the stored bytes alone.
pub(crate) async fn prove(
    reading: Reading,
    manifest: &Manifest,
    facts: Option<&Facts>,
    read: Result<(), Broken>,
) -> Result<Check, Error> {
    let (stored, found) = match reading.end().await? {
        Ended::Whole { stored, found } => (stored, found),
        Ended::Parts(parts) => return prove_parts(manifest, *parts, read).await,
    };
    let mut details = Vec::new();
    let as_stored = stored.bytes == manifest.stored_bytes && stored.sha256 == manifest.sha256;
    match read {
        Ok(()) if !as_stored => details.push("the stored bytes differ from those that were written".to_owned()),
        Ok(()) => {}
        Err(Broken::Backup(cause)) => details.push(cause),
        // whatever went wrong, the bytes are not to be trusted
        Err(Broken::Other(error))
            if !as_stored && !matches!(error, Error::Stopped(_) | Error::Store(StoreError::Storage(_))) =>
        {
            details.push(error.to_string());
        }
        Err(Broken::Other(error)) => return Err(error),
    }
    if let Some(facts) = facts.filter(|_| as_stored && details.is_empty() && manifest.subject != Subject::Globals) {
        details.extend(content_differences(facts, found)?);
    }
    if as_stored && details.is_empty() {
        let text = describe(&stored);
        return Ok(Check::new(0, ARCHIVE, Verdict::Ok, text.clone(), text, Vec::new()));
    }
    Ok(failed_archive(manifest, Some(&stored), details))
}

/// Parts prove themselves as they are read: each run of wanted rows by its own SHA-256.
async fn prove_parts(manifest: &Manifest, parts: ArchiveParts, read: Result<(), Broken>) -> Result<Check, Error> {
    match read {
        Ok(()) => {
            let found = format!("{} of {} bytes", parts.bytes, manifest.stored_bytes);
            info!(bytes = parts.bytes, "read {found} of the archive");
            Ok(Check::new(
                0,
                ARCHIVE,
                Verdict::Ok,
                "the SHA-256 of the rows that are read".to_owned(),
                found,
                Vec::new(),
            ))
        }
        Err(Broken::Backup(cause)) => Ok(failed_archive(manifest, None, vec![cause])),
        Err(Broken::Other(error)) if matches!(error, Error::Stopped(_) | Error::Store(StoreError::Storage(_))) => {
            Err(error)
        }
        // whatever went wrong, the bytes are not to be trusted
        Err(Broken::Other(error)) if parts.ends_as_written().await => Err(error),
        Err(Broken::Other(error)) => Ok(failed_archive(manifest, None, vec![error.to_string()])),
    }
}

fn describe(stored: &pipeline::StoredBytes) -> String {
    format!("{} bytes, SHA-256 {}", stored.bytes, stored.sha256)
}

pub(super) fn failed_archive(
    manifest: &Manifest,
    stored: Option<&pipeline::StoredBytes>,
    details: Vec<String>,
) -> Check {
    let expected = describe(&pipeline::StoredBytes {
        bytes: manifest.stored_bytes,
        sha256: manifest.sha256.clone(),
        raw_bytes: manifest.raw_bytes,
    });
    Check::new(0, ARCHIVE, Verdict::Failed, expected, stored.map(describe).unwrap_or_default(), details)
}

/// Rows in the archive that are not those of the facts, whatever database they are of.
fn content_differences(facts: &Facts, found: Result<GatheredFacts, &'static str>) -> Result<Vec<String>, Error> {
    let found = match found {
        Ok(found) => found.sums,
        Err(cause) => return Ok(vec![cause.to_owned()]),
    };
    let mut expected = Sums::default();
    let mut differing = BTreeSet::new();
    for database in facts.databases() {
        let add = |fact| {
            if let Fact::Rows(table, rows) = fact {
                expected.add(&table, rows.rows, rows.fingerprint);
            }
        };
        database.each_content(add)?;
    }
    if expected == found {
        return Ok(Vec::new());
    }
    for database in facts.databases() {
        let name = |fact| {
            if let Fact::Rows(table, _) = fact
                && found.of(&table) != expected.of(&table)
            {
                differing.insert(table);
            }
        };
        database.each_content(name)?;
    }
    let differing = differing.iter();
    let mut details: Vec<String> = differing
        .map(|table| format!("{}: the rows in the archive differ from those that were dumped", text::one_line(table)))
        .collect();
    let unknown = found.beside(&expected);
    if unknown > 0 {
        details.push(format!("the archive has rows of {} that the facts do not list", text::count(unknown, "table")));
    }
    Ok(details)
}
