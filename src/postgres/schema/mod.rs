//! What a database is made of.
//!
//! Asked in the transaction of a snapshot it shows the database as pg_dump does under it: catalogues are read as the
//! snapshot has them, and so are views and constraints.

mod rows;

use super::connection::Connection;
use super::migrations;
use crate::facts::{Catalogue, Objects, Schema};
use crate::sql_lexer::{qualified, quoted};
use rows::{Oid, Rows};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use tracing::warn;

/// A database's schema, and what happened to it since the snapshot of the transaction that asks.
#[derive(Debug, Default)]
pub struct Described {
    /// The schema.
    pub schema: Schema,
    /// Tables whose rows were replaced since: to the snapshot they look empty.
    pub rewritten: Vec<String>,
    /// Tables whose names are other tables' by now.
    pub replaced: Vec<String>,
}

/// How long text of the server's trees may be waited for. Who waits behind pg_dump for a table would keep this waiting
/// behind it, while pg_dump waits for its output to be read.
const TEXTS: &str = "SAVEPOINT schema; SET LOCAL lock_timeout = '2s'";

/// Somebody holds or wants a lock on a table, or what the snapshot shows is gone by now.
const IN_THE_WAY: &[&SqlState] = &[
    &SqlState::LOCK_NOT_AVAILABLE,
    &SqlState::INTERNAL_ERROR,
    &SqlState::UNDEFINED_TABLE,
    &SqlState::UNDEFINED_OBJECT,
    &SqlState::UNDEFINED_COLUMN,
    &SqlState::UNDEFINED_FUNCTION,
];

/// Reads the schema of the connected database, in the transaction that is open there.
pub async fn describe(connection: &Connection) -> Result<Described, Error> {
    let major = connection.version().major;
    connection.batch_execute(TEXTS).await?;
    let (rows, has_texts) = match rows::read(connection, major, true).await {
        Ok(rows) => (rows, true),
        Err(error) if error.code().is_some_and(|code| IN_THE_WAY.contains(&code)) => {
            let cause = super::cause(&error);
            warn!("DDL is in the way ({cause}), so defaults, views and indexes are recorded without text");
            connection.batch_execute("ROLLBACK TO schema").await?;
            (rows::read(connection, major, false).await?, false)
        }
        Err(error) => return Err(error),
    };
    let money = connection.query_typed_one("SELECT pg_catalog.current_setting('lc_monetary')", &[]).await?;
    let names = Names::of(&rows);
    let tables = |which: fn(&rows::Relation) -> bool| {
        let tables = rows.relations.iter().filter(|relation| which(relation));
        tables.filter_map(|relation| names.relations.get(&relation.oid).cloned()).collect()
    };
    let (rewritten, replaced) = (tables(|table| table.rewritten), tables(|table| table.replaced));
    let catalogue = catalogue(&rows, &names);
    let migrations = migrations::read(connection, &catalogue).await?;
    let roles = rows.roles.into_iter().map(|role| role.name).collect();
    let schema = Schema { catalogue, has_texts, migrations, roles, lc_monetary: money.get(0) };
    Ok(Described { schema, rewritten, replaced })
}

/// Names by number. What belongs to the system or to an extension has none here.
struct Names<'a> {
    namespaces: HashMap<Oid, &'a str>,
    members: HashSet<Oid>,
    relations: HashMap<Oid, String>,
    columns: HashMap<(Oid, i16), &'a str>,
}

impl<'a> Names<'a> {
    fn of(rows: &'a Rows) -> Self {
        let is_user = |name: &str| !name.starts_with("pg_") && name != "information_schema";
        let namespaces = rows.namespaces.iter().filter(|namespace| is_user(&namespace.name));
        let mut names = Self {
            namespaces: namespaces.map(|namespace| (namespace.oid, namespace.name.as_str())).collect(),
            members: rows.members.iter().map(|member| member.object).collect(),
            relations: HashMap::new(),
            columns: rows
                .columns
                .iter()
                .map(|column| ((column.relation, column.number), column.name.as_str()))
                .collect(),
        };
        for relation in &rows.relations {
            if let Some(name) = names.object(relation.oid, relation.namespace, &relation.name) {
                names.relations.insert(relation.oid, name);
            }
        }
        names
    }

