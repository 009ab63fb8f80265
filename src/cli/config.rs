//! `backup config`

use super::table::Heading;
use super::{OutputFormat, output};
use crate::config::Config;
use crate::error::{Error, Exit};

#[allow(clippy::unnecessary_wraps, reason = "every command answers alike")]
pub(super) fn execute(format: &OutputFormat, config: &Config) -> Result<Exit, Error> {
    if format.json {
        output::print_json(&config.effective)?;
        return Ok(Exit::Done);
    }
    let row = |setting: &crate::config::Effective| {
        vec![
            setting.name.to_owned(),
            setting.value.clone().unwrap_or_else(|| "(unset)".to_owned()),
            setting.source.clone(),
        ]
    };
    let headings = vec![Heading::text("SETTING"), Heading::text("VALUE").wraps(), Heading::text("SOURCE")];
    output::print_table(headings, config.effective.iter().map(row).collect())?;
    Ok(Exit::Done)
}
