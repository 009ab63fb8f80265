//! The program under test, run as people run it.

use super::postgres::{PASSWORD, Postgres, USER};
use super::s3::{ACCESS, BUCKET, SECRET};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Settings and a folder of one run.
pub struct Backup {
    pub folder: Arc<tempfile::TempDir>,
    environment: BTreeMap<String, String>,
    wrapper: Vec<String>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub log: String,
}

impl Outcome {
    /// Asserts the exit code, showing the log when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.log);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.log.contains(text) || self.stdout.contains(text),
            "no `{text}` in:\n{}\n{}",
            self.stdout,
            self.log
        );
        self
    }
}

impl Backup {
    /// Local target, one attempt, short waits.
    pub fn of(postgres: &Postgres, database: &str) -> Self {
        let folder = Arc::new(tempfile::Builder::new().prefix("backup-test-").tempdir().unwrap());
        let backup = Self { folder, environment: BTreeMap::new(), wrapper: Vec::new() };
        let path = std::env::var("PATH").unwrap();
        // child processes inherit HOME, so that a test finds those of its own run
        let home = backup.folder.path().to_str().unwrap().to_owned();
        backup
            .set("HOME", &home)
            .set("PATH", &format!("{}:{path}", postgres.bin))
            .set("POSTGRES_HOST", "127.0.0.1")
            .set("POSTGRES_PORT", &postgres.port.to_string())
            .set("POSTGRES_USER", USER)
            .set("POSTGRES_PASSWORD", PASSWORD)
            .set("POSTGRES_DB", database)
            .set("RETRY_DELAY", "0.2s")
            .set("RETRY_COUNT", "3")
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same folder with one setting changed.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut environment = self.environment.clone();
        environment.insert(name.to_owned(), value.to_owned());
        Self { folder: self.folder.clone(), environment, wrapper: self.wrapper.clone() }
    }

    /// The same with a `pg_dump` of our own: a script that has the real one of that folder as `$real`.
    pub fn with_pg_dump(&self, bin: &str, script: &str) -> Self {
        let folder = self.folder.path().join("bin");
        std::fs::create_dir_all(&folder).unwrap();
        let head =
            format!("#!/bin/bash\nreal='{bin}/pg_dump'\nif [ \"$1\" = --version ]; then exec $real --version; fi");
        // written by a child: while a file is open here, a child of another thread may have it too, and nobody can run it
        let write = "printf '%s\n' \"$1\" >\"$0\" && chmod 755 \"$0\"";
        let path = folder.join("pg_dump");
        let text = format!("{head}\n{script}");
        assert!(Command::new("sh").args(["-c", write]).arg(&path).arg(text).status().unwrap().success());
        self.with("PG_BIN_DIR", folder.to_str().unwrap())
    }

    /// What a setting is set to.
    pub fn get(&self, name: &str) -> String {
        self.environment[name].clone()
    }

    /// Sends the backup to an S3 endpoint as well (`all`) or only there (`remote`).
    pub fn to(self, target: &str, endpoint: &str, prefix: &str) -> Self {
        self.set("BACKUP_TARGET", target)
            .set("REMOTE_ENDPOINT", endpoint)
            .set("REMOTE_BUCKET", BUCKET)
            .set("REMOTE_ACCESS_KEY", ACCESS)
            .set("REMOTE_SECRET_KEY", SECRET)
            .set("REMOTE_PREFIX", prefix)
    }

    /// Runs under another program, such as `unshare`.
    pub fn under(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub fn path(&self) -> PathBuf {
        self.environment.get("BACKUP_DIR").map_or_else(|| self.folder.path().join("backups"), PathBuf::from)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_backup");
        let mut command = match self.wrapper.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.args(arguments).env_clear().envs(&self.environment).current_dir(self.folder.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        finish(self.spawn(arguments))
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Files under the local folder, hidden ones too.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.path(), &self.path(), &mut found);
        found.sort();
        found
    }

    /// The same without the notes that people were told of a failure.
    pub fn files_but_notes(&self) -> Vec<String> {
        self.files().into_iter().filter(|name| !name.contains("backup-failed-")).collect()
    }

    /// Files with their contents.
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        self.files().into_iter().map(|file| (file.clone(), std::fs::read(self.path().join(file)).unwrap())).collect()
    }

    /// The one archive in the local folder.
    #[track_caller]
    pub fn archive(&self) -> PathBuf {
        let archives: Vec<String> = self
            .files()
            .into_iter()
            .filter(|file| {
                let name = file.strip_suffix(".age").unwrap_or(file);
                name.ends_with(".sql.gz") || name.ends_with(".dump")
            })
            .collect();
        assert_eq!(archives.len(), 1, "{:?}", self.files());
        self.path().join(&archives[0])
    }

    /// Every archive in the local folder with its manifest, by what the manifest says it holds.
    pub fn archives(&self) -> BTreeMap<String, (PathBuf, serde_json::Value)> {
        let manifests = self.files().into_iter().filter(|file| file.ends_with(".json") && !file.contains(".verify-"));
        let read = |file: String| {
            let path = self.path().join(file);
            let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let subject = manifest["database"]
                .as_str()
                .map_or_else(|| format!("({})", manifest["content"].as_str().unwrap()), str::to_owned);
            (subject, (path.with_extension(""), manifest))
        };
        manifests.map(read).collect()
    }

