//! What is recorded of an archive: its name, its manifest and its facts file.

use super::run::Run;
use crate::config::Format;
use crate::encryption;
use crate::error::{Error, SourceError};
use crate::hex;
use crate::pipeline::{CountedRows, GatheredFacts, StreamError, Streamed};
use crate::record::facts::writer::{self, NewContents, NewFacts, RowRun};
use crate::record::facts::{DatabaseHead, FactsHead, SequenceValue, Subject, Versions};
use crate::record::manifest::{self, Compression, Manifest};
use crate::storage::key::Naming;
use crate::text;
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A dump whose every byte was handed to the targets.
pub(super) struct Dumped {
    pub(super) streamed: Streamed,
    pub(super) databases: Vec<NewFacts>,
    pub(super) arguments: Vec<String>,
}

/// What is written beside an archive.
pub(super) struct NewRecord {
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
pub(super) async fn describe(run: &Run<'_>, naming: &Naming, dumped: Dumped) -> Result<NewRecord, Error> {
    let (context, server) = (run.context, &run.ready.server);
    let versions = Versions {
        server: server.version.text.clone(),
        client: server.tools.chosen.version.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let databases = fill(dumped.databases, dumped.streamed.found);
    if let Some(database) = databases.iter().find(|database| !database.replaced.is_empty()) {
        return Err(Error::Source(SourceError::Replaced(database.replaced.clone())));
    }
    let head = FactsHead {
        version: manifest::VERSION,
        id: naming.id(),
        subject: naming.subject.clone(),
        versions: versions.clone(),
    };
    let heads: Vec<DatabaseHead> = databases.iter().map(|database| database.head.clone()).collect();
    let mut notes: Vec<String> = heads.iter().filter(|head| !head.rewritten.is_empty()).map(note_rewritten).collect();
    notes.extend(heads.iter().filter(|head| !head.left_out.is_empty()).map(note_left_out));
    let recipients = context.config.encryption.recipients.as_ref();
    let mut facts_file = Bytes::from(writer::write(&head, databases));
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
        Subject::Database(_) => (heads.first().cloned(), Vec::new()),
        Subject::Cluster => (None, heads.iter().map(|head| head.name.clone()).collect()),
        // so that a restore of the whole run knows what should be in it
        Subject::Globals => (None, run.ready.tasks.selected.clone()),
    };
    let manifest = Manifest {
        version: manifest::VERSION,
        id: head.id,
        run_id: context.run_id.clone(),
        source: context.config.source.name.clone(),
        subject: head.subject,
        backup_type: naming.backup_type,
        format: naming.format,
        compression: Compression { method: method.to_owned(), level },
        encryption: recipients.map(|_| encryption::METHOD.to_owned()),
        started: naming.time,
        snapshot: only.as_ref().map(|head| head.snapshot.clone()),
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
        totals: heads.iter().map(|head| head.totals).sum(),
        properties: only.map(|head| head.properties),
    };
    let manifest = if recipients.is_some() { manifest.without_names() } else { manifest };
    Ok(NewRecord { manifest, facts: facts_file, notes })
}

/// Gives each database what the stream found in its part of the dump.
fn fill(mut databases: Vec<NewFacts>, found: GatheredFacts) -> Vec<NewFacts> {
    let begins: Vec<u64> = databases.iter().map(|database| database.head.raw_offset).collect();
    let mut contents: Vec<NewContents> = databases.iter().map(|_| NewContents::default()).collect();
    let owner = |offset: u64| begins.partition_point(|begin| *begin <= offset).checked_sub(1);
    for block in found.rows {
        if let Some(owner) = owner(block.raw_offset) {
            let CountedRows { table, columns, rows, fingerprint, member, .. } = block;
            contents[owner].blocks.push(RowRun { table, columns, rows, fingerprint, member });
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

fn note_rewritten(database: &DatabaseHead) -> String {
    format!(
        "{}: {} truncated or rewritten while the dump began, and may be empty in the backup despite having had rows",
        database.name,
        text::were(&database.rewritten)
    )
}

fn note_left_out(database: &DatabaseHead) -> String {
    const NAMED: usize = 10;
    let named: Vec<String> = database.left_out.iter().take(NAMED).map(ToString::to_string).collect();
    let more = database.left_out.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}: pg_dump leaves out {}{more}", database.name, named.join("; "))
}
