//! The databases: a card for each of a few, one table for many, and a filter by name.

use super::View;
use super::card::card;
use super::table::table;
use crate::inventory::InventoryEntry;
use crate::inventory::status::{Kept, Status, StatusVerdict};
use crate::record::facts::Subject;
use crate::text;
use chrono::TimeDelta;
use maud::{Markup, html};
use std::collections::HashMap;

/// Databases that each have a card; of more, only those with a problem have one, and the others stand in a table.
const CARDS: usize = 7;
/// Cards for problems where there are more databases than that.
const PROBLEM_CARDS: usize = 12;
/// Backups in a plot.
const PLOTTED: usize = 30;

/// One database as it is shown.
pub(super) struct DatabaseView<'a> {
    pub(super) kept: &'a Kept,
    pub(super) class: &'static str,
    /// Its newest backups, the newest first.
    pub(super) entries: &'a [&'a InventoryEntry],
}

/// Which databases are asked for: those that have a text in their names, or in quotes the one of just that name.
struct NameFilter {
    text: String,
    is_exact: bool,
}

impl NameFilter {
    fn parse(text: &str) -> Self {
        let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|name| !name.is_empty());
        match quoted {
            Some(name) => Self { text: name.to_owned(), is_exact: true },
            None => Self { text: text.trim().to_lowercase(), is_exact: false },
        }
    }

    fn takes(&self, name: &str) -> bool {
        if self.is_exact { name == self.text } else { name.to_lowercase().contains(&self.text) }
    }
}

/// All databases that the filter takes, those with problems first.
pub(super) fn databases(view: &View<'_>, status: &Status) -> Markup {
    let mut entries: HashMap<&Subject, Vec<&InventoryEntry>> = HashMap::new();
    let all = view.state.overview.iter().flat_map(|overview| &overview.inventory.entries);
    for entry in all.filter(|entry| entry.is_of(&status.source)) {
        let newest = entries.entry(&entry.manifest.subject).or_default();
        if newest.len() < PLOTTED {
            newest.push(entry);
        }
    }
    let filter = NameFilter::parse(view.filter);
    let show = |kept| DatabaseView {
        kept,
        class: class(kept),
        entries: entries.get(&kept.subject).map_or(&[] as &[_], Vec::as_slice),
    };
    let is_wanted = |kept: &&Kept| filter.takes(&kept.subject.to_string());
    let mut shown: Vec<DatabaseView<'_>> = status.databases.iter().filter(is_wanted).map(show).collect();
    shown.sort_by_key(rank);
    let total = status.databases.len();
    let cards = match shown.len() {
        count if count <= CARDS => count,
        _ => shown.iter().take(PROBLEM_CARDS).take_while(|one| rank(one) < HEALTHY).count(),
    };
    let (in_cards, in_table) = shown.split_at(cards);
    html! {
        @if total > CARDS || !view.filter.is_empty() { (form(view, shown.len(), &counted(status.databases.iter()))) }
        @if !in_cards.is_empty() { div class="cards" { @for one in in_cards { (card(view, one)) } } }
        @if !in_table.is_empty() { (table(view, in_table)) }
    }
}

/// How many there are, such as `361 databases and the globals`.
pub(super) fn counted<'k>(all: impl Iterator<Item = &'k Kept>) -> String {
    let (databases, others): (Vec<&Kept>, Vec<&Kept>) = all.partition(|kept| kept.subject.database().is_some());
    let others = others.iter().map(|kept| format!(" and the {}", kept.subject.to_string().trim_matches(['(', ')'])));
    format!("{}{}", text::count(databases.len(), "database"), others.collect::<String>())
}

/// The filter: a plain GET, which needs no script.
fn form(view: &View<'_>, shown: usize, count: &str) -> Markup {
    html! {
        form class="filter" method="get" role="search" {
            label for="filter" { "Name contains" }
            input id="filter" name="filter" type="search" value=(view.filter) maxlength="200" autocomplete="off";
            button { "Filter" }
            @if view.filter.is_empty() {
                span class="dim" { (count) }
            } @else {
                span class="dim" { (shown) " of " (count) " shown" }
                a href="?" { "Show all" }
            }
        }
    }
}

/// Rank of what is well; smaller ones have a problem.
const HEALTHY: u8 = 2;

fn rank(shown: &DatabaseView<'_>) -> u8 {
    match (shown.kept.verdict, shown.class) {
        (StatusVerdict::NotSelected, _) => 3,
        (_, "bad") => 0,
        (_, "warn") => 1,
        _ => HEALTHY,
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

/// The state of a database in a word or two.
pub(super) fn badge(shown: &DatabaseView<'_>) -> &'static str {
    match (shown.kept.verdict, shown.class) {
        (StatusVerdict::TooOld, _) => "too old",
        (StatusVerdict::Missing, _) => "no good backup",
        (StatusVerdict::NotSelected, _) => "not selected",
        (StatusVerdict::Shrunk, _) => "shrunk",
        (StatusVerdict::Ok, "bad") => "verification failed",
        (StatusVerdict::Ok, "warn") => "needs attention",
        (StatusVerdict::Ok, _) => "ok",
    }
}

/// How a size differs from the one before, such as ` (+12 %)`; nothing where that would round to nothing.
pub(super) fn change(kept: &Kept) -> String {
    let change = kept.trend.as_ref().and_then(|trend| text::change(trend.ratio));
    change.map(|change| format!(" ({})", change.replace(' ', "\u{a0}"))).unwrap_or_default()
}

/// The last verification.
pub(super) fn verified(view: &View<'_>, kept: &Kept) -> String {
    let Some(last) = &kept.last_verification else { return "never".to_owned() };
    let ago = text::age(view.now - last.finished);
    let which = if last.of_latest { "" } else { ", an older backup" };
    if last.passed { format!("{ago} ago{which}") } else { format!("FAILED {ago} ago{which}") }
}

/// How long a backup took.
pub(super) fn took(entry: &InventoryEntry) -> TimeDelta {
    (entry.manifest.finished - entry.manifest.started).max(TimeDelta::zero())
}

/// A duration of which tenths of a second matter where it is short.
pub(super) fn duration(took: TimeDelta) -> String {
    match took {
        took if took < TimeDelta::milliseconds(50) => "< 0.1 s".to_owned(),
        took if took < TimeDelta::seconds(10) => format!("{:.1} s", took.as_seconds_f64()),
        took => text::duration(took),
    }
}

/// How long a restore took.
pub(super) fn recovery(kept: &Kept) -> Option<String> {
    let seconds = std::time::Duration::try_from_secs_f64(kept.recovery_seconds?).ok()?;
    TimeDelta::from_std(seconds).ok().map(duration)
}
