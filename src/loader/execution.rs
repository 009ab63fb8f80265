//! The statements and rows of a dump, run one after the other on one session; and what becomes of those that fail.

use super::exception::LeftOut;
use super::judgement::{self, Failure, Lack, Matter, RowsFailure};
use super::plain_table;
use super::sql::Sink;
use super::{Broken, Loader};
use crate::dump_format::script::{Script, ScriptStatement, Step};
use crate::dump_format::sql_lexer::{DumpedObject, Intent, ObjectKind};
use crate::error::{Error, ServerError};
use crate::postgres;
use crate::postgres::constraints::{self, TakenOff, Unsteady};
use crate::postgres::loading::{LoadSession, RowsIn};
use crate::postgres::scratch::Scratch;
use crate::progress::Counters;
use crate::record::facts::reader::DatabaseFacts;
use crate::text;
use tracing::{info, warn};

/// Who is filled, and over which session.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) loader: &'a Loader<'a>,
    pub(super) scratch: &'a Scratch,
    pub(super) expected: DatabaseFacts<'a>,
    pub(super) session: &'a LoadSession,
}

/// What the statements that ran so far have come to; it outlives a pass over the dump.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) left_out: Vec<LeftOut>,
    /// Constraints that are off while rows are loaded.
    taken_off: Vec<TakenOff>,
    /// Rows have begun.
    has_rows: bool,
    /// What follows rows has begun.
    is_behind_rows: bool,
    in_transaction: bool,
    /// Tables whose rows did not find a table.
    lost: Vec<String>,
    /// Every constraint was taken off, because rows broke one.
    all_off: bool,
    /// COPY number so many has to be done again, and everything behind it.
    pub(super) again: Option<u64>,
}

/// One pass over a dump.
pub(super) struct Execution<'a> {
    target: Target<'a>,
    script: Option<Script>,
    state: &'a mut Progress,
    rows: Rows<'a>,
    /// COPY statements so far.
    copies: u64,
    /// What stands before that COPY was done by an earlier pass.
    from: Option<u64>,
    counters: Counters,
}

/// The rows that pass.
enum Rows<'a> {
    None,
    Into(RowsIn<'a>, String),
    /// They failed, or were loaded by an earlier pass.
    Skipped,
}

impl<'a> Execution<'a> {
    /// From the beginning, or from the COPY on at which an earlier pass had to stop.
    pub(super) fn new(target: Target<'a>, script: Script, state: &'a mut Progress, counters: Counters) -> Self {
        let from = state.again.take();
        Self { target, script: Some(script), state, rows: Rows::None, copies: 0, from, counters }
    }

