//! What a setting is: its name, which values it takes, its default and its meaning, and the values that were received.
//!
//! Stores and notification services declare their own settings by this; `config` has the table of all of them.

mod env_file;
mod kind;
mod layers;
mod raw;
mod retry;
mod secret;
mod slips;

pub use kind::{ValueKind, parse_duration, words_of};
pub use raw::{Origin, RawSettings};
pub use retry::Retry;
pub use secret::{Password, Secret};

/// One environment variable of the public interface.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    /// Which values it takes.
    pub kind: ValueKind,
    /// What holds when it is unset or empty.
    pub default: DefaultValue,
    /// One sentence for people.
    pub meaning: &'static str,
    /// Never shown; `NAME_FILE` is read too.
    pub secret: bool,
    /// The setting that this is another name of.
    pub alias_of: Option<&'static str>,
    /// What the Helm chart does with it.
    pub chart: ChartUse,
}

/// What an unset variable means.
#[derive(Debug, Clone, Copy)]
pub enum DefaultValue {
    Unset,
    /// This value.
    Is(&'static str),
    /// This value, where that holds.
    Where(&'static str, fn(&RawSettings) -> bool),
    /// A value made from other settings, in words and, unless it differs by database, worked out.
    Computed(&'static str, fn(&RawSettings) -> Option<String>),
}

/// What the Helm chart does with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChartUse {
    /// Hands on what its values say.
    HandsOn,
    /// Reads it itself as well, and so takes only the program's own words for it.
    Reads,
    /// Sets it itself, or has no use for it.
    Withholds,
}

impl DefaultValue {
    /// The value as it would be written into an environment file.
    pub fn literal(self) -> &'static str {
        match self {
            Self::Is(value) | Self::Where(value, _) => value,
            Self::Unset | Self::Computed(..) => "",
        }
    }

    /// The value as documents show it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Is(text) | Self::Where(text, _) | Self::Computed(text, _) => text,
            Self::Unset => "unset",
        }
    }
}

impl Setting {
    /// A setting without a default.
    pub const fn new(name: &'static str, kind: ValueKind, meaning: &'static str) -> Self {
        let (default, chart) = (DefaultValue::Unset, ChartUse::HandsOn);
        Self { name, kind, default, meaning, secret: false, alias_of: None, chart }
    }

    pub const fn default(self, value: &'static str) -> Self {
        Self { default: DefaultValue::Is(value), ..self }
    }

    /// A default that holds only there.
    pub const fn default_where(self, value: &'static str, holds: fn(&RawSettings) -> bool) -> Self {
        Self { default: DefaultValue::Where(value, holds), ..self }
    }

    /// A default made from other settings.
    pub const fn computed(self, words: &'static str, value: fn(&RawSettings) -> Option<String>) -> Self {
        Self { default: DefaultValue::Computed(words, value), ..self }
    }

    pub const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    pub const fn alias_of(self, name: &'static str) -> Self {
        Self { alias_of: Some(name), ..self }
    }

    pub const fn chart(self, chart: ChartUse) -> Self {
        Self { chart, ..self }
    }

    /// Name of the variable that holds the path of a file with this secret.
    pub fn file_name(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.name))
    }

    /// Its meaning and the values that it takes, in one or two sentences.
    pub fn describe(&self) -> String {
        match self.kind.form() {
            Some(form) => format!("{} Takes {form}.", self.meaning),
            None => self.meaning.to_owned(),
        }
    }
}

/// Settings that documents show under one heading.
#[derive(Debug, Clone)]
pub struct SettingGroup {
    pub title: &'static str,
    pub settings: Vec<Setting>,
}

/// True for this machine's names and for socket folders.
pub fn is_local_host(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]") || host.starts_with('/')
}
