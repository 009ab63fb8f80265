//! The objects of a database, by their kinds.

use super::Objects;
use serde::{Deserialize, Serialize};

/// Kinds of objects, in the order of the facts file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Ordinary, partitioned and foreign tables.
    Table,
    /// Enum types.
    Enum,
    Index,
    ForeignKey,
    /// Sequences.
    Sequence,
    /// Views and materialized views.
    View,
    /// Functions, procedures and aggregates.
    Function,
    Trigger,
    /// Policies.
    Policy,
    Extension,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Table,
        Self::Enum,
        Self::Index,
        Self::ForeignKey,
        Self::Sequence,
        Self::View,
        Self::Function,
        Self::Trigger,
        Self::Policy,
        Self::Extension,
    ];

    /// Its name in the facts file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Table => "tables",
            Self::Enum => "enums",
            Self::Index => "indexes",
            Self::ForeignKey => "foreign_keys",
            Self::Sequence => "sequences",
            Self::View => "views",
            Self::Function => "functions",
            Self::Trigger => "triggers",
            Self::Policy => "policies",
            Self::Extension => "extensions",
        }
    }
}

impl Catalogue {
    pub fn of(&self, kind: Kind) -> &Objects {
        match kind {
            Kind::Table => &self.tables,
            Kind::Enum => &self.enums,
            Kind::Index => &self.indexes,
            Kind::ForeignKey => &self.foreign_keys,
            Kind::Sequence => &self.sequences,
            Kind::View => &self.views,
            Kind::Function => &self.functions,
            Kind::Trigger => &self.triggers,
            Kind::Policy => &self.policies,
            Kind::Extension => &self.extensions,
        }
    }

    /// The objects of a kind, to be changed.
    pub fn of_mut(&mut self, kind: Kind) -> &mut Objects {
        match kind {
            Kind::Table => &mut self.tables,
            Kind::Enum => &mut self.enums,
            Kind::Index => &mut self.indexes,
            Kind::ForeignKey => &mut self.foreign_keys,
            Kind::Sequence => &mut self.sequences,
            Kind::View => &mut self.views,
            Kind::Function => &mut self.functions,
            Kind::Trigger => &mut self.triggers,
            Kind::Policy => &mut self.policies,
            Kind::Extension => &mut self.extensions,
        }
    }
}

/// What a database is made of, outside the system's schemas and extensions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Ordinary, partitioned and foreign tables with their columns.
    pub tables: Objects,
    /// Enum types with their labels in order.
    pub enums: Objects,
    /// Indexes, and whether they are valid.
    pub indexes: Objects,
    /// Foreign keys, and whether they are validated.
    pub foreign_keys: Objects,
    /// Sequences, without their values.
    pub sequences: Objects,
    /// Views and materialized views.
    pub views: Objects,
    /// Functions, procedures and aggregates, with the types of their arguments.
    pub functions: Objects,
    /// Triggers of tables and of the database, and whether they are enabled.
    pub triggers: Objects,
    /// Policies of row security.
    pub policies: Objects,
    pub extensions: Objects,
}
