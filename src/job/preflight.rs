//! Everything that can fail early, before the first byte is dumped.

use super::{At, Context, Side, SideKind, StageError};
use crate::config::Config;
use crate::error::Error;
use crate::postgres::catalog::{self, ServerVersion};
use crate::postgres::connection::{self, Connection};
use crate::postgres::lock::Lock;
use crate::postgres::tools::{self, Tool};
use crate::progress::human;
use crate::report::{Previous, Report};
use crate::storage::StorageError;
use tracing::{info, warn};

/// What is known of the server before the dump.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its version.
    pub version: ServerVersion,
    /// The `pg_dump` that fits it.
    pub tool: Tool,
    /// What the role may not read.
    pub unreadable: Vec<String>,
}

/// A run that may begin to dump.
pub(super) struct Ready<'a> {
    pub(super) server: Server,
    /// Targets that answer.
    pub(super) sides: Vec<&'a Side>,
    /// Why the others do not.
    pub(super) failed: Vec<StageError>,
}

/// Looks at the server, and finds the client tools that fit it.
pub async fn examine_server(config: &Config, connection: &Connection) -> Result<Server, Error> {
    let version = catalog::server_version(connection).await?;
    let tool = tools::find_pg_dump(
        config.dump.bin_dir.as_deref(),
        &config.dump.search_path,
        &config.child_environment,
        version.major,
        &version.text,
    )
    .await?;
    let unreadable = catalog::unreadable(connection).await?;
    Ok(Server { version, tool, unreadable })
}

/// Examines server and targets, and sweeps what dead runs left.
pub(super) async fn prepare<'a>(
    context: &'a Context,
    lock: Option<&Lock>,
    report: &mut Report,
) -> Result<Ready<'a>, StageError> {
    let config = &context.config;
    let guarded = context.shutdown.guard(async {
        match lock {
            Some(lock) => examine_server(config, lock.connection()).await,
            None => {
                let connection = connection::connect(&config.source, &context.application()).await?;
                examine_server(config, &connection).await
            }
        }
    });
    let server = guarded.await.at("preflight")?.at("preflight")?;
    info!(
        "PostgreSQL {}, dumped by pg_dump {} ({})",
        server.version.text,
        server.tool.version,
        server.tool.path.display()
    );
    check_readable(config, &server).at("preflight")?;

    let unusable = context.unusable.iter().map(|error| StageError { stage: "preflight", error: error.clone().into() });
    let mut ready = Ready { server, sides: Vec::new(), failed: unusable.collect() };
    for side in &context.sides {
        let prepared = context.shutdown.guard(prepare_side(context, side, lock)).await;
        match prepared.at("preflight")? {
            Ok(previous) => {
                ready.sides.push(side);
                report.previous = report.previous.or(previous);
            }
            Err(error) => ready.failed.push(StageError { stage: "preflight", error }),
        }
    }
    if ready.sides.is_empty() {
        let errors: Vec<Error> = ready.failed.drain(..).map(|failed| failed.error).collect();
        return Err(one_of(errors)).at("preflight");
    }
    Ok(ready)
}

/// One error stays itself; several become one.
pub(super) fn one_of(mut errors: Vec<Error>) -> Error {
    if errors.len() == 1 { errors.remove(0) } else { Error::Targets(errors) }
}

/// pg_dump fails as a whole when it may not read one table, so this fails first, and with the remedy. Where tables are
/// left out on purpose only pg_dump knows which ones matter.
fn check_readable(config: &Config, server: &Server) -> Result<(), Error> {
    if server.unreadable.is_empty() {
        return Ok(());
    }
    let objects = server.unreadable.join(", ");
    let dump = &config.dump;
    if dump.exclude_tables.is_empty() && dump.exclude_table_data.is_empty() && dump.extra_args.is_empty() {
        return Err(Error::Unreadable { role: config.source.user.clone(), objects });
    }
    warn!("the role {} may not read {objects}; the dump fails unless they are excluded", config.source.user);
    Ok(())
}

/// Reaches one target: sweeps it, and asks it for the previous backup and for space.
async fn prepare_side(context: &Context, side: &Side, lock: Option<&Lock>) -> Result<Option<Previous>, Error> {
    let repository = &side.repository;
    let leftovers = repository.leftovers().await?;
    let sessions = match lock {
        Some(lock) => lock.living_sessions().await,
        None => None,
    };
    let living: Option<Vec<String>> =
        sessions.map(|sessions| sessions.iter().filter_map(|name| super::run_of(name)).collect());
    repository.sweep(&leftovers, living.as_deref(), (context.now)()).await;
    let previous = repository
        .newest(&context.config.source.database)
        .await?
        .map(|backup| Previous { started: backup.manifest.started, stored_bytes: backup.manifest.stored_bytes });
    if side.kind == SideKind::Local
        && let Some((free, previous)) = repository.free_bytes().await.zip(previous)
    {
        check_space(&repository.location().name, free, previous.stored_bytes)?;
    }
    Ok(previous)
}

/// A disk with less than half of the last backup's size would be filled for nothing.
fn check_space(place: &str, free: u64, last: u64) -> Result<(), Error> {
    let no_space = || Error::NoSpace { place: place.to_owned(), free: human(free), needed: human(last) };
    if free < last / 2 {
        return Err(no_space());
    }
    if free < last + last / 10 {
        warn!("{}", no_space());
    }
    Ok(())
}

impl From<StorageError> for StageError {
    fn from(error: StorageError) -> Self {
        Self { stage: "store", error: error.into() }
    }
}
