//! Any service: the report itself.

use super::{Notification, Service, ServiceKind};
use crate::delivery::{Post, PostBody, Undelivered};
use crate::notify::message::{next_command, title};
use crate::report::Report;
use crate::settings::{RawSettings, Secret, Setting, ValueKind};
use crate::storage::Side;
use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

pub const KIND: ServiceKind = ServiceKind { name: "the webhook", settings: SETTINGS, read };

const SETTINGS: &[Setting] = &[Setting::new(
    "WEBHOOK_URL",
    ValueKind::Url,
    "Any URL that accepts the report of every run as a JSON POST (docs/schemas/report.json).",
)
.secret()];

/// Version of the form; raised when a field is renamed or removed.
const VERSION: u32 = 1;

#[derive(Debug)]
struct Webhook {
    url: Secret,
}

fn read(raw: &mut RawSettings) -> Option<Arc<dyn Service>> {
    Some(Arc::new(Webhook { url: raw.secret("WEBHOOK_URL")? }))
}

#[async_trait]
impl Service for Webhook {
    async fn send(&self, notification: &Notification<'_>) -> Result<(), Undelivered> {
        let content = PostBody::Json(render(notification.report));
        let shorter = Report { entries: Vec::new(), ..notification.report.clone() };
        Post::new(&self.url, content).or(PostBody::Json(render(&shorter))).deliver().await
    }
}

#[derive(Serialize)]
struct WebhookBody<'a> {
    version: u32,
    title: String,
    #[serde(flatten)]
    report: &'a Report,
    /// `targets`, each with its side.
    locations: Vec<WebhookLocation<'a>>,
    /// `kept`, by names.
    kept_locally: Option<KeptLocally>,
    /// What a person runs next; none after a run that did everything.
    next_command: Option<String>,
}

#[derive(Serialize)]
struct WebhookLocation<'a> {
    side: Side,
    location: &'a str,
}

#[derive(Serialize)]
struct KeptLocally {
    backups: usize,
    bytes: u64,
}

/// The report as JSON; docs/schemas/report.json is its form.
pub(in crate::notify) fn render(report: &Report) -> Value {
    let locations = report.targets.iter().map(|(side, location)| WebhookLocation { side: *side, location });
    let body = WebhookBody {
        version: VERSION,
        title: title(report),
        report,
        locations: locations.collect(),
        kept_locally: report.kept.map(|(backups, bytes)| KeptLocally { backups, bytes }),
        next_command: next_command(report),
    };
    serde_json::to_value(body).unwrap_or_default()
}
