//! A string that never prints.

use secrecy::{ExposeSecret, SecretString};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let secret = Secret::from("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
