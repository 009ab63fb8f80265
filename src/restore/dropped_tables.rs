//! Tables that are gone, made again: restored into a database of their own, compared there, and moved by pg_dump.

use super::Restorer;
use super::databases::{ChosenArchive, Fresh};
use super::plan::Done;
use crate::error::{Error, ServerError, SourceError};
use crate::loader::Broken;
use crate::loader::Loader;
use crate::loader::transfer::Transfer;
use crate::postgres::catalog::sql_name;
use crate::postgres::dump::{Dump, DumpError, Output};
use crate::postgres::loading::{LoadSession, SessionOptions};
use crate::postgres::scratch::{ScratchError, ScratchServer};
use crate::postgres::tools;
use crate::record::facts::Kind;
use crate::record::facts::reader::DatabaseFacts;
use bytes::BytesMut;
use std::collections::BTreeSet;
use tokio::io::AsyncReadExt;

/// Bytes handed on at once.
const CHUNK: usize = 256 << 10;

impl Restorer<'_> {
    /// Makes the tables in the live database; the answer are foreign keys that are left out.
    pub(super) async fn move_tables(
        &self,
        server: &ScratchServer,
        archive: &ChosenArchive<'_>,
        tables: &[String],
        done: &mut Done,
    ) -> Result<Vec<String>, Error> {
        let loader = self.prepare(server, archive).await?;
        let mut fresh = Vec::new();
        let outcome = match self.fill(&loader, archive, &mut fresh).await {
            Ok(()) => self.compare_and_move(&loader, &fresh, tables, done).await,
            Err(error) => Err(error),
        };
        for one in fresh {
            loader.remove(&one.scratch, outcome.is_ok()).await;
        }
        outcome?;
        let mut left_out = Vec::new();
        for wanted in &archive.databases {
            left_out.extend(keys_beyond(wanted.expected, tables)?);
        }
        Ok(left_out)
    }

    async fn compare_and_move(
        &self,
        loader: &Loader<'_>,
        fresh: &[Fresh<'_>],
        tables: &[String],
        done: &mut Done,
    ) -> Result<(), Error> {
        for one in fresh {
            self.compare(loader, one, done).await?;
            let moving = self.copy_over(loader, one, tables);
            match self.shutdown.guard(moving).await? {
                Ok(()) => {}
                Err(Broken::Other(error)) => return Err(error),
                Err(Broken::Backup(cause)) => {
                    return Err(Error::Server(ServerError::NotReplaced(format!(
                        "the live database does not accept the tables as they were: {cause}; nothing was changed; \
                         restore them into a new database, and move the rows by hand"
                    ))));
                }
            }
        }
        Ok(())
    }

    /// pg_dump of the tables into the live database, in one transaction.
    async fn copy_over(&self, loader: &Loader<'_>, one: &Fresh<'_>, tables: &[String]) -> Result<(), Broken> {
        let (server, dump) = (loader.server, &self.config.dump);
        let version = server.connection().version();
        let environment = &self.config.child_environment;
        let found = tools::find(dump.bin_dir.as_deref(), &dump.search_path, environment, version.major, &version.text);
        let tools = found.await.map_err(Error::from)?.chosen;
        let mut arguments = vec!["--no-password".to_owned(), "--strict-names".to_owned()];
        arguments.extend(tables.iter().map(|table| format!("--table={}", sql_name(table))));
        arguments.extend(loader.leave_out.owners.then(|| "--no-owner".to_owned()));
        arguments.extend(loader.leave_out.owners.then(|| "--no-privileges".to_owned()));
        let source = server.source(&one.scratch);
        let mut reader =
            Dump::start(&tools, &source, Output::Plain, &arguments, environment, None).map_err(Error::from)?;
        let lc_monetary = one.wanted.expected.head.lc_monetary.as_str();
        let options = SessionOptions { lc_monetary, more: "" };
        let (target, role) = (server.server().of(&one.wanted.name), server.role());
        let opened = LoadSession::open(&target, options).await;
        let session = opened.map_err(|cause| Error::from(ScratchError::Connect { server: role, cause }))?;
        let mut transfer = Transfer::begin(&session, role).await?;
        let mut chunk = BytesMut::with_capacity(CHUNK);
        loop {
            let count = reader.read_buf(&mut chunk).await;
            let count = count.map_err(|error| {
                Error::Source(SourceError::Dump(error.downcast::<DumpError>().unwrap_or_else(DumpError::Read)))
            })?;
            if count == 0 {
                break;
            }
            transfer.take(&chunk).await?;
            chunk.clear();
        }
        // only a dump that was whole gets here
        transfer.commit().await
    }
}

/// Foreign keys between these tables and others.
fn keys_beyond(expected: DatabaseFacts<'_>, tables: &[String]) -> Result<Vec<String>, Error> {
    let ours: BTreeSet<&str> = tables.iter().map(String::as_str).collect();
    let mut beyond = Vec::new();
    let take = |kind, name: String, key: serde_json::Map<String, serde_json::Value>| {
        let references = key.get("references").and_then(|table| table.as_str()).unwrap_or_default();
        let is_from = ours.iter().any(|table| name.starts_with(&format!("{table}.")));
        if kind == Kind::ForeignKey && is_from != ours.contains(references) {
            beyond.push(name);
        }
    };
    expected.each_object(take)?;
    Ok(beyond)
}
