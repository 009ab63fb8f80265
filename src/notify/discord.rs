//! Discord: one embed for each run.

mod embed;

use crate::config::Secret;
use crate::report::Report;
use serde_json::Value;
use std::time::Duration;
use tracing::debug;

/// One attempt may take this long.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Attempts when Discord is busy or broken.
const ATTEMPTS: u32 = 4;

/// Why a notice was not delivered. Never holds the URL.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiscordError {
    #[error("{0}")]
    Http(String),
    #[error("the webhook answered {0}")]
    Status(reqwest::StatusCode),
}

impl From<reqwest::Error> for DiscordError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::Http(format!("{error}{cause}"))
    }
}

fn client() -> Result<reqwest::Client, DiscordError> {
    Ok(reqwest::Client::builder().timeout(ATTEMPT).redirect(reqwest::redirect::Policy::none()).build()?)
}

/// Posts the report, obeying 429 and trying again when the other side is broken.
pub(super) async fn send(url: &Secret, report: &Report) -> Result<(), DiscordError> {
    let client = client()?;
    let body = embed::message(report);
    let mut attempt = 1;
    loop {
        let sent = client.post(url.expose()).query(&[("wait", "true")]).json(&body).send().await;
        let (error, pause) = match sent {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) if answer.status() == reqwest::StatusCode::TOO_MANY_REQUESTS => {
                let status = answer.status();
                (DiscordError::Status(status), retry_after(answer).await)
            }
            Ok(answer) if answer.status().is_server_error() => {
                (DiscordError::Status(answer.status()), Duration::from_secs(1))
            }
            Ok(answer) => return Err(DiscordError::Status(answer.status())),
            Err(error) => (error.into(), Duration::from_secs(1)),
        };
        if attempt == ATTEMPTS {
            return Err(error);
        }
        debug!("telling Discord: {error}, trying again in {:.1} s", pause.as_secs_f64());
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

/// Seconds that Discord asks us to wait, from the body or the header.
async fn retry_after(answer: reqwest::Response) -> Duration {
    let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let body = answer.json::<Value>().await.ok().and_then(|body| body.get("retry_after")?.as_f64());
    let seconds = body.or(header).filter(|seconds| seconds.is_finite()).unwrap_or(1.0);
    Duration::from_secs_f64(seconds.clamp(0.1, 3600.0))
}

/// A webhook answers GET with its own description.
pub(super) async fn check(url: &Secret) -> Result<(), DiscordError> {
    let answer = client()?.get(url.expose()).send().await?;
    if answer.status().is_success() { Ok(()) } else { Err(DiscordError::Status(answer.status())) }
}
