//! The databases of an archive restored one after the other, each into a scratch database of its own, and compared.

use super::checks::{self, Terms};
use super::pouring::{Sink, blame, pour};
use super::reading::{Broken, Reading};
use super::report::DatabaseResult;
use super::restored::Look;
use super::scope::Scope;
use super::{HASTE, PATIENCE};
use crate::config::Config;
use crate::error::Error;
use crate::facts::reader::DatabaseFacts;
use crate::facts::{DatabaseHead, Facts, Subject};
use crate::manifest::Manifest;
use crate::postgres::restore::{Restore, Way};
use crate::postgres::scratch::{Scratch, ScratchServer};
use crate::postgres::tools::Tools;
use crate::progress::{self, Counters};
use crate::restore_filter::{Filter, LeaveOut, Rows};
use crate::shutdown::Shutdown;
use std::collections::BTreeSet;
use std::time::Instant;
use tracing::{info, warn};

/// What restoring needs.
pub(crate) struct Restoring<'a> {
    pub(crate) config: &'a Config,
    pub(crate) run_id: &'a str,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) manifest: &'a Manifest,
    pub(crate) server: &'a ScratchServer,
    pub(crate) tools: Tools,
    /// Roles of the source that the server has.
    pub(crate) roles: BTreeSet<String>,
    pub(crate) terms: Terms,
    /// What of the dump does not get into the database.
    pub(crate) leave_out: LeaveOut,
    /// A bar shows how far it has come, instead of lines.
    pub(crate) terminal: bool,
}

/// A database that has its part of the dump.
#[derive(Clone)]
pub(crate) struct Filled {
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// Subscriptions that were left out.
    pub(crate) subscriptions: Vec<String>,
    /// Every tablespace that the dump names is on the server.
    pub(crate) has_tablespaces: bool,
}

