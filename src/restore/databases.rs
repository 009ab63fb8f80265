//! Databases out of archives: filled, read to the end, compared, and put in their place.

use super::plan::{Done, find_tables};
use super::{Consent, Restorer, proved};
use crate::dump_format::script::{LeaveOut, Rows};
use crate::error::{BackupError, Error, ServerError, SettingsError};
use crate::loader::archive::Reading;
use crate::loader::{Filled, Loader, client_tools};
use crate::postgres::scratch::{Scratch, ScratchServer};
use crate::postgres::target::{self, ExistingDatabase, Place};
use crate::postgres::{LONGEST_NAME, catalog};
use crate::record::facts::reader::DatabaseFacts;
use crate::record::facts::{Facts, Kind};
use crate::repository::Backup;
use crate::shutdown::budget;
use crate::text;
use crate::verify::archive;
use crate::verify::comparison::Comparison;
use crate::verify::report::{DatabaseResult, Verdict};
use crate::verify::scope::Scope;
use futures_util::future::try_join_all;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tracing::{info, instrument, warn};

/// What the name of a database that is being restored ends in.
const RESTORING: &str = "_restoring";

/// Why a database did not get its name.
struct Unplaced {
    error: Error,
    /// It certainly did not.
    is_decided: bool,
}

impl From<Error> for Unplaced {
    fn from(error: Error) -> Self {
        Self { error, is_decided: true }
    }
}

/// Most sessions that gather statistics at once.
const SESSIONS: usize = 4;

/// An archive and what is wanted of it, in its order.
pub(super) struct ChosenArchive<'f> {
    pub(super) backup: &'f Backup,
    pub(super) facts: &'f Facts,
    pub(super) databases: Vec<Wanted<'f>>,
}

/// A database that is wanted.
pub(super) struct Wanted<'f> {
    pub(super) expected: DatabaseFacts<'f>,
    /// Bytes of the dump before the next database's part.
    pub(super) end: Option<u64>,
    /// What it will be called.
    pub(super) name: String,
    /// What the database that has the name will be called.
    pub(super) replaced: Option<String>,
    /// That database as it was when the plan was made.
    pub(super) existing: Option<ExistingDatabase>,
}

/// A database that is filled.
pub(super) struct Fresh<'a> {
    pub(super) wanted: &'a Wanted<'a>,
    pub(super) scratch: Scratch,
    pub(super) filled: Filled,
}

