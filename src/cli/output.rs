//! Printing, in one place. A reader that goes away early has seen enough; any other result that cannot be written is an
//! error.

use crate::error::Error;
use crate::text;
use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table, presets};
use std::io::{IsTerminal, Write};

/// Writes text to stdout.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// What became of output that was written.
pub(super) fn written(outcome: std::io::Result<()>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Io(format!("writing the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "backup: {}", text::one_line(text));
}

/// Writes a value as JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    print(&json(value))
}

/// A value as JSON, as it is written.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Colours, each with one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// As everything else.
    None,
    /// All is well.
    Green,
    /// Worth a look.
    Yellow,
    /// A person must act.
    Red,
    /// Nothing to look at.
    Dim,
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    colour: Colour,
}

impl Cell {
    pub(super) fn plain(text: String) -> Self {
        Self { text, colour: Colour::None }
    }

    pub(super) fn coloured(text: &str, colour: Colour) -> Self {
        Self { text: text.to_owned(), colour }
    }

    fn drawn(self, has_colours: bool) -> comfy_table::Cell {
        let cell = comfy_table::Cell::new(self.text);
        match self.colour {
            _ if !has_colours => cell,
            Colour::None => cell,
            Colour::Green => cell.fg(Color::Green),
            Colour::Yellow => cell.fg(Color::Yellow),
            Colour::Red => cell.fg(Color::Red).add_attribute(Attribute::Bold),
            Colour::Dim => cell.add_attribute(Attribute::Dim),
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::plain(text)
    }
}

/// Whether whoever reads sees colours, and wants to: <https://no-color.org>.
fn has_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Writes a line, as a cell is drawn.
pub(super) fn print_line(cell: Cell) -> Result<(), Error> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut row = Row::new();
    row.add_cell(cell.drawn(has_colours()).set_delimiter('\0'));
    table.add_row(row);
    print(&format!("{}\n", table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")))
}

/// Writes names and what belongs to them, a line each.
pub(super) fn print_pairs(lines: impl IntoIterator<Item = (&'static str, Cell)>) -> Result<(), Error> {
    let has_colours = has_colours();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for (name, cell) in lines {
        table.add_row([comfy_table::Cell::new(name), cell.drawn(has_colours)]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    print(&format!("{}\n", lines.join("\n")))
}

/// Writes rows under their headings; a column whose heading begins with `>` is aligned to the right. On a terminal the
/// last column wraps, and no other one: an id stays one word.
pub(super) fn print_table<C: Into<Cell>>(headings: &[&str], rows: Vec<Vec<C>>) -> Result<(), Error> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| heading.trim_start_matches('>')).collect::<Vec<_>>());
    let has_colours = has_colours();
    for row in rows {
        table.add_row(row.into_iter().map(|cell| cell.into().drawn(has_colours)).collect::<Vec<_>>());
    }
    let last = headings.len().saturating_sub(1);
    for ((index, column), heading) in table.column_iter_mut().enumerate().zip(headings) {
        if heading.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if index < last {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    print(&format!("{}\n", lines.join("\n")))
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
