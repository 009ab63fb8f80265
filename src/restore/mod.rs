//! Restoring: into fresh databases, compared, and only then in the place of what is there.
//!
//! A target is as it was until everything matched: the stored bytes, the rows, the objects, the properties. What a
//! failure or a kill leaves is a database that carries our mark, and the next run drops it.

mod databases;
mod dropped_tables;
mod exceptions;
mod globals;
mod loading;
mod named;
pub mod plan;
mod table_choice;
mod tables;
mod target;

use crate::config::Config;
use crate::error::{BackupError, Error, SettingsError};
use crate::postgres::scratch::ScratchServer;
use crate::postgres::target::ExistingDatabase;
use crate::record::facts::reader::{DatabaseFacts, Fact};
use crate::record::facts::{Facts, Kind, Subject};
use crate::record::manifest::{How, Manifest};
use crate::repository::{Backup, FactsError, Repository};
use crate::shutdown::{Shutdown, budget};
use crate::text;
use crate::verify::report::{Check, Verdict};
use chrono::{DateTime, Utc};
use databases::{ChosenArchive, Wanted};
use futures_util::future::BoxFuture;
use plan::{Done, Plan, Request};
use std::collections::BTreeSet;
use target::describe_replaced;
use tracing::warn;

/// Databases that every server has and others are connected to.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];

/// Who restores, and what.
pub struct Restorer<'a> {
    /// Settings.
    pub config: &'a Config,
    /// The run, whose mark unfinished databases carry.
    pub run_id: &'a str,
    /// Asks everybody to stop.
    pub shutdown: &'a Shutdown,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// Where the backups are.
    pub repository: &'a Repository,
    /// What is asked for.
    pub request: &'a Request,
    /// A bar shows how far it has come, instead of lines.
    pub terminal: bool,
}

