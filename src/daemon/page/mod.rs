//! Pure: the page that people look at instead of logs. It needs no script and nothing from elsewhere.

use super::plot::{Point, plot};
use super::problems::{self, Problem};
use super::state::{CurrentRun, State};
use crate::inventory::InventoryEntry;
use crate::inventory::status::{Kept, Status, StatusVerdict};
use crate::progress::Pace;
use crate::record::facts::Subject;
use crate::record::manifest::BackupType;
use crate::report::{Outcome, Report};
use crate::schedule::{self, Due};
use crate::text;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::LazyLock;

const STYLE: &str = include_str!("page.css");
/// Backups in a plot.
const PLOTTED: usize = 30;

/// What is shown.
pub(super) struct View<'a> {
    pub(super) source: &'a str,
    /// None before the storage was looked at.
    pub(super) status: Option<&'a Status>,
    pub(super) next: &'a [Due],
    pub(super) zone: Tz,
    pub(super) now: DateTime<Utc>,
    pub(super) state: &'a State,
}

/// The page's own style, as a content security policy names it.
pub(super) fn style_hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| format!("sha256-{}", STANDARD.encode(Sha256::digest(STYLE))));
    &HASH
}

/// The whole page.
pub(super) fn render(view: &View<'_>) -> String {
    let problems = problems::problems(view.status, view.state, view.now);
    let source = text::one_line(view.source);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="60";
                link rel="icon" href="data:,";
                title { (mark(view, &problems)) " Backups of " (source) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "Backups of " (source) }
                    (verdict(view, &problems))
                    (runs(view))
                    @if !problems.is_empty() { (list(&problems)) }
                    @if let Some(status) = view.status { (cards(view, status)) }
                    footer {
                        "As of " (time(view, view.now)) ", anew every minute. "
                        @if let Some(looked) = view.state.looked { "The storage was looked at " (text::age(view.now - looked)) " ago. " }
                        @if let Some(volume) = view.status.and_then(|status| status.volume.as_ref()) {
                            "The folder's volume: " (text::size(volume.free_bytes)) " free, "
                            (format!("{:.0}", volume.share_used * 100.0)) " % full. "
                        }
                        a href="metrics" { "Metrics" } " · " a href="healthz" { "Health" } " · backup " (env!("CARGO_PKG_VERSION"))
                    }
                }
            }
        }
    };
    page.into_string()
}

