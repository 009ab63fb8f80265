//! Who is told, and where numbers go.

use super::Secret;
use super::received::Received;
use std::path::PathBuf;

/// Who is told of runs.
#[derive(Debug, Clone)]
pub struct Notices {
    /// Discord webhook.
    pub discord: Option<Secret>,
    /// Tell Discord of success.
    pub discord_on_success: bool,
    /// Tell Discord of failure.
    pub discord_on_failure: bool,
    /// Slack webhook.
    pub slack: Option<Secret>,
    /// Takes the report as JSON.
    pub webhook: Option<Secret>,
    /// Pinged at the start and the end of a run.
    pub healthcheck: Option<Secret>,
}

impl Notices {
    /// True when somebody is told of runs in words.
    pub fn has_readers(&self) -> bool {
        self.discord.is_some() || self.slack.is_some() || self.webhook.is_some()
    }
}

/// Where metrics go.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// File for the node exporter's textfile collector.
    pub textfile: Option<PathBuf>,
    /// Pushgateway.
    pub pushgateway: Option<Secret>,
}

impl Metrics {
    /// True when somebody wants them.
    pub fn is_wanted(&self) -> bool {
        self.textfile.is_some() || self.pushgateway.is_some()
    }
}

pub(super) fn read(received: &mut Received) -> Notices {
    let mut url = |name| received.url(name).map(Secret::from);
    Notices {
        discord: url("DISCORD_WEBHOOK_URL"),
        slack: url("SLACK_WEBHOOK_URL"),
        webhook: url("WEBHOOK_URL"),
        healthcheck: url("HEALTHCHECK_URL"),
        discord_on_success: received.flag("DISCORD_NOTIFY_SUCCESS"),
        discord_on_failure: received.flag("DISCORD_NOTIFY_FAILURE"),
    }
}

pub(super) fn read_metrics(received: &mut Received) -> Metrics {
    let pushgateway = received.url("PUSHGATEWAY_URL").map(Secret::from);
    let textfile = received.text("METRICS_TEXTFILE").map(PathBuf::from);
    if let Some(path) = textfile.as_ref().filter(|path| path.extension().is_none_or(|ending| ending != "prom")) {
        let path = path.display();
        received.warnings.push(format!(
            "METRICS_TEXTFILE: {path} does not end in .prom, and the node exporter reads only such files"
        ));
    }
    Metrics { textfile, pushgateway }
}