impl Restorer<'_> {
    /// Refuses a server or client tools that cannot take the archive.
    pub(super) async fn check_server(&self, server: &ScratchServer, archive: &ChosenArchive<'_>) -> Result<(), Error> {
        self.shutdown.guard(client_tools(self.config, &archive.backup.manifest, server)).await??;
        Ok(())
    }

    /// Restores every archive for itself; what one of them met does not end the others.
    pub(super) async fn restore_databases(
        &self,
        server: &ScratchServer,
        archives: &[ChosenArchive<'_>],
        done: &mut Done,
        consent: Consent<'_>,
    ) -> Result<(), Error> {
        let mut errors = Vec::new();
        for archive in archives {
            match self.restore_archive(server, archive, done, consent).await {
                Ok(()) => {}
                Err(error @ Error::Stopped(_)) => return Err(error),
                Err(error) if archives.len() == 1 => return Err(error),
                Err(error) => {
                    warn!("{}: {error}", archive.backup.manifest.id);
                    errors.push(error);
                }
            }
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Error::Partly { restored: archives.len() - errors.len(), errors }),
        }
    }

    #[instrument(
        level = "error",
        skip_all,
        fields(database = archive.backup.manifest.subject.database(), backup_id = archive.backup.manifest.id)
    )]
    async fn restore_archive(
        &self,
        server: &ScratchServer,
        archive: &ChosenArchive<'_>,
        done: &mut Done,
        consent: Consent<'_>,
    ) -> Result<(), Error> {
        let loader = self.prepare(server, archive).await?;
        let mut filled = Vec::new();
        let outcome = match self.fill(&loader, archive, &mut filled).await {
            Ok(()) => self.replace(&loader, &mut filled, done, consent).await,
            Err(error) => Err(error),
        };
        // what has its name is taken out before
        for one in filled {
            loader.remove(&one.scratch, false).await;
        }
        outcome
    }

    pub(super) async fn prepare<'a>(
        &'a self,
        server: &'a ScratchServer,
        archive: &'a ChosenArchive<'_>,
    ) -> Result<Loader<'a>, Error> {
        let (config, shutdown, manifest) = (self.config, self.shutdown, &archive.backup.manifest);
        let tools = shutdown.guard(client_tools(config, manifest, server)).await??;
        let tables = self.tables(archive)?;
        let leave_out = LeaveOut {
            owners: self.request.no_owner,
            surroundings: true,
            tablespaces: shutdown.guard(server.tablespaces()).await??,
            rows: self.request.rows(&tables),
            ..LeaveOut::default()
        };
        let roles = shutdown.guard(server.roles()).await??;
        let terminal = self.terminal;
        let (repository, backup) = (self.repository, archive.backup);
        let jobs = self.jobs();
        Ok(Loader { config, shutdown, repository, backup, server, tools, roles, leave_out, terminal, jobs })
    }

    /// The tables that are asked for, as the facts name them.
    fn tables(&self, archive: &ChosenArchive<'_>) -> Result<BTreeSet<String>, Error> {
        let mut tables = BTreeSet::new();
        for wanted in archive.databases.iter().filter(|_| !self.request.tables.is_empty()) {
            let catalogue = wanted.expected.catalogue(|kind| kind == Kind::Table)?;
            let contents = wanted.expected.contents(|_| true)?;
            tables
                .extend(find_tables(&contents, &catalogue, &self.request.tables).map_err(SettingsError::Usage)?.tables);
        }
        Ok(tables)
    }

    /// Reads the archive once: every wanted database is filled on the way, and the stored bytes are proved in the end.
    pub(super) async fn fill<'a>(
        &self,
        loader: &Loader<'_>,
        archive: &'a ChosenArchive<'a>,
        filled: &mut Vec<Fresh<'a>>,
    ) -> Result<(), Error> {
        let keys = self.config.encryption.identities.as_ref();
        let backup = archive.backup;
        let mut reading = match &loader.leave_out.rows {
            Rows::Of(tables) => {
                let opened = Reading::open_for(self.repository, backup, archive.facts, tables, keys);
                self.shutdown.guard(opened).await??
            }
            _ => self.shutdown.guard(Reading::open_bytes(self.repository, backup, keys)).await??,
        };
        let mut read = Ok(());
        for wanted in &archive.databases {
            let fresh = self.make(loader, wanted, filled).await?;
            match loader.fill(&mut fresh.scratch, &mut reading, wanted.expected, wanted.end).await {
                Ok(whole) => fresh.filled = whole,
                Err(broken) => {
                    read = Err(broken);
                    break;
                }
            }
        }
        if read.is_ok() {
            read = self.shutdown.guard(reading.skip()).await?;
        }
        let manifest = &archive.backup.manifest;
        let check = self.shutdown.guard(archive::prove(reading, manifest, None, read)).await??;
        proved(manifest, &check)
    }

    fn jobs(&self) -> usize {
        self.request.jobs.unwrap_or(self.config.restore_jobs)
    }

    async fn make<'a, 'f>(
        &self,
        loader: &Loader<'_>,
        wanted: &'a Wanted<'a>,
        filled: &'f mut Vec<Fresh<'a>>,
    ) -> Result<&'f mut Fresh<'a>, Error> {
        let kept = &wanted.name[..wanted.name.floor_char_boundary(LONGEST_NAME - RESTORING.len())];
        let scratch = loader.make(&format!("{kept}{RESTORING}"), wanted.expected.head).await?;
        info!("restoring {} into {}", loader.manifest().id, scratch.name);
        filled.push(Fresh { wanted, scratch, filled: Filled::default() });
        let at = filled.len() - 1;
        Ok(&mut filled[at])
    }

    /// Compares everything that was filled, and only then puts each in its place.
    async fn replace(
        &self,
        loader: &Loader<'_>,
        filled: &mut Vec<Fresh<'_>>,
        done: &mut Done,
        consent: Consent<'_>,
    ) -> Result<(), Error> {
        for one in filled.iter() {
            // before the database has properties that could be in its way
            if let Err(error) = self.analyze(loader.server, &one.scratch).await {
                if let Error::Stopped(_) = error {
                    return Err(error);
                }
                warn!("gathering statistics: {error}; run ANALYZE in the database by hand");
            }
            self.compare(loader, one, done).await?;
        }
        self.accept_exceptions(loader, filled, done, consent).await?;
        let all = filled.len();
        while !filled.is_empty() {
            let one = filled.remove(0);
            let restored = all - filled.len() - 1;
            let Err(Unplaced { error, is_decided }) = self.place(loader, &one, done).await else { continue };
            // what may have its final name is not cleaned up
            if is_decided {
                filled.insert(0, one);
            }
            let is_part = restored > 0 && !matches!(error, Error::Stopped(_));
            return Err(if is_part { Error::Partly { restored, errors: vec![error] } } else { error });
        }
        Ok(())
    }

    /// Holds a filled database against the facts, unless that is to be left out.
    pub(super) async fn compare(&self, loader: &Loader<'_>, one: &Fresh<'_>, done: &mut Done) -> Result<(), Error> {
        if self.request.skip_checks {
            let refused = self.shutdown.guard(loader.give_properties(&one.scratch, one.wanted.expected.head)).await??;
            refused.iter().for_each(|what| warn!("not restored: {what}"));
            return Ok(());
        }
        let scope = Scope { facts: one.wanted.expected, rows: &loader.leave_out.rows };
        let result = Comparison::of(loader, &one.scratch).compare(scope, &one.filled).await?;
        let failed = failures(&result);
        done.checks.push(result);
        if failed.is_empty() {
            return Ok(());
        }
        let failures = format!("{failed}; nothing was replaced; --skip-checks restores without this comparison");
        Err(Error::Backup(BackupError::NotRestored { id: loader.manifest().id.clone(), failures }))
    }

    /// Gathers statistics, so that the first queries are planned well; several tables at once.
    async fn analyze(&self, server: &ScratchServer, scratch: &Scratch) -> Result<(), Error> {
        let started = Instant::now();
        let connection = self.shutdown.guard(server.enter(scratch, "backup analyze")).await??;
        let tables = self.shutdown.guard(catalog::largest_first(&connection)).await?.map_err(ServerError::Compare)?;
        let left = Mutex::new(VecDeque::from(tables));
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let worker = || async {
            let connection = server.enter(scratch, "backup analyze").await?;
            while let Some(table) = next() {
                connection.batch_execute(&format!("ANALYZE {table}")).await.map_err(ServerError::Compare)?;
            }
            Ok::<_, Error>(())
        };
        let workers = (0..self.jobs().min(SESSIONS)).map(|_| worker());
        self.shutdown.guard(try_join_all(workers)).await??;
        let seconds = started.elapsed().as_secs_f64();
        info!(seconds, "analyzed {} in {seconds:.1} s", scratch.name);
        Ok(())
    }

    /// The moment that counts: both names change, or neither.
    async fn place(&self, loader: &Loader<'_>, one: &Fresh<'_>, done: &mut Done) -> Result<(), Unplaced> {
        let (server, name) = (loader.server, &one.wanted.name);
        let replaced = self.check_again(server, one.wanted).await?;
        let place = Place {
            name: name.clone(),
            replaced: replaced.clone(),
            comment: one.wanted.expected.properties.comment.clone(),
            disconnect: self.request.disconnect,
        };
        let swap = self.shutdown.guard(server.begin_swap()).await.map_err(Error::from)?.map_err(Error::from)?;
        let placed = self.shutdown.finish(budget::SWAP, server.take_place(&swap, &one.scratch, &place)).await;
        if !matches!(placed, Some(Ok(()))) {
            let why = match (self.shutdown.reason(), placed) {
                (Some(stop), _) => stop.into(),
                (None, Some(Err(error))) => error.into(),
                (None, _) => Error::Io(format!("giving {} its name: no answer in time", text::one_line(name))),
            };
            match self.shutdown.finish(budget::SWAP_OUTCOME, server.settle(swap, &one.scratch, name)).await {
                Some(Ok(true)) => {}
                Some(Ok(false)) => return Err(why.into()),
                Some(Err(_)) | None => {
                    let (name, number) = (text::one_line(name), one.scratch.number);
                    warn!("it is not known whether {name} was replaced: look for the database with the oid {number}");
                    return Err(Unplaced { error: why, is_decided: false });
                }
            }
        }
        let shown = text::one_line(name);
        let (all, index) = (one.filled.seconds, one.filled.build_seconds);
        info!(seconds = all, "{shown} is restored");
        let load = all - index;
        done.lines.push(format!(
            "{shown} is restored; loading took {all:.1} s (rows {load:.1} s, indexes and keys {index:.1} s)"
        ));
        let left_out = one.filled.subscriptions.iter().map(|name| {
            let name = text::one_line(name);
            format!("the subscription {name} is left out, because it would follow another server; create it again")
        });
        done.lines.extend(left_out);
        if !one.filled.has_tablespaces {
            let why = "some of it was in tablespaces that the server lacks, and is in the default one now";
            done.lines.push(format!("{shown}: {why}"));
        }
        let mut restored = one.restored(loader.manifest());
        if let Some(old) = replaced
            && !self.drop_if_empty(server, &old).await
        {
            done.lines.push(format!("the previous database is kept as {}", text::one_line(&old)));
            let aside = target::name_before(name, "swapped_back", |_| false);
            restored.swap_back.extend(target::swap_back(&place, &aside));
            done.lines.extend(restored.swap_back.iter().map(|sql| format!("to swap back: {sql}")));
            restored.kept_as = Some(old);
        }
        done.databases.push(restored);
        Ok(())
    }

    /// A restore takes long, and what was planned may not hold any more; the answer is what the database in this place
    /// will be called.
    async fn check_again(&self, server: &ScratchServer, wanted: &Wanted<'_>) -> Result<Option<String>, Error> {
        let now = self.shutdown.guard(server.look(&wanted.name)).await??;
        let name = text::one_line(&wanted.name);
        let problem = match (&wanted.existing, &now) {
            (_, None) => return Ok(None),
            (None, Some(_)) => Some("it was created meanwhile".to_owned()),
            (Some(then), Some(now)) if then.number != now.number => Some("it is a different database now".to_owned()),
            (Some(then), Some(now)) if then.is_empty && !now.is_empty && !self.request.replace => {
                Some("it is no longer empty".to_owned())
            }
            (_, Some(now)) => now.obstacles.first().cloned(),
        };
        match problem {
            None => Ok(wanted.replaced.clone()),
            Some(problem) => Err(Error::Server(ServerError::NotReplaced(format!(
                "the database {name} changed while the restore ran: {problem}; it was left unchanged; try again"
            )))),
        }
    }

    /// Drops a replaced database that never held anything; whatever it is, the restore is done.
    async fn drop_if_empty(&self, server: &ScratchServer, old: &str) -> bool {
        let is_bare = |target: &ExistingDatabase| target.is_empty && !target.is_adorned && target.sessions.is_empty();
        let is_bare = matches!(server.look(old).await, Ok(Some(target)) if is_bare(&target));
        is_bare && server.drop_database(old).await.is_ok()
    }
}

fn failures(result: &DatabaseResult) -> String {
    let failed = result.checks.iter().filter(|check| check.verdict == Verdict::Failed);
    let text = failed.map(|check| format!("{} ({})", check.check, check.details.first().cloned().unwrap_or_default()));
    text.collect::<Vec<_>>().join("; ")
}
