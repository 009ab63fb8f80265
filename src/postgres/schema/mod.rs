//! What a database is made of.
//!
//! Asked in the transaction of a snapshot it shows the database as pg_dump does under it: catalogues are read as the
//! snapshot has them, and so are views and constraints.

mod oid;
mod relations;
mod rows;

use super::connection::Connection;
use super::migrations::{self, ToolTable};
use crate::dump_format::sql_lexer::{qualified, quoted};
use crate::record::facts::{Catalogue, Kind, Migration};
use oid::Oid;
use relations::Relations;
use rows::Asker;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use tracing::warn;

/// Takes the objects as they come: in no order but that of their kind's own questions.
pub type TakeObject<'t> = dyn FnMut(Kind, String, Map<String, Value>) + Send + 't;

/// What is known of a database's schema beside its objects, and what happened to it since the snapshot of the transaction
/// that asks.
#[derive(Debug, Default)]
pub struct Described {
    /// The texts of the server's trees are among the objects.
    pub has_texts: bool,
    /// Migration tools whose tables are there.
    pub migrations: Vec<Migration>,
    /// Roles that the database depends on.
    pub roles: Vec<String>,
    pub lc_monetary: String,
    /// Tables whose rows were replaced since: to the snapshot they look empty.
    pub rewritten: Vec<String>,
    /// Tables whose names are other tables' by now.
    pub replaced: Vec<String>,
}

/// Before texts of the server's trees are asked for. Who waits behind pg_dump for a table would keep this waiting behind it,
/// while pg_dump waits for its output to be read, so that no lock is waited for long.
const SAVEPOINT: &str = "SAVEPOINT schema; SET LOCAL lock_timeout = '2s'";
/// Gives back the locks that making texts has taken: a server has room for so many, and pg_dump needs them.
const RELEASE: &str = "ROLLBACK TO schema; SET LOCAL lock_timeout = '2s'";

/// Views, and functions, whose texts are asked for at once: their locks are held at once.
const LOCKS_AT_ONCE: usize = 16;

/// Somebody holds or wants a lock on a table, or there is no room for one more, or what the snapshot shows is gone by now.
const IN_THE_WAY: &[&SqlState] = &[
    &SqlState::LOCK_NOT_AVAILABLE,
    &SqlState::OUT_OF_MEMORY,
    &SqlState::INTERNAL_ERROR,
    &SqlState::UNDEFINED_TABLE,
    &SqlState::UNDEFINED_OBJECT,
    &SqlState::UNDEFINED_COLUMN,
    &SqlState::UNDEFINED_FUNCTION,
];

/// Hands on the objects of the connected database, in the transaction that is open there. What is in memory at one time
/// does not grow with their number. `texts` of the server's own trees are made under locks.
pub async fn describe(connection: &Connection, texts: bool, take: &mut TakeObject<'_>) -> Result<Described, Error> {
    let major = connection.version().major;
    let asker = Asker { session: connection, texts };
    connection.batch_execute(SAVEPOINT).await?;
    let names = Names::read(&asker).await?;
    let (described, candidates) = (Described { has_texts: texts, ..Described::default() }, Vec::new());
    let mut reader = Reader { connection, asker, major, names, take, described, candidates };
    let mut after = Oid::OF_SYSTEM;
    while let Some(last) = reader.relations(after).await? {
        after = last;
    }
    let mut after = Oid::OF_SYSTEM;
    while let Some(last) = reader.functions(after).await? {
        after = last;
    }
    reader.others().await?;
    let Reader { mut described, candidates, .. } = reader;
    let money = connection.query_typed_one("SELECT pg_catalog.current_setting('lc_monetary')", &[]).await?;
    described.lc_monetary = money.get(0);
    described.migrations = migrations::read(connection, candidates).await?;
    Ok(described)
}

/// Tables and views alone, in memory at once.
pub async fn relations(connection: &Connection) -> Result<Catalogue, Error> {
    let mut catalogue = Catalogue::default();
    let mut take = |kind: Kind, name: String, properties: Map<String, Value>| {
        if let Kind::Table | Kind::View = kind {
            catalogue.of_mut(kind).insert(name, properties);
        }
    };
    describe(connection, false, &mut take).await?;
    Ok(catalogue)
}

/// Names by number. What belongs to the system or to an extension has none here.
struct Names {
    namespaces: HashMap<Oid, String>,
    members: HashSet<Oid>,
}

impl Names {
    async fn read(asker: &Asker<'_>) -> Result<Self, Error> {
        let is_user = |name: &str| !name.starts_with("pg_") && name != "information_schema";
        let (mut namespaces, mut members) = (HashMap::new(), HashSet::new());
        let take = |one: rows::Namespace| {
            if is_user(&one.name) {
                namespaces.insert(one.oid, one.name);
            }
        };
        asker.each(rows::NAMESPACES, take).await?;
        asker.each(rows::MEMBERS, |member: rows::ExtensionMember| members.extend([member.object])).await?;
        Ok(Self { namespaces, members })
    }

    fn object(&self, oid: Oid, namespace: Oid, name: &str) -> Option<String> {
        let namespace = self.namespaces.get(&namespace)?;
        (!self.members.contains(&oid)).then(|| qualified(namespace, name))
    }
}

