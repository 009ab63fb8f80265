//! Telling people. A notice that fails is logged and changes nothing else.

mod discord;

use crate::config::Config;
use crate::report::{Outcome, Report};
use std::time::Duration;
use tracing::{info, warn};

/// Sends the run's notices within `budget`.
pub async fn send(config: &Config, report: &Report, budget: Duration) {
    let Some(url) = &config.discord.url else { return };
    let wanted = match report.outcome {
        Outcome::Success => config.discord.on_success,
        Outcome::Partial | Outcome::Failure => config.discord.on_failure,
    };
    if !wanted {
        return;
    }
    match tokio::time::timeout(budget, discord::send(url, report)).await {
        Ok(Ok(())) => info!("told Discord"),
        Ok(Err(error)) => warn!("telling Discord: {error}; look at DISCORD_WEBHOOK_URL"),
        Err(_) => warn!("telling Discord: no answer within {} s", budget.as_secs()),
    }
}

/// Asks whether the webhook is there, without posting anything.
pub async fn check(config: &Config) -> Option<Result<(), String>> {
    let url = config.discord.url.as_ref()?;
    Some(discord::check(url).await.map_err(|error| error.to_string()))
}
