//! Pure: what a verification found; stored beside its backup as `NAME.verify-<time>.json`.

use crate::record::facts::Subject;
use crate::record::manifest::{Exception, Verification};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There was nothing to check, and the details say why.
    NotApplicable,
    /// As expected.
    Ok,
    /// A person should know; the backup is good.
    Warning,
    /// The backup is not what it should be.
    Failed,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its number; 0 is that of the archive itself.
    pub number: u8,
    pub check: String,
    /// What it came to.
    pub verdict: Verdict,
    /// What the facts say.
    pub expected: String,
    pub found: String,
    /// Differences and reasons, the first of many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// Most details of one check that are kept.
const DETAILS: usize = 100;

impl Check {
    /// A check with its verdict; details beyond the first hundred are counted.
    pub fn new(
        number: u8,
        title: &str,
        verdict: Verdict,
        expected: String,
        found: String,
        mut details: Vec<String>,
    ) -> Self {
        if details.len() > DETAILS {
            let more = details.len() - DETAILS;
            details.truncate(DETAILS);
            details.push(format!("and {more} more"));
        }
        Self { number, check: title.to_owned(), verdict, expected, found, details }
    }

    fn leave_out_details(&mut self) {
        if !self.details.is_empty() {
            self.details = vec!["left out, because the archive is encrypted".to_owned()];
        }
    }
}

/// Seconds of each stage of a restore; the first two together are those until the database is restored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StageSeconds {
    /// Objects and rows.
    pub load: f64,
    /// Indexes, keys, constraints, and what else stands behind the rows.
    pub index: f64,
    /// Everything compared with the facts.
    pub compare: f64,
}

/// One database of the backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseResult {
    /// Its name at the source.
    pub database: String,
    /// Seconds from the first byte of the archive to a restored database; none when it was not restored.
    pub restore_seconds: Option<f64>,
    /// What the time went into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<StageSeconds>,
    /// Tables that were compared.
    pub tables: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// What PostgreSQL could not load from its own dump, although all rows came back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
    /// Checks 1 to 14.
    pub checks: Vec<Check>,
}

/// A verification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerificationReport {
    /// What it says of the backup.
    #[serde(flatten)]
    pub verification: Verification,
    /// Id of the backup.
    pub id: String,
    /// The run that verified it.
    pub run_id: String,
    /// Name of the source.
    pub source: String,
    /// What the archive holds.
    #[serde(flatten)]
    pub subject: Subject,
    /// Where the bytes were read.
    pub location: String,
    /// When it began.
    pub started: DateTime<Utc>,
    /// Version of the server that it was restored to.
    pub server: Option<String>,
    pub archive: Check,
    pub databases: Vec<DatabaseResult>,
}

impl VerificationReport {
    /// As it may lie beside an encrypted archive: verdicts, and nothing that could hold names of a schema or rows.
    pub fn without_names(&self) -> Self {
        let mut report = self.clone();
        report.databases.iter_mut().for_each(|database| database.exceptions.clear());
        report.verification.failures.clear();
        let checks = report.databases.iter_mut().flat_map(|database| &mut database.checks);
        for check in checks {
            (check.expected, check.found) = (String::new(), String::new());
            check.leave_out_details();
        }
        report.archive.leave_out_details();
        report
    }

    /// Every check, each with its database.
    pub fn checks(&self) -> impl Iterator<Item = (Option<&str>, &Check)> {
        let of_databases =
            self.databases.iter().flat_map(|one| one.checks.iter().map(|check| (Some(one.database.as_str()), check)));
        std::iter::once((None, &self.archive)).chain(of_databases)
    }

    /// Checks of that verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = (Option<&str>, &Check)> {
        self.checks().filter(move |(_, check)| check.verdict == verdict)
    }

    /// What PostgreSQL could not load from its own dump, each with its database.
    pub fn exceptions(&self) -> impl Iterator<Item = (Option<&str>, &Exception)> {
        self.databases
            .iter()
            .flat_map(|one| one.exceptions.iter().map(|exception| (Some(one.database.as_str()), exception)))
    }

    /// Seconds that restoring took in all; none when nothing was restored.
    pub fn restore_seconds(&self) -> Option<f64> {
        let seconds = self.databases.iter().filter_map(|database| database.restore_seconds);
        seconds.reduce(|sum, seconds| sum + seconds)
    }

    /// Seconds of each stage in all; none when nothing was restored.
    pub fn seconds(&self) -> Option<StageSeconds> {
        let seconds = self.databases.iter().filter_map(|database| database.seconds);
        seconds.reduce(|sum, one| StageSeconds {
            load: sum.load + one.load,
            index: sum.index + one.index,
            compare: sum.compare + one.compare,
        })
    }

    /// What failed, in one line.
    pub fn failures(&self) -> String {
        let several = self.databases.len() > 1;
        let exceptions = self.exceptions().map(|(database, exception)| {
            let database = database.filter(|_| several).map(|name| format!("{name}: ")).unwrap_or_default();
            format!("{database}{} ({})", exception.object, exception.reason)
        });
        // only a strict verification fails by them
        let mut exceptions: Vec<String> = exceptions.collect();
        if self.with(Verdict::Failed).next().is_some() {
            exceptions.clear();
        }
        let failed = self.with(Verdict::Failed).map(|(database, check)| {
            let database = database.filter(|_| several).map(|name| format!("{name}: ")).unwrap_or_default();
            let detail = check.details.first().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{database}{}{detail}", check.check)
        });
        failed.chain(exceptions).collect::<Vec<_>>().join("; ")
    }
}
