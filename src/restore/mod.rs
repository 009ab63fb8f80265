//! Restoring: into fresh databases, compared, and only then in the place of what is there.
//!
//! A target is as it was until everything matched: the stored bytes, the rows, the objects, the properties. What a
//! failure or a kill leaves is a database that carries our mark, and the next run drops it.

mod databases;
mod globals;
mod lost;
mod parallel;
pub mod plan;
mod tables;

use crate::config::{Config, Format};
use crate::error::Error;
use crate::facts::{DatabaseFacts, Facts, Subject};
use crate::human;
use crate::postgres::scratch::ScratchServer;
use crate::postgres::target::{self, Target};
use crate::repository::{Backup, FactsError, Repository};
use crate::shutdown::Shutdown;
use crate::verify::{HASTE, PATIENCE};
use chrono::{DateTime, Utc};
use databases::{Archive, Wanted};
use plan::{Content, Done, Plan, Request};
use std::collections::BTreeSet;
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
}

/// Hears the plan; an error ends the restore before anything was done.
pub type Consent<'a> = &'a (dyn Fn(&Plan) -> Result<(), Error> + Sync);

impl Restorer<'_> {
    /// Restores a backup, or every backup of its run; `globals` are the roles of the same run.
    pub async fn restore(
        &self,
        backups: &[Backup],
        globals: Option<&Backup>,
        consent: Consent<'_>,
    ) -> Result<Done, Error> {
        let mut server = self.connect().await?;
        let outcome = self.restore_on(&mut server, backups, globals, consent).await;
        match self.shutdown.finish(PATIENCE, HASTE, server.close()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!("{error}"),
            None => warn!("the server does not answer any more"),
        }
        outcome
    }

    /// Connects to a database that is not replaced, and drops what dead runs left.
    async fn connect(&self) -> Result<ScratchServer, Error> {
        let [usual, other] = MAINTENANCE;
        let is_usual_replaced = self.request.cluster || self.request.into.as_deref() == Some(usual);
        let source = self.config.source.of(if is_usual_replaced { other } else { usual });
        let connected = ScratchServer::connect(&source, self.run_id, &self.config.source.name);
        let server = self.shutdown.guard(connected).await??;
        self.shutdown.guard(server.sweep()).await??;
        Ok(server)
    }

    async fn restore_on(
        &self,
        server: &mut ScratchServer,
        backups: &[Backup],
        globals: Option<&Backup>,
        consent: Consent<'_>,
    ) -> Result<Done, Error> {
        let mut archives = Vec::new();
        for backup in backups {
            archives.push((backup, self.facts(backup).await?));
        }
        if let Some((backup, _)) = archives.iter().find(|(backup, _)| backup.manifest.format == Format::Plain)
            && self.request.jobs.is_some_and(|jobs| jobs > 1)
        {
            let why = format!("--jobs is for custom archives, and {} is a plain one", backup.manifest.id);
            return Err(Error::Usage(why));
        }
        if self.is_live(server).await?
            && let [(backup, facts)] = archives.as_slice()
        {
            return self.restore_rows(server, (backup, facts), consent).await;
        }
        let mut plan = Plan::default();
        let archives = self.choose(server, &archives, &mut plan).await?;
        if let Some(globals) = globals {
            self.plan_globals(server, globals, &mut plan).await?;
        }
        self.check_roles(server, &archives, globals.is_some()).await?;
        for archive in &archives {
            self.check_server(server, archive).await?;
        }
        consent(&plan)?;
        let mut done = Done::default();
        if let Some(globals) = globals {
            self.restore_globals(server, globals, &mut done).await?;
        }
        self.restore_databases(server, &archives, &mut done).await?;
        Ok(done)
    }

    async fn facts(&self, backup: &Backup) -> Result<Facts, Error> {
        let keys = self.config.encryption.identities.as_ref();
        match self.shutdown.guard(self.repository.facts(backup, keys)).await? {
            Ok(facts) => Ok(facts),
            Err(FactsError::Storage(error)) => Err(error.into()),
            Err(FactsError::Key { name, cause }) => Err(Error::Key { name, cause }),
            Err(FactsError::Damaged(cause)) => Err(Error::NotRestored {
                id: backup.manifest.id.clone(),
                failures: format!("its facts file is damaged: {cause}; docs/runbooks.md says how to restore by hand"),
            }),
        }
    }

    /// The databases that are meant, each with what is in its place; they are put into the plan.
    async fn choose<'f>(
        &self,
        server: &ScratchServer,
        archives: &'f [(&'f Backup, Facts)],
        plan: &mut Plan,
    ) -> Result<Vec<Archive<'f>>, Error> {
        let source = self.config.source.display();
        let place = format!("{source} (PostgreSQL {})", server.connection().version().text);
        let mut chosen = Vec::new();
        for (backup, facts) in archives {
            plan.say("backup", describe(backup));
            let mut databases = Vec::new();
            for (expected, end) in self.wanted(backup, facts)? {
                let name = self.request.into.clone().unwrap_or_else(|| expected.name.clone());
                let existing = self.shutdown.guard(server.look(&name)).await??;
                if self.request.cluster && is_left_alone(&name, expected, existing.as_ref())? {
                    plan.say("leave", format!("{name}: it has nothing of its own in the backup, and stays as it is"));
                    continue;
                }
                let replaced = self.check_target(existing.as_ref())?;
                plan.say("into", format!("{} on {place}", human::one_line(&name)));
                self.say_what(expected, plan);
                if let Some(old) = &replaced {
                    plan.say("replace", describe_replaced(&name, old, existing.as_ref()));
                    let is_empty = existing.as_ref().is_some_and(|target| target.is_empty);
                    let word = if self.request.cluster { "cluster".to_owned() } else { name.clone() };
                    plan.confirm = plan.confirm.take().or((!is_empty).then_some(word));
                }
                databases.push(Wanted { expected, end, name, replaced });
            }
            if !databases.is_empty() {
                chosen.push(Archive { backup, facts, databases });
            }
        }
        Ok(chosen)
    }

    /// The databases of an archive that are asked for, each with where its part ends.
    fn wanted<'f>(&self, backup: &Backup, facts: &'f Facts) -> Result<Vec<(&'f DatabaseFacts, Option<u64>)>, Error> {
        let ends = facts.databases.iter().skip(1).map(|next| Some(next.raw_offset)).chain([None]);
        let mut all: Vec<_> = facts.databases.iter().zip(ends).collect();
        if self.request.cluster {
            return Ok(all);
        }
        let names: Vec<&str> = facts.databases.iter().map(|database| database.name.as_str()).collect();
        if let Some(wanted) = &self.request.source_database {
            all.retain(|(database, _)| database.name == *wanted);
        }
        match all.as_slice() {
            [_] => Ok(all),
            _ if backup.manifest.subject == Subject::Globals => {
                let why =
                    format!("{} holds roles and no database; restore it with --globals alone", backup.manifest.id);
                Err(Error::Usage(why))
            }
            [] => {
                let wanted = self.request.source_database.clone().unwrap_or_default();
                let why = format!("{} has no database {wanted}; it has {}", backup.manifest.id, names.join(", "));
                Err(Error::Usage(human::one_line(&why).into_owned()))
            }
            _ => {
                let why = format!(
                    "{} has several databases: {}; say which with --source-database, or --cluster for all",
                    backup.manifest.id,
                    names.join(", ")
                );
                Err(Error::Usage(human::one_line(&why).into_owned()))
            }
        }
    }

    /// Refuses a target that must not be replaced; the answer is what it will be called.
    fn check_target(&self, existing: Option<&Target>) -> Result<Option<String>, Error> {
        let Some(target) = existing else { return Ok(None) };
        let name = human::one_line(&target.name);
        if ["template0", "template1"].contains(&target.name.as_str()) {
            return Err(Error::Usage(format!("{name} belongs to the server and is not replaced")));
        }
        if !target.is_empty && !self.request.replace {
            return Err(Error::Usage(format!(
                "the database {name} exists and is not empty; --replace keeps it under another name and puts the \
                 restored one in its place, or give --into another name"
            )));
        }
        if let Some(obstacle) = target.obstacles.first() {
            return Err(Error::NotReplaced(format!("the database {name} cannot be replaced: {obstacle}")));
        }
        if !target.sessions.is_empty() && !self.request.disconnect {
            let count = human::count(target.sessions.len(), "session");
            let all = target.sessions.iter().take(10).map(|session| human::one_line(session).into_owned());
            return Err(Error::NotReplaced(format!(
                "the database {name} is in use: {count} ({}); end them, or let --disconnect do it at the moment of the swap",
                all.collect::<Vec<_>>().join("; ")
            )));
        }
        Ok(Some(target::name_before(&target.name, &(self.now)().format("%Y%m%d_%H%M%S").to_string())))
    }

    fn say_what(&self, expected: &DatabaseFacts, plan: &mut Plan) {
        let totals = &expected.totals;
        let all = format!(
            "{} and {} rows of {}",
            human::count(totals.tables as usize, "table"),
            totals.rows,
            human::one_line(&expected.name)
        );
        let what = match self.request.content {
            Content::Schema => format!("the objects of {}, without rows", human::one_line(&expected.name)),
            _ if !self.request.tables.is_empty() => {
                format!(
                    "every object of {}, and the rows of {} alone",
                    human::one_line(&expected.name),
                    self.request.tables.join(", ")
                )
            }
            _ => all,
        };
        plan.say("restore", what);
        let owners = if self.request.no_owner { "; owners and privileges are left out" } else { "" };
        let checks = if self.request.skip_checks {
            "the SHA-256 alone; what is restored is not compared"
        } else {
            "the SHA-256, and everything that is restored"
        };
        plan.say("compare", format!("{checks}{owners}"));
    }

    /// Refuses a server that lacks roles or extensions, before anything is done.
    async fn check_roles(&self, server: &ScratchServer, archives: &[Archive<'_>], globals: bool) -> Result<(), Error> {
        let wanted = || archives.iter().flat_map(|archive| &archive.databases).map(|wanted| wanted.expected);
        if !self.request.no_owner && !globals {
            let needed: BTreeSet<String> = wanted().flat_map(crate::verify::roles_of).collect();
            let present = self.shutdown.guard(server.roles()).await??;
            let lacking: Vec<&str> =
                needed.iter().filter(|role| !present.contains(*role)).map(String::as_str).collect();
            if !lacking.is_empty() {
                return Err(Error::Lacking(format!(
                    "the server lacks {} {}; --globals makes them from the same backup run, --no-owner restores without \
                     owners and privileges",
                    if lacking.len() == 1 { "the role" } else { "the roles" },
                    human::one_line(&lacking.join(", "))
                )));
            }
        }
        let needed: BTreeSet<&String> =
            wanted().flat_map(|database| database.schema.catalogue.extensions.keys()).collect();
        let present = self.shutdown.guard(server.extensions()).await??;
        let lacking: Vec<&str> =
            needed.iter().filter(|name| !present.contains(**name)).map(|name| name.as_str()).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Error::Lacking(format!(
            "the server lacks the files of {}; install them there first",
            human::one_line(&lacking.join(", "))
        )))
    }
}

