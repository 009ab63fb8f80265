//! Tables, pairs and sentences as they fit a terminal of a known width; whole, one line a row, where there is none.

use super::output::Cell;
use std::collections::BTreeSet;
use unicode_width::UnicodeWidthStr;

/// Blanks between two columns.
const GAP: usize = 2;
/// A column that wraps is never narrower than this.
const LEAST_WRAPPED: usize = 24;

/// The heading of a column, and what becomes of the column where the terminal is narrow.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    text: String,
    is_number: bool,
    /// The highest goes first; 0 never goes.
    rank: u8,
    wraps: bool,
}

impl Heading {
    /// Aligned to the left, and never left out.
    pub(super) fn text(text: &str) -> Self {
        Self { text: text.to_owned(), is_number: false, rank: 0, wraps: false }
    }

    /// The same, aligned to the right.
    pub(super) fn number(text: &str) -> Self {
        Self { is_number: true, ..Self::text(text) }
    }

    /// Left out where the terminal is narrow: the highest rank first.
    pub(super) fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// Sentences, which may take several lines.
    pub(super) fn wraps(self) -> Self {
        Self { wraps: true, ..self }
    }
}

/// Rows under their headings.
pub(super) struct TableView {
    headings: Vec<Heading>,
    rows: Vec<Vec<Cell>>,
}

/// Columns that are shown, each with its width.
type Widths = Vec<(usize, usize)>;

impl TableView {
    pub(super) fn new(headings: Vec<Heading>, rows: Vec<Vec<Cell>>) -> Self {
        Self { headings, rows }
    }

    /// The lines of the table. Where not even the columns that never go fit, each row becomes lines of its own.
    pub(super) fn draw(&self, width: Option<usize>, has_colours: bool) -> Vec<String> {
        let whole =
            || (0..self.headings.len()).map(|index| (index, self.widest(index, UnicodeWidthStr::width))).collect();
        match width {
            None => self.lines(&whole(), has_colours),
            Some(width) => match self.fit(&whole(), width) {
                Some(widths) => self.lines(&widths, has_colours),
                None => self.records(width, has_colours),
            },
        }
    }

