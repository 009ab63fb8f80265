//! Every fault provoked for real, and what is left after it: the right exit code, nothing under a final name, no
//! unfinished upload, older backups untouched, nothing pruned, no child alive, one notice, no secret anywhere.

mod ends;
mod folders;
mod source;
mod stores;

use crate::support::backup::{Backup, Outcome};
use crate::support::http::{Act, Front, Seen};
use crate::support::postgres::{PASSWORD, shared};
use crate::support::{s3, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names and contents.
type Files = Vec<(String, Vec<u8>)>;

/// A scene: an old backup on each side that a prune would take if it were let, a webhook that listens, and the run.
struct Scene {
    backup: Backup,
    webhook: Front,
    prefix: String,
    /// The local and the remote side before the run.
    before: (Files, Files),
}

impl Scene {
    /// Local target.
    fn local(database: &str) -> Self {
        Self::new(database, "local", &s3::shared().endpoint())
    }

    /// A target with a remote side, reached at that endpoint.
    fn remote(database: &str, target: &str, endpoint: &str) -> Self {
        Self::new(database, target, endpoint)
    }

    fn new(database: &str, target: &str, endpoint: &str) -> Self {
        let webhook = Front::start(0, |_, _| Act::Answer(204, String::new()));
        let prefix = s3::fresh_prefix();
        let url = format!("{}/api/webhooks/1/webhook-token-that-must-not-leak", webhook.url());
        let backup =
            Backup::of(shared(), database).set("DISCORD_NOTIFY_SUCCESS", "false").set("DISCORD_WEBHOOK_URL", &url);
        // two old backups: the second is the floor, the first is what a careless prune would take
        let backup = backup.to("all", &s3::shared().endpoint(), &prefix);
        for _ in 0..2 {
            backup.run(&["run", "--type", "daily"]).exits(0);
        }
        let before = (backup.contents(), s3::shared().contents(&prefix));
        assert_eq!((before.0.len(), before.1.len()), (8, 8));
        let backup =
            backup.set("BACKUP_TARGET", target).set("REMOTE_ENDPOINT", endpoint).set("BACKUP_RETENTION_DAILY", "1");
        Self { backup, webhook, prefix, before }
    }

    /// The scene with one setting changed.
    fn set(self, name: &str, value: &str) -> Self {
        Self { backup: self.backup.set(name, value), ..self }
    }

    /// The scene with a `pg_dump` that ends badly.
    fn with_pg_dump(self, script: &str) -> Self {
        Self { backup: self.backup.with_pg_dump(&shared().bin, script), ..self }
    }

    fn run(&self) -> Outcome {
        self.backup.run(&["run", "--type", "daily"])
    }

    fn spawn(&self) -> Child {
        self.backup.spawn(&["run", "--type", "daily"])
    }

    /// Asserts that the failed run left nothing behind and told people once.
    #[track_caller]
    fn is_untouched_after(&self, outcome: &Outcome) {
        self.stores_are_untouched();
        self.told_once(outcome);
    }

    #[track_caller]
    fn stores_are_untouched(&self) {
        let (local, remote) = (but_notes(self.backup.contents()), but_notes(s3::shared().contents(&self.prefix)));
        assert_eq!(names(&local), names(&self.before.0));
        assert!(local == self.before.0, "a local file has changed");
        assert_eq!(names(&remote), names(&self.before.1));
        assert!(remote == self.before.1, "an object has changed");
        assert_eq!(s3::shared().unfinished(&self.prefix), Vec::<String>::new());
    }

    #[track_caller]
    fn told_once(&self, outcome: &Outcome) {
        let notices = self.webhook.seen();
        assert_eq!(notices.len(), 1, "{}", outcome.log);
        let notice = String::from_utf8(notices[0].body.clone()).unwrap();
        assert!(notice.contains("failed") || notice.contains("partly"), "{notice}");
        for secret in [PASSWORD, s3::SECRET, "webhook-token-that-must-not-leak"] {
            assert!(!outcome.log.contains(secret) && !outcome.stdout.contains(secret), "{secret} in:\n{}", outcome.log);
            assert!(!notice.contains(secret), "{secret} in {notice}");
            for (name, bytes) in self.backup.contents() {
                let held = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!held, "{secret} in {name}");
            }
        }
    }
}

/// All but the note that people were told of a failure; there is one at most.
fn but_notes(mut contents: Files) -> Files {
    let before = contents.len();
    contents.retain(|(name, _)| !name.starts_with("backup-failed-"));
    assert!(before - contents.len() <= 1, "more than one note");
    contents
}

fn names(contents: &[(String, Vec<u8>)]) -> Vec<&String> {
    contents.iter().map(|(name, _)| name).collect()
}

/// A database of its own whose dump has so many megabytes that compress to a half.
fn database_of(megabytes: u32) -> String {
    static TEMPLATES: Mutex<BTreeMap<u32, String>> = Mutex::new(BTreeMap::new());
    let mut templates = TEMPLATES.lock().unwrap();
    let template = templates.entry(megabytes).or_insert_with(|| {
        let template = shared().database("template");
        let rows = megabytes * 1024;
        shared().sql(
            &template,
            &format!(
                "CREATE TABLE noise AS SELECT n, string_agg(md5((n * 40 + k)::text), '') AS data
             FROM generate_series(1, {rows}) AS n, generate_series(1, 32) AS k GROUP BY n"
            ),
        );
        template
    });
    let database = format!("{template}_copy_{}", NEXT_COPY.fetch_add(1, Ordering::Relaxed));
    shared().sql("postgres", &format!("CREATE DATABASE {database} TEMPLATE {template} STRATEGY file_copy"));
    database
}

static NEXT_COPY: AtomicU32 = AtomicU32::new(0);

fn small_database() -> String {
    let database = shared().database("small");
    shared().sql(&database, "CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) AS n");
    database
}

/// Processes whose command line names that text, by number.
fn processes(text: &str) -> Vec<i32> {
    let listed = Command::new("ps").args(["-eo", "pid,args"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let pid = |line: &str| line.split_whitespace().next()?.parse().ok();
    listed.lines().filter(|line| line.contains(text)).filter_map(pid).collect()
}

/// pg_dump processes of one run, told from others by the environment that only they have.
fn pg_dumps_of(backup: &Backup) -> Vec<i32> {
    let home = format!("HOME={}", backup.folder.path().display());
    let ours = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == home.as_bytes())
    };
    processes("pg_dump").into_iter().filter(ours).collect()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A front to the shared S3 server that never takes the body of a part.
fn stalling_parts() -> Front {
    Front::start(s3::shared().port, |seen, _| if is_part(seen) { Act::Stall } else { Act::Forward })
}

fn is_part(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.target.contains("partNumber=")
}

/// A run in the middle of COPY: its parts stall on their way, so that pg_dump's output has nowhere to go.
fn stalled_run(database: &str, target: &str, settings: &[(&str, &str)]) -> (Scene, Child) {
    let front = stalling_parts();
    let scene = Scene::remote(database, target, &front.url());
    let scene = settings.iter().fold(scene, |scene, (name, value)| scene.set(name, value));
    let child = scene.spawn();
    wait_for("parts to stall", || front.seen().iter().filter(|seen| is_part(seen)).count() >= 4);
    (scene, child)
}

/// pg_dump reads the rows itself, so that it is still there when they are.
const ALONE: (&str, &str) = ("BACKUP_CONNECTIONS", "1");
