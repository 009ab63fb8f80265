//! Pure: which archives a run makes, from what the settings want and what the server has.

use crate::config::{Databases, Mode, Pattern, Selection};
use crate::error::Error;
use crate::postgres::catalog::Database;
use crate::record::facts::Subject;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// One archive to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What it holds.
    pub subject: Subject,
    /// The databases in it, in the order of the archive.
    pub databases: Vec<Database>,
}

impl Task {
    /// Bytes on the server's disk, for planning.
    pub fn expected_bytes(&self) -> u64 {
        self.databases.iter().map(|database| database.bytes).sum()
    }
}

/// What a run has to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Globals first, then the databases, largest first.
    pub list: Vec<Task>,
    /// Every database that the settings select, whichever shard saves it.
    pub selected: Vec<String>,
    /// Databases that are named by the settings and not on the server.
    pub absent: Vec<String>,
    /// Databases whose name nobody can say.
    pub not_text: Vec<String>,
    /// Globs that match no database.
    pub idle_globs: Vec<String>,
}

impl Tasks {
    /// Everything that is to be saved, what is not there included.
    pub fn subjects(&self) -> Vec<Subject> {
        let lost = self.absent.iter().chain(&self.not_text).map(|name| Subject::Database(name.clone()));
        self.list.iter().map(|task| task.subject.clone()).chain(lost).collect()
    }

    /// Why some of them cannot even be tried.
    pub fn errors(&self) -> impl Iterator<Item = (&String, Error)> {
        let absent = self.absent.iter().map(|name| (name, Error::NoDatabase(name.clone())));
        absent.chain(self.not_text.iter().map(|name| (name, Error::NotText(name.clone()))))
    }
}

/// Chooses among the server's databases that allow connections; `own` is `POSTGRES_DB`.
pub fn choose(selection: &Selection, own: &str, server: &[Database]) -> Result<Tasks, Error> {
    if selection.mode == Mode::Cluster {
        return Ok(Tasks { list: vec![whole_server(selection, server)?], ..Tasks::default() });
    }
    let chosen: Vec<&Database> = server.iter().filter(|database| is_selected(selection, own, database)).collect();
    let absent: Vec<String> = names(selection, own)
        .into_iter()
        .filter(|name| !server.iter().any(|database| database.name == *name))
        .collect();
    if chosen.is_empty() {
        let wanted = selection.describe(own);
        let cause = format!("no database that allows connections is selected by `{wanted}`");
        return Err(Error::NothingSelected(cause));
    }
    let selected = chosen.iter().map(|database| database.name.clone()).chain(absent.iter().cloned()).collect();
    let globals = Task { subject: Subject::Globals, databases: Vec::new() };
    let (chosen, not_text): (Vec<&Database>, Vec<&Database>) =
        chosen.into_iter().filter(|database| is_mine(selection, &database.name)).partition(|database| database.is_text);
    let mut list: Vec<Task> = chosen
        .into_iter()
        .map(|database| Task { subject: Subject::Database(database.name.clone()), databases: vec![database.clone()] })
        .collect();
    list.sort_by(|a, b| b.expected_bytes().cmp(&a.expected_bytes()).then_with(|| a.subject.cmp(&b.subject)));
    if selection.wants_globals() {
        list.insert(0, globals);
    }
    let absent = absent.into_iter().filter(|name| is_mine(selection, name)).collect();
    let not_text = not_text.into_iter().map(|database| database.name.clone()).collect();
    Ok(Tasks { list, selected, absent, not_text, idle_globs: idle_globs(selection, server) })
}

/// Databases that services which manage a server keep there for themselves, and let nobody into: Amazon's, Google's,
/// Microsoft's and DigitalOcean's.
const OF_PROVIDERS: &[&str] =
    &["rdsadmin", "cloudsqladmin", "alloydbadmin", "alloydbmetadata", "azure_maintenance", "azure_sys", "_dodb"];

/// True for a database of whoever manages the server, unless somebody has named it.
pub fn is_providers(selection: &Selection, name: &str) -> bool {
    let is_named = match &selection.databases {
        _ if selection.mode == Mode::Cluster => false,
        Databases::One => true,
        Databases::Named(names) => names.iter().any(|named| named == name),
        Databases::Matching(patterns) => patterns.iter().any(|pattern| pattern.is_name() && pattern.as_str() == name),
    };
    OF_PROVIDERS.contains(&name) && !is_named
}

