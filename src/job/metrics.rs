//! Metrics of a run, and of what lies in storage after it.

use crate::config::Config;
use crate::inventory::overview::Overview;
use crate::metrics::{Metrics, MetricsInput};
use crate::report::Report;
use crate::repository::Repository;
use crate::shutdown::{Shutdown, budget};
use chrono::{TimeDelta, Utc};
use std::time::Duration;
use tracing::warn;

/// How long one side may take to show what lies there.
const LOOK_AT_SIDE: Duration = Duration::from_secs(15);

/// Publishes metrics of what lies on the sides and of what a run did, in bounded time.
pub async fn publish(config: &Config, sides: &[Repository], report: Option<&Report>, shutdown: &Shutdown) {
    if !config.metrics.is_wanted() {
        return;
    }
    let (source, now) = (&config.source.name, Utc::now());
    // what a run did is said also where nobody can say what lies in storage
    let looked = shutdown.finish(budget::OVERVIEW, Overview::look(config, sides, source, now, LOOK_AT_SIDE)).await;
    let overview = looked.unwrap_or_default();
    let work = async {
        let attempts = report.map(Report::attempts).unwrap_or_default();
        let metrics = Metrics::of(&MetricsInput {
            status: &overview.status(source, TimeDelta::MAX, now),
            inventory: &overview.inventory,
            read: &overview.read,
            sides: config.target.sides(),
            attempts: &attempts,
            last_run: report,
            is_whole: report.is_some_and(Report::has_begun) && config.selection.is_whole(),
            daemon: None,
        });
        metrics.publish(&config.metrics).await;
    };
    if shutdown.finish(budget::METRICS, work).await.is_none() {
        warn!("metrics were not fully published: the file or the Pushgateway did not respond in time");
    }
}
