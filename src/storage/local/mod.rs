//! A folder.
//!
//! Files are written beside their target under a hidden name with O_EXCL, made durable, and linked into place by a
//! rename that refuses to replace. Data is flushed while more of it arrives, so that a large backup neither fills the
//! page cache with dirty pages nor ends in one long wait.

mod listing;

use super::{Download, Location, Object, Owner, Progress, Space, Storage, StorageError, Trace, Unfinished, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use listing::{object, refuse_no_folder, walk_all};
use rustix::fs::{Access, AtFlags, CWD, RenameFlags, access, linkat, rename, renameat_with, statvfs, unlink};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;
use tracing::warn;

/// Unflushed bytes after which the data so far is sent to the disk in the background.
const FLUSH_BYTES: u64 = 32 << 20;
/// Ending of a file that is being written.
const PARTIAL: &str = ".partial";

/// A folder that keeps objects as files.
#[derive(Debug, Clone)]
pub struct Local {
    folder: PathBuf,
    owner: Owner,
}

impl Local {
    /// The folder is made when the first object is written.
    pub fn new(folder: &Path, owner: Owner) -> Self {
        Self { folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()), owner }
    }

    fn path(&self, key: &str) -> Result<PathBuf, StorageError> {
        let harmless = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        if key.split('/').all(harmless) {
            Ok(self.folder.join(key))
        } else {
            let cause = "it is not a relative path without `.` and `..`".to_owned();
            Err(StorageError::Failed { action: format!("using the key `{key}`"), cause })
        }
    }
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(StorageError::Failed { action: "working on files".to_owned(), cause: error.to_string() })
    })
}

fn explain(action: &str, path: &Path, error: &io::Error) -> StorageError {
    let action = format!("{action} {}", path.display());
    let cause = error.to_string();
    match error.kind() {
        io::ErrorKind::NotFound => StorageError::NotFound { key: path.display().to_string() },
        io::ErrorKind::AlreadyExists => StorageError::AlreadyExists { key: path.display().to_string() },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StorageError::Refused { action, cause, hint: "check BACKUP_DIR and the permissions of its folder" }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StorageError::Failed { action, cause: format!("{cause}; free some space or move BACKUP_DIR") }
        }
        _ => StorageError::Failed { action, cause },
    }
}

fn make_folder(path: &Path) -> Result<(), StorageError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if parent.is_dir() {
        return Ok(());
    }
    refuse_no_folder(parent)?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
    made.map_err(|error| explain("making the folder", parent, &error))?;
    parent.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> Result<(), StorageError> {
    let sync = || File::open(folder)?.sync_all();
    match sync() {
        // NFS, SMB and FUSE may not know this; a crash of the machine may lose a name there, and nothing else can help
        Err(error) if error.raw_os_error().is_some_and(|number| lacks(Errno::from_raw_os_error(number))) => {
            UNFLUSHED.call_once(|| {
                warn!("{}: this file system does not flush folders ({error}); after a crash of the machine the newest backup may be missing", folder.display());
            });
            Ok(())
        }
        outcome => outcome.map_err(|error| explain("flushing the folder", folder, &error)),
    }
}

fn create(path: &Path) -> Result<File, StorageError> {
    make_folder(path)?;
    // create_new is O_CREAT|O_EXCL, which follows no symbolic link
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(|error| explain("creating", path, &error))
}

/// Said once of a folder whose names may be lost in a crash.
static UNFLUSHED: Once = Once::new();

/// True where a file system does not know the operation; what may not be done is another answer, but for links, which
/// those without them refuse like that.
fn lacks(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOTTY | Errno::BADF)
}

