//! A custom archive restored by several workers of pg_restore, which need it as a file.

use super::databases::ChosenArchive;
use super::{Restorer, proved};
use crate::config::Format;
use crate::dump_format::custom_archive::{self, Event};
use crate::dump_format::script::{Rows, Script};
use crate::dump_format::sql_lexer::{Charset, Copy, Lexer, SequenceSet, Token};
use crate::error::{BackupError, Error, ServerError, StoreError};
use crate::loader::Broken;
use crate::loader::archive::Reading;
use crate::loader::sql::blame;
use crate::loader::{Filled, Loader};
use crate::postgres::parallel::{Parallel, ParallelOptions, Schema};
use crate::postgres::scratch::Scratch;
use crate::postgres::tools::Tools;
use crate::record::facts::DatabaseHead;
use crate::repository::Backup;
use crate::text;
use crate::verify::archive;
use bytes::BytesMut;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tracing::info;

/// Bytes looked at at once.
const CHUNK: usize = 256 << 10;

/// The archive as a file: where it lies, or a copy that goes away with this.
struct OnDisk {
    path: PathBuf,
    /// Keeps a copy that has no name any more.
    file: Option<File>,
    is_ours: bool,
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Restorer<'_> {
    /// The number of workers, where the archive is one for several.
    pub(super) fn jobs(&self, backup: &Backup) -> Option<usize> {
        let is_whole = !matches!(self.request.rows(&Default::default()), Rows::Of(_));
        self.request.jobs.filter(|jobs| *jobs > 1 && is_whole && backup.manifest.format == Format::Custom)
    }

    /// Fills the database; an archive that lies here is read for its checksum meanwhile, any other beforehand.
    pub(super) async fn fill_in_parallel(
        &self,
        loader: &Loader<'_>,
        archive: &ChosenArchive<'_>,
        scratch: &Scratch,
        expected: &DatabaseHead,
        jobs: usize,
    ) -> Result<Filled, Error> {
        let started = Instant::now();
        let Some(tools) = &loader.tools else {
            return Err(Error::Io("only custom archives are restored by pg_restore".to_owned()));
        };
        let lies_here = self.repository.file(archive.backup).filter(|_| archive.backup.manifest.encryption.is_none());
        let copy = match &lies_here {
            Some(path) => OnDisk { path: path.clone(), file: None, is_ours: false },
            None => self.fetch(archive.backup).await?,
        };
        let examined = self.shutdown.guard(examine(loader, tools, &copy.path)).await?;
        let (subscriptions, has_tablespaces) = self.unbroken(archive.backup, examined)?;
        let lc_monetary = &expected.lc_monetary;
        let knows_locale = self.shutdown.guard(loader.server.knows_locale(lc_monetary)).await?;
        let lc_monetary = if knows_locale { lc_monetary } else { "" };
        let options = ParallelOptions {
            file: &copy.path,
            jobs,
            no_owner: self.request.no_owner,
            no_tablespaces: !has_tablespaces,
            schema_only: loader.leave_out.rows == Rows::None,
        };
        let (target, environment) = (loader.server.source(scratch), &self.config.child_environment);
        let mut running =
            Parallel::start(tools, &target, lc_monetary, options, environment).map_err(ServerError::Restore)?;
        let proved = async {
            match lies_here {
                Some(_) => self.prove(archive.backup, None).await,
                None => Ok(()),
            }
        };
        let both = async {
            tokio::try_join!(
                async { running.finish().await.map_err(|error| Error::Server(ServerError::Restore(error))) },
                proved
            )
        };
        match self.shutdown.guard(both).await {
            Ok(Ok(_)) => Ok(Filled {
                seconds: started.elapsed().as_secs_f64(),
                subscriptions,
                has_tablespaces,
                left_out: Vec::new(),
            }),
            Ok(Err(error)) => {
                running.stop().await;
                Err(error)
            }
            Err(stop) => {
                running.stop().await;
                Err(stop.into())
            }
        }
    }

    fn unbroken<T>(&self, backup: &Backup, read: Result<T, Broken>) -> Result<T, Error> {
        read.map_err(|broken| match broken {
            Broken::Other(error) => error,
            Broken::Backup(failures) => {
                Error::Backup(BackupError::NotRestored { id: backup.manifest.id.clone(), failures })
            }
        })
    }

    /// Reads the stored bytes to their end, into a file or for their checksum alone.
    async fn prove(&self, backup: &Backup, mut file: Option<&mut File>) -> Result<(), Error> {
        let keys = self.config.encryption.identities.as_ref();
        let mut reading = Reading::open_bytes(self.repository, backup, keys).await?;
        let read = async {
            while let Some(bytes) = reading.next(None).await? {
                if let Some(file) = &mut file {
                    tokio::task::block_in_place(|| file.write_all(&bytes)).map_err(|error| unwritable(&error))?;
                }
            }
            Ok(())
        };
        let read = read.await;
        let check = archive::prove(reading, &backup.manifest, None, read).await?;
        proved(&backup.manifest, &check)
    }

