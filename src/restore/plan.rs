//! Pure: what a restore is asked for, and what it says before it does anything.

use crate::dump_format::script::Rows;
use crate::dump_format::sql_lexer::{parts, qualified};
use crate::record::facts::{Catalogue, Contents};
use crate::record::manifest::Exception;
use crate::text;
use serde::Serialize;
use std::collections::BTreeSet;

/// What somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The database to restore to.
    pub into: Option<String>,
    /// The database of a whole server's archive that is meant.
    pub source_database: Option<String>,
    /// Only these tables, `schema.table`.
    pub tables: Vec<String>,
    /// Which half of the database.
    pub content: RestoreContent,
    /// What is there may be replaced.
    pub replace: bool,
    /// Sessions of what is replaced are ended.
    pub disconnect: bool,
    /// Roles are made first.
    pub globals: bool,
    /// Passwords of roles that are there become those of the backup.
    pub reset_passwords: bool,
    /// Every database of the backup's run, under their own names.
    pub cluster: bool,
    /// Owners and privileges are left out.
    pub no_owner: bool,
    /// What PostgreSQL cannot load from its own dump ends the restore.
    pub strict: bool,
    /// The restored database is not compared with the facts.
    pub skip_checks: bool,
    /// Connections that load at the same time, where that is not left to the settings.
    pub jobs: Option<usize>,
}

/// Which half of a database is restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestoreContent {
    /// Both.
    #[default]
    All,
    /// Objects and no rows.
    Schema,
    /// Rows into objects that are there.
    Data,
}

impl Request {
    /// The rows of a new database.
    pub fn rows(&self, tables: &BTreeSet<String>) -> Rows {
        match self.content {
            RestoreContent::Schema => Rows::None,
            _ if self.tables.is_empty() => Rows::All,
            _ => Rows::Of(tables.clone()),
        }
    }
}

/// What will be done, for people.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Pairs of what and how.
    pub lines: Vec<(&'static str, String)>,
    /// The databases that are made.
    pub databases: Vec<PlannedDatabase>,
    /// The tables of a database in use that get rows.
    pub tables: Vec<TableTarget>,
    /// What has to be typed before it is done; none where nothing is replaced.
    pub confirm: Option<String>,
}

impl Plan {
    /// Adds a line.
    pub fn say(&mut self, what: &'static str, how: impl Into<String>) {
        self.lines.push((what, how.into()));
    }
}

/// A database that is to be made.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedDatabase {
    /// Id of the backup.
    pub backup: String,
    /// Its name at the source.
    pub database: String,
    /// What it will be called.
    pub into: String,
    /// A database of that name is there, and holds something.
    pub replaces: bool,
}

/// A table that gets rows.
#[derive(Debug, Clone, Serialize)]
pub struct TableTarget {
    /// Its name in the backup.
    pub table: String,
    /// The table that the rows go into.
    pub into: String,
    pub rows: u64,
}

/// What was done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Done {
    pub databases: Vec<RestoredDatabase>,
    /// Tables of a database in use that got rows.
    pub tables: Vec<TableTarget>,
    /// None where roles were not asked for.
    pub roles: Option<RestoredRoles>,
    /// What filled databases do not hold.
    pub exceptions: Vec<DatabaseException>,
    /// What the restored databases came to.
    pub checks: Vec<crate::verify::report::DatabaseResult>,
    /// Sentences for people.
    #[serde(rename = "messages")]
    pub lines: Vec<String>,
}

/// A database that has its name.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredDatabase {
    /// Id of the backup.
    pub backup: String,
    /// Its name at the source.
    pub database: String,
    /// What it is called.
    pub into: String,
    /// What the database that it replaced is called now; none where there was none, or it was empty.
    pub kept_as: Option<String>,
    /// Seconds until all rows were there.
    pub load_seconds: f64,
    /// Seconds of indexes, keys and constraints.
    pub index_seconds: f64,
    /// Those that were left out, because they would follow another server.
    pub subscriptions_left_out: Vec<String>,
    /// SQL that puts what was replaced in its place again.
    pub swap_back: Vec<String>,
}

/// Roles of the backup.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredRoles {
    pub made: Vec<String>,
    /// Those that were there, and stay as they were.
    pub kept: Vec<String>,
}

/// What a database does not hold.
#[derive(Debug, Clone, Serialize)]
pub struct DatabaseException {
    /// What the database is to be called.
    pub database: String,
    #[serde(flatten)]
    pub exception: Exception,
}

