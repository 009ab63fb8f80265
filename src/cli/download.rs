//! `backup download`

use super::find::Named;
use super::output;
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::inventory::sides::new_run_id;
use crate::text;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    backup: Named,
    /// Folder to copy to
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, Error> {
    let run_id = new_run_id();
    let (repository, backup) = arguments.backup.find(config, &run_id).await?;
    let file = match repository.fetch(&backup, &arguments.output).await.map_err(Error::from) {
        Ok(file) => file,
        Err(error) => {
            arguments.backup.offer_readable(config, &run_id, &backup, &error).await;
            return Err(error);
        }
    };
    let manifest = &backup.manifest;
    output::print(&format!(
        "{} ({}, SHA-256 {})\n",
        file.display(),
        text::size(manifest.stored_bytes),
        manifest.sha256
    ))?;
    Ok(Exit::Done)
}
