//! What of the server is saved: which databases, whether globals, in one archive or many, and by which of several runs.

mod choice;

use crate::settings::{RawSettings, ValueKind};
use serde::Deserialize;

/// What of the server is saved.
#[derive(Debug, Clone)]
pub struct Selection {
    /// One archive for each database, or one of everything.
    pub mode: Mode,
    pub databases: Databases,
    /// Databases that are left out all the same.
    pub exclude: Vec<Pattern>,
    /// Save roles and tablespaces; none decides by the number of databases.
    pub globals: Option<bool>,
    /// Databases dumped at once.
    pub jobs: usize,
    /// The part of the databases that this run saves; none is all of them.
    pub shard: Option<Shard>,
    /// Names of backups tell databases apart: more than one may be meant, now or when others come.
    pub tells_apart: bool,
    /// The command line has named databases instead.
    pub is_narrowed: bool,
}

/// One archive for each database, or one of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One archive for each database.
    Database,
    /// One archive of the whole server.
    Cluster,
}

/// Which databases are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Databases {
    /// `POSTGRES_DB` alone.
    One,
    /// These names and no others, from the command line.
    Named(Vec<String>),
    /// Every one that a pattern matches.
    Matching(Vec<Pattern>),
}

/// A name, or a glob with `*`, `?` and `[…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    glob: glob::Pattern,
}

impl Pattern {
    fn new(text: &str) -> Option<Self> {
        let glob = glob::Pattern::new(if text == "all" { "*" } else { text }).ok()?;
        Some(Self { text: text.to_owned(), glob })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True for the name itself and for what the glob matches.
    pub fn matches(&self, name: &str) -> bool {
        self.text == name || self.glob.matches(name)
    }

    /// A plain name, which is expected to be there.
    pub fn is_name(&self) -> bool {
        self.text != "all" && !self.text.contains(['*', '?', '['])
    }
}

/// One of several runs that share the databases of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub count: u32,
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parts {
            Some((index, count)) if index < count => Ok(Self { index, count }),
            _ => Err("I/N with I from 0 to N-1, such as 0/4".to_owned()),
        }
    }
}

impl Selection {
    /// True when more than one archive of a database may be meant.
    pub fn is_several(&self) -> bool {
        match &self.databases {
            _ if self.mode == Mode::Cluster => false,
            Databases::One => false,
            Databases::Named(names) => names.len() > 1,
            Databases::Matching(patterns) => are_several(patterns),
        }
    }

    /// What is wanted, in the words of whoever wants it; `own` is `POSTGRES_DB`.
    pub fn describe(&self, own: &str) -> String {
        let join = |words: &mut dyn Iterator<Item = &str>| words.collect::<Vec<_>>().join(",");
        match &self.databases {
            _ if self.mode == Mode::Cluster => "(cluster)".to_owned(),
            Databases::One => own.to_owned(),
            Databases::Named(names) => join(&mut names.iter().map(String::as_str)),
            Databases::Matching(patterns) => join(&mut patterns.iter().map(Pattern::as_str)),
        }
    }

    /// True when a run saves everything that the settings select.
    pub fn is_whole(&self) -> bool {
        self.shard.is_none() && !self.is_narrowed
    }

    /// These databases and no others, whatever the settings say.
    pub fn narrow(&mut self, names: Vec<String>) {
        self.is_narrowed = true;
        self.tells_apart |= names.len() > 1;
        self.databases = Databases::Named(names);
        self.exclude.clear();
    }

    /// True when roles and tablespaces are to be saved in an archive of their own by this run.
    pub fn wants_globals(&self) -> bool {
        self.mode == Mode::Database
            && self.globals.unwrap_or_else(|| self.is_several())
            && self.shard.is_none_or(|shard| shard.index == 0)
    }
}

/// True for what `BACKUP_GLOBALS` takes.
pub(super) fn is_globals(text: &str) -> bool {
    text.eq_ignore_ascii_case("auto") || ValueKind::Flag.takes(text)
}

