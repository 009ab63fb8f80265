//! `backup peek`

use super::find::Named;
use super::table::Heading;
use super::{json, output};
use crate::config::Config;
use crate::error::{BackupError, Error, Exit, SettingsError};
use crate::inspection::rows::{self, FirstRows, PeekError, WantedRows};
use crate::inventory::sides::new_run_id;
use crate::record::facts::reader::DatabaseFacts;
use crate::record::facts::{Contents, Facts, Kind};
use crate::restore::plan::{find_tables, spellings};
use crate::storage::StorageError;
use crate::text;
use clap::{Args, ValueEnum};
use tracing::{info, warn};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    backup: Named,
    /// The table, or the first partition that has rows
    #[arg(long, value_name = "S.T")]
    table: String,
    /// The database, if the archive has the whole server
    #[arg(long, value_name = "D")]
    source_database: Option<String>,
    /// How many rows
    #[arg(long, value_name = "N", default_value = "20")]
    rows: usize,
    /// table, csv or json
    #[arg(long, default_value = "table")]
    format: RowFormat,
    /// Same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RowFormat {
    /// Aligned columns
    Table,
    /// Comma-separated values with a header; NULL is empty, and an empty string is ""
    Csv,
    Json,
}

pub(super) async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, Error> {
    let run_id = new_run_id();
    let sides = arguments.backup.open_sides(config, &run_id).await?;
    let (repository, backup, facts) = arguments.backup.find_facts(&sides, config, &run_id).await?;
    let (database, table, contents) = arguments.choose(&facts)?;
    let Some(found) = contents.tables.get(&table) else { return Ok(Exit::Done) };
    let encoding = contents.encoding.as_deref();
    let wanted =
        WantedRows { database: &database.head.name, table: &table, facts: found, encoding, limit: arguments.rows };
    let keys = config.encryption.identities.as_ref();
    let location = repository.location().of(&backup.key);
    let read = rows::read(&repository, &backup, keys, wanted).await;
    let rows = read.map_err(|error| explain(error, &backup.manifest.id, &location))?;
    if !spellings(&arguments.table).contains(&rows.table) {
        info!("showing rows of {}, the first partition that has any", rows.table);
    }
    if rows.replaced_values > 0 {
        warn!(
            "{} bytes that are not text in the encoding of {}; each such byte is shown as U+FFFD",
            match rows.replaced_values {
                1 => "1 value has".to_owned(),
                many => format!("{many} values have"),
            },
            rows.database
        );
    }
    match if arguments.is_json() { RowFormat::Json } else { arguments.format } {
        RowFormat::Table => print_table(&rows)?,
        RowFormat::Csv => print_csv(&rows)?,
        RowFormat::Json => json::print(&rows)?,
    }
    Ok(Exit::Done)
}

impl Arguments {
    pub(super) fn is_json(&self) -> bool {
        self.json || self.format == RowFormat::Json
    }

    /// The one table that is meant, the database that has it, and what the facts say of both.
    fn choose<'f>(&self, facts: &'f Facts) -> Result<(DatabaseFacts<'f>, String, Contents), Error> {
        let usage = |why: String| Error::Settings(SettingsError::Usage(why));
        let is_meant = |database: &DatabaseFacts<'_>| {
            self.source_database.as_ref().is_none_or(|wanted| database.head.name == *wanted)
        };
        let (mut found, mut why) = (Vec::new(), None);
        for database in facts.databases().filter(is_meant) {
            let (contents, catalogue) = (database.contents(|_| true)?, database.catalogue(|kind| kind == Kind::Table)?);
            match find_tables(&contents, &catalogue, std::slice::from_ref(&self.table)) {
                Ok(chosen) => {
                    let has_rows = |table: &&String| contents.tables.get(*table).is_some_and(|table| table.rows > 0);
                    let table = chosen.tables.iter().find(has_rows).or(chosen.tables.first()).cloned();
                    found.extend(table.map(|table| (database, table, contents)));
                }
                Err(problem) => why = Some(problem),
            }
        }
        if facts.databases().next().is_none() {
            return Err(usage("the backup holds only roles and tablespaces, and no table".to_owned()));
        }
        match found.len() {
            0 => Err(usage(why.unwrap_or_else(|| "the backup has no such database".to_owned()))),
            1 => Ok(found.remove(0)),
            _ => {
                let names: Vec<&str> = found.iter().map(|(database, ..)| database.head.name.as_str()).collect();
                let names = text::one_line(&names.join(", ")).into_owned();
                Err(usage(format!("several databases have that table: {names}; say which with --source-database")))
            }
        }
    }
}

fn explain(error: PeekError, id: &str, location: &str) -> Error {
    match error {
        PeekError::Key(cause) => Error::Settings(SettingsError::Key { name: location.to_owned(), cause }),
        PeekError::Read(error) => match error.downcast::<StorageError>() {
            Ok(error) => error.into(),
            Err(error) => Error::Backup(BackupError::Unreadable { id: id.to_owned(), cause: error.to_string() }),
        },
    }
}

fn print_table(rows: &FirstRows) -> Result<(), Error> {
    let headings = rows.columns.iter().map(|name| Heading::text(&text::one_line(name))).collect();
    let cell = |value: &Option<String>| match value {
        Some(value) => output::Cell::plain(shortened(value)),
        None => output::Cell::coloured("NULL", output::Colour::Dim),
    };
    output::print_table(headings, rows.rows.iter().map(|row| row.iter().map(cell).collect()).collect())?;
    let table = text::one_line(&rows.table);
    output::print("\n")?;
    output::say(&format!("{} of {} of {table} in {}", rows.rows.len(), text::count(rows.total, "row"), rows.id))
}

/// Longest value of a table, in characters.
const LONGEST_VALUE: usize = 40;

fn shortened(value: &str) -> String {
    let line = text::one_line(value);
    match line.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into_owned(),
    }
}

fn print_csv(rows: &FirstRows) -> Result<(), Error> {
    // as COPY writes it: NULL is empty, and the line `\.` would end the rows
    let needs_quotes = |value: &str| value.is_empty() || value == "\\." || value.contains([',', '"', '\n', '\r']);
    let quoted = |value: &str| match needs_quotes(value) {
        true => format!("\"{}\"", value.replace('"', "\"\"")),
        false => value.to_owned(),
    };
    let line = |values: Vec<String>| values.join(",") + "\n";
    output::print(&line(rows.columns.iter().map(|name| quoted(name)).collect()))?;
    let cell = |value: &Option<String>| value.as_deref().map(quoted).unwrap_or_default();
    rows.rows.iter().try_for_each(|row| output::print(&line(row.iter().map(cell).collect())))
}
