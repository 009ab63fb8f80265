//! Any service: the report itself.

use super::{Notification, Service, ServiceKind};
use crate::delivery::{Post, PostBody, Undelivered};
use crate::notify::message::title;
use crate::report::Report;
use crate::settings::{RawSettings, Secret, Setting, ValueKind};
use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

pub const KIND: ServiceKind = ServiceKind { name: "the webhook", settings: SETTINGS, read };

const SETTINGS: &[Setting] = &[Setting::new(
    "WEBHOOK_URL",
    ValueKind::Url,
    "Any URL that takes the report of every run as a JSON POST (docs/schemas/report.json).",
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
}

/// The report as JSON; docs/schemas/report.json is its form.
pub(in crate::notify) fn render(report: &Report) -> Value {
    serde_json::to_value(WebhookBody { version: VERSION, title: title(report), report }).unwrap_or_default()
}
