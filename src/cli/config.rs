//! `backup config`

use super::table::Heading;
use super::{OutputFormat, json, output};
use crate::config::{Config, Effective};
use crate::error::{Error, Exit};
use crate::text;
use serde::Serialize;

/// What is printed as JSON.
#[derive(Serialize)]
struct ConfigDocument<'a> {
    settings: &'a [Effective],
}

#[allow(clippy::unnecessary_wraps, reason = "every command answers alike")]
pub(super) fn execute(format: &OutputFormat, config: &Config) -> Result<Exit, Error> {
    if format.json {
        json::print(&ConfigDocument { settings: &config.effective })?;
        return Ok(Exit::Done);
    }
    let row = |setting: &Effective| {
        let value = setting.value.as_deref().unwrap_or("(unset)");
        [setting.name, value, &setting.source].map(|cell| text::one_line(cell).into_owned()).to_vec()
    };
    let headings = vec![Heading::text("SETTING"), Heading::text("VALUE").wraps(), Heading::text("SOURCE")];
    output::print_table(headings, config.effective.iter().map(row).collect())?;
    Ok(Exit::Done)
}
