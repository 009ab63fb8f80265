//! What a statement of a dump does, as far as a failure of it is judged by that.

use super::statement::{Charset, qualified, quoted};
use super::words::Words;
use std::fmt;

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// Sets something for what follows, or begins or ends a transaction.
    Session,
    /// Makes an object of the database.
    Make(DumpedObject),
    /// Changes an object that is there, or says something of it, that no row depends on.
    Change,
    /// Gives an object to a role, or a privilege to one.
    Grant,
    /// Sets a sequence, or writes a large object.
    Data,
    /// Fills a materialized view.
    Refresh(DumpedObject),
}

/// An object that a statement makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedObject {
    pub kind: ObjectKind,
    /// As facts name objects of that kind; of others, the name that is in the statement. Functions are without their
    /// arguments.
    pub name: String,
}

impl fmt::Display for DumpedObject {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(text, "{} {}", self.kind.as_str(), self.name)
    }
}

/// Kinds of objects, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    Extension,
    Schema,
    Collation,
    Language,
    Type,
    Function,
    Table,
    ForeignTable,
    View,
    MaterializedView,
    Sequence,
    /// Of one column, made apart from its table.
    Default,
    /// A primary key, or a unique or excluding constraint.
    Constraint,
    Check,
    ForeignKey,
    Index,
    Trigger,
    EventTrigger,
    Policy,
    Rule,
    Publication,
    Other,
}

impl ObjectKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extension => "extension",
            Self::Schema => "schema",
            Self::Collation => "collation",
            Self::Language => "language",
            Self::Type => "type",
            Self::Function => "function",
            Self::Table => "table",
            Self::ForeignTable => "foreign table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Sequence => "sequence",
            Self::Default => "default",
            Self::Constraint => "constraint",
            Self::Check => "check",
            Self::ForeignKey => "foreign key",
            Self::Index => "index",
            Self::Trigger => "trigger",
            Self::EventTrigger => "event trigger",
            Self::Policy => "policy",
            Self::Rule => "rule",
            Self::Publication => "publication",
            Self::Other => "object",
        }
    }

    /// True for what pg_dump writes behind the rows, because it is made of them or would be in their way.
    pub fn follows_rows(self) -> bool {
        matches!(
            self,
            Self::Constraint
                | Self::ForeignKey
                | Self::Index
                | Self::Trigger
                | Self::EventTrigger
                | Self::Policy
                | Self::Rule
                | Self::Publication
        )
    }
}

impl Intent {
    /// Reads a statement that begins with its first word.
    pub fn of(statement: &[u8], charset: Charset) -> Self {
        let mut words = Words::new(statement, charset);
        let first = words.name().unwrap_or_default();
        match first.as_str() {
            "set" | "begin" | "commit" => Self::Session,
            "create" => Self::Make(created(&mut words).unwrap_or_else(|| other(statement, charset))),
            "alter" => altered(&mut words).unwrap_or(Self::Change),
            "grant" | "revoke" => Self::Grant,
            "refresh" => {
                let _ = ["materialized", "view"].iter().try_for_each(|word| words.keyword(word));
                let name = words.qualified_name().unwrap_or_default();
                Self::Refresh(DumpedObject { kind: ObjectKind::MaterializedView, name })
            }
            "select" if super::is_search_path(statement) => Self::Session,
            "select" => Self::Data,
            _ => Self::Change,
        }
    }
}

/// An object of a kind that is not told apart, by its first words.
fn other(statement: &[u8], charset: Charset) -> DumpedObject {
    let text = charset.text(&statement[..statement.len().min(200)]);
    let words = text.split_whitespace().skip(1).take_while(|word| *word != "AS" && !word.starts_with('('));
    let name = words.take(4).collect::<Vec<_>>().join(" ");
    DumpedObject { kind: ObjectKind::Other, name: name.trim_end_matches(';').to_owned() }
}

