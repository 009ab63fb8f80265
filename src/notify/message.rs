//! What people are told of a run, before any service's form and limits.

use crate::report::{Activity, Entry, Failure, Outcome, Previous, Report};
use crate::text;
use chrono::{DateTime, Utc};

/// Rows for what failed, where several databases were to be saved; the rest is named in one row.
const FAILURE_ROWS: usize = 12;
/// Characters of such a row.
const FAILURE_ROW: usize = 300;

/// One message.
#[derive(Debug)]
pub struct Message {
    pub(super) tone: Tone,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) time: DateTime<Utc>,
    pub(super) rows: Vec<Row>,
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

/// A name and what is said of it; short ones may stand side by side.
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
    /// What is told of that run.
    pub(super) fn of(report: &Report) -> Self {
        let shard = report.shard.as_ref().map(|shard| format!(", shard {shard}")).unwrap_or_default();
        let mut rows = MessageRows::default();
        report.alarms.iter().for_each(|alarm| rows.add("Look at this", alarm, false));
        match (report.only(), report.entries.as_slice()) {
            (Some(entry), _) => rows.add_one(report, entry),
            (None, entries) => rows.add_several(report, entries),
        }
        Self {
            tone: Tone::of(report),
            title: title(report),
            description: format!("Source {}, run {}{shard}", report.source, report.run_id),
            time: report.finished,
            rows: rows.0,
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
        let cause = self.rows.iter().find(|row| row.name == CAUSE).map(|row| match &row.text {
            Text::Plain(text) | Text::Code(text) | Text::Lines(text) => format!(": {text}"),
        });
        text::one_line(&format!("{}{}", self.title, cause.unwrap_or_default())).into_owned()
    }
}

/// What happened, in a few words.
pub(super) fn title(report: &Report) -> String {
    let unproved = report.entries.iter().any(|entry| entry.verified.as_ref().is_some_and(|verified| !verified.passed));
    let word = match (report.outcome, report.activity) {
        (Outcome::Success, Activity::Backup) if report.failing_since.is_some() => "Backup recovered",
        (Outcome::Success, Activity::Backup) if !report.alarms.is_empty() => "Backup done, and worth a look",
        (Outcome::Success, Activity::Backup) if has_exceptions(report) => "Backup done, verified with exceptions",
        (Outcome::Success, Activity::Backup) => "Backup done",
        (Outcome::Success, Activity::Verification) if has_exceptions(report) => "Verification passed with exceptions",
        (Outcome::Success, Activity::Verification) => "Verification passed",
        (Outcome::Partial, _) => "Backup partly done",
        (Outcome::Failure, Activity::Backup) if !unproved => "Backup failed",
        (Outcome::Failure, _) => "Verification failed",
    };
    format!("{word}: {}", text::one_line(&report.summary()))
}

/// True when a backup is good, and PostgreSQL cannot load all of its objects.
fn has_exceptions(report: &Report) -> bool {
    report.entries.iter().filter_map(|entry| entry.verified.as_ref()).any(|verified| !verified.exceptions.is_empty())
}

const CAUSE: &str = "Cause";

#[derive(Default)]
struct MessageRows(Vec<Row>);

impl MessageRows {
    fn add(&mut self, name: &str, text: &str, short: bool) {
        self.0.push(Row { name: name.to_owned(), text: Text::Plain(text.to_owned()), short });
    }

    fn add_code(&mut self, name: &str, text: &str) {
        self.0.push(Row { name: name.to_owned(), text: Text::Code(text.to_owned()), short: false });
    }

    fn add_one(&mut self, report: &Report, entry: &Entry) {
        if let Some(stored) = &entry.backup {
            self.add("Size", &format!("{}{}", text::size(stored.stored_bytes), change([entry].into_iter())), true);
        }
        self.add_run(report);
        for place in &entry.places {
            self.add_code(if place.stored { "Location" } else { "Not stored" }, &place.location);
        }
        if let Some(stored) = &entry.backup {
            self.add_code("SHA-256", &stored.sha256);
            self.add("Verified", &verified(entry), entry.verified.is_none());
            self.add("Pruned", &report.pruned.len().to_string(), true);
        }
        self.add_exceptions(entry);
        self.add_kept(report);
        entry.failures.iter().chain(&report.failures).for_each(|failure| self.add_failure(failure));
        if report.outcome == Outcome::Failure {
            self.add("Last good backup", &age(report, entry.previous), false);
        }
        entry.notes.iter().for_each(|note| self.add("Note", note, false));
    }

    /// The first of them; the verification's record has all.
    fn add_exceptions(&mut self, entry: &Entry) {
        let Some(verified) = entry.verified.as_ref().filter(|verified| !verified.exceptions.is_empty()) else { return };
        let mut lines: Vec<String> =
            verified.exceptions.iter().take(EXCEPTIONS).map(|line| text::one_line(line).into_owned()).collect();
        if verified.exceptions.len() > EXCEPTIONS {
            lines.push(format!("and {} more", verified.exceptions.len() - EXCEPTIONS));
        }
        self.add("Exceptions (every row came back)", &cut(&lines.join("\n"), FAILURE_ROW), false);
    }