fn mark(view: &View<'_>, problems: &[Problem]) -> &'static str {
    match (view.status, problems) {
        (None, []) => "…",
        (Some(_), []) => "✓",
        (_, [first, ..]) => {
            if first.urgent {
                "✗"
            } else {
                "!"
            }
        }
    }
}

fn verdict(view: &View<'_>, problems: &[Problem]) -> Markup {
    let Some(status) = view.status else {
        return match view.state.looked {
            None => html! { p class="verdict warn" { "The storage is being looked at for the first time." } },
            Some(_) => html! { p class="verdict bad" { "The storage cannot be read." } },
        };
    };
    let expected = status.databases.iter().filter(|kept| kept.verdict != StatusVerdict::NotSelected);
    let (all, well) = (expected.clone().count(), expected.filter(|kept| kept.verdict == StatusVerdict::Ok).count());
    let most = text::duration(TimeDelta::seconds(status.max_age_seconds));
    let (class, text) = match problems.first() {
        _ if all == 0 => ("bad", "There are no backups.".to_owned()),
        Some(problem) if problem.urgent && well == all => {
            ("bad", format!("Every database has a good backup that is at most {most} old, but something went wrong."))
        }
        Some(problem) if problem.urgent && all == 1 => {
            ("bad", format!("There is no good backup that is at most {most} old."))
        }
        Some(problem) if problem.urgent => {
            ("bad", format!("{} of {all} have no good backup that is at most {most} old.", all - well))
        }
        Some(_) => {
            ("warn", format!("Every database has a good backup that is at most {most} old. Something is worth a look."))
        }
        None if all == 1 => ("good", format!("All is well: there is a good backup that is at most {most} old.")),
        None => ("good", format!("All is well: {all} of {all} have a good backup that is at most {most} old.")),
    };
    html! { p class={ "verdict " (class) } { (text) } }
}

/// The run under way, the latest, and the next ones.
fn runs(view: &View<'_>) -> Markup {
    html! {
        ul class="runs" {
            @if let Some(running) = &view.state.running { li { (under_way(view, running)) } }
            @if let Some(report) = &view.state.last_run { li class="dim" { (latest(view, report)) } }
            @for due in view.next {
                li class="dim" {
                    "Next " (due.backup_type.as_str()) " run: " (time(view, due.time)) ", in " (text::duration(due.time - view.now))
                }
            }
        }
    }
}

fn under_way(view: &View<'_>, running: &CurrentRun) -> Markup {
    let (raw, table) = (running.counters.raw(), running.counters.table());
    let pace = Pace::of(&running.counters, running.since, 0);
    let article = if running.due.backup_type == BackupType::Auto { "An" } else { "A" };
    html! {
        strong { (article) " " (running.due.backup_type.as_str()) " run is under way" } " since "
        (text::duration(view.now - running.begun)) ": " (text::size(raw)) " dumped, " (text::size(pace.rate)) "/s"
        @if !table.is_empty() { ", " (text::one_line(&table)) }
    }
}

fn latest(view: &View<'_>, report: &Report) -> Markup {
    let word = match report.outcome {
        Outcome::Success => "did everything",
        Outcome::Partial => "did a part",
        Outcome::Failure => "failed",
    };
    html! {
        "The latest run (" (report.backup_type.as_str()) ") " (word) " in " (text::duration(report.duration())) ", "
        (text::age(view.now - report.finished)) " ago"
    }
}

fn list(problems: &[Problem]) -> Markup {
    html! {
        ul class="problems" {
            @for problem in problems {
                li class=(if problem.urgent { "bad" } else { "warn" }) {
                    (problem.what) "."
                    @if let Some(hint) = &problem.hint { " " span class="dim" { "What to do: " (hint) "." } }
                }
            }
        }
    }
}

/// One card for each database, those with problems first.
fn cards(view: &View<'_>, status: &Status) -> Markup {
    let mut databases: Vec<&Kept> = status.databases.iter().collect();
    databases.sort_by_key(|kept| rank(kept));
    let mut entries: HashMap<&Subject, Vec<&InventoryEntry>> = HashMap::new();
    let all = view.state.overview.iter().flat_map(|overview| &overview.inventory.entries);
    for entry in all.filter(|entry| entry.is_of(&status.source)) {
        let newest = entries.entry(&entry.manifest.subject).or_default();
        if newest.len() < PLOTTED {
            newest.push(entry);
        }
    }
    html! {
        div class="cards" {
            @for kept in databases { (card(view, kept, entries.get(&kept.subject).map_or(&[], Vec::as_slice))) }
        }
    }
}

fn rank(kept: &Kept) -> u8 {
    match (kept.verdict, class(kept)) {
        (StatusVerdict::NotSelected, _) => 3,
        (_, "bad") => 0,
        (_, "warn") => 1,
        _ => 2,
    }
}

fn class(kept: &Kept) -> &'static str {
    let failed = kept.last_verification.as_ref().is_some_and(|last| !last.passed);
    match kept.verdict {
        StatusVerdict::NotSelected => "off",
        StatusVerdict::TooOld | StatusVerdict::Missing | StatusVerdict::Shrunk => "bad",
        StatusVerdict::Ok if failed => "bad",
        StatusVerdict::Ok if kept.trend.as_ref().is_some_and(|trend| trend.conspicuous) => "warn",
        StatusVerdict::Ok if !kept.pending_uploads.is_empty() => "warn",
        StatusVerdict::Ok => "good",
    }
}

