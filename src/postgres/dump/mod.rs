//! pg_dump and pg_dumpall as readers with an honest end.
//!
//! The last read fails unless the child exited 0 and the dump's own end was seen, so nothing downstream can take a
//! dump that broke off for a whole one.

mod error;

pub use error::{CONFLICT, DumpError, STANDBY};

use super::command::Child;
use super::libpq::{KEEPALIVES, environment};
use super::relay::Detour;
use super::tools::Tools;
use crate::config::{self, Format, Source};
use crate::dump_format::custom_archive::CustomArchive;
use bytes::{Bytes, BytesMut};
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::process::ChildStdout;
use tokio::sync::Mutex;

/// What is written, and with it the program that writes it and how its output ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// One database as SQL.
    Plain,
    /// One database as a custom archive.
    Custom,
    /// Roles and tablespaces as SQL.
    Globals,
}

impl Output {
    fn program(self) -> &'static str {
        match self {
            Self::Plain | Self::Custom => "pg_dump",
            Self::Globals => "pg_dumpall",
        }
    }
}

impl From<Format> for Output {
    fn from(format: Format) -> Self {
        match format {
            Format::Plain => Self::Plain,
            Format::Custom => Self::Custom,
        }
    }
}

/// Encodings of databases that are read by nobody but PostgreSQL, and that it can convert.
const UNREADABLE: &[&str] = &["EUC_TW", "EUC_JIS_2004"];

/// The arguments of pg_dump for one database; connection and names travel in the environment.
///
/// `encoding` is that of the database. In one that cannot be read here, names of tables would be unknown, so pg_dump writes
/// UTF-8 instead; whoever has said another encoding gets that.
pub fn arguments(settings: &config::DumpSettings, encoding: &str, snapshot: Option<&str>) -> Vec<String> {
    let mut arguments = vec!["--no-password".to_owned()];
    match settings.format {
        Format::Plain => arguments.push("--format=plain".to_owned()),
        Format::Custom => {
            arguments.push("--format=custom".to_owned());
            arguments.push(format!("--compress={}", settings.level));
        }
    }
    arguments.push(format!("--lock-wait-timeout={}", settings.lock_timeout.as_millis()));
    arguments.extend(snapshot.map(|id| format!("--snapshot={id}")));
    arguments.extend(settings.exclude_tables.iter().map(|pattern| format!("--exclude-table={pattern}")));
    arguments.extend(settings.exclude_table_data.iter().map(|pattern| format!("--exclude-table-data={pattern}")));
    arguments.extend(ownership(settings));
    arguments.extend(UNREADABLE.contains(&encoding).then(|| "--encoding=UTF8".to_owned()));
    arguments.extend(settings.extra_args.iter().cloned());
    arguments
}

/// The arguments of pg_dump for a database that is dropped where it exists and made anew.
pub fn create_arguments(settings: &config::DumpSettings, encoding: &str, snapshot: Option<&str>) -> Vec<String> {
    let mut arguments = arguments(settings, encoding, snapshot);
    arguments.extend(["--create", "--clean", "--if-exists"].map(str::to_owned));
    arguments
}

/// The arguments of pg_dumpall for roles and tablespaces; `clean` drops before it creates.
pub fn globals_arguments(settings: &config::DumpSettings, passwords: bool, clean: bool) -> Vec<String> {
    // names are read here, and the database that is connected to may be of another encoding
    let mut arguments = ["--no-password", "--globals-only", "--encoding=UTF8"].map(str::to_owned).to_vec();
    arguments.extend((!passwords).then(|| "--no-role-passwords".to_owned()));
    if clean {
        arguments.extend(["--clean".to_owned(), "--if-exists".to_owned()]);
    }
    arguments.extend(ownership(settings));
    arguments
}

fn ownership(settings: &config::DumpSettings) -> impl Iterator<Item = String> {
    let owner = settings.no_owner.then(|| "--no-owner".to_owned());
    owner.into_iter().chain(settings.no_privileges.then(|| "--no-privileges".to_owned()))
}