/// The archive of the whole server: template1 first and then by name, as pg_dumpall does it.
pub fn whole_server(selection: &Selection, server: &[Database]) -> Result<Task, Error> {
    let mut databases: Vec<Database> =
        server.iter().filter(|database| !is_excluded(selection, &database.name)).cloned().collect();
    if let Some(broken) = databases.iter().find(|database| database.name.contains(['\n', '\r'])) {
        return Err(Error::Unnameable(broken.name.clone()));
    }
    if let Some(broken) = databases.iter().find(|database| !database.is_text) {
        return Err(Error::NotText(broken.name.clone()));
    }
    if databases.is_empty() {
        return Err(Error::NothingSelected("every database of the server is left out".to_owned()));
    }
    databases.sort_by(|a, b| (a.name != "template1", &a.name).cmp(&(b.name != "template1", &b.name)));
    Ok(Task { subject: Subject::Cluster, databases })
}

/// Which of `count` shards a database belongs to: a matter of its name alone, so that no other database moves it.
pub fn shard_of(database: &str, count: u32) -> u32 {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(database)[..8]);
    u32::try_from(u64::from_be_bytes(first) % u64::from(count.max(1))).unwrap_or_default()
}

/// What runs of this selection keep up to date, whatever their shard: what it names, and what of those that were ever
/// saved it still selects.
pub fn expected(selection: &Selection, own: &str, saved: &BTreeSet<Subject>) -> Vec<Subject> {
    if selection.mode == Mode::Cluster {
        return vec![Subject::Cluster];
    }
    let is_kept = |subject: &Subject| match subject {
        Subject::Database(name) => is_selected(selection, own, &Database { name: name.clone(), ..Database::default() }),
        Subject::Globals | Subject::Cluster => false,
    };
    let named = names(selection, own).into_iter().map(Subject::Database);
    let wants_globals = selection.globals.unwrap_or_else(|| selection.is_several());
    let globals = wants_globals.then_some(Subject::Globals);
    let expected: BTreeSet<Subject> =
        saved.iter().filter(|subject| is_kept(subject)).cloned().chain(named).chain(globals).collect();
    expected.into_iter().collect()
}

/// True for databases of the selection's own shard, and for the whole server; globals are nobody's in particular.
pub fn is_in_shard(selection: &Selection, subject: &Subject) -> bool {
    match subject {
        Subject::Database(name) => is_mine(selection, name),
        Subject::Cluster => true,
        Subject::Globals => false,
    }
}

/// True when a run of this selection saves the database.
pub fn is_wanted(selection: &Selection, own: &str, database: &Database) -> bool {
    match selection.mode {
        Mode::Cluster => !is_excluded(selection, &database.name),
        Mode::Database => is_selected(selection, own, database) && is_mine(selection, &database.name),
    }
}

fn is_mine(selection: &Selection, name: &str) -> bool {
    selection.shard.is_none_or(|shard| shard_of(name, shard.count) == shard.index)
}

fn is_excluded(selection: &Selection, name: &str) -> bool {
    selection.exclude.iter().any(|pattern| pattern.matches(name))
}

/// A template is selected only by its name.
fn is_selected(selection: &Selection, own: &str, database: &Database) -> bool {
    if is_excluded(selection, &database.name) {
        return false;
    }
    match &selection.databases {
        Databases::One => database.name == own,
        Databases::Named(names) => names.contains(&database.name),
        Databases::Matching(patterns) => {
            let matching = || patterns.iter().filter(|pattern| pattern.matches(&database.name));
            if database.is_template { matching().any(Pattern::is_name) } else { matching().next().is_some() }
        }
    }
}

/// Names that the settings expect on the server, not those that they leave out again.
fn names(selection: &Selection, own: &str) -> Vec<String> {
    let mut names: Vec<String> = match &selection.databases {
        Databases::One => vec![own.to_owned()],
        Databases::Named(names) => names.clone(),
        Databases::Matching(patterns) => {
            patterns.iter().filter(|pattern| pattern.is_name()).map(|pattern| pattern.as_str().to_owned()).collect()
        }
    };
    names.retain(|name| !is_excluded(selection, name));
    names.sort();
    names.dedup();
    names
}

fn idle_globs(selection: &Selection, server: &[Database]) -> Vec<String> {
    let Databases::Matching(patterns) = &selection.databases else { return Vec::new() };
    let globs = patterns.iter().chain(&selection.exclude).filter(|pattern| !pattern.is_name());
    let idle = globs.filter(|pattern| !server.iter().any(|database| pattern.matches(&database.name)));
    idle.map(|pattern| pattern.as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests;
