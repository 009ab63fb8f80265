//! Pure: the page that people look at instead of logs. It needs no script and nothing from elsewhere.

mod card;
mod databases;
mod table;

use super::problems::{self, Problem};
use super::state::{CurrentRun, State};
use crate::inventory::status::{Kept, Status, StatusVerdict};
use crate::progress::Pace;
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
use std::sync::LazyLock;

const STYLE: &str = include_str!("page.css");

/// What is shown.
pub(super) struct View<'a> {
    pub(super) source: &'a str,
    /// None before the storage was looked at.
    pub(super) status: Option<&'a Status>,
    pub(super) next: &'a [Due],
    pub(super) zone: Tz,
    pub(super) now: DateTime<Utc>,
    pub(super) state: &'a State,
    /// Of which databases something is shown, by their names; empty for all.
    pub(super) filter: &'a str,
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
                    @if let Some(status) = view.status { (databases::databases(view, status)) }
                    footer {
                        "As of " (time(view, view.now)) "; this page reloads every minute. "
                        @if let Some(looked) = view.state.looked { "Storage last checked " (text::age(view.now - looked)) " ago. " }
                        @if let Some(volume) = view.status.and_then(|status| status.volume.as_ref()) {
                            "Backup volume: " (text::size(volume.free_bytes)) " free, "
                            (format!("{:.0}", volume.share_used * 100.0)) " % full"
                            @if let Some(days) = volume.full_in_days {
                                ", and full in about " (text::count(days, "day")) " at this rate"
                            }
                            ". "
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
            None => html! { p class="verdict warn" { "The storage is being checked for the first time." } },
            Some(_) => html! { p class="verdict bad" { "The storage cannot be read." } },
        };
    };
    let expected = status.databases.iter().filter(|kept| kept.verdict != StatusVerdict::NotSelected);
    let is_recent = |verdict| matches!(verdict, StatusVerdict::Ok | StatusVerdict::Shrunk);
    let (all, well) = (expected.clone().count(), expected.clone().filter(|kept| is_recent(kept.verdict)).count());
    let counted = databases::counted(expected.clone());
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
            // the globals are no database
            let is_database = |kept: &&Kept| kept.subject.database().is_some();
            let databases = text::count(expected.clone().filter(is_database).count(), "database");
            let lacking = expected.filter(|kept| !is_recent(kept.verdict)).filter(is_database).count();
            let has = if lacking == 1 { "has" } else { "have" };
            let who = match lacking {
                0 => "The globals have".to_owned(),
                lacking => format!("{lacking} of {databases} {has}"),
            };
            let more = if lacking > 0 && all - well > lacking { " Nor do the globals." } else { "" };
            ("bad", format!("{who} no good backup that is at most {most} old.{more}"))
        }
        Some(_) => (
            "warn",
            format!("Every database has a good backup that is at most {most} old, but something needs attention."),
        ),
        None if all == 1 => ("good", format!("All is well: there is a good backup that is at most {most} old.")),
        None => ("good", format!("All is well: {counted} have a good backup that is at most {most} old.")),
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
        strong { (article) " " (running.due.backup_type.as_str()) " run is in progress" } ", started "
        (text::duration(view.now - running.begun)) " ago: " (text::size(raw)) " dumped, " (text::size(pace.rate)) "/s"
        @if !table.is_empty() { ", now " (text::one_line(&table)) }
    }
}

fn latest(view: &View<'_>, report: &Report) -> Markup {
    let word = match report.outcome {
        Outcome::Success => "succeeded",
        Outcome::Partial => "partly done",
        Outcome::Failure => "failed",
    };
    html! {
        "Last run (" (report.backup_type.as_str()) "): " (word) " after " (text::duration(report.duration())) ", "
        (text::age(view.now - report.finished)) " ago"
    }
}

fn list(problems: &[Problem]) -> Markup {
    html! {
        ul class="problems" {
            @for problem in problems {
                li class=(if problem.urgent { "bad" } else { "warn" }) {
                    p { (with_code(&problem.what)) "." }
                    @if let Some(hint) = &problem.hint { p class="dim" { "What to do: " (with_code(hint)) "." } }
                }
            }
        }
    }
}

/// A text in which commands stand between backticks.
fn with_code(text: &str) -> Markup {
    // a single one is no pair
    let is_paired = text.matches('`').count().is_multiple_of(2);
    let parts: Vec<&str> = if is_paired { text.split('`').collect() } else { vec![text] };
    html! {
        @for (index, part) in parts.iter().enumerate() {
            @if index.is_multiple_of(2) { (part) } @else { code { (part) } }
        }
    }
}

fn time(view: &View<'_>, time: DateTime<Utc>) -> String {
    schedule::show(time, view.zone)
}

#[cfg(test)]
mod tests;
