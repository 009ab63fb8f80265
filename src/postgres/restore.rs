//! psql as a writer: what it is given must go through whole, the first error ends it. And pg_restore as what makes SQL
//! of a custom archive on the way there.

use super::command::Child;
use super::libpq::{KEEPALIVES, environment};
use super::tools::Tools;
use crate::config::{ServerRole, Source};
use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use tokio::io::AsyncWriteExt;
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
        /// `psql` or `pg_restore`.
        program: &'static str,
        /// What the operating system said.
        cause: io::Error,
    },
    /// It met an error.
    #[error("{program} ended with {status}: {}", in_one_line(.stderr))]
    Exit {
        /// `psql` or `pg_restore`.
        program: &'static str,
        /// Exit code or signal.
        status: ExitStatus,
        /// Last lines of its stderr.
        stderr: String,
        /// The server that psql spoke with.
        server: ServerRole,
    },
}

/// Where in the server's sources an error arose tells people nothing.
fn in_one_line(stderr: &str) -> String {
    stderr.lines().filter(|line| !line.starts_with(LOCATION)).collect::<Vec<_>>().join(" / ")
}

/// What `VERBOSITY=verbose` adds in English; in other languages it stays in the message.
const LOCATION: &str = "LOCATION: ";

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

/// psql's exit code for an error in what it was given; 1 is its own trouble, 2 a lost connection.
const SCRIPT_ERROR: i32 = 3;

impl RestoreError {
    /// Whose fault it is. A server that cannot take a good backup says nothing against the backup. Decided by the code
    /// of the error, which is the same in every language, never by its text.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Spawn { .. } => Blame::Server("look at PG_BIN_DIR".to_owned()),
            Self::Write { .. } => Blame::Server("look at the server's log".to_owned()),
            // no connection is involved: it cannot read the archive
            Self::Exit { program: "pg_restore", .. } => Blame::Backup,
            // it tells no code of an error, so whose fault it is remains open
            Self::Exit { program: "pg_restore --jobs", server, .. } => {
                Blame::Server(format!("look at the log of the {server}, or leave --jobs out, which tells more"))
            }
            Self::Exit { status, stderr, server, .. } => match status.code() {
                Some(SCRIPT_ERROR) => blame_of(stderr, *server),
                Some(_) => {
                    Blame::Connection(format!("look at {}, and at the log of the {server}", server.setting("HOST")))
                }
                None => Blame::Server("somebody killed psql; look at the memory of this machine".to_owned()),
            },
        }
    }
}

fn blame_of(stderr: &str, server: ServerRole) -> Blame {
    let Some(state) = sql_state(stderr) else { return Blame::Backup };
    let user = server.setting("USER");
    match (&state[..2], state) {
        ("08", _) => {
            Blame::Connection(format!("a server that is needed did not answer; look at {}", server.setting("HOST")))
        }
        ("53", "53100") => Blame::Server(format!("free some space on the {server}, or give it a larger disk")),
        ("53", _) => Blame::Server(format!("raise the limit on the {server}, or give it more memory")),
        ("57", "57014") => Blame::Server("somebody or a timeout cancelled it; try again".to_owned()),
        ("57", _) => Blame::Connection(format!("the {server} stopped; look at its log")),
        ("55", _) => Blame::Server(format!("something on the {server} is in use or not ready; try again")),
        ("58" | "XX", state) if state != "XX000" => {
            Blame::Server(format!("look at the log of the {server}, and for libraries or extensions that it lacks"))
        }
        (_, "42501") => Blame::Privilege(format!("{user} lacks a privilege on the {server}; a superuser has it")),
        (_, "0A000" | "22023") => {
            Blame::Server(format!("the {server} lacks an extension, a locale or a setting of the source"))
        }
        (_, "42704") if ["get_role", "get_tablespace"].iter().any(|place| stderr.contains(place)) => {
            Blame::Server(format!("make the role on the {server}, or {user} a superuser there"))
        }
        _ => Blame::Backup,
    }
}

/// The first code of an error, between two spaces and a colon: `ERROR:  42501: permission denied`.
fn sql_state(stderr: &str) -> Option<&str> {
    let is_state = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let mut candidates = stderr.match_indices(":  ").filter_map(|(at, _)| stderr.get(at + 3..at + 9));
    candidates.find_map(|text| text.strip_suffix(':').filter(is_state))
}

/// How a dump is restored.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// `lc_monetary` of the dump, by which values of type money are read; empty is the server's own.
    pub lc_monetary: &'a str,
    /// Locks psql until this word: commands of psql in the dump are errors.
    pub restriction: &'a str,
    /// More options of the session.
    pub options: &'a str,
    /// Statements have passwords in them and are not shown.
    pub is_secret: bool,
}

