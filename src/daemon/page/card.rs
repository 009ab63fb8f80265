//! One database as a card.

use super::databases::{DatabaseView, badge, change, duration, recovery, took, verified};
use super::{View, time};
use crate::daemon::plot::{Point, plot};
use crate::daemon::problems;
use crate::inventory::InventoryEntry;
use crate::inventory::status::StatusVerdict;
use crate::text;
use chrono::TimeDelta;
use maud::{Markup, html};

pub(super) fn card(view: &View<'_>, shown: &DatabaseView<'_>) -> Markup {
    let (kept, class) = (shown.kept, shown.class);
    html! {
        article class=(class) {
            header {
                h2 { (text::one_line(&kept.subject.to_string())) }
                span class={ "badge " (class) } { (badge(shown)) }
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
                @if let Some(took) = recovery(kept) { dt { "Restore" } dd { "took " (took) } }
                @if let Some(due) = view.next.first().filter(|_| kept.verdict != StatusVerdict::NotSelected) {
                    dt { "Next" } dd { "in " (text::duration(due.time - view.now)) " (" (due.backup_type.as_str()) ")" }
                }
                dt { "Kept" } dd { (text::count(kept.backups, "backup")) ", " (text::size(kept.stored_bytes)) }
            }
            (plots(view, shown.entries))
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
    let durations = points(|entry| took(entry).num_milliseconds() as f64, |entry| duration(took(entry)));
    let Some(newest) = entries.first() else { return html! {} };
    html! {
        figure {
            figcaption { span { "Latest size" } span { (size(newest)) } }
            (plot(&format!("Size of the latest {}", text::count(entries.len(), "backup")), &sizes))
        }
        figure {
            figcaption { span { "Latest duration" } span { (duration(took(newest))) } }
            (plot(&format!("Duration of the latest {}", text::count(entries.len(), "backup")), &durations))
        }
    }
}

fn size(entry: &InventoryEntry) -> String {
    text::size(entry.manifest.stored_bytes)
}
