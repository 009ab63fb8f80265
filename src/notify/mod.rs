//! Telling people. A notice that fails is logged and changes nothing else.

mod discord;

use crate::config::Config;
use crate::report::{Outcome, Report};
use crate::shutdown::Shutdown;
use std::time::Duration;
use tracing::{info, warn};

/// How long people may be kept waiting for a notice.
const PATIENCE: Duration = Duration::from_secs(45);
/// The same, counted from a signal on: the last thing of a run that must be over within 18 s.
const HASTE: Duration = Duration::from_secs(16);

/// Sends the run's notices, in bounded time.
pub async fn send(config: &Config, report: &Report, shutdown: &Shutdown) {
    let Some(url) = &config.discord.url else { return };
    let wanted = match report.outcome {
        Outcome::Success => config.discord.on_success,
        Outcome::Partial | Outcome::Failure => config.discord.on_failure,
    };
    if !wanted {
        return;
    }
    match shutdown.finish(PATIENCE, HASTE, discord::send(url, report)).await {
        Some(Ok(())) => info!("told Discord"),
        Some(Err(error)) => warn!("telling Discord: {error}; look at DISCORD_WEBHOOK_URL"),
        None => warn!("telling Discord: no answer in time; look at DISCORD_WEBHOOK_URL"),
    }
}

/// Asks whether the webhook is there, without posting anything.
pub async fn check(config: &Config) -> Option<Result<(), String>> {
    let url = config.discord.url.as_ref()?;
    Some(discord::check(url).await.map_err(|error| error.to_string()))
}
