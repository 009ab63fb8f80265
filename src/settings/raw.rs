//! The strings received: which value each setting has, where it came from, and what is wrong with it.

use super::kind::{Flag, Lapse, Misfit, typed};
use super::secret::Password;
use super::{DefaultValue, Secret, Setting, SettingGroup, ValueKind, slips};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
pub(super) struct ReceivedValue {
    pub(super) text: String,
    pub(super) origin: Origin,
    /// The origin is a file that holds this value and nothing else.
    pub(super) is_whole_file: bool,
    /// It is not what the setting's kind allows.
    pub(super) is_refused: bool,
}

impl ReceivedValue {
    pub(super) fn new(text: String, origin: Origin) -> Self {
        Self { text, origin, is_whole_file: false, is_refused: false }
    }
}

/// The strings that were received, by setting, and the problems found while reading them. What a setting's kind does not
/// allow is a problem at once, and nobody gets to read it.
#[derive(Debug)]
pub struct RawSettings {
    table: &'static [SettingGroup],
    values: BTreeMap<&'static str, ReceivedValue>,
    /// Every variable, ours or not, of the environment and of `.env`.
    environment: BTreeMap<String, String>,
    /// The environment alone, as it was given.
    pub(super) process: BTreeMap<OsString, OsString>,
    /// Settings that somebody asked for.
    read: RefCell<BTreeSet<&'static str>>,
    /// What keeps us from working.
    pub problems: Vec<String>,
    /// What does not.
    pub warnings: Vec<String>,
}

