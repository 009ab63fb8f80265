//! Proof that a backup restores: its stored bytes read, restored into a scratch database, and compared with its facts.

pub(crate) mod archive;
pub mod checks;
pub(crate) mod comparison;
mod normalize_sql;
pub mod report;
pub(crate) mod scope;

use crate::config::Config;
use crate::dump_format::script::{LeaveOut, Rows};
use crate::encryption::KeyError;
use crate::error::Error;
use crate::loader::archive::Reading;
use crate::loader::{Broken, Loader, client_tools, roles_of};
use crate::postgres::scratch::ScratchServer;
use crate::record::facts::reader::DatabaseFacts;
use crate::record::facts::{DatabaseHead, Facts, Subject};
use crate::record::manifest::{self, How, Verification};
use crate::repository::{Backup, FactsError, Repository};
use crate::shutdown::{Shutdown, budget};
use chrono::{DateTime, Utc};
use comparison::Comparison;
use report::{Check, DatabaseResult, Verdict, VerificationReport};
use scope::Scope;
use std::collections::BTreeSet;
use tracing::{info, warn};

/// Letters of what failed that are kept with the record.
const FAILURES: usize = 1000;

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
    pub report: VerificationReport,
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
            Err(FactsError::Damaged(cause)) => {
                let name = manifest.subject.to_string();
                let check =
                    archive::failed_archive(manifest, None, vec![format!("its facts file is damaged: {cause}")]);
                let databases = vec![checks::not_restored(&name, "there are no facts to compare with")];
                ArchiveResult { check, databases, server: None }
            }
            Err(error) => return Err(Error::of_facts(error, &manifest.id)),
        };
        let mut report = VerificationReport {
            verification: Verification {
                version: manifest::VERSION,
                sha256: manifest.sha256.clone(),
                how,
                passed: true,
                exceptions: result.databases.iter().map(|one| one.exceptions.len()).sum(),
                failures: String::new(),
                finished: (self.now)(),
                restore_seconds: None,
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
        report.verification.passed = failed == 0 && (report.verification.exceptions == 0 || !self.config.verify.strict);
        if !report.verification.passed {
            report.verification.failures = report.failures().chars().take(FAILURES).collect();
        }
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
        let opened = Reading::open(repository, backup, keys);
        let mut reading = self.shutdown.guard(opened).await??;
        let read = self.shutdown.guard(reading.skip()).await?;
        self.shutdown.guard(archive::prove(reading, &backup.manifest, facts, read)).await?
    }

    /// Restores every database of the archive and compares it.
    async fn restore(&self, repository: &Repository, backup: &Backup, facts: &Facts) -> Result<ArchiveResult, Error> {
        let connected = ScratchServer::connect(&self.config.verify.server, self.run_id, &backup.manifest.source);
        let mut server = self.shutdown.guard(connected).await??;
        self.shutdown.guard(server.sweep()).await??;
        let outcome = self.restore_on(&mut server, repository, backup, facts).await;
        match self.shutdown.finish(budget::SCRATCH, server.close()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!("{error}; the next verification will clean up"),
            None => warn!("the verify server does not answer; the next verification will clean up"),
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
        let loader = self.prepare(server, repository, backup, facts).await?;
        let keys = self.config.encryption.identities.as_ref();
        let opened = Reading::open(repository, backup, keys);
        let mut reading = self.shutdown.guard(opened).await??;
        let (databases, read) = self.restore_all(&loader, &mut reading, facts).await;
        let check = self.shutdown.guard(archive::prove(reading, &backup.manifest, Some(facts), read)).await??;
        Ok(ArchiveResult { check, databases, server: Some(version) })
    }

    /// Everything that can fail before the first byte is restored.
    async fn prepare<'a>(
        &'a self,
        server: &'a mut ScratchServer,
        repository: &'a Repository,
        backup: &'a Backup,
        facts: &Facts,
    ) -> Result<Loader<'a>, Error> {
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
        let Some(roles) = self.shutdown.finish(budget::SCRATCH, provided).await else {
            return Err(Error::Io("creating roles on the verify server: no answer in time".to_owned()));
        };
        let roles = roles?;
        let owners = is_superuser && roles.len() == needed.len();
        if !is_superuser {
            info!("restoring without owners and privileges, because {} is not a superuser", config.verify.server.user);
        } else if !owners {
            info!("restoring without owners and privileges, because not every role of the source exists here");
        }
        let leave_out = LeaveOut { owners: !owners, surroundings: true, ..LeaveOut::default() };
        let (shutdown, terminal) = (self.shutdown, self.terminal);
        let jobs = config.restore_jobs;
        Ok(Loader { config, shutdown, repository, backup, server, tools, roles, leave_out, terminal, jobs })
    }

    /// Restores and compares every database; an error says why it did not go on, and those that were not restored say
    /// so in their checks.
    async fn restore_all(
        &self,
        loader: &Loader<'_>,
        reading: &mut Reading,
        facts: &Facts,
    ) -> (Vec<DatabaseResult>, Result<(), Broken>) {
        let mut databases = Vec::new();
        for (index, (expected, end)) in facts.parts().enumerate() {
            match self.restore_one(loader, reading, expected, end).await {
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
    async fn restore_one(
        &self,
        loader: &Loader<'_>,
        reading: &mut Reading,
        expected: DatabaseFacts<'_>,
        end: Option<u64>,
    ) -> Result<DatabaseResult, Broken> {
        let mut scratch = loader.make(&self.config.verify.wanted(&expected.name), &expected).await?;
        let restored = match loader.fill(&mut scratch, reading, expected, end).await {
            Ok(filled) => {
                let scope = Scope { facts: expected, rows: &Rows::All };
                Comparison::of(loader, &scratch).with_health().compare(scope, &filled).await.map_err(Broken::from)
            }
            Err(broken) => Err(broken),
        };
        loader.remove(&scratch, restored.is_ok()).await;
        restored
    }
}
