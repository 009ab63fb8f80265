//! The message: one embed within Discord's limits.

use crate::human;
use crate::report::{Activity, Entry, Failure, Outcome, Previous, Report};
use serde_json::{Value, json};

/// Limits of an embed, from Discord's documentation, in characters.
const TITLE: usize = 256;
const DESCRIPTION: usize = 2000;
const FIELD: usize = 1024;
const FIELDS: usize = 25;
const TOTAL: usize = 6000;

const GREEN: u32 = 0x2e_cc71;
const AMBER: u32 = 0xf1_c40f;
const RED: u32 = 0xe7_4c3c;

/// Rows for what failed, where several databases were to be saved; the rest is named in one row.
const FAILURE_ROWS: usize = 12;
/// Characters of such a row.
const FAILURE_ROW: usize = 300;

/// The message. Mentions are switched off, whatever a database is called.
pub(super) fn message(report: &Report) -> Value {
    let unproved = report.entries.iter().any(|entry| entry.verified.as_ref().is_some_and(|verified| !verified.passed));
    let (colour, word) = match (report.outcome, report.activity) {
        (Outcome::Success, Activity::Backup) => (GREEN, "Backup done"),
        (Outcome::Success, Activity::Verification) => (GREEN, "Verification passed"),
        (Outcome::Partial, _) => (AMBER, "Backup partly done"),
        (Outcome::Failure, Activity::Backup) if !unproved => (RED, "Backup failed"),
        (Outcome::Failure, _) => (RED, "Verification failed"),
    };
    let mut fields = Fields::default();
    match (report.only(), report.entries.as_slice()) {
        (Some(entry), _) => add_one(&mut fields, report, entry),
        (None, entries) => add_several(&mut fields, report, entries),
    }
    let title = cut(&format!("{word}: {}", human::one_line(&report.summary())), TITLE);
    let shard = report.shard.as_ref().map(|shard| format!(", shard {shard}")).unwrap_or_default();
    let description = cut(&format!("Source {}, run {}{shard}", report.source, report.run_id), DESCRIPTION);
    let room = TOTAL - count(&title) - count(&description);
    json!({
        "allowed_mentions": { "parse": [] },
        "embeds": [{
            "title": title,
            "description": description,
            "color": colour,
            "timestamp": report.finished.to_rfc3339(),
            "fields": fields.within(room),
        }],
    })
}

fn add_one(fields: &mut Fields, report: &Report, entry: &Entry) {
    if let Some(stored) = &entry.backup {
        fields.add("Size", &format!("{}{}", human::size(stored.stored_bytes), change([entry].into_iter())), true);
    }
    add_run(fields, report);
    for place in &entry.places {
        let name = if place.stored { "Location" } else { "Not stored" };
        fields.add(name, &format!("`{}`", plain(&place.location)), false);
    }
    if let Some(stored) = &entry.backup {
        fields.add("SHA-256", &format!("`{}`", stored.sha256), false);
        fields.add("Verified", &verified(entry), entry.verified.is_none());
        fields.add("Pruned", &report.pruned.len().to_string(), true);
    }
    add_kept(fields, report);
    entry.notes.iter().for_each(|note| fields.add("Note", note, false));
    entry.failures.iter().chain(&report.failures).for_each(|failure| add_failure(fields, failure));
    if report.outcome == Outcome::Failure {
        fields.add("Last good backup", &age(report, entry.previous), false);
    }
}

fn verified(entry: &Entry) -> String {
    let Some(verified) = &entry.verified else { return "no (no restore was tried)".to_owned() };
    let word = if verified.passed { "yes" } else { "FAILED" };
    let restored = match verified.restore_seconds {
        None => "stored bytes only".to_owned(),
        Some(seconds) => format!("{} tables and {} rows, restored in {seconds:.0} s", verified.tables, verified.rows),
    };
    let warnings = match verified.warnings {
        0 => String::new(),
        count => format!(", {}", human::count(count, "warning")),
    };
    format!("{word}: {restored}{warnings}")
}

