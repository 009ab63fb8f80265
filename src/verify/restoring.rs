//! The databases of an archive restored one after the other, each into a scratch database of its own, and compared.

use super::checks::{self, Terms};
use super::reading::{Broken, Reading};
use super::report::DatabaseResult;
use super::restored::Look;
use super::{HASTE, PATIENCE, Verifier};
use crate::config::Format;
use crate::error::Error;
use crate::facts::{DatabaseFacts, Facts, Subject};
use crate::postgres::restore::{Blame, Converter, Restore, RestoreError, Way};
use crate::postgres::scratch::{Scratch, ScratchServer};
use crate::postgres::tools::Tools;
use crate::repository::Backup;
use crate::restore_filter::{Filter, LeaveOut};
use bytes::BytesMut;
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tracing::{info, warn};

/// Bytes of SQL that are passed on at once.
const CHUNK: usize = 256 << 10;

/// What restoring needs.
pub(super) struct Restoring<'a> {
    pub(super) verifier: &'a Verifier<'a>,
    pub(super) backup: &'a Backup,
    pub(super) server: &'a ScratchServer,
    pub(super) tools: Tools,
    /// Roles of the source that the server has.
    pub(super) roles: BTreeSet<String>,
    pub(super) terms: Terms,
}

impl Restoring<'_> {
    /// Restores and compares every database; an error says why it did not go on, and those that were not restored say
    /// so in their checks.
    pub(super) async fn restore_all(
        &self,
        reading: &mut Reading,
        facts: &Facts,
    ) -> (Vec<DatabaseResult>, Result<(), Broken>) {
        let mut databases = Vec::new();
        for (index, expected) in facts.databases.iter().enumerate() {
            let end = facts.databases.get(index + 1).map(|next| next.raw_offset);
            match self.restore(reading, expected, end).await {
                Ok(result) => databases.push(result),
                Err(broken) => {
                    let lost = facts.databases.iter().skip(index);
                    databases
                        .extend(lost.map(|one| checks::not_restored(&one.name, "the archive could not be restored")));
                    return (databases, Err(broken));
                }
            }
        }
        // what is behind the last database counts for the checksum
        let read = self.verifier.shutdown.guard(reading.skip()).await;
        (databases, read.map_err(Broken::from).flatten())
    }

    /// Restores one database, whose part of the dump ends there, compares it, and drops it again.
    async fn restore(
        &self,
        reading: &mut Reading,
        expected: &DatabaseFacts,
        end: Option<u64>,
    ) -> Result<DatabaseResult, Broken> {
        let scratch = self.make(expected).await?;
        let restored = self.restore_into(&scratch, reading, expected, end).await;
        if restored.is_err() {
            let emptied = self.verifier.shutdown.finish(PATIENCE, HASTE, self.server.empty(&scratch)).await;
            if let Some(Err(error)) = emptied {
                warn!("{error}");
            }
        }
        self.remove(&scratch).await;
        restored
    }

    async fn make(&self, expected: &DatabaseFacts) -> Result<Scratch, Error> {
        let Verifier { config, shutdown, .. } = self.verifier;
        if let Some(stop) = shutdown.reason() {
            return Err(stop.into());
        }
        // not dropped half-way: what is made has to be marked
        let wanted = config.verify.wanted(&expected.name);
        match shutdown.finish(PATIENCE, HASTE, self.server.create(&wanted, &expected.properties)).await {
            Some(made) => Ok(made?),
            None => {
                let stop = shutdown.reason().map(Error::from);
                Err(stop.unwrap_or_else(|| Error::Io("making the scratch database: no answer in time".to_owned())))
            }
        }
    }

    async fn remove(&self, scratch: &Scratch) {
        match self.verifier.shutdown.finish(PATIENCE, HASTE, self.server.drop(scratch)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!("{error}; the next verification drops it"),
            None => warn!("{} could not be dropped in time, the next verification does it", scratch.name),
        }
    }

    async fn restore_into(
        &self,
        scratch: &Scratch,
        reading: &mut Reading,
        expected: &DatabaseFacts,
        end: Option<u64>,
    ) -> Result<DatabaseResult, Broken> {
        let Verifier { config, run_id, shutdown, .. } = self.verifier;
        let started = Instant::now();
        let lc_monetary = &expected.schema.lc_monetary;
        let knows_locale = shutdown.guard(self.server.knows_locale(lc_monetary)).await?;
        if !knows_locale {
            warn!("the verify server lacks the locale {lc_monetary}, so values of type money may be read as others");
        }
        let way = Way { lc_monetary: if knows_locale { lc_monetary } else { "" }, restriction: run_id };
        let target = self.server.source(scratch);
        let restore = Restore::start(&self.tools, &target, way, &config.child_environment);
        let mut restore = shutdown.guard(restore).await?.map_err(blame)?;
        let is_part = self.backup.manifest.subject == Subject::Cluster;
        let filter = Filter::new(LeaveOut { owners: !self.terms.owners, databases: is_part, surroundings: true });
        let filling = async {
            match self.backup.manifest.format {
                Format::Plain => fill(reading, (expected.raw_offset, end), filter, &mut restore).await,
                Format::Custom => {
                    let started = Converter::start(&self.tools, &config.child_environment).map_err(blame)?;
                    fill_converted(reading, started, filter, &mut restore).await
                }
            }
        };
        let filled = shutdown.guard(filling).await;
        match filled {
            Ok(Ok(())) => shutdown.guard(restore.finish()).await?.map_err(blame)?,
            Ok(Err(broken)) => {
                restore.stop().await;
                return Err(broken);
            }
            Err(stop) => {
                restore.stop().await;
                return Err(stop.into());
            }
        }
        let restore_seconds = started.elapsed().as_secs_f64();
        info!("restored {} in {restore_seconds:.1} s, comparing", scratch.name);
        let look = Look { config, server: self.server, scratch, roles: &self.roles, terms: self.terms };
        let found = shutdown.guard(look.found(expected, restore_seconds)).await??;
        let result = checks::compare(expected, &found, self.terms);
        info!("compared {} tables and {} rows of {}", result.tables, result.rows, expected.name);
        Ok(result)
    }
}

