//! The beginning of a session of our own: retry, TLS, passwords, and what its startup asks the server for. Nothing is set in
//! it yet.

use super::cause;
use super::passfile;
use super::session::Session;
use super::tls::TlsFileError;
use super::wire::{self, Encrypted, Encryption, SqlText, TransportError, Wire};
use crate::background::counted;
use crate::config::{ServerRole, Source, SslMode};
use backon::{ConstantBuilder, Retryable};
use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tracing::{debug, warn};

/// How long one attempt may take, from the first packet to a session that is ready.
const ATTEMPT: Duration = Duration::from_secs(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server does not answer, or not yet.
    #[error("connecting to {server}: {cause}")]
    Unreachable {
        /// `database@host:port`
        server: String,
        /// What the network or the server said.
        cause: String,
    },
    /// The server answered and said no.
    #[error("connecting to {server}: {cause}")]
    Refused {
        /// `database@host:port`
        server: String,
        /// What the server said.
        cause: String,
    },
    /// The server has no such database.
    #[error("connecting to {server}: {cause}")]
    NoDatabase {
        /// `database@host:port`
        server: String,
        /// What the server said.
        cause: String,
    },
    /// The role may not enter the database.
    #[error("connecting to {server}: {cause}; to allow it, run: {mend}")]
    NotAllowed {
        /// `database@host:port`
        server: String,
        /// What the server said.
        cause: String,
        /// The statement that would mend it.
        mend: String,
    },
    /// A setting does not fit the server.
    #[error("connecting to {server}: {cause}; check {setting}")]
    Misconfigured {
        /// `database@host:port`
        server: String,
        /// What is wrong.
        cause: String,
        /// The setting to change.
        setting: &'static str,
    },
    /// A pooler is in between.
    #[error(
        "connecting to {server}: there is a pooler in between, and a dump needs sessions \
         of its own ({cause}); set {host} and {port} to the \
                         address of PostgreSQL itself", host = .role.setting("HOST"), port = .role.setting("PORT")
    )]
    Pooled {
        /// `database@host:port`
        server: String,
        /// By what it is known.
        cause: String,
        /// Whose settings name it.
        role: ServerRole,
    },
    /// A certificate file cannot be used.
    #[error("POSTGRES_SSL*: {0}")]
    TlsFile(#[from] TlsFileError),
}

impl ConnectError {
    /// Would trying again help?
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    pub(super) fn pooled(source: &Source, cause: &str) -> Self {
        Self::Pooled { server: source.display(), cause: cause.to_owned(), role: source.role }
    }
}

/// A session and the task that drives it; dropping it closes both.
pub struct Connection {
    session: Session,
    driver: tokio::task::JoinHandle<()>,
    version: ServerVersion,
    is_superuser: bool,
    ended: Arc<OnceLock<String>>,
}

/// Version of the server: `major` decides which client tools fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// 15 of 15.18.
    pub major: u32,
    /// `15.18`.
    pub text: String,
}

