//! `backup status`

use super::find::{Choices, Filters};
use super::output::{Cell, Colour};
use super::table::Heading;
use super::{json, output};
use crate::config::{BackupType, Config, parse_duration};
use crate::error::{Error, Exit, SettingsError};
use crate::inventory::overview::Overview;
use crate::inventory::sides::{self, new_run_id};
use crate::inventory::status::{Kept, Status, StatusVerdict, Trend};
use crate::job::identity::identify;
use crate::schedule;
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How old the newest good backup may be
    ///
    /// Applies to each database; for example 25h or 8days.
    #[arg(long, value_name = "AGE", default_value = "25h", value_parser = parse_duration)]
    max_age: Duration,
    /// Show this source instead of BACKUP_SOURCE
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// Of the daemon; empty when no schedule is chosen.
    next_runs: Vec<NextRun>,
}

#[derive(Serialize)]
struct NextRun {
    #[serde(rename = "type")]
    backup_type: BackupType,
    time: DateTime<Utc>,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, Error> {
    let sides = sides::open(config, config.target, &new_run_id()).await?;
    let source = arguments.source.as_ref().unwrap_or(&config.source.name);
    let server = identify(config, &sides).await;
    let now = Utc::now();
    let mut overview = Overview::look(config, &sides, source, now, Duration::MAX).await;
    if !overview.unread.is_empty() {
        let (.., error) = overview.unread.remove(0);
        return Err(error.into());
    }
    if let Some(server) = server.filter(|_| arguments.source.is_none()) {
        let gone = overview.gone(config, &server);
        overview.warnings.extend(gone);
    }
    let max_age = TimeDelta::from_std(arguments.max_age).unwrap_or(TimeDelta::MAX);
    let status = overview.status(source, max_age, now);
    if let Some(source) = arguments.source.as_ref().filter(|source| **source != config.source.name) {
        refuse_unknown(source, &overview)?;
    }
    let daemon = Some(&config.daemon).filter(|daemon| daemon.is_chosen && arguments.source.is_none());
    let next = daemon.map(|daemon| daemon.schedule.next_of_each(now)).unwrap_or_default();
    if arguments.json {
        let next_runs = next.iter().map(|due| NextRun { backup_type: due.backup_type, time: due.time }).collect();
        json::print(&Shown { status: &status, next_runs })?;
    } else {
        show(&status)?;
        for due in next {
            let time = schedule::show(due.time, config.daemon.schedule.zone);
            let (kind, left) = (due.backup_type.as_str(), text::duration(due.time - now));
            output::print("\n")?;
            output::say(&format!("next {kind} run of `backup schedule`: {time}, in {left}"))?;
        }
    }
    Ok(if status.ok { Exit::Done } else { Exit::Partly })
}

/// Another source that has no backups is a slip, and no source that is kept well.
fn refuse_unknown(source: &str, overview: &Overview) -> Result<(), Error> {
    let filters = Filters { source: Some(source), ..Filters::default() };
    let mut choices = Choices::default();
    for entry in &overview.inventory.entries {
        choices.add(filters, &entry.manifest, entry.is_of(source));
    }
    let refuse = |emptied| Err(Error::Settings(SettingsError::Usage(format!("there is no backup {emptied}"))));
    choices.emptied(filters).map_or(Ok(()), refuse)
}

fn show(status: &Status) -> Result<(), Error> {
    if status.databases.is_empty() {
        output::say(&format!("no backups of {}, and none expected", status.source))?;
    } else {
        // what is worth a look is left out last
        let is_conspicuous = |kept: &Kept| kept.trend.as_ref().is_some_and(|trend| trend.conspicuous);
        let change_rank = if status.databases.iter().any(is_conspicuous) { 1 } else { 5 };
        let headings = vec![
            Heading::text("DATABASE"),
            Heading::text("STATUS"),
            Heading::text("NEWEST GOOD").rank(2),
            Heading::number("AGE"),
            Heading::number("SIZE").rank(3),
            Heading::number("CHANGE").rank(change_rank),
            Heading::text("WHERE").rank(6),
            Heading::text("VERIFIED"),
            Heading::number("BACKUPS").rank(7),
            Heading::number("TOTAL").rank(8),
            Heading::number("RECOVERY").rank(4),
        ];
        output::print_table(headings, status.databases.iter().map(|kept| row(kept, status.time)).collect())?;
    }
    let pending: Vec<&str> =
        status.databases.iter().flat_map(|kept| &kept.pending_uploads).map(String::as_str).collect();
    if !pending.is_empty() {
        let count = text::count(pending.len(), "upload");
        // the time that an id ends in, whatever it begins with
        let stamp = |id: &&&str| id.get(id.len().saturating_sub(19)..).unwrap_or_default().to_owned();
        let oldest = text::one_line(pending.iter().min_by_key(stamp).unwrap_or(&""));
        output::print("\n")?;
        output::say(&format!("{count} pending, the oldest {oldest}; `backup upload` sends them"))?;
    }
    for alarm in status.databases.iter().filter_map(Kept::alarm) {
        output::print("\n")?;
        output::print_line(&Cell::coloured(&alarm, Colour::Red))?;
    }
    for warning in &status.warnings {
        output::print("\n")?;
        output::print_line(&Cell::coloured(&text::one_line(warning), Colour::Yellow))?;
    }
    if let Some(volume) = &status.volume {
        let text = format!(
            "the folder's volume is {:.0} % full: {} used, {} free",
            volume.share_used * 100.0,
            text::size(volume.used_bytes),
            text::size(volume.free_bytes)
        );
        let days = |days: u32| format!("; at this rate it will be full in {}", text::count(days, "day"));
        let full = volume.full_in_days.map(days).unwrap_or_default();
        let advice = if volume.nearly_full { "; free some space, or keep fewer backups" } else { "" };
        let colour = if volume.nearly_full { Colour::Yellow } else { Colour::None };
        output::print("\n")?;
        output::print_line(&Cell::coloured(&format!("{text}{full}{advice}"), colour))?;
    }
    Ok(())
}

fn row(kept: &Kept, now: DateTime<Utc>) -> Vec<Cell> {
    let (word, colour) = match kept.verdict {
        StatusVerdict::Ok => ("ok", Colour::Green),
        StatusVerdict::TooOld => ("TOO OLD", Colour::Red),
        StatusVerdict::Missing => ("NO GOOD BACKUP", Colour::Red),
        StatusVerdict::Shrunk => ("shrunk", Colour::Red),
        StatusVerdict::NotSelected => ("not selected", Colour::Dim),
    };
    let newest = kept.newest.as_ref();
    let text = |text: Option<String>| Cell::plain(text.unwrap_or_else(|| "-".to_owned()));
    let sides = newest.map(|newest| newest.sides.iter().map(|side| side.as_str()).collect::<Vec<_>>().join("+"));
    let verified = match (&kept.last_verification, newest) {
        (Some(last), _) if !last.passed => Cell::coloured("FAILED", Colour::Red),
        (Some(last), Some(newest)) if last.id == newest.id => {
            let exceptions = match last.exceptions {
                0 => String::new(),
                count => format!(", {}", text::count(count, "exception")),
            };
            Cell::coloured(&format!("{} ago{exceptions}", text::short_age(now - last.finished)), Colour::Green)
        }
        (Some(last), _) => Cell::plain(format!("{} ago, of an older backup", text::short_age(now - last.finished))),
        (None, _) => Cell::coloured("never", Colour::Dim),
    };
    vec![
        Cell::plain(text::one_line(&kept.subject.to_string()).into_owned()),
        Cell::coloured(word, colour),
        text(newest.map(|newest| text::one_line(&newest.id).into_owned())),
        text(newest.map(|newest| text::short_age(TimeDelta::seconds(newest.age_seconds)))),
        text(newest.map(|newest| text::size(newest.stored_bytes))),
        kept.trend.as_ref().map_or_else(|| Cell::plain("-".to_owned()), change),
        text(sides),
        verified,
        Cell::plain(kept.backups.to_string()),
        Cell::plain(text::size(kept.stored_bytes)),
        text(kept.recovery_seconds.map(recovery)),
    ]
}

/// How long a restore took; below ten seconds with a decimal.
#[allow(clippy::cast_possible_truncation, reason = "a restore takes no ages")]
fn recovery(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.1} s") } else { text::duration(TimeDelta::seconds(seconds as i64)) }
}

fn change(trend: &Trend) -> Cell {
    let text = text::change(trend.ratio).unwrap_or_else(|| "0 %".to_owned());
    match trend.conspicuous {
        true => Cell::coloured(&format!("{text} !"), Colour::Yellow),
        false => Cell::plain(text),
    }
}
