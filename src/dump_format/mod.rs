//! Pure: the two forms that pg_dump writes, SQL and custom archive, read as they stream by.

pub mod custom_archive;
pub mod dump_options;
pub mod script;
pub mod sql_lexer;
