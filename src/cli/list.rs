//! `backup list`

use super::output::{Cell, Colour};
use super::{SideArgument, TypeArgument, json, output};
use crate::config::{BackupType, Config, Format, Target};
use crate::error::{Error, Exit};
use crate::inventory::sides::{self, new_run_id};
use crate::inventory::{Inventory, InventoryEntry, Replica};
use crate::job::identity::identify;
use crate::record::facts::Subject;
use crate::repository::{Repository, Side};
use crate::text;
use chrono::{DateTime, Utc};
use clap::Args;
use futures_util::future::try_join_all;
use serde::Serialize;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only this database
    #[arg(long)]
    database: Option<String>,
    /// Only this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<TypeArgument>,
    /// Only this source
    #[arg(long)]
    source: Option<String>,
    /// Side to look at [default: BACKUP_TARGET]
    #[arg(long, conflicts_with = "cloud")]
    location: Option<SideArgument>,
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
struct BackupRow {
    id: String,
    source: String,
    #[serde(flatten)]
    subject: Subject,
    #[serde(rename = "type")]
    backup_type: BackupType,
    format: Format,
    encrypted: bool,
    started: DateTime<Utc>,
    stored_bytes: u64,
    raw_bytes: u64,
    sha256: String,
    locations: Vec<CopyRow>,
    good: bool,
    verified: bool,
    failed_verification: bool,
}

#[derive(Debug, Serialize)]
struct CopyRow {
    side: Side,
    path: String,
    good: bool,
}

#[derive(Debug, Serialize)]
struct Listing {
    backups: Vec<BackupRow>,
    foreign: Vec<String>,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, Error> {
    let target = match arguments.location {
        _ if arguments.cloud => Target::Remote,
        Some(location) => location.into(),
        None => config.target,
    };
    let sides = sides::open(config, target, &new_run_id()).await?;
    identify(config, &sides).await;
    let mut inventory = look(&sides).await?;
    inventory.entries.retain(|entry| is_wanted(arguments, entry));
    if !arguments.all {
        inventory.foreign.clear();
    }
    if arguments.json {
        let backups = inventory.entries.iter().map(BackupRow::of).collect();
        json::print(&Listing { backups, foreign: inventory.foreign })?;
    } else {
        show(&inventory, Utc::now())?;
    }
    Ok(Exit::Done)
}

impl BackupRow {
    fn of(entry: &InventoryEntry) -> Self {
        let manifest = &entry.manifest;
        let place = |copy: &Replica| CopyRow { side: copy.side, path: copy.place.clone(), good: copy.good };
        Self {
            id: manifest.id.clone(),
            source: entry.source(),
            subject: manifest.subject.clone(),
            backup_type: manifest.backup_type,
            format: manifest.format,
            encrypted: manifest.encryption.is_some(),
            started: manifest.started,
            stored_bytes: manifest.stored_bytes,
            raw_bytes: manifest.raw_bytes,
            sha256: manifest.sha256.clone(),
            locations: entry.copies.iter().map(place).collect(),
            good: entry.is_good(),
            verified: entry.is_verified(),
            failed_verification: entry.has_failed(),
        }
    }
}

fn is_wanted(arguments: &Arguments, entry: &InventoryEntry) -> bool {
    let manifest = &entry.manifest;
    arguments.database.as_ref().is_none_or(|database| manifest.subject.database() == Some(database))
        && arguments.source.as_ref().is_none_or(|source| entry.is_of(source))
        && arguments.kind.is_none_or(|kind| BackupType::from(kind) == manifest.backup_type)
}

fn show(inventory: &Inventory, now: DateTime<Utc>) -> Result<(), Error> {
    let entries = &inventory.entries;
    if entries.is_empty() {
        output::print("no backups\n")?;
    } else {
        let several_sources = entries.iter().any(|entry| entry.source() != entries[0].source());
        let mut headings = vec!["ID", "DATABASE", "TYPE", "TIME (UTC)", ">AGE", ">SIZE", "WHERE", "VERIFIED"];
        headings.extend(several_sources.then_some("SOURCE"));
        let row = |entry: &InventoryEntry| {
            let mut cells = row(entry, now);
            cells.extend(several_sources.then(|| Cell::plain(text::one_line(&entry.source()).into_owned())));
            cells
        };
        output::print_table(&headings, entries.iter().map(row).collect())?;
    }
    for place in &inventory.foreign {
        output::print(&format!("not a backup: {}\n", text::one_line(place)))?;
    }
    Ok(())
}

fn row(entry: &InventoryEntry, now: DateTime<Utc>) -> Vec<Cell> {
    let manifest = &entry.manifest;
    let sides: Vec<&str> = entry.copies.iter().map(|copy| copy.side.as_str()).collect();
    let plain = |text: &str| Cell::plain(text::one_line(text).into_owned());
    vec![
        plain(&manifest.id),
        plain(&manifest.subject.to_string()),
        plain(manifest.backup_type.as_str()),
        plain(&manifest.started.format("%Y-%m-%d %H:%M:%S").to_string()),
        plain(&text::age(now - manifest.started)),
        plain(&text::size(manifest.stored_bytes)),
        plain(&sides.join("+")),
        match (entry.is_damaged(), entry.has_failed(), entry.is_verified()) {
            (true, ..) => Cell::coloured("DAMAGED", Colour::Red),
            (_, true, _) => Cell::coloured("FAILED", Colour::Red),
            (.., true) => Cell::coloured("yes", Colour::Green),
            (.., false) => Cell::coloured("no", Colour::Dim),
        },
    ]
}

/// What lies on these sides, which are asked at once.
async fn look(sides: &[Repository]) -> Result<Inventory, Error> {
    let catalogs = try_join_all(sides.iter().map(super::super::repository::Repository::catalog)).await?;
    let listed = sides.iter().zip(catalogs);
    Ok(Inventory::of(listed.map(|(repository, catalog)| (repository.side(), repository.location(), catalog)).collect()))
}
