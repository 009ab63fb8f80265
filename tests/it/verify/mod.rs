//! What a verification proves and what it catches, on real servers: every claim of the fourteen checks is broken once.

mod comparison;
mod outcomes;
mod sources;

use crate::support::postgres::Postgres;
use crate::support::tool;
use std::path::Path;
use std::sync::LazyLock;

/// The newest major, as the server that backups are restored to.
static VERIFY: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(&tool("PG18_BIN")));

fn rich(postgres: &Postgres) -> String {
    let database = postgres.database("rich");
    postgres.run_file(&database, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rich.sql"));
    database
}
