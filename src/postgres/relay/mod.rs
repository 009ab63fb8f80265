//! Many connections, one dump: pg_dump decides what is dumped and writes the script, and the rows come from elsewhere.
//!
//! pg_dump talks to its server through a socket of ours. Everything passes unchanged but the reading of whole tables: that
//! is answered with no rows, and handed to sessions that read them under the same snapshot and the same settings, large
//! tables in ranges of pages. Where the script says that rows begin, they are put in, in the order of the pages: the text is
//! byte for byte what pg_dump alone would have written.
//!
//! The session of pg_dump holds the locks, and stays until the last row was read. It reads what nobody else can.

mod frames;
mod leader;
mod merge;
mod rows;
mod size;
mod statements;
mod worker;

pub use merge::merged;

use super::dump::Output;
use super::passfile;
use crate::background::{AbortOnDrop, counted};
use crate::config::Source;
use leader::{Asked, Lead, LeaderRequest, RelayShared, carry};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info};
use worker::RowReaders;

/// Sessions that read rows at the same time; clones share them.
#[derive(Debug, Clone)]
pub struct ReadingBudget {
    most: usize,
    free: Arc<Semaphore>,
}

impl ReadingBudget {
    /// At most so many for one dump. Each dump has one, as pg_dump alone would have; the others are shared by all.
    pub fn new(most: usize) -> Self {
        Self { most, free: Arc::new(Semaphore::new(most.saturating_sub(1))) }
    }

    /// True where there are several.
    pub fn is_parallel(&self) -> bool {
        self.most > 1
    }
}

/// The port in the name of the socket, as good as any other.
const PORT: u16 = 5432;

/// A way to the server that leads through us; dropping it closes the way.
pub struct Relay {
    detour: Detour,
    _folder: Folder,
    asked: mpsc::UnboundedReceiver<Asked>,
    requests: mpsc::Sender<LeaderRequest>,
    ended: oneshot::Receiver<Result<(), String>>,
    _listening: AbortOnDrop,
}

/// What a client is told so that it takes that way.
#[derive(Clone)]
pub struct Detour {
    folder: PathBuf,
    source: Source,
}

impl Detour {
    /// Variables that go before those of the source. Encryption is ours, and libpq would look into its password file for
    /// the socket's host.
    pub(super) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let host = ("PGHOST", self.folder.clone().into());
        let mut variables = vec![host, ("PGPORT", PORT.to_string().into())];
        // libpq holds these against each other even where it uses none of them
        variables.extend([("PGSSLMODE", "disable".into()), ("PGSSLROOTCERT", "/nonexistent".into())]);
        let source = &self.source;
        let passfile = source.passfile.as_ref().filter(|_| source.password.is_none());
        let password = passfile.and_then(|path| passfile::find(path, source, &source.database));
        variables.extend(password.map(|password| ("PGPASSWORD", password.into())));
        variables
    }
}

/// A folder that nobody else may look into.
struct Folder(PathBuf);

/// What the folders' names begin with; random digits follow. The path of a socket must be short.
const FOLDER: &str = "backup-relay-";

impl Folder {
    fn make(within: &Path) -> io::Result<Self> {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let path = within.join(format!("{FOLDER}{}", &id[id.len() - 12..]));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}

/// The folder as libpq takes it: without a `/` before it, it would be the name of a host, and a comma would make it two.
fn absolute(folder: &Path) -> io::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    let has_comma = folder.as_os_str().as_encoded_bytes().contains(&b',');
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "its name has a comma");
    if has_comma { Err(invalid()) } else { Ok(folder) }
}

/// Time in which a folder gets its socket, and somebody who answers there.
const BEING_MADE: std::time::Duration = std::time::Duration::from_secs(5);

