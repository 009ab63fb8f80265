//! pg_restore as what makes SQL of a custom archive, and what becomes of a restore that fails.

use super::command::Child;
use super::tools::Tools;
use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use tokio::process::{ChildStdin, ChildStdout};

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
        program: &'static str,
        /// What the operating system said.
        cause: io::Error,
    },
    /// It met an error.
    #[error("{program} ended with {status}: {}", in_one_line(.stderr))]
    Exit {
        program: &'static str,
        /// Exit code or signal.
        status: ExitStatus,
        /// Last lines of its stderr.
        stderr: String,
    },
}

fn in_one_line(stderr: &str) -> String {
    stderr.lines().collect::<Vec<_>>().join(" / ")
}

/// Whose fault a restore's failure is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blame {
    /// The backup's: its SQL does not run.
    Backup,
    /// The server went away; and what a person can do.
    Connection(String),
    /// The role may not do it.
    Privilege(String),
    /// The server's: it is full, or lacks something.
    Server(String),
}

impl Blame {
    /// What a person can do; nothing about the backup's own faults.
    pub fn hint(self) -> Option<String> {
        match self {
            Self::Backup => None,
            Self::Connection(hint) | Self::Privilege(hint) | Self::Server(hint) => Some(hint),
        }
    }
}

impl RestoreError {
    /// Whose fault it is. A server that cannot take a good backup says nothing against the backup.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Spawn { .. } => Blame::Server("check PG_BIN_DIR".to_owned()),
            Self::Write { .. } => Blame::Server("check whether this machine has run out of memory".to_owned()),
            Self::Exit { program, status, .. } if status.code().is_none() => {
                Blame::Server(format!("{program} was killed; check whether this machine has run out of memory"))
            }
            // no connection is involved: it cannot read the archive
            Self::Exit { .. } => Blame::Backup,
        }
    }
}

/// A running pg_restore that reads a custom archive and writes the SQL in it.
pub struct Converter(Child);

impl Converter {
    /// Starts pg_restore, which connects to nothing: one pipe takes the archive, the other gives the SQL, and whether
    /// that was all is what [`Converter::finish`] says.
    pub fn start(
        tools: &Tools,
        inherited: &[(String, OsString)],
    ) -> Result<(Self, ChildStdin, ChildStdout), RestoreError> {
        let path = tools.program("pg_restore");
        let arguments = ["--file=-"].map(OsString::from);
        let (child, stdin, stdout) =
            Child::filter(&path, &arguments, inherited.iter().map(|(name, value)| (name.as_str(), value.clone())))
                .map_err(|cause| RestoreError::Spawn { program: path.display().to_string(), cause })?;
        Ok((Self(child), stdin, stdout))
    }

    /// Waits for the verdict.
    pub async fn finish(mut self) -> Result<(), RestoreError> {
        let program = "pg_restore";
        let (status, stderr) = self.0.wait().await.map_err(|cause| RestoreError::Write { program, cause })?;
        if status.success() { Ok(()) } else { Err(RestoreError::Exit { program, status, stderr }) }
    }
}