/// Hands the bytes of one database to the program that restores them.
async fn fill(
    reading: &mut Reading,
    (begin, end): (u64, Option<u64>),
    mut filter: Filter,
    restore: &mut Restore,
) -> Result<(), Broken> {
    // before the first database of a whole server are roles, and statements that make room
    while reading.position() < begin && reading.next(Some(begin)).await?.is_some() {}
    let mut passed = Vec::new();
    while let Some(bytes) = reading.next(end).await? {
        filter.take(&bytes, &mut passed)?;
        restore.write(&passed).await.map_err(blame)?;
        passed.clear();
    }
    filter.finish(&mut passed)?;
    restore.write(&passed).await.map_err(blame)
}

/// The same for a custom archive, which pg_restore makes SQL of on the way.
async fn fill_converted(
    reading: &mut Reading,
    (converter, mut archive, mut sql): (Converter, ChildStdin, ChildStdout),
    mut filter: Filter,
    restore: &mut Restore,
) -> Result<(), Broken> {
    let feed = async {
        while let Some(bytes) = reading.next(None).await? {
            // it says itself why it takes no more
            if archive.write_all(&bytes).await.is_err() {
                break;
            }
        }
        drop(archive);
        Ok::<_, Broken>(())
    };
    let pass = async {
        let (mut chunk, mut passed) = (BytesMut::with_capacity(CHUNK), Vec::new());
        while sql.read_buf(&mut chunk).await.map_err(|error| Broken::Other(Error::Io(error.to_string())))? > 0 {
            filter.take(&chunk, &mut passed)?;
            restore.write(&passed).await.map_err(blame)?;
            chunk.clear();
            passed.clear();
        }
        Ok(passed)
    };
    let ((), mut passed) = tokio::try_join!(feed, pass)?;
    converter.finish().await.map_err(blame)?;
    filter.finish(&mut passed)?;
    restore.write(&passed).await.map_err(blame)
}

fn blame(error: RestoreError) -> Broken {
    match error.blame() {
        Blame::Backup => Broken::Backup(error.to_string()),
        _ => Broken::Other(Error::Restore(error)),
    }
}