impl RawSettings {
    /// Takes the settings of `table` from the environment, and from `.env` of that folder for what the environment leaves
    /// open.
    pub fn gather(
        table: &'static [SettingGroup],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        folder: &Path,
    ) -> Self {
        let mut raw = Self {
            table,
            values: BTreeMap::new(),
            environment: BTreeMap::new(),
            process: environment.into_iter().collect(),
            read: RefCell::default(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        let mut layers = vec![raw.environment_layer()];
        layers.extend(raw.file_layer(&folder.join(".env")));
        for setting in table.iter().flat_map(|group| &group.settings) {
            for layer in &layers {
                if let Some(value) = raw.pick(setting, layer) {
                    raw.values.insert(setting.name, value);
                    raw.check(setting);
                    break;
                }
            }
        }
        raw.refuse_contradicting_aliases();
        raw.warn_of_slips(layers.iter().flat_map(|layer| layer.values.keys()));
        for layer in layers.into_iter().rev() {
            raw.environment.extend(layer.values);
        }
        raw
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'static Setting> + use<> {
        self.table.iter().flat_map(|group| &group.settings)
    }

    fn find(&self, name: &str) -> Option<&'static Setting> {
        let found = self.all().find(|setting| setting.name == name);
        debug_assert!(found.is_some(), "{name} is not in the table of settings");
        found
    }

    /// Takes away a value that the setting's kind does not allow, and says what it does.
    fn check(&mut self, setting: &Setting) {
        let Some(text) = self.values.get(setting.name).map(|value| value.text.clone()) else { return };
        match setting.kind.check(&text) {
            Ok(()) => return,
            Err(Misfit::Allowed(allowed)) => {
                // what may be a part of a password is not repeated
                let is_shown = !setting.secret && self.origin(setting.name) != Origin::Url;
                let hint = slips::hint(setting, &text, self.table).filter(|_| is_shown);
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                self.refuse(setting.name, &format!("{allowed}{hint}"));
            }
            Err(Misfit::Unreadable(error)) => {
                self.problems.push(format!("{}: opening {text}: {error}", setting.name));
            }
        }
        if let Some(value) = self.values.get_mut(setting.name) {
            value.is_refused = true;
        }
    }

    fn refuse_contradicting_aliases(&mut self) {
        for (alias, name) in self.all().filter_map(|alias| Some((alias.name, alias.alias_of?))) {
            let texts = [alias, name].map(|name| self.values.get(name).map(|value| &value.text));
            if let [Some(one), Some(other)] = texts
                && one != other
            {
                self.problems.push(format!(
                    "{alias} and {name} are the same setting with different values; set only one of them"
                ));
            }
        }
    }

    /// Takes a part of `DATABASE_URL` for the value of a setting.
    pub fn take_of_url(&mut self, name: &'static str, text: String) {
        let Some(setting) = self.find(name) else { return };
        match self.values.get(name) {
            Some(value) if value.text != text => {
                self.problems.push(format!("DATABASE_URL and {name} have different values; unset one of them"));
            }
            Some(_) => {}
            None => {
                self.values.insert(setting.name, ReceivedValue::new(text, Origin::Url));
                self.check(setting);
            }
        }
    }

    /// True when somebody gave the setting a value.
    pub fn is_set(&self, name: &'static str) -> bool {
        self.read.borrow_mut().insert(name);
        self.values.contains_key(name)
    }

    /// Set, and to something else than its default, which an example file sets too.
    pub fn is_chosen(&self, name: &'static str) -> bool {
        let default = self.find(name).map_or("", |setting| setting.default.literal());
        self.is_set(name) && self.values.get(name).is_some_and(|value| value.text != default)
    }

    /// The value of a variable that is somebody else's.
    pub fn foreign(&self, name: &str) -> Option<String> {
        self.environment.get(name).filter(|text| !text.is_empty()).cloned()
    }

    /// A variable of this process, whatever `.env` says.
    pub fn of_process(&self, name: &str) -> Option<OsString> {
        self.process.get(std::ffi::OsStr::new(name)).cloned()
    }

    /// Where the setting's value came from.
    pub fn origin(&self, name: &str) -> Origin {
        self.values.get(name).map_or(Origin::Default, |value| value.origin.clone())
    }

    /// The value in force, under its own or another name; none where nothing is set and no default holds, or where what is
    /// set was refused.
    pub fn text(&self, name: &'static str) -> Option<String> {
        let setting = self.find(name)?;
        self.read.borrow_mut().insert(setting.name);
        let mut aliases = self.all().filter(|alias| alias.alias_of == Some(name));
        let set = self.values.get(name).or_else(|| {
            aliases.find_map(|alias| {
                self.read.borrow_mut().insert(alias.name);
                self.values.get(alias.name)
            })
        });
        match set {
            Some(value) => (!value.is_refused).then(|| value.text.clone()),
            None => self.default_of(setting),
        }
    }

    fn default_of(&self, setting: &Setting) -> Option<String> {
        match setting.default {
            DefaultValue::Unset => None,
            DefaultValue::Is(text) => Some(text.to_owned()),
            DefaultValue::Where(text, holds) => holds(self).then(|| text.to_owned()),
            DefaultValue::Computed(_, value) => value(self),
        }
    }

    /// The value as a password for a server.
    pub fn password(&self, name: &'static str) -> Option<Password> {
        let text = self.text(name)?;
        let file = match self.values.get(name).map(|value| (&value.origin, value.is_whole_file)) {
            Some((Origin::File(path), true)) => Some(path.clone()),
            _ => None,
        };
        Some(Password::new(text, file))
    }

    /// The value as a secret.
    pub fn secret(&self, name: &'static str) -> Option<Secret> {
        self.text(name).map(Secret::from)
    }

    /// The value as one of an enum's words, which may be given in any case.
    pub fn word<T: DeserializeOwned>(&self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        match self.find(name)?.kind {
            ValueKind::Words(words) => typed(words().iter().find(|word| word.eq_ignore_ascii_case(&text))?),
            _ => typed(&text.to_ascii_lowercase()),
        }
    }

    /// The value as a number.
    pub fn number<T: DeserializeOwned>(&self, name: &'static str) -> Option<T> {
        typed(&self.text(name)?)
    }

    /// The value as a duration.
    pub fn duration(&self, name: &'static str) -> Option<Duration> {
        typed(&self.text(name)?).map(|Lapse(duration)| duration)
    }

    /// The value as a yes or no; unset is no.
    pub fn flag(&self, name: &'static str) -> bool {
        matches!(self.word(name), Some(Flag::True))
    }

    /// The value as what its type reads.
    pub fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// The value as a path.
    pub fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// The value as a list between commas.
    pub fn list(&self, name: &'static str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Records that the value of a setting cannot be used.
    pub fn refuse(&mut self, name: &str, allowed: &str) {
        if self.origin(name) == Origin::Url {
            // where a character is missing in it, this may be a part of its password
            self.problems.push(format!("DATABASE_URL: its value for {name} is not allowed; allowed: {allowed}"));
            return;
        }
        let setting = self.find(name);
        let text = self.values.get(name).map(|value| value.text.clone());
        let received = match text.or_else(|| self.default_of(setting?)) {
            Some(_) if setting.is_some_and(|setting| setting.secret) => "a value that is hidden here".to_owned(),
            Some(text) => format!("`{}`", without_credentials(&text)),
            None => "nothing".to_owned(),
        };
        let mut problem = format!("{name}: got {received}, allowed: {allowed}");
        if received.starts_with("`tcp://") {
            problem +=
                "; a Kubernetes Service of that name sets this variable; enableServiceLinks: false prevents that";
        }
        self.problems.push(problem);
    }

    /// Refuses what no name or key has, and what a carelessly made secret often has: a line break at its end.
    pub fn refuse_odd_characters(&mut self, settings: &[Setting]) {
        for setting in settings {
            let is_odd =
                |value: &&ReceivedValue| value.text.chars().any(char::is_control) || value.text.trim() != value.text;
            if self.values.get(setting.name).filter(is_odd).is_some() {
                let name = setting.name;
                self.problems.push(format!(
                    "{name}: it begins or ends with a space, or has a line break or another control character"
                ));
            }
        }
    }

    /// Each setting's value in force as people are shown it, secrets hidden, and where it came from.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, Option<String>, Origin)> {
        self.all().map(|setting| {
            let text = self.values.get(setting.name).map(|value| value.text.clone());
            let value = match (text.or_else(|| self.default_of(setting)), setting.default) {
                (Some(_), _) if setting.secret => Some("(hidden)".to_owned()),
                (None, DefaultValue::Computed(words, _)) => Some(format!("({words})")),
                (text, _) => text.map(|text| without_credentials(&text).into_owned()),
            };
            (setting.name, value, self.origin(setting.name))
        })
    }

    /// Settings that no code has asked for.
    pub fn never_read(&self) -> Vec<&'static str> {
        self.all().map(|setting| setting.name).filter(|name| !self.read.borrow().contains(name)).collect()
    }
}

/// A value without the name and the password that may stand in a URL, whatever the setting: `https://name:password@host`.
/// A password that is not encoded may have any character, so that all before the last `@` may be a part of it.
fn without_credentials(text: &str) -> Cow<'_, str> {
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => Cow::Owned(format!("{scheme}://(hidden)@{host}")),
        None => Cow::Borrowed(text),
    }
}