    /// Verifies the newest backup, and returns the report.
    #[track_caller]
    pub fn verify(&self, arguments: &[&str], code: i32) -> Report {
        let outcome = self.run(&[&["verify", "--json"], arguments].concat()).exits(code);
        let report = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("no report: {}", outcome.log));
        assert_fits_schema("verify", &report);
        Report(report)
    }

    /// Records of verifications, oldest first.
    pub fn verifications(&self) -> Vec<Report> {
        let records = self.files().into_iter().filter(|file| file.contains(".verify-"));
        records
            .map(|file| Report(serde_json::from_slice(&std::fs::read(self.path().join(file)).unwrap()).unwrap()))
            .collect()
    }

    /// Puts every backup in the folder this many days back.
    pub fn make_older(&self, days: i64) {
        for file in self.files().iter().filter(|file| file.ends_with(".sql.gz.json")) {
            let path = self.path().join(file);
            let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            for name in ["started", "finished"] {
                let time: chrono::DateTime<chrono::Utc> = manifest[name].as_str().unwrap().parse().unwrap();
                manifest[name] = (time - chrono::TimeDelta::days(days)).to_rfc3339().into();
            }
            std::fs::write(&path, manifest.to_string()).unwrap();
        }
    }

    /// What a command prints as JSON, held against its schema.
    #[track_caller]
    pub fn json(&self, arguments: &[&str], code: i32) -> serde_json::Value {
        let outcome = self.run(&[arguments, &["--json"]].concat()).exits(code);
        let value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON: {}", outcome.stdout));
        assert_fits_schema(arguments[0], &value);
        value
    }

    /// Rewrites an archive as an attacker or a bad disk controller would, with every sum made right again.
    pub fn rewrite(&self, change: impl Fn(String) -> String) {
        let archive = self.archive();
        let text = Command::new("gunzip").arg("-c").arg(&archive).output().unwrap().stdout;
        let text = change(String::from_utf8(text).unwrap());
        let plain = archive.with_extension("new");
        std::fs::write(&plain, &text).unwrap();
        assert!(Command::new("gzip").arg("-f").arg(&plain).status().unwrap().success());
        std::fs::rename(plain.with_extension("new.gz"), &archive).unwrap();
        let mut manifest = self.manifest();
        manifest["raw_bytes"] = text.len().into();
        std::fs::write(format!("{}.json", archive.display()), manifest.to_string()).unwrap();
        self.make_sums_right(&archive);
    }

    /// Writes a manifest that fits the bytes of the archive.
    pub fn make_sums_right(&self, archive: &Path) {
        let mut manifest = self.manifest();
        let sum = Command::new("sha256sum").arg(archive).output().unwrap();
        manifest["sha256"] = String::from_utf8(sum.stdout).unwrap().split(' ').next().unwrap().into();
        manifest["stored_bytes"] = std::fs::metadata(archive).unwrap().len().into();
        std::fs::write(format!("{}.json", archive.display()), manifest.to_string()).unwrap();
    }

    /// The facts file beside an archive.
    pub fn facts(&self) -> serde_json::Value {
        let file = format!("{}.facts.json.gz", self.archive().display());
        let json = Command::new("gunzip").args(["-c", &file]).output().unwrap().stdout;
        serde_json::from_slice(&json).unwrap()
    }

    /// Puts other facts beside an archive, with every sum made right.
    pub fn forge_facts(&self, facts: &serde_json::Value) {
        let archive = self.archive();
        let (file, text) = (format!("{}.facts.json.gz", archive.display()), self.folder.path().join("facts.json"));
        std::fs::write(&text, facts.to_string()).unwrap();
        assert!(Command::new("gzip").arg("-f").arg(&text).status().unwrap().success());
        std::fs::rename(text.with_extension("json.gz"), &file).unwrap();
        let sum = Command::new("sha256sum").arg(&file).output().unwrap();
        let mut manifest = self.manifest();
        manifest["facts_sha256"] = String::from_utf8(sum.stdout).unwrap().split(' ').next().unwrap().into();
        std::fs::write(format!("{}.json", archive.display()), manifest.to_string()).unwrap();
    }

    /// The manifest beside an archive.
    pub fn manifest(&self) -> serde_json::Value {
        let path = format!("{}.json", self.archive().display());
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

/// The report of a verification.
#[derive(Debug)]
pub struct Report(pub serde_json::Value);

impl Report {
    /// Verdict and details of the check of that number, in the first database; 0 is the archive.
    pub fn check(&self, number: u64) -> (&str, String) {
        let checks = self.0["databases"][0]["checks"].as_array().into_iter().flatten();
        let mut all = checks.chain([&self.0["archive"]]);
        let check = all.find(|check| check["number"] == number).unwrap_or_else(|| panic!("no check {number}"));
        (check["verdict"].as_str().unwrap(), check["details"].to_string())
    }

    /// Numbers of the checks with that verdict.
    pub fn with(&self, verdict: &str) -> Vec<u64> {
        (0..=14).filter(|number| self.check(*number).0 == verdict).collect()
    }
}

pub fn finish(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        log: String::from_utf8(output.stderr).unwrap(),
    }
}

fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            walk(&entry.path(), root, found);
        } else {
            found.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// Holds JSON against the schema of that name.
#[track_caller]
pub fn assert_fits_schema(name: &str, value: &serde_json::Value) {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.json"));
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    let index = compiler.compile(schema.to_str().unwrap(), &mut schemas).unwrap();
    if let Err(error) = schemas.validate(value, index) {
        panic!("{name} breaks its schema: {error:#}\n{value:#}");
    }
}