/// Databases that come with every server and hold nothing are not swapped for others that hold nothing either.
fn is_left_alone(name: &str, expected: &DatabaseFacts, existing: Option<&Target>) -> Result<bool, Error> {
    let catalogue = &expected.schema.catalogue;
    let is_bare = catalogue.tables.is_empty() && catalogue.functions.is_empty() && catalogue.views.is_empty();
    let is_there = existing.is_some_and(|target| target.is_empty || MAINTENANCE.contains(&name));
    if name == MAINTENANCE[1] && !is_bare {
        warn!("template1 has objects of its own in the backup; they are not restored, make them by hand");
        return Ok(true);
    }
    Ok(MAINTENANCE.contains(&name) && is_bare && is_there)
}

fn describe(backup: &Backup) -> String {
    let manifest = &backup.manifest;
    let taken = manifest.snapshot.as_ref().map_or(manifest.started, |snapshot| snapshot.taken);
    let verified = match &backup.verification {
        Some(verification) if verification.passed => "verified",
        Some(_) => "FAILED ITS VERIFICATION",
        None => "not verified",
    };
    format!(
        "{} of {}, as it was at {} UTC, {} ({verified})",
        manifest.id,
        human::one_line(&manifest.source),
        taken.format("%Y-%m-%d %H:%M:%S"),
        human::size(manifest.stored_bytes)
    )
}

fn describe_replaced(name: &str, old: &str, existing: Option<&Target>) -> String {
    let name = human::one_line(name);
    if existing.is_some_and(|target| target.is_empty) {
        return format!("{name}, which is empty");
    }
    let size = existing.and_then(|target| target.bytes).map(|bytes| format!(" ({})", human::size(bytes)));
    let sessions = existing.map(|target| target.sessions.len()).filter(|count| *count > 0);
    let sessions = sessions.map(|count| format!("; {} of it will be ended", human::count(count, "session")));
    format!(
        "{name}{}, which stays as {}{}",
        size.unwrap_or_default(),
        human::one_line(old),
        sessions.unwrap_or_default()
    )
}
