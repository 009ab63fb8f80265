//! What restored databases do not hold, because PostgreSQL cannot load it from its own dump.

use super::databases::Fresh;
use super::plan::{DatabaseException, Done, Plan};
use super::{Consent, Restorer};
use crate::error::{BackupError, Error};
use crate::loader::Loader;
use crate::loader::exception::Omission;
use crate::record::manifest::Exception;
use crate::text;

impl Restorer<'_> {
    /// Says what the databases do not hold. A new one is kept all the same; where it would replace one that holds something,
    /// a person is asked.
    pub(super) async fn accept_exceptions(
        &self,
        loader: &Loader<'_>,
        filled: &[Fresh<'_>],
        done: &mut Done,
        consent: Consent<'_>,
    ) -> Result<(), Error> {
        let mut plan = Plan::default();
        for one in filled {
            let exceptions: Vec<Exception> = one.filled.left_out.iter().map(Omission::record).collect();
            let name = text::one_line(&one.wanted.name);
            for Exception { object, reason, sql } in &exceptions {
                plan.say("exception", format!("{name}: {object} ({reason})"));
                done.lines.push(format!("exception: {name}: {object} ({reason}); SQL to run later: {sql}"));
            }
            if !exceptions.is_empty() && one.wanted.replaces() {
                plan.confirm = plan.confirm.take().or(Some(one.wanted.name.clone()));
            }
            let database = &one.wanted.name;
            done.exceptions.extend(
                exceptions.into_iter().map(|exception| DatabaseException { database: database.clone(), exception }),
            );
        }
        if plan.lines.is_empty() {
            return Ok(());
        }
        if self.request.strict {
            let all = text::count(plan.lines.len(), "exception");
            let first = plan.lines.first().map(|(_, line)| line.clone()).unwrap_or_default();
            let failures = format!("{all}, which --strict does not allow: {first}; nothing was replaced");
            return Err(Error::Backup(BackupError::NotRestored { id: loader.manifest().id.clone(), failures }));
        }
        plan.say("rows", "every row came back".to_owned());
        if plan.confirm.is_some() { consent(&plan).await } else { Ok(()) }
    }
}
