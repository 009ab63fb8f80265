//! Pure: what is written beside an archive: the manifest that makes it a backup, and the facts of its content.

pub mod facts;
pub mod fingerprint;
pub mod manifest;
