//! Proof that a backup restores: its stored bytes read, restored into a scratch database, and compared with its facts.

pub mod checks;
mod deparsed;
mod parts;
pub(crate) mod pouring;
pub(crate) mod reading;
pub mod report;
mod restored;
pub(crate) mod restoring;
pub(crate) mod scope;

use crate::config::{Config, Format};
use crate::dump_options::{self, LeavesOut};
use crate::encryption::KeyError;
use crate::error::Error;
use crate::facts::{DatabaseHead, Facts, Subject};
use crate::manifest::{self, How, Manifest, Verification};
use crate::postgres::connection::ServerVersion;
use crate::postgres::scratch::ScratchServer;
use crate::postgres::tools::{self, Tools};
use crate::repository::{Backup, FactsError, Repository};
use crate::restore_filter::LeaveOut;
use crate::shutdown::Shutdown;
use checks::Terms;
use chrono::{DateTime, Utc};
use reading::{Reading, failed_archive};
use report::{Check, DatabaseResult, Report, Verdict};
use restoring::Restoring;
use std::collections::BTreeSet;
use std::time::Duration;
use tracing::{info, warn};

/// How long making and dropping a scratch database may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// The same, counted from a signal on.
pub(crate) const HASTE: Duration = Duration::from_secs(11);

/// Who verifies.
pub struct Verifier<'a> {
    /// Settings.
    pub config: &'a Config,
    /// The run, whose mark scratch databases carry.
    pub run_id: &'a str,
    /// Asks everybody to stop.
    pub shutdown: &'a Shutdown,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// A bar shows how far a restore has come, instead of lines.
    pub terminal: bool,
}

/// A backup that was verified.
pub struct Verified {
    /// What was found.
    pub report: Report,
    /// Why that is not written beside the backup.
    pub unrecorded: Option<Error>,
}

/// What a stored archive came to besides the databases in it.
struct ArchiveResult {
    check: Check,
    databases: Vec<DatabaseResult>,
    server: Option<String>,
}

impl Verifier<'_> {
    /// Verifies a backup and records the result beside it. An error says that it could not be tried to the end, and
    /// nothing of the backup; nothing is recorded then. Where only the recording fails, that is told apart.
    pub async fn verify(&self, repository: &Repository, backup: &Backup, how: How) -> Result<Verified, Error> {
        let (manifest, location) = (&backup.manifest, repository.location().of(&backup.key));
        // roles and tablespaces belong to no database, and are not made on a server for a proof
        let is_globals = manifest.subject == Subject::Globals;
        let how = if is_globals { How::Checksum } else { how };
        let started = (self.now)();
        info!("verifying {location}");
        let keys = self.config.encryption.identities.as_ref();
        let result = match self.shutdown.guard(repository.facts(backup, keys)).await? {
            Ok(facts) => self.verify_archive(repository, backup, &facts, how).await?,
            Err(FactsError::Key { cause: KeyError::Missing, .. }) if how == How::Checksum => {
                self.verify_sealed(repository, backup).await?
            }
            Err(FactsError::Storage(error)) => return Err(error.into()),
            Err(FactsError::Key { name, cause }) => return Err(Error::Key { name, cause }),
            Err(FactsError::Damaged(cause)) => {
                let name = manifest.subject.to_string();
                let check = failed_archive(manifest, None, vec![format!("its facts file is damaged: {cause}")]);
                let databases = vec![checks::not_restored(&name, "there are no facts to compare with")];
                ArchiveResult { check, databases, server: None }
            }
        };
        let mut report = Report {
            verification: Verification {
                version: manifest::VERSION,
                sha256: manifest.sha256.clone(),
                how,
                passed: true,
                finished: (self.now)(),
            },
            id: manifest.id.clone(),
            run_id: self.run_id.to_owned(),
            source: manifest.source.clone(),
            subject: manifest.subject.clone(),
            location,
            started,
            server: result.server,
            archive: result.check,
            databases: result.databases,
        };
        let failed = report.with(Verdict::Failed).count();
        report.verification.passed = failed == 0;
        let mut unrecorded = None;
        // bytes that are as they were say nothing of a restore that failed
        if how == How::Restore || is_globals || !report.verification.passed {
            // what lies beside an encrypted archive tells no names either
            let public = if manifest.encryption.is_some() { &report.without_names() } else { &report };
            let bytes = serde_json::to_vec_pretty(public).unwrap_or_default();
            let recorded = repository.record_verification(backup, report.verification.finished, bytes.into());
            unrecorded = self.shutdown.guard(recorded).await?.err().map(Error::from);
        }
        Ok(Verified { report, unrecorded })
    }

    async fn verify_archive(
        &self,
        repository: &Repository,
        backup: &Backup,
        facts: &Facts,
        how: How,
    ) -> Result<ArchiveResult, Error> {
        let unrestored = |one: &DatabaseHead| checks::not_restored(&one.name, "only the stored bytes were checked");
        match how {
            How::Restore => self.restore(repository, backup, facts).await,
            How::Checksum => {
                let check = self.read_whole(repository, backup, Some(facts)).await?;
                let databases = facts.databases().map(|one| unrestored(&one)).collect();
                Ok(ArchiveResult { check, databases, server: None })
            }
        }
    }

    /// The stored bytes of an archive that cannot be decrypted here.
    async fn verify_sealed(&self, repository: &Repository, backup: &Backup) -> Result<ArchiveResult, Error> {
        let check = self.read_whole(repository, backup, None).await?;
        let why = "it is encrypted, and without AGE_IDENTITY_FILE only its stored bytes were compared";
        let databases = vec![checks::not_restored(&backup.manifest.subject.to_string(), why)];
        Ok(ArchiveResult { check, databases, server: None })
    }

    async fn read_whole(
        &self,
        repository: &Repository,
        backup: &Backup,
        facts: Option<&Facts>,
    ) -> Result<Check, Error> {
        let keys = self.config.encryption.identities.as_ref();
        let opened = Reading::open(repository, backup, keys, self.config.stall_timeout);
        let mut reading = self.shutdown.guard(opened).await??;
        let read = self.shutdown.guard(reading.skip()).await?;
        self.shutdown.guard(reading.settle(&backup.manifest, facts, read)).await?
    }

    /// Restores every database of the archive and compares it.
    async fn restore(&self, repository: &Repository, backup: &Backup, facts: &Facts) -> Result<ArchiveResult, Error> {
        let connected = ScratchServer::connect(&self.config.verify.server, self.run_id, &backup.manifest.source);
        let mut server = self.shutdown.guard(connected).await??;
        self.shutdown.guard(server.sweep()).await??;
        let outcome = self.restore_on(&mut server, repository, backup, facts).await;
        match self.shutdown.finish(PATIENCE, HASTE, server.close()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!("{error}; the next verification cleans up"),
            None => warn!("the verify server does not answer; the next verification cleans up"),
        }
        outcome
    }

    async fn restore_on(
        &self,
        server: &mut ScratchServer,
        repository: &Repository,
        backup: &Backup,
        facts: &Facts,
    ) -> Result<ArchiveResult, Error> {
        let version = server.connection().version().text.clone();
        let restoring = self.prepare(server, backup, facts).await?;
        let keys = self.config.encryption.identities.as_ref();
        let opened = Reading::open(repository, backup, keys, self.config.stall_timeout);
        let mut reading = self.shutdown.guard(opened).await??;
        let (databases, read) = restoring.restore_all(&mut reading, facts).await;
        let check = self.shutdown.guard(reading.settle(&backup.manifest, Some(facts), read)).await??;
        Ok(ArchiveResult { check, databases, server: Some(version) })
    }

    /// Everything that can fail before the first byte is restored.
    async fn prepare<'a>(
        &'a self,
        server: &'a mut ScratchServer,
        backup: &'a Backup,
        facts: &Facts,
    ) -> Result<Restoring<'a>, Error> {
        let (config, manifest) = (self.config, &backup.manifest);
        let tools = self.shutdown.guard(client_tools(config, manifest, server)).await??;
        let is_source = match (&manifest.system_identifier, self.shutdown.guard(server.system_identifier()).await?) {
            (Some(source), Some(here)) => *source == here,
            _ => config.verify.is_source,
        };
        let needed: BTreeSet<String> = facts.databases().flat_map(|one| roles_of(&one)).collect();
        let is_superuser = server.connection().is_superuser();
        // not dropped half-way: what is made has to be remembered
        let provided = server.provide_roles(&needed, is_superuser && !is_source);
        let Some(roles) = self.shutdown.finish(PATIENCE, HASTE, provided).await else {
            return Err(Error::Io("making roles on the verify server: no answer in time".to_owned()));
        };
        let roles = roles?;
        let owners = is_superuser && roles.len() == needed.len();
        if !owners {
            info!("restoring without owners and privileges, because not every role of the source is to be had here");
        }
        let terms = Terms::of(manifest, server.connection().version(), owners);
        let leave_out = LeaveOut { owners: !owners, surroundings: true, ..LeaveOut::default() };
        let (run_id, shutdown, terminal) = (self.run_id, self.shutdown, self.terminal);
        Ok(Restoring { config, run_id, shutdown, manifest, server, tools, roles, terms, leave_out, terminal })
    }
}

