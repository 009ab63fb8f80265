//! Telling people. A notice that fails is logged and changes nothing else.

mod discord;
mod healthcheck;
mod message;
mod slack;
mod webhook;

use crate::background::counted;
use crate::config::{Notices, Secret};
use crate::delivery::{self, Content, Undelivered, deliver};
use crate::report::{Outcome, Report};
use crate::shutdown::{Shutdown, budget};
use futures_util::future::join_all;
use healthcheck::Signal;
use message::Message;
use serde_json::Value;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// How long the end of a run waits for the word that it began.
const START: Duration = Duration::from_secs(2);

/// A run whose health check knows that it began.
#[derive(Debug, Default)]
pub struct Begun(Option<JoinHandle<()>>);

/// Tells the health check that a run begins, without keeping the run waiting.
pub fn begin(notices: &Notices, run_id: &str) -> Begun {
    let Some(url) = notices.healthcheck.clone() else { return Begun(None) };
    let run_id = run_id.to_owned();
    Begun(Some(tokio::spawn(counted(async move {
        report_delivery(
            "the health check",
            "HEALTHCHECK_URL",
            healthcheck::ping(&url, Signal::Start, &run_id, String::new()).await,
        );
    }))))
}

/// Sends the run's notices, all at once and in bounded time.
pub async fn send(notices: &Notices, report: &Report, begun: Begun, shutdown: &Shutdown) {
    let work = async {
        tokio::join!(tell_people(notices, report), async {
            if let (Some(url), Some(mut start)) = (&notices.healthcheck, begun.0) {
                // the end must not overtake the beginning, but neither wait for one that is not answered
                if tokio::time::timeout(START, &mut start).await.is_err() {
                    start.abort();
                }
                let (signal, text) = (Signal::of(report.outcome), healthcheck::text(report));
                let pinged = healthcheck::ping(url, signal, &report.run_id, text).await;
                report_delivery("the health check", "HEALTHCHECK_URL", pinged);
            }
        })
    };
    if shutdown.finish(budget::NOTIFICATIONS, work).await.is_none() {
        warn!("telling people: not every service answered in time; look at the webhooks among the settings");
    }
}

async fn tell_people(notices: &Notices, report: &Report) {
    if !notices.has_readers() {
        return;
    }
    let message = Message::of(report);
    let discord = notices.discord.as_ref().filter(|_| is_wanted(notices, report));
    let services = [
        Service {
            name: "Discord",
            setting: "DISCORD_WEBHOOK_URL",
            url: discord.and_then(waiting),
            content: discord::render(&message),
            fallback: Some(discord::minimal(&message)),
        },
        Service {
            name: "Slack",
            setting: "SLACK_WEBHOOK_URL",
            url: notices.slack.clone(),
            content: slack::render(&message),
            fallback: Some(slack::minimal(&message)),
        },
        Service {
            name: "the webhook",
            setting: "WEBHOOK_URL",
            url: notices.webhook.clone(),
            content: webhook::render(report),
            fallback: Some(webhook::render(&Report { entries: Vec::new(), ..report.clone() })),
        },
    ];
    join_all(services.into_iter().map(Service::tell)).await;
}

/// Somebody who is told in words.
struct Service {
    name: &'static str,
    setting: &'static str,
    /// None where nobody is to be told.
    url: Option<Secret>,
    content: Value,
    /// For a service that refuses the content as malformed.
    fallback: Option<Value>,
}

impl Service {
    async fn tell(self) {
        let Some(url) = self.url else { return };
        let fallback = self.fallback.map(Content::Json);
        report_delivery(self.name, self.setting, deliver(&url, &Content::Json(self.content), fallback.as_ref()).await);
    }
}

/// Discord's own settings: who wants to hear of failures hears of their end, too, and of what a person must look at.
fn is_wanted(notices: &Notices, report: &Report) -> bool {
    match report.outcome {
        Outcome::Success => {
            let is_news = report.failing_since.is_some() || !report.alarms.is_empty();
            notices.discord_on_success || notices.discord_on_failure && is_news
        }
        Outcome::Partial | Outcome::Failure => notices.discord_on_failure,
    }
}

/// Discord answers whether it took the message only where it is asked to.
fn waiting(url: &Secret) -> Option<Secret> {
    let mut url = url::Url::parse(url.expose()).ok()?;
    url.query_pairs_mut().append_pair("wait", "true");
    Some(Secret::from(url.to_string()))
}

fn report_delivery(name: &str, setting: &str, outcome: Result<(), Undelivered>) {
    match outcome {
        Ok(()) => info!("told {name}"),
        Err(error) => warn!("telling {name}: {error}; look at {setting}"),
    }
}

/// Asks whether the Discord webhook is there, without posting anything: it answers GET with its own description.
pub async fn check(notices: &Notices) -> Option<Result<(), String>> {
    let url = notices.discord.as_ref()?;
    let asked = async {
        let answer = delivery::client()?.get(url.expose()).send().await?;
        if answer.status().is_success() { Ok(()) } else { Err(Undelivered::Status(answer.status())) }
    };
    Some(asked.await.map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests;
