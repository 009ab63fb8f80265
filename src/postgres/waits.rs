//! What a session of the server waits for, said while it waits.

use super::connection::connect;
use crate::config::Source;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::types::Type;

/// How long the server may take to say it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs `work`, and tells of it each time that it has lasted another `slow`.
pub async fn telling<T>(work: impl Future<Output = T>, slow: Duration, tell: impl AsyncFn()) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            output = &mut work => return output,
            () = tokio::time::sleep(slow) => {}
        }
        // the work goes on while it is told of
        tokio::select! {
            output = &mut work => return output,
            () = tell() => {}
        }
    }
}

/// What the session of that process waits for, in a few words.
pub(super) async fn reason(server: &Source, pid: i32) -> String {
    let question = format!("{WAITS} WHERE a.pid = $1");
    one(server, &question, &pid, Type::INT4).await
}

/// The same of a session of these names in a database; of one that is at work rather than of one that is not.
pub async fn reason_of(server: &Source, applications: &[&str]) -> String {
    let question = format!(
        "{WAITS} WHERE a.application_name = ANY ($1) AND a.datname = pg_catalog.current_database()
         ORDER BY a.state = 'active' DESC"
    );
    one(server, &question, &applications, Type::TEXT_ARRAY).await
}

const WAITS: &str = "
    SELECT coalesce(a.state, 'unknown'), a.wait_event_type, a.wait_event, pg_catalog.pg_blocking_pids(a.pid)::text,
           coalesce(pg_catalog.left(a.query, 200), '')
    FROM pg_catalog.pg_stat_activity a";

async fn one(server: &Source, question: &str, value: &(dyn tokio_postgres::types::ToSql + Sync), kind: Type) -> String {
    let asked = async {
        let session = connect(&server.trying_once(), "backup waits").await.map_err(|error| error.to_string())?;
        session.query_typed(question, &[(value, kind)]).await.map_err(|error| super::cause(&error))
    };
    let rows = match timeout(PATIENCE, asked).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(cause)) => return format!("the server does not say why ({cause})"),
        Err(_) => return "the server did not say why within 5 s".to_owned(),
    };
    let Some(row) = rows.first() else { return "its session on the server has ended".to_owned() };
    let (state, kind, event): (String, Option<String>, Option<String>) = (row.get(0), row.get(1), row.get(2));
    let (blockers, query): (String, String) = (row.get(3), row.get(4));
    let wait = match (kind, event) {
        (Some(kind), Some(event)) => format!("its session on the server is {state} and waits for {kind} {event}"),
        _ => format!("its session on the server is {state}, and no lock or I/O keeps it waiting"),
    };
    let blockers = if blockers == "{}" { String::new() } else { format!(", blocked by the processes {blockers}") };
    let query = if query.is_empty() { String::new() } else { format!(", in: {}", crate::text::one_line(&query)) };
    format!("{wait}{blockers}{query}")
}
