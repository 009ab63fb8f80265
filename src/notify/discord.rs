//! Discord: one embed for each run, within Discord's limits.

use crate::config::Secret;
use crate::progress::human;
use crate::report::{Outcome, Report, human_duration};
use serde_json::{Value, json};
use std::time::Duration;
use tracing::debug;

/// Limits of an embed, from Discord's documentation, in characters.
const TITLE: usize = 256;
const DESCRIPTION: usize = 2000;
const FIELD: usize = 1024;
const FIELDS: usize = 25;
const TOTAL: usize = 6000;

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
    let body = embed(report);
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

/// The message. Mentions are switched off, whatever a database is called.
fn embed(report: &Report) -> Value {
    let (colour, word) = match report.outcome {
        Outcome::Success => (0x2e_cc71, "Backup done"),
        Outcome::Partial => (0xf1_c40f, "Backup partly done"),
        Outcome::Failure => (0xe7_4c3c, "Backup failed"),
    };
    let mut fields = Fields::default();
    if let Some(stored) = &report.backup {
        fields.add("Size", &format!("{}{}", human(stored.stored_bytes), change(report)), true);
    }
    fields.add("Duration", &human_duration(report.duration()), true);
    fields.add("Type", report.backup_type.as_str(), true);
    for place in &report.places {
        let name = if place.stored { "Location" } else { "Not stored" };
        fields.add(name, &format!("`{}`", plain(&place.location)), false);
    }
    if let Some(stored) = &report.backup {
        fields.add("SHA-256", &format!("`{}`", stored.sha256), false);
        fields.add("Verified", "no (no restore was tried)", true);
        fields.add("Pruned", &report.pruned.len().to_string(), true);
    }
    if let Some((count, bytes)) = report.kept {
        fields.add("Kept locally", &format!("{count} backups, {}", human(bytes)), true);
    }
    for failure in &report.failures {
        fields.add("Stage", failure.stage, true);
        fields.add("Cause", &failure.cause, false);
        if let Some(hint) = &failure.hint {
            fields.add("What to do", hint, false);
        }
        if let Some(stderr) = failure.stderr.as_deref().filter(|text| !text.is_empty()) {
            fields.add("Last lines", &code_block(stderr), false);
        }
    }
    if report.outcome == Outcome::Failure {
        let age = |previous: crate::report::Previous| {
            format!(
                "{} ago ({})",
                human_duration(report.finished - previous.started),
                previous.started.format("%F %T UTC")
            )
        };
        fields.add("Last good backup", &report.previous.map_or("none known".to_owned(), age), false);
    }
    let title = cut(&format!("{word}: {}", report.database), TITLE);
    let description = cut(&format!("Source {}, run {}", report.source, report.run_id), DESCRIPTION);
    let room = TOTAL - count(&title) - count(&description);
    json!({
        "allowed_mentions": { "parse": [] },
        "embeds": [{
            "title": title,
            "description": description,
            "color": colour,
            "timestamp": report.finished.to_rfc3339(),
            "fields": fields.within(room),
        }],
    })
}

/// Change against the previous backup, such as ` (+12 %)`.
fn change(report: &Report) -> String {
    let (Some(stored), Some(previous)) = (&report.backup, report.previous) else { return String::new() };
    if previous.stored_bytes == 0 {
        return String::new();
    }
    #[allow(clippy::cast_precision_loss)]
    let percent = (stored.stored_bytes as f64 / previous.stored_bytes as f64 - 1.0) * 100.0;
    format!(" ({percent:+.0} % against the previous)")
}

#[derive(Default)]
struct Fields(Vec<(String, String, bool)>);

impl Fields {
    fn add(&mut self, name: &str, value: &str, inline: bool) {
        // an empty value is refused
        let value = if value.trim().is_empty() { "-" } else { value };
        self.0.push((cut(name, TITLE), cut(value, FIELD), inline));
    }

    /// As many as fit, the first ones first.
    fn within(self, mut room: usize) -> Vec<Value> {
        let mut rendered = Vec::new();
        for (name, value, inline) in self.0.into_iter().take(FIELDS) {
            let length = count(&name) + count(&value);
            if length > room {
                break;
            }
            room -= length;
            rendered.push(json!({ "name": name, "value": value, "inline": inline }));
        }
        rendered
    }
}

/// Discord counts UTF-16 units.
fn count(text: &str) -> usize {
    text.encode_utf16().count()
}

fn cut(text: &str, limit: usize) -> String {
    if count(text) <= limit {
        return text.to_owned();
    }
    let mut length = 1;
    let kept = text.chars().take_while(|letter| {
        length += letter.len_utf16();
        length <= limit
    });
    kept.collect::<String>() + "…"
}

fn plain(text: &str) -> String {
    text.replace('`', "'")
}

/// The end of the text is what matters.
fn code_block(text: &str) -> String {
    let text = plain(text);
    let excess = count(&text).saturating_sub(FIELD - 8);
    let tail: String = text.chars().skip(excess).collect();
    format!("```\n{tail}\n```")
}

#[cfg(test)]
mod tests;
