//! Which server a source is: asked where nothing else has asked yet, because a name alone may be two servers'.

use crate::config::Config;
use crate::postgres::{catalog, connection};
use crate::repository::Repository;
use std::time::Duration;
use tracing::debug;

/// How long the server may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has the repositories know which server the source is. The answer is what databases the server has; none where it does
/// not answer, which is no reason not to look at its backups: then all of its name are taken for its own.
pub async fn identify(
    config: &Config,
    repositories: impl IntoIterator<Item = &Repository>,
) -> Option<Vec<catalog::Known>> {
    let source = config.source.trying_once();
    let asked = async {
        let connection = connection::connect(&source, "backup identity").await;
        let connection = connection.inspect_err(|error| debug!("which server the source is: {error}")).ok()?;
        let known = catalog::known(&connection).await.ok()?;
        Some((catalog::system_identifier(&connection).await, known))
    };
    let (server, known) = tokio::time::timeout(PATIENCE, asked).await.ok().flatten()?;
    repositories.into_iter().for_each(|repository| repository.learn_server(server.as_deref()));
    Some(known)
}