/// Several databases: sums, and a row for each one that failed.
fn add_several(fields: &mut Fields, report: &Report, entries: &[Entry]) {
    let saved = entries.iter().filter(|entry| entry.backup.is_some());
    if saved.clone().next().is_some() {
        fields.add("Size", &format!("{}{}", human::size(report.stored_bytes()), change(saved)), true);
    }
    add_run(fields, report);
    for target in &report.targets {
        let place = |entry: &&Entry| entry.places.iter().any(|p| p.stored && p.location.starts_with(target.as_str()));
        let stored = entries.iter().filter(place).count();
        fields.add("Location", &format!("`{}`: {stored} of {}", plain(target), entries.len()), false);
    }
    if entries.iter().any(|entry| entry.verified.is_some()) {
        let passed = |entry: &&Entry| entry.verified.as_ref().is_some_and(|verified| verified.passed);
        let passed = entries.iter().filter(passed).count();
        fields.add("Verified", &format!("{passed} of {}", entries.len()), true);
    }
    fields.add("Pruned", &report.pruned.len().to_string(), true);
    add_kept(fields, report);
    report.failures.iter().for_each(|failure| add_failure(fields, failure));
    for entry in entries {
        entry.notes.iter().for_each(|note| fields.add("Note", note, false));
    }
    let failed: Vec<&Entry> = entries.iter().filter(|entry| !entry.failures.is_empty()).collect();
    for entry in failed.iter().take(FAILURE_ROWS) {
        let causes: Vec<String> = entry.failures.iter().map(ToString::to_string).collect();
        let row =
            format!("{}\nLast good backup: {}", cut(&causes.join("\n"), FAILURE_ROW), age(report, entry.previous));
        fields.add(&human::one_line(&entry.subject.to_string()), &row, false);
    }
    let names = |entries: &[&Entry]| {
        let names: Vec<String> =
            entries.iter().map(|entry| human::one_line(&entry.subject.to_string()).into_owned()).collect();
        names.join(", ")
    };
    if let Some(more) = failed.get(FAILURE_ROWS..).filter(|more| !more.is_empty()) {
        fields.add(&format!("{} more failed", more.len()), &names(more), false);
    }
    let untouched = |entry: &&Entry| entry.backup.is_none() && entry.failures.is_empty() && entry.notes.is_empty();
    let untouched: Vec<&Entry> = entries.iter().filter(untouched).collect();
    if !untouched.is_empty() {
        fields.add(&format!("{} not saved", untouched.len()), &names(&untouched), false);
    }
}

fn add_run(fields: &mut Fields, report: &Report) {
    fields.add("Duration", &human::duration(report.duration()), true);
    fields.add("Type", report.backup_type.as_str(), true);
}

fn add_kept(fields: &mut Fields, report: &Report) {
    if let Some((count, bytes)) = report.kept {
        fields.add("Kept locally", &format!("{}, {}", human::count(count, "backup"), human::size(bytes)), true);
    }
}

fn add_failure(fields: &mut Fields, failure: &Failure) {
    fields.add("Stage", failure.stage, true);
    fields.add("Cause", &failure.cause, false);
    if let Some(hint) = &failure.hint {
        fields.add("What to do", hint, false);
    }
    if let Some(stderr) = failure.stderr.as_deref().filter(|text| !text.is_empty()) {
        fields.add("Last lines", &code_block(stderr), false);
    }
}

fn age(report: &Report, previous: Option<Previous>) -> String {
    previous.map_or("none known".to_owned(), |previous| {
        let ago = human::duration(report.finished - previous.started);
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

#[derive(Default)]
struct Fields(Vec<(String, String, bool)>);

impl Fields {
    fn add(&mut self, name: &str, value: &str, inline: bool) {
        // empty ones are refused
        let [name, value] = [name, value].map(|text| if text.trim().is_empty() { "-" } else { text });
        self.0.push((cut(name, TITLE), cut(value, FIELD), inline));
    }

    /// As many as fit, the first ones first.
    fn within(self, mut room: usize) -> Vec<Value> {
        let mut rendered = Vec::new();
        for (name, value, inline) in self.0.into_iter().take(FIELDS) {
            let length = count(&name) + count(&value);
            if length > room {
                break;
            }
            room -= length;
            rendered.push(json!({ "name": name, "value": value, "inline": inline }));
        }
        rendered
    }
}

/// Discord counts UTF-16 units.
fn count(text: &str) -> usize {
    text.encode_utf16().count()
}

fn cut(text: &str, limit: usize) -> String {
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

fn plain(text: &str) -> String {
    text.replace('`', "'")
}

/// The end of the text is what matters.
fn code_block(text: &str) -> String {
    let text = plain(text);
    let excess = count(&text).saturating_sub(FIELD - 8);
    let tail: String = text.chars().skip(excess).collect();
    format!("```\n{tail}\n```")
}

#[cfg(test)]
mod tests;
