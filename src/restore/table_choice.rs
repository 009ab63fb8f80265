//! Which tables get rows in a live database, and what becomes of each.

use super::Restorer;
use super::loading::beside;
use super::plan::{Chosen, Plan, RestoreContent, TableTarget, find_tables, is_below, is_partitioned, parents};
use crate::error::{Error, SettingsError};
use crate::postgres::load::Emptied;
use crate::record::facts::reader::DatabaseFacts;
use crate::record::facts::{Catalogue, Contents, Facts, Kind};
use crate::repository::Backup;
use crate::text;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of each table.
pub(super) enum TableWay {
    /// Rows go into the live tables; those that are there are removed first on demand.
    InPlace,
    /// Rows go into new tables of these names beside the live ones.
    Beside,
    /// The tables are gone, and are made as the backup has them.
    Dropped,
}

/// Tables of the backup, each with the table of the live database that gets its rows.
pub(super) struct Tables<'f> {
    pub(super) way: TableWay,
    pub(super) expected: DatabaseFacts<'f>,
    /// The tables of the backup.
    pub(super) catalogue: Catalogue,
    /// Their rows.
    pub(super) contents: Contents,
    pub(super) end: Option<u64>,
    pub(super) into: BTreeMap<String, String>,
    /// Partitioned tables that are meant as a whole.
    pub(super) roots: BTreeSet<String>,
}

impl Restorer<'_> {
    /// What becomes of the tables that are asked for, by what the live database has.
    pub(super) fn decide<'f>(&self, backup: &Backup, facts: &'f Facts, live: &Catalogue) -> Result<Tables<'f>, Error> {
        let [(expected, end)] = self.wanted(backup, facts)?[..] else {
            return Err(Error::Settings(SettingsError::Usage(
                "rows are restored from one database at a time".to_owned(),
            )));
        };
        let catalogue = expected.catalogue(|kind| kind == Kind::Table)?;
        let contents = expected.contents(|_| true)?;
        let Chosen { tables, roots } =
            find_tables(&contents, &catalogue, &self.request.tables).map_err(SettingsError::Usage)?;
        if let Some(view) = tables.iter().find(|table| live.views.contains_key(*table)) {
            let view = text::one_line(view);
            return Err(Error::Settings(SettingsError::Usage(format!(
                "{view} is a view in the live database; restore into a new database"
            ))));
        }
        let (there, gone): (BTreeSet<String>, BTreeSet<String>) =
            tables.into_iter().partition(|name| live.tables.contains_key(name));
        let time = (self.now)().format("%Y%m%d_%H%M%S").to_string();
        let same = |names: BTreeSet<String>| names.into_iter().map(|name| (name.clone(), name)).collect();
        let is_data = self.request.content == RestoreContent::Data;
        let (way, into) = match (there.is_empty(), gone.is_empty()) {
            (true, _) if !is_data => (TableWay::Dropped, same(gone)),
            (_, true) if is_data || self.request.replace => (TableWay::InPlace, same(there)),
            (_, true) => (TableWay::Beside, beside(there, &time, live)),
            (_, false) => {
                let gone = gone.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                return Err(Error::Settings(SettingsError::Usage(format!(
                    "the database lacks {}; restore the missing tables and the existing ones separately",
                    text::one_line(&gone)
                ))));
            }
        };
        Ok(Tables { way, expected, catalogue, contents, end, into, roots })
    }

    /// Puts it into the plan.
    pub(super) fn say_tables(&self, tables: &Tables<'_>, plan: &mut Plan, name: &str) {
        let targets = tables.targets();
        for TableTarget { table, into, rows } in &targets {
            let (table, into) = (text::one_line(table), text::one_line(into));
            let rows = text::count(*rows, "row");
            plan.say(
                "table",
                match tables.way {
                    TableWay::Dropped => format!("{table} no longer exists and will be recreated, with {rows}"),
                    TableWay::Beside => format!("{rows} of {table} will be restored into the new table {into}"),
                    TableWay::InPlace if self.request.replace => {
                        format!("{rows} will replace those in {table}")
                    }
                    TableWay::InPlace => format!("{rows} will be restored into {table}, which must be empty"),
                },
            );
        }
        plan.tables = targets;
        if self.request.content == RestoreContent::Data && tables.contents.large_objects.count > 0 {
            plan.say("leave", "large objects; they are restored only with their whole database");
        }
        if matches!(tables.way, TableWay::InPlace) && self.request.replace {
            for root in &tables.roots {
                plan.say(
                    "empty",
                    format!("all of {}, including partitions that the backup lacks", text::one_line(root)),
                );
            }
            plan.confirm = Some(name.to_owned());
        }
    }
}

impl Tables<'_> {
    pub(super) fn targets(&self) -> Vec<TableTarget> {
        let target = |(table, into): (&String, &String)| {
            let rows = self.contents.tables.get(table).map_or(0, |rows| rows.rows);
            TableTarget { table: table.clone(), into: into.clone(), rows }
        };
        self.into.iter().map(target).collect()
    }

    /// The live tables, what they are partitions of, and every partition of those that are meant as a whole.
    pub(super) fn family(&self, live: &Catalogue) -> BTreeSet<String> {
        let mut family: BTreeSet<String> = self.into.values().chain(&self.roots).cloned().collect();
        let below = |table: &&String| self.roots.iter().any(|root| is_below(live, table, root));
        family.extend(live.tables.keys().filter(below).cloned());
        let mut current: Vec<String> = family.iter().cloned().collect();
        while let Some(table) = current.pop() {
            for parent in parents(live, &table) {
                if family.insert(parent.to_owned()) {
                    current.push(parent.to_owned());
                }
            }
        }
        family
    }

    /// What is emptied before the rows come: partitioned tables as a whole, others for themselves.
    pub(super) fn emptied(&self, live: &Catalogue) -> Vec<Emptied> {
        let is_covered = |table: &String| self.roots.iter().any(|root| root == table || is_below(live, table, root));
        let roots = self.roots.iter().map(|root| Emptied { name: root.clone(), is_root: true });
        let others = self.into.values().filter(|table| !is_covered(table));
        let others = others.map(|table| Emptied { name: table.clone(), is_root: is_partitioned(live, table) });
        roots.chain(others).collect()
    }
}
