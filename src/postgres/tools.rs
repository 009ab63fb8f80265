//! Finding the client tools of the right major.

use super::command;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// One installed `pg_dump`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Path of the program.
    pub path: PathBuf,
    /// 15 of 15.18.
    pub major: u32,
    /// `15.18`.
    pub version: String,
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
         read it, install the client tools of that version or set PG_BIN_DIR"
    )]
    Older {
        /// Version of the server.
        server: String,
        /// Version of the newest tool.
        newest: String,
        /// Where that is.
        path: PathBuf,
    },
}

/// Folders where distributions keep one folder of tools for each major.
const PER_MAJOR: &[(&str, &str)] =
    &[("/usr/lib/postgresql", "bin"), ("/usr/pgsql", "bin"), ("/opt/homebrew/opt", "bin"), ("/usr/local/opt", "bin")];

/// The `pg_dump` to use for a server: the same major preferred, else the next newer.
pub async fn find_pg_dump(
    bin_dir: Option<&Path>,
    search_path: &OsStr,
    environment: &[(String, OsString)],
    major: u32,
    server: &str,
) -> Result<Tool, ToolError> {
    let folders = folders(bin_dir, search_path);
    let mut found: Vec<Tool> = Vec::new();
    for folder in &folders {
        let path = folder.join("pg_dump");
        if path.is_file()
            && let Some(version) = command::version_of(&path, environment).await
            && let Some(major) = version.split(|c: char| !c.is_ascii_digit()).next().and_then(|text| text.parse().ok())
        {
            found.push(Tool { path, major, version });
        }
    }
    if let Some(tool) = found.iter().filter(|tool| tool.major >= major).min_by_key(|tool| tool.major) {
        return Ok(tool.clone());
    }
    match found.into_iter().max_by_key(|tool| tool.major) {
        Some(newest) => Err(ToolError::Older { server: server.to_owned(), newest: newest.version, path: newest.path }),
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
    folders
}
