//! What a notification says about a run, before any service's form and limits.

mod compare;
mod next_command;
mod rows;
mod title;

pub(super) use next_command::next_command;
pub(super) use title::title;

use crate::report::{Outcome, Report};
use crate::text;
use chrono::{DateTime, Utc};
use rows::MessageRows;

/// One message.
#[derive(Debug)]
pub struct Message {
    pub(super) tone: Tone,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) time: DateTime<Utc>,
    pub(super) rows: Vec<Row>,
    /// What went wrong first, for a service that takes no more than a line.
    pub(super) cause: Option<String>,
}

/// How a message is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// All is well.
    Good,
    /// Something is not, and something is safe.
    Mixed,
    /// Nothing is.
    Bad,
}

impl Tone {
    fn of(report: &Report) -> Self {
        match report.outcome {
            Outcome::Success if report.alarms.is_empty() && !has_exceptions(report) => Self::Good,
            Outcome::Success | Outcome::Partial => Self::Mixed,
            Outcome::Failure => Self::Bad,
        }
    }
}

/// A name and a text; short ones may stand side by side.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) text: Text,
    pub(super) short: bool,
}

/// How a text is set.
#[derive(Debug)]
pub(super) enum Text {
    /// As it is.
    Plain(String),
    /// A path or a sum, letter by letter.
    Code(String),
    /// Lines of a program, whose end matters most.
    Lines(String),
}

impl Message {
    /// The message about that run.
    pub(super) fn of(report: &Report) -> Self {
        let shard = report.shard.as_ref().map(|shard| format!(", shard {shard}")).unwrap_or_default();
        Self {
            tone: Tone::of(report),
            title: title(report),
            description: format!("Source {}, run {}{shard}", text::one_line(&report.source), report.run_id),
            time: report.finished,
            rows: MessageRows::of(report).0,
            cause: cause(report),
        }
    }

    /// The message as lines of plain text, of at most `limit` characters.
    pub(super) fn text(&self, limit: usize) -> String {
        let rows = self.rows.iter().map(|row| match &row.text {
            Text::Plain(text) | Text::Code(text) => format!("{}: {text}", row.name),
            Text::Lines(text) => format!("{}:\n{}", row.name, text.trim_end()),
        });
        let lines: Vec<String> = std::iter::once(self.description.clone()).chain(rows).collect();
        cut(&lines.join("\n"), limit)
    }

    /// The same in one line, for a service that refuses the rest.
    pub(super) fn minimal(&self) -> String {
        let cause = self.cause.as_ref().map(|cause| format!(": {cause}"));
        text::one_line(&format!("{}{}", self.title, cause.unwrap_or_default())).into_owned()
    }
}

/// Of several databases that of the first one that failed, with its name.
fn cause(report: &Report) -> Option<String> {
    let mut of_entries = report.entries.iter().flat_map(|entry| entry.failures.iter().map(move |one| (entry, one)));
    match (report.failures.first(), of_entries.next()) {
        (_, Some((_, failure))) if report.only().is_some() => Some(failure.cause.clone()),
        (Some(failure), _) => Some(failure.cause.clone()),
        (None, Some((entry, failure))) => Some(format!("{}: {}", entry.subject, failure.cause)),
        (None, None) => None,
    }
}

/// What stands where rows have no room.
pub(super) fn left_out(rows: usize) -> Row {
    let text = Text::Plain(format!("{rows} more do not fit here; the log has all of them"));
    Row { name: "More".to_owned(), text, short: false }
}

/// True when a backup is good, and PostgreSQL cannot load all of its objects.
fn has_exceptions(report: &Report) -> bool {
    report.entries.iter().filter_map(|entry| entry.verified.as_ref()).any(|verified| !verified.exceptions.is_empty())
}

/// The beginning, with `…` where something is left out; `limit` counts UTF-16 units, as services do.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if count(text) <= limit {
        return text.to_owned();
    }
    let mut length = 1;
    let kept = text.chars().take_while(|letter| {
        length += letter.len_utf16();
        length <= limit
    });
    kept.collect::<String>() + "…"
}

/// The end, with `…` where something is left out.
pub(super) fn cut_front(text: &str, limit: usize) -> String {
    if count(text) <= limit {
        return text.to_owned();
    }
    let mut length = 1;
    let kept = text.char_indices().rev().take_while(|(_, letter)| {
        length += letter.len_utf16();
        length <= limit
    });
    format!("…{}", &text[kept.last().map_or(text.len(), |(start, _)| start)..])
}

/// Length in UTF-16 units.
pub(super) fn count(text: &str) -> usize {
    text.encode_utf16().count()
}
