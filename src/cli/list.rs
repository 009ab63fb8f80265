//! `backup list`

use super::find::{Choices, Filters};
use super::output::{Cell, Colour};
use super::table::Heading;
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
    #[arg(long, value_name = "D")]
    database: Option<String>,
    /// Only this type: auto, daily, weekly, monthly or manual
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<TypeArgument>,
    /// Only this source
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// local, remote or all [default: BACKUP_TARGET]
    #[arg(long, value_name = "SIDE", conflicts_with = "cloud")]
    location: Option<SideArgument>,
    /// Same as --location remote
    #[arg(long)]
    cloud: bool,
    /// Also show files that are not backups
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
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
    unreadable: Vec<String>,
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
    let nothing = nothing(arguments, &inventory);
    inventory.entries.retain(|entry| is_wanted(arguments, entry));
    if !arguments.all {
        inventory.foreign.clear();
    }
    if arguments.json {
        let backups = inventory.entries.iter().map(BackupRow::of).collect();
        json::print(&Listing { backups, foreign: inventory.foreign, unreadable: inventory.unreadable })?;
    } else {
        show(&inventory, &nothing, Utc::now())?;
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

/// What is said where no backup is left.
fn nothing(arguments: &Arguments, inventory: &Inventory) -> String {
    let Arguments { database, source, kind, .. } = arguments;
    let kind = kind.map(BackupType::from);
    let filters = Filters { database: database.as_deref(), source: source.as_deref(), kind };
    let mut choices = Choices::beside(inventory.unreadable.len());
    for entry in &inventory.entries {
        choices.add(filters, &entry.manifest, source.as_ref().is_none_or(|source| entry.is_of(source)));
    }
    let is_one_side = arguments.cloud || arguments.location.is_some_and(|side| side != SideArgument::All);
    match choices.emptied(filters) {
        Some(_) if inventory.entries.is_empty() && is_one_side => "no backups on this side".to_owned(),
        Some(emptied) => format!("no backups {emptied}"),
        None => "no backups match all options; `backup list` shows all".to_owned(),
    }
}

fn show(inventory: &Inventory, nothing: &str, now: DateTime<Utc>) -> Result<(), Error> {
    let entries = &inventory.entries;
    if entries.is_empty() {
        output::say(nothing)?;
    } else {
        let several_sources = entries.iter().any(|entry| entry.source() != entries[0].source());
        // an id has the database, where there are several, and the time, though in the zone of the names
        let mut headings = vec![
            Heading::text("ID"),
            Heading::text("DATABASE").rank(4),
            Heading::text("TYPE").rank(3),
            Heading::text("TIME (UTC)").rank(6),
            Heading::number("AGE"),
            Heading::number("SIZE").rank(1),
            Heading::text("WHERE").rank(2),
            Heading::text("VERIFIED"),
        ];
        headings.extend(several_sources.then(|| Heading::text("SOURCE").rank(5)));
        let row = |entry: &InventoryEntry| {
            let mut cells = row(entry, now);
            cells.extend(several_sources.then(|| Cell::plain(text::one_line(&entry.source()).into_owned())));
            cells
        };
        output::print_table(headings, entries.iter().map(row).collect())?;
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
        plain(&text::short_age(now - manifest.started)),
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
