//! Where backups are proved: `VERIFY_*`.

use super::received::Received;
use super::{ServerRole, Source};
use std::path::PathBuf;

/// How backups are proved.
#[derive(Debug, Clone)]
pub struct Verify {
    /// Prove each backup of a run.
    pub enabled: bool,
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

/// Reads the settings; what is unset is as for the source.
pub(super) fn read(received: &mut Received, source: &Source) -> Option<Verify> {
    let host = received.text("VERIFY_HOST").unwrap_or_else(|| source.host.clone());
    if host.contains(',') {
        received.refuse("VERIFY_HOST", "one host");
    }
    let user = received.text("VERIFY_USER").unwrap_or_else(|| source.user.clone());
    let password = received.password("VERIFY_PASSWORD").or_else(|| source.password.clone());
    let database = received.text("VERIFY_DB");
    if database.as_deref().is_some_and(|name| ["template0", "template1", MAINTENANCE].contains(&name)) {
        received
            .refuse("VERIFY_DB", "a name that no database of the server has; the scratch database is made and dropped");
    }
    let health_url = received.url("VERIFY_HEALTH_URL");
    let queries = received.text("VERIFY_QUERIES_FILE").map(PathBuf::from);
    if let Some(path) = &queries
        && let Err(error) = std::fs::File::open(path)
    {
        received.problems.push(format!("VERIFY_QUERIES_FILE: opening {}: {error}", path.display()));
    }
    let port = match received.text("VERIFY_PORT") {
        None => source.port,
        Some(_) => u16::try_from(received.number("VERIFY_PORT", 1, 65535)?).ok()?,
    };
    let is_source = host == source.host && port == source.port;
    let name = format!("{host}:{port}");
    Some(Verify {
        enabled: received.flag("VERIFY_ENABLED"),
        server: Source {
            name,
            host,
            port,
            user,
            password,
            database: MAINTENANCE.to_owned(),
            role: ServerRole::Verify,
            ..source.clone()
        },
        is_source,
        database,
        health_url,
        queries,
    })
}
