//! The registry of stores: everything that is known of a kind of store outside its own folder.
//!
//! A new kind is a folder with its `Backend`, one line in `ALL`, and its dependency; documents, the chart and
//! `REMOTE_KIND` follow from it. `backup check` tries every kind by the same contract.

use super::store::Backend;
use super::{azure, gcs, s3};
use crate::settings::RawSettings;

/// Every kind of store; the first is the default.
pub const ALL: &[Backend] = &[s3::BACKEND, gcs::BACKEND, azure::BACKEND];

/// Words of `REMOTE_KIND`.
pub fn names() -> &'static [&'static str] {
    const NAMES: [&str; ALL.len()] = {
        let mut names = [""; ALL.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = ALL[at].name;
            at += 1;
        }
        names
    };
    &NAMES
}

/// The kind that is meant where `REMOTE_KIND` does not say.
pub fn default_kind(raw: &RawSettings) -> Option<String> {
    let chosen = ALL.iter().find(|backend| backend.chosen_by.is_some_and(|name| raw.is_set(name)));
    Some(chosen.unwrap_or(&ALL[0]).name.to_owned())
}
