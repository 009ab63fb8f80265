//! One archive: reached → announced → streamed → committed on every target.

use super::again::again;
use super::context::{At, StageError};
use super::copies::{self, Made, NewCopy};
use super::preflight::{self, one_of};
use super::record::{self, Dumped, NewRecord};
use super::run::{Attempt, Run};
use super::source::{self, DumpSource, Opened, Running};
use super::tasks::{self, Task};
use crate::background::AbortOnDrop;
use crate::config::Format;
use crate::error::{Error, SourceError};
use crate::pipeline::{self, CopyFacts, Encoding, Streamed, TARGET_QUEUE};
use crate::postgres::catalog::{self, Database};
use crate::postgres::connection;
use crate::postgres::dump::{self, DumpError};
use crate::postgres::waits;
use crate::progress::{self, Counters};
use crate::record::facts::Subject;
use crate::report::{CopyReport, Entry, Stage};
use crate::text;
use futures_util::future::join_all;
use std::time::Instant;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tracing::field::Empty;
use tracing::{Span, info, instrument, warn};

/// A database that cannot even be tried.
pub(super) fn lost(run: &Run<'_>, name: &str, error: Error) -> (Entry, Vec<StageError>) {
    let error = StageError { stage: "preflight", error };
    (run.ready.entry(Subject::Database(name.to_owned())), vec![error])
}

/// Saves one subject, and says what became of it.
#[instrument(level = "error", skip_all, fields(database = task.subject.database()))]
pub(super) async fn save(run: &Run<'_>, task: &Task) -> (Entry, Vec<StageError>) {
    let mut entry = run.ready.entry(task.subject.clone());
    let is_globals = task.subject == Subject::Globals;
    if task.subject.database().is_none() && !run.ready.server.reads_passwords {
        let role = &run.context.config.source.user;
        let note = format!(
            "the roles are saved without their passwords, because {role} cannot read pg_authid; a superuser can, and \
             so can a member of pg_read_all_data"
        );
        warn!("{note}");
        entry.notes.push(note);
    }
    let errors = match make(run, task).await {
        Ok(made) => {
            let seconds: f64 = made.stages.iter().map(|stage| stage.seconds).sum();
            let (backup_id, bytes, raw_bytes) = (&made.stored.id, made.stored.stored_bytes, made.stored.raw_bytes);
            for place in &made.places {
                let (stage, rows, size) = ("store", made.stored.rows, text::size(bytes));
                info!(stage, backup_id, bytes, raw_bytes, rows, seconds, "completed {} ({size})", place.location);
            }
            entry.places = made.places;
            entry.stages = made.stages;
            entry.backup = Some(made.stored);
            for note in made.notes {
                warn!("{note}");
                entry.notes.push(note);
            }
            made.failed
        }
        // services that manage the server keep its roles to themselves
        Err(StageError { error: Error::Source(SourceError::Dump(error)), .. })
            if is_globals && error.is_permission() =>
        {
            let note = format!("roles and tablespaces were not saved: {error}: {}", error.stderr().unwrap_or_default());
            warn!("{note}; set BACKUP_GLOBALS=false to end this warning");
            entry.notes = vec![note];
            Vec::new()
        }
        Err(error) => vec![error],
    };
    for repository in &run.context.sides {
        if !entry.places.iter().any(|place| place.side == repository.side()) {
            entry.places.push(CopyReport {
                side: repository.side(),
                key: None,
                location: repository.location().name,
                stored: false,
            });
        }
    }
    (entry, errors)
}

/// Makes the backup; a dump that DDL broke, or that the server had no locks for, is tried once more under a new snapshot.
#[instrument(level = "error", skip_all, fields(stage = "dump"))]
async fn make(run: &Run<'_>, task: &Task) -> Result<Made, StageError> {
    let failed = match make_once(run, task, Attempt::default()).await {
        Err(failed) => failed,
        made => return made,
    };
    let Some((attempt, why)) = again(&failed.error, &task.subject) else { return Err(failed) };
    let stderr = failed.error.stderr().map(|text| format!(": {text}")).unwrap_or_default();
    warn!("{}{stderr}; {why}", failed.error);
    make_once(run, &renew(run, task).await?, attempt).await
}

/// The task for the server as it is now: another database may be part of the whole.
async fn renew(run: &Run<'_>, task: &Task) -> Result<Task, StageError> {
    if task.subject != Subject::Cluster {
        return Ok(task.clone());
    }
    let (context, config) = (run.context, &run.context.config);
    let application = context.application();
    let databases = context.shutdown.guard(async {
        let connection = connection::connect(&config.source, &application).await?;
        let is_wanted =
            |database: &Database| config.selection.saves(&config.source.database, &database.name, database.is_template);
        let mut databases = catalog::databases(&connection, is_wanted).await?;
        preflight::leave_to_provider(config, &mut databases).await;
        Ok::<_, Error>(databases)
    });
    let databases = databases.await.at("connect")?.at("connect")?;
    tasks::whole_server(&config.selection, &databases).at("preflight")
}

