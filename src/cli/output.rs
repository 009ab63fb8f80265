//! Printing, in one place. A reader that goes away early has seen enough; any other result that cannot be written is an
//! error.

use super::table::{Heading, TableView, draw_pairs, draw_sentence};
use crate::error::Error;
use crate::logging;
use crate::text;
use std::io::{IsTerminal, Write};
use tracing::error;

/// Names that one line lists at most.
pub(super) const MOST_NAMES: usize = 10;

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

/// Writes a line to stderr, as one of the log where that is for machines.
pub(super) fn complain(text: &str) {
    if logging::is_json() {
        error!("{text}");
    } else {
        let _ = writeln!(std::io::stderr().lock(), "backup: {}", text::one_line(text));
    }
}

/// Says what went wrong, and what to do.
pub(super) fn complain_of(error: &Error) {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    complain(&format!("{error}{hint}"));
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

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A part of its text as the terminal shows it.
    pub(super) fn drawn(&self, text: &str, has_colours: bool) -> String {
        let code = match self.colour {
            Colour::None => return text.to_owned(),
            _ if !has_colours || text.is_empty() => return text.to_owned(),
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Red => "1;31",
            Colour::Dim => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
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

/// Columns of the terminal that stdout is; none where it is something else, which gets everything whole.
fn width() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// True where a person reads what is printed.
pub(super) fn is_terminal() -> bool {
    width().is_some()
}

/// Writes lines as they are.
pub(super) fn print_lines(lines: &[String]) -> Result<(), Error> {
    print(&format!("{}\n", lines.join("\n")))
}

/// Writes a sentence, as a cell is drawn.
pub(super) fn print_line(cell: &Cell) -> Result<(), Error> {
    print_lines(&draw_sentence(cell, width(), has_colours()))
}

/// Writes a sentence.
pub(super) fn say(text: &str) -> Result<(), Error> {
    print_line(&Cell::plain(text::one_line(text).into_owned()))
}

/// Writes names and what belongs to them, a line each; on a terminal what is longer wraps.
pub(super) fn print_pairs(lines: impl IntoIterator<Item = (&'static str, Cell)>) -> Result<(), Error> {
    let lines: Vec<(&str, Cell)> = lines.into_iter().collect();
    let pairs: Vec<(&str, &Cell)> = lines.iter().map(|(name, cell)| (*name, cell)).collect();
    print_lines(&draw_pairs(&pairs, width(), has_colours()))
}

/// Writes rows under their headings. On a terminal that is narrower than the table, columns wrap or are left out as
/// their headings say.
pub(super) fn print_table<C: Into<Cell>>(headings: Vec<Heading>, rows: Vec<Vec<C>>) -> Result<(), Error> {
    let rows = rows.into_iter().map(|row| row.into_iter().map(Into::into).collect()).collect();
    print_lines(&TableView::new(headings, rows).draw(width(), has_colours()))
}
