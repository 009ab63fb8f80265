//! Where backups are proved: `VERIFY_*`.

use super::{ServerRole, Source};
use crate::settings::RawSettings;
use std::path::PathBuf;

/// How backups are proved.
#[derive(Debug, Clone)]
pub struct Verify {
    /// Prove each backup of a run.
    pub enabled: bool,
    /// Exceptions count as a failure.
    pub strict: bool,
    /// The server to restore to, and the database that is connected to for making others.
    pub server: Source,
    /// The settings name the same server as for the source.
    pub is_source: bool,
    /// Wanted name of the scratch database; none is `<database>_verify`.
    pub database: Option<String>,
    /// URL that must answer while the restored database is up.
    pub health_url: Option<String>,
    /// File of queries that must each be true.
    pub queries: Option<PathBuf>,
}

/// Longest name of a database, in bytes.
const LONGEST: usize = 63;

/// What the name of a scratch database ends in.
const ENDING: &str = "_verify";

/// Every server has this database unless somebody removed it.
const MAINTENANCE: &str = "postgres";

impl Verify {
    /// Wanted name of the scratch database for backups of `database`.
    pub fn wanted(&self, database: &str) -> String {
        let kept = &database[..database.floor_char_boundary(LONGEST - ENDING.len())];
        self.database.clone().unwrap_or_else(|| format!("{kept}{ENDING}"))
    }
}

/// True for a name that the scratch database may have.
pub(super) fn is_scratch_name(name: &str) -> bool {
    !["template0", "template1", MAINTENANCE].contains(&name)
}

/// Reads the settings; what is unset is as for the source.
pub(super) fn read(raw: &RawSettings, source: &Source) -> Option<Verify> {
    let (host, port): (String, u16) = (raw.text("VERIFY_HOST")?, raw.number("VERIFY_PORT")?);
    Some(Verify {
        enabled: raw.flag("VERIFY_ENABLED"),
        strict: raw.flag("VERIFY_STRICT"),
        is_source: host == source.host && port == source.port,
        server: Source {
            name: format!("{host}:{port}"),
            host,
            port,
            user: raw.text("VERIFY_USER")?,
            password: raw.password("VERIFY_PASSWORD").or_else(|| source.password.clone()),
            database: MAINTENANCE.to_owned(),
            role: ServerRole::Verify,
            ..source.clone()
        },
        database: raw.text("VERIFY_DB"),
        health_url: raw.text("VERIFY_HEALTH_URL"),
        queries: raw.path("VERIFY_QUERIES_FILE"),
    })
}
