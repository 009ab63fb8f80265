//! How runs on other machines see that an upload lives.

use crate::config::Config;
use crate::error::Error;
use crate::postgres::connection::{self, Connection};
use crate::postgres::{self, catalog, lock};
use crate::repository::Repository;
use chrono::{DateTime, Utc};
use tracing::warn;

/// A session on the source's server, by which runs there see that this upload lives, and the sweep of what dead ones
/// left in the store. A server that cannot be reached keeps no backup from being sent.
pub async fn announce(
    config: &Config,
    run_id: &str,
    store: &Repository,
    now: DateTime<Utc>,
) -> Result<Option<Connection>, Error> {
    let mut source = config.source.clone();
    source.retry.attempts = 1;
    let session = match connection::connect(&source, &postgres::application(run_id)).await {
        Ok(session) => Some(session),
        Err(error) => {
            warn!(
                "{error}; this upload continues without a session on the server, \
                 so a run that starts before it ends may take it for dead"
            );
            None
        }
    };
    if let Some(session) = &session {
        store.learn_server(catalog::system_identifier(session).await.as_deref());
    }
    let leftovers = store.leftovers().await?;
    let living = match &session {
        Some(session) => lock::living_runs(session).await,
        None => None,
    };
    store.sweep(&leftovers, living.as_deref(), now).await;
    Ok(session)
}
