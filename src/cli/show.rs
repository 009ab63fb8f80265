//! `backup show`

use super::find::Named;
use super::json;
use super::output::{self, Cell, Colour};
use super::table::Heading;
use crate::config::Config;
use crate::error::{Error, Exit};
use crate::inspection::summary::{DatabaseSummary, Summary, TableKind, TableSummary};
use crate::inventory::sides::new_run_id;
use crate::record::facts::Subject;
use crate::record::manifest::How;
use crate::text;
use clap::Args;

/// Tables that are listed at most; JSON has all.
const MOST_TABLES: usize = 50;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    backup: Named,
    /// Print JSON, which lists every table
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, Error> {
    let run_id = new_run_id();
    let sides = arguments.backup.open_sides(config, &run_id).await?;
    let (repository, backup, facts) = arguments.backup.find_facts(&sides, config, &run_id).await?;
    let location = repository.location().of(&backup.key);
    let summary = Summary::of(&backup, repository.side(), location, &facts)?;
    if arguments.json {
        json::print(&summary)?;
        return Ok(Exit::Done);
    }
    print_head(&summary)?;
    for database in &summary.databases {
        print_database(database)?;
    }
    Ok(Exit::Done)
}

fn print_head(summary: &Summary<'_>) -> Result<(), Error> {
    let time = summary.started.format("%Y-%m-%d %H:%M:%S UTC");
    let versions = summary.versions;
    let compression = match (summary.encryption, summary.compression.level) {
        (None, 0) => "not compressed".to_owned(),
        (None, level) => format!("gzip level {level}"),
        (Some(method), level) => format!("gzip level {level}, encrypted with {method}"),
    };
    let id = text::one_line(summary.id);
    let restore = match summary.subject {
        Subject::Database(name) => format!("--into {}", text::shell_word(&copy_of(name))),
        Subject::Globals => "--globals".to_owned(),
        Subject::Cluster => "--cluster".to_owned(),
    };
    let restore = format!("backup restore {} {restore}", text::shell_word(summary.id));
    let (proved, colour) = proof(summary);
    let lines = [
        ("backup", Cell::plain(id.into_owned())),
        ("source", Cell::plain(text::one_line(summary.source).into_owned())),
        ("content", Cell::plain(text::one_line(&summary.subject.to_string()).into_owned())),
        ("made", Cell::plain(format!("{time}, {}", summary.backup_type.as_str()))),
        (
            "versions",
            Cell::plain(format!(
                "PostgreSQL {}, pg_dump {}, backup {}",
                versions.server, versions.client, versions.tool
            )),
        ),
        (
            "size",
            Cell::plain(format!(
                "{} stored ({compression}), {} dumped",
                text::size(summary.stored_bytes),
                text::size(summary.raw_bytes)
            )),
        ),
        ("location", Cell::plain(text::one_line(&summary.location).into_owned())),
        ("SHA-256", Cell::plain(summary.sha256.to_owned())),
        ("verified", Cell::coloured(&proved, colour)),
        ("restore", Cell::plain(restore)),
    ];
    output::print_pairs(lines)
}

/// A name for a copy of a database, which PostgreSQL does not cut off.
fn copy_of(name: &str) -> String {
    const LONGEST: usize = 63 - "_copy".len();
    format!("{}_copy", &name[..name.floor_char_boundary(LONGEST)])
}

fn proof(summary: &Summary<'_>) -> (String, Colour) {
    let Some(verification) = summary.verification else {
        let why = if summary.good {
            "never; run `backup verify` to prove it"
        } else {
            "never, and its archive is incomplete"
        };
        return (why.to_owned(), if summary.good { Colour::Dim } else { Colour::Red });
    };
    let time = verification.finished.format("%Y-%m-%d %H:%M:%S UTC");
    let how = match verification.how {
        How::Restore => "restored and compared",
        How::Checksum => "stored bytes compared",
    };
    match (verification.passed, verification.exceptions) {
        (false, _) => (format!("FAILED on {time}: {}", text::one_line(&verification.failures)), Colour::Red),
        (true, 0) => (format!("{how} on {time}"), Colour::Green),
        (true, count) => (format!("{how} on {time}, with {}", text::count(count, "exception")), Colour::Yellow),
    }
}