    fn widest(&self, index: usize, measure: impl Fn(&str) -> usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(index)).map(Cell::text);
        cells.chain([self.headings[index].text.as_str()]).map(measure).max().unwrap_or_default()
    }

    /// The columns that never go and, by rank, those that fit beside them; what wraps gets the room that is left.
    fn fit(&self, whole: &Widths, width: usize) -> Option<Widths> {
        let longest_word = |text: &str| text.split(' ').map(UnicodeWidthStr::width).max().unwrap_or_default();
        let least = |index: usize, wide: usize| match self.headings[index].wraps {
            true => wide.min(self.widest(index, longest_word).min(width / 2).max(LEAST_WRAPPED)),
            false => wide,
        };
        let rank = |index: usize| self.headings[index].rank;
        let with = |ranks: &BTreeSet<u8>| -> Option<Widths> {
            let columns = whole.iter().filter(|(index, _)| ranks.contains(&rank(*index)));
            let columns: Widths = columns.map(|(index, wide)| (*index, least(*index, *wide))).collect();
            let needed: usize = columns.iter().map(|(_, wide)| wide + GAP).sum();
            (needed < width + GAP).then_some(columns)
        };
        let mut ranks = BTreeSet::from([0]);
        let mut widths = with(&ranks)?;
        for rank in whole.iter().map(|(index, _)| rank(*index)).collect::<BTreeSet<u8>>() {
            ranks.insert(rank);
            match with(&ranks) {
                Some(wider) => widths = wider,
                None => drop(ranks.remove(&rank)),
            }
        }
        let needed: usize = widths.iter().map(|(_, wide)| wide + GAP).sum();
        for _ in needed..=width {
            let lacks = |(index, wide): &&mut (usize, usize)| whole[*index].1 - *wide;
            let neediest = widths.iter_mut().max_by_key(lacks).filter(|column| lacks(column) > 0);
            neediest.into_iter().for_each(|(_, wide)| *wide += 1);
        }
        Some(widths)
    }

    fn lines(&self, widths: &Widths, has_colours: bool) -> Vec<String> {
        let headings: Vec<Cell> = self.headings.iter().map(|heading| Cell::plain(heading.text.clone())).collect();
        let all = std::iter::once(&headings).chain(&self.rows);
        all.flat_map(|row| self.row(row, widths, has_colours)).collect()
    }

    fn row(&self, row: &[Cell], widths: &Widths, has_colours: bool) -> Vec<String> {
        let empty = Cell::plain(String::new());
        let cells: Vec<&Cell> = widths.iter().map(|(index, _)| row.get(*index).unwrap_or(&empty)).collect();
        let mut texts: Vec<Vec<String>> =
            cells.iter().zip(widths).map(|(cell, (_, width))| wrap(cell.text(), *width)).collect();
        let mut lines = Vec::new();
        while lines.is_empty() || texts.iter().any(|texts| !texts.is_empty()) {
            // a word that is wider than its column stands alone
            let is_wide = |texts: &Vec<String>, width| texts.first().is_some_and(|text| text.width() > width);
            let alone = (0..cells.len()).find(|at| !lines.is_empty() && is_wide(&texts[*at], widths[*at].1));
            if let Some(at) = alone {
                lines.push(format!(" {}", cells[at].drawn(&texts[at].remove(0), has_colours)));
                continue;
            }
            let mut line = String::from(" ");
            for ((cell, texts), (index, width)) in cells.iter().zip(&mut texts).zip(widths) {
                let text = if texts.is_empty() || is_wide(texts, *width) { String::new() } else { texts.remove(0) };
                let blanks = " ".repeat(width - text.width());
                let drawn = cell.drawn(&text, has_colours);
                let is_number = self.headings[*index].is_number;
                line += &if is_number { format!("{blanks}{drawn}") } else { format!("{drawn}{blanks}") };
                line += "  ";
            }
            lines.push(line.trim_end().to_owned());
        }
        lines
    }

    /// Each row by itself: a line for each column.
    fn records(&self, width: usize, has_colours: bool) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.rows {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            let named = self.headings.iter().map(|heading| heading.text.as_str()).zip(row);
            let pairs: Vec<(&str, &Cell)> = named.collect();
            lines.extend(draw_pairs(&pairs, Some(width), has_colours));
        }
        lines
    }
}

/// Names and what belongs to them; what wraps goes on under itself.
pub(super) fn draw_pairs(pairs: &[(&str, &Cell)], width: Option<usize>, has_colours: bool) -> Vec<String> {
    let names = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or_default();
    // a name that takes more than half of the line stands alone
    let names = names.min(width.map_or(usize::MAX, |width| width / 2));
    let indent = 1 + names + GAP;
    let mut lines = Vec::new();
    for (name, cell) in pairs {
        let is_alone = name.width() > names;
        lines.extend(is_alone.then(|| format!(" {name}")));
        let name = if is_alone { "" } else { *name };
        let room = width.map(|width| width.saturating_sub(indent).max(LEAST_WRAPPED));
        let texts = room.map_or_else(|| vec![cell.text().to_owned()], |room| wrap(cell.text(), room));
        for (number, text) in texts.iter().enumerate() {
            let name = if number == 0 { name } else { "" };
            if room.is_some_and(|room| text.width() > room) {
                // a word that is wider than the room stands alone
                lines.extend((!name.is_empty()).then(|| format!(" {name}")));
                lines.push(format!(" {}", cell.drawn(text, has_colours)));
                continue;
            }
            let blanks = " ".repeat(names - name.width() + GAP);
            lines.push(format!(" {name}{blanks}{}", cell.drawn(text, has_colours)).trim_end().to_owned());
        }
    }
    lines
}

/// A sentence, whose further lines are indented by two more than its first.
pub(super) fn draw_sentence(cell: &Cell, width: Option<usize>, has_colours: bool) -> Vec<String> {
    let text = cell.text().trim_start();
    let indent = " ".repeat(cell.text().len() - text.len());
    let Some(width) = width.filter(|width| cell.text().width() > *width) else {
        return vec![format!("{indent}{}", cell.drawn(text, has_colours))];
    };
    let lines = wrap(text, width.saturating_sub(indent.len() + 2).max(LEAST_WRAPPED));
    let lines = lines.iter().enumerate().map(|(number, line)| (if number == 0 { "" } else { "  " }, line));
    lines.map(|(more, line)| format!("{indent}{more}{}", cell.drawn(line, has_colours))).collect()
}

