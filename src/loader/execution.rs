//! The statements and rows of a dump, run one after the other on one session.

use super::exception::Omission;
use super::failures::NOT_VALID;
use super::sql::Sink;
use super::surroundings;
use super::{Broken, Loader};
use crate::dump_format::script::{Script, ScriptStatement, Step};
use crate::dump_format::sql_lexer::{DumpedObject, Intent, ObjectKind};
use crate::error::{Error, ServerError};
use crate::postgres;
use crate::postgres::constraints::{self, TakenOff, Unsteady};
use crate::postgres::extensions::Restoring;
use crate::postgres::loading::{LoadSession, RowsIn};
use crate::postgres::scratch::Scratch;
use crate::progress::Counters;
use crate::record::facts::reader::DatabaseFacts;
use crate::text;
use tracing::{info, warn};

/// Who is filled, and over which session.
#[derive(Clone, Copy)]
pub(super) struct Filling<'a> {
    pub(super) loader: &'a Loader<'a>,
    pub(super) scratch: &'a Scratch,
    pub(super) expected: DatabaseFacts<'a>,
    pub(super) session: &'a LoadSession,
}

/// What the statements that ran so far have come to; it outlives a pass over the dump.
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
    pub(super) lost: Vec<String>,
    /// Every constraint was taken off, because rows broke one.
    pub(super) all_off: bool,
    /// Those that were made.
    extensions: Vec<String>,
    /// COPY number so many has to be done again, and everything behind it.
    pub(super) again: Option<u64>,
}

/// One pass over a dump.
pub(super) struct Execution<'a> {
    pub(super) target: Filling<'a>,
    script: Option<Script>,
    pub(super) state: &'a mut LoadState,
    rows: CopyState<'a>,
    /// COPY statements so far.
    pub(super) copies: u64,
    /// What stands before that COPY was done by an earlier pass.
    from: Option<u64>,
    counters: Counters,
}

/// The rows that pass.
enum CopyState<'a> {
    None,
    Into(RowsIn<'a>, String),
    /// They failed, or were loaded by an earlier pass.
    Skipped,
}

impl<'a> Execution<'a> {
    /// From the beginning, or from the COPY on at which an earlier pass had to stop.
    pub(super) fn new(target: Filling<'a>, script: Script, state: &'a mut LoadState, counters: Counters) -> Self {
        let from = state.again.take();
        Self { target, script: Some(script), state, rows: CopyState::None, copies: 0, from, counters }
    }

    /// Ends at the end of the dump; the answer are the subscriptions that were left out, and whether no tablespace was.
    pub(super) async fn finish(mut self) -> Result<(Vec<String>, bool), Broken> {
        let Some(script) = self.script.take() else { return Ok((Vec::new(), true)) };
        let has_tablespaces = script.has_every_tablespace();
        let subscriptions = script.finish()?;
        if self.state.again.is_none() {
            self.put_back().await?;
            for extension in &self.state.extensions {
                surroundings::tell(self.target.session, extension, Restoring::Ends).await?;
            }
            self.judge_lost()?;
        }
        Ok((subscriptions, has_tablespaces))
    }

    async fn step(&mut self, step: Step<'_>) -> Result<(), Broken> {
        if self.state.again.is_some() {
            return Ok(());
        }
        match step {
            Step::Statement(_) if self.from.is_some() => Ok(()),
            Step::Statement(statement) => self.run(statement).await,
            Step::Copy { statement, table } => {
                self.copies += 1;
                self.from = self.from.filter(|from| *from != self.copies);
                self.counters.set_table(table);
                if self.from.is_some() {
                    self.rows = CopyState::Skipped;
                    return Ok(());
                }
                self.begin_rows(statement, table).await
            }
            Step::Row { bytes, ends } => {
                let CopyState::Into(rows, table) = &mut self.rows else { return Ok(()) };
                match rows.write(bytes, ends).await {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        let table = std::mem::take(table);
                        self.rows = CopyState::Skipped;
                        self.judge_rows(&error, &table)
                    }
                }
            }
            Step::RowsEnd => {
                let CopyState::Into(rows, table) = std::mem::replace(&mut self.rows, CopyState::None) else {
                    return Ok(());
                };
                match rows.finish().await {
                    Ok(_) => Ok(()),
                    Err(error) => self.judge_rows(&error, &table),
                }
            }
        }
    }

    async fn run(&mut self, statement: ScriptStatement<'_>) -> Result<(), Broken> {
        let intent = Intent::of(statement.text, statement.charset);
        let follows = match &intent {
            Intent::Make(object) => object.kind.follows_rows(),
            Intent::Refresh(_) => true,
            _ => false,
        };
        if follows {
            self.put_back().await?;
        }
        match self.target.session.run(statement.text).await {
            Ok(()) => {
                match statement.text {
                    b"BEGIN;" => self.state.in_transaction = true,
                    b"COMMIT;" => self.state.in_transaction = false,
                    _ => {}
                }
                match intent {
                    Intent::Make(object) if object.kind == ObjectKind::Extension => {
                        surroundings::tell(self.target.session, &object.name, Restoring::Begins).await?;
                        self.state.extensions.push(object.name);
                    }
                    _ => {}
                }
                Ok(())
            }
            Err(error) => self.judge(&error, &intent, statement).await,
        }
    }

    async fn begin_rows(&mut self, statement: ScriptStatement<'_>, table: &str) -> Result<(), Broken> {
        if self.state.in_transaction {
            return Err(Broken::Backup(format!("line {} has rows in a transaction of the dump", statement.line)));
        }
        if self.target.session.is_own_table(table).await.map_err(|error| self.lost_connection(&error))? {
            return Err(Broken::Backup(format!(
                "line {} has rows for {table}, a table of the server itself",
                statement.line
            )));
        }
        if !std::mem::replace(&mut self.state.has_rows, true) {
            take_off(self.target, self.state, Unsteady::Expressions).await?;
        }
        match self.target.session.copy(statement.text).await {
            Ok(rows) => {
                self.rows = CopyState::Into(rows, table.to_owned());
                Ok(())
            }
            Err(error) => {
                self.rows = CopyState::Skipped;
                self.judge_rows(&error, table)
            }
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
                info!("{count} of {} will be checked once all rows are there", expected.name);
            }
            state.taken_off.extend(all);
            Ok(())
        }
        // rows may come in all the same
        Err(error) if error.code().is_some() => {
            warn!("constraints stay while rows are loaded: {}", postgres::cause(&error));
            Ok(())
        }
        Err(error) => Err(ServerError::Compare(error).into()),
    }
}

/// Takes off every constraint, because rows broke one that looked steady.
pub(super) async fn take_all_off(target: Filling<'_>, state: &mut LoadState) -> Result<(), Error> {
    state.all_off = true;
    take_off(target, state, Unsteady::All).await
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