/// Name of its sessions.
const APPLICATION: &str = "backup pg_dump";
/// And of those that read rows beside it.
pub(super) const ROWS: &str = "backup rows";
/// All that a dump is read by.
pub const APPLICATIONS: &[&str] = &[APPLICATION, ROWS];

/// What the session of pg_dump is told. Strings are written as the standard has them, whatever the database prefers.
const OPTIONS: &str = "-c TimeZone=UTC -c bytea_output=hex -c standard_conforming_strings=on";

/// Most bytes that are read to see that a program writes.
const FIRST: usize = 64 << 10;

/// Which database pg_dumpall asks: it knows no `PGDATABASE`, and takes a bare name with `=` for a connection string.
fn first_database(source: &Source) -> String {
    let escaped = source.database.replace('\\', "\\\\").replace('\'', "\\'");
    format!("--database=dbname='{escaped}'")
}

/// Whatever a dump is read from; its last read fails unless it was whole.
pub type DumpReader = Box<dyn AsyncRead + Send + Unpin>;

/// A running child; read it to its end, or end it by its [`Stopper`].
pub struct Dump {
    program: &'static str,
    stdout: ChildStdout,
    child: Arc<Mutex<Child>>,
    end: End,
    state: DumpState,
    /// Bytes that were read to see that there are any.
    first: Bytes,
    /// Starts the program anew, where it may know another password then.
    again: Option<Box<Spawn>>,
}

type Spawn = dyn Fn() -> io::Result<(Child, ChildStdout)> + Send + Sync;

enum End {
    Sql(Tail),
    Custom(Box<CustomArchive>),
}

/// The child's end: its status and the last lines of its stderr.
type Waiting = dyn Future<Output = io::Result<(ExitStatus, String)>> + Send;

enum DumpState {
    Reading,
    Finishing(Pin<Box<Waiting>>),
    Done,
    /// The end was bad, and was said.
    Failed,
}

/// A handle that ends the child while somebody else reads it.
#[derive(Clone)]
pub struct Stopper(Arc<Mutex<Child>>);

impl Stopper {
    /// Ends the child and reaps it.
    pub async fn stop(&self) {
        self.0.lock().await.stop().await;
    }
}

impl Dump {
    /// Starts the program for that output with its arguments and what else of the environment it may see. With a detour it
    /// reaches the server by that.
    pub fn start(
        tools: &Tools,
        source: &Source,
        output: Output,
        arguments: &[String],
        inherited: &[(String, OsString)],
        detour: Option<&Detour>,
    ) -> Result<Self, DumpError> {
        let program = output.program();
        let first_database = (output == Output::Globals).then(|| first_database(source));
        let connection = [KEEPALIVES].into_iter().chain(first_database.as_deref());
        let arguments: Vec<OsString> =
            arguments.iter().map(String::as_str).chain(connection).map(OsString::from).collect();
        let path = tools.program(program);
        let (tools, source, inherited) = (tools.clone(), source.clone(), inherited.to_vec());
        let detour = detour.cloned();
        let rereads = source.rereads_password();
        let shown = path.display().to_string();
        let spawn = move || {
            let inherited = inherited.iter().map(|(name, value)| (name.as_str(), value.clone()));
            let variables = inherited.chain(environment(&source, tools.major, APPLICATION, OPTIONS));
            let detour = detour.as_ref().map(Detour::variables).unwrap_or_default();
            let variables = variables.chain(detour);
            Child::reader(&path, &arguments, variables)
        };
        let (child, stdout) = spawn().map_err(|cause| DumpError::Spawn { program: shown, cause })?;
        let end = match output {
            Output::Plain => End::Sql(Tail::of("database dump")),
            Output::Globals => End::Sql(Tail::of("database cluster dump")),
            Output::Custom => End::Custom(Box::default()),
        };
        let again: Option<Box<Spawn>> = rereads.then(|| Box::new(spawn) as _);
        let (child, state, first) = (Arc::new(Mutex::new(child)), DumpState::Reading, Bytes::new());
        Ok(Self { program, stdout, child, end, state, first, again })
    }

