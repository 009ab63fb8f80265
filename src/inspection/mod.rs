//! What is in a backup, and what changed between two, without a restore: `show` and `diff` from the facts alone, `peek` from
//! the first bytes of one table's rows.

pub mod difference;
mod row_reader;
pub mod rows;
mod stored_file;
pub mod summary;
