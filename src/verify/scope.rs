//! Facts of a database, as far as a restored one is to hold what they say.

use super::checks::Expected;
use crate::dump_format::script::Rows;
use crate::error::Error;
use crate::record::facts::reader::{DatabaseFacts, Fact};
use crate::record::facts::{Contents, Kind};
use serde_json::{Map, Value};

/// What is expected of a restored database.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) facts: DatabaseFacts<'a>,
    /// The rows that are restored.
    pub(crate) rows: &'a Rows,
}

impl Scope<'_> {
    /// What is known beside objects, and what the database is to hold of rows and values; where rows are stored is left out.
    pub(crate) fn expected(&self) -> Result<Expected, Error> {
        let mut contents = Contents::default();
        let take = |fact| match fact {
            Fact::Rows(table, mut rows) if self.rows.has(&table) => {
                rows.members = Vec::new();
                contents.tables.insert(table, rows);
            }
            Fact::Sequence(name, value) if *self.rows != Rows::None => drop(contents.sequences.insert(name, value)),
            Fact::LargeObjects(all) if *self.rows == Rows::All => contents.large_objects = all,
            Fact::Encoding(encoding) => contents.encoding = encoding,
            Fact::Object(..) | Fact::Rows(..) | Fact::Sequence(..) | Fact::LargeObjects(_) => {}
        };
        self.facts.each_content(take)?;
        Ok(Expected { head: self.facts.head.clone(), contents })
    }

    /// Hands on every object that is expected.
    pub(crate) fn each_object(&self, mut take: impl FnMut(Kind, String, Map<String, Value>)) -> Result<(), Error> {
        let each = |kind, name: String, properties: Map<String, Value>| {
            if kind != Kind::ForeignKey || self.has_key(&name, &properties) {
                take(kind, name, properties);
            }
        };
        Ok(self.facts.each_object(each)?)
    }

    /// Of some tables alone, foreign keys are those between them.
    fn has_key(&self, name: &str, key: &Map<String, Value>) -> bool {
        let Rows::Of(tables) = self.rows else { return true };
        let references = key.get("references").and_then(Value::as_str).unwrap_or_default();
        tables.contains(references) && tables.iter().any(|table| name.starts_with(&format!("{table}.")))
    }
}