/// Gives a finished file its name, never replacing another. File systems without the rename flag get a link, and those
/// without links a plain rename once nothing has that name: names hold the time and the run, and runs hold a lock.
fn place(partial: &Path, target: &Path) -> Result<(), StorageError> {
    let mut placed = renameat_with(CWD, partial, CWD, target, RenameFlags::NOREPLACE);
    if placed.is_err_and(lacks) {
        placed = linkat(CWD, partial, CWD, target, AtFlags::empty()).and_then(|()| unlink(partial));
        if placed.is_err_and(|errno| lacks(errno) || errno == Errno::PERM) {
            placed = match std::fs::symlink_metadata(target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => rename(partial, target),
                Err(error) => return Err(explain("looking at", target, &error)),
                Ok(_) => Err(Errno::EXIST),
            };
        }
    }
    placed.map_err(|errno| explain("naming", target, &errno.into()))?;
    target.parent().map_or(Ok(()), sync_folder)
}

fn remove(path: &Path) -> Result<(), StorageError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(explain("deleting", path, &error)),
        _ => Ok(()),
    }
}

/// `.NAME.SOURCE-SERVER-RUN.partial` beside `NAME`; while the server is not known, `.NAME.SOURCE-RUN.partial`.
fn partial_path(target: &Path, owner: &Owner) -> PathBuf {
    let Trace { source, server, run_id } = owner.trace();
    let server = server.map(|server| format!("-{server}")).unwrap_or_default();
    target.with_file_name(format!("{}{source}{server}-{run_id}{PARTIAL}", partial_prefix(target)))
}

/// How hidden files of this target begin; cut so that the whole stays within the 255 bytes of a file name.
fn partial_prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    format!(".{}.", name.chars().take(170).collect::<String>())
}

/// Reads the owner out of a hidden file's name.
fn partial_owner(name: &str) -> Option<Trace> {
    let (_, owner) = name.strip_prefix('.')?.strip_suffix(PARTIAL)?.rsplit_once('.')?;
    let (source, rest) = owner.split_once('-')?;
    let (server, run_id) = match rest.split_once('-') {
        Some((server, run_id)) => (Some(server.to_owned()), run_id),
        None => (None, rest),
    };
    Some(Trace { source: source.to_owned(), server, run_id: run_id.to_owned() })
}

#[async_trait]
impl Storage for Local {
    fn location(&self) -> Location {
        Location { name: self.folder.display().to_string(), setting: "BACKUP_DIR" }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        let (folder, prefix) = (self.folder.clone(), prefix.to_owned());
        blocking(move || {
            let mut found = walk_all(&folder, false)?;
            found.retain(|object| object.key.starts_with(&prefix));
            Ok(found)
        })
        .await
    }