    /// Waits until the program writes, which pg_dump does when it has locked every table and read the catalogue. Where the
    /// server refuses a password that came from a file, the file is read once more.
    pub async fn begun(&mut self) -> Result<(), DumpError> {
        let mut first = BytesMut::with_capacity(FIRST);
        loop {
            let error = match self.read_buf(&mut first).await {
                Ok(_) => {
                    self.first = first.freeze();
                    return Ok(());
                }
                Err(error) => error.downcast::<DumpError>().unwrap_or_else(DumpError::Read),
            };
            match self.again.take() {
                Some(spawn) if error.is_refused_login() => {
                    tokio::time::sleep(super::startup::NEW_PASSWORD).await;
                    let (child, stdout) = spawn().map_err(DumpError::Read)?;
                    *self.child.lock().await = child;
                    (self.stdout, self.state) = (stdout, DumpState::Reading);
                }
                _ => return Err(error),
            }
        }
    }

    /// A handle that ends the child from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.child.clone())
    }

    fn verdict(&self, status: ExitStatus, stderr: String) -> Result<(), DumpError> {
        if !status.success() {
            return Err(DumpError::Exit { program: self.program, status, stderr });
        }
        match &self.end {
            End::Sql(tail) if tail.has_marker() => Ok(()),
            End::Sql(_) => Err(DumpError::NoMarker(self.program)),
            End::Custom(archive) => Ok(archive.finish()?),
        }
    }
}

impl AsyncRead for Dump {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let length = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first.split_to(length));
            return Poll::Ready(Ok(()));
        }
        loop {
            match &mut this.state {
                DumpState::Reading => {
                    let before = buf.filled().len();
                    ready!(Pin::new(&mut this.stdout).poll_read(cx, buf))?;
                    let new = &buf.filled()[before..];
                    if !new.is_empty() {
                        match &mut this.end {
                            End::Sql(tail) => tail.feed(new),
                            End::Custom(archive) => archive.feed(new),
                        }
                        return Poll::Ready(Ok(()));
                    }
                    let child = this.child.clone();
                    this.state = DumpState::Finishing(Box::pin(async move { child.lock().await.wait().await }));
                }
                DumpState::Finishing(waiting) => {
                    let ended = ready!(waiting.as_mut().poll(cx));
                    this.state = DumpState::Failed;
                    let (status, stderr) = ended?;
                    this.verdict(status, stderr).map_err(io::Error::other)?;
                    this.state = DumpState::Done;
                }
                DumpState::Done => return Poll::Ready(Ok(())),
                // what failed is not whole for whoever asks once more
                DumpState::Failed => return Poll::Ready(Err(io::Error::other("the dump has failed already"))),
            }
        }
    }
}

/// The last bytes of a dump as SQL.
struct Tail {
    marker: String,
    bytes: Vec<u8>,
}

impl Tail {
    const KEEP: usize = 512;

    fn of(what: &str) -> Self {
        Self { marker: format!("\n-- PostgreSQL {what} complete\n--\n"), bytes: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(Self::KEEP)..];
        let excess = (self.bytes.len() + new.len()).saturating_sub(Self::KEEP);
        self.bytes.drain(..excess);
        self.bytes.extend_from_slice(new);
    }

    /// True when the text ends as the program ends it; since August 2025 an `\unrestrict` line may follow the marker.
    fn has_marker(&self) -> bool {
        let text = String::from_utf8_lossy(&self.bytes);
        let Some((_, after)) = text.rsplit_once(&self.marker) else { return false };
        after.lines().all(|line| line.is_empty() || line.starts_with("\\unrestrict "))
    }
}

#[cfg(test)]
mod tests;
