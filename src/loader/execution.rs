//! One pass over a dump: its statements in their order, its rows over all connections, and what is made of rows side by
//! side.

use super::builds::Builds;
use super::connections::Connections;
use super::exception::Omission;
use super::failures::NOT_VALID;
use super::rows::{FailedRows, RowLoading, RowsError};
use super::sql::Sink;
use super::surroundings;
use super::{Broken, Loader};
use crate::dump_format::script::{Script, ScriptStatement, Step};
use crate::dump_format::sql_lexer::{Build, DumpedObject, Intent, ObjectKind};
use crate::error::{Error, ServerError};
use crate::postgres;
use crate::postgres::constraints::{self, TakenOff, Unsteady};
use crate::postgres::extensions::Restoring;
use crate::postgres::loading::LoadSession;
use crate::postgres::scratch::Scratch;
use crate::progress::Counters;
use crate::record::facts::reader::DatabaseFacts;
use crate::text;
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;
use tracing::{info, warn};

/// Who is filled, and over which session.
#[derive(Clone, Copy)]
pub(super) struct Filling<'a> {
    pub(super) loader: &'a Loader<'a>,
    pub(super) scratch: &'a Scratch,
    pub(super) expected: DatabaseFacts<'a>,
    pub(super) session: &'a LoadSession,
}

/// What the statements that ran so far have come to.
#[derive(Default)]
pub(super) struct LoadState {
    pub(super) left_out: Vec<Omission>,
    /// Extensions that were to be made beforehand, and why they were not.
    pub(super) lacking: Vec<String>,
    /// Constraints that are off while rows are loaded.
    taken_off: Vec<TakenOff>,
    /// Rows have begun.
    has_rows: bool,
    pub(super) in_transaction: bool,
    /// Tables whose rows did not find a table.
    pub(super) lost: BTreeSet<String>,
    /// Every constraint is taken off, because rows broke one that looked steady.
    pub(super) all_off: bool,
    /// Those that were made.
    extensions: Vec<String>,
    /// Rows broke a CHECK: all of it has to be done again without any.
    pub(super) again: bool,
    /// Tables that the dump makes, by the hashes of their names: they have no keys and no triggers before the rows.
    made: HashSet<u64>,
    /// When the last rows were in their tables.
    pub(super) rows_ended: Option<Instant>,
}

impl LoadState {
    pub(super) fn new(lacking: Vec<String>, all_off: bool) -> Self {
        Self { lacking, all_off, ..Self::default() }
    }
}

/// One pass over a dump.
pub(super) struct Execution<'a> {
    pub(super) target: Filling<'a>,
    script: Option<Script>,
    pub(super) state: &'a mut LoadState,
    pub(super) connections: &'a mut Connections,
    loading: Option<RowLoading>,
    rows: CopyState,
    /// Statements that wait for others of their kind, to be run side by side.
    pub(super) builds: Builds,
    pub(super) counters: Counters,
}

/// The rows that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyState {
    /// There are none, or they are not wanted.
    None,
    /// Over all connections.
    Loading,
    /// Over one, before anything else goes on.
    InOrder,
}

impl<'a> Execution<'a> {
    pub(super) fn new(
        target: Filling<'a>,
        script: Script,
        state: &'a mut LoadState,
        connections: &'a mut Connections,
        counters: Counters,
    ) -> Self {
        let (script, builds) = (Some(script), Builds::default());
        Self { target, script, state, connections, loading: None, rows: CopyState::None, builds, counters }
    }

    /// Ends at the end of the dump; the answer are the subscriptions that were left out, and whether no tablespace was.
    pub(super) async fn finish(mut self) -> Result<(Vec<String>, bool), Broken> {
        let Some(script) = self.script.take() else { return Ok((Vec::new(), true)) };
        let has_tablespaces = script.has_every_tablespace();
        let subscriptions = script.finish()?;
        // rows that are to be loaded again may end in the middle of one
        if !self.state.again {
            self.end_rows().await?;
        }
        if !self.state.again {
            self.end_builds().await?;
            self.put_back().await?;
            for extension in &self.state.extensions {
                surroundings::tell(self.target.session, extension, Restoring::Ends).await?;
            }
            self.judge_lost()?;
        }
        Ok((subscriptions, has_tablespaces))
    }

