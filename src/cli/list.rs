//! `backup list`

use super::{Kind, Location, new_run_id, output, sides};
use crate::config::{BackupType, Config, Target};
use crate::error::{Error, Exit};
use crate::facts::Subject;
use crate::human;
use crate::job::SideKind;
use crate::repository::Backup;
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only this database
    #[arg(long)]
    database: Option<String>,
    /// Only this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Only this source
    #[arg(long)]
    source: Option<String>,
    /// Side to look at [default: BACKUP_TARGET]
    #[arg(long, conflicts_with = "cloud")]
    location: Option<Location>,
    /// Same as --location remote
    #[arg(long)]
    cloud: bool,
    /// Show files that are no backups, too
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One backup, wherever it is.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    source: String,
    #[serde(flatten)]
    subject: Subject,
    #[serde(rename = "type")]
    backup_type: BackupType,
    started: DateTime<Utc>,
    stored_bytes: u64,
    sha256: String,
    locations: Vec<Place>,
    verified: bool,
    failed_verification: bool,
}

#[derive(Debug, Serialize)]
struct Place {
    side: &'static str,
    path: String,
}

#[derive(Debug, Serialize)]
struct Listing {
    backups: Vec<Row>,
    foreign: Vec<String>,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, Error> {
    let target = match arguments.location {
        _ if arguments.cloud => Target::Remote,
        Some(location) => location.into(),
        None => config.target,
    };
    let listing = collect(arguments, config, target).await?;
    if arguments.json {
        output::print_json(&listing);
    } else {
        show(&listing);
    }
    Ok(Exit::Done)
}

async fn collect(arguments: &Arguments, config: &Config, target: Target) -> Result<Listing, Error> {
    let mut rows: BTreeMap<(DateTime<Utc>, String, String), Row> = BTreeMap::new();
    let mut foreign = Vec::new();
    for side in sides(config, target, &new_run_id()).await? {
        let location = side.repository.location();
        let catalog = side.repository.catalog().await?;
        for backup in catalog.backups.iter().filter(|backup| wanted(arguments, backup)) {
            let manifest = &backup.manifest;
            let key = (manifest.started, manifest.source.clone(), manifest.id.clone());
            let place = match side.kind {
                SideKind::Local => "local",
                SideKind::Remote => "remote",
            };
            let row = rows.entry(key).or_insert_with(|| Row {
                id: manifest.id.clone(),
                source: manifest.source.clone(),
                subject: manifest.subject.clone(),
                backup_type: manifest.backup_type,
                started: manifest.started,
                stored_bytes: manifest.stored_bytes,
                sha256: manifest.sha256.clone(),
                locations: Vec::new(),
                verified: backup.is_verified(),
                failed_verification: !backup.is_good() && backup.intact,
            });
            row.verified |= backup.is_verified();
            row.failed_verification |= backup.intact && !backup.is_good();
            row.locations.push(Place { side: place, path: location.of(&backup.key) });
        }
        if arguments.all {
            foreign.extend(catalog.foreign.iter().map(|object| location.of(&object.key)));
        }
    }
    Ok(Listing { backups: rows.into_values().rev().collect(), foreign })
}

fn wanted(arguments: &Arguments, backup: &Backup) -> bool {
    let manifest = &backup.manifest;
    arguments.database.as_ref().is_none_or(|database| manifest.subject.database() == Some(database))
        && arguments.source.as_ref().is_none_or(|source| *source == manifest.source)
        && arguments.kind.is_none_or(|kind| BackupType::from(kind) == manifest.backup_type)
}

fn show(listing: &Listing) {
    if listing.backups.is_empty() {
        output::print("no backups\n");
    } else {
        let several_sources = listing.backups.iter().any(|row| row.source != listing.backups[0].source);
        let row = |row: &Row| {
            let sides: Vec<&str> = row.locations.iter().map(|place| place.side).collect();
            let mut cells = vec![
                row.id.clone(),
                human::one_line(&row.subject.to_string()).into_owned(),
                row.backup_type.as_str().to_owned(),
                row.started.format("%Y-%m-%d %H:%M:%S").to_string(),
                human::duration(Utc::now() - row.started),
                human::size(row.stored_bytes),
                sides.join("+"),
                match (row.failed_verification, row.verified) {
                    (true, _) => "FAILED",
                    (false, true) => "yes",
                    (false, false) => "no",
                }
                .to_owned(),
            ];
            cells.extend(several_sources.then(|| row.source.clone()));
            cells
        };
        let mut headings = vec!["ID", "DATABASE", "TYPE", "TIME (UTC)", "AGE", "SIZE", "WHERE", "VERIFIED"];
        headings.extend(several_sources.then_some("SOURCE"));
        output::print_table(&headings, listing.backups.iter().map(row).collect());
    }
    for path in &listing.foreign {
        output::print(&format!("not a backup: {path}\n"));
    }
}