/// Lines of at most `width`, broken at blanks alone: a word that is longer, such as an id or a path, stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableView {
        let headings = vec![
            Heading::text("ID"),
            Heading::text("TYPE").rank(1),
            Heading::number("SIZE").rank(2),
            Heading::text("WHY").wraps(),
        ];
        let row = |cells: [&str; 4]| cells.map(|cell| Cell::plain(cell.to_owned())).to_vec();
        let why = "among the newest seven of its database and its type";
        TableView::new(
            headings,
            vec![row(["shop_1", "daily", "12 MiB", why]), row(["shop_22", "auto", "9 KiB", "old"])],
        )
    }

    #[test]
    fn without_a_terminal_a_table_is_whole_and_a_row_is_a_line() {
        insta::assert_snapshot!(table().draw(None, false).join("\n"), @r"
         ID       TYPE     SIZE  WHY
         shop_1   daily  12 MiB  among the newest seven of its database and its type
         shop_22  auto    9 KiB  old
        ");
    }

    #[test]
    fn sentences_wrap_before_a_column_is_left_out_and_never_to_a_letter_a_line() {
        insta::assert_snapshot!(table().draw(Some(56), false).join("\n"), @r"
         ID       TYPE     SIZE  WHY
         shop_1   daily  12 MiB  among the newest seven of its
                                 database and its type
         shop_22  auto    9 KiB  old
        ");
        insta::assert_snapshot!(table().draw(Some(44), false).join("\n"), @r"
         ID       TYPE   WHY
         shop_1   daily  among the newest seven of
                         its database and its type
         shop_22  auto   old
        ");
    }

    #[test]
    fn a_less_important_column_is_shown_where_a_wider_one_does_not_fit() {
        let headings = vec![Heading::text("A"), Heading::text("WIDE").rank(1), Heading::text("B").rank(2)];
        let rows = vec![["a", "a/very/long/path", "b"].map(|cell| Cell::plain(cell.to_owned())).to_vec()];
        assert_eq!(TableView::new(headings, rows).draw(Some(12), false), [" A  B", " a  b"]);
    }

    #[test]
    fn a_path_that_is_wider_than_its_column_stands_alone() {
        let headings = vec![Heading::text("NAME"), Heading::text("RESULT").wraps()];
        let path = "/a/path/that/is/far/too/long/for/this/column";
        let rows = vec![["folder", &format!("it is {path} or so")].map(|cell| Cell::plain(cell.to_owned())).to_vec()];
        let drawn = TableView::new(headings, rows).draw(Some(40), false);
        let path = format!(" {path}");
        assert_eq!(drawn, [" NAME    RESULT", " folder  it is", path.as_str(), "         or so"]);
    }

    #[test]
    fn where_nothing_more_can_go_each_row_has_lines_of_its_own() {
        insta::assert_snapshot!(table().draw(Some(20), false).join("\n"), @r"
         ID    shop_1
         TYPE  daily
         SIZE  12 MiB
         WHY   among the newest seven
               of its database and its
               type

         ID    shop_22
         TYPE  auto
         SIZE  9 KiB
         WHY   old
        ");
    }

    #[test]
    fn a_name_that_takes_more_than_half_of_the_line_stands_above_its_value() {
        let (name, value) = ("n".repeat(30), Cell::plain("value".to_owned()));
        let lines = draw_pairs(&[("a", &value), (&name, &value)], Some(40), false);
        let blanks = " ".repeat(20 + GAP);
        assert_eq!(lines, [format!(" a{}value", " ".repeat(19 + GAP)), format!(" {name}"), format!(" {blanks}value")]);
    }

    #[test]
    fn a_word_is_never_cut_and_wide_letters_count_twice() {
        assert_eq!(wrap("see /a/very/long/path/of/a/file now", 10), ["see", "/a/very/long/path/of/a/file", "now"]);
        assert_eq!(wrap("備份 備份 備份", 9), ["備份 備份", "備份"]);
    }
}