impl Restoring<'_> {
    /// Restores and compares every database; an error says why it did not go on, and those that were not restored say
    /// so in their checks.
    pub(crate) async fn restore_all(
        &self,
        reading: &mut Reading,
        facts: &Facts,
    ) -> (Vec<DatabaseResult>, Result<(), Broken>) {
        let mut databases = Vec::new();
        for (index, (expected, end)) in facts.parts().enumerate() {
            match self.restore(reading, expected, end).await {
                Ok(result) => databases.push(result),
                Err(broken) => {
                    let lost = facts.databases().skip(index);
                    databases
                        .extend(lost.map(|one| checks::not_restored(&one.name, "the archive could not be restored")));
                    return (databases, Err(broken));
                }
            }
        }
        // what is behind the last database counts for the checksum
        let read = self.shutdown.guard(reading.skip()).await;
        (databases, read.map_err(Broken::from).flatten())
    }

    /// Restores one database, whose part of the dump ends there, compares it, and drops it again.
    async fn restore(
        &self,
        reading: &mut Reading,
        expected: DatabaseFacts<'_>,
        end: Option<u64>,
    ) -> Result<DatabaseResult, Broken> {
        let scratch = self.make(&self.config.verify.wanted(&expected.name), &expected).await?;
        let restored = match self.fill(&scratch, reading, &expected, end).await {
            Ok(filled) => {
                let scope = Scope { facts: expected, rows: &Rows::All };
                self.compare(&scratch, scope, filled.seconds, true).await.map_err(Broken::from)
            }
            Err(broken) => Err(broken),
        };
        self.remove(&scratch, restored.is_ok()).await;
        restored
    }

    /// Makes an empty scratch database of that name, or one like it.
    pub(crate) async fn make(&self, wanted: &str, expected: &DatabaseHead) -> Result<Scratch, Error> {
        let shutdown = self.shutdown;
        if let Some(stop) = shutdown.reason() {
            return Err(stop.into());
        }
        // not dropped half-way: what is made has to be marked
        match shutdown.finish(PATIENCE, HASTE, self.server.create(wanted, &expected.properties)).await {
            Some(made) => Ok(made?),
            None => {
                let stop = shutdown.reason().map(Error::from);
                Err(stop.unwrap_or_else(|| Error::Io("making the scratch database: no answer in time".to_owned())))
            }
        }
    }

    /// Drops a scratch database; one that was not filled to its end may have filled the server's disk.
    pub(crate) async fn remove(&self, scratch: &Scratch, is_whole: bool) {
        if !is_whole && let Some(Err(error)) = self.shutdown.finish(PATIENCE, HASTE, self.server.empty(scratch)).await {
            warn!("{error}");
        }
        match self.shutdown.finish(PATIENCE, HASTE, self.server.drop(scratch)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!("{error}; the next run drops it"),
            None => warn!("{} could not be dropped in time, the next run does it", scratch.name),
        }
    }

    /// Hands the database's part of the dump, which ends there, to psql.
    pub(crate) async fn fill(
        &self,
        scratch: &Scratch,
        reading: &mut Reading,
        expected: &DatabaseHead,
        end: Option<u64>,
    ) -> Result<Filled, Broken> {
        let shutdown = self.shutdown;
        let started = Instant::now();
        let lc_monetary = &expected.lc_monetary;
        let knows_locale = shutdown.guard(self.server.knows_locale(lc_monetary)).await?;
        if !knows_locale {
            warn!("the server lacks the locale {lc_monetary}, so values of type money may be read as others");
        }
        let way = Way {
            lc_monetary: if knows_locale { lc_monetary } else { "" },
            restriction: self.run_id,
            options: self.server.quietly(),
            is_secret: false,
        };
        let (target, environment) = (self.server.source(scratch), &self.config.child_environment);
        let mut restore =
            shutdown.guard(Restore::start(&self.tools, &target, way, environment)).await?.map_err(blame)?;
        let databases = self.manifest.subject == Subject::Cluster;
        let filter = Filter::new(LeaveOut { databases, ..self.leave_out.clone() });
        let counters = Counters::default();
        let part = (expected.raw_offset, end);
        let how = (&self.tools, self.manifest.format);
        let filling = async {
            let (restore, counters) = (&mut restore, counters.clone());
            let mut sink = Filtered { filter, restore, passed: Vec::new(), counters };
            pour(self.config, how, reading, part, &mut sink).await?;
            sink.finish().await
        };
        let (all, lines) = (self.manifest.raw_bytes, counters.clone());
        let progress = async {
            if self.terminal {
                progress::show_restore_bar(lines, all).await
            } else {
                progress::write_restore_lines(lines, &expected.name, all).await
            }
        };
        let filled = shutdown.guard(async {
            tokio::select! {
                filled = filling => filled,
                never = progress => match never {},
            }
        });
        match filled.await {
            Ok(Ok((subscriptions, has_tablespaces))) => {
                shutdown.guard(restore.finish()).await?.map_err(blame)?;
                let seconds = started.elapsed().as_secs_f64();
                Ok(Filled { seconds, subscriptions, has_tablespaces })
            }
            Ok(Err(broken)) => {
                restore.stop().await;
                Err(broken)
            }
            Err(stop) => {
                restore.stop().await;
                Err(stop.into())
            }
        }
    }

    /// Gives a filled database the properties of the source; the answer is what was refused.
    pub(crate) async fn give_properties(
        &self,
        scratch: &Scratch,
        expected: &DatabaseHead,
    ) -> Result<Vec<String>, Error> {
        let connection = self.server.enter(scratch, "backup restore").await?;
        Ok(self.look(scratch, false).apply(&connection, expected).await)
    }

    fn look<'l>(&'l self, scratch: &'l Scratch, health: bool) -> Look<'l> {
        let (config, server, roles, terms) = (self.config, self.server, &self.roles, self.terms);
        Look { config, server, scratch, roles, terms, health }
    }

    /// Holds a filled database against the facts, and gives it the properties of the source.
    pub(crate) async fn compare(
        &self,
        scratch: &Scratch,
        scope: Scope<'_>,
        restore_seconds: f64,
        health: bool,
    ) -> Result<DatabaseResult, Error> {
        info!("restored {} in {restore_seconds:.1} s, comparing", scratch.name);
        let look = self.look(scratch, health);
        let (expected, found) = self.shutdown.guard(look.found(scope, restore_seconds)).await??;
        let result = checks::compare(&expected, &found, self.terms);
        info!("compared {} tables and {} rows of {}", result.tables, result.rows, expected.head.name);
        Ok(result)
    }
}

/// psql behind the filter.
struct Filtered<'a> {
    filter: Filter,
    restore: &'a mut Restore,
    passed: Vec<u8>,
    counters: Counters,
}

impl Sink for Filtered<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.filter.take(bytes, &mut self.passed)?;
        self.restore.write(&self.passed).await.map_err(blame)?;
        self.passed.clear();
        self.counters.add_raw(bytes.len() as u64);
        self.filter.table().into_iter().for_each(|table| self.counters.set_table(table));
        Ok(())
    }
}

impl Filtered<'_> {
    /// What is left, once the SQL is at its end; the answer are the subscriptions that were left out, and whether no
    /// tablespace was.
    async fn finish(mut self) -> Result<(Vec<String>, bool), Broken> {
        let has_tablespaces = self.filter.has_every_tablespace();
        let subscriptions = self.filter.finish(&mut self.passed)?;
        self.restore.write(&self.passed).await.map_err(blame)?;
        Ok((subscriptions, has_tablespaces))
    }
}