/// Tables of a backup that somebody means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Those that have rows in the dump.
    pub tables: BTreeSet<String>,
    /// Partitioned ones that are meant as a whole; the rows are those of their partitions.
    pub roots: BTreeSet<String>,
}

/// The tables that somebody means by these names, as the facts write them: `shop.orders`, or `orders` for that of
/// `public`. A partitioned table stands for its partitions, and no name for all tables.
pub fn find_tables(contents: &Contents, catalogue: &Catalogue, names: &[String]) -> Result<Chosen, String> {
    let with_rows = &contents.tables;
    if names.is_empty() {
        let roots = catalogue
            .tables
            .keys()
            .filter(|table| is_partitioned(catalogue, table) && parents(catalogue, table).next().is_none());
        return Ok(Chosen { tables: with_rows.keys().cloned().collect(), roots: roots.cloned().collect() });
    }
    let mut chosen = Chosen::default();
    for name in names {
        let spelled = spellings(name);
        let root = spelled.iter().find(|table| is_partitioned(catalogue, table));
        let is_meant =
            |table: &&String| spelled.contains(table) || root.is_some_and(|root| is_below(catalogue, table, root));
        let meant: Vec<&String> = with_rows.keys().filter(is_meant).collect();
        if meant.is_empty() {
            return Err(why_none(name, &spelled, contents, catalogue));
        }
        chosen.tables.extend(meant.into_iter().cloned());
        chosen.roots.extend(root.cloned());
    }
    Ok(chosen)
}

/// Why the backup has no rows of the table that somebody names.
fn why_none(name: &str, spelled: &[String], contents: &Contents, catalogue: &Catalogue) -> String {
    let name = text::one_line(name);
    let known = spelled.iter().find_map(|table| catalogue.tables.get(table));
    match known.map(|table| table.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default()) {
        Some("f") => format!("{name} is a foreign table, whose rows are on another server"),
        Some("p") => format!("{name} has no partitions with rows in the backup"),
        Some(_) => format!("the rows of {name} were left out of the backup, which has only the table itself"),
        None if contents.tables.is_empty() => "the backup has no tables with rows".to_owned(),
        None => {
            format!(
                "the backup has no rows of a table {name}; it has those of {}",
                text::some(contents.tables.keys(), 20)
            )
        }
    }
}

/// True for a table that is made of partitions.
pub fn is_partitioned(catalogue: &Catalogue, table: &str) -> bool {
    catalogue.tables.get(table).and_then(|table| table.get("kind")).is_some_and(|kind| kind == "p")
}

/// What a partition is one of.
pub fn parents<'c>(catalogue: &'c Catalogue, table: &str) -> impl Iterator<Item = &'c str> {
    let table = catalogue.tables.get(table).filter(|table| table.get("is_partition").is_some_and(|is| is == true));
    let parents = table.and_then(|table| table.get("parents")?.as_array()).into_iter().flatten();
    parents.filter_map(|parent| parent.as_str())
}

/// A name as it is written in SQL, or as it is.
pub fn spellings(name: &str) -> Vec<String> {
    let whole = if name.contains('.') { name.to_owned() } else { format!("public.{name}") };
    let spelled = parts(&whole).map(|(schema, name)| qualified(&schema, &name));
    let literal = whole.split_once('.').map(|(schema, name)| qualified(schema, name));
    spelled.into_iter().chain(literal).collect()
}

/// True for a partition of that table, or of one of its partitions.
pub fn is_below(catalogue: &Catalogue, table: &str, root: &str) -> bool {
    parents(catalogue, table).any(|parent| parent == root || is_below(catalogue, parent, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_however_it_is_spelled() {
        let known = ["public.orders", "shop.\"Order Items\"", "public.\"a.b\""].map(str::to_owned);
        for (name, found) in [
            ("orders", "public.orders"),
            ("public.orders", "public.orders"),
            ("PUBLIC.Orders", "public.orders"),
            ("shop.Order Items", "shop.\"Order Items\""),
            ("shop.\"Order Items\"", "shop.\"Order Items\""),
            ("public.a.b", "public.\"a.b\""),
        ] {
            assert!(spellings(name).iter().any(|spelled| spelled == found), "{name}");
            assert!(known.contains(&found.to_owned()));
        }
    }
}
