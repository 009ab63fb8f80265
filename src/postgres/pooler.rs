//! Is there a pooler that lends one server session to many clients in turn?
//!
//! A dump cannot go through one: its settings would stay with sessions that somebody else gets next, its lock and its
//! snapshot would be another client's. So before anything is set, two sessions are asked which process of the server
//! answers them. Sessions of their own keep theirs, and never share one.

use super::startup::{ConnectError, SessionKind, Unprepared, reach};
use crate::config::Source;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::{Error, SimpleQueryMessage};

/// How often two sessions are asked. With others about, a pooler may give each the same process again by chance.
const ROUNDS: usize = 3;
/// The same where the startup options did not arrive: something is in between.
const ROUNDS_IN_DOUBT: usize = 50;
/// Whoever waits so long for an answer waits for a session that somebody else has.
const PATIENCE: Duration = Duration::from_secs(3);

/// An error where that session is shared with others.
pub(super) async fn refuse(source: &Source, first: &Unprepared) -> Result<(), ConnectError> {
    // a server that has no room for a second one is looked at no further
    if let Ok(second) = reach(&source.trying_once(), SessionKind::of("backup probe")).await
        && are_shared(first, &second).await
    {
        return Err(ConnectError::pooled(source, "its sessions are shared among clients, transaction by transaction"));
    }
    Ok(())
}

/// True when one process answers both, or another one than before.
async fn are_shared(first: &Unprepared, second: &Unprepared) -> bool {
    let rounds = if first.has_options().await { ROUNDS } else { ROUNDS_IN_DOUBT };
    let mut known = None;
    for _ in 0..rounds {
        let Some(Ok(one)) = asked(first, "SELECT pg_catalog.pg_backend_pid()").await else { return known.is_some() };
        // held until the first was asked again
        let other = match asked(second, "BEGIN; SELECT pg_catalog.pg_backend_pid()").await {
            Some(Ok(other)) => other,
            Some(Err(error)) => return is_statement_pooling(&error),
            // one session at a time, and the first has it
            None => return false,
        };
        let again = asked(first, "SELECT pg_catalog.pg_backend_pid()").await;
        let _ = asked(second, "ROLLBACK").await;
        let is_same = again.is_some_and(|again| again.is_ok_and(|again| again == one));
        if one == other || !is_same || known.as_ref().is_some_and(|known| *known != one) {
            return true;
        }
        known = Some(one);
    }
    false
}

/// What the server answers to statements that give one value; none when nobody answers in time. Nothing is prepared
/// there, which poolers may not know.
async fn asked(session: &Unprepared, statements: &str) -> Option<Result<String, Error>> {
    let answers = timeout(PATIENCE, session.simple_query(statements)).await.ok()?;
    let value = |answers: Vec<SimpleQueryMessage>| {
        answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    };
    Some(answers.map(|answers| value(answers).unwrap_or_default()))
}

/// No transactions at all: each statement may be another session's.
fn is_statement_pooling(error: &Error) -> bool {
    error.as_db_error().is_some_and(|answer| answer.message().contains("pooling"))
}
