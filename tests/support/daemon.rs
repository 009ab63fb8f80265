//! `backup schedule`.

use super::backup::Backup;
use super::http::get;
use super::{free_port, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A daemon that ends with its test.
pub struct Daemon {
    pub child: Child,
    pub url: String,
    log: PathBuf,
    /// The folder stays as long as this.
    _folder: std::sync::Arc<tempfile::TempDir>,
}

impl Daemon {
    pub fn start(backup: &Backup, arguments: &[&str]) -> Self {
        let port = free_port(0);
        let log = backup.folder.path().join(format!("daemon-{port}.log"));
        let backup = backup.with("LISTEN_ADDR", &format!("127.0.0.1:{port}"));
        let mut command = backup.command(&[&["schedule"], arguments].concat());
        let output = File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output).spawn().unwrap();
        let daemon = Self { child, url: format!("http://127.0.0.1:{port}"), log, _folder: backup.folder.clone() };
        wait_for("the daemon's first look", || get(&daemon.at("/metrics")).is_ok_and(|(status, _)| status == 200));
        daemon
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        get(&self.at(path)).unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Value of a series that begins like this.
    #[track_caller]
    pub fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find(|line| line.starts_with(series))?;
        Some(line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Sends a signal, and returns the exit code and how long it took.
    pub fn stop(&mut self, signal: Signal) -> (i32, Duration) {
        let asked = Instant::now();
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let status = self.child.wait().unwrap();
        (status.code().unwrap_or(-1), asked.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}
