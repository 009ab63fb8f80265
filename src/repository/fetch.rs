//! A backup copied into a folder, with everything that belongs to it.

use super::{Backup, Repository};
use crate::hex;
use crate::record::manifest;
use crate::storage::key::{self, FileKind};
use crate::storage::{StorageError, read_small};
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{info, warn};

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;
/// Ending of a file that is not whole yet; what is in it is gone on with.
const PARTIAL: &str = ".partial";

/// Why a backup was not copied.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store does not give it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The folder does not take it.
    #[error("writing {}: {cause}", .path.display())]
    Write {
        /// File or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Somebody else copies it there.
    #[error("another download is writing {}; wait for it to finish", .0.display())]
    Busy(PathBuf),
    /// A file of that name is there, and is another one.
    #[error("{} already exists and has different bytes; move it away", .0.display())]
    Taken(PathBuf),
    /// The bytes are not those that were stored.
    #[error("the bytes of {0} do not match its manifest")]
    Changed(String),
}

impl Repository {
    /// Copies an archive and what lies beside it; the answer is the archive's file. What an earlier attempt has copied
    /// is gone on with, and a whole file is left as it is; either way its SHA-256 decides. The manifest comes last.
    pub async fn fetch(&self, backup: &Backup, folder: &Path) -> Result<PathBuf, FetchError> {
        let name = backup.key.rsplit('/').next().unwrap_or(&backup.key);
        let target = folder.join(name);
        fs::create_dir_all(folder).await.map_err(writing(folder))?;
        if fs::try_exists(&target).await.map_err(writing(&target))? {
            if digest_of(&target).await?.1 != backup.manifest.sha256 {
                return Err(FetchError::Taken(target));
            }
            info!("{} is already there and complete", target.display());
        } else {
            self.fetch_archive(backup, &target).await?;
        }
        for part in [FileKind::Checksum, FileKind::Facts, FileKind::Manifest] {
            let bytes = match part {
                FileKind::Facts => self.read_facts(&backup.key).await?,
                part => read_small(&*self.storage, &key::companion(&backup.key, part), manifest::LIMIT).await?,
            };
            let path = folder.join(key::companion(name, part));
            match fs::read(&path).await {
                Ok(there) if there == bytes => continue,
                Ok(_) => return Err(FetchError::Taken(path)),
                Err(_) => {}
            }
            // under its own name it is whole
            let partial = partial_of(&path);
            let _ = fs::remove_file(&partial).await;
            let mut file = create(&partial).await?;
            file.write_all(&bytes).await.map_err(writing(&partial))?;
            file.sync_all().await.map_err(writing(&partial))?;
            fs::rename(&partial, &path).await.map_err(writing(&path))?;
        }
        Ok(target)
    }

    async fn fetch_archive(&self, backup: &Backup, target: &Path) -> Result<(), FetchError> {
        let partial = partial_of(target);
        let lock = partial_of(&partial);
        let held = std::fs::File::create(&lock).map_err(writing(&lock))?;
        if held.try_lock().is_err() {
            return Err(FetchError::Busy(target.to_owned()));
        }
        let fetched = self.fetch_locked(backup, target, &partial).await;
        let _ = fs::remove_file(&lock).await;
        fetched
    }

    async fn fetch_locked(&self, backup: &Backup, target: &Path, partial: &Path) -> Result<(), FetchError> {
        let size = backup.manifest.stored_bytes;
        for is_fresh in [false, true] {
            let (mut digest, mut length) = (Sha256::new(), 0);
            if fs::try_exists(partial).await.map_err(writing(partial))? {
                (length, digest) = so_far(partial).await?;
            }
            let mut file = if length == 0 || length > size {
                let _ = fs::remove_file(partial).await;
                (digest, length) = (Sha256::new(), 0);
                create(partial).await?
            } else {
                info!("resuming {} after {length} bytes", partial.display());
                OpenOptions::new().append(true).open(partial).await.map_err(writing(partial))?
            };
            let resumed = length > 0;
            if length < size {
                let mut body = self.open(backup, length..u64::MAX).await?;
                let mut chunk = vec![0; CHUNK];
                loop {
                    let read = body.read(&mut chunk).await;
                    let count = read.map_err(|error| self.location().broke_off(&backup.key, error.to_string()))?;
                    if count == 0 {
                        break;
                    }
                    length += count as u64;
                    if length > size {
                        break;
                    }
                    digest.update(&chunk[..count]);
                    file.write_all(&chunk[..count]).await.map_err(writing(partial))?;
                }
            }
            file.sync_all().await.map_err(writing(partial))?;
            if hex::encode(&digest.finalize()) == backup.manifest.sha256 {
                return fs::rename(&partial, target).await.map_err(writing(target));
            }
            fs::remove_file(partial).await.map_err(writing(partial))?;
            if !resumed || is_fresh {
                break;
            }
            // what an earlier attempt left may be of something else
            warn!("{} did not match the rest of the backup; starting over", partial.display());
        }
        Err(FetchError::Changed(self.location().of(&backup.key)))
    }
}

fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    name.into()
}

fn writing(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    |cause| FetchError::Write { path, cause }
}

async fn create(path: &Path) -> Result<File, FetchError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await;
    created.map_err(writing(path))
}

/// Length and digest of what is in a file.
async fn so_far(path: &Path) -> Result<(u64, Sha256), FetchError> {
    let mut file = File::open(path).await.map_err(writing(path))?;
    let (mut digest, mut length, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let count = file.read(&mut chunk).await.map_err(writing(path))?;
        if count == 0 {
            return Ok((length, digest));
        }
        digest.update(&chunk[..count]);
        length += count as u64;
    }
}

async fn digest_of(path: &Path) -> Result<(u64, String), FetchError> {
    let (length, digest) = so_far(path).await?;
    Ok((length, hex::encode(&digest.finalize())))
}