/// Properties by name, without those that are not there or are not so.
fn properties(all: Value) -> Map<String, Value> {
    let Value::Object(mut all) = all else { return Map::new() };
    all.retain(|_, value| !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some(""));
    all
}

struct Reader<'a> {
    connection: &'a Connection,
    asker: Asker<'a>,
    major: u32,
    names: Names,
    take: &'a mut TakeObject<'a>,
    described: Described,
    candidates: Vec<ToolTable>,
}

impl Reader<'_> {
    fn take(&mut self, kind: Kind, name: Option<String>, all: Value) {
        if let Some(name) = name {
            (self.take)(kind, name, properties(all));
        }
    }

    /// Goes on without the texts of the server's trees, where `error` says that something is in their way.
    async fn without_texts(&mut self, error: Error) -> Result<(), Error> {
        if !self.asker.texts || !error.code().is_some_and(|code| IN_THE_WAY.contains(&code)) {
            return Err(error);
        }
        let cause = super::cause(&error);
        warn!(
            "the texts of objects could not be read ({cause}), so defaults, views and indexes are recorded without text"
        );
        self.connection.batch_execute(RELEASE).await?;
        (self.asker.texts, self.described.has_texts) = (false, false);
        Ok(())
    }

    /// Texts that keep their locks, so many at once as do no harm.
    async fn texts(&mut self, objects: &[Oid], question: fn(&[Oid]) -> String) -> Result<HashMap<Oid, String>, Error> {
        let mut texts = HashMap::new();
        for some in objects.chunks(LOCKS_AT_ONCE) {
            if !self.asker.texts {
                break;
            }
            match self.asker.ask::<rows::Definition>(&question(some)).await {
                Ok(made) => {
                    texts.extend(made.into_iter().filter_map(|one| Some((one.oid, one.text?))));
                    self.connection.batch_execute(RELEASE).await?;
                }
                Err(error) => self.without_texts(error).await?,
            }
        }
        Ok(texts)
    }

    /// Some relations and what belongs to them; the answer is the last one.
    async fn relations(&mut self, after: Oid) -> Result<Option<Oid>, Error> {
        let chunk = match self.asker.chunk(self.major, after).await {
            Ok(chunk) => chunk,
            Err(error) => {
                self.without_texts(error).await?;
                self.asker.chunk(self.major, after).await?
            }
        };
        let Some((range, chunk)) = chunk else { return Ok(None) };
        let views = chunk.relations.iter().filter(|relation| relation.is_view());
        let views: Vec<Oid> = views.map(|view| view.oid).collect();
        let definitions = self.texts(&views, rows::definitions).await?;
        if self.asker.texts {
            // those of policies keep their locks as well
            self.connection.batch_execute(RELEASE).await?;
        }
        Relations::of(&self.names, &chunk).hand_on(self, &definitions);
        Ok(Some(range.last))
    }

    /// Some functions; the answer is the last one.
    async fn functions(&mut self, after: Oid) -> Result<Option<Oid>, Error> {
        let functions: Vec<rows::Function> = self.asker.ask(&rows::functions(self.major, after)).await?;
        let with_body: Vec<Oid> = functions.iter().filter(|one| one.has_body).map(|one| one.oid).collect();
        let bodies = self.texts(&with_body, rows::bodies).await?;
        for function in &functions {
            let name = self.names.object(function.oid, function.namespace, &function.name);
            let name = name.zip(function.arguments.as_ref()).map(|(name, arguments)| format!("{name}({arguments})"));
            let all = json!({
                "kind": function.kind, "result": function.result, "volatility": function.volatility,
                "parallel": function.parallel, "strict": function.strict,
                "security_definer": function.security_definer, "leakproof": function.leakproof,
                "settings": function.settings, "source": function.source, "file": function.file,
                "body": bodies.get(&function.oid), "language": function.language,
            });
            self.take(Kind::Function, name, all);
        }
        Ok(functions.last().map(|function| function.oid))
    }

    /// What belongs to no relation, and of which there is little.
    async fn others(&mut self) -> Result<(), Error> {
        let (names, take) = (&self.names, &mut *self.take);
        let take_enum = |one: rows::Enum| {
            if let Some(name) = names.object(one.oid, one.namespace, &one.name) {
                take(Kind::Enum, name, properties(json!({ "labels": (!one.labels.is_empty()).then_some(one.labels) })));
            }
        };
        self.asker.each(rows::ENUMS, take_enum).await?;
        for trigger in self.asker.ask::<rows::EventTrigger>(rows::EVENT_TRIGGERS).await? {
            let all = json!({
                "enabled": trigger.enabled, "event": trigger.event, "function": trigger.function, "tags": trigger.tags,
            });
            let name = format!("event trigger {}", quoted(&trigger.name));
            self.take(Kind::Trigger, (!self.names.members.contains(&trigger.oid)).then_some(name), all);
        }
        for extension in self.asker.ask::<rows::Extension>(rows::EXTENSIONS).await? {
            let schema = self.names.namespaces.get(&extension.namespace);
            let all = json!({ "schema": schema, "version": extension.version });
            self.take(Kind::Extension, Some(quoted(&extension.name)), all);
        }
        let roles = self.asker.ask::<rows::Role>(rows::ROLES).await?;
        self.described.roles = roles.into_iter().map(|role| role.name).collect();
        Ok(())
    }
}
