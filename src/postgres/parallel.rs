//! pg_restore on a file: several workers, each with a session of its own.

use super::command::Child;
use super::libpq::{KEEPALIVES, environment};
use super::restore::{RestoreError, session_options, visible};
use super::tools::Tools;
use crate::config::{ServerRole, Source};
use std::ffi::OsString;
use std::path::Path;
use tokio::process::ChildStdout;

/// What pg_restore does with an archive that is a file.
#[derive(Debug, Clone, Copy)]
pub struct ParallelOptions<'a> {
    /// The archive.
    pub file: &'a Path,
    /// Workers.
    pub jobs: usize,
    /// Leave out owners and privileges.
    pub no_owner: bool,
    /// Leave everything in the default tablespace.
    pub no_tablespaces: bool,
    /// Objects and no rows.
    pub schema_only: bool,
}

/// A running pg_restore.
pub struct Parallel {
    child: Child,
    server: ServerRole,
}

impl Parallel {
    /// Starts pg_restore on the database that `target` names; the first error ends it.
    pub fn start(
        tools: &Tools,
        target: &Source,
        lc_monetary: &str,
        ParallelOptions { file, jobs, no_owner, no_tablespaces, schema_only }: ParallelOptions<'_>,
        inherited: &[(String, OsString)],
    ) -> Result<Self, RestoreError> {
        let path = tools.program("pg_restore");
        let mut arguments =
            ["--no-password", "--exit-on-error", "--no-subscriptions", KEEPALIVES].map(OsString::from).to_vec();
        arguments.push(format!("--jobs={jobs}").into());
        arguments.extend(no_owner.then(|| "--no-owner".into()));
        arguments.extend(no_owner.then(|| "--no-privileges".into()));
        arguments.extend(no_tablespaces.then(|| "--no-tablespaces".into()));
        arguments.extend(schema_only.then(|| "--schema-only".into()));
        arguments.push(file.into());
        // the workers share the processors already
        let options = format!("{} -c max_parallel_maintenance_workers=0", session_options(lc_monetary));
        let variables = environment(target, tools.major, "backup pg_restore", &options);
        let (child, _) = Child::reader(&path, &arguments, visible(inherited).chain(variables))
            .map_err(|cause| RestoreError::Spawn { program: path.display().to_string(), cause })?;
        Ok(Self { child, server: target.role })
    }

    /// Waits for the verdict.
    pub async fn finish(&mut self) -> Result<(), RestoreError> {
        let program = "pg_restore --jobs";
        let ended = self.child.wait().await;
        let (status, stderr) = ended.map_err(|cause| RestoreError::Write { program, cause })?;
        if status.success() { Ok(()) } else { Err(RestoreError::Exit { program, status, stderr, server: self.server }) }
    }

    /// Ends it and its workers wherever they are, and reaps it.
    pub async fn stop(mut self) {
        self.child.stop().await;
    }
}

/// The SQL of a file without its rows, by a pg_restore that connects to nothing.
pub struct Schema(Child);

impl Schema {
    pub fn start(
        tools: &Tools,
        file: &Path,
        inherited: &[(String, OsString)],
    ) -> Result<(Self, ChildStdout), RestoreError> {
        let path = tools.program("pg_restore");
        let arguments = ["--schema-only".into(), "--file=-".into(), file.into()];
        let (child, stdout) = Child::reader(&path, &arguments, visible(inherited))
            .map_err(|cause| RestoreError::Spawn { program: path.display().to_string(), cause })?;
        Ok((Self(child), stdout))
    }

    /// Waits for the verdict.
    pub async fn finish(mut self) -> Result<(), RestoreError> {
        super::restore::end("pg_restore", &mut self.0, ServerRole::Main).await
    }
}
