//! Proof that a backup restores: its stored bytes read, restored into a scratch database, and compared with its facts.

pub mod checks;
pub mod report;
mod restored;

use crate::config::{Config, Format};
use crate::error::Error;
use crate::facts::{DatabaseFacts, Facts, Subject};
use crate::manifest::{self, How, Manifest, Verification};
use crate::pipeline::{Archive, ArchiveReadError, CopyFacts, Found, Stored};
use crate::postgres::restore::{Blame, Restore, RestoreError, Way};
use crate::postgres::scratch::{Scratch, ScratchServer};
use crate::postgres::tools::{self, Tools};
use crate::repository::{Backup, FactsError, Repository};
use crate::restore_filter::{Filter, FilterError, LeaveOut};
use crate::shutdown::Shutdown;
use crate::storage::StorageError;
use bytes::Bytes;
use checks::Terms;
use chrono::{DateTime, Utc};
use report::{Check, DatabaseResult, Report, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::io::AsyncRead;
use tracing::{info, warn};

/// How long making and dropping a scratch database may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// The same after a signal.
const HASTE: Duration = Duration::from_secs(8);

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
}

/// What a stored archive came to besides the databases in it.
struct ArchiveResult {
    check: Check,
    databases: Vec<DatabaseResult>,
    server: Option<String>,
}

/// Why a dump does not go on into a database: what is wrong with the backup, or with something else.
enum Broken {
    Backup(String),
    Other(Error),
}

impl<E: Into<Error>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl From<FilterError> for Broken {
    fn from(error: FilterError) -> Self {
        Self::Backup(error.to_string())
    }
}

type Body = Box<dyn AsyncRead + Send + Unpin>;

/// A stored archive that is read from one database to the next.
struct Reading {
    archive: Archive<Body>,
    ahead: Bytes,
    position: u64,
    location: String,
}

impl Reading {
    /// The next bytes of the dump, none at `end`, or where the dump ends.
    async fn next(&mut self, end: Option<u64>) -> Result<Option<Bytes>, Broken> {
        if self.ahead.is_empty() {
            match self.archive.next().await {
                Ok(Some(bytes)) => self.ahead = bytes,
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.explain(error)),
            }
        }
        let left = end.map_or(u64::MAX, |end| end - self.position);
        let length = self.ahead.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.position += length as u64;
        Ok((length > 0).then(|| self.ahead.split_to(length)))
    }

    /// Reads on to the end of the dump.
    async fn skip(&mut self) -> Result<(), Broken> {
        while self.next(None).await?.is_some() {}
        Ok(())
    }

    fn explain(&self, error: ArchiveReadError) -> Broken {
        match error {
            ArchiveReadError::Gzip(_) => Broken::Backup(error.to_string()),
            ArchiveReadError::Store(cause) => Broken::Other(unreadable(&self.location, &cause)),
        }
    }
}

fn unreadable(location: &str, cause: &dyn std::fmt::Display) -> Error {
    StorageError::Unavailable { action: format!("reading {location}"), cause: cause.to_string() }.into()
}

