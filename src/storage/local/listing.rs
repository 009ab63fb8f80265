//! What lies in a folder.

use super::explain;
use crate::storage::{Object, StorageError};
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) fn object(folder: &Path, path: &Path, meta: &std::fs::Metadata) -> Option<Object> {
    let key = path.strip_prefix(folder).ok()?.to_str()?.to_owned();
    let modified = meta.modified().ok().map(DateTime::<Utc>::from);
    Some(Object { key, size: meta.len(), modified })
}

/// A walk through everything below a folder. A link to a folder is followed, because what is written goes through it,
/// too: people put a year on another disk. No folder is entered twice, by whatever ways it is reached; links to files are
/// none of ours.
struct Walk<'a> {
    root: &'a Path,
    /// Look for hidden files, or for the others.
    hidden: bool,
    found: Vec<Object>,
    /// Devices and numbers of the folders that were entered.
    entered: HashSet<(u64, u64)>,
    /// Links to look at once every folder has been: its own name is the better one.
    links: Vec<PathBuf>,
}

impl Walk<'_> {
    fn is_new(&mut self, folder: &Path) -> io::Result<bool> {
        let meta = std::fs::metadata(folder)?;
        Ok(meta.is_dir() && self.entered.insert((meta.dev(), meta.ino())))
    }

    fn all(&mut self) -> io::Result<()> {
        let root = self.root;
        if self.is_new(root)? {
            self.below(root)?;
        }
        while let Some(link) = self.links.pop() {
            match self.is_new(&link) {
                Ok(true) => self.below(&link)?,
                Ok(false) => {}
                // to nowhere
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", link.display()))),
            }
        }
        Ok(())
    }

    fn below(&mut self, folder: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if kind.is_symlink() && !is_hidden {
                self.links.push(path);
            } else if kind.is_dir() && !is_hidden {
                let below = self.is_new(&path).and_then(|is_new| if is_new { self.below(&path) } else { Ok(()) });
                match below {
                    // the file system's own folder
                    Err(error)
                        if error.kind() == io::ErrorKind::PermissionDenied && entry.file_name() == "lost+found" => {}
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
                    }
                    outcome => outcome?,
                }
            } else if kind.is_file() && is_hidden == self.hidden {
                match entry.metadata() {
                    Ok(meta) => self.found.extend(object(self.root, &path, &meta)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Everything below the root, hidden or not; a root that does not exist yet is empty.
pub(super) fn walk_all(root: &Path, hidden: bool) -> Result<Vec<Object>, StorageError> {
    let (found, entered, links) = (Vec::new(), HashSet::new(), Vec::new());
    let mut walk = Walk { root, hidden, found, entered, links };
    match walk.all() {
        _ if root.exists() && !root.is_dir() => refuse_no_folder(root)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !root.exists() => refuse_no_folder(root)?,
        outcome => outcome.map_err(|error| explain("listing", root, &error))?,
    }
    walk.found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(walk.found)
}

/// An error where something that is no folder, or a link to nowhere, is or stands above this path. A disk that is not
/// mounted is no empty folder.
pub(super) fn refuse_no_folder(folder: &Path) -> Result<(), StorageError> {
    for path in folder.ancestors() {
        let Ok(meta) = std::fs::symlink_metadata(path) else { continue };
        let cause = match (meta.is_symlink(), path.exists()) {
            (_, true) if path.is_dir() => return Ok(()),
            (true, false) => {
                let target = std::fs::read_link(path).unwrap_or_default();
                format!("{} is a link to {}, which does not exist", path.display(), target.display())
            }
            _ => format!("{} is not a folder", path.display()),
        };
        let action = format!("using the folder {}", folder.display());
        return Err(StorageError::Missing { action, cause, setting: "BACKUP_DIR" });
    }
    Ok(())
}
