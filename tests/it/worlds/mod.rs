//! Servers, stores and clocks as other people have them: what was lost, what hung and what cried wolf there, each provoked
//! on real servers.

mod catalogues;
mod clusters;
mod folders;
mod guards;
mod left_out;
mod poolers;
mod reaching;
mod readers;
mod signals;
mod sources;
mod stores;

use crate::support::postgres::Postgres;

/// A database with a table `t` of so many rows.
fn filled(postgres: &Postgres, database: &str, rows: u32) {
    postgres.sql("postgres", &format!("CREATE DATABASE {database}"));
    postgres.sql(database, &format!("CREATE TABLE t AS SELECT n FROM generate_series(1, {rows}) AS n"));
}