    /// Copies an archive that lies elsewhere, or is encrypted, into the folder for temporary files.
    async fn fetch(&self, backup: &Backup) -> Result<OnDisk, Error> {
        let folder = self.config.child_environment.iter().find(|(name, _)| name == "TMPDIR");
        let folder = folder.map_or_else(|| PathBuf::from("/tmp"), |(_, folder)| folder.into());
        let needed = backup.manifest.stored_bytes;
        let stat = rustix::fs::statvfs(&folder).map_err(|error| unwritable(&error.into()))?;
        if stat.f_bavail * stat.f_frsize < needed {
            return Err(Error::Store(StoreError::NoSpace {
                place: format!("{} (TMPDIR), where --jobs needs the archive as a file", folder.display()),
                free: text::size(stat.f_bavail * stat.f_frsize),
                needed: text::size(needed),
            }));
        }
        let path = folder.join(format!("backup-restore-{}.dump", self.run_id));
        let mut copy = OnDisk { path, file: None, is_ours: true };
        info!("copying {} ({}) to {}", backup.manifest.id, text::size(needed), copy.path.display());
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy.path);
        let mut file = opened.map_err(|error| unwritable(&error))?;
        // without a name it is gone with this process, however that ends
        let unnamed = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        if unnamed.exists() {
            std::fs::remove_file(&copy.path).map_err(|error| unwritable(&error))?;
            (copy.path, copy.is_ours) = (unnamed, false);
        }
        self.shutdown.guard(self.prove(backup, Some(&mut file))).await??;
        copy.file = Some(file);
        Ok(copy)
    }
}

fn unwritable(error: &std::io::Error) -> Error {
    Error::Io(format!("writing the archive to TMPDIR for --jobs: {error}; free some space, or leave --jobs out"))
}

/// Looks at every statement before one is run; the answer are subscriptions, and whether the server has every tablespace.
async fn examine(loader: &Loader<'_>, tools: &Tools, path: &Path) -> Result<(Vec<String>, bool), Broken> {
    tokio::task::block_in_place(|| examine_entries(path))?;
    let environment = &loader.config.child_environment;
    let (schema, mut sql) = Schema::start(tools, path, environment).map_err(blame)?;
    let mut script = Script::new(loader.leave_out.clone());
    let mut chunk = BytesMut::with_capacity(CHUNK);
    loop {
        let count = sql.read_buf(&mut chunk).await.map_err(|error| Broken::Other(Error::Io(error.to_string())))?;
        if count == 0 {
            break;
        }
        let mut input = &chunk[..];
        while script.next(&mut input)?.is_some() {}
        chunk.clear();
    }
    schema.finish().await.map_err(blame)?;
    let has_tablespaces = script.has_every_tablespace();
    Ok((script.finish()?, has_tablespaces))
}

/// What goes with rows is not in the SQL of objects alone: values of sequences, and how rows are handed over.
fn examine_entries(path: &Path) -> Result<(), Broken> {
    let unreadable = |error: std::io::Error| Broken::Other(Error::Io(format!("{}: {error}", path.display())));
    let mut file = File::open(path).map_err(unreadable)?;
    let (mut archive, mut chunk) = (custom_archive::CustomArchive::default(), vec![0; CHUNK]);
    loop {
        let count = file.read(&mut chunk).map_err(unreadable)?;
        let mut input = &chunk[..count];
        while let Some(event) = archive.next(&mut input) {
            let Event::Entry(entry) = event else { return Ok(()) };
            let charset = Charset::default();
            let is_ours = match entry.kind.as_slice() {
                b"TABLE DATA" => Copy::parse(&entry.copy, charset).is_some() && is_one_statement(&entry.copy),
                b"SEQUENCE SET" => {
                    SequenceSet::parse(&entry.definition, charset).is_some() && is_one_statement(&entry.definition)
                }
                _ => true,
            };
            if !is_ours {
                let kind = String::from_utf8_lossy(&entry.kind).into_owned();
                let why = format!("an entry {kind} is not as pg_dump writes it; it was not run");
                return Err(Broken::Backup(why));
            }
        }
        if count == 0 {
            return Ok(());
        }
    }
}

/// True when nothing but space stands behind the statement's end.
fn is_one_statement(text: &[u8]) -> bool {
    let (mut lexer, mut input, mut ended) = (Lexer::default(), text, false);
    while let Some(token) = lexer.next(&mut input) {
        match token {
            Token::StatementEnd if !ended => ended = true,
            Token::Sql(sql) if !ended || sql.trim_ascii().is_empty() => {}
            Token::CopyBegin => {}
            _ => return false,
        }
    }
    true
}
