//! Where the source database is and how to reach it: `POSTGRES_*` or `DATABASE_URL`.

use super::database_url;
use super::received::Received;
use super::secret::Password;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The source server and the database on it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name in manifests: `BACKUP_SOURCE`, or `host:port`.
    pub name: String,
    /// Host name, address or socket folder.
    pub host: String,
    /// Port.
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

/// How often to try, and how long to wait between.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Pause between two attempts, before jitter.
    pub delay: Duration,
}

/// Transport security with libpq's meaning.
#[derive(Debug, Clone)]
pub struct Tls {
    /// `sslmode`.
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
fn system_store(received: &Received) -> RootCert {
    let named = received.foreign("SSL_CERT_FILE").map(PathBuf::from);
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

/// True for this machine's names and for socket folders.
pub(super) fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]") || host.starts_with('/')
}

/// Reads the source's settings; problems are recorded in `received`.
pub(super) fn read(received: &mut Received, passfile: Option<PathBuf>) -> Option<Source> {
    let has_url = received.is_set("DATABASE_URL");
    if let Some(url) = received.text("DATABASE_URL") {
        match database_url::parse(&url) {
            Ok(parts) => parts.into_iter().for_each(|(name, value)| received.take_of_url(name, value)),
            Err(allowed) => {
                received.refuse("DATABASE_URL", &allowed);
                return None;
            }
        }
    }
    let host = received.text("POSTGRES_HOST")?;
    let user = received.text("POSTGRES_USER")?;
    let database = received.text("POSTGRES_DB")?;
    const PORT: &str = "a port from 1 to 65535";
    let port: Option<u16> = received.get("POSTGRES_PORT", PORT);
    if port == Some(0) {
        received.refuse("POSTGRES_PORT", PORT);
    }
    if host.contains(',') {
        received.refuse("POSTGRES_HOST", "one host");
    }
    let default_holds = is_local(&host) && !has_url && passfile.is_none();
    let is_set = received.is_set("POSTGRES_PASSWORD");
    let password = received.password("POSTGRES_PASSWORD").filter(|_| is_set || default_holds);
    let tls = read_tls(received)?;
    let retry = read_retry(received)?;
    let port = port?;
    let name = received.text("BACKUP_SOURCE").unwrap_or_else(|| format!("{host}:{port}"));
    Some(Source { name, host, port, user, password, database, tls, retry, passfile, role: ServerRole::Main })
}

fn read_tls(received: &mut Received) -> Option<Tls> {
    let mode = received.get("POSTGRES_SSLMODE", "disable, allow, prefer, require, verify-ca or verify-full")?;
    let mut path = |name: &'static str| received.text(name).map(PathBuf::from);
    let root = path("POSTGRES_SSLROOTCERT");
    let client = (path("POSTGRES_SSLCERT"), path("POSTGRES_SSLKEY"));
    for (name, file) in [
        ("POSTGRES_SSLROOTCERT", root.as_ref().filter(|path| path.as_os_str() != "system")),
        ("POSTGRES_SSLCERT", client.0.as_ref()),
        ("POSTGRES_SSLKEY", client.1.as_ref()),
    ] {
        if let Some(file) = file
            && let Err(error) = std::fs::File::open(file)
        {
            received.problems.push(format!("{name}: opening {}: {error}", file.display()));
        }
    }
    let root_cert = root.map(|path| match path.as_os_str() == "system" {
        true => system_store(received),
        false => RootCert::File(path),
    });
    if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && root_cert.is_none() {
        received.problems.push(format!(
            "POSTGRES_SSLMODE: {} needs POSTGRES_SSLROOTCERT (a file of authorities, or `system`)",
            mode.as_str()
        ));
    }
    if matches!(root_cert, Some(RootCert::System { .. })) && mode != SslMode::VerifyFull {
        received.problems.push("POSTGRES_SSLROOTCERT: `system` needs POSTGRES_SSLMODE=verify-full".to_owned());
    }
    let client = match client {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            received.problems.push("POSTGRES_SSLCERT and POSTGRES_SSLKEY go together; set both or none".to_owned());
            None
        }
    };
    Some(Tls { mode, root_cert, client })
}

fn read_retry(received: &mut Received) -> Option<Retry> {
    let attempts = received.get("RETRY_COUNT", "attempts, 1 to 1000");
    let attempts = attempts.filter(|count| (1..=1000).contains(count)).or_else(|| {
        received.refuse("RETRY_COUNT", "attempts, 1 to 1000");
        None
    });
    let delay = received.duration("RETRY_DELAY");
    Some(Retry { attempts: attempts?, delay: delay? })
}
