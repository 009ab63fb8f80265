//! Rows of an archive into tables of a live database.

use crate::dump_format::sql_lexer::{Lexer, Token};
use crate::error::{Error, SourceError};
use crate::loader::Broken;
use crate::loader::sql::Sink;
use crate::postgres::load::{self, Load, LoadingRows};
use crate::record::facts::{Catalogue, Contents};
use crate::text;
use std::collections::{BTreeMap, BTreeSet};

/// Rows on their way into their tables; the rest of the SQL is passed over.
pub(super) struct Loading<'l> {
    pub(super) load: &'l Load<'l>,
    pub(super) into: &'l BTreeMap<String, String>,
    pub(super) lexer: Lexer,
    pub(super) rows: Option<LoadingRows<'l>>,
}

impl Sink for Loading<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mut input = bytes;
        while let Some(token) = self.lexer.next(&mut input) {
            match token {
                Token::CopyBegin => {
                    let copy = self.lexer.copy().and_then(|copy| Some((self.into.get(&copy.table)?, copy)));
                    if let Some((into, copy)) = copy {
                        self.rows = Some(self.load.rows(into, &copy.columns).await.map_err(SourceError::Query)?);
                    }
                }
                Token::Row { bytes, ends } => {
                    if let Some(rows) = &mut self.rows {
                        rows.write(bytes, ends).await.map_err(SourceError::Query)?;
                    }
                }
                Token::CopyEnd(_) => {
                    if let Some(rows) = self.rows.take() {
                        rows.finish().await.map_err(SourceError::Query)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// New names beside the live tables, each another.
pub(super) fn beside(tables: BTreeSet<String>, time: &str, live: &Catalogue) -> BTreeMap<String, String> {
    let (mut into, mut taken) = (BTreeMap::new(), BTreeSet::new());
    for table in tables {
        let is_taken =
            |name: &str| live.tables.contains_key(name) || live.views.contains_key(name) || taken.contains(name);
        if let Some(name) = load::beside(&table, time, is_taken) {
            taken.insert(name.clone());
            into.insert(table, name);
        }
    }
    into
}

/// Makes the tables that stand beside the live ones.
pub(super) async fn create(
    load: &Load<'_>,
    catalogue: &Catalogue,
    contents: &Contents,
    into: &BTreeMap<String, String>,
) -> Result<(), Error> {
    for (table, into) in into {
        let described = columns(catalogue, table).and_then(|all| all.as_array());
        let described: Vec<String> =
            described.into_iter().flatten().filter_map(|column| column.as_str().map(str::to_owned)).collect();
        let rows = contents.tables.get(table);
        let wanted: Vec<String> = rows.into_iter().flat_map(|rows| rows.columns.names()).map(str::to_owned).collect();
        let Some(columns) = load::plain_columns(&described, &wanted) else {
            let name = text::one_line(table);
            return Err(Error::Io(format!(
                "the facts do not record the columns of {name}; restore it into a new database"
            )));
        };
        load.create(into, &columns).await?;
    }
    Ok(())
}

pub(super) fn columns<'c>(catalogue: &'c Catalogue, table: &str) -> Option<&'c serde_json::Value> {
    catalogue.tables.get(table)?.get("columns")
}