    /// Ends at the end of the dump; the answer are the subscriptions that were left out, and whether no tablespace was.
    pub(super) async fn finish(mut self) -> Result<(Vec<String>, bool), Broken> {
        let Some(script) = self.script.take() else { return Ok((Vec::new(), true)) };
        let has_tablespaces = script.has_every_tablespace();
        let subscriptions = script.finish()?;
        if self.state.again.is_none() {
            self.put_back().await?;
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
                    self.rows = Rows::Skipped;
                    return Ok(());
                }
                self.begin_rows(statement, table).await
            }
            Step::Row { bytes, ends } => {
                let Rows::Into(rows, table) = &mut self.rows else { return Ok(()) };
                match rows.write(bytes, ends).await {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        let table = std::mem::take(table);
                        self.rows = Rows::Skipped;
                        self.judge_rows(&error, &table)
                    }
                }
            }
            Step::RowsEnd => {
                let Rows::Into(rows, table) = std::mem::replace(&mut self.rows, Rows::None) else { return Ok(()) };
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
                Ok(())
            }
            Err(error) => self.judge(&error, &intent, statement).await,
        }
    }

    async fn begin_rows(&mut self, statement: ScriptStatement<'_>, table: &str) -> Result<(), Broken> {
        if !std::mem::replace(&mut self.state.has_rows, true) {
            take_off(self.target, self.state, Unsteady::Expressions).await?;
        }
        match self.target.session.copy(statement.text).await {
            Ok(rows) => {
                self.rows = Rows::Into(rows, table.to_owned());
                Ok(())
            }
            Err(error) => {
                self.rows = Rows::Skipped;
                self.judge_rows(&error, table)
            }
        }
    }

    /// Puts constraints back, once all rows are there.
    async fn put_back(&mut self) -> Result<(), Broken> {
        if std::mem::replace(&mut self.state.is_behind_rows, true) || self.state.taken_off.is_empty() {
            return Ok(());
        }
        // by the session that loads, which has the settings of the source
        let session = self.target.session;
        for one in std::mem::take(&mut self.state.taken_off) {
            let Err(error) = session.run_text(&one.add()).await else { continue };
            if error.code().is_none() {
                return Err(self.lost_connection(&error));
            }
            let again = session.run_text(&format!("{} NOT VALID", one.add())).await;
            let kind = if one.is_domain { ObjectKind::Type } else { ObjectKind::Check };
            let name = if one.is_domain { one.owner.clone() } else { format!("{}.{}", one.owner, one.name) };
            let (in_part, sql) = match again {
                Ok(_) => (Some(NOT_VALID), one.validate()),
                Err(_) => (None, one.add()),
            };
            let object = Some(DumpedObject { kind, name });
            self.leave_out(LeftOut { object, in_part, reason: postgres::cause(&error), sql: format!("{sql};") });
        }
        Ok(())
    }

    fn leave_out(&mut self, one: LeftOut) {
        if one.object.is_some() {
            let record = one.record();
            warn!("{}: {} ({})", self.target.expected.name, record.object, record.reason);
        }
        self.state.left_out.push(one);
    }

    async fn judge(
        &mut self,
        error: &tokio_postgres::Error,
        intent: &Intent,
        statement: ScriptStatement<'_>,
    ) -> Result<(), Broken> {
        let Some(failure) = failure(error) else { return Err(self.lost_connection(error)) };
        let matter = judgement::of_statement(intent, failure);
        let at = || format!("line {}: {}", statement.line, postgres::cause(error));
        if self.state.in_transaction || !self.target.loader.is_tolerant {
            return Err(match matter {
                Matter::Bytes | Matter::Schema => Broken::Backup(at()),
                _ => self.blame(matter, at()),
            });
        }
        let is_superuser = self.target.loader.server.connection().is_superuser();
        match (matter, intent) {
            (Matter::Bytes, _) => Err(Broken::Backup(at())),
            // every database has that of the name `public`
            (Matter::Schema, Intent::Make(object)) if object.kind == ObjectKind::Schema && failure.state == "42P06" => {
                Ok(())
            }
            (Matter::Schema, Intent::Data) => Err(Broken::Backup(at())),
            (Matter::Schema, intent) => self.except(error, intent, statement).await,
            (Matter::Privilege, Intent::Make(_) | Intent::Change | Intent::Grant | Intent::Refresh(_))
                if !is_superuser =>
            {
                self.except(error, intent, statement).await
            }
            // a superuser may do everything but what the schema's own functions refuse
            (Matter::Privilege, intent) if is_superuser => self.except(error, intent, statement).await,
            (matter, _) => Err(self.blame(matter, at())),
        }
    }

    /// Does what can be done of a statement that the schema makes impossible, and notes what cannot.
    async fn except(
        &mut self,
        error: &tokio_postgres::Error,
        intent: &Intent,
        statement: ScriptStatement<'_>,
    ) -> Result<(), Broken> {
        let session = self.target.session;
        let sql = statement.charset.text(statement.text);
        let reason = postgres::cause(error);
        let left_out = LeftOut { object: None, in_part: None, reason, sql };
        let object = match intent {
            Intent::Make(object) | Intent::Refresh(object) => object.clone(),
            _ => {
                self.leave_out(left_out);
                return Ok(());
            }
        };
        let left_out = LeftOut { object: Some(object.clone()), ..left_out };
        let left_out = match object.kind {
            ObjectKind::ForeignKey | ObjectKind::Check => {
                let body = statement.text.strip_suffix(b";").unwrap_or(statement.text);
                match session.run(&[body, b" NOT VALID;"].concat()).await {
                    Ok(()) => {
                        let sql = validation(&left_out.sql);
                        LeftOut { in_part: Some(NOT_VALID), sql, ..left_out }
                    }
                    Err(_) => left_out,
                }
            }
            ObjectKind::Table => match plain_table::make(session, self.target.expected, &object.name).await? {
                true => LeftOut { in_part: Some("made with its columns alone"), ..left_out },
                false => left_out,
            },
            ObjectKind::Function => match without_leakproof(statement.text) {
                Some(text) if session.run(&text).await.is_ok() => {
                    LeftOut { in_part: Some("made without LEAKPROOF"), ..left_out }
                }
                _ => left_out,
            },
            _ => left_out,
        };
        self.leave_out(left_out);
        Ok(())
    }

    fn judge_rows(&mut self, error: &tokio_postgres::Error, table: &str) -> Result<(), Broken> {
        let Some(failure) = failure(error) else { return Err(self.lost_connection(error)) };
        let at = || format!("the rows of {}: {}", text::one_line(table), postgres::cause(error));
        match judgement::of_rows(failure) {
            RowsFailure::Check if !self.state.all_off && self.target.loader.is_tolerant => {
                self.state.again = Some(self.copies);
                Ok(())
            }
            RowsFailure::NoTable if self.target.loader.is_tolerant => {
                self.state.lost.push(table.to_owned());
                Ok(())
            }
            RowsFailure::Check | RowsFailure::NoTable | RowsFailure::Matter(Matter::Bytes | Matter::Schema) => {
                Err(Broken::Backup(at()))
            }
            RowsFailure::Matter(matter) => Err(self.blame(matter, at())),
        }
    }

    /// Rows that found no table are missing, and nobody may take that for an exception.
    fn judge_lost(&self) -> Result<(), Broken> {
        let Some(table) = self.state.lost.first() else { return Ok(()) };
        let is_extension =
            |one: &&LeftOut| one.object.as_ref().is_some_and(|object| object.kind == ObjectKind::Extension);
        let count = text::count(self.state.lost.len(), "table");
        let table = text::one_line(table);
        match self.state.left_out.iter().find(is_extension) {
            Some(extension) => {
                let record = extension.record();
                let cause = format!(
                    "the rows of {count} ({table}) found no table, and {} ({})",
                    record.object, record.reason
                );
                Err(self.blame(Matter::Server(Lack::Installed), cause))
            }
            None => Err(Broken::Backup(format!("the rows of {count} ({table}) found no table"))),
        }
    }

    fn lost_connection(&self, error: &tokio_postgres::Error) -> Broken {
        self.blame(Matter::Connection, postgres::cause(error))
    }

    fn blame(&self, matter: Matter, cause: String) -> Broken {
        Broken::Other(Error::Server(ServerError::Loading { cause, blame: matter.blame(self.target.loader.server.role()) }))
    }
}

