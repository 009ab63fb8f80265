//! `backup upload`

use super::find::Named;
use super::{SideArgument, json, output};
use crate::config::{Config, Target};
use crate::error::{Error, Exit, SettingsError, exit_of};
use crate::inventory::sides::{self, new_run_id};
use crate::inventory::upload::{self, UploadOutcome, UploadedBackup};
use crate::job::identity::identify;
use crate::job::presence;
use crate::progress::{self, Counters};
use crate::repository::{Backup, Repository};
use crate::shutdown::Shutdown;
use crate::text;
use chrono::Utc;
use clap::Args;
use serde::Serialize;
use std::io::IsTerminal;
use tracing::{Instrument, error, error_span, warn};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ids, or paths of archives; all of this source when none is given
    #[arg(value_name = "BACKUP")]
    backups: Vec<String>,
    /// An archive anywhere, with its manifest beside it
    #[arg(long, value_name = "PATH")]
    file: Vec<String>,
    /// Only backups of this source
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What is printed as JSON.
#[derive(Debug, Default, Serialize)]
struct UploadDocument {
    /// The store; none where it could not be opened.
    store: Option<String>,
    backups: Vec<UploadedBackup>,
    uploaded: usize,
    present: usize,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config, shutdown: &Shutdown) -> Result<Exit, Error> {
    let mut document = UploadDocument::default();
    let ended = upload(arguments, config, shutdown, &mut document).await;
    if arguments.json {
        return json::conclude("upload", &document, ended);
    }
    ended.map(|(exit, _)| exit)
}

async fn upload(
    arguments: &Arguments,
    config: &Config,
    shutdown: &Shutdown,
    document: &mut UploadDocument,
) -> Result<(Exit, Vec<Error>), Error> {
    let run_id = new_run_id();
    let is_named = !(arguments.backups.is_empty() && arguments.file.is_empty());
    let (wanted, store) = shutdown.guard(choose(arguments, config, &run_id)).await??;
    document.store = Some(store.location().name);
    // the session ends with this
    let _session = shutdown.guard(presence::announce(config, &run_id, &store, Utc::now())).await??;
    let source = arguments.source.as_ref().unwrap_or(&config.source.name);
    let chosen = upload::choose(config, wanted, &store, source, is_named, Utc::now());
    let mut choice = shutdown.guard(chosen).await??;
    choice.passed_over.iter().for_each(|reason| warn!("{reason}"));
    choice.errors.iter().for_each(|error| error!("{error}"));
    let counters = Counters::default();
    let bar = std::io::stderr().is_terminal().then(|| progress::show_bar(counters.clone(), choice.bytes()));
    let span = error_span!("run", run_id, source = config.source.name);
    let sending = upload::send_all(shutdown, &counters, &mut choice, &store).instrument(span).await;
    drop(bar);
    document.backups = std::mem::take(&mut choice.outcomes);
    let of = |outcome| document.backups.iter().filter(|one| one.outcome == outcome).count();
    (document.uploaded, document.present) = (of(UploadOutcome::Uploaded), of(UploadOutcome::Present));
    let sent = sending?;
    if !arguments.json {
        let (sent, present) = (text::count(sent, "backup"), choice.present);
        choice.errors.extend(output::print(&format!("{sent} uploaded, {present} already there\n")).err());
    }
    Ok((exit_of(choice.errors.iter(), sent > 0), choice.errors))
}

/// The backups that are to be in the store, the oldest first, and the store.
async fn choose(
    arguments: &Arguments,
    config: &Config,
    run_id: &str,
) -> Result<(Vec<(Repository, Backup)>, Repository), Error> {
    let remote = sides::open(config, Target::Remote, run_id).await?;
    let store = remote.into_iter().next();
    let store = store.ok_or_else(|| Error::Settings(SettingsError::Usage("there is no store".to_owned())))?;
    let local = sides::open(config, Target::Local, run_id).await?;
    let mut wanted = Vec::new();
    for name in arguments.backups.iter().chain(&arguments.file) {
        let (source, location) = (arguments.source.clone(), Some(SideArgument::Local));
        let named = Named { name: name.clone(), database: None, source, location };
        wanted.push(named.find_on(&local, config, run_id, |_| true).await?);
    }
    if wanted.is_empty() {
        let source = arguments.source.as_ref().unwrap_or(&config.source.name);
        identify(config, local.iter().chain([&store])).await;
        for repository in local {
            let backups = repository.catalog().await?.backups.into_iter();
            let own = backups.filter(|backup| backup.is_of(source));
            wanted.extend(own.map(|backup| (repository.clone(), backup)));
        }
    }
    Ok((wanted, store))
}
