//! One backup: snapshot → dump → stream → commit on every target.

use super::preflight::{Ready, one_of};
use super::{At, Context, Side, StageError};
use crate::config::Format;
use crate::error::Error;
use crate::facts::{Facts, Totals, Versions};
use crate::hex;
use crate::manifest::{self, Compression, Manifest, SnapshotRecord};
use crate::pipeline::{self, Encoding, Gzip, Streamed, TARGET_QUEUE};
use crate::postgres::catalog;
use crate::postgres::dump::{self, Dump, DumpError};
use crate::postgres::lock::Lock;
use crate::postgres::snapshot::Snapshot;
use crate::progress::{self, Counters};
use crate::report::Stored;
use crate::repository::{Content, Draft};
use crate::storage::key::Naming;
use crate::storage::{StorageError, feed};
use async_compression::tokio::write::GzipEncoder;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// Names tried when others have the same second.
const NAME_ATTEMPTS: usize = 10;

/// A backup that at least one target has.
pub(super) struct Made {
    pub(super) stored: Stored,
    pub(super) locations: Vec<String>,
    /// Targets that lack it, and why.
    pub(super) failed: Vec<StageError>,
}

/// A draft and the error that took its target out of the run.
struct Leg<'a> {
    side: &'a Side,
    draft: Draft,
    error: Option<Error>,
}

/// Makes the backup; a dump that DDL broke is tried once more under a new snapshot.
pub(super) async fn make(
    context: &Context,
    ready: &mut Ready<'_>,
    mut lock: Option<&mut Lock>,
) -> Result<Made, StageError> {
    match make_once(context, ready, lock.as_deref_mut()).await {
        Err(StageError { error: Error::Dump(error), .. }) if error.is_concurrent_change() => {
            warn!("{error}: {}; objects changed meanwhile, trying once more", error.stderr().unwrap_or_default());
            make_once(context, ready, lock).await
        }
        outcome => outcome,
    }
}

async fn make_once(context: &Context, ready: &mut Ready<'_>, lock: Option<&mut Lock>) -> Result<Made, StageError> {
    let started = (context.now)();
    let application = context.application();
    let opened = Snapshot::open(&context.config.source, &application);
    let snapshot = context.shutdown.guard(opened).await.at("snapshot")?.at("snapshot")?;
    let described = context.shutdown.guard(describe(&snapshot)).await.at("snapshot")?;
    let described = described.at("snapshot")?;
    let (naming, mut legs) = begin(context, ready, started, described.totals.database_bytes).await?;

    let arguments = dump::arguments(&context.config.dump, snapshot.id());
    let streamed = stream(context, ready, &arguments, described.totals.database_bytes, &mut legs).await;
    let record = SnapshotRecord { taken: snapshot.taken(), exported: snapshot.id().is_some() };
    let streamed = match streamed {
        Ok(streamed) => streamed,
        Err(error) => {
            abandon(context, legs).await;
            return Err(error);
        }
    };
    let (manifest, facts) = describe_backup(context, ready, &naming, &streamed, described, record, arguments).await;
    let held = match lock {
        Some(lock) => context.shutdown.guard(lock.is_held(&context.config.source)).await.unwrap_or(false),
        None => true,
    };
    if held {
        // the server may clean up again while the targets finish
        drop(snapshot);
        return commit(context, legs, &manifest, facts).await;
    }
    warn!("the lock was lost while the dump ran; this backup is kept all the same, and nothing is pruned");
    // the session shows other runs that this one still lives
    let made = commit(context, legs, &manifest, facts).await;
    drop(snapshot);
    made
}

/// What the snapshot says of the database.
struct Described {
    totals: Totals,
    properties: crate::facts::DatabaseProperties,
}

async fn describe(snapshot: &Snapshot) -> Result<Described, tokio_postgres::Error> {
    let connection = snapshot.connection();
    Ok(Described { totals: catalog::totals(connection).await?, properties: catalog::properties(connection).await? })
}