#[instrument(level = "error", skip_all, fields(backup_id = Empty))]
async fn make_once(run: &Run<'_>, task: &Task, attempt: Attempt) -> Result<Made, StageError> {
    let context = run.context;
    let counters = context.counters.part();
    let lines = progress::write_lines(counters.clone(), task.subject.to_string(), task.expected_bytes());
    let _lines = (!context.terminal).then(|| AbortOnDrop::spawn(lines));
    let ahead = if !attempt.alone && run.has_slot_soon(task) {
        Some(source::reach(context, task).await?.prepare(context).await?)
    } else {
        None
    };
    let slot = run.slot(task, attempt).await?;
    // the targets' memory is waited for with a slot, never the other way round
    let source = match ahead.filter(|source| !source.is_lost()) {
        Some(source) => source,
        None => source::reach(context, task).await?,
    };
    let mut begun = copies::begin(run, task).await?;
    Span::current().record("backup_id", begun.naming.id());
    let started = Instant::now();
    let dumped = dump(run, task, source, attempt, &mut begun.copies, &counters).await;
    // no table's rows pass any more
    counters.set_table("");
    let dump_stage = Stage { name: "dump", seconds: started.elapsed().as_secs_f64() };
    // the commit needs no slot
    drop(slot);
    let (dumped, running) = match dumped {
        Ok(dumped) => dumped,
        Err(error) => {
            copies::abandon(context, begun.copies).await;
            return Err(error);
        }
    };
    let described = record::describe(run, &begun.naming, dumped).await;
    let described = match described {
        Ok(described) => described,
        Err(error) => {
            copies::abandon(context, begun.copies).await;
            return Err(error).at("dump");
        }
    };
    let NewRecord { manifest, facts, notes } = described;
    let started = Instant::now();
    let complete = |made: Made| {
        let store_stage = Stage { name: "store", seconds: started.elapsed().as_secs_f64() };
        Made { notes, stages: vec![dump_stage, store_stage], ..made }
    };
    // a lock that was never to be had is not lost
    if run.holds_lock().await.is_ok_and(|held| held != Some(false)) {
        // the server may clean up again while the targets finish
        drop(running);
        let made = begun.commit(run, &manifest, facts).await;
        return made.map(complete);
    }
    warn!("the lock was lost while the dump ran; this backup is still kept, but nothing is pruned");
    // the session shows other runs that this one still lives
    let made = begun.commit(run, &manifest, facts).await;
    drop(running);
    made.map(complete)
}

/// Dumps into every target at once. On an error the child has ended, and the copies are the caller's to abandon.
async fn dump(
    run: &Run<'_>,
    task: &Task,
    source: DumpSource,
    attempt: Attempt,
    copies: &mut [NewCopy<'_>],
    counters: &Counters,
) -> Result<(Dumped, Running), StageError> {
    let opened = source::open(run.context, run.ready, task, source, attempt, run.reading(attempt)).await?;
    let Opened { reader, mut running, arguments } = opened;
    let place = run.context.config.source.of(task.subject.database().unwrap_or(&run.context.config.source.database));
    let why = async || waits::reason_of(&place, dump::APPLICATIONS).await;
    let silence = progress::watch_silence(counters.clone(), task.subject.to_string(), why);
    let streaming =
        async { tokio::try_join!(stream(run, task, reader, copies, counters), running.describe(run.context, attempt)) };
    let streamed = tokio::select! {
        streamed = streaming => streamed,
        never = silence => match never {},
    };
    // dropping the stream has closed the child's output; here it is ended and reaped, whatever it was doing
    running.stop().await;
    let (streamed, ()) = streamed.map_err(|error| running.explain(error))?;
    Ok((Dumped { streamed, databases: running.take_databases(), arguments }, running))
}

async fn stream(
    run: &Run<'_>,
    task: &Task,
    reader: impl AsyncRead + Unpin,
    copies: &mut [NewCopy<'_>],
    counters: &Counters,
) -> Result<Streamed, StageError> {
    let (context, config) = (run.context, &run.context.config);
    let (senders, receivers): (Vec<_>, Vec<_>) = copies.iter().map(|_| mpsc::channel(TARGET_QUEUE)).unzip();
    let is_custom = record::format(run, &task.subject) == Format::Custom;
    let gzip = (!is_custom).then(|| run.encoder());
    let encoding = Encoding { gzip, recipients: config.encryption.recipients.clone() };
    let facts = CopyFacts::of(&task.subject, is_custom);
    let feeds = copies.iter_mut().zip(receivers).map(|(copy, chunks)| async {
        copy.error = copy.new_backup.feed(chunks).await.err().map(Error::from);
        if let Some(error) = &copy.error {
            run.note_lost(copy.repository, error);
        }
    });
    let work = async {
        let streamed = pipeline::stream(reader, facts, &encoding, &context.workers, senders, counters);
        tokio::join!(streamed, join_all(feeds)).0
    };
    let streamed = context.shutdown.guard(work).await;
    match streamed.at("dump")? {
        Ok(streamed) => Ok(streamed),
        Err(pipeline::StreamError::NoTarget) => Err(one_of(causes(copies))).at("store"),
        Err(error) => {
            let error = Error::from(error);
            // a store that failed first makes pg_dump fail after it
            let causes = causes(copies);
            match (&error, causes.len() == copies.len()) {
                (
                    Error::Source(SourceError::Dump(DumpError::Exit { .. })) | Error::Source(SourceError::Cluster(_)),
                    true,
                ) => Err(one_of(causes)).at("store"),
                _ => Err(error).at("dump"),
            }
        }
    }
}

fn causes(copies: &mut [NewCopy<'_>]) -> Vec<Error> {
    copies.iter_mut().filter_map(|copy| copy.error.take()).collect()
}
