//! PostgreSQL backups.
pub mod config;
pub mod facts;
pub mod custom_archive;
pub mod postgres;
pub mod storage;
pub mod progress;
pub mod pipeline;
