//! What is recorded of an archive: its name, its manifest and its facts file.

use super::run::Run;
use crate::config::Format;
use crate::encryption;
use crate::error::Error;
use crate::facts::{Contents, DatabaseFacts, Facts, Member, SequenceValue, Subject, Versions};
use crate::hex;
use crate::human;
use crate::manifest::{self, Compression, Manifest};
use crate::pipeline::{Found, StreamError, Streamed};
use crate::storage::key::Naming;
use async_compression::tokio::write::GzipEncoder;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

/// A dump whose every byte was handed to the targets.
pub(super) struct Dumped {
    pub(super) streamed: Streamed,
    pub(super) databases: Vec<DatabaseFacts>,
    pub(super) arguments: Vec<String>,
}

/// What is written beside an archive.
pub(super) struct Described {
    pub(super) manifest: Manifest,
    /// Bytes of the facts file that the manifest names.
    pub(super) facts: Bytes,
    /// What a person should know of the archive.
    pub(super) notes: Vec<String>,
}

/// The format of an archive: only a database can be a custom one.
pub(super) fn format(run: &Run<'_>, subject: &Subject) -> Format {
    match subject {
        Subject::Database(_) => run.context.config.dump.format,
        Subject::Globals | Subject::Cluster => Format::Plain,
    }
}

/// The name of an archive that begins now.
pub(super) fn naming(run: &Run<'_>, subject: &Subject) -> Naming {
    let config = &run.context.config;
    Naming {
        base: config.dump.base_name.clone(),
        subject: subject.clone(),
        several: config.selection.tells_apart,
        backup_type: run.context.backup_type,
        format: format(run, subject),
        encrypted: config.encryption.recipients.is_some(),
        time: (run.context.now)(),
        zone: config.dump.timezone,
    }
}

/// What is known of a dump as it will be stored.
pub(super) async fn describe(run: &Run<'_>, naming: &Naming, dumped: Dumped) -> Result<Described, Error> {
    let (context, server) = (run.context, &run.ready.server);
    let versions = Versions {
        server: server.version.text.clone(),
        client: server.tools.chosen.version.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let facts = Facts {
        version: manifest::VERSION,
        id: naming.id(),
        subject: naming.subject.clone(),
        versions: versions.clone(),
        databases: fill(dumped.databases, dumped.streamed.found, dumped.streamed.members),
    };
    if let Some(database) = facts.databases.iter().find(|database| !database.replaced.is_empty()) {
        return Err(Error::Replaced(database.replaced.clone()));
    }
    let mut notes: Vec<String> =
        facts.databases.iter().filter(|database| !database.rewritten.is_empty()).map(note_rewritten).collect();
    notes.extend(facts.databases.iter().filter(|database| !database.left_out.is_empty()).map(note_left_out));
    let recipients = context.config.encryption.recipients.as_ref();
    let mut facts_file = gzip_json(&facts).await;
    if let Some(recipients) = recipients {
        facts_file = recipients.encrypt(&facts_file).map_err(StreamError::Encrypt)?;
    }
    let dump = &context.config.dump;
    let (method, level) = match naming.format {
        Format::Plain => ("gzip", dump.sql_level()),
        Format::Custom => ("pg_dump", dump.level),
    };
    // of several databases only the facts file tells more than the names
    let (only, databases) = match naming.subject {
        Subject::Database(_) => (facts.databases.first().cloned(), Vec::new()),
        Subject::Cluster => (None, facts.databases.iter().map(|d| d.name.clone()).collect()),
        // so that a restore of the whole run knows what should be in it
        Subject::Globals => (None, run.ready.tasks.selected.clone()),
    };
    let manifest = Manifest {
        version: manifest::VERSION,
        id: facts.id,
        run_id: context.run_id.clone(),
        source: context.config.source.name.clone(),
        subject: facts.subject,
        backup_type: naming.backup_type,
        format: naming.format,
        compression: Compression { method: method.to_owned(), level },
        encryption: recipients.map(|_| encryption::METHOD.to_owned()),
        started: naming.time,
        snapshot: only.as_ref().map(|database| database.snapshot.clone()),
        finished: (context.now)(),
        versions,
        system_identifier: server.system_identifier.clone(),
        raw_bytes: dumped.streamed.raw_bytes,
        stored_bytes: dumped.streamed.stored_bytes,
        sha256: dumped.streamed.sha256,
        facts_sha256: hex::encode(&Sha256::digest(&facts_file)),
        arguments: dumped.arguments,
        databases,
        settings_of_all_roles: match naming.subject {
            Subject::Database(_) => Vec::new(),
            Subject::Globals | Subject::Cluster => server.settings_of_all_roles.clone(),
        },
        totals: facts.databases.iter().map(|database| database.totals).sum(),
        properties: only.map(|database| database.properties),
    };
    let manifest = if recipients.is_some() { manifest.without_names() } else { manifest };
    Ok(Described { manifest, facts: facts_file, notes })
}

/// Gives each database what the stream found in its part of the dump.
fn fill(mut databases: Vec<DatabaseFacts>, found: Found, members: Vec<Member>) -> Vec<DatabaseFacts> {
    let begins: Vec<u64> = databases.iter().map(|database| database.raw_offset).collect();
    let mut contents = vec![Contents::default(); databases.len()];
    let owner = |offset: u64| begins.partition_point(|begin| *begin <= offset).checked_sub(1);
    for (rows, member) in found.rows.into_iter().zip(members) {
        if let Some(owner) = owner(rows.raw_offset) {
            contents[owner].add(rows.table, rows.columns, rows.rows, rows.fingerprint, member);
        }
    }
    for (offset, set) in found.sequences {
        if let Some(owner) = owner(offset) {
            let value = SequenceValue { value: set.value, is_called: set.is_called };
            contents[owner].sequences.insert(set.sequence, value);
        }
    }
    for (offset, run) in found.large_objects {
        if let Some(owner) = owner(offset) {
            contents[owner].large_objects.count += run.count;
            contents[owner].large_objects.fingerprint.add(run.fingerprint);
        }
    }
    for (offset, encoding) in found.encodings {
        if let Some(owner) = owner(offset) {
            contents[owner].encoding = Some(encoding);
        }
    }
    databases.iter_mut().zip(contents).for_each(|(database, contents)| database.fill(contents));
    databases
}

fn note_rewritten(database: &DatabaseFacts) -> String {
    format!(
        "{}: {} truncated or rewritten while the dump began, and may be empty in it although rows were there",
        database.name,
        human::were(&database.rewritten)
    )
}

fn note_left_out(database: &DatabaseFacts) -> String {
    const NAMED: usize = 10;
    let named: Vec<String> = database.left_out.iter().take(NAMED).map(ToString::to_string).collect();
    let more = database.left_out.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}: pg_dump leaves out {}{more}", database.name, named.join("; "))
}

async fn gzip_json(value: &impl serde::Serialize) -> Bytes {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut encoder = GzipEncoder::new(Vec::new());
    // writing to memory cannot fail
    let _ = encoder.write_all(&json).await;
    let _ = encoder.shutdown().await;
    encoder.into_inner().into()
}