impl Verifier<'_> {
    /// Verifies a backup and records the result beside it. An error says that it could not be tried to the end, and
    /// nothing of the backup; nothing is recorded then.
    pub async fn verify(&self, repository: &Repository, backup: &Backup, how: How) -> Result<Report, Error> {
        let (manifest, location) = (&backup.manifest, repository.location().of(&backup.key));
        // roles and tablespaces belong to no database, and are not made on a server for a proof
        let is_globals = manifest.subject == Subject::Globals;
        let how = if is_globals { How::Checksum } else { how };
        let started = (self.now)();
        info!("verifying {location}");
        let result = match self.shutdown.guard(repository.facts(backup)).await? {
            Ok(facts) => self.verify_archive(repository, backup, &facts, how).await?,
            Err(FactsError::Storage(error)) => return Err(error.into()),
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
        // bytes that are as they were say nothing of a restore that failed
        if how == How::Restore || is_globals || !report.verification.passed {
            let bytes = serde_json::to_vec_pretty(&report).unwrap_or_default();
            let recorded = repository.record_verification(backup, report.verification.finished, bytes.into());
            self.shutdown.guard(recorded).await??;
        }
        Ok(report)
    }

    async fn verify_archive(
        &self,
        repository: &Repository,
        backup: &Backup,
        facts: &Facts,
        how: How,
    ) -> Result<ArchiveResult, Error> {
        let manifest = &backup.manifest;
        let unrestored = |one: &DatabaseFacts| checks::not_restored(&one.name, "only the stored bytes were checked");
        match how {
            How::Restore => self.restore(repository, backup, facts).await,
            How::Checksum => {
                let mut reading = self.open(repository, backup).await?;
                let read = self.shutdown.guard(reading.skip()).await?;
                let check = self.settle(manifest, facts, reading, read).await?;
                let databases = facts.databases.iter().map(unrestored).collect();
                Ok(ArchiveResult { check, databases, server: None })
            }
        }
    }

    async fn open(&self, repository: &Repository, backup: &Backup) -> Result<Reading, Error> {
        let download = self.shutdown.guard(repository.open(backup)).await??;
        let manifest = &backup.manifest;
        let facts = match (manifest.format, &manifest.subject) {
            (Format::Custom, _) => CopyFacts::of_custom(),
            (Format::Plain, Subject::Globals) => CopyFacts::None,
            (Format::Plain, _) => CopyFacts::of_sql(),
        };
        let is_gzip = manifest.format == Format::Plain;
        let archive = Archive::new(download.body, is_gzip, facts, self.config.stall_timeout);
        Ok(Reading { archive, ahead: Bytes::new(), position: 0, location: repository.location().of(&backup.key) })
    }

    /// Check 0, once the dump was read as far as it goes.
    async fn settle(
        &self,
        manifest: &Manifest,
        facts: &Facts,
        reading: Reading,
        read: Result<(), Broken>,
    ) -> Result<Check, Error> {
        let location = reading.location;
        let finished = self.shutdown.guard(reading.archive.finish()).await?;
        let (stored, found) = finished.map_err(|error| unreadable(&location, &error))?;
        let mut details = Vec::new();
        let as_stored = stored.bytes == manifest.stored_bytes && stored.sha256 == manifest.sha256;
        match read {
            Ok(()) if !as_stored => details.push("the stored bytes are not those that were written".to_owned()),
            Ok(()) => {}
            Err(Broken::Backup(cause)) => details.push(cause),
            // whatever went wrong, the bytes are not to be trusted
            Err(Broken::Other(error @ Error::Restore(_))) if !as_stored => details.push(error.to_string()),
            Err(Broken::Other(error)) => return Err(error),
        }
        if as_stored && details.is_empty() && manifest.subject != Subject::Globals {
            details.extend(content_differences(facts, found));
        }
        if as_stored && details.is_empty() {
            let text = describe(&stored);
            return Ok(Check::new(0, Verdict::Ok, text.clone(), text, Vec::new()));
        }
        Ok(failed_archive(manifest, Some(&stored), details))
    }

    /// Restores every database of the archive and compares it.
    async fn restore(&self, repository: &Repository, backup: &Backup, facts: &Facts) -> Result<ArchiveResult, Error> {
        let connected = ScratchServer::connect(&self.config.verify.server, self.run_id);
        let mut server = self.shutdown.guard(connected).await??;
        self.shutdown.guard(server.sweep()).await??;
        let prepared = self.prepare(&mut server, backup, facts).await;
        let outcome = match prepared {
            Ok(prepared) => self.restore_all(repository, backup, facts, &server, &prepared).await,
            Err(error) => Err(error),
        };
        match self.shutdown.finish(PATIENCE, HASTE, server.close()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!("{error}; the next verification cleans up"),
            None => warn!("the verify server does not answer; the next verification cleans up"),
        }
        outcome
    }

    /// Everything that can fail before the first byte is restored.
    async fn prepare(&self, server: &mut ScratchServer, backup: &Backup, facts: &Facts) -> Result<Prepared, Error> {
        let (config, manifest) = (self.config, &backup.manifest);
        let version = server.connection().version().clone();
        let client = major_of(&manifest.versions.client);
        if version.major < client {
            return Err(Error::OlderServer { server: version.text, client: manifest.versions.client.clone() });
        }
        let (bin_dir, search_path) = (config.dump.bin_dir.as_deref(), &config.dump.search_path);
        // older ones than made the dump may not read it; newer servers take what any of them sends
        let dumped_by = &manifest.versions.client;
        let found = tools::find(bin_dir, search_path, &config.child_environment, client, dumped_by);
        let tools = self.shutdown.guard(found).await?.map_err(|error| error.of_dump(dumped_by))?.chosen;
        if manifest.format == Format::Plain && !tools.knows_restrict() {
            return Err(tools::ToolError::NoRestrict { version: tools.version, path: tools.folder }.into());
        }
        let is_source = match (&manifest.system_identifier, self.shutdown.guard(server.system_identifier()).await?) {
            (Some(source), Some(here)) => *source == here,
            _ => config.verify.is_source,
        };
        let needed: BTreeSet<String> = facts.databases.iter().flat_map(roles_of).collect();
        let is_superuser = server.connection().is_superuser();
        let roles = self.shutdown.guard(server.provide_roles(&needed, is_superuser && !is_source)).await??;
        let owners = is_superuser && roles.len() == needed.len();
        if !owners {
            info!("restoring without owners and privileges, because not every role of the source is to be had here");
        }
        let terms = Terms {
            same_major: version.major == major_of(&manifest.versions.server),
            owners,
            partial: leaves_out(&manifest.arguments),
        };
        Ok(Prepared { tools, roles, terms, server: version.text })
    }

    async fn restore_all(
        &self,
        repository: &Repository,
        backup: &Backup,
        facts: &Facts,
        server: &ScratchServer,
        prepared: &Prepared,
    ) -> Result<ArchiveResult, Error> {
        let mut reading = self.open(repository, backup).await?;
        let (mut databases, mut read) = (Vec::new(), Ok(()));
        for (index, expected) in facts.databases.iter().enumerate() {
            let begin = expected.raw_offset;
            let end = facts.databases.get(index + 1).map(|next| next.raw_offset);
            let wanted = self.config.verify.wanted(&expected.name);
            let scratch = self.make(server, &wanted, expected).await?;
            let restored = self.restore_one(&mut reading, backup, expected, (begin, end), server, &scratch, prepared);
            let restored = restored.await;
            self.remove(server, &scratch).await;
            match restored {
                Ok(result) => databases.push(result),
                Err(broken) => {
                    read = Err(broken);
                    break;
                }
            }
        }
        for lost in facts.databases.iter().skip(databases.len()) {
            databases.push(checks::not_restored(&lost.name, "the archive could not be restored"));
        }
        if read.is_ok() {
            read = self.shutdown.guard(reading.skip()).await?;
        }
        let check = self.settle(&backup.manifest, facts, reading, read).await?;
        Ok(ArchiveResult { check, databases, server: Some(prepared.server.clone()) })
    }

    async fn make(&self, server: &ScratchServer, wanted: &str, expected: &DatabaseFacts) -> Result<Scratch, Error> {
        if let Some(stop) = self.shutdown.reason() {
            return Err(stop.into());
        }
        // not dropped half-way: what is made has to be marked
        match self.shutdown.finish(PATIENCE, HASTE, server.create(wanted, &expected.properties)).await {
            Some(made) => Ok(made?),
            None => {
                let stop = self.shutdown.reason().map(Error::from);
                Err(stop.unwrap_or_else(|| Error::Io("making the scratch database: no answer in time".to_owned())))
            }
        }
    }

    async fn remove(&self, server: &ScratchServer, scratch: &Scratch) {
        match self.shutdown.finish(PATIENCE, HASTE, server.drop(scratch)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!("{error}; the next verification drops it"),
            None => warn!("{} could not be dropped in time, the next verification does it", scratch.name),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what one database needs of all that is prepared")]
    async fn restore_one(
        &self,
        reading: &mut Reading,
        backup: &Backup,
        expected: &DatabaseFacts,
        (begin, end): (u64, Option<u64>),
        server: &ScratchServer,
        scratch: &Scratch,
        prepared: &Prepared,
    ) -> Result<DatabaseResult, Broken> {
        let started = Instant::now();
        let way = Way {
            format: backup.manifest.format,
            owners: prepared.terms.owners,
            lc_monetary: &expected.schema.lc_monetary,
            restriction: self.run_id,
        };
        let target = server.source(scratch);
        let restore = Restore::start(&prepared.tools, &target, way, &self.config.child_environment);
        let mut restore = self.shutdown.guard(restore).await?.map_err(blame)?;
        let leave_out =
            LeaveOut { owners: !prepared.terms.owners, databases: backup.manifest.subject == Subject::Cluster };
        let filter = (way.format == Format::Plain).then(|| Filter::new(leave_out));
        let filled = self.shutdown.guard(fill(reading, (begin, end), filter, &mut restore)).await;
        match filled {
            Ok(Ok(())) => self.shutdown.guard(restore.finish()).await?.map_err(blame)?,
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
        let look =
            restored::Look { config: self.config, server, scratch, roles: &prepared.roles, terms: prepared.terms };
        let found = self.shutdown.guard(look.found(expected, restore_seconds)).await??;
        let result = checks::compare(expected, &found, prepared.terms);
        info!("compared {} tables and {} rows of {}", result.tables, result.rows, expected.name);
        Ok(result)
    }
}

/// What a restore needs to know of the server.
struct Prepared {
    tools: Tools,
    roles: BTreeSet<String>,
    terms: Terms,
    /// Its version.
    server: String,
}

/// Hands the bytes of one database to the program that restores them.
async fn fill(
    reading: &mut Reading,
    (begin, end): (u64, Option<u64>),
    mut filter: Option<Filter>,
    restore: &mut Restore,
) -> Result<(), Broken> {
    // before the first database of a whole server are roles, and statements that make room
    while reading.position < begin && reading.next(Some(begin)).await?.is_some() {}
    let mut passed = Vec::new();
    while let Some(bytes) = reading.next(end).await? {
        match &mut filter {
            None => restore.write(&bytes).await.map_err(blame)?,
            Some(filter) => {
                filter.take(&bytes, &mut passed)?;
                restore.write(&passed).await.map_err(blame)?;
                passed.clear();
            }
        }
    }
    if let Some(filter) = filter {
        filter.finish(&mut passed)?;
        restore.write(&passed).await.map_err(blame)?;
    }
    Ok(())
}

fn blame(error: RestoreError) -> Broken {
    match error.blame() {
        Blame::Backup => Broken::Backup(error.to_string()),
        Blame::Server(_) => Broken::Other(Error::Restore(error)),
    }
}

/// 17 of `17.10`.
fn major_of(version: &str) -> u32 {
    version.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// True when pg_dump was asked to leave something out.
fn leaves_out(arguments: &[String]) -> bool {
    const WHOLE: &[&str] = &[
        "--no-password",
        "--format",
        "--compress",
        "--lock-wait-timeout",
        "--snapshot",
        "--no-owner",
        "--no-privileges",
        "--create",
        "--clean",
        "--if-exists",
    ];
    arguments.iter().any(|argument| !WHOLE.contains(&argument.split('=').next().unwrap_or_default()))
}

/// Roles that a restore of the database names.
fn roles_of(facts: &DatabaseFacts) -> BTreeSet<String> {
    let properties = &facts.properties;
    let privileges = properties.privileges.iter().flatten();
    let mut roles: BTreeSet<String> = facts.schema.roles.iter().cloned().collect();
    roles.insert(properties.owner.clone());
    roles.extend(privileges.flat_map(|one| one.grantee.iter().chain([&one.grantor]).cloned()));
    roles.extend(properties.role_settings.keys().cloned());
    roles
}

fn describe(stored: &Stored) -> String {
    format!("{} bytes, SHA-256 {}", stored.bytes, stored.sha256)
}

fn failed_archive(manifest: &Manifest, stored: Option<&Stored>, details: Vec<String>) -> Check {
    let expected = describe(&Stored {
        bytes: manifest.stored_bytes,
        sha256: manifest.sha256.clone(),
        raw_bytes: manifest.raw_bytes,
    });
    Check::new(0, Verdict::Failed, expected, stored.map(describe).unwrap_or_default(), details)
}

/// Rows in the archive that are not those of the facts, whatever database they are of.
fn content_differences(facts: &Facts, found: Result<Found, &'static str>) -> Vec<String> {
    let found = match found {
        Ok(found) => found,
        Err(cause) => return vec![cause.to_owned()],
    };
    let mut sums: BTreeMap<&str, (u64, crate::fingerprint::Fingerprint)> = BTreeMap::new();
    for rows in &found.rows {
        let sum = sums.entry(&rows.table).or_default();
        sum.0 += rows.rows;
        sum.1.add(rows.fingerprint);
    }
    let mut expected: BTreeMap<&str, (u64, crate::fingerprint::Fingerprint)> = BTreeMap::new();
    for (table, rows) in facts.databases.iter().flat_map(|database| &database.contents.tables) {
        let sum = expected.entry(table).or_default();
        sum.0 += rows.rows;
        sum.1.add(rows.fingerprint);
    }
    let tables: BTreeSet<&str> = sums.keys().chain(expected.keys()).copied().collect();
    let changed = tables.into_iter().filter(|table| sums.get(table) != expected.get(table));
    changed.map(|table| format!("{table}: the rows in the archive are not those that were dumped")).collect()
}
