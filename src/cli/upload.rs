//! `backup upload`

use super::find::Named;
use super::{Location, new_run_id, output, sides};
use crate::config::{Config, Target};
use crate::error::{Error, Exit, exit_of};
use crate::human;
use crate::job::AbortOnDrop;
use crate::job::prune;
use crate::job::upload::{self, Lot, Sent};
use crate::progress::{self, Counters};
use crate::repository::{Backup, Repository};
use crate::shutdown::Shutdown;
use chrono::Utc;
use clap::Args;
use std::collections::HashSet;
use std::io::IsTerminal;
use tracing::{error, info, warn};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ids, or paths of archives; all of this source in the folder when none is given
    #[arg(value_name = "BACKUP")]
    backups: Vec<String>,
    /// An archive that lies anywhere, with its manifest beside it
    #[arg(long, value_name = "PATH")]
    file: Vec<String>,
    /// Only backups of this source
    #[arg(long)]
    source: Option<String>,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config, shutdown: &Shutdown) -> Result<Exit, Error> {
    let run_id = new_run_id();
    let is_named = !(arguments.backups.is_empty() && arguments.file.is_empty());
    let (wanted, store) = shutdown.guard(choose(arguments, config, &run_id)).await??;
    // the session ends with this
    let _session = shutdown.guard(upload::announce(config, &run_id, &store, Utc::now())).await??;
    let remote = shutdown.guard(store.catalog()).await??;
    let name = store.location().name;
    let source = arguments.source.as_ref().unwrap_or(&config.source.name);
    let own = |backup: &&Backup| backup.manifest.source == *source;
    let here: Vec<Backup> = wanted.iter().map(|(_, backup)| backup).filter(own).cloned().collect();
    let there: Vec<Backup> = remote.backups.iter().filter(own).cloned().collect();
    let kept = prune::missing_remotely(config, &here, &there, Utc::now());
    let mut seen = HashSet::new();
    let (mut missing, mut errors, mut present) = (Vec::new(), Vec::new(), 0);
    for (from, backup) in wanted {
        if !seen.insert((backup.manifest.source.clone(), backup.manifest.identity())) {
            continue;
        }
        match upload::lot(&backup, &from.location().of(&backup.key), &remote, &name) {
            Lot::Missing if is_named || kept.contains(&backup.manifest.identity()) => missing.push((from, backup)),
            Lot::Missing => info!("{} is not sent, because the store would not keep it", backup.manifest.id),
            Lot::Present => present += 1,
            // what failed its verification stays where it is, and `status` tells of it
            Lot::Refused(error) if !is_named && !backup.is_good() => warn!("{error}"),
            Lot::Refused(error) => errors.push(error),
        }
    }
    errors.iter().for_each(|error| error!("{error}"));
    let bytes = missing.iter().map(|(_, backup)| backup.manifest.stored_bytes).sum();
    let counters = Counters::default();
    let bar = std::io::stderr().is_terminal().then(|| progress::show_bar(counters.clone(), bytes));
    let _bar = bar.map(AbortOnDrop::spawn);
    let mut sent = 0;
    for (from, backup) in &missing {
        match upload::send(config, shutdown, &counters, (from, backup), &store).await {
            Ok(Sent::Now) => sent += 1,
            Ok(Sent::Already) => present += 1,
            Err(Error::Stopped(stop)) => return Err(stop.into()),
            Err(error) => {
                error!("{} is not uploaded: {error}", backup.manifest.id);
                let is_gone = matches!(&error, Error::Storage(cause) if cause.is_transient());
                errors.push(error);
                if is_gone {
                    break;
                }
            }
        }
    }
    output::print(&format!("{} uploaded, {present} there already\n", human::count(sent, "backup")));
    Ok(exit_of(errors.iter(), sent > 0))
}

/// The backups that are to be in the store, the oldest first, and the store.
async fn choose(
    arguments: &Arguments,
    config: &Config,
    run_id: &str,
) -> Result<(Vec<(Repository, Backup)>, Repository), Error> {
    let remote = sides(config, Target::Remote, run_id).await?;
    let store = remote.into_iter().next().map(|side| side.repository);
    let store = store.ok_or_else(|| Error::Usage("there is no store".to_owned()))?;
    let mut wanted = Vec::new();
    for name in arguments.backups.iter().chain(&arguments.file) {
        let (source, location) = (arguments.source.clone(), Some(Location::Local));
        let named = Named { name: name.clone(), database: None, source, location };
        wanted.push(named.find(config, run_id).await?);
    }
    if wanted.is_empty() {
        let source = arguments.source.as_ref().unwrap_or(&config.source.name);
        for side in sides(config, Target::Local, run_id).await? {
            let backups = side.repository.catalog().await?.backups.into_iter();
            let own = backups.filter(|backup| backup.manifest.source == *source);
            wanted.extend(own.map(|backup| (side.repository.clone(), backup)));
        }
    }
    Ok((wanted, store))
}
