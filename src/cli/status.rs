//! `backup status`

use super::output::{Cell, Colour};
use super::{catalogs, inventory, new_run_id, output, sides};
use crate::config::{Config, Target};
use crate::error::{Error, Exit};
use crate::facts::Subject;
use crate::human;
use crate::job::prune;
use crate::job::tasks;
use crate::manifest::Identity;
use crate::repository::{Backup, Catalog, Side, SideKind};
use crate::status::{Kept, Question, Status, Trend, Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How old the newest good backup of a database may be, such as 25h or 8days
    #[arg(long, value_name = "AGE", default_value = "25h", value_parser = humantime::parse_duration)]
    max_age: Duration,
    /// Another source than this one
    #[arg(long)]
    source: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, Error> {
    let sides = sides(config, config.target, &new_run_id()).await?;
    let source = arguments.source.as_ref().unwrap_or(&config.source.name);
    let (catalogs, now) = (catalogs(&sides).await?, Utc::now());
    let pending = pending(config, source, &sides, &catalogs, now);
    let inventory = inventory(&sides, catalogs);
    let own = inventory.entries.iter().filter(|entry| entry.manifest.source == *source);
    let saved: BTreeSet<Subject> = own.map(|entry| entry.manifest.subject.clone()).collect();
    // of another source nobody here knows what it selects
    let expected = match arguments.source {
        None => tasks::expected(&config.selection, &config.source.database, &saved),
        Some(_) => saved.into_iter().collect(),
    };
    let mut space = None;
    if let Some(local) = sides.iter().find(|side| side.kind == SideKind::Local) {
        space = local.repository.space().await;
    }
    let status = Status::of(
        &inventory,
        &Question {
            source,
            expected: &expected,
            max_age: TimeDelta::from_std(arguments.max_age).unwrap_or(TimeDelta::MAX),
            pending: &pending,
            space,
            now,
        },
    );
    if arguments.json {
        output::print_json(&status);
    } else {
        show(&status);
    }
    Ok(if status.ok { Exit::Done } else { Exit::Partly })
}

/// What the folder has and the store lacks, where backups belong on both sides.
fn pending(
    config: &Config,
    source: &str,
    sides: &[Side],
    catalogs: &[Catalog],
    now: DateTime<Utc>,
) -> HashSet<Identity> {
    let own = |kind: SideKind| -> Vec<Backup> {
        let of_kind = sides.iter().zip(catalogs).filter(|(side, _)| side.kind == kind);
        let backups = of_kind.flat_map(|(_, catalog)| &catalog.backups);
        backups.filter(|backup| backup.manifest.source == source).cloned().collect()
    };
    match config.target {
        Target::All => prune::missing_remotely(config, &own(SideKind::Local), &own(SideKind::Remote), now),
        Target::Local | Target::Remote => HashSet::new(),
    }
}

fn show(status: &Status) {
    if status.databases.is_empty() {
        output::print(&format!("no backups of {}, and none expected\n", human::one_line(&status.source)));
    } else {
        let headings = [
            "DATABASE",
            "STATUS",
            "NEWEST GOOD",
            ">AGE",
            ">SIZE",
            ">CHANGE",
            "WHERE",
            "VERIFIED",
            ">BACKUPS",
            ">TOTAL",
        ];
        output::print_table(&headings, status.databases.iter().map(|kept| row(kept, status.time)).collect());
    }
    let pending: Vec<&str> =
        status.databases.iter().flat_map(|kept| &kept.pending_uploads).map(String::as_str).collect();
    if !pending.is_empty() {
        let count = human::count(pending.len(), "upload");
        // the time that an id ends in, whatever it begins with
        let stamp = |id: &&&str| id.get(id.len().saturating_sub(19)..).unwrap_or_default().to_owned();
        let oldest = human::one_line(pending.iter().min_by_key(stamp).unwrap_or(&""));
        output::print(&format!("\n{count} pending, the oldest {oldest}; `backup upload` sends them\n"));
    }
    if let Some(volume) = &status.volume {
        let text = format!(
            "the folder's volume is {:.0} % full: {} used, {} free",
            volume.share_used * 100.0,
            human::size(volume.used_bytes),
            human::size(volume.free_bytes)
        );
        let advice = if volume.nearly_full { "; free some space, or keep fewer backups" } else { "" };
        let colour = if volume.nearly_full { Colour::Yellow } else { Colour::None };
        output::print("\n");
        output::print_line(Cell::coloured(&format!("{text}{advice}"), colour));
    }
}

fn row(kept: &Kept, now: DateTime<Utc>) -> Vec<Cell> {
    let (word, colour) = match kept.verdict {
        Verdict::Ok => ("ok", Colour::Green),
        Verdict::TooOld => ("TOO OLD", Colour::Red),
        Verdict::Missing => ("NO GOOD BACKUP", Colour::Red),
        Verdict::NotSelected => ("not selected", Colour::Dim),
    };
    let newest = kept.newest.as_ref();
    let text = |text: Option<String>| Cell::plain(text.unwrap_or_else(|| "-".to_owned()));
    let sides = newest.map(|newest| newest.sides.iter().map(|side| side.as_str()).collect::<Vec<_>>().join("+"));
    let verified = match (&kept.last_verification, newest) {
        (Some(last), _) if !last.passed => Cell::coloured("FAILED", Colour::Red),
        (Some(last), Some(newest)) if last.id == newest.id => {
            Cell::coloured(&format!("{} ago", human::duration(now - last.finished)), Colour::Green)
        }
        (Some(last), _) => Cell::plain(format!("{} ago, an older one", human::duration(now - last.finished))),
        (None, _) => Cell::coloured("never", Colour::Dim),
    };
    vec![
        Cell::plain(human::one_line(&kept.subject.to_string()).into_owned()),
        Cell::coloured(word, colour),
        text(newest.map(|newest| human::one_line(&newest.id).into_owned())),
        text(newest.map(|newest| human::age(TimeDelta::seconds(newest.age_seconds)))),
        text(newest.map(|newest| human::size(newest.stored_bytes))),
        kept.trend.as_ref().map_or_else(|| Cell::plain("-".to_owned()), change),
        text(sides),
        verified,
        Cell::plain(kept.backups.to_string()),
        Cell::plain(human::size(kept.stored_bytes)),
    ]
}

fn change(trend: &Trend) -> Cell {
    let percent = (trend.ratio - 1.0) * 100.0;
    let text = if percent.abs() < 0.5 { "0 %".to_owned() } else { format!("{percent:+.0} %") };
    match trend.conspicuous {
        true => Cell::coloured(&format!("{text} !"), Colour::Yellow),
        false => Cell::plain(text),
    }
}