/// Hears the plan, and may wait for a person; an error ends the restore before anything was done.
pub type Consent<'a> = &'a (dyn Fn(&Plan) -> BoxFuture<'static, Result<(), Error>> + Sync);

impl Restorer<'_> {
    /// Restores a backup, or every backup of its run; `globals` are the roles of the same run. What was done is said
    /// whatever the end.
    pub async fn restore(
        &self,
        backups: &[Backup],
        globals: Option<&Backup>,
        done: &mut Done,
        consent: Consent<'_>,
    ) -> Result<(), Error> {
        let mut archives = Vec::new();
        for backup in backups {
            archives.push((backup, self.facts(backup).await?));
        }
        let server = self.connect(&archives).await?;
        let outcome = self.restore_on(&server, &archives, globals, done, consent).await;
        match self.shutdown.finish(budget::SCRATCH, server.close()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!("{error}"),
            None => warn!("the server no longer answers"),
        }
        outcome
    }

    /// Connects to a database that is not replaced.
    async fn connect(&self, archives: &[(&Backup, Facts)]) -> Result<ScratchServer, Error> {
        let [usual, other] = MAINTENANCE;
        let mut is_among = false;
        for database in archives.iter().flat_map(|(_, facts)| facts.databases()) {
            is_among |= self.request.cluster && database.name == usual && !is_bare(database)?;
        }
        let is_replaced = is_among || self.request.into.as_deref() == Some(usual);
        let source = self.config.source.of(if is_replaced { other } else { usual });
        let connected = ScratchServer::connect(&source, self.run_id, &self.config.source.name);
        Ok(self.shutdown.guard(connected).await??)
    }

    async fn restore_on(
        &self,
        server: &ScratchServer,
        archives: &[(&Backup, Facts)],
        globals: Option<&Backup>,
        done: &mut Done,
        consent: Consent<'_>,
    ) -> Result<(), Error> {
        // what dead runs left goes only with somebody's consent
        if self.is_live(server).await?
            && let [(backup, facts)] = archives
        {
            return self.restore_rows(server, backup, facts, done, consent).await;
        }
        let mut plan = Plan::default();
        self.say_missing(globals, archives, &mut plan);
        let archives = self.choose(server, archives, &mut plan).await?;
        let roles = match globals {
            Some(globals) => Some((globals, self.plan_globals(server, globals, &mut plan).await?)),
            None => None,
        };
        self.check_roles(server, &archives, globals.is_some()).await?;
        for archive in &archives {
            self.check_server(server, archive).await?;
        }
        consent(&plan).await?;
        self.shutdown.guard(server.sweep()).await??;
        if let Some((globals, roles)) = roles {
            self.restore_globals(server, globals, &roles, done).await?;
        }
        self.restore_databases(server, &archives, done, consent).await
    }

    /// A run that lost a database must not be taken for the whole server.
    fn say_missing(&self, globals: Option<&Backup>, archives: &[(&Backup, Facts)], plan: &mut Plan) {
        let Some(globals) =
            globals.filter(|globals| self.request.cluster && globals.manifest.subject == Subject::Globals)
        else {
            return;
        };
        let has = |name: &&String| {
            archives.iter().flat_map(|(_, facts)| facts.databases()).any(|database| database.name == **name)
        };
        let missing: Vec<&str> =
            globals.manifest.databases.iter().filter(|name| !has(name)).map(String::as_str).collect();
        if !missing.is_empty() {
            let missing = text::one_line(&missing.join(", ")).into_owned();
            plan.say("MISSING", format!("no good backup of {missing}"));
            plan.confirm = plan.confirm.take().or(Some("cluster".to_owned()));
        }
    }

    async fn facts(&self, backup: &Backup) -> Result<Facts, Error> {
        let keys = self.config.encryption.identities.as_ref();
        match self.shutdown.guard(self.repository.facts(backup, keys)).await? {
            Ok(facts) => Ok(facts),
            Err(FactsError::Damaged(cause)) => Err(Error::Backup(BackupError::NotRestored {
                id: backup.manifest.id.clone(),
                failures: format!("its facts file is damaged: {cause}; docs/runbooks.md says how to restore by hand"),
            })),
            Err(error) => Err(Error::of_facts(error, &backup.manifest.id)),
        }
    }

    /// The databases that are meant, each with what is in its place; they are put into the plan.
    async fn choose<'f>(
        &self,
        server: &ScratchServer,
        archives: &'f [(&'f Backup, Facts)],
        plan: &mut Plan,
    ) -> Result<Vec<ChosenArchive<'f>>, Error> {
        let source = &self.config.source;
        let version = &server.connection().version().text;
        let place = format!("{}:{} (PostgreSQL {version})", source.host, source.port);
        let (mut chosen, mut names) = (Vec::new(), BTreeSet::new());
        for (backup, facts) in archives {
            plan.say("backup", describe(backup));
            let mut databases = Vec::new();
            for (expected, end) in self.wanted(backup, facts)? {
                let name = self.request.into.clone().unwrap_or_else(|| expected.name.clone());
                let existing = self.shutdown.guard(server.look(&name)).await??;
                if self.request.cluster && is_left_alone(&name, expected, existing.as_ref())? {
                    plan.say(
                        "leave",
                        format!("{name}: the backup has nothing of its own for it, so it stays unchanged"),
                    );
                    continue;
                }
                let replaced = self.check_target(server, existing.as_ref(), &names).await?;
                names.extend(replaced.clone());
                plan.say("into", format!("{} on {place}", text::one_line(&name)));
                self.say_what(&expected, plan);
                if replaced.is_some() {
                    plan.say("replace", describe_replaced(&name, existing.as_ref()));
                    let is_empty = existing.as_ref().is_some_and(|target| target.is_empty);
                    let word = if self.request.cluster { "cluster".to_owned() } else { name.clone() };
                    plan.confirm = plan.confirm.take().or((!is_empty).then_some(word));
                }
                let wanted = Wanted { expected, end, name, replaced, existing };
                plan.databases.push(wanted.planned(backup));
                databases.push(wanted);
            }
            if !databases.is_empty() {
                chosen.push(ChosenArchive { backup, facts, databases });
            }
        }
        Ok(chosen)
    }

    /// The databases of an archive that are asked for, each with where its part ends.
    fn wanted<'f>(&self, backup: &Backup, facts: &'f Facts) -> Result<Vec<(DatabaseFacts<'f>, Option<u64>)>, Error> {
        let mut all: Vec<_> = facts.parts().collect();
        if self.request.cluster {
            return Ok(all);
        }
        let names: Vec<&str> = facts.databases().map(|database| database.head.name.as_str()).collect();
        if let Some(wanted) = &self.request.source_database {
            all.retain(|(database, _)| database.name == *wanted);
        }
        match all.as_slice() {
            [_] => Ok(all),
            _ if backup.manifest.subject == Subject::Globals => {
                let why =
                    format!("{} holds roles but no database; restore it with --globals alone", backup.manifest.id);
                Err(Error::Settings(SettingsError::Usage(why)))
            }
            [] => {
                let wanted = self.request.source_database.clone().unwrap_or_default();
                let why = format!("{} has no database {wanted}; it has {}", backup.manifest.id, names.join(", "));
                Err(Error::Settings(SettingsError::Usage(text::one_line(&why).into_owned())))
            }
            _ => {
                let why = format!(
                    "{} has several databases: {}; say which with --source-database, or --cluster for all",
                    backup.manifest.id,
                    names.join(", ")
                );
                Err(Error::Settings(SettingsError::Usage(text::one_line(&why).into_owned())))
            }
        }
    }
}

