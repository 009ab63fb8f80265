//! What there was to choose from, for whoever asked for something else.

use super::Named;
use crate::error::{Error, SettingsError};
use crate::repository::Backup;
use crate::text;
use std::collections::BTreeSet;

/// Names that are listed at most.
const MOST: usize = 10;

/// Backups that were looked at.
#[derive(Debug, Default)]
pub(super) struct Choices {
    count: usize,
    sources: BTreeSet<String>,
    /// What those of the wanted source hold.
    subjects: BTreeSet<String>,
    /// How many were left by `--database` and `--source`.
    left: usize,
}

impl Choices {
    pub(super) fn add(&mut self, named: &Named, backup: &Backup) {
        self.count += 1;
        self.sources.insert(backup.manifest.source.clone());
        if named.is_of_source(backup) {
            self.subjects.insert(backup.manifest.subject.to_string());
            self.left += usize::from(named.is_of_database(backup));
        }
    }

    /// Why nothing was found: the filter that left nothing, and what exists.
    pub(super) fn nothing(&self, named: &Named) -> Error {
        let Named { name, database, source, .. } = named;
        let from = source.as_ref().map(|source| format!(" from {source}")).unwrap_or_default();
        let why = match (database, source) {
            _ if self.count == 0 => "there is no backup yet; `backup run` makes one".to_owned(),
            (_, Some(source)) if self.subjects.is_empty() => {
                format!("there is no backup of the source {source}; there are backups of {}", some(&self.sources))
            }
            (Some(database), _) if self.left == 0 => {
                let database = text::one_line(database);
                format!("there is no backup of {database}{from}; there are backups of {}", some(&self.subjects))
            }
            _ if name == super::LATEST => {
                "there is no backup that fits the other options; `backup list` shows all".to_owned()
            }
            _ => format!(
                "there is no backup whose id begins with `{}`; `backup list` shows all {}",
                text::one_line(name),
                self.count
            ),
        };
        Error::Settings(SettingsError::Usage(why))
    }
}

/// The first names of many.
pub(super) fn some(names: &BTreeSet<String>) -> String {
    let listed: Vec<_> = names.iter().take(MOST).map(|name| text::one_line(name)).collect();
    let more = match names.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", listed.join(", "))
}
