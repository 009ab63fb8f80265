//! What a check found: a line each, and what to do next.

use crate::cli::table::Heading;
use crate::cli::tally::Tally;
use crate::cli::{json, output};
use crate::error::{Error, Exit};
use crate::text;
use serde::Serialize;

/// One line of the table.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    verdict: FindingVerdict,
    detail: String,
    hint: Option<String>,
}

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FindingVerdict {
    /// Nothing to do.
    Ok,
    /// A run works, and a person should know.
    Warning,
    /// A run fails.
    Failed,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct CheckDocument<'a> {
    checks: &'a [Finding],
    summary: FindingCounts,
}

/// How many findings there are of each verdict.
#[derive(Serialize)]
struct FindingCounts {
    ok: usize,
    warning: usize,
    failed: usize,
}

/// Findings, and the exit code of the first that is bad.
#[derive(Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    pub(super) exit: Option<Exit>,
}

impl Findings {
    pub(super) fn add(&mut self, check: &str, verdict: FindingVerdict, detail: String, hint: Option<String>) {
        self.list.push(Finding { check: check.to_owned(), verdict, detail, hint });
    }

    pub(super) fn good(&mut self, check: &str, detail: String) {
        self.add(check, FindingVerdict::Ok, detail, None);
    }

    pub(super) fn bad(&mut self, check: &str, error: &Error) {
        self.exit.get_or_insert(error.exit());
        self.add(check, FindingVerdict::Failed, error.to_string(), error.hint());
    }

    fn tally(&self) -> Tally {
        let count = |verdict| self.list.iter().filter(|finding| finding.verdict == verdict).count();
        Tally {
            ok: count(FindingVerdict::Ok),
            warnings: count(FindingVerdict::Warning),
            failed: count(FindingVerdict::Failed),
        }
    }

    pub(super) fn print_json(&self) -> Result<(), Error> {
        let Tally { ok, warnings, failed } = self.tally();
        let summary = FindingCounts { ok, warning: warnings, failed };
        json::print(&CheckDocument { checks: &self.list, summary })
    }

    /// How many came to what, and what to do next.
    fn summary(&self) -> String {
        let failed = || self.list.iter().filter(|finding| finding.verdict == FindingVerdict::Failed);
        let next = match (failed().find_map(|finding| finding.hint.as_ref()), failed().next()) {
            (Some(hint), _) => hint.clone(),
            (None, Some(first)) => format!("see the line about {}, then run `backup check` again", first.check),
            (None, None) => "`backup run`".to_owned(),
        };
        format!("{}; next: {next}", self.tally())
    }

    /// Prints a table, and what it comes to.
    pub(super) fn print(&self) -> Result<(), Error> {
        let row = |finding: &Finding| {
            let mark = match finding.verdict {
                FindingVerdict::Ok => "✓",
                FindingVerdict::Warning => "!",
                FindingVerdict::Failed => "✗",
            };
            let hint = finding.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            let detail = format!("{}{hint}", finding.detail);
            [mark, &finding.check, &detail].iter().map(|cell| text::one_line(cell).into_owned()).collect()
        };
        let headings = vec![Heading::text(""), Heading::text("CHECK").wraps(), Heading::text("RESULT").wraps()];
        output::print_table(headings, self.list.iter().map(row).collect())?;
        output::print("\n")?;
        output::say(&self.summary())
    }
}