    async fn head(&self, key: &str) -> Result<Option<Object>, StorageError> {
        let (folder, path) = (self.folder.clone(), self.path(key)?);
        blocking(move || match std::fs::symlink_metadata(&path) {
            Ok(meta) => Ok(object(&folder, &path, &meta)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(explain("looking at", &path, &error)),
        })
        .await
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Download, StorageError> {
        let path = self.path(key)?;
        let begin = range.start;
        let (file, size) = blocking(move || {
            let open = || {
                let mut file = File::open(&path)?;
                let size = file.metadata()?.len();
                file.seek(SeekFrom::Start(begin))?;
                Ok((file, size))
            };
            open().map_err(|error| explain("reading", &path, &error))
        })
        .await?;
        let body = tokio::fs::File::from_std(file).take(range.end.saturating_sub(begin));
        Ok(Download { size, body: Box::new(body) })
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        let mut upload = self.upload(key, bytes.len() as u64).await?;
        match upload.write(bytes).await {
            Ok(()) => upload.commit().await.map(drop),
            Err(error) => upload.abort().await.and(Err(error)),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(key)?;
        blocking(move || remove(&path)).await
    }

    async fn upload(&self, key: &str, _expected_bytes: u64) -> Result<Box<dyn Upload>, StorageError> {
        let target = self.path(key)?;
        let partial = partial_path(&target, &self.owner);
        let (folder, path) = (self.folder.clone(), partial.clone());
        let file = blocking(move || create(&path)).await?;
        Ok(Box::new(LocalUpload {
            folder,
            target,
            partial,
            file: Arc::new(file),
            unflushed: 0,
            flush: None,
            progress: Progress::default(),
        }))
    }

    async fn unfinished(&self, key: &str) -> Result<Vec<Unfinished>, StorageError> {
        let (target, key) = (self.path(key)?, key.to_owned());
        blocking(move || {
            let folder = target.parent().unwrap_or(&target);
            let prefix = partial_prefix(&target);
            let entries = match std::fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(explain("listing", folder, &error)),
            };
            let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            let ours = names.filter(|file| file.starts_with(&prefix) && file.ends_with(PARTIAL));
            Ok(ours.map(|handle| Unfinished { key: key.clone(), handle }).collect())
        })
        .await
    }

    async fn unfinished_with_owner(&self) -> Result<Vec<(Trace, Unfinished)>, StorageError> {
        let folder = self.folder.clone();
        blocking(move || {
            let hidden = walk_all(&folder, true)?;
            let partial = |object: Object| {
                let name = object.key.rsplit('/').next().unwrap_or_default().to_owned();
                Some((partial_owner(&name)?, Unfinished { key: object.key, handle: name }))
            };
            Ok(hidden.into_iter().filter_map(partial).collect())
        })
        .await
    }

    async fn discard(&self, unfinished: &Unfinished) -> Result<(), StorageError> {
        let path = self.path(&unfinished.key)?.with_file_name(&unfinished.handle);
        blocking(move || remove(&path)).await
    }

    async fn refuse_unwritable(&self) -> Result<(), StorageError> {
        let folder = self.folder.clone();
        blocking(move || {
            refuse_no_folder(&folder)?;
            let existing = existing(&folder);
            let allowed = access(existing, Access::WRITE_OK | Access::EXEC_OK);
            allowed.map_err(|errno| explain("writing to the folder", existing, &errno.into()))
        })
        .await
    }

    async fn space(&self) -> Option<Space> {
        let folder = self.folder.clone();
        blocking(move || {
            let existing = existing(&folder).to_owned();
            let stat = statvfs(&existing).map_err(|errno| explain("looking at", &existing, &errno.into()))?;
            Ok(Space { used: (stat.f_blocks - stat.f_bfree) * stat.f_frsize, free: stat.f_bavail * stat.f_frsize })
        })
        .await
        .ok()
    }
}

/// The folder, or the nearest one above it that is there.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

struct LocalUpload {
    folder: PathBuf,
    target: PathBuf,
    partial: PathBuf,
    file: Arc<File>,
    unflushed: u64,
    flush: Option<JoinHandle<io::Result<()>>>,
    progress: Progress,
}

impl LocalUpload {
    async fn settle_flush(&mut self) -> Result<(), StorageError> {
        let Some(flush) = self.flush.take() else { return Ok(()) };
        let outcome = flush.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        outcome.map_err(|error| explain("writing", &self.partial, &error))
    }
}

#[async_trait]
impl Upload for LocalUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        let (file, path, size) = (self.file.clone(), self.partial.clone(), bytes.len() as u64);
        blocking(move || (&*file).write_all(&bytes).map_err(|error| explain("writing", &path, &error))).await?;
        self.progress.add(size);
        self.unflushed += size;
        if self.unflushed >= FLUSH_BYTES {
            self.unflushed = 0;
            self.settle_flush().await?;
            let file = self.file.clone();
            self.flush = Some(tokio::task::spawn_blocking(move || file.sync_data()));
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<Object, StorageError> {
        let settled = self.settle_flush().await;
        let Self { folder, target, partial, file, .. } = *self;
        blocking(move || {
            let finish = || {
                settled?;
                file.sync_all().map_err(|error| explain("writing", &partial, &error))?;
                place(&partial, &target)?;
                let meta = std::fs::symlink_metadata(&target).map_err(|error| explain("reading", &target, &error))?;
                object(&folder, &target, &meta)
                    .ok_or_else(|| StorageError::NotFound { key: target.display().to_string() })
            };
            finish().inspect_err(|_| drop(remove(&partial)))
        })
        .await
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StorageError> {
        let _ = self.settle_flush().await;
        blocking(move || remove(&self.partial)).await
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}
