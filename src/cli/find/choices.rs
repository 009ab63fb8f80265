//! What there was to choose from, for whoever asked for something else.

use super::Named;
use crate::cli::output::MOST_NAMES;
use crate::config::BackupType;
use crate::error::{Error, SettingsError};
use crate::record::manifest::Manifest;
use crate::text;
use std::collections::BTreeSet;

/// What somebody narrows a look at the backups to.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::cli) struct Filters<'a> {
    pub(in crate::cli) database: Option<&'a str>,
    pub(in crate::cli) source: Option<&'a str>,
    pub(in crate::cli) kind: Option<BackupType>,
}

/// Backups that were looked at.
#[derive(Debug, Default)]
pub(in crate::cli) struct Choices {
    count: usize,
    /// Manifests that cannot be read.
    unreadable: usize,
    sources: BTreeSet<String>,
    /// What those of the wanted source hold.
    subjects: BTreeSet<String>,
    /// Types of those of the wanted source and database.
    kinds: BTreeSet<String>,
    /// One is of the wanted type as well.
    has_kind: bool,
}

impl Choices {
    /// None yet, beside manifests that cannot be read.
    pub(in crate::cli) fn beside(unreadable: usize) -> Self {
        Self { unreadable, ..Self::default() }
    }

    /// Counts manifests that cannot be read.
    pub(super) fn add_unreadable(&mut self, count: usize) {
        self.unreadable += count;
    }

    /// Counts a backup, which is of the wanted source or not.
    pub(in crate::cli) fn add(&mut self, filters: Filters<'_>, manifest: &Manifest, is_of_source: bool) {
        self.count += 1;
        self.sources.insert(manifest.source.clone());
        if !is_of_source {
            return;
        }
        self.subjects.insert(manifest.subject.to_string());
        if filters.database.is_none_or(|database| manifest.subject.database() == Some(database)) {
            self.kinds.insert(manifest.backup_type.as_str().to_owned());
            self.has_kind |= filters.kind.is_none_or(|kind| kind == manifest.backup_type);
        }
    }

    /// Which filter left nothing, and what exists, as it goes on behind `there is no backup `; none where backups are left.
    pub(in crate::cli) fn emptied(&self, filters: Filters<'_>) -> Option<String> {
        let Filters { database, source, kind } = filters;
        let from = source.map(|source| format!(" from {}", text::one_line(source))).unwrap_or_default();
        let of = database.map(|database| format!(" of {}", text::one_line(database))).unwrap_or_default();
        match (source, database, kind) {
            _ if self.count == 0 && self.unreadable > 0 => {
                let manifests = text::count(self.unreadable, "manifest");
                Some(format!("that can be read; {manifests} cannot be, and the log says why"))
            }
            _ if self.count == 0 => Some("yet; `backup run` makes one".to_owned()),
            (Some(source), ..) if self.subjects.is_empty() => {
                let source = text::one_line(source);
                Some(format!("of the source {source}; there are backups of {}", text::some(&self.sources, MOST_NAMES)))
            }
            (_, Some(database), _) if self.kinds.is_empty() => {
                let database = text::one_line(database);
                Some(format!("of {database}{from}; there are backups of {}", text::some(&self.subjects, MOST_NAMES)))
            }
            (.., Some(kind)) if !self.has_kind => Some(format!(
                "of type {}{of}{from}; there are backups of type {}",
                kind.as_str(),
                text::some(&self.kinds, MOST_NAMES)
            )),
            _ => None,
        }
    }

    /// Why nothing was found: the filter that left nothing, and what exists.
    pub(super) fn nothing(&self, named: &Named) -> Error {
        let name = &named.name;
        let why = match self.emptied(named.filters()) {
            Some(emptied) => format!("there is no backup {emptied}"),
            None if name == super::LATEST => "no backup matches the other options; `backup list` shows all".to_owned(),
            None => format!(
                "there is no backup whose id begins with `{}`; `backup list` shows all {}",
                text::one_line(name),
                self.count
            ),
        };
        Error::Settings(SettingsError::Usage(why))
    }
}
