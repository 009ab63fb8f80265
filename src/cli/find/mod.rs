//! The backup that somebody names: by id, `latest`, path or key.

mod choices;

use super::SideArgument;
use super::output::MOST_NAMES;
use crate::config::{Config, Target};
use crate::error::{Error, SettingsError};
use crate::inventory::sides;
use crate::job::identity::identify;
use crate::record::facts::{Facts, Subject};
use crate::repository::{Backup, Repository, Side, full_name};
use crate::storage::Owner;
use crate::storage::local::Local;
use crate::text;
pub(super) use choices::{Choices, Filters};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tracing::warn;

/// Which backup is meant.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// An id or its beginning, `latest`, a path or a key
    #[arg(value_name = "BACKUP", default_value = "latest")]
    pub(super) name: String,
    /// Only backups of this database
    #[arg(long, value_name = "D")]
    pub(super) database: Option<String>,
    /// Only backups of this source
    #[arg(long, value_name = "S")]
    pub(super) source: Option<String>,
    /// local, remote or all [default: BACKUP_TARGET]
    #[arg(long, value_name = "SIDE")]
    pub(super) location: Option<SideArgument>,
}

/// A backup and where it lies.
pub(super) type FoundBackup = (Repository, Backup);

/// How many backups are tried for one that can be read.
const READABLE_TRIES: usize = 50;
/// Stands for the newest.
pub(super) const LATEST: &str = "latest";

impl Named {
    /// The sides that it is looked for on.
    pub(super) async fn open_sides(&self, config: &Config, run_id: &str) -> Result<Vec<Repository>, Error> {
        sides::open(config, self.target(config), run_id).await
    }

    fn target(&self, config: &Config) -> Target {
        self.location.map_or(config.target, Target::from)
    }

    /// Finds it; where both sides have it, the folder's is taken.
    pub(super) async fn find(&self, config: &Config, run_id: &str) -> Result<FoundBackup, Error> {
        self.find_among(config, run_id, |_| true).await
    }

    /// The same, where `latest` is the newest of those that `may` be meant.
    pub(super) async fn find_among(
        &self,
        config: &Config,
        run_id: &str,
        may: impl Fn(&Backup) -> bool,
    ) -> Result<FoundBackup, Error> {
        self.find_on(&self.open_sides(config, run_id).await?, config, run_id, may).await
    }

