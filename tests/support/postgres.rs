//! PostgreSQL servers.

use super::{Server, free_port, tool, unprivileged, unprivileged_folder, wait_for};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub const USER: &str = "backup_user";
pub const PASSWORD: &str = "backup_password";

pub struct Postgres {
    folder: Option<tempfile::TempDir>,
    start: String,
    server: Option<Server>,
    last_folder: Option<PathBuf>,
    pub port: u16,
    pub bin: String,
}

/// A table lock, held until it is dropped.
pub struct TableLock<'a> {
    postgres: &'a Postgres,
    database: String,
    client: Child,
}

impl TableLock<'_> {
    fn count(&self, which: &str) -> String {
        let count = format!("SELECT count(*) FROM pg_locks WHERE {which} AND relation = 't'::regclass");
        self.postgres.sql(&self.database, &count)
    }

    /// True when somebody wants the table.
    pub fn has_waiter(&self) -> bool {
        self.count("NOT granted") == "1"
    }

    /// Runs more SQL in the transaction that holds the lock, which ends with the lock.
    pub fn run(&self, sql: &str) {
        let mut stdin = self.client.stdin.as_ref().unwrap();
        stdin.write_all(format!("{sql}\nCOMMIT;\n").as_bytes()).unwrap();
    }

    /// Waits until somebody wants the table.
    pub fn wait_for_waiter(&self) {
        wait_for("somebody to wait for the table", || self.has_waiter());
    }
}

impl Drop for TableLock<'_> {
    fn drop(&mut self) {
        // psql ends with its input, and the transaction with psql
        drop(self.client.stdin.take());
        let _ = self.client.wait();
    }
}

/// The server that tests share; each makes its own databases there.
static SHARED: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(&tool("PG_BIN")));
static NEXT_DATABASE: AtomicU32 = AtomicU32::new(0);

pub fn shared() -> &'static Postgres {
    &SHARED
}

impl Postgres {
    /// A fresh cluster of the binaries in that folder.
    pub fn start(bin: &str) -> Self {
        let mut postgres = Self::prepare(bin);
        postgres.launch();
        postgres
    }

    /// A cluster that is not running yet.
    pub fn prepare(bin: &str) -> Self {
        let folder = unprivileged_folder();
        let path = folder.path().display();
        let script = format!(
            "echo {PASSWORD} >'{path}/password' && '{bin}/initdb' -D '{path}/data' -U {USER} --pwfile='{path}/password' \
             --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --locale=C -N"
        );
        let made = unprivileged("sh", &["-c", &script]).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port(0);
        let command = format!(
            "exec '{bin}/postgres' -D '{path}/data' -p {port} -k '{path}' -c listen_addresses=127.0.0.1 -c fsync=off \
             -c max_connections=60 -c shared_buffers=64MB -c max_prepared_transactions=2"
        );
        Self { folder: Some(folder), start: command, server: None, last_folder: None, port, bin: bin.to_owned() }
    }

    /// A fresh cluster whose tables lie on a tmpfs of so many megabytes, in a namespace of its own. Its write-ahead log does
    /// not: a server that cannot write that panics, where one that cannot extend a table says so.
    pub fn start_on_small_disk(bin: &str, megabytes: u32) -> Self {
        let folder = unprivileged_folder();
        let (path, port) = (folder.path().display(), free_port(0));
        // the second namespace makes the mounting user an ordinary one again, because PostgreSQL refuses root
        let command = format!(
            "exec unshare -Urm sh -c \"mkdir '{path}/disk' && mount -t tmpfs -o size={megabytes}m tmpfs '{path}/disk' && \
             exec unshare -U --map-user=1000 --map-group=1000 sh -c \\\"echo {PASSWORD} >'{path}/disk/password' && \
             '{bin}/initdb' -D '{path}/disk/data' -U {USER} --pwfile='{path}/disk/password' --waldir='{path}/wal' \
             --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --locale=C -N && exec '{bin}/postgres' -D '{path}/disk/data' \
             -p {port} -k '{path}' -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=16MB\\\"\""
        );
        let (folder, start) = (Some(folder), command);
        let mut postgres = Self { folder, start, server: None, last_folder: None, port, bin: bin.to_owned() };
        postgres.launch();
        postgres
    }

    /// Puts a file for the server's eyes only into its folder, and returns its path.
    pub fn private_file(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = PathBuf::from(self.path(name));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let user = tool("UNPRIVILEGED");
        if !user.is_empty() {
            assert!(Command::new("chown").arg(user).arg(&path).status().unwrap().success());
        }
        path.to_str().unwrap().to_owned()
    }

    /// Where something in the server's own folder is.
    pub fn path(&self, name: &str) -> String {
        let kept = self.server.as_ref().map(|server| server.folder.clone());
        let folder = kept.or_else(|| self.folder.as_ref().map(|folder| folder.path().to_owned()));
        folder.unwrap_or_else(|| self.last_folder.clone().unwrap()).join(name).to_str().unwrap().to_owned()
    }

    /// Makes an empty folder of the server's user.
    pub fn private_folder(&self, name: &str) -> String {
        let path = self.path(name);
        self.private_folder_at(&path);
        path
    }

    /// The same anywhere.
    pub fn private_folder_at(&self, path: &str) {
        std::fs::create_dir_all(path).unwrap();
        let user = tool("UNPRIVILEGED");
        if !user.is_empty() {
            assert!(Command::new("chown").arg(user).arg(path).status().unwrap().success());
        }
    }

    /// Adds a setting to a cluster that is not running yet.
    pub fn configure(&mut self, name: &str, value: &str) {
        self.start += &format!(" -c '{name}={value}'");
    }

