//! Indexes, keys and constraints, made side by side. pg_dump writes them by kind, so those of one kind that follow one
//! another are run over all connections, the largest tables first, and what comes behind them waits for all of them.
//!
//! What a connection beside the first could not do, whatever the reason, is done once more by the first one, alone and in
//! the order of the dump; its failure is the one that is judged.

use super::Broken;
use super::execution::Execution;
use crate::dump_format::script::ScriptStatement;
use crate::dump_format::sql_lexer::{Build, BuildKind, Charset, is_said_of_build};
use crate::postgres;
use crate::postgres::loading::LoadSession;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::debug;

/// Most statements that wait for one another.
const MOST: usize = 2000;
/// Bytes of all of them.
const MOST_BYTES: usize = 4 << 20;
/// Tables with fewer bytes of rows are all the same.
const SMALL: u64 = 1 << 20;

/// Statements of one kind that wait to be run.
#[derive(Default)]
pub(super) struct Builds {
    waiting: Vec<WaitingBuild>,
    bytes: usize,
    /// Bytes of rows, of the larger tables.
    sizes: BTreeMap<String, u64>,
}

/// A statement, and what is said behind it of what it makes.
struct WaitingBuild {
    build: Build,
    size: u64,
    /// The first one makes it.
    statements: Vec<Statement>,
}

/// A statement that outlives the piece of the dump that it was read from.
struct Statement {
    text: Vec<u8>,
    charset: Charset,
    line: u64,
}

/// One that was run, and which of its statements failed with what.
type Ran = (WaitingBuild, Result<(), (usize, tokio_postgres::Error)>);

impl Builds {
    /// Counts rows of a table.
    pub(super) fn add_rows(&mut self, table: &str, bytes: u64) {
        if bytes >= SMALL {
            *self.sizes.entry(table.to_owned()).or_default() += bytes;
        }
    }

    /// True when the statement says something of what the last one makes.
    pub(super) fn is_said_of_last(&self, statement: ScriptStatement<'_>) -> bool {
        !self.waiting.is_empty() && is_said_of_build(statement.text)
    }

    pub(super) fn add_said(&mut self, statement: ScriptStatement<'_>) {
        if let Some(last) = self.waiting.last_mut() {
            self.bytes += statement.text.len();
            last.statements.push(Statement::of(statement));
        }
    }

    /// True when it is of the kind of those that wait, and they are not too many.
    pub(super) fn has_room_for(&self, build: &Build) -> bool {
        let kind = self.waiting.first().map(|one| one.build.kind);
        kind == Some(build.kind) && self.waiting.len() < MOST && self.bytes < MOST_BYTES
    }

    pub(super) fn add(&mut self, build: Build, statement: ScriptStatement<'_>) {
        let size = self.sizes.get(&build.table).copied().unwrap_or_default();
        self.bytes += statement.text.len();
        self.waiting.push(WaitingBuild { build, size, statements: vec![Statement::of(statement)] });
    }

    /// All that wait, largest tables first.
    fn take(&mut self) -> Vec<WaitingBuild> {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        waiting.sort_by_key(|one| std::cmp::Reverse(one.size));
        waiting
    }
}

impl Statement {
    fn of(statement: ScriptStatement<'_>) -> Self {
        Self { text: statement.text.to_vec(), charset: statement.charset, line: statement.line }
    }

    fn as_script(&self) -> ScriptStatement<'_> {
        ScriptStatement { text: &self.text, charset: self.charset, line: self.line }
    }
}

impl Execution<'_> {
    /// Runs what waits, and is back when all of it is done.
    pub(super) async fn end_builds(&mut self) -> Result<(), Broken> {
        let waiting = self.builds.take();
        if waiting.is_empty() {
            return Ok(());
        }
        self.connections.catch_up().await?;
        let what = match waiting[0].build.kind {
            BuildKind::Index => "indexes and keys",
            BuildKind::ForeignKey => "foreign keys",
        };
        let (sessions, counters) = (self.connections.all().collect(), self.counters.clone());
        let ran = run_side_by_side(sessions, waiting, |left| counters.set_making(what, left)).await;
        let mut failed = ran.map_err(|error| self.lost_connection(&error))?;
        failed.sort_by_key(|(one, _)| one.statements[0].line);
        for (one, from) in failed {
            for statement in &one.statements[from..] {
                self.run(statement.as_script()).await?;
            }
        }
        Ok(())
    }
}

/// Runs all of them, none beside one that it conflicts with; the answer is what failed, and from which of its statements
/// on. An error where a connection is lost.
async fn run_side_by_side(
    mut idle: Vec<Arc<LoadSession>>,
    mut waiting: Vec<WaitingBuild>,
    show_left: impl Fn(usize),
) -> Result<Vec<(WaitingBuild, usize)>, tokio_postgres::Error> {
    // popped from its end
    waiting.reverse();
    let (mut running, mut builds, mut failed) = (FuturesUnordered::new(), Vec::<Build>::new(), Vec::new());
    loop {
        while let Some(session) = idle.pop() {
            let is_free = |one: &WaitingBuild| !builds.iter().any(|build| build.conflicts_with(&one.build));
            let Some(next) = waiting.iter().rposition(is_free) else {
                idle.push(session);
                break;
            };
            let one = waiting.remove(next);
            builds.push(one.build.clone());
            running.push(async move { (run_one(&session, one).await, session) });
        }
        show_left(waiting.len() + running.len());
        let Some(((one, outcome), session)) = running.next().await else { return Ok(failed) };
        idle.push(session);
        if let Some(at) = builds.iter().position(|build| *build == one.build) {
            builds.swap_remove(at);
        }
        match outcome {
            Ok(()) => {}
            Err((_, error)) if error.code().is_none() => return Err(error),
            Err((from, error)) => {
                debug!("line {}: {}; trying it again, alone", one.statements[from].line, postgres::cause(&error));
                failed.push((one, from));
            }
        }
    }
}

async fn run_one(session: &LoadSession, one: WaitingBuild) -> Ran {
    for (at, statement) in one.statements.iter().enumerate() {
        if let Err(error) = session.run(&statement.text).await {
            return (one, Err((at, error)));
        }
    }
    (one, Ok(()))
}
