//! A check that is pinged when a run begins and when it ends, and raises the alarm when that does not happen.

use super::{Notification, Service, ServiceKind};
use crate::delivery::{Post, PostBody, Undelivered};
use crate::report::{Activity, Outcome, Report};
use crate::settings::{RawSettings, Secret, Setting, ValueKind};
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;

pub const KIND: ServiceKind = ServiceKind { name: "the health check", settings: SETTINGS, read };

const SETTINGS: &[Setting] = &[Setting::new(
    "HEALTHCHECK_URL",
    ValueKind::Url,
    "healthchecks-style URL: URL/start when a run begins, then URL after success and URL/fail after anything else.",
)
.secret()];

#[derive(Debug)]
struct HealthCheck {
    url: Secret,
}

fn read(raw: &mut RawSettings) -> Option<Arc<dyn Service>> {
    Some(Arc::new(HealthCheck { url: raw.secret("HEALTHCHECK_URL")? }))
}

#[async_trait]
impl Service for HealthCheck {
    fn has_readers(&self) -> bool {
        false
    }

    /// A verification is no run.
    fn wants(&self, report: &Report) -> bool {
        report.activity == Activity::Backup
    }

    async fn begin(&self, run_id: &str) -> Option<Result<(), Undelivered>> {
        Some(ping(&self.url, Signal::Start, run_id, String::new()).await)
    }

    async fn send(&self, notification: &Notification<'_>) -> Result<(), Undelivered> {
        let (report, text) = (notification.report, notification.message.minimal());
        ping(&self.url, Signal::of(report.outcome), &report.run_id, text).await
    }
}

/// The kinds of pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Start,
    Success,
    Fail,
}

impl Signal {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Partial | Outcome::Failure => Self::Fail,
        }
    }
}

/// Pings the check; `rid` lets it tell runs at the same time apart.
async fn ping(url: &Secret, signal: Signal, run_id: &str, text: String) -> Result<(), Undelivered> {
    let address = address(url, signal, run_id).ok_or(Undelivered::Address)?;
    Post::new(&address, PostBody::Text(text)).deliver().await
}

fn address(url: &Secret, signal: Signal, run_id: &str) -> Option<Secret> {
    let mut address = url::Url::parse(url.expose()).ok()?;
    let word = match signal {
        Signal::Start => Some("start"),
        Signal::Success => None,
        Signal::Fail => Some("fail"),
    };
    if let Some(word) = word {
        address.path_segments_mut().ok()?.pop_if_empty().push(word);
    }
    if let Ok(run_id) = Uuid::parse_str(run_id) {
        address.query_pairs_mut().append_pair("rid", &run_id.hyphenated().to_string());
    }
    Some(Secret::from(address.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_goes_behind_the_path_and_before_the_query() {
        let run = "0197c0ffee007000800000000000abcd";
        let address = |url: &str, signal| {
            let address = address(&Secret::from(url.to_owned()), signal, run).unwrap();
            address.expose().replace("0197c0ff-ee00-7000-8000-00000000abcd", "RUN")
        };
        assert_eq!(address("https://hc.example/ping/x", Signal::Start), "https://hc.example/ping/x/start?rid=RUN");
        assert_eq!(
            address("https://hc.example/x/?create=1", Signal::Fail),
            "https://hc.example/x/fail?create=1&rid=RUN"
        );
        assert_eq!(address("https://hc.example/x", Signal::Success), "https://hc.example/x?rid=RUN");
    }
}