/// Refuses a backup whose stored bytes are not those that were written.
fn proved(manifest: &Manifest, check: &Check) -> Result<(), Error> {
    match check.verdict {
        Verdict::Failed => {
            Err(Error::Backup(BackupError::NotRestored { id: manifest.id.clone(), failures: check.details.join("; ") }))
        }
        _ => Ok(()),
    }
}

/// Databases that come with every server and hold nothing are not swapped for others that hold nothing either.
fn is_left_alone(name: &str, expected: DatabaseFacts<'_>, existing: Option<&ExistingDatabase>) -> Result<bool, Error> {
    if !MAINTENANCE.contains(&name) {
        return Ok(false);
    }
    let is_bare = is_bare(expected)?;
    if name == MAINTENANCE[1] && !is_bare {
        warn!("template1 has objects of its own in the backup; they are not restored; create them by hand");
        return Ok(true);
    }
    Ok(is_bare && existing.is_some())
}

/// True for a database that is as every server has it from the beginning, as far as the facts tell.
fn is_bare(database: DatabaseFacts<'_>) -> Result<bool, Error> {
    let properties = &database.properties;
    let mut is_bare = properties.settings.is_empty() && properties.role_settings.is_empty();
    let look = |kind, name: String, _| match kind {
        Kind::Table | Kind::Enum | Kind::Sequence | Kind::View | Kind::Function => is_bare = false,
        Kind::Extension => is_bare &= name == "plpgsql",
        Kind::Index | Kind::ForeignKey | Kind::Trigger | Kind::Policy => {}
    };
    database.each_object(look)?;
    let look = |fact| {
        if let Fact::LargeObjects(all) = fact {
            is_bare &= all.count == 0;
        }
    };
    database.each_content(look)?;
    Ok(is_bare)
}

fn describe(backup: &Backup) -> String {
    let manifest = &backup.manifest;
    let taken = manifest.snapshot.as_ref().map_or(manifest.started, |snapshot| snapshot.taken);
    let verified = match &backup.verification {
        Some(verification) if verification.passed && verification.how == How::Checksum => "checksum verified",
        Some(verification) if verification.passed => "verified",
        Some(_) => "FAILED ITS VERIFICATION",
        None => "not verified",
    };
    format!(
        "{} of {}, as it was at {} UTC, {} ({verified})",
        text::one_line(&manifest.id),
        text::one_line(&manifest.source),
        taken.format("%Y-%m-%d %H:%M:%S"),
        text::size(manifest.stored_bytes)
    )
}
