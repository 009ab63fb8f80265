//! PostgreSQL backups.
pub mod config;
pub mod facts;
pub mod custom_archive;
pub mod postgres;
