//! The sessions that load a database side by side. Each has what the dump has set so far, so that a statement comes to the
//! same on any of them.

use super::Broken;
use super::failures::judge_alone;
use super::judgement::Matter;
use crate::config::ServerRole;
use crate::dump_format::sql_lexer::Intent;
use crate::error::ServerError;
use crate::postgres::loading::LoadSession;
use futures_util::future::try_join_all;
use std::sync::Arc;

/// Sessions, and what the dump has set.
pub(super) struct Connections {
    server: ServerRole,
    /// The first one runs the statements of the dump in their order.
    sessions: Vec<(Arc<LoadSession>, usize)>,
    /// No more are wanted, or no more were given.
    is_complete: bool,
    /// Each setting's last statement, and when it was run.
    settings: Vec<SetStatement>,
    /// Statements that set something so far.
    set: usize,
}

/// A setting of the dump.
struct SetStatement {
    name: String,
    statement: Vec<u8>,
    number: usize,
}

impl Connections {
    pub(super) fn new(first: LoadSession, server: ServerRole) -> Self {
        Self { server, sessions: vec![(Arc::new(first), 0)], is_complete: false, settings: Vec::new(), set: 0 }
    }

    /// The session of the dump's own order.
    pub(super) fn first(&self) -> Arc<LoadSession> {
        self.sessions[0].0.clone()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = Arc<LoadSession>> {
        self.sessions.iter().map(|(session, _)| session.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }

    /// True once those beside the first were asked for.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Takes those that were opened beside the first one.
    pub(super) fn add(&mut self, more: Vec<LoadSession>) {
        self.sessions.extend(more.into_iter().map(|session| (Arc::new(session), 0)));
        self.is_complete = true;
    }

    /// Notes what the first session has set.
    pub(super) fn note(&mut self, statement: &[u8]) {
        let Some(name) = setting(statement) else { return };
        self.set += 1;
        self.settings.retain(|one| one.name != name);
        self.settings.push(SetStatement { name, statement: statement.to_vec(), number: self.set });
        self.sessions[0].1 = self.set;
    }

    /// True for a statement that sets what is set already.
    pub(super) fn has(&self, statement: &[u8]) -> bool {
        self.settings.iter().any(|one| one.statement == statement)
    }

    /// Sets on every session what the dump has set since it was last asked.
    pub(super) async fn catch_up(&mut self) -> Result<(), Broken> {
        let (settings, set, server) = (&self.settings, self.set, self.server);
        let all = self.sessions.iter_mut().map(|(session, knows)| async move {
            for one in settings.iter().filter(|one| one.number > *knows) {
                session.run(&one.statement).await.map_err(|error| refused(&error, server))?;
            }
            *knows = set;
            Ok::<_, Broken>(())
        });
        try_join_all(all).await.map(drop)
    }
}

fn refused(error: &tokio_postgres::Error, server: ServerRole) -> Broken {
    let (matter, cause) = judge_alone(error, &Intent::Session);
    // the first session has taken it
    let matter = if matter == Matter::Bytes { Matter::Connection } else { matter };
    ServerError::Loading { cause, blame: matter.blame(server) }.into()
}

/// What a statement sets; none for one that sets nothing for those behind it.
fn setting(statement: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&statement[..statement.len().min(200)]).to_ascii_lowercase();
    let mut words = text.split_whitespace();
    match (words.next()?, words.next()?) {
        ("set" | "reset", "session") => Some("session authorization".to_owned()),
        ("set", name) => Some(name.to_owned()),
        ("select", call) if call.starts_with("pg_catalog.set_config(") => {
            Some(call.split('\'').nth(1).unwrap_or(call).to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_sets_something_is_known_by_what_it_sets() {
        for (statement, name) in [
            ("SET default_tablespace = '';", Some("default_tablespace")),
            ("SELECT pg_catalog.set_config('search_path', '', false);", Some("search_path")),
            ("SET SESSION AUTHORIZATION 'app';", Some("session authorization")),
            ("RESET SESSION AUTHORIZATION;", Some("session authorization")),
            ("SELECT pg_catalog.setval('public.s', 3, true);", None),
            ("BEGIN;", None),
        ] {
            assert_eq!(setting(statement.as_bytes()).as_deref(), name, "{statement}");
        }
    }
}
