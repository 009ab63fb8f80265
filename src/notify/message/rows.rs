//! The rows of a message.

use super::{Row, Text, compare, cut, next_command};
use crate::report::{Entry, Failure, Outcome, Previous, Report};
use crate::text;

/// Rows for what failed, where several databases were to be saved; the rest is named in one row.
const FAILURE_ROWS: usize = 12;
/// Characters of the causes in such a row, and of a list.
const FAILURE_ROW: usize = 300;
/// Names in one row.
const NAMES: usize = 30;
/// Rows for what needs attention.
const ALARM_ROWS: usize = 5;
/// Exceptions that a message names.
const EXCEPTIONS: usize = 5;

#[derive(Default)]
pub(super) struct MessageRows(pub(super) Vec<Row>);

impl MessageRows {
    pub(super) fn of(report: &Report) -> Self {
        let mut rows = Self::default();
        report.alarms.iter().take(ALARM_ROWS).for_each(|alarm| rows.add("Needs attention", alarm, false));
        if let Some(more) = report.alarms.len().checked_sub(ALARM_ROWS).filter(|more| *more > 0) {
            rows.add(
                "Needs attention",
                &format!("{more} more; the log names them, and so does `backup status`"),
                false,
            );
        }
        match (report.only(), report.entries.as_slice()) {
            (Some(entry), _) => rows.add_one(report, entry),
            (None, entries) => rows.add_several(report, entries),
        }
        rows
    }

    fn add(&mut self, name: &str, text: &str, short: bool) {
        self.0.push(Row { name: name.to_owned(), text: Text::Plain(text.to_owned()), short });
    }

    fn add_code(&mut self, name: &str, text: &str) {
        self.0.push(Row { name: name.to_owned(), text: Text::Code(text.to_owned()), short: false });
    }

    fn add_one(&mut self, report: &Report, entry: &Entry) {
        if entry.backup.is_some() {
            self.add_numbers(std::iter::once(entry));
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
        self.add_command(report);
        self.add_next_run(report);
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

    /// Several databases: a row for each one that failed, and sums.
    fn add_several(&mut self, report: &Report, entries: &[Entry]) {
        report.failures.iter().for_each(|failure| self.add_failure(failure));
        self.add_failed_entries(report, entries);
        self.add_command(report);
        let saved = entries.iter().filter(|entry| entry.backup.is_some());
        let is_stored = saved.clone().next().is_some();
        if is_stored {
            self.add_numbers(saved);
        }
        self.add_run(report);
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
        let passed =
            entries.iter().filter_map(|entry| Some((entry, entry.verified.as_ref()?))).filter(|(_, one)| one.passed);
        let excepted: Vec<String> = passed
            .filter(|(_, verified)| !verified.exceptions.is_empty())
            .map(|(entry, verified)| format!("{} ({})", name(entry), verified.exceptions.len()))
            .collect();
        if !excepted.is_empty() {
            self.add("Verified with exceptions", &text::some(&excepted, NAMES), false);
        }
        self.add_next_run(report);
        let notes: Vec<&str> = entries.iter().flat_map(|entry| &entry.notes).map(String::as_str).collect();
        if !notes.is_empty() {
            self.add(&text::count(notes.len(), "note"), &notes.join("\n"), false);
        }
    }

    /// A row for each that failed, and one for those that were never begun.
    fn add_failed_entries(&mut self, report: &Report, entries: &[Entry]) {
        let failed: Vec<&Entry> = entries.iter().filter(|entry| !entry.failures.is_empty()).collect();
        for entry in failed.iter().take(FAILURE_ROWS) {
            let causes: Vec<String> = entry.failures.iter().map(Failure::what_happened).collect();
            let mut lines = vec![cut(&causes.join("\n"), FAILURE_ROW)];
            let hints = entry.failures.iter().filter_map(|failure| failure.hint.as_deref());
            lines.extend(hints.take(1).map(|hint| format!("What to do: {}", cut(hint, FAILURE_ROW))));
            lines.push(format!("Last good backup: {}", age(report, entry.previous)));
            self.add(&name(entry), &lines.join("\n"), false);
        }
        let names = |entries: &[&Entry]| {
            let names: Vec<String> = entries.iter().map(|entry| name(entry)).collect();
            text::some(&names, NAMES)
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
                let text = format!("{}: {}", name(entry), age(report, entry.previous));
                self.add("Oldest last good backup", &text, false);
            }
        }
    }

    fn add_numbers<'a>(&mut self, saved: impl Iterator<Item = &'a Entry> + Clone) {
        self.add("Size", &compare::size(saved.clone()), true);
        self.add("Rows", &compare::rows(saved), true);
    }

    fn add_run(&mut self, report: &Report) {
        self.add("Duration", &text::duration(report.duration()), true);
        self.add("Type", report.backup_type.as_str(), true);
        if let Some(since) = report.failing_since {
            let name = if report.outcome == Outcome::Success { "Had been failing since" } else { "Failing since" };
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
        self.add("Cause", &failure.cause, false);
        if let Some(hint) = &failure.hint {
            self.add("What to do", hint, false);
        }
        if let Some(stderr) = failure.stderr.as_deref().filter(|text| !text.is_empty()) {
            self.0.push(Row {
                name: "Last lines of stderr".to_owned(),
                text: Text::Lines(stderr.to_owned()),
                short: false,
            });
        }
    }

    fn add_command(&mut self, report: &Report) {
        if let Some(command) = next_command(report) {
            self.add_code("Run next", &command);
        }
    }

    fn add_next_run(&mut self, report: &Report) {
        if let Some(next) = report.next_run {
            let until = text::duration(next.time - report.finished);
            let kind = next.backup_type.as_str();
            self.add("Next run", &format!("{} ({kind}), in {until}", next.time.format("%F %H:%M UTC")), true);
        }
    }
}

fn name(entry: &Entry) -> String {
    text::one_line(&entry.subject.to_string()).into_owned()
}

fn verified(entry: &Entry) -> String {
    let Some(verified) = &entry.verified else { return "no (not restored in this run)".to_owned() };
    let word = if verified.passed { "yes" } else { "FAILED" };
    let restored = match verified.restore_seconds {
        None => "stored bytes only".to_owned(),
        Some(seconds) => {
            let (tables, rows) = (text::count(verified.tables, "table"), text::count(verified.rows, "row"));
            format!("{tables} and {rows}, restored in {seconds:.0} s")
        }
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
