//! Finding the client tools of the right major.

use super::command;
use super::libpq::lacks_authorities;
use crate::config::Source;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The client tools of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// Folder of the programs.
    pub folder: PathBuf,
    /// 15 of 15.18.
    pub major: u32,
    /// Version of `pg_dump`, such as `15.18`.
    pub version: String,
}

/// First release of each major that closes CVE-2025-8714, CVE-2025-8715 and the holes found since, by which a dump can
/// run commands where it is restored. From the release notes of PostgreSQL.
const PATCHED: &[(u32, u32)] = &[(18, 6), (17, 11), (16, 15), (15, 19), (14, 24)];

impl Tools {
    /// Path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// 18 of 15.18.
    fn minor(&self) -> u32 {
        self.version.split('.').nth(1).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// An error where the programs cannot check the server's certificate as the settings want it.
    pub fn reach(&self, source: &Source) -> Result<(), ToolError> {
        match lacks_authorities(source, self.major) {
            true => Err(ToolError::NoSystemStore { version: self.version.clone() }),
            false => Ok(()),
        }
    }

    /// The release to update to, where known holes are open in this one; majors that are no longer maintained have
    /// none, and the oldest maintained one is named.
    pub fn update_wanted(&self) -> Option<String> {
        let minor = self.minor();
        let (oldest, patched) = PATCHED.last()?;
        match PATCHED.iter().find(|(major, _)| *major == self.major) {
            Some((major, patched)) => (minor < *patched).then(|| format!("{major}.{patched}")),
            None => (self.major < *oldest).then(|| format!("{oldest}.{patched}")),
        }
    }
}

/// Every installation found, and the one to use.
#[derive(Debug, Clone)]
pub struct FoundTools {
    /// The one that fits the server best.
    pub chosen: Tools,
    /// All of them, in the order they were looked for.
    pub all: Vec<Tools>,
}

/// No installed `pg_dump` can read the server.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// None found at all.
    #[error("no pg_dump in {searched}; install the PostgreSQL client tools or set PG_BIN_DIR")]
    Missing {
        /// Where we looked.
        searched: String,
    },
    /// All found are older than the server.
    #[error(
        "the server is PostgreSQL {server} and the newest pg_dump found is {newest} ({path}); an older pg_dump cannot \
         dump it; install the client tools of that version or set PG_BIN_DIR"
    )]
    Older {
        /// Version of the server.
        server: String,
        /// Version of the newest tool.
        newest: String,
        /// Where that is.
        path: PathBuf,
    },
    /// All found are older than those that made a dump.
    #[error(
        "the dump was made by pg_dump {dump}, and the newest client tools found are {newest} ({path}); install the \
         tools of that version or set PG_BIN_DIR"
    )]
    OlderThanDump {
        /// Version of the `pg_dump` that made it.
        dump: String,
        /// Version of the newest tool.
        newest: String,
        /// Where that is.
        path: PathBuf,
    },
    /// libpq knows no way to the system's certificate authorities.
    #[error(
        "pg_dump {version} does not know POSTGRES_SSLROOTCERT=system, and no file with the system's authorities was \
         found; name one, or install the client tools of PostgreSQL 16 or later"
    )]
    NoSystemStore { version: String },
    /// The installation lacks a program.
    #[error("{path} is missing, and globals need it; install the whole client package, or set BACKUP_GLOBALS=false")]
    Incomplete {
        /// The missing program.
        path: PathBuf,
    },
}

impl ToolError {
    /// The same, of tools that were looked for to restore a dump.
    pub fn of_dump(self, dump: &str) -> Self {
        match self {
            Self::Older { newest, path, .. } => Self::OlderThanDump { dump: dump.to_owned(), newest, path },
            other => other,
        }
    }
}

/// Folders where distributions keep one folder of tools for each major.
const PER_MAJOR: &[(&str, &str)] =
    &[("/usr/lib/postgresql", "bin"), ("/usr/pgsql", "bin"), ("/opt/homebrew/opt", "bin"), ("/usr/local/opt", "bin")];

/// The client tools to use for a server: the same major preferred, else the next newer.
pub async fn find(
    bin_dir: Option<&Path>,
    search_path: &OsStr,
    environment: &[(String, OsString)],
    major: u32,
    server: &str,
) -> Result<FoundTools, ToolError> {
    let folders = folders(bin_dir, search_path);
    let mut all: Vec<Tools> = Vec::new();
    for folder in &folders {
        let path = folder.join("pg_dump");
        // Debian's wrapper starts the same programs that are found in their own folders, and decides by itself which
        let is_wrapper = path.canonicalize().is_ok_and(|path| path.ends_with("pg_wrapper"));
        if path.is_file()
            && !is_wrapper
            && let Some(version) = command::version_of(&path, environment).await
            && let Some(major) = version.split(|c: char| !c.is_ascii_digit()).next().and_then(|text| text.parse().ok())
        {
            all.push(Tools { folder: folder.clone(), major, version });
        }
    }
    if let Some(chosen) = all.iter().filter(|tools| tools.major >= major).min_by_key(|tools| tools.major) {
        return Ok(FoundTools { chosen: chosen.clone(), all });
    }
    match all.into_iter().max_by_key(|tools| tools.major) {
        Some(newest) => {
            let path = newest.program("pg_dump");
            Err(ToolError::Older { server: server.to_owned(), newest: newest.version, path })
        }
        None => {
            let searched = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
            Err(ToolError::Missing { searched })
        }
    }
}

fn folders(bin_dir: Option<&Path>, search_path: &OsStr) -> Vec<PathBuf> {
    if let Some(folder) = bin_dir {
        return vec![folder.to_owned()];
    }
    let mut folders: Vec<PathBuf> = std::env::split_paths(search_path).filter(|path| path.is_absolute()).collect();
    for (base, inner) in PER_MAJOR {
        let (parent, prefix) = if Path::new(base).is_dir() {
            (Path::new(base), "")
        } else {
            let path = Path::new(base);
            (path.parent().unwrap_or(path), path.file_name().and_then(OsStr::to_str).unwrap_or_default())
        };
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let matching = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        folders.extend(matching.map(|entry| entry.path().join(inner)).filter(|path| path.join("pg_dump").is_file()));
    }
    let mut seen = HashSet::new();
    folders.retain(|folder| seen.insert(folder.canonicalize().unwrap_or_else(|_| folder.clone())));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_with_known_holes_are_told_from_patched_ones() {
        let wanted = |version: &str| {
            Tools { folder: PathBuf::new(), major: version[..2].parse().unwrap(), version: version.to_owned() }
                .update_wanted()
        };
        assert_eq!(wanted("18.5").unwrap(), "18.6");
        assert_eq!(wanted("17.11"), None);
        assert_eq!(wanted("15.18").unwrap(), "15.19");
        assert_eq!(wanted("13.23").unwrap(), "14.24");
        assert_eq!(wanted("19beta1"), None);
    }
}