    /// Starts a prepared cluster and waits until it answers.
    pub fn launch(&mut self) {
        self.launch_without_waiting();
        wait_for("PostgreSQL to start", || self.try_sql("postgres", "SELECT 1").status.success());
    }

    pub fn launch_without_waiting(&mut self) {
        self.server = Some(Server::start(self.folder.take().unwrap(), "INT", &self.start));
    }

    /// A new database with that prefix in its name.
    pub fn database(&self, prefix: &str) -> String {
        let name = format!("{prefix}_{}", NEXT_DATABASE.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"));
        name
    }

    /// Runs SQL as the superuser and returns what psql prints, unaligned.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.try_sql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub fn try_sql(&self, database: &str, sql: &str) -> Output {
        // psql takes a name with `=` on its command line for a connection string
        let mut client = self.client("psql");
        client.args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-c", sql]).env("PGDATABASE", database).output().unwrap()
    }

    /// Runs a `COPY … FROM STDIN` with these rows.
    pub fn copy_in(&self, database: &str, copy: &str, rows: &str) {
        let mut client = self.client("psql");
        client.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-c", copy]).env("PGDATABASE", database);
        let mut client = client.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        client.stdin.take().unwrap().write_all(rows.as_bytes()).unwrap();
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{copy}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a file.
    pub fn run_file(&self, database: &str, path: &Path) {
        let output = self
            .client("psql")
            .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", database, "-f"])
            .arg(path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }

    /// What `pg_dump` or `pg_dumpall` writes with these arguments, without the lines that differ at every call.
    pub fn dump(&self, program: &str, database: &str, arguments: &[&str]) -> String {
        let output = self.client(program).env("PGDATABASE", database).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let random = |line: &&str| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict ");
        text.lines().filter(random).collect::<Vec<_>>().join("\n")
    }

    /// `gunzip -c ARCHIVE | psql -X`, stopping at the first error or not; the answer is what psql complained about.
    pub fn restore(&self, archive: &Path, database: &str, strict: bool) -> String {
        let mut gunzip = Command::new("gunzip").arg("-c").arg(archive).stdout(Stdio::piped()).spawn().unwrap();
        let stop = if strict { "ON_ERROR_STOP=1" } else { "ON_ERROR_STOP=0" };
        let restored = self
            .client("psql")
            .args(["-X", "-q", "-v", stop])
            .env("PGDATABASE", database)
            .stdin(gunzip.stdout.take().unwrap())
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&restored.stderr).into_owned();
        assert!(restored.status.success(), "{complaints}");
        assert!(gunzip.wait().unwrap().success());
        complaints
    }

    /// Takes a lock on the table `t` of a database that no dump can share, as somebody else's session.
    pub fn lock_table(&self, database: &str) -> TableLock<'_> {
        let mut client = self.client("psql");
        client.arg("-Xq").env("PGDATABASE", database).stdin(Stdio::piped());
        let mut client = client.spawn().unwrap();
        client.stdin.as_mut().unwrap().write_all(b"BEGIN; LOCK TABLE t;\n").unwrap();
        let lock = TableLock { postgres: self, database: database.to_owned(), client };
        wait_for("the lock", || lock.count("granted") == "1");
        lock
    }

    /// Ends the server.
    pub fn stop(&mut self) {
        self.last_folder = self.server.take().map(|server| server.folder.clone());
    }

    /// One of PostgreSQL's own tools, told where this server is.
    pub fn client(&self, program: &str) -> Command {
        self.reach(Command::new(format!("{}/{program}", self.bin)))
    }

    /// Runs a script of the shell that finds the server and its client programs.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let path = format!("{}:{}", self.bin, std::env::var("PATH").unwrap());
        let mut command = self.reach(Command::new("bash"));
        let output = command.env("PATH", path).args(["-euo", "pipefail", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn reach(&self, mut command: Command) -> Command {
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        command.env("PGUSER", USER).env("PGPASSWORD", PASSWORD).env("PGCONNECT_TIMEOUT", "5");
        command
    }

    /// What is known of a database: its dump, and its properties.
    pub fn picture(&self, database: &str) -> String {
        let dump = self.dump("pg_dump", database, &[]);
        let properties = format!(
            "SELECT pg_get_userbyid(datdba), datacl, encoding, datcollate, datconnlimit, shobj_description(oid, 'pg_database'),
                    (SELECT array_agg(setconfig ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = oid)
             FROM pg_database WHERE datname = $x${database}$x$"
        );
        dump + &self.sql("postgres", &properties)
    }

    /// Databases of the server that a restore made for the time being.
    pub fn leftovers(&self) -> String {
        let question = "SELECT coalesce(string_agg(datname, ','), '') FROM pg_database
                        WHERE shobj_description(oid, 'pg_database') LIKE 'scratch of backup run%' OR datname ~ '^backup_scratch_'";
        self.sql("postgres", question)
    }

    pub fn exists(&self, database: &str) -> bool {
        self.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname = $x${database}$x$")) == "1"
    }

    /// The database that a restore has put aside.
    pub fn before(&self, database: &str) -> String {
        let name =
            self.sql("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE '{database}_before_%'"));
        assert!(!name.is_empty() && !name.contains('\n'), "not one database before: {name:?}");
        name
    }

    /// Waits until some session copies rows.
    pub fn wait_for_rows(&self) {
        let question = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active' AND pid <> pg_backend_pid()";
        wait_for("rows to be on their way", || self.sql("postgres", question) != "0");
    }

    pub fn log(&self) -> String {
        self.server.as_ref().map(Server::log).unwrap_or_default()
    }
}