    /// The same on sides that are open.
    pub(super) async fn find_on(
        &self,
        sides: &[Repository],
        config: &Config,
        run_id: &str,
        may: impl Fn(&Backup) -> bool,
    ) -> Result<FoundBackup, Error> {
        let (mut found, mut bad): (Vec<FoundBackup>, Vec<Backup>) = (Vec::new(), Vec::new());
        let mut choices = Choices::default();
        for repository in sides {
            let backups = match repository.catalog().await {
                Ok(catalog) => {
                    choices.add_unreadable(catalog.unreadable.len());
                    catalog.backups
                }
                // what is found already needs no other place, unless that might have a newer one
                Err(error) if !found.is_empty() && self.name != LATEST => {
                    warn!("{} is skipped: {error}", repository.location().name);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for backup in backups {
                choices.add(self.filters(), &backup.manifest, self.is_of_source(&backup));
                if !self.is_meant(repository, &backup) {
                    continue;
                }
                if self.name != LATEST || may(&backup) {
                    found.push((repository.clone(), backup));
                } else if !backup.is_good() {
                    bad.push(backup);
                }
            }
        }
        if found.is_empty()
            && let Some(elsewhere) = self.find_file(config, run_id).await?
        {
            return Ok(elsewhere);
        }
        match bad.into_iter().max_by_key(|backup| backup.manifest.started).filter(|_| found.is_empty()) {
            Some(bad) => Err(Error::Settings(SettingsError::Usage(only_bad(&bad)))),
            None => self.choose(found, &choices),
        }
    }

    /// The same for all databases of a run: the newest backup, whatever it holds, stands for its run.
    pub(super) async fn find_newest_run(
        &self,
        config: &Config,
        run_id: &str,
        may: impl Fn(&Backup) -> bool,
    ) -> Result<FoundBackup, Error> {
        if self.name != LATEST {
            return self.find(config, run_id).await;
        }
        let (mut found, mut choices): (Vec<FoundBackup>, Choices) = (Vec::new(), Choices::default());
        for repository in self.open_sides(config, run_id).await? {
            let catalog = repository.catalog().await?;
            choices.add_unreadable(catalog.unreadable.len());
            let backups = catalog.backups.into_iter();
            let backups =
                backups.inspect(|backup| choices.add(self.filters(), &backup.manifest, self.is_of_source(backup)));
            let meant = backups.filter(|backup| self.is_meant(&repository, backup) && may(backup));
            found.extend(meant.map(|backup| (repository.clone(), backup)));
        }
        // a run of one database alone is not the server
        let is_whole = |backup: &Backup| matches!(backup.manifest.subject, Subject::Globals | Subject::Cluster);
        if found.iter().any(|(_, backup)| is_whole(backup)) {
            found.retain(|(_, backup)| is_whole(backup));
        }
        self.newest(found, &choices)
    }

    /// The newest backup of each thing that this source saves, or the source that is named, and why a side could not be
    /// looked at. Where both sides have it, the folder's is taken even when it failed a verification: what is passed over
    /// would never be asked again.
    pub(super) async fn find_each(
        &self,
        config: &Config,
        run_id: &str,
    ) -> Result<(Vec<FoundBackup>, Vec<Error>), Error> {
        let source = self.source.as_ref().unwrap_or(&config.source.name);
        let (sides, away) = sides::open_some(config, self.target(config), run_id).await;
        identify(config, &sides).await;
        let mut away: Vec<Error> = away.into_iter().map(Error::from).collect();
        let mut newest: BTreeMap<String, FoundBackup> = BTreeMap::new();
        for repository in sides {
            let backups = match repository.catalog().await {
                Ok(catalog) => catalog.backups,
                Err(error) => {
                    away.push(error.into());
                    continue;
                }
            };
            for backup in backups.into_iter().filter(|backup| backup.is_of(source)) {
                let subject = backup.manifest.subject.to_string();
                let known = newest.get(&subject).map(|(_, known)| known.manifest.started);
                if known.is_none_or(|known| known < backup.manifest.started) {
                    newest.insert(subject, (repository.clone(), backup));
                }
            }
        }
        match (newest.is_empty(), away.is_empty()) {
            (true, true) => {
                let why = format!("there is no backup of {source}; `backup list` shows those that exist");
                Err(Error::Settings(SettingsError::Usage(why)))
            }
            (true, false) => Err(away.remove(0)),
            _ => Ok((newest.into_values().collect(), away)),
        }
    }

    /// The backup, and the facts of what it holds.
    pub(super) async fn find_facts(
        &self,
        sides: &[Repository],
        config: &Config,
        run_id: &str,
    ) -> Result<(Repository, Backup, Facts), Error> {
        let (repository, backup) = self.find_on(sides, config, run_id, |_| true).await?;
        let facts = repository.facts(&backup, config.encryption.identities.as_ref()).await;
        let facts = facts.map_err(|error| Error::of_facts(error, &backup.manifest.id))?;
        Ok((repository, backup, facts))
    }

    fn is_meant(&self, repository: &Repository, backup: &Backup) -> bool {
        let manifest = &backup.manifest;
        let is_named = match self.name.as_str() {
            LATEST => true,
            "" => false,
            name => {
                manifest.id.starts_with(name) || backup.key == name || repository.location().of(&backup.key) == name
            }
        };
        is_named && self.is_of_database(backup) && self.is_of_source(backup)
    }

    fn filters(&self) -> Filters<'_> {
        Filters { database: self.database.as_deref(), source: self.source.as_deref(), kind: None }
    }

    fn is_of_database(&self, backup: &Backup) -> bool {
        self.database.as_ref().is_none_or(|database| backup.manifest.subject.database() == Some(database))
    }

    fn is_of_source(&self, backup: &Backup) -> bool {
        self.source.as_ref().is_none_or(|source| backup.is_of(source))
    }

    /// A file that lies anywhere, with its manifest beside it.
    async fn find_file(&self, config: &Config, run_id: &str) -> Result<Option<FoundBackup>, Error> {
        let Ok(path) = Path::new(&self.name).canonicalize() else { return Ok(None) };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Ok(None);
        };
        if !path.is_file() {
            return Ok(None);
        }
        let owner = Owner::new(&config.source.name, run_id);
        let storage = Arc::new(Local::new(folder, owner.clone()));
        let repository = Repository::new(storage, Side::Local, config.local.path_format, owner, config.stall_timeout);
        match repository.find(name).await? {
            Some(backup) => Ok(Some((repository, backup))),
            None => Err(Error::Settings(SettingsError::Usage(format!(
                "{} has no manifest {name}.json beside it",
                path.display()
            )))),
        }
    }

