//! Pure: which archives a run makes, from what the settings want and what the server has.

use crate::config::{Databases, Mode, Selection};
use crate::error::{Error, SettingsError, SourceError};
use crate::postgres::catalog::Database;
use crate::record::facts::Subject;

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
        let absent = self.absent.iter().map(|name| (name, Error::Source(SourceError::NoDatabase(name.clone()))));
        absent.chain(self.not_text.iter().map(|name| (name, Error::Source(SourceError::NotText(name.clone())))))
    }
}

/// Chooses among the server's databases that allow connections; `own` is `POSTGRES_DB`.
pub fn choose(selection: &Selection, own: &str, server: &[Database]) -> Result<Tasks, Error> {
    if selection.mode == Mode::Cluster {
        return Ok(Tasks { list: vec![whole_server(selection, server)?], ..Tasks::default() });
    }
    let chosen: Vec<&Database> =
        server.iter().filter(|database| selection.selects(own, &database.name, database.is_template)).collect();
    let absent: Vec<String> =
        selection.names(own).into_iter().filter(|name| !server.iter().any(|database| database.name == *name)).collect();
    if chosen.is_empty() {
        let wanted = selection.describe(own);
        let cause = format!("no database that allows connections is selected by `{wanted}`");
        return Err(Error::Settings(SettingsError::NothingSelected(cause)));
    }
    let selected = chosen.iter().map(|database| database.name.clone()).chain(absent.iter().cloned()).collect();
    let globals = Task { subject: Subject::Globals, databases: Vec::new() };
    let (chosen, not_text): (Vec<&Database>, Vec<&Database>) =
        chosen.into_iter().filter(|database| selection.is_mine(&database.name)).partition(|database| database.is_text);
    let mut list: Vec<Task> = chosen
        .into_iter()
        .map(|database| Task { subject: Subject::Database(database.name.clone()), databases: vec![database.clone()] })
        .collect();
    list.sort_by(|a, b| b.expected_bytes().cmp(&a.expected_bytes()).then_with(|| a.subject.cmp(&b.subject)));
    if selection.wants_globals() {
        list.insert(0, globals);
    }
    let absent = absent.into_iter().filter(|name| selection.is_mine(name)).collect();
    let not_text = not_text.into_iter().map(|database| database.name.clone()).collect();
    Ok(Tasks { list, selected, absent, not_text, idle_globs: idle_globs(selection, server) })
}

/// The archive of the whole server: template1 first and then by name, as pg_dumpall does it.
pub fn whole_server(selection: &Selection, server: &[Database]) -> Result<Task, Error> {
    let mut databases: Vec<Database> =
        server.iter().filter(|database| !selection.excludes(&database.name)).cloned().collect();
    if let Some(broken) = databases.iter().find(|database| database.name.contains(['\n', '\r'])) {
        return Err(Error::Source(SourceError::Unnameable(broken.name.clone())));
    }
    if let Some(broken) = databases.iter().find(|database| !database.is_text) {
        return Err(Error::Source(SourceError::NotText(broken.name.clone())));
    }
    if databases.is_empty() {
        return Err(Error::Settings(SettingsError::NothingSelected(
            "every database of the server is left out".to_owned(),
        )));
    }
    databases.sort_by(|a, b| (a.name != "template1", &a.name).cmp(&(b.name != "template1", &b.name)));
    Ok(Task { subject: Subject::Cluster, databases })
}

fn idle_globs(selection: &Selection, server: &[Database]) -> Vec<String> {
    let Databases::Matching(patterns) = &selection.databases else { return Vec::new() };
    let globs = patterns.iter().chain(&selection.exclude).filter(|pattern| !pattern.is_name());
    let idle = globs.filter(|pattern| !server.iter().any(|database| pattern.matches(&database.name)));
    idle.map(|pattern| pattern.as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests;
