//! Printing, in one place: a reader that goes away early is no error.

use crate::human;
use comfy_table::{ContentArrangement, Table, presets};
use std::io::{IsTerminal, Write};

/// Writes text to stdout.
pub(super) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Writes a line to stderr.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "backup: {}", human::one_line(text));
}

/// Writes a value as JSON.
pub(super) fn print_json(value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    print(&format!("{text}\n"));
}

/// Writes rows under their headings.
pub(super) fn print_table(headings: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.to_vec());
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in rows {
        table.add_row(row);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    print(&format!("{}\n", lines.join("\n")));
}

/// Asks for a word on the terminal; without a terminal the answer is no.
pub(super) fn confirm(question: &str, word: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let _ = write!(std::io::stderr().lock(), "{question} Type `{word}` to go on: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == word
}