/// `entries` are the newest of the database, the newest first.
fn card(view: &View<'_>, kept: &Kept, entries: &[&InventoryEntry]) -> Markup {
    let class = class(kept);
    let badge = match (kept.verdict, class) {
        (StatusVerdict::TooOld, _) => "too old",
        (StatusVerdict::Missing, _) => "no good backup",
        (StatusVerdict::NotSelected, _) => "not selected",
        (StatusVerdict::Shrunk, _) => "shrunk",
        (StatusVerdict::Ok, "bad") => "verification failed",
        (StatusVerdict::Ok, "warn") => "worth a look",
        (StatusVerdict::Ok, _) => "ok",
    };
    html! {
        article class=(class) {
            header {
                h2 { (text::one_line(&kept.subject.to_string())) }
                span class={ "badge " (class) } { (badge) }
            }
            @match &kept.newest {
                None => p class="age" { "no good backup" },
                Some(newest) => {
                    p class="age" {
                        (problems::age(TimeDelta::seconds(newest.age_seconds))) " "
                        span { (time(view, newest.started)) }
                    }
                }
            }
            dl {
                @if let Some(newest) = &kept.newest {
                    dt { "Size" } dd { (text::size(newest.stored_bytes)) (change(kept)) }
                    dt { "Where" } dd { (newest.sides.iter().map(|side| side.as_str()).collect::<Vec<_>>().join(" and ")) }
                }
                dt { "Verified" } dd { (verified(view, kept)) }
                @if let Some(due) = view.next.first().filter(|_| kept.verdict != StatusVerdict::NotSelected) {
                    dt { "Next" } dd { "in " (text::duration(due.time - view.now)) " (" (due.backup_type.as_str()) ")" }
                }
                dt { "Kept" } dd { (text::count(kept.backups, "backup")) ", " (text::size(kept.stored_bytes)) }
            }
            (plots(view, entries))
        }
    }
}

fn change(kept: &Kept) -> String {
    let percent = kept.trend.as_ref().map(|trend| (trend.ratio - 1.0) * 100.0);
    percent.filter(|percent| percent.abs() >= 0.5).map(|percent| format!(" ({percent:+.0} %)")).unwrap_or_default()
}

fn verified(view: &View<'_>, kept: &Kept) -> String {
    match (&kept.last_verification, &kept.newest) {
        (None, _) => "never".to_owned(),
        (Some(last), newest) => {
            let ago = text::age(view.now - last.finished);
            let which = if newest.as_ref().is_some_and(|newest| newest.id == last.id) { "" } else { ", an older one" };
            if last.passed { format!("{ago} ago{which}") } else { format!("FAILED {ago} ago{which}") }
        }
    }
}

/// Size and duration over time; `entries` are the newest first.
fn plots(view: &View<'_>, entries: &[&InventoryEntry]) -> Markup {
    let points = |value: fn(&InventoryEntry) -> f64, words: fn(&InventoryEntry) -> String| -> Vec<Point> {
        let point = |entry: &&InventoryEntry| Point {
            time: entry.manifest.started,
            value: value(entry),
            bad: !entry.is_good(),
            words: format!("{}: {}", time(view, entry.manifest.started), words(entry)),
        };
        entries.iter().rev().map(point).collect()
    };
    #[allow(clippy::cast_precision_loss)]
    let sizes = points(|entry| entry.manifest.stored_bytes as f64, size);
    #[allow(clippy::cast_precision_loss)]
    let durations = points(|entry| took(entry).num_milliseconds() as f64, duration);
    let Some(newest) = entries.first() else { return html! {} };
    html! {
        figure {
            figcaption { span { "Size" } span { (size(newest)) } }
            (plot(&format!("Size of the latest {}", text::count(entries.len(), "backup")), &sizes))
        }
        figure {
            figcaption { span { "Duration" } span { (duration(newest)) } }
            (plot(&format!("Duration of the latest {}", text::count(entries.len(), "backup")), &durations))
        }
    }
}

fn size(entry: &InventoryEntry) -> String {
    text::size(entry.manifest.stored_bytes)
}

fn took(entry: &InventoryEntry) -> TimeDelta {
    (entry.manifest.finished - entry.manifest.started).max(TimeDelta::zero())
}

fn duration(entry: &InventoryEntry) -> String {
    let took = took(entry);
    if took < TimeDelta::seconds(10) { format!("{:.1} s", took.as_seconds_f64()) } else { text::duration(took) }
}

fn time(view: &View<'_>, time: DateTime<Utc>) -> String {
    schedule::show(time, view.zone)
}

#[cfg(test)]
mod tests;