    async fn step(&mut self, step: Step<'_>) -> Result<(), Broken> {
        if self.state.again {
            return Ok(());
        }
        match step {
            Step::Statement(statement) => {
                self.end_rows().await?;
                if self.state.again { Ok(()) } else { self.take_statement(statement).await }
            }
            Step::Copy { statement, table } => {
                self.counters.set_table(table);
                self.begin_rows(statement, table).await
            }
            Step::Row { bytes, ends } => {
                if self.rows != CopyState::None
                    && let Some(loading) = &mut self.loading
                    && loading.write(bytes, ends).await
                {
                    return self.judge_loading();
                }
                Ok(())
            }
            Step::RowsEnd => self.end_block().await,
        }
    }

    /// Runs a statement, or keeps it for others of its kind to be run with.
    async fn take_statement(&mut self, statement: ScriptStatement<'_>) -> Result<(), Broken> {
        if self.builds.is_said_of_last(statement) {
            self.builds.add_said(statement);
            return Ok(());
        }
        let build = Build::parse(statement.text, statement.charset).filter(|_| !self.state.in_transaction);
        let goes_on = build.as_ref().is_some_and(|build| self.builds.has_room_for(build));
        // what is set already makes no difference to those that wait
        if !goes_on && !self.connections.has(statement.text) {
            self.end_builds().await?;
        }
        let Some(build) = build else { return self.run(statement).await };
        self.put_back().await?;
        self.open_connections().await?;
        if self.connections.count() == 1 {
            return self.run(statement).await;
        }
        self.builds.add(build, statement);
        Ok(())
    }

    /// Runs one statement on the first connection.
    pub(super) async fn run(&mut self, statement: ScriptStatement<'_>) -> Result<(), Broken> {
        let intent = Intent::of(statement.text, statement.charset);
        let follows = match &intent {
            Intent::Make(object) => object.kind.follows_rows(),
            Intent::Refresh(_) => true,
            _ => false,
        };
        if follows {
            self.put_back().await?;
        }
        if let Intent::Make(DumpedObject { kind: ObjectKind::Table, name }) = &intent {
            self.state.made.insert(hash(name));
        }
        if let Err(error) = self.target.session.run(statement.text).await {
            return self.judge(&error, &intent, statement).await;
        }
        match (statement.text, intent) {
            (b"BEGIN;", _) => self.state.in_transaction = true,
            (b"COMMIT;", _) => self.state.in_transaction = false,
            (_, Intent::Session) => self.connections.note(statement.text),
            (_, Intent::Make(object)) if object.kind == ObjectKind::Extension => {
                surroundings::tell(self.target.session, &object.name, Restoring::Begins).await?;
                self.state.extensions.push(object.name);
            }
            _ => {}
        }
        Ok(())
    }

    /// Opens the other connections, once there is something for them to do: extensions that want to know of a restore set
    /// that for sessions that begin later.
    async fn open_connections(&mut self) -> Result<(), Broken> {
        if !self.connections.is_complete() {
            self.connections.add(self.target.loader.open_beside(self.target).await);
        }
        self.connections.catch_up().await
    }

    async fn begin_rows(&mut self, statement: ScriptStatement<'_>, table: &str) -> Result<(), Broken> {
        if self.state.in_transaction {
            return Err(Broken::Backup(format!("line {} has rows inside a transaction", statement.line)));
        }
        self.end_builds().await?;
        if !std::mem::replace(&mut self.state.has_rows, true) {
            let which = if self.state.all_off { Unsteady::All } else { Unsteady::Expressions };
            take_off(self.target, self.state, which).await?;
        }
        // a table of an extension may have keys and triggers, for which the order counts
        let in_order = !self.state.made.contains(&hash(table));
        if in_order {
            self.end_rows().await?;
        }
        if self.loading.is_none() {
            self.open_connections().await?;
            let all = if in_order { 1 } else { self.connections.count() };
            self.loading = Some(RowLoading::begin(self.connections.all().take(all)));
        }
        if let Some(loading) = &mut self.loading {
            loading.begin_block(statement, table);
        }
        self.rows = if in_order { CopyState::InOrder } else { CopyState::Loading };
        Ok(())
    }

