//! Real servers for the tests: each started on a free port in a temporary folder, and gone when the test process is,
//! however it ends.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod azure;
pub mod backup;
pub mod browser;
pub mod cluster;
pub mod daemon;
pub mod gate;
pub mod gcs;
pub mod http;
pub mod postgres;
pub mod s3;

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Where `tests/tools/setup.sh` found or put the servers.
static TOOLS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/test.env");
    let text = std::fs::read_to_string(path).expect("target/tools/test.env is missing: run the tests with `make test`");
    text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
});

/// A tool's path by its name in that file.
pub fn tool(name: &str) -> String {
    TOOLS.get(name).unwrap_or_else(|| panic!("target/tools/test.env has no {name}: run `make test`")).clone()
}

/// Compares long texts, and shows the first line that differs.
#[track_caller]
pub fn assert_same_text(got: &str, expected: &str) {
    for (number, (got, expected)) in got.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, expected, "line {number}");
    }
    assert_eq!(got.len(), expected.len(), "one text is longer");
}

/// Drives the helpers that need one.
pub static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

/// A port nobody listens on now; with `also_plus`, one whose number plus that is free as well.
pub fn free_port(also_plus: u16) -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if also_plus == 0 || (port < 50_000 && TcpListener::bind(("127.0.0.1", port + also_plus)).is_ok()) {
            return port;
        }
    }
}

/// Waits for a condition, and fails the test when it does not come.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server that ends when this process does: a shell waits for its standard input to close, then stops the server and
/// removes its folder.
pub struct Server {
    keeper: Child,
    pub folder: PathBuf,
}

impl Server {
    /// Runs `command` (shell words, the server in the foreground) as an unprivileged user when we are root.
    pub fn start(folder: tempfile::TempDir, stop_signal: &str, command: &str) -> Self {
        let folder = folder.keep();
        let script = format!(
            "{command} >>'{0}/log' 2>&1 & pid=$!
             cat >/dev/null
             kill -{stop_signal} $pid 2>/dev/null; wait $pid; rm -rf '{0}'",
            folder.display()
        );
        let mut keeper = unprivileged("sh", &["-c", &script]);
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        Self { keeper, folder }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A command that does not run as root, because PostgreSQL refuses to.
pub fn unprivileged(program: &str, arguments: &[&str]) -> Command {
    let user = tool("UNPRIVILEGED");
    let mut command = if user.is_empty() {
        Command::new(program)
    } else {
        let mut command = Command::new("setpriv");
        let gid = Command::new("id").args(["-g", &user]).output().unwrap();
        let gid = String::from_utf8(gid.stdout).unwrap();
        command.args(["--reuid", &user, "--regid", gid.trim(), "--clear-groups", program]);
        command
    };
    command.args(arguments).current_dir("/");
    command
}

/// A folder that the unprivileged user owns.
pub fn unprivileged_folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("backup-test-").tempdir().unwrap();
    let user = tool("UNPRIVILEGED");
    if !user.is_empty() {
        assert!(Command::new("chown").arg(&user).arg(folder.path()).status().unwrap().success());
    }
    folder
}

/// Makes a key in the folder: the file of the private one, and the public one.
pub fn age_keys(folder: &std::path::Path, name: &str) -> (String, String) {
    let file = folder.join(name);
    let made = Command::new("age-keygen").arg("-o").arg(&file).stderr(Stdio::null()).status().unwrap();
    assert!(made.success());
    let public = Command::new("age-keygen").arg("-y").arg(&file).output().unwrap().stdout;
    (file.to_str().unwrap().to_owned(), String::from_utf8(public).unwrap().trim().to_owned())
}

pub fn signal(child: &Child, name: &str) {
    let killed = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
}

/// Asserts that promtool finds nothing wrong with metrics.
#[track_caller]
pub fn lint_metrics(text: &str) {
    let mut promtool = Command::new(tool("PROMTOOL"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
}
