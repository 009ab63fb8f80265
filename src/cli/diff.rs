//! `backup diff`

use super::find::Named;
use super::table::Heading;
use super::{SideArgument, json, output};
use crate::config::Config;
use crate::error::{Error, Exit, SettingsError};
use crate::inspection::difference::{BackupDifference, DatabaseDifference, ObjectsDifference, Pair, TableDifference};
use crate::inventory::sides::new_run_id;
use crate::record::facts::{Kind, Subject};
use crate::text;
use clap::Args;

/// Tables that are listed at most; JSON has all.
const MOST_TABLES: usize = 50;
/// What facts do not record.
const NOT_COMPARED: &str = "privileges, owners of objects, comments, rules, publications, extended statistics and storage \
                            options are not compared";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The earlier backup: an id or its beginning, a path or a key
    #[arg(value_name = "A")]
    before: String,
    /// The later backup
    #[arg(value_name = "B", default_value = "latest")]
    after: String,
    /// Only backups of this database
    #[arg(long, value_name = "D")]
    database: Option<String>,
    /// Only backups of this source
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// local, remote or all [default: BACKUP_TARGET]
    #[arg(long, value_name = "SIDE")]
    location: Option<SideArgument>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Arguments {
    fn named(&self, name: &str) -> Named {
        let (database, source) = (self.database.clone(), self.source.clone());
        Named { name: name.to_owned(), database, source, location: self.location }
    }
}

pub(super) async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, Error> {
    let run_id = new_run_id();
    let (before, after) = (arguments.named(&arguments.before), arguments.named(&arguments.after));
    let sides = before.open_sides(config, &run_id).await?;
    let (_, before, old) = before.find_facts(&sides, config, &run_id).await?;
    let (_, after, new) = after.find_facts(&sides, config, &run_id).await?;
    if let Some(globals) = [&before, &after].into_iter().find(|backup| backup.manifest.subject == Subject::Globals) {
        let id = text::one_line(&globals.manifest.id);
        let why = format!(
            "{id} holds only roles and tablespaces, and diff compares databases; download both to compare their SQL"
        );
        return Err(Error::Settings(SettingsError::Usage(why)));
    }
    let difference = BackupDifference::between((&before.manifest, &old), (&after.manifest, &new))?;
    if arguments.json {
        json::print(&difference)?;
        return Ok(Exit::Done);
    }
    let compared = [("from", &difference.before), ("to", &difference.after)];
    output::print_pairs(compared.map(|(word, one)| {
        let (id, size) = (text::one_line(one.id), text::size(one.stored_bytes));
        (word, output::Cell::plain(format!("{id} ({size}, {})", text::count(one.rows, "row"))))
    }))?;
    if difference.same {
        output::print("\nsame content\n")?;
        output::say(NOT_COMPARED)?;
    }
    for name in &difference.lost {
        output::print(&format!("\ndatabase {} is gone\n", text::one_line(name)))?;
    }
    for name in &difference.gained {
        output::print(&format!("\ndatabase {} is new\n", text::one_line(name)))?;
    }
    difference.databases.iter().filter(|database| !database.same).try_for_each(print_database)?;
    Ok(Exit::Done)
}

fn print_database(database: &DatabaseDifference) -> Result<(), Error> {
    let unchanged = text::count(database.unchanged_tables, "table");
    output::print("\n")?;
    output::say(&format!(
        "database {}: {} → {} rows, {unchanged} with the same rows",
        database.name, database.rows.before, database.rows.after
    ))?;
    for (kind, objects) in &database.objects {
        print_objects(&kind.replace('_', " "), objects)?;
    }
    if !database.sequences.is_empty() {
        output::say(&format!("  sequences moved: {}", text::some(&database.sequences, output::MOST_NAMES)))?;
    }
    if let Some(Pair { before, after }) = database.large_objects {
        output::print(&format!("  large objects: {before} → {after}\n"))?;
    }
    if database.properties {
        output::print("  properties of the database changed\n")?;
    }
    let mut tables: Vec<&TableDifference> = database.tables.iter().collect();
    let moved = |table: &TableDifference| table.rows.after.unwrap_or(0).abs_diff(table.rows.before.unwrap_or(0));
    tables.sort_by_key(|table| (std::cmp::Reverse(moved(table)), &table.name));
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), text::size);
    let row = |table: &&TableDifference| {
        let Pair { before, after } = table.rows;
        let has = |names: fn(&ObjectsDifference) -> &Vec<String>| {
            database.objects.get(Kind::Table.key()).is_some_and(|objects| names(objects).contains(&table.name))
        };
        let change = match (before, after) {
            (Some(before), Some(after)) if before == after => "rows changed".to_owned(),
            (Some(before), Some(after)) => format!("{:+}", i128::from(after) - i128::from(before)),
            (None, _) if has(|objects| &objects.gained) => "new table".to_owned(),
            (_, None) if has(|objects| &objects.lost) => "table gone".to_owned(),
            // the table is in both
            (None, _) => "left out before".to_owned(),
            (_, None) => "left out after".to_owned(),
        };
        let bytes = table.stored_bytes;
        let name = text::one_line(&table.name).into_owned();
        vec![number(before), number(after), change, size(bytes.before), size(bytes.after), name]
    };
    if tables.is_empty() {
        return Ok(());
    }
    output::print("\n")?;
    let headings = vec![
        Heading::number("ROWS BEFORE").rank(1),
        Heading::number("AFTER").rank(1),
        Heading::number("CHANGE"),
        Heading::number("STORED BEFORE").rank(2),
        Heading::number("AFTER").rank(2),
        Heading::text("TABLE").wraps(),
    ];
    output::print_table(headings, tables.iter().take(MOST_TABLES).map(row).collect())?;
    match tables.len().saturating_sub(MOST_TABLES) {
        0 => Ok(()),
        more => {
            output::print(&format!("and {} that changed less; --json lists them all\n", text::count(more, "table")))
        }
    }
}

fn print_objects(kind: &str, objects: &ObjectsDifference) -> Result<(), Error> {
    let altered = objects.altered.iter().map(|(name, properties)| format!("{name} ({})", properties.join(", ")));
    let altered: Vec<String> = altered.collect();
    for (word, names) in [("new", &objects.gained), ("gone", &objects.lost), ("altered", &altered)] {
        if !names.is_empty() {
            output::say(&format!("  {kind} {word}: {}", text::some(names, output::MOST_NAMES)))?;
        }
    }
    Ok(())
}
