//! The registry of services: everything that is known of one outside its own file.
//!
//! A new one is a file with its `ServiceKind`, its `mod` line and its line in `ALL`; documents, `.env.example` and the
//! chart follow from it.

pub mod discord;
pub mod email;
pub mod healthcheck;
pub mod ntfy;
pub mod slack;
pub mod teams;
pub mod telegram;
pub mod webhook;

use super::message::Message;
use crate::delivery::Undelivered;
use crate::report::Report;
use crate::settings::{RawSettings, Setting};
use async_trait::async_trait;
use std::sync::Arc;

/// Every service, in the order in which documents show them.
pub const ALL: &[ServiceKind] = &[
    discord::KIND,
    slack::KIND,
    teams::KIND,
    telegram::KIND,
    ntfy::KIND,
    email::KIND,
    webhook::KIND,
    healthcheck::KIND,
];

/// One kind of service.
#[derive(Debug)]
pub struct ServiceKind {
    /// As logs and messages name it.
    pub name: &'static str,
    /// Its settings; the first says where it is, and whether it is notified at all.
    pub settings: &'static [Setting],
    /// Reads the settings; none where they name no such service.
    pub read: fn(&mut RawSettings) -> Option<Arc<dyn Service>>,
}

impl ServiceKind {
    /// As `check` names it.
    pub fn label(&self) -> String {
        let what = if self.setting().ends_with("WEBHOOK_URL") { " webhook" } else { "" };
        format!("{}{what}", self.name)
    }

    /// The setting that says where it is.
    pub fn setting(&self) -> &'static str {
        self.settings.first().map_or("", |setting| setting.name)
    }
}

/// A service that is notified of runs.
#[async_trait]
pub trait Service: std::fmt::Debug + Send + Sync {
    /// True where people read it; they are notified once when failures end.
    fn has_readers(&self) -> bool {
        true
    }

    /// Whether it is notified of a run that ended like that.
    fn wants(&self, _report: &Report) -> bool {
        true
    }

    /// Notifies it that a run begins; none where it does not care.
    async fn begin(&self, _run_id: &str) -> Option<Result<(), Undelivered>> {
        None
    }

    /// Notifies it how a run ended, once.
    async fn send(&self, notification: &Notification<'_>) -> Result<(), Undelivered>;

    /// Whether it can be reached, without sending it anything; none where that cannot be known.
    async fn check(&self) -> Option<Result<(), Undelivered>> {
        None
    }
}

/// How a run ended: as data, and in words.
pub struct Notification<'a> {
    pub report: &'a Report,
    pub message: &'a Message,
}
