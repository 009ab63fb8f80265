//! What PostgreSQL's own tools are told of the server: everything by the environment, nothing on the command line.

use crate::config::{RootCert, Source};
use std::ffi::OsString;

/// First major whose libpq finds the system's certificate authorities by itself.
const KNOWS_SYSTEM: u32 = 16;

/// libpq's environment for this source: names are plain data there, never parsed as a connection string.
///
/// `major` is that of the tools, `application` names the session, `options` are what it sets: pg_dump pins DateStyle, IntervalStyle and
/// extra_float_digits itself, the rest is pinned by them.
pub(super) fn environment(
    source: &Source,
    major: u32,
    application: &str,
    options: &str,
) -> Vec<(&'static str, OsString)> {
    let mut variables: Vec<(&str, OsString)> = vec![
        ("PGHOST", source.host.clone().into()),
        ("PGPORT", source.port.to_string().into()),
        ("PGUSER", source.user.clone().into()),
        ("PGDATABASE", source.database.clone().into()),
        ("PGSSLMODE", source.tls.mode.as_str().into()),
        ("PGAPPNAME", application.into()),
        ("PGCONNECT_TIMEOUT", "20".into()),
        ("PGOPTIONS", options.into()),
        // also where a pooler keeps the options to itself
        ("PGTZ", "UTC".into()),
    ];
    if let Some(password) = &source.password {
        variables.push(("PGPASSWORD", password.current().expose().into()));
    }
    match &source.tls.root_cert {
        Some(RootCert::File(path)) => variables.push(("PGSSLROOTCERT", path.into())),
        Some(RootCert::System { bundle: Some(bundle) }) if major < KNOWS_SYSTEM => {
            variables.push(("PGSSLROOTCERT", bundle.into()));
        }
        Some(RootCert::System { .. }) => variables.push(("PGSSLROOTCERT", "system".into())),
        // without this libpq reads ~/.postgresql/root.crt, and the mode would mean another thing than for us
        None => variables.push(("PGSSLROOTCERT", "/nonexistent".into())),
    }
    if let Some((cert, key)) = &source.tls.client {
        variables.push(("PGSSLCERT", cert.into()));
        variables.push(("PGSSLKEY", key.into()));
    }
    variables
}

/// True when libpq of that major cannot find the authorities that the settings name.
pub(super) fn lacks_authorities(source: &Source, major: u32) -> bool {
    major < KNOWS_SYSTEM && source.tls.root_cert == Some(RootCert::System { bundle: None })
}

/// Keepalives have no environment variable; this connection string carries nothing else.
pub(super) const KEEPALIVES: &str = "--dbname=keepalives_idle=30 keepalives_interval=10 keepalives_count=6";
