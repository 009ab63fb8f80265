//! `PG_DUMP_EXTRA_ARGS`: what may be handed to `pg_dump` beside what we hand it ourselves.

use crate::dump_format::dump_options;

/// Splits as a shell would, without running one, and refuses what would spoil the backup.
///
/// The error names the argument and says what follows from it, or what to use instead.
pub(super) fn parse(text: &str) -> Result<Vec<String>, String> {
    let words = shlex::split(text).ok_or("balanced quotes")?;
    dump_options::refuse(&words).map_or(Ok(words), Err)
}
