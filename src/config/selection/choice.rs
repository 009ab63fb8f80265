//! Pure: which databases a selection means.

use super::{Databases, Mode, Pattern, Selection};
use crate::record::facts::Subject;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Databases that services which manage a server keep there for themselves, and let nobody into: Amazon's, Google's,
/// Microsoft's and DigitalOcean's.
const OF_PROVIDERS: &[&str] =
    &["rdsadmin", "cloudsqladmin", "alloydbadmin", "alloydbmetadata", "azure_maintenance", "azure_sys", "_dodb"];

/// Which of `count` shards a database belongs to: a matter of its name alone, so that no other database moves it.
pub(super) fn shard_of(database: &str, count: u32) -> u32 {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(database)[..8]);
    u32::try_from(u64::from_be_bytes(first) % u64::from(count.max(1))).unwrap_or_default()
}

impl Selection {
    /// True for a database of whoever manages the server, unless somebody has named it.
    pub fn is_providers(&self, name: &str) -> bool {
        let is_named = match &self.databases {
            _ if self.mode == Mode::Cluster => false,
            Databases::One => true,
            Databases::Named(names) => names.iter().any(|named| named == name),
            Databases::Matching(patterns) => {
                patterns.iter().any(|pattern| pattern.is_name() && pattern.as_str() == name)
            }
        };
        OF_PROVIDERS.contains(&name) && !is_named
    }

    /// What runs of this selection keep up to date, whatever their shard: what it names, and what of those that were ever
    /// saved it still selects.
    pub fn expected(&self, own: &str, saved: &BTreeSet<Subject>) -> Vec<Subject> {
        if self.mode == Mode::Cluster {
            return vec![Subject::Cluster];
        }
        let is_kept = |subject: &Subject| match subject {
            Subject::Database(name) => self.selects(own, name, false),
            Subject::Globals | Subject::Cluster => false,
        };
        let named = self.names(own).into_iter().map(Subject::Database);
        let wants_globals = self.globals.unwrap_or_else(|| self.is_several());
        let globals = wants_globals.then_some(Subject::Globals);
        let expected: BTreeSet<Subject> =
            saved.iter().filter(|subject| is_kept(subject)).cloned().chain(named).chain(globals).collect();
        expected.into_iter().collect()
    }

    /// True for databases of the selection's own shard, and for the whole server; globals are nobody's in particular.
    pub fn is_in_shard(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Database(name) => self.is_mine(name),
            Subject::Cluster => true,
            Subject::Globals => false,
        }
    }

    /// True when a run of this selection saves the database.
    pub fn saves(&self, own: &str, name: &str, is_template: bool) -> bool {
        match self.mode {
            Mode::Cluster => !self.excludes(name),
            Mode::Database => self.selects(own, name, is_template) && self.is_mine(name),
        }
    }

    pub fn is_mine(&self, name: &str) -> bool {
        self.shard.is_none_or(|shard| shard_of(name, shard.count) == shard.index)
    }

    pub fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(name))
    }

    /// A template is selected only by its name.
    pub fn selects(&self, own: &str, name: &str, is_template: bool) -> bool {
        if self.excludes(name) {
            return false;
        }
        match &self.databases {
            Databases::One => name == own,
            Databases::Named(names) => names.iter().any(|named| named == name),
            Databases::Matching(patterns) => {
                let matching = || patterns.iter().filter(|pattern| pattern.matches(name));
                if is_template { matching().any(Pattern::is_name) } else { matching().next().is_some() }
            }
        }
    }

    /// Names that the settings expect on the server, not those that they leave out again.
    pub fn names(&self, own: &str) -> Vec<String> {
        let mut names: Vec<String> = match &self.databases {
            Databases::One => vec![own.to_owned()],
            Databases::Named(names) => names.clone(),
            Databases::Matching(patterns) => {
                patterns.iter().filter(|pattern| pattern.is_name()).map(|pattern| pattern.as_str().to_owned()).collect()
            }
        };
        names.retain(|name| !self.excludes(name));
        names.sort();
        names.dedup();
        names
    }
}