    fn object(&self, oid: Oid, namespace: Oid, name: &str) -> Option<String> {
        let namespace = self.namespaces.get(&namespace)?;
        (!self.members.contains(&oid)).then(|| qualified(namespace, name))
    }

    /// The name of what belongs to a relation.
    fn part(&self, relation: Oid, name: &str) -> Option<String> {
        Some(format!("{}.{}", self.relations.get(&relation)?, quoted(name)))
    }

    /// Names of columns; an expression has none.
    fn columns(&self, relation: Oid, numbers: impl Iterator<Item = i16>) -> Value {
        numbers.map(|number| self.columns.get(&(relation, number)).copied()).collect()
    }
}

/// Properties by name, without those that are not there or are not so.
fn properties(all: Value) -> Map<String, Value> {
    let Value::Object(mut all) = all else { return Map::new() };
    all.retain(|_, value| !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some(""));
    all
}

/// Objects of those that have a name.
fn objects(all: impl Iterator<Item = (Option<String>, Value)>) -> Objects {
    all.filter_map(|(name, value)| Some((name?, properties(value)))).collect()
}

fn catalogue(rows: &Rows, names: &Names<'_>) -> Catalogue {
    let of_kinds =
        |kinds: &'static [&str]| rows.relations.iter().filter(|relation| kinds.contains(&relation.kind.as_str()));
    let columns = columns(rows);
    let (parents, checks, defaults) = (parents(rows, names), checks(rows), defaults(rows, names));
    let tables = of_kinds(&["r", "p", "f"]).map(|table| {
        let name = names.relations.get(&table.oid).cloned();
        let all = json!({
            "kind": table.kind, "is_partition": table.is_partition, "persistence": table.persistence, "columns": columns.get(&table.oid),
            "parents": parents.get(&table.oid), "key": table.key, "bound": table.bound, "checks": checks.get(&table.oid),
            "defaults": defaults.get(&table.oid),
            "row_security": table.row_security, "forced_row_security": table.forced_row_security,
        });
        (name, all)
    });
    let views = of_kinds(&["v", "m"]).map(|view| {
        let name = names.relations.get(&view.oid).cloned();
        let populated = (view.kind == "m").then_some(view.populated);
        let mut options = view.options.clone();
        options.iter_mut().for_each(|options| options.sort());
        let all = json!({
            "kind": view.kind, "columns": columns.get(&view.oid), "populated": populated, "options": options,
            "definition": view.definition,
        });
        (name, all)
    });
    let mut labels: HashMap<Oid, Vec<&str>> = HashMap::new();
    rows.labels.iter().for_each(|label| labels.entry(label.r#enum).or_default().push(&label.label));
    let enums = rows
        .enums
        .iter()
        .map(|one| (names.object(one.oid, one.namespace, &one.name), json!({ "labels": labels.get(&one.oid) })));
    let indexes = rows.indexes.iter().map(|index| {
        let name = names.relations.get(&index.relation).and(names.relations.get(&index.index)).cloned();
        let numbers = index.columns.split_whitespace().filter_map(|number| number.parse().ok());
        let all = json!({
            "table": names.relations.get(&index.relation), "valid": index.valid, "unique": index.unique,
            "primary": index.primary, "columns": names.columns(index.relation, numbers), "definition": index.definition,
        });
        (name, all)
    });
    let foreign_keys = rows.constraints.iter().filter(|constraint| constraint.kind == "f").map(|key| {
        let all = json!({
            "validated": key.validated, "references": names.relations.get(&key.references),
            "columns": names.columns(key.relation, key.columns.iter().flatten().copied()),
            "referenced_columns": names.columns(key.references, key.referenced_columns.iter().flatten().copied()),
            "on_update": key.on_update, "on_delete": key.on_delete, "match": key.r#match,
            "deferrable": key.deferrable, "deferred": key.deferred,
        });
        (names.part(key.relation, &key.name), all)
    });
    let sequences = rows.sequences.iter().map(|sequence| {
        let all = json!({
            "type": sequence.r#type, "start": sequence.start, "increment": sequence.increment, "least": sequence.least,
            "most": sequence.most, "cache": sequence.cache, "cycles": sequence.cycles,
        });
        (names.relations.get(&sequence.sequence).cloned(), all)
    });
    let policies = rows.policies.iter().map(|policy| {
        let all = json!({
            "command": policy.command, "permissive": policy.permissive, "roles": policy.roles, "using": policy.using,
            "with_check": policy.with_check,
        });
        (names.part(policy.relation, &policy.name), all)
    });
    let extensions = rows.extensions.iter().map(|extension| {
        let schema = names.namespaces.get(&extension.namespace);
        (Some(quoted(&extension.name)), json!({ "schema": schema, "version": extension.version }))
    });
    Catalogue {
        tables: objects(tables),
        enums: objects(enums),
        indexes: objects(indexes),
        foreign_keys: objects(foreign_keys),
        sequences: objects(sequences),
        views: objects(views),
        functions: functions(rows, names),
        triggers: triggers(rows, names),
        policies: objects(policies),
        extensions: objects(extensions),
    }
}

/// Columns in their order, each with its type and what else it is.
fn columns(rows: &Rows) -> HashMap<Oid, Vec<String>> {
    let mut columns: HashMap<Oid, Vec<String>> = HashMap::new();
    for column in &rows.columns {
        columns.entry(column.relation).or_default().push(format!("{} {}", quoted(&column.name), column.text));
    }
    columns
}

fn defaults(rows: &Rows, names: &Names<'_>) -> HashMap<Oid, Map<String, Value>> {
    let mut defaults: HashMap<Oid, Map<String, Value>> = HashMap::new();
    for default in &rows.defaults {
        if let Some(column) = names.columns.get(&(default.relation, default.number)) {
            defaults.entry(default.relation).or_default().insert((*column).to_owned(), json!(default.text));
        }
    }
    defaults
}

fn parents<'a>(rows: &Rows, names: &'a Names<'_>) -> HashMap<Oid, Vec<&'a str>> {
    let mut parents: HashMap<Oid, Vec<&str>> = HashMap::new();
    for parent in &rows.parents {
        let name = names.relations.get(&parent.parent);
        parents.entry(parent.relation).or_default().extend(name.map(String::as_str));
    }
    parents
}

fn checks(rows: &Rows) -> HashMap<Oid, Map<String, Value>> {
    let mut checks: HashMap<Oid, Map<String, Value>> = HashMap::new();
    for check in rows.constraints.iter().filter(|constraint| constraint.kind == "c") {
        checks.entry(check.relation).or_default().insert(check.name.clone(), json!(check.definition));
    }
    checks
}

fn functions(rows: &Rows, names: &Names<'_>) -> Objects {
    let all = rows.functions.iter().map(|function| {
        let name = names.object(function.oid, function.namespace, &function.name);
        let all = json!({
            "kind": function.kind, "result": function.result, "volatility": function.volatility,
            "parallel": function.parallel, "strict": function.strict, "security_definer": function.security_definer,
            "leakproof": function.leakproof, "settings": function.settings, "source": function.source,
            "file": function.file, "body": function.body, "language": function.language,
        });
        (name.zip(function.arguments.as_ref()).map(|(name, arguments)| format!("{name}({arguments})")), all)
    });
    objects(all)
}

fn triggers(rows: &Rows, names: &Names<'_>) -> Objects {
    let of_tables = rows.triggers.iter().map(|trigger| {
        let all = json!({ "enabled": trigger.enabled, "definition": trigger.definition });
        (names.part(trigger.relation, &trigger.name), all)
    });
    let of_events = rows.event_triggers.iter().map(|trigger| {
        let name = format!("event trigger {}", quoted(&trigger.name));
        let all = json!({
            "enabled": trigger.enabled, "event": trigger.event, "function": trigger.function, "tags": trigger.tags,
        });
        ((!names.members.contains(&trigger.oid)).then_some(name), all)
    });
    objects(of_tables.chain(of_events))
}
