//! psql and pg_restore as writers: what they are given must go through whole, the first error ends it.

use super::command::Child;
use super::libpq::{KEEPALIVES, environment};
use super::tools::Tools;
use crate::config::{Format, Source};
use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;

/// Why a dump was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The program cannot be started.
    #[error("starting {program}: {cause}")]
    Spawn {
        /// Path of the program.
        program: String,
        /// What the operating system said.
        cause: io::Error,
    },
    /// It takes no more bytes although it runs.
    #[error("writing to {program}: {cause}")]
    Write {
        /// `psql` or `pg_restore`.
        program: &'static str,
        /// What the operating system said.
        cause: io::Error,
    },
    /// It met an error.
    #[error("{program} ended with {status}: {}", .stderr.replace('\n', " / "))]
    Exit {
        /// `psql` or `pg_restore`.
        program: &'static str,
        /// Exit code or signal.
        status: ExitStatus,
        /// Last lines of its stderr.
        stderr: String,
    },
}

/// Whose fault a restore's failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The backup's: its SQL does not run.
    Backup,
    /// The server's: it is full, gone, or lacks something; the hint says what to do.
    Server(&'static str),
}

impl RestoreError {
    /// True when the server went away.
    pub fn is_connection(&self) -> bool {
        const SIGNS: &[&str] = &[
            "server closed the connection",
            "terminating connection",
            "connection to server",
            "the database system is",
        ];
        matches!(self, Self::Exit { stderr, .. } if SIGNS.iter().any(|sign| stderr.contains(sign)))
    }

    /// Whose fault it is. A server that cannot take a good backup says nothing against the backup.
    pub fn blame(&self) -> Blame {
        const SIGNS: &[(&str, &str)] = &[
            ("No space left on device", "free some space on the verify server, or give it a larger disk"),
            ("could not extend file", "free some space on the verify server, or give it a larger disk"),
            ("Disk quota exceeded", "free some space on the verify server, or raise the quota"),
            ("server closed the connection", "look at the log of the verify server"),
            ("terminating connection", "look at the log of the verify server"),
            ("connection to server", "look at VERIFY_HOST and VERIFY_PORT"),
            ("the database system is", "try again once the verify server is up"),
            ("out of shared memory", "raise max_locks_per_transaction on the verify server"),
            ("out of memory", "give the verify server more memory"),
            ("is not available", "install the extension on the verify server"),
            ("could not open extension control file", "install the extension on the verify server"),
            ("could not access file", "install the library on the verify server"),
            ("permission denied", "VERIFY_USER lacks a privilege; a superuser has it"),
            ("must be superuser", "VERIFY_USER lacks a privilege; a superuser has it"),
            ("must be owner", "VERIFY_USER lacks a privilege; a superuser has it"),
            ("must be member of role", "VERIFY_USER lacks a privilege; a superuser has it"),
            ("canceling statement due to", "somebody or a timeout cancelled it; try again"),
        ];
        match self {
            Self::Exit { stderr, .. } => {
                let is_missing_role = stderr.contains("role \"") && stderr.contains("does not exist");
                let sign = SIGNS.iter().find(|(sign, _)| stderr.contains(sign)).map(|(_, hint)| *hint);
                let missing = "make the role on the verify server, or VERIFY_USER a superuser there";
                sign.or(is_missing_role.then_some(missing)).map_or(Blame::Backup, Blame::Server)
            }
            Self::Spawn { .. } => Blame::Server("look at PG_BIN_DIR"),
            Self::Write { .. } => Blame::Server("look at the log of the verify server"),
        }
    }
}

/// How a dump is restored.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// SQL by psql, custom archives by pg_restore.
    pub format: Format,
    /// Give objects their owners and privileges.
    pub owners: bool,
    /// `lc_monetary` of the dump, by which values of type money are read.
    pub lc_monetary: &'a str,
    /// Locks psql until this word: commands of psql in the dump are errors.
    pub restriction: &'a str,
}

/// A running program; write the whole dump, then [`Restore::finish`].
pub struct Restore {
    program: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Restore {
    /// Starts the program on the database that `target` names.
    pub async fn start(
        tools: &Tools,
        target: &Source,
        way: Way<'_>,
        inherited: &[(String, OsString)],
    ) -> Result<Self, RestoreError> {
        let (program, mut arguments) = match way.format {
            // -X: nothing of the operator's own settings
            Format::Plain => ("psql", vec!["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", KEEPALIVES]),
            Format::Custom => ("pg_restore", vec!["--no-password", "--exit-on-error", KEEPALIVES]),
        };
        if way.format == Format::Custom && !way.owners {
            arguments.extend(["--no-owner", "--no-privileges"]);
        }
        let money = way.lc_monetary.replace('\\', "\\\\").replace(' ', "\\ ");
        let money = if money.is_empty() { String::new() } else { format!(" -c lc_monetary={money}") };
        let options = format!(
            "-c TimeZone=UTC -c bytea_output=hex -c statement_timeout=0 -c lock_timeout=0 -c synchronous_commit=off \
             -c default_transaction_read_only=off{money}"
        );
        let inherited = inherited.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let application = format!("backup {program}");
        let variables = inherited.chain(environment(target, &application, &options));
        let arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
        let path = tools.program(program);
        let (child, stdin) = Child::writer(&path, &arguments, variables)
            .map_err(|cause| RestoreError::Spawn { program: path.display().to_string(), cause })?;
        let mut restore = Self { program, child, stdin: Some(stdin) };
        if way.format == Format::Plain {
            restore.write(format!("\\restrict {}\n", way.restriction).as_bytes()).await?;
        }
        Ok(restore)
    }

    /// Hands on the next bytes, waiting while the server is behind.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        match stdin.write_all(bytes).await {
            Ok(()) => Ok(()),
            // it has ended, and says why
            Err(cause) => {
                self.stdin = None;
                match self.end().await {
                    Err(error) => Err(error),
                    Ok(()) => Err(RestoreError::Write { program: self.program, cause }),
                }
            }
        }
    }

    /// Ends the input and waits for the verdict.
    pub async fn finish(mut self) -> Result<(), RestoreError> {
        self.stdin = None;
        self.end().await
    }

    async fn end(&mut self) -> Result<(), RestoreError> {
        let program = self.program;
        let (status, stderr) = self.child.wait().await.map_err(|cause| RestoreError::Write { program, cause })?;
        if status.success() { Ok(()) } else { Err(RestoreError::Exit { program, status, stderr }) }
    }

    /// Ends the program wherever it is, and reaps it.
    pub async fn stop(mut self) {
        self.stdin = None;
        self.child.stop().await;
    }
}