/// True for names and globs between commas.
pub(super) fn are_patterns(text: &str) -> bool {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).all(|item| Pattern::new(item).is_some())
}

/// The layout of the store where nobody says: each database has its folder where there may be several.
pub(super) fn default_path_format(raw: &RawSettings) -> Option<String> {
    let is_cluster = raw.word("BACKUP_MODE") == Some(Mode::Cluster);
    let is_several = !is_cluster && are_several(&patterns(raw, "BACKUP_DATABASES"));
    Some(if is_several { "database" } else { "monthly" }.to_owned())
}

fn are_several(patterns: &[Pattern]) -> bool {
    patterns.len() > 1 || patterns.iter().any(|pattern| !pattern.is_name())
}

/// Reads the settings; problems are recorded in `raw`.
pub(super) fn read(raw: &mut RawSettings) -> Option<Selection> {
    let mode = raw.word("BACKUP_MODE");
    let wanted = patterns(raw, "BACKUP_DATABASES");
    let is_refused = raw.is_set("BACKUP_DATABASES") && raw.text("BACKUP_DATABASES").is_none();
    let exclude = patterns(raw, "BACKUP_EXCLUDE_DATABASES");
    let is_auto = raw.text("BACKUP_GLOBALS")?.eq_ignore_ascii_case("auto");
    let globals = (!is_auto).then(|| raw.flag("BACKUP_GLOBALS"));
    let jobs = raw.number("BACKUP_DATABASE_JOBS");
    let shard = read_shard(raw);
    let databases = if wanted.is_empty() { Databases::One } else { Databases::Matching(wanted) };
    if mode == Some(Mode::Cluster) {
        if matches!(&databases, Databases::Matching(patterns) if patterns.iter().all(|pattern| pattern.as_str() != "all"))
        {
            let allowed = "unset or `all` with BACKUP_MODE=cluster; BACKUP_EXCLUDE_DATABASES leaves some out";
            raw.refuse("BACKUP_DATABASES", allowed);
        }
        if globals == Some(false) {
            raw.refuse(
                "BACKUP_GLOBALS",
                "auto or true with BACKUP_MODE=cluster, whose archive always includes globals",
            );
        }
        if shard.is_some() {
            raw.refuse(
                "SHARD_COUNT",
                "unset with BACKUP_MODE=cluster, because one archive cannot be split into shards",
            );
        }
    } else if databases == Databases::One && !is_refused && !exclude.is_empty() {
        raw.refuse("BACKUP_EXCLUDE_DATABASES", "unset, unless BACKUP_DATABASES or BACKUP_MODE=cluster is set");
    }
    let selection = Selection {
        mode: mode?,
        databases,
        exclude,
        globals,
        jobs: jobs?,
        shard,
        tells_apart: false,
        is_narrowed: false,
    };
    Some(Selection { tells_apart: selection.is_several(), ..selection })
}

fn patterns(raw: &RawSettings, name: &'static str) -> Vec<Pattern> {
    raw.list(name).iter().filter_map(|text| Pattern::new(text)).collect()
}

fn read_shard(raw: &mut RawSettings) -> Option<Shard> {
    let index = raw.text("JOB_COMPLETION_INDEX");
    if !raw.is_set("SHARD_COUNT") {
        // an Indexed Job may have its index for another reason
        return None;
    }
    let count = raw.number("SHARD_COUNT")?;
    let Some(index) = index else {
        raw.problems.push(
            "SHARD_COUNT needs JOB_COMPLETION_INDEX; set it, or unset SHARD_COUNT and use --shard I/N".to_owned(),
        );
        return None;
    };
    match index.parse() {
        Ok(index) if index < count => Some(Shard { index, count }),
        _ => {
            raw.refuse("JOB_COMPLETION_INDEX", &format!("a number from 0 to {}", count - 1));
            None
        }
    }
}
