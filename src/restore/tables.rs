//! Rows of tables into a database that is in use: beside a live table, in its place, or, where it is gone, the table
//! itself.

use super::databases::{ChosenArchive, Wanted};
use super::loading::{Loading, columns, create};
use super::plan::{Done, Plan, RestoreContent, TableTarget, is_below, parents};
use super::table_choice::{TableWay, Tables};
use super::{Consent, Restorer};
use crate::dump_format::sql_lexer::Lexer;
use crate::error::{BackupError, Error, ServerError, SettingsError, SourceError};
use crate::loader::archive::Reading;
use crate::loader::client_tools;
use crate::loader::sql::stream_sql;
use crate::postgres::connection::Connection;
use crate::postgres::load::Load;
use crate::postgres::scratch::ScratchServer;
use crate::postgres::{contents, schema, table_rows};
use crate::record::facts::{Catalogue, Contents, Facts, TableRows};
use crate::record::fingerprint::Fingerprint;
use crate::repository::Backup;
use crate::text;
use crate::verify::archive;
use crate::verify::report::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use tracing::info;

impl Restorer<'_> {
    /// True when rows go into a database that is in use.
    pub(super) async fn is_live(&self, server: &ScratchServer) -> Result<bool, Error> {
        let Some(name) = self.request.into.as_ref().filter(|_| !self.request.cluster) else { return Ok(false) };
        let is_data = self.request.content == RestoreContent::Data;
        if !is_data && self.request.tables.is_empty() {
            return Ok(false);
        }
        match self.shutdown.guard(server.look(name)).await?? {
            Some(target) => Ok(is_data || !target.is_empty),
            None if is_data => Err(Error::Settings(SettingsError::Usage(format!(
                "--data-only needs a database that has the objects, and there is no {}; leave the option out to make one",
                text::one_line(name)
            )))),
            None => Ok(false),
        }
    }

    /// Rows into the live database that is asked for.
    pub(super) async fn restore_rows(
        &self,
        server: &ScratchServer,
        backup: &Backup,
        facts: &Facts,
        done: &mut Done,
        consent: Consent<'_>,
    ) -> Result<(), Error> {
        let name = self.request.into.clone().unwrap_or_default();
        let connection = self.shutdown.guard(server.enter_database(&name)).await??;
        let live = self.shutdown.guard(live(&connection)).await?.map_err(SourceError::Query)?;
        let tables = self.decide(backup, facts, &live)?;
        let mut plan = Plan::default();
        plan.say("backup", super::describe(backup));
        let source = &self.config.source;
        plan.say("into", format!("{} on {}:{}", text::one_line(&name), source.host, source.port));
        self.say_tables(&tables, &mut plan, &name);
        consent(&plan).await?;
        self.shutdown.guard(server.sweep()).await??;
        match tables.way {
            TableWay::Dropped => self.restore_dropped(server, backup, facts, &tables, &name, done).await?,
            _ => {
                let loaded = self.load(server, &connection, backup, facts, &tables);
                self.shutdown.guard(loaded).await?.map_err(|error| match error {
                    Error::Source(SourceError::Query(cause)) => Error::Server(ServerError::Load(cause)),
                    error => error,
                })?;
            }
        }
        done.tables = tables.targets();
        for TableTarget { table, into, rows } in &done.tables {
            let (table, into) = (text::one_line(table), text::one_line(into));
            let place = if table == into { String::new() } else { format!(", as {into}") };
            done.lines.push(format!("{table} is restored with {}{place}", text::count(*rows, "row")));
        }
        Ok(())
    }

    /// One transaction, committed only when every row has come and the bytes were those that were written.
    async fn load(
        &self,
        server: &ScratchServer,
        connection: &Connection,
        backup: &Backup,
        facts: &Facts,
        tables: &Tables<'_>,
    ) -> Result<(), Error> {
        let expected = tables.expected;
        let started = Instant::now();
        // what can be done before the tables are locked is done before
        let wanted: BTreeSet<String> = tables.into.keys().cloned().collect();
        let keys = self.config.encryption.identities.as_ref();
        let mut reading = Reading::open_for(self.repository, backup, facts, &wanted, keys).await?;
        let tools = client_tools(self.config, &backup.manifest, server).await?;
        let load = Load::begin(connection, &tables.contents, &expected.lc_monetary).await?;
        let live: BTreeSet<String> = tables.into.values().cloned().collect();
        match tables.way {
            TableWay::Beside => create(&load, &tables.catalogue, &tables.contents, &tables.into).await?,
            _ => self.make_room(connection, &load, tables).await?,
        }
        let (begin, end) = (expected.raw_offset, tables.end);
        let mut read = {
            // what was cut in the middle of a table's rows ends here, before anything else is asked
            let mut sink = Loading { load: &load, into: &tables.into, lexer: Lexer::default(), rows: None };
            stream_sql(self.config, tools.as_ref(), &mut reading, begin, end, &mut sink).await
        };
        if read.is_ok() {
            read = reading.skip().await;
        }
        let check = archive::prove(reading, &backup.manifest, None, read).await?;
        if check.verdict == Verdict::Failed {
            return Err(self.unproved(backup, &check.details.join("; ")));
        }
        self.compare_rows(connection, &load, backup, tables).await?;
        if let TableWay::InPlace = tables.way {
            let all = tables.contents.sequences.clone();
            let owned = load.sequences_of(&live.union(&tables.roots).cloned().collect()).await?;
            let is_all = self.request.tables.is_empty();
            load.set(&all.into_iter().filter(|(name, _)| is_all || owned.contains(name)).collect()).await?;
        }
        load.commit().await?;
        let seconds = started.elapsed().as_secs_f64();
        info!(seconds, "loaded {} in {seconds:.1} s", text::count(live.len(), "table"));
        Ok(())
    }

    fn unproved(&self, backup: &Backup, failures: &str) -> Error {
        let failures = format!("{failures}; nothing was changed");
        Error::Backup(BackupError::NotRestored { id: backup.manifest.id.clone(), failures })
    }

    /// Refuses live tables that cannot take the rows, and empties the others.
    async fn make_room(&self, connection: &Connection, load: &Load<'_>, tables: &Tables<'_>) -> Result<(), Error> {
        let patience = self.config.dump.lock_timeout.as_millis();
        connection.batch_execute(&format!("SET LOCAL lock_timeout = {patience}")).await?;
        let live: BTreeSet<String> = tables.into.values().chain(&tables.roots).cloned().collect();
        load.lock(&live).await?;
        let now = schema::relations(connection).await?;
        let differing = live.iter().filter(|name| columns(&now, name) != columns(&tables.catalogue, name));
        let differing: Vec<&str> = differing.map(String::as_str).collect();
        if !differing.is_empty() {
            return Err(Error::Server(ServerError::NotReplaced(format!(
                "the columns of {} differ from those in the backup; restore beside it (without --replace), and move \
                 the rows by hand",
                text::one_line(&differing.join(", "))
            ))));
        }
        let family = tables.family(&now);
        let triggers = load.triggers(&family).await?;
        if !triggers.is_empty() {
            let user = self.config.source.role.setting("USER");
            let why = if load.is_quiet {
                "it is enabled for replicas".to_owned()
            } else {
                format!("{user} is not allowed to disable it")
            };
            return Err(Error::Server(ServerError::NotReplaced(format!(
                "the trigger {} would fire for every row, because {why}; disable it (ALTER TABLE … DISABLE TRIGGER) \
                 during the restore, or restore as a superuser",
                text::one_line(&triggers.join(", "))
            ))));
        }
        let emptied = tables.emptied(&now);
        if !self.request.replace {
            let full = load.with_rows(&emptied).await?;
            if full.is_empty() {
                return Ok(());
            }
            let full = text::one_line(&full.join(", ")).into_owned();
            return Err(Error::Settings(SettingsError::Usage(format!(
                "{full} already has rows; --replace replaces them with those of the backup"
            ))));
        }
        let keys = load.keys_from_elsewhere(&family).await?;
        if !keys.is_empty() {
            return Err(Error::Server(ServerError::NotReplaced(format!(
                "other tables refer to these through {}; restore them together, or beside the existing ones (without \
                 --replace)",
                text::one_line(&keys.join(", "))
            ))));
        }
        Ok(load.empty(&emptied).await?)
    }

    /// Reads back what was loaded, in the same transaction.
    async fn compare_rows(
        &self,
        connection: &Connection,
        load: &Load<'_>,
        backup: &Backup,
        tables: &Tables<'_>,
    ) -> Result<(), Error> {
        if self.request.skip_checks {
            return Ok(());
        }
        let whole = &tables.contents;
        let renamed = |(table, into): (&String, &String)| Some((into.clone(), whole.tables.get(table)?.clone()));
        let wanted: BTreeMap<String, TableRows> = tables.into.iter().filter_map(renamed).collect();
        let wanted = Contents { tables: wanted, encoding: whole.encoding.clone(), ..Contents::default() };
        let found = table_rows::read(connection, &[], &wanted).await?;
        let is_other = |(name, found): &(&String, &Option<(u64, Fingerprint)>)| {
            let rows = wanted.tables.get(*name);
            !rows.is_some_and(|wanted| wanted.is_mixed && found.is_some_and(|(rows, _)| rows == wanted.rows))
        };
        let differing: Vec<&str> = found.differing.iter().filter(is_other).map(|(name, _)| name.as_str()).collect();
        if !differing.is_empty() {
            let names = differing.join(", ");
            return Err(self.unproved(backup, &format!("{names}: the rows differ from those in the backup")));
        }
        if load.is_quiet && matches!(tables.way, TableWay::InPlace) {
            let (_, orphans) = contents::orphans(connection).await?;
            let now = schema::relations(connection).await?;
            let family = tables.family(&now);
            let ours = |key: &&String| family.iter().any(|table| key.starts_with(&format!("{table}.")));
            let broken: Vec<&str> = orphans.keys().filter(ours).map(String::as_str).collect();
            if !broken.is_empty() {
                let why = format!("rows would refer to missing rows through {}", broken.join(", "));
                return Err(Error::Server(ServerError::NotReplaced(format!(
                    "{why}; restore the tables that they refer to together with them"
                ))));
            }
        }
        Ok(())
    }

    /// Makes tables that are gone: in a database of its own first, compared there, and then as pg_dump moves them.
    async fn restore_dropped(
        &self,
        server: &ScratchServer,
        backup: &Backup,
        facts: &Facts,
        tables: &Tables<'_>,
        name: &str,
        done: &mut Done,
    ) -> Result<(), Error> {
        let (expected, end) = (tables.expected, tables.end);
        let wanted = Wanted { expected, end, name: name.to_owned(), replaced: None, existing: None };
        let archive = ChosenArchive { backup, facts, databases: vec![wanted] };
        self.check_roles(server, std::slice::from_ref(&archive), false).await?;
        let catalogue = &tables.catalogue;
        let below = |table: &&String| tables.roots.iter().any(|root| is_below(catalogue, table, root));
        let mut names: BTreeSet<String> = tables.into.keys().chain(&tables.roots).cloned().collect();
        names.extend(catalogue.tables.keys().filter(below).cloned());
        let partition = names.iter().find(|table| parents(catalogue, table).any(|parent| !names.contains(parent)));
        if let Some(partition) = partition {
            return Err(Error::Server(ServerError::NotReplaced(format!(
                "{} is a partition of an existing table; restore it into a new database, and attach it by hand",
                text::one_line(partition)
            ))));
        }
        let names: Vec<String> = names.into_iter().collect();
        let left_out = self.move_tables(server, &archive, &names, done).await?;
        let left_out = left_out.iter().map(|key| {
            format!(
                "the foreign key {} is left out; add it again once the table it refers to exists",
                text::one_line(key)
            )
        });
        done.lines.extend(left_out);
        Ok(())
    }
}

async fn live(connection: &Connection) -> Result<Catalogue, tokio_postgres::Error> {
    connection.batch_execute("BEGIN READ ONLY").await?;
    let live = schema::relations(connection).await?;
    connection.batch_execute("COMMIT").await?;
    Ok(live)
}
