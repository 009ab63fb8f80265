//! Extensions around the rows: those that a part of a database needs and its dump leaves out, and those that want to be
//! told of a restore.

use super::Loader;
use crate::dump_format::dump_options::{self, LeavesOut};
use crate::dump_format::sql_lexer::name_after;
use crate::error::{Error, ServerError};
use crate::postgres;
use crate::postgres::extensions::{self, Restoring};
use crate::postgres::loading::LoadSession;
use crate::postgres::scratch::Scratch;
use crate::record::facts::Kind;
use crate::record::facts::reader::DatabaseFacts;
use serde_json::{Map, Value};
use tracing::{info, warn};

/// Makes the extensions of the source, where the dump was told to leave objects out: pg_dump writes none of them then, and
/// columns may be of their types. The answer is why some of them could not be made.
pub(super) async fn make_extensions(
    loader: &Loader<'_>,
    scratch: &Scratch,
    expected: DatabaseFacts<'_>,
) -> Result<Vec<String>, Error> {
    if dump_options::leaves_out(&loader.manifest().arguments) != LeavesOut::Objects {
        return Ok(Vec::new());
    }
    let mut wanted = Vec::new();
    let take = |kind, name: String, properties: Map<String, Value>| {
        if kind == Kind::Extension
            && let Some(name) = name_after(name.as_bytes(), &[])
        {
            wanted.push((name, properties.get("schema").and_then(Value::as_str).map(str::to_owned)));
        }
    };
    expected.each_object(take)?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut lacking = Vec::new();
    let connection = loader.server.enter(scratch, "backup load").await?;
    for (name, schema) in wanted {
        match extensions::make(&connection, &name, schema.as_deref()).await {
            Ok(()) => {}
            Err(error) if error.code().is_some() => {
                let why = format!("the extension {name} could not be created: {}", postgres::cause(&error));
                info!("{why}");
                lacking.push(why);
            }
            Err(error) => return Err(ServerError::Compare(error).into()),
        }
    }
    Ok(lacking)
}

/// Tells an extension of the restore, where it wants that.
pub(super) async fn tell(session: &LoadSession, extension: &str, restoring: Restoring) -> Result<(), Error> {
    match extensions::tell(session.connection(), extension, restoring).await {
        Err(error) if error.code().is_some() => {
            warn!("{extension}: {}", postgres::cause(&error));
            Ok(())
        }
        told => Ok(told.map_err(ServerError::Compare)?),
    }
}
