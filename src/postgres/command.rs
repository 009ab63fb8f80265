//! One discipline for child processes: cleared environment, own process group, stderr relayed, killed and reaped.

use crate::background::counted;
use crate::text;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tracing::{debug, warn};

/// Lines of stderr that are kept for the error.
const TAIL_LINES: usize = 12;
/// Lines of stderr that are shown as they come: one warning for each of a million objects helps nobody.
const RELAYED: u64 = 200;
/// Longest line that is kept, in bytes.
const LINE_BYTES: usize = 1000;
/// Bytes without a line break that are read at once.
const LONGEST: u64 = 64 << 10;
/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// Bytes that a pipe to or from a child holds.
const PIPE: usize = 1 << 20;

fn no_pipe() -> std::io::Error {
    std::io::Error::other("the child has no pipe")
}

/// A child process that cannot outlive its owner.
#[derive(Debug)]
pub struct Child {
    inner: tokio::process::Child,
    tail: Arc<Mutex<VecDeque<String>>>,
    relay: tokio::task::JoinHandle<()>,
}

impl Child {
    /// Starts `program` with nothing of our environment but `environment`, and reads what it writes.
    pub fn reader(
        program: &Path,
        arguments: &[OsString],
        environment: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> std::io::Result<(Self, ChildStdout)> {
        let mut child = Self::spawn(program, arguments, environment, [Stdio::null(), Stdio::piped()])?;
        let stdout = child.inner.stdout.take().ok_or_else(no_pipe)?;
        // fewer switches between the child and us; a kernel that allows less keeps its size
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE);
        Ok((child, stdout))
    }

    /// The same the other way round: writes what it reads; what it writes is dropped.
    pub fn writer(
        program: &Path,
        arguments: &[OsString],
        environment: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> std::io::Result<(Self, ChildStdin)> {
        let mut child = Self::spawn(program, arguments, environment, [Stdio::piped(), Stdio::null()])?;
        let stdin = child.inner.stdin.take().ok_or_else(no_pipe)?;
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE);
        Ok((child, stdin))
    }

    /// Both at once: what is written to it comes out as something else.
    pub fn filter(
        program: &Path,
        arguments: &[OsString],
        environment: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> std::io::Result<(Self, ChildStdin, ChildStdout)> {
        let mut child = Self::spawn(program, arguments, environment, [Stdio::piped(), Stdio::piped()])?;
        let (stdin, stdout) = (child.inner.stdin.take(), child.inner.stdout.take());
        let (stdin, stdout) = (stdin.ok_or_else(no_pipe)?, stdout.ok_or_else(no_pipe)?);
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE);
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE);
        Ok((child, stdin, stdout))
    }

    fn spawn(
        program: &Path,
        arguments: &[OsString],
        environment: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
        [stdin, stdout]: [Stdio; 2],
    ) -> std::io::Result<Self> {
        let mut inner = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let stderr = inner.stderr.take().ok_or_else(no_pipe)?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let relay = tokio::spawn(counted(relay(BufReader::new(stderr), tail.clone())));
        Ok(Self { inner, tail, relay })
    }

    /// Waits for the end; the second value is the last lines of stderr.
    pub async fn wait(&mut self) -> std::io::Result<(ExitStatus, String)> {
        let status = self.inner.wait().await?;
        // a grandchild may hold stderr open
        let _ = tokio::time::timeout(GRACE, &mut self.relay).await;
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((status, tail.iter().cloned().collect::<Vec<_>>().join("\n")))
    }

    /// Ends the child and its group, SIGTERM first, and reaps it.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, self.inner.wait()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = self.inner.wait().await;
        }
    }

    fn signal(&self, signal: Signal) {
        // no id means reaped already, and then the number may be somebody else's
        if let Some(group) = self.inner.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// What pg_restore writes before a statement that failed; all that follows is the statement.
const STATEMENT: &str = "Command was: ";

/// Lines of a statement that are kept.
const STATEMENT_LINES: usize = 3;

async fn relay(mut stderr: impl AsyncBufReadExt + Unpin, tail: Arc<Mutex<VecDeque<String>>>) {
    let (mut line, mut of_statement, mut relayed) = (Vec::new(), None, 0_u64);
    loop {
        line.clear();
        match (&mut stderr).take(LONGEST).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        line.truncate(LINE_BYTES);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        // a long one must not push out what is wrong with it
        of_statement = if text.contains(STATEMENT) { Some(0) } else { of_statement.map(|lines| lines + 1) };
        let is_sql = of_statement.is_some() || text.contains("LINE ");
        let text = if is_sql { text::without_secrets(&text).into_owned() } else { text };
        relayed += 1;
        match relayed {
            ..=RELAYED if text.contains("warning:") => warn!("{text}"),
            ..=RELAYED => debug!("{text}"),
            _ => {}
        }
        if relayed == RELAYED + 1 {
            warn!(
                "it wrote more than {RELAYED} lines to stderr; \
                 the rest is not logged, and an error quotes only the last lines"
            );
        }
        if of_statement.is_some_and(|lines| lines >= STATEMENT_LINES) {
            continue;
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}

/// What `program --version` prints behind its name, such as `15.18`; none when it cannot be run.
pub async fn version_of(program: &Path, environment: &[(String, OsString)]) -> Option<String> {
    let environment = environment.iter().map(|(name, value)| (name.as_str(), value.as_os_str()));
    let run = Command::new(program)
        .arg("--version")
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(10), run).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}
