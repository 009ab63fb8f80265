//! How many checks came to what, in one phrase.

use crate::text;
use crate::verify::report::{Check, Verdict};

/// Checks by what they came to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) ok: usize,
    pub(super) warnings: usize,
    pub(super) failed: usize,
}

impl Tally {
    /// Those that had something to check.
    pub(super) fn of<'c>(checks: impl IntoIterator<Item = &'c Check>) -> Self {
        let mut tally = Self::default();
        for check in checks {
            match check.verdict {
                Verdict::Ok => tally.ok += 1,
                Verdict::Warning => tally.warnings += 1,
                Verdict::Failed => tally.failed += 1,
                Verdict::NotApplicable => {}
            }
        }
        tally
    }
}

/// `all 12 checks ok`, or `12 checks: 10 ok, 2 warnings`
impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.ok + self.warnings + self.failed;
        if all == self.ok {
            return match all {
                1 => f.write_str("1 check ok"),
                all => write!(f, "all {all} checks ok"),
            };
        }
        write!(f, "{}: {} ok", text::count(all, "check"), self.ok)?;
        if self.warnings > 0 {
            write!(f, ", {}", text::count(self.warnings, "warning"))?;
        }
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_is_counted() {
        let tally = |ok, warnings, failed| Tally { ok, warnings, failed }.to_string();
        assert_eq!(tally(12, 0, 0), "all 12 checks ok");
        assert_eq!(tally(1, 0, 0), "1 check ok");
        assert_eq!(tally(10, 2, 0), "12 checks: 10 ok, 2 warnings");
        assert_eq!(tally(0, 1, 1), "2 checks: 0 ok, 1 warning, 1 failed");
    }
}
