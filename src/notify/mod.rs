//! Notifications about runs. One that cannot be sent is logged and changes nothing else.

pub mod message;
pub mod services;

use crate::background::counted;
use crate::delivery::Undelivered;
use crate::report::Report;
use crate::shutdown::{Shutdown, budget};
use futures_util::future::join_all;
use message::Message;
use services::{Notification, Service, ServiceKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// How long the notification of the end of a run waits for that of its start.
const BEGIN: Duration = Duration::from_secs(2);

/// The services that are notified of runs.
#[derive(Debug, Clone, Default)]
pub struct NotifiedServices(Vec<NotifiedService>);

/// One of them.
#[derive(Debug, Clone)]
struct NotifiedService {
    kind: &'static ServiceKind,
    service: Arc<dyn Service>,
}

impl NotifiedServices {
    /// Those that the settings name.
    pub fn read(raw: &mut crate::settings::RawSettings) -> Self {
        let named = services::ALL.iter().filter_map(|kind| Some(NotifiedService { kind, service: (kind.read)(raw)? }));
        Self(named.collect())
    }

    /// True when people read what at least one of them is sent.
    pub fn has_readers(&self) -> bool {
        self.0.iter().any(|recipient| recipient.service.has_readers())
    }
}

/// The notifications that a run began, sent or on their way.
#[derive(Debug, Default)]
pub struct Begun(Vec<JoinHandle<()>>);

/// Notifies the services that care that a run begins, without keeping the run waiting.
pub fn begin(recipients: &NotifiedServices, run_id: &str) -> Begun {
    let tell = |NotifiedService { kind, service }: NotifiedService| {
        let run_id = run_id.to_owned();
        tokio::spawn(counted(async move {
            if let Some(sent) = service.begin(&run_id).await {
                log(kind, sent);
            }
        }))
    };
    Begun(recipients.0.iter().cloned().map(tell).collect())
}

/// Sends the run's notifications, all at once and in bounded time.
pub async fn send(recipients: &NotifiedServices, report: &Report, begun: Begun, shutdown: &Shutdown) {
    let message = Message::of(report);
    let mut begun = begun.0.into_iter();
    let sends = recipients.0.iter().map(|NotifiedService { kind, service }| {
        let (begin, notification) = (begun.next(), Notification { report, message: &message });
        async move {
            // the end must not overtake the beginning, but neither wait for one that is not answered
            if let Some(mut begin) = begin
                && tokio::time::timeout(BEGIN, &mut begin).await.is_err()
            {
                begin.abort();
            }
            if service.wants(report) {
                log(kind, service.send(&notification).await);
            }
        }
    });
    if shutdown.finish(budget::NOTIFICATIONS, join_all(sends)).await.is_none() {
        warn!("not every notification service answered in time; check the notification settings with `backup check`");
    }
}

/// A report as the webhook gets it; docs/schemas/report.json is its form.
pub fn as_json(report: &Report) -> serde_json::Value {
    services::webhook::render(report)
}

fn log(kind: &ServiceKind, outcome: Result<(), Undelivered>) {
    match outcome {
        Ok(()) => info!("notification sent to {}", kind.name),
        Err(error) => warn!("notification to {} not sent: {error}; check {}", kind.name, kind.setting()),
    }
}

/// Asks each service whether it can be reached, where that can be known without sending a notification.
pub async fn check(recipients: &NotifiedServices) -> Vec<(&'static ServiceKind, Result<(), Undelivered>)> {
    let asked =
        recipients.0.iter().map(|NotifiedService { kind, service }| async { Some((*kind, service.check().await?)) });
    join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