/// A running psql; write the whole dump, then [`Restore::finish`].
pub struct Restore {
    child: Child,
    server: ServerRole,
    stdin: Option<ChildStdin>,
}

impl Restore {
    /// Starts psql on the database that `target` names.
    pub async fn start(
        tools: &Tools,
        target: &Source,
        way: Way<'_>,
        inherited: &[(String, OsString)],
    ) -> Result<Self, RestoreError> {
        // -X: nothing of the operator's own settings; -b and -f: errors name their statement and its line
        let arguments = ["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-o", "/dev/null"];
        let echo: &[&str] = if way.is_secret { &[] } else { &["-b"] };
        let arguments = [&arguments[..], echo, &["-f", "-", KEEPALIVES]].concat();
        let options = format!("{} {}", session_options(way.lc_monetary), way.options);
        // in English, so that what psql says can be told apart
        let english = [("LC_ALL", OsString::from("C"))];
        let variables =
            visible(inherited).chain(environment(target, tools.major, "backup psql", &options)).chain(english);
        let path = tools.program("psql");
        let (child, stdin) = Child::writer(&path, &arguments.iter().map(OsString::from).collect::<Vec<_>>(), variables)
            .map_err(|cause| RestoreError::Spawn { program: path.display().to_string(), cause })?;
        let mut restore = Self { child, server: target.role, stdin: Some(stdin) };
        restore.write(format!("\\restrict {}\n", way.restriction).as_bytes()).await?;
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
                end("psql", &mut self.child, self.server).await?;
                Err(RestoreError::Write { program: "psql", cause })
            }
        }
    }

    /// Ends the input and waits for the verdict.
    pub async fn finish(mut self) -> Result<(), RestoreError> {
        self.stdin = None;
        end("psql", &mut self.child, self.server).await
    }

    /// Ends psql wherever it is, and reaps it.
    pub async fn stop(mut self) {
        self.stdin = None;
        self.child.stop().await;
    }
}

/// What every session sets that restores.
pub(super) fn session_options(lc_monetary: &str) -> String {
    let money = lc_monetary.replace('\\', "\\\\").replace(' ', "\\ ");
    let money = if money.is_empty() { String::new() } else { format!(" -c lc_monetary={money}") };
    format!(
        "-c TimeZone=UTC -c bytea_output=hex -c statement_timeout=0 -c lock_timeout=0 -c synchronous_commit=off \
         -c default_transaction_read_only=off{money}"
    )
}

pub(super) fn visible(inherited: &[(String, OsString)]) -> impl Iterator<Item = (&str, OsString)> {
    inherited.iter().map(|(name, value)| (name.as_str(), value.clone()))
}

pub(super) async fn end(program: &'static str, child: &mut Child, server: ServerRole) -> Result<(), RestoreError> {
    let (status, stderr) = child.wait().await.map_err(|cause| RestoreError::Write { program, cause })?;
    if status.success() { Ok(()) } else { Err(RestoreError::Exit { program, status, stderr, server }) }
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
        let (child, stdin, stdout) = Child::filter(&path, &arguments, visible(inherited))
            .map_err(|cause| RestoreError::Spawn { program: path.display().to_string(), cause })?;
        Ok((Self(child), stdin, stdout))
    }

    /// Waits for the verdict.
    pub async fn finish(mut self) -> Result<(), RestoreError> {
        end("pg_restore", &mut self.0, ServerRole::Main).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_error_decides_and_never_its_text() {
        for (stderr, blame) in [
            ("psql:<stdin>:7: ERROR:  23505: duplicate key\nDETAIL:  Key (a)=(permission denied)", Blame::Backup),
            ("psql:<stdin>:7: ERROR:  P0001: permission denied for user x", Blame::Backup),
            (
                "psql:<stdin>:7: FEHLER:  42501: keine Berechtigung",
                blame_of("ERROR:  42501: permission denied", ServerRole::Main),
            ),
            (
                "psql:<stdin>:7: ERROR:  42704: type \"role\" does not exist\nLOCATION:  typenameType, x.c:1",
                Blame::Backup,
            ),
            ("no code at all", Blame::Backup),
        ] {
            assert_eq!(blame_of(stderr, ServerRole::Main), blame, "{stderr}");
        }
        assert!(matches!(blame_of("ERROR:  53100: could not extend file", ServerRole::Main), Blame::Server(_)));
        assert!(matches!(
            blame_of("ERROR:  42704: x\nLOCATION:  get_role_oid, acl.c:5335", ServerRole::Main),
            Blame::Server(_)
        ));
        assert!(matches!(
            blame_of("ERROR:  53400: temporary file size exceeds temp_file_limit", ServerRole::Main),
            Blame::Server(_)
        ));
    }
}