impl ServerVersion {
    /// Reads `15.18 (Debian 15.18-0+deb12u1)` or `19beta1`.
    pub fn parse(text: &str) -> Self {
        let text = text.split_whitespace().next().unwrap_or_default();
        let digits = text.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
        Self { major: digits.parse().unwrap_or_default(), text: text.to_owned() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl std::ops::Deref for Connection {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionKind<'a> {
    /// Its name in `pg_stat_activity`.
    pub(super) application: &'a str,
    /// More options for the server, as `-c name=value`; they hold from its first moment.
    pub(super) options: &'a str,
    /// How SQL is written that is handed to it.
    pub(super) text: SqlText,
    /// Settings among those of every session that stay as the server has them.
    pub(super) unpinned: &'static [&'static str],
}

impl<'a> SessionKind<'a> {
    /// For questions of our own.
    pub(super) fn of(application: &'a str) -> Self {
        Self { application, options: "", text: SqlText::Utf8, unpinned: &[] }
    }
}

/// A session in which nothing was set, beyond what its startup asked for.
pub(super) async fn reach(source: &Source, kind: SessionKind<'_>) -> Result<Unprepared, ConnectError> {
    let attempts = source.retry.attempts as usize;
    let policy = ConstantBuilder::default().with_delay(source.retry.delay).with_max_times(attempts - 1).with_jitter();
    let mut failed = 0;
    (|| connect_once(source, kind))
        .retry(policy)
        .when(ConnectError::is_transient)
        .notify(|error, pause| {
            failed += 1;
            warn!("{error} (attempt {failed} of {attempts}, next in {:.1} s)", pause.as_secs_f64());
        })
        .await
}

/// How long a file with a password is given to hold another one, once the server has refused the one in it.
pub(super) const NEW_PASSWORD: Duration = Duration::from_secs(1);

async fn connect_once(source: &Source, kind: SessionKind<'_>) -> Result<Unprepared, ConnectError> {
    match connect_by_password(source, kind).await {
        Err(ConnectError::Refused { cause, .. }) if source.rereads_password() => {
            debug!("{cause}; the password is read once more");
            tokio::time::sleep(NEW_PASSWORD).await;
            connect_by_password(source, kind).await
        }
        outcome => outcome,
    }
}

async fn connect_by_password(source: &Source, kind: SessionKind<'_>) -> Result<Unprepared, ConnectError> {
    let unreachable = |cause: &str| ConnectError::Unreachable { server: source.display(), cause: cause.to_owned() };
    match tokio::time::timeout(ATTEMPT, negotiate(source, kind)).await {
        Err(_) => Err(unreachable("no answer within 20 s")),
        Ok(connection) => connection,
    }
}

/// The ways to a server, in the order in which they are tried.
pub(super) fn ways(source: &Source) -> &'static [Encryption] {
    match source.tls.mode {
        _ if source.host.starts_with('/') => &[Encryption::Never],
        SslMode::Disable => &[Encryption::Never],
        SslMode::Allow => &[Encryption::Never, Encryption::Always],
        SslMode::Prefer => &[Encryption::Offered, Encryption::Never],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encryption::Always],
    }
}

/// One attempt, or two where libpq makes two: `allow` and `prefer` try the other way when the first is refused.
async fn negotiate(source: &Source, kind: SessionKind<'_>) -> Result<Unprepared, ConnectError> {
    let ways = ways(source);
    let first = establish(source, kind, ways[0]).await;
    match (first, ways.get(1)) {
        (Err(first), Some(other)) if !first.is_transient() => establish(source, kind, *other).await.map_err(|_| first),
        (first, _) => first,
    }
}

async fn establish(source: &Source, kind: SessionKind<'_>, encryption: Encryption) -> Result<Unprepared, ConnectError> {
    let transport = wire::open(source, encryption).await.map_err(|error| no_way(source, error))?;
    let mut config = tokio_postgres::Config::new();
    config.user(&source.user).dbname(&source.database).application_name(kind.application);
    config.options(format!("{} {}", startup_options(kind), kind.options));
    let from_file = || source.passfile.as_ref().and_then(|path| passfile::find(path, source, &source.database));
    let given = source.password.as_ref().map(|password| password.current().expose().to_owned());
    if let Some(password) = given.or_else(from_file) {
        config.password(password);
    }
    let explain = |error| explain(source, &error);
    let is_encrypted = transport.is_encrypted();
    let wire = Wire::new(transport, kind.text);
    if is_encrypted {
        use tokio_postgres::config::{SslMode, SslNegotiation};
        config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        let (client, connection) = config.connect_raw(wire, Encrypted).await.map_err(explain)?;
        Ok(Unprepared(Connection::drive(client, connection)))
    } else {
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (client, connection) = config.connect_raw(wire, NoTls).await.map_err(explain)?;
        Ok(Unprepared(Connection::drive(client, connection)))
    }
}

fn no_way(source: &Source, error: TransportError) -> ConnectError {
    let server = source.display();
    match error {
        TransportError::Unreachable(error) => {
            ConnectError::Unreachable { server, cause: format!("error connecting to server: {error}") }
        }
        TransportError::Tls(cause) => {
            ConnectError::Misconfigured { server, cause, setting: "POSTGRES_SSLMODE and POSTGRES_SSLROOTCERT" }
        }
        TransportError::File(error) => error.into(),
    }
}

