//! Where the source database is and how to reach it: `POSTGRES_*` or `DATABASE_URL`.

use super::received::Received;
use super::secret::Secret;
use percent_encoding::percent_decode_str;
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
    pub password: Option<Secret>,
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
    System,
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

/// Parts of `DATABASE_URL`, by the setting that says the same.
#[derive(Default)]
struct Url {
    parts: Vec<(&'static str, String)>,
}

impl Url {
    fn get(&self, name: &str) -> Option<&String> {
        self.parts.iter().find(|(part, _)| *part == name).map(|(_, value)| value)
    }
}

/// Reads the source's settings; problems are recorded in `received`.
pub(super) fn read(received: &mut Received, passfile: Option<PathBuf>) -> Option<Source> {
    let url = match received.text("DATABASE_URL").map(|text| parse_url(&text)) {
        None => Url::default(),
        Some(Ok(url)) => url,
        Some(Err(allowed)) => {
            received.refuse("DATABASE_URL", &allowed);
            return None;
        }
    };
    for (name, value) in &url.parts {
        if received.is_set(name) && received.text(name).as_ref() != Some(value) {
            received.problems.push(format!("DATABASE_URL and {name} say different things; unset one of them"));
        }
    }
    let mut text = |name| url.get(name).cloned().or_else(|| received.text(name));
    let host = text("POSTGRES_HOST")?;
    let user = text("POSTGRES_USER")?;
    let database = text("POSTGRES_DB")?;
    let port = match url.get("POSTGRES_PORT") {
        Some(port) => port.parse().ok(),
        None => received.get("POSTGRES_PORT", "a port from 1 to 65535").filter(|port| *port > 0),
    };
    if received.is_set("POSTGRES_PORT") && port.is_none() && received.problems.is_empty() {
        received.refuse("POSTGRES_PORT", "a port from 1 to 65535");
    }
    if host.contains(',') {
        received.refuse("POSTGRES_HOST", "one host");
    }
    let password = url.get("POSTGRES_PASSWORD").cloned().or_else(|| {
        let default_holds = is_local(&host) && url.parts.is_empty() && passfile.is_none();
        let set = received.is_set("POSTGRES_PASSWORD");
        received.text("POSTGRES_PASSWORD").filter(|_| set || default_holds)
    });
    let tls = read_tls(received, &url)?;
    let retry = read_retry(received)?;
    let port = port?;
    let name = received.text("BACKUP_SOURCE").unwrap_or_else(|| format!("{host}:{port}"));
    let password = password.map(Secret::from);
    Some(Source { name, host, port, user, password, database, tls, retry, passfile, role: ServerRole::Main })
}

fn read_tls(received: &mut Received, url: &Url) -> Option<Tls> {
    const MODES: &str = "disable, allow, prefer, require, verify-ca or verify-full";
    let mode = match url.get("POSTGRES_SSLMODE") {
        None => received.get("POSTGRES_SSLMODE", MODES)?,
        Some(text) => match serde_json::from_value(serde_json::Value::String(text.clone())) {
            Ok(mode) => mode,
            Err(_) => {
                received.refuse("DATABASE_URL", &format!("sslmode {MODES}"));
                return None;
            }
        },
    };
    let mut path = |name: &'static str| url.get(name).cloned().or_else(|| received.text(name)).map(PathBuf::from);
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
    let root_cert = root.map(|path| if path.as_os_str() == "system" { RootCert::System } else { RootCert::File(path) });
    if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && root_cert.is_none() {
        received.problems.push(format!(
            "POSTGRES_SSLMODE: {} needs POSTGRES_SSLROOTCERT (a file of authorities, or `system`)",
            mode.as_str()
        ));
    }
    if root_cert == Some(RootCert::System) && mode != SslMode::VerifyFull {
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

fn parse_url(text: &str) -> Result<Url, String> {
    const FORM: &str = "postgres://user:password@host:port/database?sslmode=…";
    let url = url::Url::parse(text).map_err(|_| FORM.to_owned())?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(FORM.to_owned());
    }
    let decode =
        |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| FORM);
    let mut parts = Vec::new();
    if let Some(host) = url.host_str() {
        let host = decode(host)?;
        parts.push(("POSTGRES_HOST", host.trim_start_matches('[').trim_end_matches(']').to_owned()));
    }
    if let Some(port) = url.port() {
        parts.push(("POSTGRES_PORT", port.to_string()));
    }
    if !url.username().is_empty() {
        parts.push(("POSTGRES_USER", decode(url.username())?));
    }
    if let Some(password) = url.password() {
        parts.push(("POSTGRES_PASSWORD", decode(password)?));
    }
    let database = decode(url.path().trim_start_matches('/'))?;
    if !database.is_empty() {
        parts.push(("POSTGRES_DB", database));
    }
    for (name, value) in url.query_pairs() {
        let setting = match name.as_ref() {
            "host" => "POSTGRES_HOST",
            "port" => "POSTGRES_PORT",
            "user" => "POSTGRES_USER",
            "password" => "POSTGRES_PASSWORD",
            "dbname" => "POSTGRES_DB",
            "sslmode" => "POSTGRES_SSLMODE",
            "sslrootcert" => "POSTGRES_SSLROOTCERT",
            "sslcert" => "POSTGRES_SSLCERT",
            "sslkey" => "POSTGRES_SSLKEY",
            other => {
                return Err(format!("{FORM}; the parameter `{other}` is not supported, remove it"));
            }
        };
        parts.retain(|(part, _)| *part != setting);
        parts.push((setting, value.into_owned()));
    }
    Ok(Url { parts })
}