/// Announces the backup on every target, under one name that is free on all of them.
async fn begin<'a>(
    context: &Context,
    ready: &mut Ready<'a>,
    started: DateTime<Utc>,
    expected_bytes: u64,
) -> Result<(Naming, Vec<Leg<'a>>), StageError> {
    let settings = &context.config.dump;
    let mut naming = Naming {
        base: settings.base_name.clone(),
        database: context.config.source.database.clone(),
        several: false,
        backup_type: context.backup_type,
        format: settings.format,
        time: started,
        zone: settings.timezone,
    };
    for _ in 0..NAME_ATTEMPTS {
        let (mut legs, mut failed) = (Vec::new(), Vec::new());
        let sides = ready.sides.clone();
        let begun = begin_all(&sides, &naming, expected_bytes, &mut legs, &mut failed);
        if let Err(stop) = context.shutdown.guard(begun).await {
            let begun = legs.len() + failed.len();
            abandon(context, legs).await;
            if let Some(side) = sides.get(begun) {
                let _ = context.finish(side.repository.retract(&naming)).await;
            }
            return Err(stop).at("store");
        }
        if failed.iter().any(|(_, error)| matches!(error, StorageError::AlreadyExists { .. })) {
            abandon(context, legs).await;
            naming.time += TimeDelta::seconds(1);
            continue;
        }
        if legs.is_empty() {
            return Err(one_of(failed.into_iter().map(|(_, error)| error.into()).collect())).at("store");
        }
        ready.sides.retain(|side| !failed.iter().any(|(lost, _)| std::ptr::eq(*lost, *side)));
        ready.failed.extend(failed.into_iter().map(|(_, error)| error.into()));
        return Ok((naming, legs));
    }
    Err(StorageError::AlreadyExists { key: naming.id() }).at("store")
}

