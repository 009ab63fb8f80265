//! Every test against real servers, in one program: they share the servers of `tests/support`, and a long test of one room
//! runs beside the short ones of the others.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod catalogue;
mod chart;
mod cli;
mod clouds;
mod consistency;
mod daemon;
mod dashboard;
mod documents;
mod encryption;
mod exceptions;
mod failures;
mod init;
mod inspection;
mod json;
mod kubernetes;
mod kubernetes_start;
mod lexer;
mod metrics;
mod names;
mod notifications;
mod packages;
mod page;
mod relay;
mod restore;
mod restore_connections;
mod restore_faults;
mod restore_tables;
mod retention;
mod roundtrip;
mod runbooks;
mod scratch;
mod screens;
mod server;
mod storage;
mod tls;
mod verify;
mod worlds;