/// The client tools that read the dump and speak with a server of that version, which must be no older than they.
pub(crate) async fn client_tools(config: &Config, manifest: &Manifest, server: &ScratchServer) -> Result<Tools, Error> {
    let dumped_by = &manifest.versions.client;
    let (client, version) = (ServerVersion::parse(dumped_by).major, server.connection().version());
    if version.major < client {
        let (server, role) = (version.text.clone(), server.role());
        return Err(Error::OlderServer { role, server, client: dumped_by.clone() });
    }
    let (bin_dir, search_path) = (config.dump.bin_dir.as_deref(), &config.dump.search_path);
    // older ones than made the dump may not read it; newer servers take what any of them sends
    let found = tools::find(bin_dir, search_path, &config.child_environment, client, dumped_by).await;
    let tools = found.map_err(|error| error.of_dump(dumped_by))?.chosen;
    if manifest.format == Format::Plain && !tools.knows_restrict() {
        return Err(tools::ToolError::NoRestrict { version: tools.version, path: tools.folder }.into());
    }
    Ok(tools)
}

impl Terms {
    /// For a backup restored on a server of that version.
    pub(crate) fn of(manifest: &Manifest, server: &ServerVersion, owners: bool) -> Self {
        let left_out = dump_options::leaves_out(&manifest.arguments);
        Self {
            texts: server.major == ServerVersion::parse(&manifest.versions.server).major,
            owners,
            partial: left_out == LeavesOut::Objects,
            rows_left_out: left_out != LeavesOut::Nothing,
        }
    }
}

/// Roles that a restore of the database names.
pub(crate) fn roles_of(facts: &DatabaseHead) -> BTreeSet<String> {
    let properties = &facts.properties;
    let privileges = properties.privileges.iter().flatten();
    let mut roles: BTreeSet<String> = facts.roles.iter().cloned().collect();
    roles.insert(properties.owner.clone());
    roles.extend(privileges.flat_map(|one| one.grantee.iter().chain([&one.grantor]).cloned()));
    roles.extend(properties.role_settings.keys().cloned());
    roles
}
