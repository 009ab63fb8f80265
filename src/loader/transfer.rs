//! A dump of some tables into a database that is in use: in one transaction, all of it or nothing.

use super::Broken;
use super::failures::judge_alone;
use super::judgement::Matter;
use crate::config::ServerRole;
use crate::dump_format::script::{LeaveOut, Script, Step};
use crate::dump_format::sql_lexer::Intent;
use crate::error::ServerError;
use crate::postgres::loading::{LoadSession, RowsIn};

/// Takes the dump.
pub(crate) struct Transfer<'s> {
    session: &'s LoadSession,
    server: ServerRole,
    script: Script,
    rows: Option<RowsIn<'s>>,
}

impl<'s> Transfer<'s> {
    pub(crate) async fn begin(session: &'s LoadSession, server: ServerRole) -> Result<Self, Broken> {
        super::run_alone(session, "BEGIN", server).await?;
        Ok(Self { session, server, script: Script::new(LeaveOut::default()), rows: None })
    }

    /// Takes the next bytes of the dump.
    pub(crate) async fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let Self { session, server, script, rows } = self;
        let mut input = bytes;
        while let Some(step) = script.next(&mut input)? {
            let judge = |error, intent: &Intent, line| {
                let (matter, cause) = judge_alone(&error, intent);
                let cause = format!("line {line}: {cause}");
                match matter {
                    Matter::Bytes | Matter::Schema => Broken::Backup(cause),
                    matter => ServerError::Loading { cause, blame: matter.blame(*server) }.into(),
                }
            };
            match step {
                Step::Statement(one) => {
                    let intent = Intent::of(one.text, one.charset);
                    session.run(one.text).await.map_err(|error| judge(error, &intent, one.line))?;
                }
                Step::Copy { statement, .. } => {
                    let begun = session.copy(statement.text).await;
                    *rows = Some(begun.map_err(|error| judge(error, &Intent::Data, statement.line))?);
                }
                Step::Row { bytes, ends } => {
                    if let Some(rows) = rows {
                        rows.write(bytes, ends).await.map_err(|error| judge(error, &Intent::Data, 0))?;
                    }
                }
                Step::RowsEnd => {
                    if let Some(rows) = rows.take() {
                        rows.finish().await.map_err(|error| judge(error, &Intent::Data, 0))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Keeps everything, once the dump is at its end.
    pub(crate) async fn commit(self) -> Result<(), Broken> {
        self.script.finish()?;
        Ok(super::run_alone(self.session, "COMMIT", self.server).await?)
    }
}