    async fn end_block(&mut self) -> Result<(), Broken> {
        let rows = std::mem::replace(&mut self.rows, CopyState::None);
        if let Some(loading) = &mut self.loading {
            if let Some((block, bytes)) = loading.end_block().await {
                self.builds.add_rows(&block.table, bytes);
            }
            self.judge_loading()?;
        }
        if rows == CopyState::InOrder { self.end_rows().await } else { Ok(()) }
    }

    /// Judges what was not taken so far.
    fn judge_loading(&mut self) -> Result<(), Broken> {
        while let Some(failed) = self.loading.as_mut().and_then(RowLoading::next_failure) {
            self.judge_failed(failed)?;
        }
        Ok(())
    }

    /// Waits until all rows that were read are in their tables.
    async fn end_rows(&mut self) -> Result<(), Broken> {
        let Some(loading) = self.loading.take() else { return Ok(()) };
        let failed = loading.end().await;
        self.state.rows_ended = Some(Instant::now());
        failed.into_iter().try_for_each(|failed| self.judge_failed(failed))
    }

    fn judge_failed(&mut self, failed: FailedRows) -> Result<(), Broken> {
        let FailedRows { block, cause } = failed;
        match cause {
            RowsError::OwnTable => {
                let (line, table) = (block.line, &block.table);
                Err(Broken::Backup(format!("line {line} has rows for {table}, a table of the server itself")))
            }
            RowsError::Server(error) => self.judge_rows(&error, &block.table),
        }
    }

    /// Puts constraints back, once all rows are there.
    async fn put_back(&mut self) -> Result<(), Broken> {
        // a rule may stand before the rows as well, where nothing is off yet
        if self.state.taken_off.is_empty() {
            return Ok(());
        }
        // by the session that loads, which has the settings of the source
        let session = self.target.session;
        for one in std::mem::take(&mut self.state.taken_off) {
            let kind = if one.is_domain { ObjectKind::Type } else { ObjectKind::Check };
            let name = if one.is_domain { one.owner.clone() } else { format!("{}.{}", one.owner, one.name) };
            let object = DumpedObject { kind, name };
            let Err(error) = session.run_text(&one.add()).await else {
                self.comment(&one).await?;
                continue;
            };
            self.excusable(&error, &object)?;
            let again = session.run_text(&format!("{} NOT VALID", one.add())).await;
            let (in_part, sql) = match again {
                Ok(()) => {
                    self.comment(&one).await?;
                    (Some(NOT_VALID), one.validate())
                }
                Err(error) => {
                    self.excusable(&error, &object)?;
                    (None, one.add())
                }
            };
            let object = Some(object);
            self.leave_out(Omission { object, in_part, reason: postgres::cause(&error), sql: format!("{sql};") });
        }
        Ok(())
    }

    /// Says again of a constraint what was said of it.
    async fn comment(&self, one: &TakenOff) -> Result<(), Broken> {
        let Some(comment) = one.comment() else { return Ok(()) };
        let said = self.target.session.run_text(&comment).await;
        said.map_err(|error| self.blame_statement(&error, &Intent::Change))
    }
}

/// Takes constraints off that rows may break while they are loaded.
async fn take_off(target: Filling<'_>, state: &mut LoadState, which: Unsteady) -> Result<(), Error> {
    let Filling { loader, scratch, expected, .. } = target;
    let connection = loader.server.enter(scratch, "backup load").await?;
    match constraints::take_off(&connection, which).await {
        Ok(all) => {
            if !all.is_empty() {
                let count = text::count(all.len(), "CHECK constraint");
                info!("{count} of {} will be checked once all rows are loaded", expected.name);
            }
            state.taken_off.extend(all);
            Ok(())
        }
        // rows may come in all the same
        Err(error) if error.code().is_some() => {
            warn!("constraints stay in force while rows are loaded: {}", postgres::cause(&error));
            Ok(())
        }
        Err(error) => Err(ServerError::Compare(error).into()),
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl Sink for Execution<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let Some(mut script) = self.script.take() else { return Ok(()) };
        let mut input = bytes;
        while let Some(step) = script.next(&mut input)? {
            self.step(step).await?;
        }
        self.script = Some(script);
        self.counters.add_raw(bytes.len() as u64);
        Ok(())
    }
}