/// Takes constraints off that rows may break while they are loaded.
async fn take_off(target: Target<'_>, state: &mut Progress, which: Unsteady) -> Result<(), Error> {
    let Target { loader, scratch, expected, .. } = target;
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
pub(super) async fn take_all_off(target: Target<'_>, state: &mut Progress) -> Result<(), Error> {
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

/// What a constraint is whose rows break it.
const NOT_VALID: &str = "made as NOT VALID, because rows break it";

/// Whose matter it is that a statement failed, and what the server said.
pub(super) fn judge_alone(error: &tokio_postgres::Error, intent: &Intent) -> (Matter, String) {
    let matter = failure(error).map_or(Matter::Connection, |failure| judgement::of_statement(intent, failure));
    (matter, postgres::cause(error))
}

fn failure(error: &tokio_postgres::Error) -> Option<Failure<'_>> {
    let answer = error.as_db_error()?;
    Some(Failure { state: answer.code().code(), routine: answer.routine() })
}

/// The statement that looks at the rows of a constraint that was added as not valid.
fn validation(add: &str) -> String {
    let (alter, rest) = add.split_once("ADD CONSTRAINT").unwrap_or((add, ""));
    let rest = rest.trim_start();
    let name = match rest.strip_prefix('"') {
        Some(quoted) => {
            let end = quoted.replace("\"\"", "xx").find('"').unwrap_or(quoted.len());
            &rest[..(end + 2).min(rest.len())]
        }
        None => rest.split_whitespace().next().unwrap_or_default(),
    };
    format!("{} VALIDATE CONSTRAINT {name};", alter.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A function's statement without that word, which only superusers may use; pg_dump writes it on the line behind `LANGUAGE`.
fn without_leakproof(text: &[u8]) -> Option<Vec<u8>> {
    let at = memchr::memmem::find(text, b" LEAKPROOF")?;
    let line = text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let is_head = text[line..].trim_ascii_start().starts_with(b"LANGUAGE");
    is_head.then(|| [&text[..at], &text[at + b" LEAKPROOF".len()..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constraint_that_is_not_valid_is_validated_by_its_own_name() {
        for (add, validate) in [
            ("ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES s.u(a);", "k"),
            ("ALTER TABLE s.t\n    ADD CONSTRAINT \"a \"\"b\" CHECK (true);", "\"a \"\"b\""),
        ] {
            let only = if add.contains("ONLY") { "ONLY " } else { "" };
            assert_eq!(validation(add), format!("ALTER TABLE {only}s.t VALIDATE CONSTRAINT {validate};"));
        }
    }

    #[test]
    fn only_the_head_of_a_function_loses_the_word_for_superusers() {
        let text = b"CREATE FUNCTION s.f() RETURNS int\n    LANGUAGE sql LEAKPROOF\n    AS $$ SELECT 1 $$;";
        assert_eq!(
            without_leakproof(text).unwrap(),
            b"CREATE FUNCTION s.f() RETURNS int\n    LANGUAGE sql\n    AS $$ SELECT 1 $$;"
        );
        assert_eq!(without_leakproof(b"CREATE FUNCTION s.f()\n LANGUAGE sql\n AS $$ -- \n x LEAKPROOF $$;"), None);
    }
}
