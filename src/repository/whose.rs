//! Whose a backup is. A source is its name *and* the server behind it: every compose project calls its server
//! `postgres:5432`, and what one of them has stored is not another one's to prune, to sweep or to count.
//!
//! A server that was built anew has another number under the same name. Somebody may then say that the backups of the old
//! one are its own: a small note beside them links the two numbers, and holds for everybody who reads there.

use super::{Backup, Catalog, Repository};
use crate::record::manifest::{Manifest, Marker};
use crate::storage::key;
use crate::storage::{Object, StorageError};
use crate::text;
use std::collections::{BTreeMap, HashMap};

/// Whose a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// This source's, as far as that can be told.
    Ours,
    /// That of another server which goes by the same name.
    Namesake,
    /// That of a source of another name.
    Another,
}

/// By what a source is named where its name alone would mean two: `db:5432#7710654680363480094`.
pub fn full_name(source: &str, server: &str) -> String {
    format!("{source}#{server}")
}

/// Which server took over the backups of which.
#[derive(Debug, Default)]
pub(super) struct Adoptions(HashMap<String, String>);

impl Adoptions {
    pub(super) fn among(objects: &[Object], source: &str) -> Self {
        let of_source = |object: &Object| key::adoption_of(&object.key, source);
        Self(objects.iter().filter_map(of_source).collect())
    }

    /// The server that has the backups of this one now.
    pub(super) fn heir<'a>(&'a self, server: &'a str) -> &'a str {
        let mut last = server;
        // a circle has no end, and no more steps than links
        for _ in 0..self.0.len() {
            match self.0.get(last) {
                Some(next) => last = next,
                None => break,
            }
        }
        last
    }
}

impl Repository {
    /// Learns which server the source is, where its number is known.
    pub fn learn_server(&self, server: Option<&str>) {
        server.into_iter().for_each(|server| self.owner.learn(server));
    }

    /// Number of the source's server, once that is known.
    pub fn server(&self) -> Option<&str> {
        self.owner.server()
    }

    pub(super) fn whose(&self, manifest: &Manifest, adoptions: &Adoptions) -> Whose {
        match manifest.source == self.owner.source {
            false => Whose::Another,
            true if self.is_our_server(manifest.system_identifier.as_deref(), adoptions) => Whose::Ours,
            true => Whose::Namesake,
        }
    }

    pub(super) fn owns_marker(&self, marker: &Marker, adoptions: &Adoptions) -> bool {
        marker.source == self.owner.source && self.may_touch(marker.system_identifier.as_deref(), adoptions)
    }

    /// What is not known to be another server's is ours by its name.
    fn is_our_server(&self, server: Option<&str>, adoptions: &Adoptions) -> bool {
        match (self.owner.server(), server) {
            (Some(ours), Some(server)) => adoptions.heir(server) == adoptions.heir(ours),
            _ => true,
        }
    }

    /// The same where something is removed that may be under way: who does not know our own server touches nothing that
    /// says whose it is.
    pub(super) fn may_touch(&self, server: Option<&str>, adoptions: &Adoptions) -> bool {
        (self.owner.server().is_some() || server.is_none()) && self.is_our_server(server, adoptions)
    }

    /// Makes the backups of another server under our name our own. Somebody has said that it is no other.
    pub async fn adopt(&self, server: &str) -> Result<(), StorageError> {
        let Some(ours) = self.owner.server() else { return Ok(()) };
        self.put_note(&key::adoption(&self.owner.source, server, ours)).await
    }

    /// Whose notes are meant: those of another server of the same name are not ours.
    pub(super) fn full_source(&self) -> String {
        match self.owner.server() {
            Some(server) => full_name(&self.owner.source, server),
            None => self.owner.source.clone(),
        }
    }

    /// How many backups other servers of that name have here, by the number of the server.
    pub fn namesakes(&self, catalog: &Catalog, source: &str) -> BTreeMap<String, usize> {
        let is_one = |backup: &&Backup| backup.whose == Whose::Namesake && backup.manifest.source == source;
        let mut namesakes = BTreeMap::new();
        for backup in catalog.backups.iter().filter(is_one) {
            *namesakes.entry(backup.manifest.system_identifier.clone().unwrap_or_default()).or_default() += 1;
        }
        namesakes
    }

    /// What people are told of them.
    pub fn describe_namesakes(&self, catalog: &Catalog, source: &str) -> Vec<String> {
        let place = self.location().name;
        let one = |(server, count): (String, usize)| {
            let backups = text::count(count, "backup");
            format!(
                "{place} holds {backups} of another server (system identifier {server}) under the name {source}; they \
                 are neither pruned nor counted. Give each server its own BACKUP_SOURCE, or, if this server replaces \
                 that one, take them over with `backup prune --adopt {server}`"
            )
        };
        self.namesakes(catalog, source).into_iter().map(one).collect()
    }
}

impl Backup {
    /// Name of its source; that of a namesake has the number of its server behind it.
    pub fn source(&self) -> String {
        source_name(&self.manifest, self.whose)
    }

    /// True when it is of the source of that name; behind the name may stand the number of the server that made it, or of
    /// the one that took it over.
    pub fn is_of(&self, source: &str) -> bool {
        let heir = || self.server.as_ref().is_some_and(|heir| full_name(&self.manifest.source, heir) == source);
        is_of(&self.manifest, self.whose, source) || heir()
    }
}

/// Name of a backup's source; that of a namesake has the number of its server behind it.
pub fn source_name(manifest: &Manifest, whose: Whose) -> String {
    match (whose, &manifest.system_identifier) {
        (Whose::Namesake, Some(server)) => full_name(&manifest.source, server),
        _ => manifest.source.clone(),
    }
}

/// True when a backup is of the source of that name, with or without the number of its server behind it.
pub fn is_of(manifest: &Manifest, whose: Whose, source: &str) -> bool {
    let full = || manifest.system_identifier.as_ref().is_some_and(|id| full_name(&manifest.source, id) == source);
    (whose != Whose::Namesake && manifest.source == source) || full()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_go_to_the_last_heir_and_a_circle_has_none() {
        let of = |pairs: &[(&str, &str)]| {
            Adoptions(pairs.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect())
        };
        let chain = of(&[("1", "2"), ("2", "3")]);
        assert_eq!(["1", "2", "3", "4"].map(|server| chain.heir(server).to_owned()), ["3", "3", "3", "4"]);
        assert!(["1", "2"].contains(&of(&[("1", "2"), ("2", "1")]).heir("1")));
    }
}
