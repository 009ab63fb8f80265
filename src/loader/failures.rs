//! What becomes of the statements and rows that a server does not take.

use super::exception::{Omission, first_words};
use super::execution::Execution;
use super::judgement::{self, Matter, RowsFailure, ServerAnswer, ServerLack};
use super::{Broken, plain_table};
use crate::dump_format::script::ScriptStatement;
use crate::dump_format::sql_lexer::{DumpedObject, Intent, ObjectKind};
use crate::error::{Error, ServerError};
use crate::postgres;
use crate::text;
use tokio_postgres::error::ErrorPosition;
use tracing::warn;

impl Execution<'_> {
    pub(super) fn leave_out(&mut self, one: Omission) {
        if one.object.is_some() {
            let record = one.record();
            warn!("{}: {} ({})", self.target.expected.name, record.object, record.reason);
        }
        self.state.left_out.push(one);
    }

    pub(super) async fn judge(
        &mut self,
        error: &tokio_postgres::Error,
        intent: &Intent,
        statement: ScriptStatement<'_>,
    ) -> Result<(), Broken> {
        let Some(failure) = failure(error) else { return Err(self.lost_connection(error)) };
        let matter = judgement::of_statement(intent, failure);
        let at = || {
            let text = statement.charset.text(&statement.text[..statement.text.len().min(SHOWN)]);
            format!("line {} ({}): {}", statement.line, first_words(&text), postgres::cause(error))
        };
        if self.state.in_transaction {
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
            // what was never made cannot be filled, unless it is left out already
            (Matter::Schema, Intent::Refresh(view))
                if failure.state == "42P01" && failure.is_in_statement && !self.is_left_out(view) =>
            {
                Err(Broken::Backup(at()))
            }
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

    fn is_left_out(&self, object: &DumpedObject) -> bool {
        self.state.left_out.iter().any(|one| one.object.as_ref() == Some(object))
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
        let left_out = Omission { object: None, in_part: None, reason, sql };
        let object = match intent {
            Intent::Make(object) | Intent::Refresh(object) => object.clone(),
            _ => {
                self.leave_out(left_out);
                return Ok(());
            }
        };
        let left_out = Omission { object: Some(object.clone()), ..left_out };
        let left_out = match object.kind {
            ObjectKind::ForeignKey | ObjectKind::Check => {
                let body = statement.text.strip_suffix(b";").unwrap_or(statement.text);
                match session.run(&[body, b" NOT VALID;"].concat()).await {
                    Ok(()) => {
                        let sql = validation(&left_out.sql);
                        Omission { in_part: Some(NOT_VALID), sql, ..left_out }
                    }
                    Err(error) => {
                        self.excusable(&error, &object)?;
                        left_out
                    }
                }
            }
            ObjectKind::Table => match plain_table::make(session, self.target.expected, &object.name).await? {
                true => Omission { in_part: Some("created with only its columns"), ..left_out },
                false => left_out,
            },
            ObjectKind::Function => match without_leakproof(statement.text) {
                Some(text) if session.run(&text).await.is_ok() => {
                    Omission { in_part: Some("created without LEAKPROOF"), ..left_out }
                }
                _ => left_out,
            },
            _ => left_out,
        };
        self.leave_out(left_out);
        Ok(())
    }

    /// Only what the schema makes impossible is left out; whatever else was in the way is said.
    pub(super) fn excusable(&self, error: &tokio_postgres::Error, object: &DumpedObject) -> Result<(), Broken> {
        match judge_alone(error, &Intent::Make(object.clone())).0 {
            Matter::Schema => Ok(()),
            _ => Err(self.blame_statement(error, &Intent::Make(object.clone()))),
        }
    }

    /// What is wrong that a statement of ours failed.
    pub(super) fn blame_statement(&self, error: &tokio_postgres::Error, intent: &Intent) -> Broken {
        let (matter, cause) = judge_alone(error, intent);
        self.blame(matter, cause)
    }

    pub(super) fn judge_rows(&mut self, error: &tokio_postgres::Error, table: &str) -> Result<(), Broken> {
        let Some(failure) = failure(error) else { return Err(self.lost_connection(error)) };
        let at = || format!("the rows of {}: {}", text::one_line(table), postgres::cause(error));
        match judgement::of_rows(failure) {
            RowsFailure::Check if !self.state.all_off => {
                self.state.again = true;
                Ok(())
            }
            RowsFailure::NoTable => {
                self.state.lost.insert(table.to_owned());
                Ok(())
            }
            RowsFailure::Check | RowsFailure::Matter(Matter::Bytes | Matter::Schema) => Err(Broken::Backup(at())),
            RowsFailure::Matter(matter) => Err(self.blame(matter, at())),
        }
    }

    /// Rows that found no table are missing, and nobody may take that for an exception.
    pub(super) fn judge_lost(&self) -> Result<(), Broken> {
        let Some(table) = self.state.lost.first() else { return Ok(()) };
        let is_extension =
            |one: &&Omission| one.object.as_ref().is_some_and(|object| object.kind == ObjectKind::Extension);
        let count = text::count(self.state.lost.len(), "table");
        let table = text::one_line(table);
        let left_out = self.state.left_out.iter().find(is_extension).map(|extension| {
            let record = extension.record();
            format!("{} ({})", record.object, record.reason)
        });
        let rows = format!("the rows of {count} ({table}) have no table to go into");
        match left_out.or_else(|| self.state.lacking.first().cloned()) {
            Some(why) => Err(self.blame(Matter::Server(ServerLack::Installed), format!("{rows}; {why}"))),
            None => Err(Broken::Backup(rows)),
        }
    }

    pub(super) fn lost_connection(&self, error: &tokio_postgres::Error) -> Broken {
        self.blame(Matter::Connection, postgres::cause(error))
    }

    fn blame(&self, matter: Matter, cause: String) -> Broken {
        Broken::Other(Error::Server(ServerError::Loading {
            cause,
            blame: matter.blame(self.target.loader.server.role()),
        }))
    }
}

/// Bytes of a statement whose first words are shown.
const SHOWN: usize = 400;

/// What a constraint is whose rows break it.
pub(super) const NOT_VALID: &str = "created as NOT VALID, because rows violate it";

/// Whose matter it is that a statement failed, and what the server said.
pub(super) fn judge_alone(error: &tokio_postgres::Error, intent: &Intent) -> (Matter, String) {
    let matter = failure(error).map_or(Matter::Connection, |failure| judgement::of_statement(intent, failure));
    (matter, postgres::cause(error))
}

fn failure(error: &tokio_postgres::Error) -> Option<ServerAnswer<'_>> {
    let answer = error.as_db_error()?;
    // what a function or a script has done is said with where that was
    let is_in_statement = match answer.position() {
        Some(position) => matches!(position, ErrorPosition::Original(_)),
        None => answer.where_().is_none(),
    };
    Some(ServerAnswer { state: answer.code().code(), routine: answer.routine(), is_in_statement })
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