impl Connection {
    fn drive<S, T>(client: Client, connection: tokio_postgres::Connection<S, T>) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let version = connection.parameter("server_version").unwrap_or_default();
        let version = ServerVersion::parse(version);
        let is_superuser = connection.parameter("is_superuser") == Some("on");
        let ended = Arc::new(OnceLock::new());
        let end = ended.clone();
        let driver = tokio::spawn(counted(async move {
            if let Err(error) = connection.await {
                let why = cause(&error);
                debug!("connection to the database ended: {why}");
                let _ = end.set(why);
            }
        }));
        Self { session: Session::new(client), driver, version, is_superuser, ended }
    }

    /// Why the session has ended, as far as the server or the network has said so.
    pub fn why_ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    /// Version of the server.
    pub fn version(&self) -> &ServerVersion {
        &self.version
    }

    /// True for a role that nothing is forbidden to.
    pub fn is_superuser(&self) -> bool {
        self.is_superuser
    }
}

/// A session in which nothing was set yet.
pub(super) struct Unprepared(pub(super) Connection);

impl Unprepared {
    /// False when the options of the startup did not reach the server. Until it was asked that is not known.
    pub(super) async fn has_options(&self) -> bool {
        let question = format!("SELECT true {WHERE_OPTIONS}");
        let answers = self.0.simple_query(&question).await.unwrap_or_default();
        answers.iter().any(|answer| matches!(answer, SimpleQueryMessage::Row(_)))
    }

    pub(super) async fn simple_query(
        &self,
        statements: &str,
    ) -> Result<Vec<SimpleQueryMessage>, tokio_postgres::Error> {
        self.0.simple_query(statements).await
    }
}

/// What every session sets, from its first moment on.
pub(super) const SESSION: &[(&str, &str)] = &[
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    ("search_path", ""),
];

/// A parameter of our own, by which a session shows that its options arrived.
const MARK: &str = "backup.options";
/// The row is there where they did.
pub(super) const WHERE_OPTIONS: &str = "WHERE pg_catalog.current_setting('backup.options', true) = 'here'";

fn startup_options(kind: SessionKind<'_>) -> String {
    let pinned = SESSION.iter().filter(|(name, _)| !kind.unpinned.contains(name));
    let all = pinned.map(|(name, value)| format!("-c {name}={value}"));
    all.chain([format!("-c {MARK}=here")]).collect::<Vec<_>>().join(" ")
}

pub(super) fn explain(source: &Source, error: &tokio_postgres::Error) -> ConnectError {
    let server = source.display();
    let cause = cause(error);
    match error.code() {
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => ConnectError::NoDatabase { server, cause },
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            let mend = format!("GRANT CONNECT ON DATABASE {} TO {};", quoted(&source.database), quoted(&source.user));
            ConnectError::NotAllowed { server, cause, mend }
        }
        // PgBouncer, and the like of it
        Some(code) if *code == SqlState::PROTOCOL_VIOLATION && cause.contains("startup parameter") => {
            ConnectError::pooled(source, &cause)
        }
        Some(_) if cause.contains("command-line options") => ConnectError::pooled(source, &cause),
        Some(code) if TRANSIENT.contains(&code) => ConnectError::Unreachable { server, cause },
        Some(_) => ConnectError::Refused { server, cause },
        None if broke_off(error) => ConnectError::Unreachable { server, cause },
        None if cause.contains("password missing") => {
            ConnectError::Refused { server, cause: "the server asks for a password; set POSTGRES_PASSWORD".to_owned() }
        }
        None if cause.contains("password") => ConnectError::Refused { server, cause },
        None => ConnectError::Unreachable { server, cause },
    }
}

/// True when the network broke, be it in the middle of a TLS handshake.
fn broke_off(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<std::io::Error>() {
            return wire::broke_off(cause);
        }
        source = cause.source();
    }
    false
}

/// States in which the server, not the setting, is the trouble: starting, stopping, full, failing over.
const TRANSIENT: &[&SqlState] = &[
    &SqlState::CANNOT_CONNECT_NOW,
    &SqlState::ADMIN_SHUTDOWN,
    &SqlState::CRASH_SHUTDOWN,
    &SqlState::TOO_MANY_CONNECTIONS,
    &SqlState::CONNECTION_EXCEPTION,
    &SqlState::CONNECTION_FAILURE,
    &SqlState::SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION,
    &SqlState::OUT_OF_MEMORY,
    &SqlState::DISK_FULL,
];
