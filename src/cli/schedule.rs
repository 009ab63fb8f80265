//! `backup schedule`

use crate::config::{Config, Problems, parse_duration};
use crate::daemon::{self, Daemon};
use crate::error::{Error, Exit, SettingsError};
use crate::shutdown::Shutdown;
use chrono::{TimeDelta, Utc};
use clap::Args;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How old a backup may be before /healthz answers 503
    ///
    /// Applies to the newest good backup of each database. Unless given, it is the longest time between two runs plus
    /// one hour.
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    max_age: Option<Duration>,
}

pub(super) async fn execute(arguments: &Arguments, config: Config, shutdown: Shutdown) -> Result<Exit, Error> {
    if config.daemon.schedule.entries.is_empty() {
        let problem = "every schedule is off; set BACKUP_SCHEDULE, SCHEDULE_DAILY, SCHEDULE_WEEKLY or SCHEDULE_MONTHLY";
        return Err(Error::Settings(SettingsError::Config(Problems(vec![problem.to_owned()]))));
    }
    let listener = daemon::listen(&config.daemon).await?;
    let max_age = arguments.max_age.map(|age| TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX));
    Ok(Daemon::new(config, max_age, shutdown, Utc::now).serve(listener).await)
}