/// What stands behind `CREATE`.
fn created(words: &mut Words<'_>) -> Option<DumpedObject> {
    if words.keyword("or").is_some() {
        words.keyword("replace")?;
    }
    let word = words.name()?;
    let (kind, name) = match word.as_str() {
        "unlogged" | "table" => {
            let _ = words.keyword("table");
            (ObjectKind::Table, words.qualified_name()?)
        }
        "foreign" if words.keyword("table").is_some() => (ObjectKind::ForeignTable, words.qualified_name()?),
        "materialized" => {
            words.keyword("view")?;
            (ObjectKind::MaterializedView, words.qualified_name()?)
        }
        "view" => (ObjectKind::View, words.qualified_name()?),
        "recursive" => {
            words.keyword("view")?;
            (ObjectKind::View, words.qualified_name()?)
        }
        "function" | "procedure" | "aggregate" => (ObjectKind::Function, words.qualified_name()?),
        "sequence" => (ObjectKind::Sequence, words.qualified_name()?),
        "type" | "domain" => (ObjectKind::Type, words.qualified_name()?),
        "collation" => (ObjectKind::Collation, words.qualified_name()?),
        "schema" => (ObjectKind::Schema, quoted(&words.name()?)),
        "publication" => (ObjectKind::Publication, quoted(&words.name()?)),
        "language" => (ObjectKind::Language, quoted(&words.name()?)),
        "procedural" | "trusted" => {
            while words.keyword("procedural").or_else(|| words.keyword("language")).is_some() {}
            (ObjectKind::Language, quoted(&words.name()?))
        }
        "extension" => {
            if words.keyword("if").is_some() {
                ["not", "exists"].iter().try_for_each(|word| words.keyword(word))?;
            }
            (ObjectKind::Extension, quoted(&words.name()?))
        }
        "event" => {
            words.keyword("trigger")?;
            (ObjectKind::EventTrigger, format!("event trigger {}", quoted(&words.name()?)))
        }
        "unique" | "index" => {
            let _ = words.keyword("index");
            let name = words.name()?;
            words.keyword("on")?;
            let _ = words.keyword("only");
            (ObjectKind::Index, qualified(&words.schema()?, &name))
        }
        "constraint" | "trigger" | "policy" | "rule" => {
            let _ = words.keyword("trigger");
            let kind = match word.as_str() {
                "policy" => ObjectKind::Policy,
                "rule" => ObjectKind::Rule,
                _ => ObjectKind::Trigger,
            };
            let name = words.name()?;
            // a rule has `ON SELECT TO table`
            words.skip_to(if kind == ObjectKind::Rule { "to" } else { "on" })?;
            (kind, format!("{}.{}", words.qualified_name()?, quoted(&name)))
        }
        _ => return None,
    };
    Some(DumpedObject { kind, name })
}

/// What stands behind `ALTER`.
fn altered(words: &mut Words<'_>) -> Option<Intent> {
    if words.keyword("default").is_some() {
        return Some(Intent::Grant);
    }
    if words.keyword("table").is_none() && words.keyword("foreign").is_none() {
        return words.skip_to("owner").map(|()| Intent::Grant);
    }
    let _ = words.keyword("table");
    let _ = words.keyword("only");
    let (schema, table) = words.two_names()?;
    let name = qualified(&schema, &table);
    if words.keyword("owner").is_some() {
        return Some(Intent::Grant);
    }
    if words.keyword("alter").is_some() {
        words.keyword("column")?;
        let column = words.name()?;
        ["set", "default"].iter().try_for_each(|word| words.keyword(word))?;
        let object = DumpedObject { kind: ObjectKind::Default, name: format!("{name}.{}", quoted(&column)) };
        return Some(Intent::Make(object));
    }
    words.keyword("add")?;
    words.keyword("constraint")?;
    let constraint = words.name()?;
    let part = || format!("{name}.{}", quoted(&constraint));
    let (kind, name) = match words.name()?.as_str() {
        "foreign" => (ObjectKind::ForeignKey, part()),
        "check" => (ObjectKind::Check, part()),
        "not" => return Some(Intent::Change),
        // it is an index by that name
        _ => (ObjectKind::Constraint, qualified(&schema, &constraint)),
    };
    Some(Intent::Make(DumpedObject { kind, name }))
}