fn print_database(database: &DatabaseSummary<'_>) -> Result<(), Error> {
    let name = text::one_line(database.name);
    let properties = database.properties;
    let locale = properties.locale.as_ref().unwrap_or(&properties.collate);
    let objects = database.objects.iter().filter(|(_, count)| **count > 0);
    let objects: Vec<String> =
        objects.map(|(kind, count)| text::count(*count, &text::singular(&kind.replace('_', " ")))).collect();
    let extensions = database.extensions.iter().map(|(name, version)| match version {
        Some(version) => format!("{name} {version}"),
        None => name.clone(),
    });
    let mut lines = vec![
        ("database", name.into_owned()),
        ("as of", database.taken.format("%Y-%m-%d %H:%M:%S UTC").to_string()),
        ("owner", text::one_line(&properties.owner).into_owned()),
        ("encoding", format!("{}, locale {}", properties.encoding, text::one_line(locale))),
        ("rows", database.totals.rows.to_string()),
        ("on disk", text::size(database.totals.database_bytes)),
        ("objects", objects.join(", ")),
        ("extensions", text::one_line(&extensions.collect::<Vec<_>>().join(", ")).into_owned()),
        ("settings", text::one_line(&properties.settings.join(", ")).into_owned()),
    ];
    if database.schemas.len() > 1 {
        let schemas = database.schemas.iter().map(|(name, schema)| {
            format!("{name} ({}, {})", text::count(schema.tables, "table"), text::count(schema.rows, "row"))
        });
        lines.push(("schemas", text::one_line(&schemas.collect::<Vec<_>>().join(", ")).into_owned()));
    }
    if database.large_objects > 0 {
        lines.push(("large objects", database.large_objects.to_string()));
    }
    for migration in database.migrations {
        let version = migration.version.as_deref().unwrap_or("none");
        let dirty = if migration.dirty { ", did not finish" } else { "" };
        lines.push(("migration", text::one_line(&format!("{} {version}{dirty}", migration.tool)).into_owned()));
    }
    for left_out in database.left_out {
        lines.push(("left out", text::one_line(&left_out.to_string()).into_owned()));
    }
    lines.retain(|(_, text)| !text.is_empty());
    output::print("\n")?;
    output::print_pairs(lines.into_iter().map(|(name, text)| (name, Cell::plain(text))))?;
    print_tables(&database.tables)
}

/// The largest tables.
fn print_tables(tables: &[TableSummary]) -> Result<(), Error> {
    if tables.is_empty() {
        return Ok(());
    }
    let mut largest: Vec<&TableSummary> = tables.iter().collect();
    largest.sort_by_key(|table| (std::cmp::Reverse(table.stored_bytes), &table.name));
    let row = |table: &&TableSummary| {
        let rows = match (table.rows, table.kind) {
            (Some(rows), _) => rows.to_string(),
            (None, TableKind::Partitioned) => "in partitions".to_owned(),
            (None, TableKind::Foreign) => "foreign".to_owned(),
            (None, TableKind::Ordinary) => "left out".to_owned(),
        };
        let stored = table.stored_bytes.map_or_else(|| "-".to_owned(), text::size);
        vec![rows, stored, text::one_line(&table.name).into_owned()]
    };
    output::print("\n")?;
    let headings = vec![Heading::number("ROWS"), Heading::number("STORED"), Heading::text("TABLE").wraps()];
    output::print_table(headings, largest.iter().take(MOST_TABLES).map(row).collect())?;
    match tables.len().saturating_sub(MOST_TABLES) {
        0 => Ok(()),
        more => output::print(&format!("and {} with fewer bytes; --json lists them all\n", text::count(more, "table"))),
    }
}