/// Removes the folders of processes that were killed: nobody answers at their sockets.
fn sweep(within: &Path) {
    for entry in std::fs::read_dir(within).into_iter().flatten().flatten() {
        let is_named = entry.file_name().to_str().is_some_and(|name| name.starts_with(FOLDER));
        // of the entry itself, and not of what it may point to
        let Some(folder) = entry.metadata().ok().filter(|_| is_named) else { continue };
        let is_ours =
            folder.is_dir() && folder.uid() == rustix::process::getuid().as_raw() && folder.mode() & 0o077 == 0;
        let age = folder.modified().ok().and_then(|made| made.elapsed().ok());
        if !is_ours || age.is_none_or(|age| age < BEING_MADE) {
            continue;
        }
        let socket = socket_in(&entry.path());
        let answer = std::os::unix::net::UnixStream::connect(&socket).map(drop);
        let is_dead =
            |error: io::Error| matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound);
        if answer.is_err_and(is_dead) {
            // what cannot be removed is nobody's concern
            let _ = std::fs::remove_file(&socket);
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // it is empty but for the socket, and of no use to anybody
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a dump is to be that rows are read for.
#[derive(Debug, Clone, Copy)]
pub struct RelayedDump<'a> {
    /// None where the server exports none.
    pub snapshot: Option<&'a str>,
    pub output: Output,
    /// Bytes of the database on the server's disk; 0 where nobody knows.
    pub bytes: u64,
    /// What child processes see.
    pub environment: &'a [(String, OsString)],
}

/// Bytes of a database below which another connection costs more than it saves.
const SMALL: u64 = 16 << 20;

/// A way for several connections, where there may be several; where there may not, the log says why.
pub fn open(source: &Source, budget: &ReadingBudget, wanted: RelayedDump<'_>) -> Option<Relay> {
    if !budget.is_parallel() {
        return None;
    }
    let variable = |name: &str| wanted.environment.iter().find(|(other, _)| other == name).map(|(_, value)| value);
    let why = match (wanted.snapshot, wanted.output) {
        (_, Output::Custom) => "pg_dump writes a custom archive by itself".to_owned(),
        (_, Output::Globals) => return None,
        (None, _) => "the server exports no snapshot".to_owned(),
        _ if (1..SMALL).contains(&wanted.bytes) => {
            debug!("{}: one connection reads this small database", source.database);
            return None;
        }
        (Some(snapshot), Output::Plain) => {
            let within = variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
            match absolute(&within).and_then(|within| Relay::open(source, snapshot, budget, &within)) {
                Ok(relay) => return Some(relay),
                Err(error) => {
                    format!(
                        "no socket could be created in {} ({error}); set TMPDIR to another folder",
                        within.display()
                    )
                }
            }
        }
    };
    info!("{}: one connection reads the rows: {why}", source.database);
    None
}

impl Relay {
    /// Opens the way to the database that `source` names, in a folder of its own `within` one for temporary files. Rows are
    /// read under that exported snapshot.
    fn open(source: &Source, snapshot: &str, budget: &ReadingBudget, within: &Path) -> io::Result<Self> {
        sweep(within);
        let folder = Folder::make(within)?;
        let listener = UnixListener::bind(socket_in(&folder.0))?;
        let (sender, asked) = mpsc::unbounded_channel();
        let (requests, receiver) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            super::catalog::literal(snapshot)
        );
        let lead = Lead { asked: sender, requests: receiver, ended: end };
        let shared = Arc::new(RelayShared {
            source: source.clone(),
            workers: RowReaders::new(source, &begin, budget.most, budget.free.clone()),
            lead: Mutex::new(Some(lead)),
        });
        let listening = AbortOnDrop::spawn(listen(listener, shared));
        let detour = Detour { folder: folder.0.clone(), source: source.clone() };
        Ok(Self { detour, _folder: folder, asked, requests, ended, _listening: listening })
    }

    /// What pg_dump is to be told.
    pub fn detour(&self) -> &Detour {
        &self.detour
    }
}

/// Carries whoever connects; all of it ends with this.
async fn listen(listener: UnixListener, shared: Arc<RelayShared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(counted(carry(shared.clone(), client)));
        while connections.try_join_next().is_some() {}
    }
}
