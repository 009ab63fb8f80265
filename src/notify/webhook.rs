//! Any service: the report itself.

use super::message::title;
use crate::report::Report;
use serde::Serialize;
use serde_json::Value;

/// Version of the form; raised when a field is renamed or removed.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    title: String,
    #[serde(flatten)]
    report: &'a Report,
}

/// The report as JSON; docs/schemas/report.json is its form.
pub(super) fn render(report: &Report) -> Value {
    serde_json::to_value(Body { version: VERSION, title: title(report), report }).unwrap_or_default()
}
