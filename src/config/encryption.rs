//! Keys of age.

use crate::encryption::{Identities, Recipients};
use crate::settings::RawSettings;

/// Keys of age.
#[derive(Debug, Clone, Default)]
pub struct Encryption {
    /// Who may read what is written; none leaves it unencrypted.
    pub recipients: Option<Recipients>,
    /// What may be read.
    pub identities: Option<Identities>,
}

/// Keys are given as such or in a file; a private key only in a file.
pub(super) fn read(raw: &mut RawSettings) -> Encryption {
    let recipients = raw.text("AGE_RECIPIENTS").and_then(|text| {
        let text = if text.starts_with("age1") || text.contains(',') { Ok(text) } else { read_keys(&text) };
        let parsed = text.and_then(|text| Recipients::parse(&text).map_err(|error| error.to_string()));
        parsed.map_err(|error| raw.problems.push(format!("AGE_RECIPIENTS: {error}"))).ok()
    });
    let identities = raw.text("AGE_IDENTITY_FILE").and_then(|path| {
        let parsed =
            read_keys(&path).and_then(|text| Identities::parse(&text).map_err(|error| format!("{path}: {error}")));
        parsed.map_err(|error| raw.problems.push(format!("AGE_IDENTITY_FILE: {error}"))).ok()
    });
    Encryption { recipients, identities }
}

fn read_keys(path: &str) -> Result<String, String> {
    if path.to_ascii_uppercase().contains("AGE-SECRET-KEY") {
        return Err(
            "a private key may be given only as a file, by AGE_IDENTITY_FILE=/path; the value is not shown here"
                .to_owned(),
        );
    }
    std::fs::read_to_string(path).map_err(|error| format!("reading {path}: {error}"))
}

pub(super) fn refuse_what_cannot_be_proved(raw: &mut RawSettings, encryption: &Encryption) {
    let Some(recipients) = &encryption.recipients else { return };
    let problem = match &encryption.identities {
        Some(identities) if identities.open_some_of(recipients) => return,
        Some(_) => {
            "AGE_IDENTITY_FILE cannot decrypt what is encrypted to AGE_RECIPIENTS, and VERIFY_ENABLED needs that"
        }
        // the reason is among the problems already
        None if raw.is_set("AGE_IDENTITY_FILE") => return,
        None => {
            "VERIFY_ENABLED with AGE_RECIPIENTS needs AGE_IDENTITY_FILE; set it, or verify on a machine that has the \
             private key"
        }
    };
    raw.problems.push(problem.to_owned());
}
