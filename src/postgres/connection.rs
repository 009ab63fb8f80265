//! Our own connections: to sessions that no timeout of the server's ends, and that nobody shares with us.

use super::pooler;
use super::startup::{SESSION, SessionKind, Unprepared, WHERE_OPTIONS, explain, reach};
use super::wire::SqlText;
use crate::config::Source;
use tokio_postgres::SimpleQueryMessage;

pub use super::startup::{ConnectError, Connection, ServerVersion};

/// Connects to the source; transient failures are retried as `RETRY_COUNT` and `RETRY_DELAY` say.
///
/// `application` names the session in `pg_stat_activity`.
pub async fn connect(source: &Source, application: &str) -> Result<Connection, ConnectError> {
    connect_with(source, application, "").await
}

/// The same with `options` for the server, as `-c name=value`; they hold from the first moment of the session.
pub async fn connect_with(source: &Source, application: &str, options: &str) -> Result<Connection, ConnectError> {
    prepare(reach(source, SessionKind { options, ..SessionKind::of(application) }).await?, source).await
}

/// The same, to a session that reads rows: what pg_dump does not set either is as the server has it.
pub(super) async fn connect_for_rows(source: &Source, application: &str) -> Result<Connection, ConnectError> {
    let kind = SessionKind { unpinned: &["quote_all_identifiers"], ..SessionKind::of(application) };
    prepare(reach(source, kind).await?, source).await
}

/// The same, to a session whose SQL may have any bytes: it is handed to it as [`super::wire::as_text`] writes it.
pub(super) async fn connect_for_bytes(
    source: &Source,
    application: &str,
    options: &str,
) -> Result<Connection, ConnectError> {
    // scripts of extensions read the search_path that it would be reset to; the dump sets its own
    let kind = SessionKind { application, options, text: SqlText::Bytes, unpinned: &["search_path"] };
    prepare(reach(source, kind).await?, source).await
}

/// Connects to a server whose sessions are our own; the first session of a run is made by this.
pub async fn connect_directly(source: &Source, application: &str) -> Result<Connection, ConnectError> {
    let first = reach(source, SessionKind::of(application)).await?;
    pooler::refuse(source, &first).await?;
    prepare(first, source).await
}

/// What is set once the server's version is known: the first major that knows the parameter, its name and its value.
const LATER: &[(u32, &str, &str)] = &[
    (14, "idle_session_timeout", "0"),
    (17, "transaction_timeout", "0"),
    // compiling a question about the catalogue takes longer than answering it
    (11, "jit", "off"),
];

/// Ends every timeout that the server, the database or the role may have set, and pins how values are written.
///
/// The server's own keepalives make sure that the session of a machine that vanished, and the lock it holds, end
/// within minutes.
async fn prepare(unprepared: Unprepared, source: &Source) -> Result<Connection, ConnectError> {
    let connection = &unprepared.0;
    let explain = |error| explain(source, &error);
    let later = LATER.iter().filter(|(since, _, _)| connection.version().major >= *since);
    let later: Vec<String> =
        later.map(|(_, name, value)| format!("pg_catalog.set_config('{name}', '{value}', false)")).collect();
    let question = format!("SELECT {} {WHERE_OPTIONS}", later.join(", "));
    let answers = connection.simple_query(&question).await.map_err(explain)?;
    if !answers.iter().any(|answer| matches!(answer, SimpleQueryMessage::Row(_))) {
        // a pooler keeps the options to itself: what is set must not be in somebody else's session
        pooler::refuse(source, &unprepared).await?;
        let all = SESSION.iter().map(|(name, value)| format!("SET {name} = '{value}'"));
        let later = later.into_iter().map(|call| format!("SELECT {call}"));
        let statements: Vec<String> = all.chain(later).collect();
        connection.batch_execute(&statements.join("; ")).await.map_err(explain)?;
    }
    Ok(unprepared.0)
}
