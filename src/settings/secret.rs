//! A string that never prints.

use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;

/// A password, key or webhook URL: `Debug` shows `REDACTED`, and reading it takes the word `expose`.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The value itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value.into())
    }
}

/// A password for a server. One that came from a file is what the file says whenever it is asked for: tokens of some
/// providers hold for a quarter of an hour, and their file is written anew.
#[derive(Debug, Clone)]
pub struct Password {
    first: Secret,
    file: Option<PathBuf>,
}

impl Password {
    /// A password, and the file that it was read from.
    pub(super) fn new(text: String, file: Option<PathBuf>) -> Self {
        Self { first: text.into(), file }
    }

    /// True where another password may be read next time.
    pub fn is_of_file(&self) -> bool {
        self.file.is_some()
    }

    /// The password as it is now; while the file cannot be read, or is empty, the last one that it is known to have held.
    pub fn current(&self) -> Secret {
        let read = self.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let text = read.as_deref().map(without_line_end).filter(|text| !text.is_empty());
        text.map_or_else(|| self.first.clone(), |text| text.to_owned().into())
    }
}

/// What a file holds, without the line break at its end.
pub(super) fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let secret = Secret::from("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
