//! Many databases as one table, a row each.

use super::View;
use super::databases::{DatabaseView, badge, change, duration, recovery, took, verified};
use crate::daemon::plot::sparkline;
use crate::daemon::problems;
use crate::text;
use chrono::TimeDelta;
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Backups in the small plot of a row.
const PLOTTED: usize = 15;

pub(super) fn table(view: &View<'_>, shown: &[DatabaseView<'_>]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Database" }
                    th scope="col" { "Newest good backup" }
                    th scope="col" { "Size" }
                    th scope="col" { "Duration" }
                    th scope="col" { "Verified" }
                    th scope="col" { "Restore took" }
                    th scope="col" { "Size over time" }
                }
            }
            tbody { @for one in shown { (row(view, one)) } }
        }
    }
}

/// The name leads to the database's card.
fn row(view: &View<'_>, shown: &DatabaseView<'_>) -> Markup {
    let kept = shown.kept;
    let (name, newest) = (kept.subject.to_string(), kept.newest.as_ref());
    let quoted = format!("\"{name}\"");
    let link = utf8_percent_encode(&quoted, NON_ALPHANUMERIC);
    let of_newest = newest.and_then(|newest| shown.entries.iter().find(|entry| entry.manifest.id == newest.id));
    let good = shown.entries.iter().filter(|entry| entry.is_good()).take(PLOTTED);
    let mut sizes: Vec<u64> = good.map(|entry| entry.manifest.stored_bytes).collect();
    sizes.reverse();
    html! {
        tr {
            td {
                a href={ "?filter=" (link) } { (text::one_line(&name)) }
                @if shown.class != "good" { " " span class={ "badge " (shown.class) } { (badge(shown)) } }
            }
            td {
                @match newest {
                    Some(newest) => { (problems::age(TimeDelta::seconds(newest.age_seconds))) },
                    None => { "none" }
                }
            }
            td { @if let Some(newest) = newest { (text::size(newest.stored_bytes)) (change(kept)) } }
            td { @if let Some(entry) = of_newest { (duration(took(entry))) } }
            td { (verified(view, kept)) }
            td { (recovery(kept).unwrap_or_default()) }
            td { (sparkline(&sizes)) }
        }
    }
}
