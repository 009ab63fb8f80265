//! Some relations and what belongs to them, made into objects.

use super::super::migrations::ToolTable;
use super::oid::Oid;
use super::rows::{self, Chunk};
use super::{Names, Reader};
use crate::dump_format::sql_lexer::quoted;
use crate::record::facts::Kind;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Relations of a chunk by number.
pub(super) struct Relations<'c> {
    chunk: &'c Chunk,
    names: HashMap<Oid, String>,
    /// Names and types of their columns.
    columns: HashMap<Oid, Vec<String>>,
    column_names: HashMap<(Oid, i16), &'c str>,
}

impl<'c> Relations<'c> {
    pub(super) fn of(all: &Names, chunk: &'c Chunk) -> Self {
        let name = |relation: &rows::Relation| all.object(relation.oid, relation.namespace, &relation.name);
        let names = chunk.relations.iter().filter_map(|relation| Some((relation.oid, name(relation)?))).collect();
        let mut columns: HashMap<Oid, Vec<String>> = HashMap::new();
        let mut column_names = HashMap::new();
        for column in &chunk.columns {
            columns.entry(column.relation).or_default().push(format!("{} {}", quoted(&column.name), column.text));
            column_names.insert((column.relation, column.number), column.name.as_str());
        }
        Self { chunk, names, columns, column_names }
    }

    /// Hands on every object; views have these texts.
    pub(super) fn hand_on(&self, reader: &mut Reader<'_>, definitions: &HashMap<Oid, String>) {
        for view in self.chunk.relations.iter().filter(|relation| relation.is_view()) {
            self.view(reader, view, definitions.get(&view.oid));
        }
        self.tables(reader);
        self.indexes(reader);
        self.foreign_keys(reader);
        self.sequences(reader);
        self.triggers(reader);
        self.policies(reader);
    }

    /// The name of something that belongs to a relation.
    fn part(&self, relation: Oid, name: &str) -> Option<String> {
        Some(format!("{}.{}", self.names.get(&relation)?, quoted(name)))
    }

    fn view(&self, reader: &mut Reader<'_>, view: &rows::Relation, definition: Option<&String>) {
        let mut options = view.options.clone();
        options.iter_mut().for_each(|options| options.sort());
        let all = json!({
            "kind": view.kind, "columns": self.columns.get(&view.oid), "options": options,
            "populated": (view.kind == "m").then_some(view.populated), "definition": definition,
        });
        reader.take(Kind::View, self.names.get(&view.oid).cloned(), all);
    }

    fn tables(&self, reader: &mut Reader<'_>) {
        let (parents, checks, defaults) = (self.parents(&reader.names), self.checks(), self.defaults());
        let is_table = |relation: &&rows::Relation| !relation.is_view() && relation.kind != "S";
        for table in self.chunk.relations.iter().filter(is_table) {
            let (name, columns) = (self.names.get(&table.oid), self.columns.get(&table.oid));
            let flagged = |is: bool| name.filter(|_| is).cloned();
            reader.described.rewritten.extend(flagged(table.rewritten));
            reader.described.replaced.extend(flagged(table.replaced));
            reader.candidates.extend(name.and_then(|name| ToolTable::of(name, columns)));
            let all = json!({
                "kind": table.kind, "is_partition": table.is_partition, "persistence": table.persistence,
                "columns": columns, "parents": parents.get(&table.oid), "key": table.key, "bound": table.bound,
                "checks": checks.get(&table.oid), "defaults": defaults.get(&table.oid),
                "row_security": table.row_security, "forced_row_security": table.forced_row_security,
            });
            reader.take(Kind::Table, name.cloned(), all);
        }
    }

    fn parents(&self, all: &Names) -> HashMap<Oid, Vec<String>> {
        let mut parents: HashMap<Oid, Vec<String>> = HashMap::new();
        for parent in &self.chunk.parents {
            let name = all.object(parent.parent, parent.namespace, &parent.name);
            parents.entry(parent.relation).or_default().extend(name);
        }
        parents
    }

    fn checks(&self) -> HashMap<Oid, Map<String, Value>> {
        let mut checks: HashMap<Oid, Map<String, Value>> = HashMap::new();
        for check in self.chunk.constraints.iter().filter(|constraint| constraint.kind == "c") {
            checks.entry(check.relation).or_default().insert(check.name.clone(), json!(check.definition));
        }
        checks
    }

    fn defaults(&self) -> HashMap<Oid, Map<String, Value>> {
        let mut defaults: HashMap<Oid, Map<String, Value>> = HashMap::new();
        for default in &self.chunk.defaults {
            if let Some(column) = self.column_names.get(&(default.relation, default.number)) {
                defaults.entry(default.relation).or_default().insert((*column).to_owned(), json!(default.text));
            }
        }
        defaults
    }

    fn indexes(&self, reader: &mut Reader<'_>) {
        for index in &self.chunk.indexes {
            let numbers = index.columns.split_whitespace().filter_map(|number| number.parse::<i16>().ok());
            let columns: Value =
                numbers.map(|number| self.column_names.get(&(index.relation, number)).copied()).collect();
            let table = self.names.get(&index.relation);
            let all = json!({
                "table": table, "valid": index.valid, "unique": index.unique, "primary": index.primary,
                "columns": columns, "definition": index.definition,
            });
            let name = reader.names.object(index.index, index.namespace, &index.name);
            reader.take(Kind::Index, table.and(name), all);
        }
    }

    fn foreign_keys(&self, reader: &mut Reader<'_>) {
        for key in self.chunk.constraints.iter().filter(|constraint| constraint.kind == "f") {
            let references = key.references_namespace.zip(key.references_name.as_deref());
            let references = references.and_then(|(space, name)| reader.names.object(key.references, space, name));
            let all = json!({
                "validated": key.validated, "references": references, "columns": key.columns,
                "referenced_columns": key.referenced_columns, "on_update": key.on_update, "on_delete": key.on_delete,
                "match": key.r#match, "deferrable": key.deferrable, "deferred": key.deferred,
            });
            reader.take(Kind::ForeignKey, self.part(key.relation, &key.name), all);
        }
    }

    fn sequences(&self, reader: &mut Reader<'_>) {
        for sequence in &self.chunk.sequences {
            let all = json!({
                "type": sequence.r#type, "start": sequence.start, "increment": sequence.increment,
                "least": sequence.least, "most": sequence.most, "cache": sequence.cache, "cycles": sequence.cycles,
            });
            reader.take(Kind::Sequence, self.names.get(&sequence.sequence).cloned(), all);
        }
    }

    fn triggers(&self, reader: &mut Reader<'_>) {
        for trigger in &self.chunk.triggers {
            let all = json!({ "enabled": trigger.enabled, "definition": trigger.definition });
            reader.take(Kind::Trigger, self.part(trigger.relation, &trigger.name), all);
        }
    }

    fn policies(&self, reader: &mut Reader<'_>) {
        for policy in &self.chunk.policies {
            let all = json!({
                "command": policy.command, "permissive": policy.permissive, "roles": policy.roles,
                "using": policy.using, "with_check": policy.with_check,
            });
            reader.take(Kind::Policy, self.part(policy.relation, &policy.name), all);
        }
    }
}
