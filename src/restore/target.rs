//! What a restore is about to do to a server: said before anything is done, or refused.

use super::Restorer;
use super::databases::ChosenArchive;
use super::plan::{Plan, RestoreContent};
use crate::dump_format::sql_lexer::name_after;
use crate::error::{Error, ServerError, SettingsError};
use crate::postgres::scratch::ScratchServer;
use crate::postgres::target::{self, ExistingDatabase};
use crate::record::facts::reader::DatabaseFacts;
use crate::record::facts::{DatabaseHead, Kind};
use crate::text;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

impl Restorer<'_> {
    /// Refuses a target that must not be replaced; the answer is what it will be called, if it is replaced now.
    pub(super) async fn check_target(
        &self,
        server: &ScratchServer,
        existing: Option<&ExistingDatabase>,
        taken: &BTreeSet<String>,
    ) -> Result<Option<String>, Error> {
        let Some(target) = existing else { return Ok(None) };
        let name = text::one_line(&target.name);
        if ["template0", "template1"].contains(&target.name.as_str()) {
            return Err(Error::Settings(SettingsError::Usage(format!(
                "{name} belongs to the server and is not replaced"
            ))));
        }
        if !target.is_empty && !self.request.replace {
            return Err(Error::Settings(SettingsError::Usage(format!(
                "the database {name} exists and is not empty; use --replace to keep it under another name and put the \
                 restored one in its place, or give --into another name"
            ))));
        }
        if let Some(obstacle) = target.obstacles.first() {
            return Err(Error::Server(ServerError::NotReplaced(format!(
                "the database {name} cannot be replaced: {obstacle}"
            ))));
        }
        if !target.sessions.is_empty() && !self.request.disconnect {
            let count = text::count(target.sessions.len(), "session");
            let all = target.sessions.iter().take(10).map(|session| text::one_line(session).into_owned());
            return Err(Error::Server(ServerError::NotReplaced(format!(
                "the database {name} is in use: {count} ({}); \
                 end them, or pass --disconnect to end them at the moment of the swap",
                all.collect::<Vec<_>>().join("; ")
            ))));
        }
        let time = (self.now)().format("%Y%m%d_%H%M%S").to_string();
        let there = self.shutdown.guard(server.databases()).await??;
        let is_taken = |name: &str| taken.contains(name) || there.contains(name);
        Ok(Some(target::name_before(&target.name, &time, is_taken)))
    }

    pub(super) fn say_what(&self, expected: &DatabaseHead, plan: &mut Plan) {
        let totals = &expected.totals;
        let all = format!(
            "{} and {} of {}",
            text::count(totals.tables, "table"),
            text::count(totals.rows, "row"),
            text::one_line(&expected.name)
        );
        let what = match self.request.content {
            RestoreContent::Schema => format!("the objects of {}, without rows", text::one_line(&expected.name)),
            _ if !self.request.tables.is_empty() => {
                format!(
                    "every object of {}, and only the rows of {}",
                    text::one_line(&expected.name),
                    self.request.tables.join(", ")
                )
            }
            _ => all,
        };
        plan.say("restore", what);
        let owners = if self.request.no_owner { "; owners and privileges are left out" } else { "" };
        let checks = if self.request.skip_checks {
            "the SHA-256 alone; what is restored is not compared"
        } else {
            "the SHA-256, and everything that is restored"
        };
        plan.say("compare", format!("{checks}{owners}"));
    }

    /// Refuses a server that lacks roles or extensions, before anything is done.
    pub(super) async fn check_roles(
        &self,
        server: &ScratchServer,
        archives: &[ChosenArchive<'_>],
        globals: bool,
    ) -> Result<(), Error> {
        let wanted = || archives.iter().flat_map(|archive| &archive.databases).map(|wanted| wanted.expected);
        if !self.request.no_owner && !globals {
            let needed: BTreeSet<String> = wanted().flat_map(|one| crate::loader::roles_of(&one)).collect();
            let present = self.shutdown.guard(server.roles()).await??;
            let lacking: Vec<&str> =
                needed.iter().filter(|role| !present.contains(*role)).map(String::as_str).collect();
            if !lacking.is_empty() {
                return Err(Error::Server(ServerError::Lacking(format!(
                    "the server lacks {} {}; --globals creates them from the same backup run, --no-owner restores \
                     without owners and privileges",
                    if lacking.len() == 1 { "the role" } else { "the roles" },
                    text::one_line(&lacking.join(", "))
                ))));
            }
        }
        let (policy_roles, extensions) = names_in(wanted())?;
        if self.request.no_owner {
            let present = self.shutdown.guard(server.roles()).await??;
            let in_rows: BTreeSet<&str> =
                wanted().flat_map(|one| one.head.roles_in_rows.iter().map(String::as_str)).collect();
            let lacking: Vec<&str> = in_rows.into_iter().filter(|role| !present.contains(*role)).collect();
            if !lacking.is_empty() && !globals && self.request.content != RestoreContent::Schema {
                let lacking = text::one_line(&lacking.join(", ")).into_owned();
                return Err(Error::Server(ServerError::Lacking(format!(
                    "the server lacks {lacking}, which rows name in columns of type regrole; --globals creates roles \
                     from the same backup run, or use CREATE ROLE"
                ))));
            }
            let lacking: Vec<String> = policy_roles.into_iter().filter(|role| !present.contains(role)).collect();
            if !lacking.is_empty() {
                let lacking = text::one_line(&lacking.join(", ")).into_owned();
                return Err(Error::Server(ServerError::Lacking(format!(
                    "the server lacks {lacking}, which policies name; --globals creates roles from the same backup run"
                ))));
            }
        }
        let present = self.shutdown.guard(server.extensions()).await??;
        let lacking: Vec<String> = extensions.into_iter().filter(|name| !present.contains(name)).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Error::Server(ServerError::Lacking(format!(
            "the server lacks the files of {}; install them there first",
            text::one_line(&lacking.join(", "))
        ))))
    }
}

/// Roles that policies name, and extensions.
fn names_in<'f>(
    databases: impl Iterator<Item = DatabaseFacts<'f>>,
) -> Result<(BTreeSet<String>, BTreeSet<String>), Error> {
    let (mut roles, mut extensions) = (BTreeSet::new(), BTreeSet::new());
    for database in databases {
        let take = |kind, name: String, properties: Map<String, Value>| match kind {
            Kind::Policy => {
                let named = properties.get("roles").and_then(Value::as_array).into_iter().flatten();
                let named = named.filter_map(Value::as_str).filter(|role| *role != "public");
                roles.extend(named.map(str::to_owned));
            }
            Kind::Extension => extensions.extend(name_after(name.as_bytes(), &[])),
            _ => {}
        };
        database.each_object(take)?;
    }
    Ok((roles, extensions))
}

/// What a plan says of a database that makes way. The time in its new name is that of the restore itself.
pub(super) fn describe_replaced(name: &str, existing: Option<&ExistingDatabase>) -> String {
    let kept = target::name_before(name, "<time>", |_| false);
    let name = text::one_line(name);
    if existing.is_some_and(|target| target.is_empty) {
        return format!("{name}, which is empty");
    }
    let size = existing.and_then(|target| target.bytes).map(|bytes| format!(" ({})", text::size(bytes)));
    let sessions = existing.map(|target| target.sessions.len()).filter(|count| *count > 0);
    let sessions = sessions.map(|count| format!("; {} will be ended", text::count(count, "session")));
    format!(
        "{name}{}, which is kept as {}{}",
        size.unwrap_or_default(),
        text::one_line(&kept),
        sessions.unwrap_or_default()
    )
}