    /// Several databases: sums, and a row for each one that failed.
    fn add_several(&mut self, report: &Report, entries: &[Entry]) {
        let saved = entries.iter().filter(|entry| entry.backup.is_some());
        if saved.clone().next().is_some() {
            self.add("Size", &format!("{}{}", text::size(report.stored_bytes()), change(saved)), true);
        }
        self.add_run(report);
        let is_stored = entries.iter().any(|entry| entry.backup.is_some());
        for (side, location) in report.targets.iter().filter(|_| is_stored) {
            let has_copy = |entry: &&Entry| entry.places.iter().any(|copy| copy.stored && copy.side == *side);
            let stored = entries.iter().filter(has_copy).count();
            self.add_code(&format!("Location ({stored} of {})", entries.len()), location);
        }
        if entries.iter().any(|entry| entry.verified.is_some()) {
            let passed = |entry: &&Entry| entry.verified.as_ref().is_some_and(|verified| verified.passed);
            let passed = entries.iter().filter(passed).count();
            self.add("Verified", &format!("{passed} of {}", entries.len()), true);
        }
        self.add("Pruned", &report.pruned.len().to_string(), true);
        self.add_kept(report);
        for entry in entries {
            if let Some(count) = entry.verified.as_ref().map(|one| one.exceptions.len()).filter(|count| *count > 0) {
                let name = text::one_line(&entry.subject.to_string()).into_owned();
                self.add(&name, &format!("verified with {}", text::count(count, "exception")), true);
            }
        }
        report.failures.iter().for_each(|failure| self.add_failure(failure));
        let failed: Vec<&Entry> = entries.iter().filter(|entry| !entry.failures.is_empty()).collect();
        for entry in failed.iter().take(FAILURE_ROWS) {
            let causes: Vec<String> = entry.failures.iter().map(ToString::to_string).collect();
            let causes = cut(&causes.join("\n"), FAILURE_ROW);
            let row = format!("{causes}\nLast good backup: {}", age(report, entry.previous));
            self.add(&text::one_line(&entry.subject.to_string()), &row, false);
        }
        let names = |entries: &[&Entry]| {
            let names: Vec<String> =
                entries.iter().map(|entry| text::one_line(&entry.subject.to_string()).into_owned()).collect();
            names.join(", ")
        };
        if let Some(more) = failed.get(FAILURE_ROWS..).filter(|more| !more.is_empty()) {
            self.add(&format!("{} more failed", more.len()), &names(more), false);
        }
        let untouched = |entry: &&Entry| entry.backup.is_none() && entry.failures.is_empty() && entry.notes.is_empty();
        let untouched: Vec<&Entry> = entries.iter().filter(untouched).collect();
        if !untouched.is_empty() {
            self.add(&format!("{} not saved", untouched.len()), &names(&untouched), false);
            // of those that failed it stands in their rows
            let oldest = untouched.iter().min_by_key(|entry| entry.previous.map(|previous| previous.started));
            if let Some(entry) = oldest {
                let text = format!("{}: {}", text::one_line(&entry.subject.to_string()), age(report, entry.previous));
                self.add("Oldest last good backup", &text, false);
            }
        }
        let notes: Vec<&str> = entries.iter().flat_map(|entry| &entry.notes).map(String::as_str).collect();
        if !notes.is_empty() {
            self.add(&text::count(notes.len(), "note"), &notes.join("\n"), false);
        }
    }

    fn add_run(&mut self, report: &Report) {
        self.add("Duration", &text::duration(report.duration()), true);
        self.add("Type", report.backup_type.as_str(), true);
        if let Some(since) = report.failing_since {
            let name = if report.outcome == Outcome::Success { "Had failed since" } else { "Failing since" };
            let lasted = text::duration(report.finished - since);
            self.add(name, &format!("{} ({lasted})", since.format("%F %T UTC")), true);
        }
    }

    fn add_kept(&mut self, report: &Report) {
        if let Some((count, bytes)) = report.kept {
            self.add("Kept locally", &format!("{}, {}", text::count(count, "backup"), text::size(bytes)), true);
        }
    }

    fn add_failure(&mut self, failure: &Failure) {
        self.add("Stage", failure.stage, true);
        self.add(CAUSE, &failure.cause, false);
        if let Some(hint) = &failure.hint {
            self.add("What to do", hint, false);
        }
        if let Some(stderr) = failure.stderr.as_deref().filter(|text| !text.is_empty()) {
            self.0.push(Row { name: "Last lines".to_owned(), text: Text::Lines(stderr.to_owned()), short: false });
        }
    }
}

/// Exceptions that a message names.
const EXCEPTIONS: usize = 5;

fn verified(entry: &Entry) -> String {
    let Some(verified) = &entry.verified else { return "no (no restore was tried)".to_owned() };
    let word = if verified.passed { "yes" } else { "FAILED" };
    let restored = match verified.restore_seconds {
        None => "stored bytes only".to_owned(),
        Some(seconds) => format!("{} tables and {} rows, restored in {seconds:.0} s", verified.tables, verified.rows),
    };
    let warnings = match verified.warnings {
        0 => String::new(),
        count => format!(", {}", text::count(count, "warning")),
    };
    format!("{word}: {restored}{warnings}")
}

fn age(report: &Report, previous: Option<Previous>) -> String {
    previous.map_or("none known".to_owned(), |previous| {
        let ago = text::duration(report.finished - previous.started);
        format!("{ago} ago ({})", previous.started.format("%F %T UTC"))
    })
}

/// Change of those that have a previous backup against it, such as ` (+12 %)`.
fn change<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let sizes = entries.filter_map(|entry| Some((entry.backup.as_ref()?.stored_bytes, entry.previous?.stored_bytes)));
    let (now, before) = sizes.fold((0, 0), |(now, before), (one, other)| (now + one, before + other));
    if before == 0 {
        return String::new();
    }
    #[allow(clippy::cast_precision_loss)]
    let percent = (now as f64 / before as f64 - 1.0) * 100.0;
    format!(" ({percent:+.0} % against the previous)")
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
