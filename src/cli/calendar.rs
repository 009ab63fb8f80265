//! What retention keeps, as a calendar: a row for each month, a mark for each day. Never wider than 70 columns.

use crate::config::BackupType;
use crate::inventory::retention::Decision;
use crate::repository::{Backup, Side};
use crate::text;
use chrono::Datelike;
use chrono_tz::Tz;
use std::collections::BTreeMap;

/// Databases that get one at most; the table has all.
const MOST_DATABASES: usize = 10;
const DAYS: &str = "1   5    10   15   20   25   30 ";
/// A day whose backups all go.
const GOES: char = '-';
const NONE: char = '.';

/// One backup, as far as a calendar shows it.
struct DayMark {
    subject: String,
    year: i32,
    month: u32,
    /// From 0.
    day: usize,
    kind: BackupType,
    stays: bool,
}

/// One month of one database.
struct Month {
    days: [char; 31],
    stay: usize,
    go: usize,
}

impl Month {
    fn new(year: i32, month: u32) -> Self {
        let exists = |day: u32| chrono::NaiveDate::from_ymd_opt(year, month, day + 1).is_some();
        let days = std::array::from_fn(|day| if exists(u32::try_from(day).unwrap_or(31)) { NONE } else { ' ' });
        Self { days, stay: 0, go: 0 }
    }

    /// Of several backups of a day the one shows that is kept longest.
    fn add(&mut self, mark: &DayMark) {
        *(if mark.stays { &mut self.stay } else { &mut self.go }) += 1;
        let letter = if mark.stays { letter(mark.kind) } else { GOES };
        if let Some(day) = self.days.get_mut(mark.day).filter(|day| rank(letter) > rank(**day)) {
            *day = letter;
        }
    }
}

fn letter(kind: BackupType) -> char {
    match kind {
        BackupType::Auto => 'a',
        BackupType::Daily => 'd',
        BackupType::Weekly => 'w',
        BackupType::Monthly => 'm',
        BackupType::Manual => 'x',
    }
}

fn rank(letter: char) -> usize {
    [NONE, GOES, 'a', 'd', 'w', 'm', 'x'].iter().position(|other| *other == letter).unwrap_or_default()
}

/// The calendars of one side, and what their letters mean; days are those of the zone.
pub(super) fn draw(side: Side, decisions: &[(Backup, Decision)], zone: Tz) -> Vec<String> {
    let marks = decisions.iter().map(|(backup, decision)| {
        let day = backup.manifest.started.with_timezone(&zone).date_naive();
        DayMark {
            subject: text::one_line(&backup.manifest.subject.to_string()).into_owned(),
            year: day.year(),
            month: day.month(),
            day: usize::try_from(day.day0()).unwrap_or_default(),
            kind: backup.manifest.backup_type,
            stays: decision.keep,
        }
    });
    let mut lines = vec![format!("what is kept on the {} side, by day ({zone}):", side.as_str())];
    lines.extend(months(marks));
    lines
}

fn months(marks: impl Iterator<Item = DayMark>) -> Vec<String> {
    let mut subjects: BTreeMap<String, BTreeMap<(i32, u32), Month>> = BTreeMap::new();
    for mark in marks {
        let months = subjects.entry(mark.subject.clone()).or_default();
        months.entry((mark.year, mark.month)).or_insert_with(|| Month::new(mark.year, mark.month)).add(&mark);
    }
    let mut lines = Vec::new();
    for (subject, months) in subjects.iter().take(MOST_DATABASES) {
        lines.push(String::new());
        lines.push(format!(" {subject}"));
        lines.push(format!("   {:7}  {DAYS}  KEEP  DELETE", ""));
        for ((year, month), Month { days, stay, go }) in months {
            let days: String = days.iter().collect();
            lines.push(format!("   {year:04}-{month:02}  {days}  {stay:4}  {go:6}"));
        }
    }
    if let Some(more) = subjects.len().checked_sub(MOST_DATABASES).filter(|more| *more > 0) {
        lines.push(String::new());
        lines.push(format!(" and {}, which the table shows", text::count(more, "other database")));
    }
    lines.push(String::new());
    lines.push(" a auto, d daily, w weekly, m monthly, x manual: kept; - deleted".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_shows_what_is_kept_longest_and_a_month_has_its_own_length() {
        let mark = |month, day: usize, kind, stays| DayMark {
            subject: "shop".to_owned(),
            year: 2026,
            month,
            day: day - 1,
            kind,
            stays,
        };
        let marks = [
            mark(2, 1, BackupType::Monthly, true),
            mark(2, 1, BackupType::Auto, false),
            mark(2, 27, BackupType::Auto, false),
            mark(2, 28, BackupType::Weekly, true),
            mark(3, 1, BackupType::Daily, true),
            mark(3, 1, BackupType::Manual, true),
            mark(3, 2, BackupType::Auto, true),
        ];
        insta::assert_snapshot!(months(marks.into_iter()).join("\n"), @r"
         shop
                    1   5    10   15   20   25   30   KEEP  DELETE
           2026-02  m.........................-w        2       2
           2026-03  xa.............................     3       0

         a auto, d daily, w weekly, m monthly, x manual: kept; - deleted
        ");
    }
}
