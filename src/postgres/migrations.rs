//! How far a schema was migrated: the tables of the migration tools that people use.

use super::catalog::sql_name;
use super::session::Session;
use crate::record::facts::Migration;
use std::collections::BTreeSet;
use tokio_postgres::Error;
use tracing::warn;

/// A tool, its table, the columns by which the table is known, and the question for version and dirty flag.
struct Tool {
    name: &'static str,
    table: &'static str,
    columns: &'static [&'static str],
    /// Gives a version and whether it is dirty; `$` stands for the table.
    question: &'static str,
}

/// The first that fits a table is taken. From the documentation of each tool.
const TOOLS: &[Tool] = &[
    Tool {
        name: "golang-migrate",
        table: "schema_migrations",
        columns: &["version", "dirty"],
        question: "SELECT max(version)::text, coalesce(bool_or(dirty), false) FROM $",
    },
    Tool {
        name: "Rails",
        table: "schema_migrations",
        columns: &["version"],
        question: "SELECT max(version)::text, false FROM $",
    },
    Tool {
        name: "Flyway",
        table: "flyway_schema_history",
        columns: &["installed_rank", "version", "success"],
        question: "SELECT (SELECT version::text FROM $ WHERE success AND version IS NOT NULL
                           ORDER BY installed_rank DESC LIMIT 1), EXISTS (SELECT FROM $ WHERE NOT success)",
    },
    Tool {
        name: "Alembic",
        table: "alembic_version",
        columns: &["version_num"],
        question: "SELECT pg_catalog.string_agg(version_num::text, ',' ORDER BY version_num), false FROM $",
    },
    Tool {
        name: "Diesel",
        table: "__diesel_schema_migrations",
        columns: &["version", "run_on"],
        question: "SELECT max(version)::text, false FROM $",
    },
    Tool {
        name: "sqlx",
        table: "_sqlx_migrations",
        columns: &["version", "success"],
        question: "SELECT max(version)::text, NOT coalesce(bool_and(success), true) FROM $",
    },
    Tool {
        name: "Django",
        table: "django_migrations",
        columns: &["id", "app", "name"],
        question: "SELECT (SELECT app || '.' || name FROM $ ORDER BY id DESC LIMIT 1), false",
    },
];

/// A table that looks like that of a migration tool.
pub(super) struct ToolTable {
    tool: &'static Tool,
    table: String,
}

impl ToolTable {
    /// None for a table that is known neither by its name nor by its columns.
    pub(super) fn of(table: &str, columns: Option<&Vec<String>>) -> Option<Self> {
        let columns: BTreeSet<&str> =
            columns.into_iter().flatten().filter_map(|column| column.split(' ').next()).collect();
        let is_it = |tool: &&Tool| {
            table.strip_suffix(tool.table).is_some_and(|schema| schema.ends_with('.'))
                && tool.columns.iter().all(|column| columns.contains(column))
        };
        TOOLS.iter().find(is_it).map(|tool| Self { tool, table: table.to_owned() })
    }
}

/// Versions in the tables that are known by name and columns, in the order of their names.
pub(super) async fn read(session: &Session, mut candidates: Vec<ToolTable>) -> Result<Vec<Migration>, Error> {
    candidates.sort_by(|a, b| a.table.cmp(&b.table));
    let mut found = Vec::new();
    for ToolTable { tool, table } in candidates {
        // a table that is only like it must not end the transaction
        session.batch_execute("SAVEPOINT migrations").await?;
        match session.query_typed_one(&tool.question.replace('$', &sql_name(&table)), &[]).await {
            Ok(row) => {
                let tool = tool.name.to_owned();
                found.push(Migration { tool, table, version: row.get(0), dirty: row.get(1) });
            }
            Err(error) => {
                warn!("{table} looks like a table of {} but is not: {}", tool.name, super::cause(&error));
                session.batch_execute("ROLLBACK TO migrations").await?;
            }
        }
    }
    Ok(found)
}
