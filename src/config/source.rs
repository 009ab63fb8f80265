//! Where the source database is and how to reach it: `POSTGRES_*` or `DATABASE_URL`.

use super::database_url;
use crate::settings::{Password, RawSettings, Retry, is_local_host};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The source server and the database on it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name in manifests: `BACKUP_SOURCE`, or `host:port`.
    pub name: String,
    /// Host name, address or socket folder.
    pub host: String,
    pub port: u16,
    /// Role.
    pub user: String,
    /// Password, when one is known.
    pub password: Option<Password>,
    /// Database to connect to.
    pub database: String,
    /// Transport security.
    pub tls: Tls,
    /// Attempts to connect.
    pub retry: Retry,
    /// libpq's password file, consulted when there is no password.
    pub passfile: Option<PathBuf>,
    /// Which settings this comes from.
    pub role: ServerRole,
}

/// What a server is to us, and with it the settings that a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRole {
    /// `POSTGRES_*`: backups are made of it and restored to it.
    Main,
    /// `VERIFY_*`: backups are proved there.
    Verify,
}

impl ServerRole {
    /// As a setting is named: `POSTGRES_HOST` of `HOST`.
    pub fn setting(self, what: &str) -> String {
        format!("{}_{what}", if self == Self::Main { "POSTGRES" } else { "VERIFY" })
    }
}

/// As messages name it.
impl std::fmt::Display for ServerRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Main { "server" } else { "verify server" })
    }
}

impl Source {
    /// The same server and role, another database.
    pub fn of(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// The same, given up at the first failure.
    pub fn trying_once(&self) -> Self {
        Self { retry: Retry { attempts: 1, ..self.retry }, ..self.clone() }
    }

    /// True where another password may be read next time.
    pub fn rereads_password(&self) -> bool {
        self.password.as_ref().map_or(self.passfile.is_some(), Password::is_of_file)
    }

    /// `database@host:port`, as logs name the source.
    pub fn display(&self) -> String {
        format!("{}@{}:{}", self.database, self.host, self.port)
    }
}

/// Transport security with libpq's meaning.
#[derive(Debug, Clone)]
pub struct Tls {
    pub mode: SslMode,
    /// `sslrootcert`.
    pub root_cert: Option<RootCert>,
    /// `sslcert` and `sslkey`.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Where the accepted certificate authorities come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCert {
    /// A PEM file.
    File(PathBuf),
    /// The operating system's store.
    System {
        /// A PEM file with all of it, where there is one.
        bundle: Option<PathBuf>,
    },
}

/// Where operating systems keep all authorities in one file: Debian and Alpine, Fedora, SUSE, BSD.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The system's store; `SSL_CERT_FILE` names another file, as for every program that uses OpenSSL.
fn system_store(raw: &RawSettings) -> RootCert {
    let named = raw.foreign("SSL_CERT_FILE").map(PathBuf::from);
    let usual = || BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file());
    RootCert::System { bundle: named.or_else(usual) }
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never encrypt.
    Disable,
    /// Plain first, encrypted when the server insists.
    Allow,
    /// Encrypted first, plain when the server has no TLS.
    Prefer,
    /// Encrypted; the certificate is checked only when a root certificate is given.
    Require,
    /// Encrypted, signed by an accepted authority.
    VerifyCa,
    /// As `VerifyCa`, and issued for this host.
    VerifyFull,
}

impl SslMode {
    /// libpq's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// libpq's password file, where there is one.
pub(super) fn passfile(raw: &RawSettings) -> Option<PathBuf> {
    let usual = || raw.of_process("HOME").map(|home| Path::new(&home).join(".pgpass")).filter(|path| path.exists());
    raw.of_process("PGPASSFILE").map(PathBuf::from).or_else(usual)
}

/// True where the password of the compose file's server may be tried: on this machine, when nobody says otherwise.
pub(super) fn default_password_holds(raw: &RawSettings) -> bool {
    let is_local = raw.text("POSTGRES_HOST").is_some_and(|host| is_local_host(&host));
    is_local && !raw.is_set("DATABASE_URL") && passfile(raw).is_none()
}

/// Name of the source where `BACKUP_SOURCE` does not say.
pub(super) fn default_name(raw: &RawSettings) -> Option<String> {
    let port: u16 = raw.number("POSTGRES_PORT")?;
    Some(format!("{}:{port}", raw.text("POSTGRES_HOST")?))
}

/// The database of the connection: whoever names others need not have one of the default's name.
fn database(raw: &RawSettings) -> Option<String> {
    let is_server = raw.is_set("BACKUP_DATABASES") || raw.text("BACKUP_MODE").as_deref() == Some("cluster");
    if is_server && !raw.is_set("POSTGRES_DB") {
        return Some("postgres".to_owned());
    }
    raw.text("POSTGRES_DB")
}

/// Reads the source's settings; problems are recorded in `raw`.
pub(super) fn read(raw: &mut RawSettings) -> Option<Source> {
    if let Some(url) = raw.text("DATABASE_URL") {
        match database_url::parse(&url) {
            Ok(parts) => parts.into_iter().for_each(|(name, value)| raw.take_of_url(name, value)),
            Err(allowed) => {
                raw.refuse("DATABASE_URL", &allowed);
                return None;
            }
        }
    }
    let tls = read_tls(raw);
    Some(Source {
        name: raw.text("BACKUP_SOURCE")?,
        host: raw.text("POSTGRES_HOST")?,
        port: raw.number("POSTGRES_PORT")?,
        user: raw.text("POSTGRES_USER")?,
        password: raw.password("POSTGRES_PASSWORD"),
        database: database(raw)?,
        tls: tls?,
        retry: Retry { attempts: raw.number("RETRY_COUNT")?, delay: raw.duration("RETRY_DELAY")? },
        passfile: passfile(raw),
        role: ServerRole::Main,
    })
}

fn read_tls(raw: &mut RawSettings) -> Option<Tls> {
    let mode = raw.word("POSTGRES_SSLMODE")?;
    let root = raw.path("POSTGRES_SSLROOTCERT");
    let client = (raw.path("POSTGRES_SSLCERT"), raw.path("POSTGRES_SSLKEY"));
    for (name, file) in [
        ("POSTGRES_SSLROOTCERT", root.as_ref().filter(|path| path.as_os_str() != "system")),
        ("POSTGRES_SSLCERT", client.0.as_ref()),
        ("POSTGRES_SSLKEY", client.1.as_ref()),
    ] {
        if let Some(file) = file
            && let Err(error) = std::fs::File::open(file)
        {
            raw.problems.push(format!("{name}: opening {}: {error}", file.display()));
        }
    }
    let root_cert = root.map(|path| match path.as_os_str() == "system" {
        true => system_store(raw),
        false => RootCert::File(path),
    });
    if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && root_cert.is_none() {
        raw.problems.push(format!(
            "POSTGRES_SSLMODE: {} needs POSTGRES_SSLROOTCERT (a file of authorities, or `system`)",
            mode.as_str()
        ));
    }
    if matches!(root_cert, Some(RootCert::System { .. })) && mode != SslMode::VerifyFull {
        raw.problems.push("POSTGRES_SSLROOTCERT: `system` needs POSTGRES_SSLMODE=verify-full".to_owned());
    }
    let client = match client {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            raw.problems.push("POSTGRES_SSLCERT and POSTGRES_SSLKEY go together; set both or none".to_owned());
            None
        }
    };
    Some(Tls { mode, root_cert, client })
}