    /// Where a backup is in cold storage, says which is the newest of the same database that can be read now.
    pub(super) async fn offer_readable(&self, config: &Config, run_id: &str, cold: &Backup, error: &Error) {
        if !error.is_cold() {
            return;
        }
        let (sides, _) = sides::open_some(config, self.target(config), run_id).await;
        let mut others: Vec<FoundBackup> = Vec::new();
        for repository in sides {
            let backups = repository.catalog().await.map(|catalog| catalog.backups).unwrap_or_default().into_iter();
            let is_like = |backup: &Backup| {
                let (one, other) = (&backup.manifest, &cold.manifest);
                one.subject == other.subject && one.source == other.source && backup.is_good()
            };
            others.extend(backups.filter(is_like).map(|backup| (repository.clone(), backup)));
        }
        others.sort_by_key(|(_, backup)| std::cmp::Reverse(backup.manifest.started));
        for (repository, backup) in others.into_iter().take(READABLE_TRIES) {
            if repository.is_readable(&backup).await {
                let (id, place) = (text::one_line(&backup.manifest.id), repository.location().of(&backup.key));
                return warn!("the newest backup that can be read now is {id} ({place})");
            }
        }
        warn!("no other backup of {} can be read now", cold.manifest.subject);
    }

    fn choose(&self, mut found: Vec<FoundBackup>, choices: &Choices) -> Result<FoundBackup, Error> {
        // a whole name is meant as such, whatever else begins with it
        let is_begun = |backup: &Backup| backup.manifest.id != self.name && backup.manifest.id.starts_with(&self.name);
        if found.iter().any(|(_, backup)| !is_begun(backup)) {
            found.retain(|(_, backup)| !is_begun(backup));
        }
        let ids: BTreeSet<&str> = found.iter().map(|(_, backup)| backup.manifest.id.as_str()).collect();
        if self.name != LATEST && ids.len() > 1 {
            let why = format!(
                "`{}` could mean {}; give more of the id",
                text::one_line(&self.name),
                text::some(&ids, MOST_NAMES)
            );
            return Err(Error::Settings(SettingsError::Usage(why)));
        }
        if self.name == LATEST {
            // the globals are meant only where there is nothing else
            if found.iter().any(|(_, backup)| backup.manifest.subject != Subject::Globals) {
                found.retain(|(_, backup)| backup.manifest.subject != Subject::Globals);
            }
            let choices: BTreeSet<(String, String)> = found
                .iter()
                .map(|(_, backup)| (source_among(&found, backup), backup.manifest.subject.to_string()))
                .collect();
            if choices.len() > 1 {
                return Err(Error::Settings(SettingsError::Usage(ambiguous(&choices))));
            }
        }
        self.newest(found, choices)
    }

    /// The newest of one source's; of equals a good one, and the first of those, which is the folder's.
    fn newest(&self, mut found: Vec<FoundBackup>, choices: &Choices) -> Result<FoundBackup, Error> {
        let name = &self.name;
        let sources: BTreeSet<String> = found.iter().map(|(_, backup)| source_among(&found, backup)).collect();
        if sources.len() > 1 {
            let sources: Vec<String> = sources.into_iter().collect();
            let why = format!("{name} exists for several sources: {}; say which with --source", sources.join(", "));
            return Err(Error::Settings(SettingsError::Usage(why)));
        }
        found.reverse();
        let newest = found.into_iter().max_by_key(|(_, backup)| (backup.manifest.started, backup.is_good()));
        newest.ok_or_else(|| choices.nothing(self))
    }
}

/// There are backups, and none of them is good: the newest, what is wrong with it, and what can be done.
fn only_bad(newest: &Backup) -> String {
    let id = text::one_line(&newest.manifest.id);
    let named = text::shell_word(&newest.manifest.id);
    let why = match &newest.verification {
        Some(verification) if !verification.passed => {
            let time = verification.finished.format("%Y-%m-%d %H:%M:%S UTC");
            let failures = match verification.failures.as_str() {
                "" => String::new(),
                failures => format!(" ({})", text::one_line(failures)),
            };
            format!("failed its verification of {time}{failures}")
        }
        _ => "is incomplete: its archive or its facts file is missing, or the archive's length differs from what was written".to_owned(),
    };
    format!(
        "no good backup matches; the newest, {id}, {why}; to restore it anyway, name it: backup restore {named} …; to \
         verify it again: backup verify {named}"
    )
}

/// The source of a backup, with the number of its server where others of the same name are of another one.
fn source_among(found: &[FoundBackup], backup: &Backup) -> String {
    let name = &backup.manifest.source;
    let is_other =
        |other: &Backup| other.manifest.source == *name && other.server.is_some() && other.server != backup.server;
    match &backup.server {
        Some(server) if found.iter().any(|(_, other)| is_other(other)) => full_name(name, server),
        _ => name.clone(),
    }
}

fn ambiguous(choices: &BTreeSet<(String, String)>) -> String {
    let named: Vec<String> =
        choices.iter().take(20).map(|(source, subject)| format!("{} of {source}", text::one_line(subject))).collect();
    let more = if choices.len() > 20 { ", …" } else { "" };
    format!("`latest` could mean several: {}{more}; say which with --database or --source", named.join(", "))
}
