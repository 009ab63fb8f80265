//! The strings received: which value each setting has, where it came from, and what is wrong with it.

use super::env_file;
use super::secret::{Password, without_line_end};
use super::settings::{self, Default, Setting};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The process environment.
    Environment,
    /// `.env`, or the file that `NAME_FILE` names.
    File(PathBuf),
    /// A part of `DATABASE_URL`.
    Url,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment => f.write_str("env"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Url => f.write_str("DATABASE_URL"),
        }
    }
}

#[derive(Debug, Clone)]
struct Value {
    text: String,
    origin: Origin,
    /// The origin is a file that holds this value and nothing else.
    is_whole_file: bool,
}

/// Values by setting, and the problems found while reading them.
#[derive(Debug)]
pub(super) struct Received {
    values: BTreeMap<&'static str, Value>,
    foreign: BTreeMap<&'static str, String>,
    read: BTreeSet<&'static str>,
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// One layer of assignments: the environment, or the `.env` file under it.
struct Layer {
    origin: Origin,
    values: BTreeMap<String, String>,
}

impl Received {
    /// Takes the environment, and `.env` of that folder for what the environment leaves open.
    pub(super) fn gather(environment: impl IntoIterator<Item = (OsString, OsString)>, folder: &Path) -> Self {
        let mut received = Self {
            values: BTreeMap::new(),
            foreign: BTreeMap::new(),
            read: BTreeSet::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        let mut layers = vec![received.environment_layer(environment)];
        layers.extend(received.file_layer(&folder.join(".env")));
        for setting in settings::all() {
            for layer in &layers {
                if let Some(value) = received.pick(&setting, layer) {
                    received.values.insert(setting.name, value);
                    break;
                }
            }
        }
        for name in settings::FOREIGN {
            let given = layers.iter().find_map(|layer| layer.values.get(*name)).filter(|text| !text.is_empty());
            received.foreign.extend(given.map(|text| (*name, text.clone())));
        }
        received.warn_of_slips(layers.iter().flat_map(|layer| layer.values.keys()));
        received
    }

    fn environment_layer(&mut self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Layer {
        let mut values = BTreeMap::new();
        for (name, value) in environment {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(values.insert(name, value)),
                Err(_) if is_ours(&name) => self.problems.push(format!("{name} is not valid UTF-8")),
                Err(_) => {}
            }
        }
        Layer { origin: Origin::Environment, values }
    }

    fn file_layer(&mut self, path: &Path) -> Option<Layer> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.problems.push(format!("{}: {error}", path.display()));
                return None;
            }
        };
        match env_file::parse(&text) {
            Ok(assignments) => {
                Some(Layer { origin: Origin::File(path.to_owned()), values: assignments.into_iter().collect() })
            }
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|problem| format!("{}: {problem}", path.display())));
                None
            }
        }
    }

    /// The value one layer gives a setting, by its name or by the file it names. Empty means unset.
    fn pick(&mut self, setting: &Setting, layer: &Layer) -> Option<Value> {
        let present = |name: &str| layer.values.get(name).filter(|value| !value.is_empty()).cloned();
        let direct = present(setting.name);
        let file_name = setting.file_name();
        let file = file_name.as_deref().and_then(present);
        match (direct, file) {
            (Some(_), Some(_)) => {
                let file_name = file_name.unwrap_or_default();
                self.problems.push(format!("{} and {file_name} are both set; unset one of them", setting.name));
                None
            }
            (Some(text), None) => {
                if text.len() > 1 && text.starts_with(['"', '\'']) && text.ends_with(['"', '\'']) {
                    self.warnings.push(format!(
                        "{} begins and ends with quotes, and they are part of the value; remove them if that is not meant",
                        setting.name
                    ));
                }
                Some(Value { text, origin: layer.origin.clone(), is_whole_file: false })
            }
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let text = without_line_end(&text).to_owned();
                    (!text.is_empty()).then(|| Value { text, origin: Origin::File(path.into()), is_whole_file: true })
                }
                Err(error) => {
                    self.problems.push(format!("{}: reading {path}: {error}", file_name.unwrap_or_default()));
                    None
                }
            },
            (None, None) => None,
        }
    }

    fn warn_of_slips<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        let known: BTreeSet<String> =
            settings::all().flat_map(|s| [Some(s.name.to_owned()), s.file_name()]).flatten().collect();
        let unknown: BTreeSet<&String> = names.filter(|name| is_ours(name) && !known.contains(*name)).collect();
        for name in unknown {
            // a key that is overlooked would mean backups that anybody can read
            if name.starts_with("AGE_") {
                let why = "is not a setting; AGE_RECIPIENTS takes keys or the path of a file, AGE_IDENTITY_FILE a path";
                self.problems.push(format!("{name} {why}"));
                continue;
            }
            let nearest = known.iter().min_by_key(|candidate| strsim::damerau_levenshtein(name, candidate));
            if let Some(nearest) = nearest
                && strsim::damerau_levenshtein(name, nearest) <= 3.min(name.len() / 4)
            {
                self.warnings.push(format!("{name} is not a setting and is ignored; did you mean {nearest}?"));
            }
        }
    }

    /// Takes a part of `DATABASE_URL` for the value of a setting.
    pub(super) fn take_of_url(&mut self, name: &'static str, text: String) {
        if self.values.get(name).is_some_and(|value| value.text != text) {
            self.problems.push(format!("DATABASE_URL and {name} say different things; unset one of them"));
        }
        self.values.entry(name).or_insert(Value { text, origin: Origin::Url, is_whole_file: false });
    }

    /// True when somebody gave the setting a value.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of a variable that is somebody else's, one of [`settings::FOREIGN`].
    pub(super) fn foreign(&self, name: &str) -> Option<String> {
        self.foreign.get(name).cloned()
    }

    /// Where the setting's value came from.
    pub(super) fn origin(&self, name: &str) -> Origin {
        self.values.get(name).map_or(Origin::Default, |value| value.origin.clone())
    }

    /// The value, or the literal default.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.read.insert(name);
        self.current(name)
    }

    /// The value as a password for a server.
    pub(super) fn password(&mut self, name: &'static str) -> Option<Password> {
        let text = self.text(name)?;
        let file = match self.values.get(name).map(|value| (&value.origin, value.is_whole_file)) {
            Some((Origin::File(path), true)) => Some(path.clone()),
            _ => None,
        };
        Some(Password::new(text, file))
    }

    /// As [`Received::text`], without noting that somebody asked.
    pub(super) fn current(&self, name: &str) -> Option<String> {
        if let Some(value) = self.values.get(name) {
            return Some(value.text.clone());
        }
        match settings::find(name)?.default {
            Default::Is(text) => Some(text.to_owned()),
            Default::Unset | Default::Computed(_) => None,
        }
    }

    /// The value as `T`, read by envy; anything else is a problem that says what is allowed.
    pub(super) fn get<T: DeserializeOwned>(&mut self, name: &'static str, allowed: &str) -> Option<T> {
        #[derive(Deserialize)]
        struct One<T> {
            value: T,
        }
        let text = self.text(name)?;
        let folded = if text.chars().any(|c| c.is_ascii_uppercase()) { text.to_ascii_lowercase() } else { text };
        match envy::from_iter::<_, One<T>>([("value".to_owned(), folded)]) {
            Ok(one) => Some(one.value),
            Err(_) => {
                self.refuse(name, allowed);
                None
            }
        }
    }

    /// The value as a yes or no.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        match self.text(name).map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("false" | "0" | "no" | "off") => false,
            Some("true" | "1" | "yes" | "on") => true,
            Some(_) => {
                self.refuse(name, "true or false");
                false
            }
        }
    }

    /// The value as a list between commas.
    pub(super) fn list(&mut self, name: &'static str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Records that the value of a setting cannot be used.
    pub(super) fn refuse(&mut self, name: &str, allowed: &str) {
        if self.origin(name) == Origin::Url {
            // where a character is missing in it, this may be a part of its password
            self.problems.push(format!("DATABASE_URL: its value for {name} is not allowed; allowed: {allowed}"));
            return;
        }
        let secret = settings::find(name).is_some_and(|setting| setting.secret);
        let received = match self.current(name) {
            Some(_) if secret => "a value that is hidden here".to_owned(),
            Some(text) => format!("`{text}`"),
            None => "nothing".to_owned(),
        };
        let mut problem = format!("{name}: got {received}, allowed: {allowed}");
        if received.starts_with("`tcp://") {
            problem += "; a Kubernetes Service of that name sets this variable, enableServiceLinks: false stops it";
        }
        self.problems.push(problem);
    }

    /// Settings that no code has asked for.
    #[cfg(test)]
    pub(super) fn never_read(&self) -> Vec<&'static str> {
        settings::all().map(|setting| setting.name).filter(|name| !self.read.contains(name)).collect()
    }
}

fn is_ours(name: &str) -> bool {
    settings::PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || settings::find(name).is_some()
}
