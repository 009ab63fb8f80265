//! The SQL of an archive, handed on piece by piece: as it is stored, or as pg_restore makes it of a custom archive.

use super::Broken;
use super::archive::Reading;
use crate::config::Config;
use crate::error::{Error, ServerError};
use crate::postgres::restore::{Blame, Converter, RestoreError};
use crate::postgres::tools::Tools;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes of SQL that are passed on at once.
const CHUNK: usize = 256 << 10;

/// Takes SQL.
pub(crate) trait Sink {
    /// Takes the next bytes, waiting while they cannot be taken.
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Broken>;
}

/// Hands the SQL between two places of the dump to a sink. With `tools` it is a custom archive, which has only one database,
/// and all of it.
pub(crate) async fn stream_sql(
    config: &Config,
    tools: Option<&Tools>,
    reading: &mut Reading,
    begin: u64,
    end: Option<u64>,
    sink: &mut impl Sink,
) -> Result<(), Broken> {
    if let Some(tools) = tools {
        return stream_converted(config, tools, reading, sink).await;
    }
    // before the first database of a whole server are roles, and statements that make room
    while reading.position() < begin && reading.next(Some(begin)).await?.is_some() {}
    while let Some(bytes) = reading.next(end).await? {
        sink.take(&bytes).await?;
    }
    Ok(())
}

async fn stream_converted(
    config: &Config,
    tools: &Tools,
    reading: &mut Reading,
    sink: &mut impl Sink,
) -> Result<(), Broken> {
    let (converter, mut archive, mut sql) = Converter::start(tools, &config.child_environment).map_err(blame)?;
    let feed = async {
        while let Some(bytes) = reading.next(None).await? {
            // it says itself why it takes no more
            if archive.write_all(&bytes).await.is_err() {
                break;
            }
        }
        drop(archive);
        Ok::<_, Broken>(())
    };
    let pass = async {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        while sql.read_buf(&mut chunk).await.map_err(|error| Broken::Other(Error::Io(error.to_string())))? > 0 {
            sink.take(&chunk).await?;
            chunk.clear();
        }
        Ok(())
    };
    tokio::try_join!(feed, pass)?;
    converter.finish().await.map_err(blame)
}

pub(crate) fn blame(error: RestoreError) -> Broken {
    match error.blame() {
        Blame::Backup => Broken::Backup(error.to_string()),
        _ => Broken::Other(Error::Server(ServerError::Restore(error))),
    }
}