/// One target after the other; what is begun survives in `legs` when this is dropped half-way.
async fn begin_all<'a>(
    sides: &[&'a Side],
    naming: &Naming,
    expected_bytes: u64,
    legs: &mut Vec<Leg<'a>>,
    failed: &mut Vec<(&'a Side, StorageError)>,
) {
    for side in sides.iter().copied() {
        match side.repository.begin(naming, expected_bytes).await {
            Ok(draft) => legs.push(Leg { side, draft, error: None }),
            Err(error) => failed.push((side, error)),
        }
    }
}

/// Dumps into every target at once. On an error pg_dump has ended, and the drafts are the caller's to abandon.
async fn stream(
    context: &Context,
    ready: &Ready<'_>,
    arguments: &[String],
    database_bytes: u64,
    legs: &mut [Leg<'_>],
) -> Result<Streamed, StageError> {
    let config = &context.config;
    let inherited = &config.child_environment;
    let dump = Dump::start(&ready.server.tool, &config.source, config.dump.format, arguments, inherited).at("dump")?;
    let stopper = dump.stopper();
    let counters = Counters::default();
    let shown = progress::show(counters.clone(), config.source.database.clone(), database_bytes, context.terminal);
    let shown = AbortOnDrop(tokio::spawn(shown));
    info!("dumping {}", config.source.database);

    let (senders, receivers): (Vec<_>, Vec<_>) = legs.iter().map(|_| mpsc::channel(TARGET_QUEUE)).unzip();
    let encoding = match config.dump.format {
        Format::Plain => Encoding::Gzip(Gzip::new(config.dump.level)),
        Format::Custom => Encoding::Identity,
    };
    let feeds = legs.iter_mut().zip(receivers).map(|(leg, chunks)| async {
        if let Some(upload) = leg.draft.upload() {
            leg.error = feed(upload, chunks, config.stall_timeout).await.err().map(Error::from);
        }
        if let Some(error) = &leg.error {
            warn!("{} is dropped from this run: {error}", leg.side.repository.location().name);
        }
    });
    let work = async {
        tokio::join!(pipeline::stream(dump, &encoding, config.dump.jobs, senders, &counters), join_all(feeds)).0
    };
    let streamed = context.shutdown.guard(work).await;
    drop(shown);
    // dropping the stream has closed pg_dump's output; here it is ended and reaped, whatever it was doing
    stopper.stop().await;
    match streamed.at("dump")? {
        Ok(streamed) => Ok(streamed),
        Err(pipeline::StreamError::NoTarget) => {
            Err(one_of(legs.iter_mut().filter_map(|leg| leg.error.take()).collect())).at("store")
        }
        Err(error) => {
            let error = Error::from(error);
            // a store that failed first makes pg_dump fail after it
            let causes: Vec<Error> = legs.iter_mut().filter_map(|leg| leg.error.take()).collect();
            match (&error, causes.len() == legs.len()) {
                (Error::Dump(DumpError::Exit { .. }), true) => Err(one_of(causes)).at("store"),
                _ => Err(error).at("dump"),
            }
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The manifest, and the bytes of the facts file that it names.
async fn describe_backup(
    context: &Context,
    ready: &Ready<'_>,
    naming: &Naming,
    streamed: &Streamed,
    described: Described,
    snapshot: SnapshotRecord,
    arguments: Vec<String>,
) -> (Manifest, Bytes) {
    let settings = &context.config.dump;
    let versions = Versions {
        server: ready.server.version.text.clone(),
        client: ready.server.tool.version.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let facts = Facts {
        version: manifest::VERSION,
        id: naming.id(),
        totals: described.totals,
        versions: versions.clone(),
        properties: described.properties.clone(),
    };
    let facts = gzip_json(&facts).await;
    let method = match settings.format {
        Format::Plain => "gzip",
        Format::Custom => "pg_dump",
    };
    let manifest = Manifest {
        version: manifest::VERSION,
        id: naming.id(),
        run_id: context.run_id.clone(),
        source: context.config.source.name.clone(),
        database: naming.database.clone(),
        backup_type: naming.backup_type,
        format: settings.format,
        compression: Compression { method: method.to_owned(), level: settings.level },
        encryption: None,
        started: naming.time,
        snapshot,
        finished: (context.now)(),
        versions,
        raw_bytes: streamed.raw_bytes,
        stored_bytes: streamed.stored_bytes,
        sha256: streamed.sha256.clone(),
        facts_sha256: hex::encode(&Sha256::digest(&facts)),
        arguments,
        totals: described.totals,
        properties: Some(described.properties),
    };
    (manifest, facts)
}

async fn gzip_json(value: &impl serde::Serialize) -> Bytes {
    let json = serde_json::to_vec_pretty(value).unwrap_or_default();
    let mut encoder = GzipEncoder::new(Vec::new());
    // writing to memory cannot fail
    let _ = encoder.write_all(&json).await;
    let _ = encoder.shutdown().await;
    encoder.into_inner().into()
}

/// Commits on every target that took all bytes; the others are cleaned up and reported.
async fn commit(context: &Context, legs: Vec<Leg<'_>>, manifest: &Manifest, facts: Bytes) -> Result<Made, StageError> {
    let commits = legs.into_iter().map(|mut leg| {
        let content = Content { manifest, facts: facts.clone() };
        async move {
            if leg.error.is_none() {
                leg.error = commit_one(context, &mut leg.draft, &content).await.err();
            }
            leg
        }
    });
    let (failed, done): (Vec<Leg>, Vec<Leg>) = join_all(commits).await.into_iter().partition(|leg| leg.error.is_some());
    let locations: Vec<String> = done.iter().map(|leg| leg.side.repository.location().of(leg.draft.key())).collect();
    let mut errors = Vec::new();
    let failed = failed.into_iter().map(|mut leg| {
        errors.extend(leg.error.take());
        leg
    });
    abandon(context, failed.collect()).await;
    if locations.is_empty() {
        return Err(one_of(errors)).at("store");
    }
    let stored = Stored {
        id: manifest.id.clone(),
        raw_bytes: manifest.raw_bytes,
        stored_bytes: manifest.stored_bytes,
        sha256: manifest.sha256.clone(),
    };
    let failed = errors.into_iter().map(|error| StageError { stage: "store", error }).collect();
    Ok(Made { stored, locations, failed })
}

/// The archive may take minutes and can be given up; the record takes moments and is not cut.
async fn commit_one(context: &Context, draft: &mut Draft, content: &Content<'_>) -> Result<(), Error> {
    context.shutdown.guard(draft.store_archive(content.manifest.stored_bytes)).await??;
    match context.finish(draft.record(content)).await {
        Some(recorded) => Ok(recorded?),
        None => {
            let action = "storing the manifest".to_owned();
            Err(StorageError::Unavailable { action, cause: "no answer in time".to_owned() }.into())
        }
    }
}

/// Cleans up drafts, all at once and within a time that is known.
async fn abandon(context: &Context, legs: Vec<Leg<'_>>) {
    let cleanups = legs.into_iter().map(|leg| async move {
        let location = leg.side.repository.location().of(leg.draft.key());
        if context.finish(leg.draft.abandon()).await.is_none() {
            warn!("{location} could not be cleaned up in time, the next run will");
        }
    });
    join_all(cleanups).await;
}
