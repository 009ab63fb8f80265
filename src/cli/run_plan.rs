//! What `backup run --dry-run --json` prints.

use crate::record::facts::Subject;
use crate::report::Pruned;
use crate::storage::Side;
use serde::Serialize;

/// What a run would do.
#[derive(Debug, Default, Serialize)]
pub(super) struct RunPlan {
    pub(super) dry_run: bool,
    pub(super) source: String,
    /// None where the server could not be asked.
    pub(super) server_version: Option<String>,
    pub(super) client: Option<ClientTools>,
    pub(super) backups: Vec<PlannedBackup>,
    pub(super) locations: Vec<PlannedLocation>,
    /// The server that it would verify on; none where it would not.
    pub(super) verify_server: Option<String>,
    /// What it would delete, if the backup succeeds.
    pub(super) deletions: Vec<PlannedDeletion>,
}

/// The pg_dump that would be used.
#[derive(Debug, Serialize)]
pub(super) struct ClientTools {
    pub(super) version: String,
    pub(super) folder: String,
}

/// An archive that would be made.
#[derive(Debug, Serialize)]
pub(super) struct PlannedBackup {
    #[serde(flatten)]
    pub(super) subject: Subject,
    /// Bytes of the database on its server.
    pub(super) database_bytes: u64,
}

/// Where it would be stored.
#[derive(Debug, Serialize)]
pub(super) struct PlannedLocation {
    pub(super) side: Side,
    pub(super) location: String,
}

/// A backup that would be deleted.
#[derive(Debug, Serialize)]
pub(super) struct PlannedDeletion {
    #[serde(flatten)]
    pub(super) backup: Pruned,
    pub(super) location: String,
    pub(super) reason: String,
}
