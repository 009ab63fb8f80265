//! Every fault provoked for real, and what is left after it: the right exit code, nothing under a final name, no
//! unfinished upload, older backups untouched, nothing pruned, no child alive, one notice, no secret anywhere.

use crate::support;

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::backup::{Backup, Outcome, finish};
use support::http::{Act, Front, Seen};
use support::postgres::{PASSWORD, Postgres, shared};
use support::{s3, tool, wait_for};

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

/// A folder with a `pg_dump` of our own that ends badly; everything else is the real thing.
fn broken_pg_dump(scene: &Scene, body: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let folder = scene.backup.folder.path().join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let real = format!("{}/pg_dump", shared().bin);
    let script =
        format!("#!/bin/bash\nif [ \"$1\" = --version ]; then exec {real} --version; fi\nreal={real}\n{body}\n");
    let path = folder.join("pg_dump");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder.to_str().unwrap().to_owned()
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

#[test]
fn pg_dump_that_exits_1_after_30_mb_leaves_nothing() {
    let database = database_of(40);
    let scene = Scene::remote(&database, "all", &s3::shared().endpoint());
    let bin =
        broken_pg_dump(&scene, "$real \"$@\" | head -c 30000000\necho 'pg_dump: error: something broke' >&2\nexit 1");
    let scene = scene.set("PG_BIN_DIR", &bin);
    let outcome = scene.run().exits(74).says("exit status: 1").says("something broke");
    scene.is_untouched_after(&outcome);
}

#[test]
fn pg_dump_that_exits_0_without_its_end_leaves_nothing() {
    let database = database_of(2);
    for format in ["plain", "custom"] {
        let scene = Scene::local(&database);
        let bin = broken_pg_dump(&scene, "$real \"$@\" | head -c 500000\nexit 0");
        let scene = scene.set("PG_BIN_DIR", &bin).set("BACKUP_FORMAT", format);
        let outcome = scene.run().exits(74).says("pg_dump exited 0, but");
        scene.is_untouched_after(&outcome);
    }
}

/// pg_dump reads the rows itself, so that it is still there when they are.
const ALONE: (&str, &str) = ("BACKUP_CONNECTIONS", "1");

#[test]
fn pg_dump_killed_by_a_signal_leaves_nothing() {
    let database = database_of(160);
    let (scene, child) = stalled_run(&database, "all", &[("STALL_TIMEOUT", "6s"), ALONE]);
    for pid in pg_dumps_of(&scene.backup) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    let outcome = finish(child).exits(74).says("signal: 9");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_backend_terminated_during_copy_leaves_nothing() {
    let database = database_of(160);
    // pg_dump learns of it when the stalled target lets go
    let (scene, child) = stalled_run(&database, "all", &[("STALL_TIMEOUT", "6s"), ALONE]);
    let terminated = shared().sql("postgres", &format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}' AND query LIKE 'COPY%'"
    ));
    assert_eq!(terminated, "1");
    let outcome = finish(child).exits(74).says("Dumping the contents of table \"noise\" failed");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_backend_terminated_while_the_local_side_writes_names_the_cause() {
    let database = database_of(60);
    let scene = Scene::local(&database);
    // the real pg_dump, slowed down so that COPY lasts
    let bin = broken_pg_dump(
        &scene,
        "set -o pipefail; $real \"$@\" | while IFS= read -r line; do printf '%s\\n' \"$line\"; done",
    );
    let scene = scene.set("PG_BIN_DIR", &bin).set(ALONE.0, ALONE.1);
    let child = scene.spawn();
    wait_for("COPY", || {
        let terminate = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}' AND query LIKE 'COPY%'"
        );
        shared().sql("postgres", &terminate) == "1"
    });
    let outcome = finish(child).exits(74).says("Dumping the contents of table \"noise\" failed");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_wrong_password_is_not_tried_twice_and_exits_77() {
    let scene = Scene::local(&small_database());
    let scene = scene.set("POSTGRES_PASSWORD", "wrong").set("RETRY_DELAY", "60");
    let started = Instant::now();
    let outcome = scene.run().exits(77).says("password authentication failed").says("POSTGRES_PASSWORD");
    assert!(started.elapsed() < Duration::from_secs(30));
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_server_that_starts_10_seconds_late_is_waited_for() {
    let mut postgres = Postgres::prepare(&tool("PG_BIN"));
    let backup = Backup::of(&postgres, "postgres").set("RETRY_COUNT", "30").set("RETRY_DELAY", "1");
    let started = Instant::now();
    let child = backup.spawn(&[]);
    std::thread::sleep(Duration::from_secs(10));
    postgres.launch_without_waiting();
    finish(child).exits(0).says("attempt 1 of 30");
    assert!(started.elapsed() >= Duration::from_secs(10));
}

#[test]
fn a_server_that_never_starts_exits_69_and_names_it() {
    let scene = Scene::local(&small_database());
    let port = support::free_port(0).to_string();
    let scene = scene.set("POSTGRES_PORT", &port);
    let outcome = scene.run().exits(69).says(&format!("127.0.0.1:{port}")).says("POSTGRES_HOST");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_server_newer_than_every_client_is_refused_before_the_dump_with_both_versions() {
    let newer = Postgres::start(&tool("PG18_BIN"));
    let backup = Backup::of(&newer, "postgres").set("PG_BIN_DIR", &tool("PG17_BIN"));
    backup.run(&[]).exits(78).says("18.6").says("17.10").says("PG_BIN_DIR");
    assert_eq!(backup.files(), Vec::<String>::new());
}

#[test]
fn a_role_that_may_not_read_a_table_is_refused_before_the_dump_with_the_remedy() {
    let database = small_database();
    shared().sql(
        &database,
        "DO $$ BEGIN CREATE ROLE weak LOGIN PASSWORD 'weak'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    );
    let scene = Scene::local(&database);
    let scene = scene.set("POSTGRES_USER", "weak").set("POSTGRES_PASSWORD", "weak");
    let outcome = scene.run().exits(77).says("table public.t").says("pg_read_all_data");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_table_locked_for_too_long_fails_with_the_setting_to_change() {
    let database = small_database();
    let scene = Scene::local(&database);
    let lock = shared().lock_table(&database);
    let scene = scene.set("BACKUP_LOCK_TIMEOUT", "1s");
    let outcome = scene.run().exits(74).says("BACKUP_LOCK_TIMEOUT");
    drop(lock);
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_full_disk_is_named_and_leaves_the_disk_as_it_was() {
    let database = database_of(60);
    let scene = Scene::local(&database);
    let mount = scene.backup.folder.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let listing = scene.backup.folder.path().join("left");
    // the tmpfs lives and dies with the namespace, so what is left on it is listed inside
    let script = format!(
        "mount -t tmpfs -o size=8m tmpfs '{0}' && \"$@\"; code=$?; find '{0}' -type f ! -name 'backup-failed-*' >'{1}'; exit $code",
        mount.display(),
        listing.display()
    );
    let backup =
        scene.backup.under(&["unshare", "-Urm", "sh", "-c", &script, "sh"]).set("BACKUP_DIR", mount.to_str().unwrap());
    let outcome = backup.run(&[]).exits(74).says("No space left on device").says("BACKUP_DIR");
    assert_eq!(std::fs::read_to_string(&listing).unwrap(), "");
    assert_eq!(scene.webhook.seen().len(), 1, "{}", outcome.log);
    assert_eq!(pg_dumps_of(&backup), Vec::<i32>::new());
}

#[test]
fn a_full_disk_under_all_keeps_the_remote_backup() {
    let database = database_of(60);
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &database).to("all", &s3::shared().endpoint(), &prefix);
    let mount = backup.folder.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let script = format!("mount -t tmpfs -o size=8m tmpfs '{}' && exec \"$@\"", mount.display());
    let backup =
        backup.under(&["unshare", "-Urm", "sh", "-c", &script, "sh"]).set("BACKUP_DIR", mount.to_str().unwrap());
    backup.run(&[]).exits(1).says("No space left on device").says("partly done");
    assert_eq!(s3::shared().keys(&prefix).len(), 4);
}

#[test]
fn two_sources_with_the_same_database_in_one_bucket_leave_each_other_alone() {
    let database = small_database();
    let (prefix, endpoint) = (s3::fresh_prefix(), s3::shared().endpoint());
    let folder = tempfile::tempdir().unwrap();
    let of = |source: &str| {
        Backup::of(shared(), &database)
            .to("all", &endpoint, &prefix)
            .set("BACKUP_DIR", folder.path().to_str().unwrap())
            .set("BACKUP_SOURCE", source)
            .set("BACKUP_RETENTION_DAILY", "1")
    };
    let (one, two) = (of("one"), of("two"));
    for _ in 0..2 {
        one.run(&["run", "--type", "daily"]).exits(0);
    }
    let theirs = || -> Vec<String> {
        let list = two.run(&["list", "--json", "--source", "one", "--location", "all"]).exits(0).stdout;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        list["backups"].as_array().unwrap().iter().map(ToString::to_string).collect()
    };
    let before = theirs();
    // a leftover of the first that the second's sweep must not touch
    std::fs::write(
        folder.path().join("left.sql.gz.pending"),
        br#"{"version":1,"source":"one","run_id":"dead","written":"2020-01-01T00:00:00Z"}"#,
    )
    .unwrap();
    for _ in 0..3 {
        two.run(&["run", "--type", "daily"]).exits(0);
    }
    assert_eq!(theirs(), before);
    assert!(folder.path().join("left.sql.gz.pending").exists());
    let plan = two.run(&["prune", "--dry-run"]).exits(0).stdout;
    assert_eq!(plan.lines().count(), 2, "{plan}");
    one.run(&["run", "--type", "daily"]).exits(0);
    assert!(!folder.path().join("left.sql.gz.pending").exists());
}

#[test]
fn a_store_that_accepts_no_byte_is_dropped_and_the_other_target_kept() {
    let database = database_of(160);
    let front = stalling_parts();
    let scene = Scene::remote(&database, "all", &front.url());
    let scene = scene.set("STALL_TIMEOUT", "3s");
    let started = Instant::now();
    let outcome = scene.run().exits(1).says("STALL_TIMEOUT").says("nothing is pruned");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    scene.told_once(&outcome);
    assert_eq!(scene.backup.files_but_notes().len(), 12);
    assert_eq!(but_notes(s3::shared().contents(&scene.prefix)).len(), 8);
    assert_eq!(s3::shared().unfinished(&scene.prefix), Vec::<String>::new());
}

#[test]
fn a_store_that_accepts_no_byte_as_the_only_target_fails_in_time() {
    let front = Front::start(s3::shared().port, |seen, _| {
        if seen.method == "PUT" && !seen.target.contains(".pending") { Act::Stall } else { Act::Forward }
    });
    let scene = Scene::remote(&small_database(), "remote", &front.url());
    let scene = scene.set("STALL_TIMEOUT", "3s");
    let started = Instant::now();
    let outcome = scene.run().exits(69).says("STALL_TIMEOUT");
    assert!(started.elapsed() < Duration::from_secs(30));
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_store_that_is_down_exits_69_alone_and_1_beside_a_local_backup() {
    let closed = format!("http://127.0.0.1:{}", support::free_port(0));
    let database = small_database();
    let alone = Scene::remote(&database, "remote", &closed);
    let outcome = alone.run().exits(69).says("REMOTE_ENDPOINT");
    alone.is_untouched_after(&outcome);
    let beside = Scene::remote(&database, "all", &closed);
    let outcome = beside.run().exits(1).says("nothing is pruned");
    beside.told_once(&outcome);
    assert_eq!(beside.backup.files_but_notes().len(), 12);
}

#[test]
fn a_store_that_is_busy_for_a_while_is_waited_for() {
    let front = Front::start(s3::shared().port, |_, before| {
        // every other request, so that each kind of request meets it
        if before % 2 == 0 { Act::Answer(503, "<Error><Code>SlowDown</Code></Error>".to_owned()) } else { Act::Forward }
    });
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &database_of(60)).to("remote", &front.url(), &prefix).set("RETRY_COUNT", "12");
    backup.run(&[]).exits(0);
    assert_eq!(s3::shared().keys(&prefix).len(), 4);
    assert_eq!(s3::shared().unfinished(&prefix), Vec::<String>::new());
}

#[test]
fn a_connection_reset_in_a_part_is_repaired_once_and_fatal_for_ever() {
    let database = database_of(60);
    let once = Front::start(s3::shared().port, |seen, _| Act::Forward.unless(is_part(seen) && first_time()));
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &database).to("remote", &once.url(), &prefix);
    backup.run(&[]).exits(0);
    let archive = s3::shared().contents(&prefix).into_iter().find(|(key, _)| key.ends_with(".sql.gz")).unwrap().1;
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&archive[..]), &mut plain).unwrap();
    assert!(String::from_utf8_lossy(&plain[plain.len() - 300..]).contains("PostgreSQL database dump complete"));

    let always = Front::start(s3::shared().port, |seen, _| if is_part(seen) { Act::Cut } else { Act::Forward });
    let scene = Scene::remote(&database, "remote", &always.url());
    let outcome = scene.run().exits(69);
    scene.is_untouched_after(&outcome);
}

trait Unless {
    fn unless(self, cut: bool) -> Act;
}

impl Unless for Act {
    fn unless(self, cut: bool) -> Act {
        if cut { Act::Cut } else { self }
    }
}

/// True at the first call of this process.
fn first_time() -> bool {
    static CALLED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    !CALLED.swap(true, std::sync::atomic::Ordering::SeqCst)
}

#[test]
fn an_error_inside_a_200_on_complete_is_no_success() {
    let error = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InternalError</Code><Message>try again</Message></Error>";
    let front = Front::start(s3::shared().port, move |seen, _| {
        let complete = seen.method == "POST" && seen.target.contains("uploadId=");
        if complete { Act::Answer(200, error.to_owned()) } else { Act::Forward }
    });
    let scene = Scene::remote(&database_of(60), "remote", &front.url());
    let outcome = scene.run().exits(69).says("InternalError");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_complete_whose_answer_was_lost_is_recognized() {
    let front = Front::start(s3::shared().port, move |seen, _| {
        let complete = seen.method == "POST" && seen.target.contains("uploadId=");
        if complete { Act::ForwardAndAnswer(503, String::new()) } else { Act::Forward }
    });
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &database_of(60)).to("remote", &front.url(), &prefix);
    backup.run(&[]).exits(0);
    assert_eq!(s3::shared().keys(&prefix).len(), 4);
}

#[test]
fn a_store_that_loses_what_it_took_is_caught() {
    // it answers every PUT of the archive with success and keeps nothing
    let front = Front::start(s3::shared().port, |seen, _| {
        if seen.method == "PUT" && seen.target.contains(".sql.gz?x-id=PutObject") {
            Act::Answer(200, String::new())
        } else {
            Act::Forward
        }
    });
    let scene = Scene::remote(&small_database(), "remote", &front.url());
    let outcome = scene.run().exits(74);
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_wrong_key_exits_77_and_a_missing_bucket_69_each_with_the_setting() {
    let database = small_database();
    let scene = Scene::remote(&database, "remote", &s3::shared().endpoint());
    let scene = scene.set("REMOTE_SECRET_KEY", "wrong-key");
    let outcome = scene.run().exits(77).says("REMOTE_SECRET_KEY");
    scene.is_untouched_after(&outcome);
    let scene = Scene::remote(&database, "remote", &s3::shared().endpoint());
    let scene = scene.set("REMOTE_BUCKET", "no-such-bucket");
    let outcome = scene.run().exits(69).says("REMOTE_BUCKET");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_store_without_the_right_to_delete_still_takes_backups() {
    let front = Front::start(s3::shared().port, |seen, _| {
        let denied = "<Error><Code>AccessDenied</Code></Error>".to_owned();
        if seen.method == "DELETE" { Act::Answer(403, denied) } else { Act::Forward }
    });
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &small_database()).to("remote", &front.url(), &prefix);
    for _ in 0..2 {
        backup.run(&[]).exits(0).says("AccessDenied");
    }
    let list = backup.run(&["list", "--json"]).exits(0).stdout;
    assert_eq!(list.matches("\"id\"").count(), 2, "{list}");
}

#[test]
fn a_remote_side_that_cannot_even_be_tried_does_not_cost_the_local_backup() {
    let scene = Scene::local(&small_database());
    let empty = scene.backup.folder.path().join("no-certificate.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let backup = scene.backup.set("BACKUP_TARGET", "all").set("REMOTE_ENDPOINT", "https://127.0.0.1:1");
    let scene = Scene { backup: backup.set("REMOTE_CA_FILE", empty.to_str().unwrap()), ..scene };
    let outcome = scene.run().exits(1);
    scene.told_once(&outcome);
    assert_eq!(scene.backup.files_but_notes().len(), 12);
}

#[test]
fn a_manifest_without_its_archive_protects_nothing_from_the_floor() {
    let backup = Backup::of(shared(), &small_database()).set("BACKUP_RETENTION_DAILY", "1");
    backup.run(&["run", "--type", "daily"]).exits(0);
    let good = backup.archive();
    let backup = backup.set("BACKUP_RETENTION_DAILY", "7");
    backup.run(&["run", "--type", "daily"]).exits(0);
    let archives = backup.files().into_iter().filter(|file| file.ends_with(".sql.gz"));
    let newer = archives.map(|file| backup.path().join(file)).find(|path| *path != good).unwrap();
    std::fs::remove_file(newer).unwrap();
    let backup = backup.set("BACKUP_RETENTION_DAILY", "1");
    let plan = backup.run(&["prune", "--dry-run"]).exits(0).says("differs in length").stdout;
    let id = good.file_name().unwrap().to_str().unwrap().trim_end_matches(".sql.gz").to_owned();
    assert!(plan.lines().any(|line| line.contains(&id) && line.contains("keep")), "{plan}");
}

#[test]
fn sigterm_in_the_dump_and_in_the_upload_cleans_up_in_time() {
    let database = database_of(160);
    for (stop, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (scene, child) = stalled_run(&database, "all", &[]);
        let asked = Instant::now();
        signal(&child, stop);
        let outcome = finish(child).exits(code);
        assert!(asked.elapsed() < Duration::from_secs(18), "{:?}", asked.elapsed());
        assert_eq!(pg_dumps_of(&scene.backup), Vec::<i32>::new());
        scene.is_untouched_after(&outcome);
    }
}

#[test]
fn sigterm_while_waiting_for_a_lock_or_a_server_ends_at_once() {
    let database = small_database();
    let scene = Scene::local(&database);
    let scene = Scene {
        backup: scene.backup.set("RETRY_COUNT", "100").set("RETRY_DELAY", "5").set("POSTGRES_PORT", "1"),
        ..scene
    };
    let child = scene.spawn();
    wait_for("the run", || processes(scene.backup.folder.path().to_str().unwrap()).is_empty());
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::TERM);
    let outcome = finish(child).exits(143);
    scene.is_untouched_after(&outcome);
}

#[test]
fn after_sigkill_in_mid_upload_the_next_run_leaves_no_trace_of_it() {
    let database = database_of(160);
    let (scene, mut child) = stalled_run(&database, "all", &[]);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    // nothing that looks like a backup, and older ones as they were
    let list = scene.backup.run(&["list", "--json", "--location", "local"]).exits(0).stdout;
    assert_eq!(list.matches("\"id\"").count(), 2);
    wait_for("the dead run's pg_dump to end", || pg_dumps_of(&scene.backup).is_empty());
    wait_for("the dead run's session to end", || {
        shared().sql("postgres", &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'")) == "0"
    });

    let endpoint = s3::shared().endpoint();
    let next = scene.set("REMOTE_ENDPOINT", &endpoint).set("BACKUP_RETENTION_DAILY", "7");
    next.run().exits(0).says("left unfinished");
    assert_eq!(next.backup.files_but_notes().len(), 12, "{:?}", next.backup.files());
    assert_eq!(s3::shared().keys(&next.prefix).len(), 12);
    assert_eq!(s3::shared().unfinished(&next.prefix), Vec::<String>::new());
}

#[test]
fn a_second_run_at_the_same_time_exits_75_and_changes_nothing() {
    let database = database_of(160);
    let (scene, child) = stalled_run(&database, "remote", &[]);
    let pending = s3::shared().keys(&scene.prefix);
    scene.run().exits(75).says("another run holds the lock");
    assert_eq!(s3::shared().keys(&scene.prefix), pending);
    signal(&child, Signal::TERM);
    finish(child).exits(143);
    scene.stores_are_untouched();
}

#[test]
fn a_run_past_its_deadline_is_ended_and_cleaned_up() {
    let database = database_of(160);
    let front = stalling_parts();
    let scene = Scene::remote(&database, "remote", &front.url());
    let scene = scene.set("BACKUP_TIMEOUT", "4s");
    let outcome = scene.run().exits(74).says("BACKUP_TIMEOUT");
    scene.is_untouched_after(&outcome);
}

#[test]
fn a_table_dropped_while_pg_dump_starts_is_dumped_again_under_a_new_snapshot() {
    let database = small_database();
    let scene = Scene::local(&database);
    let marker = scene.backup.folder.path().join("first");
    // the first pg_dump fails as PostgreSQL does when a table vanishes under it
    let body = format!(
        "if [ ! -e '{0}' ]; then touch '{0}'; echo 'pg_dump: error: query failed: ERROR:  could not open relation with OID 1' >&2; exit 1; fi\nexec $real \"$@\"",
        marker.display()
    );
    let bin = broken_pg_dump(&scene, &body);
    let scene = scene.set("PG_BIN_DIR", &bin).set("BACKUP_RETENTION_DAILY", "7");
    scene.run().exits(0).says("trying once more");
    assert_eq!(scene.backup.files_but_notes().len(), 12);
}

#[test]
fn secrets_are_never_in_the_arguments_of_a_process() {
    let database = database_of(160);
    let (scene, child) = stalled_run(&database, "remote", &[ALONE]);
    assert!(!pg_dumps_of(&scene.backup).is_empty());
    for secret in [PASSWORD, "webhook-token"] {
        assert_eq!(processes(secret), Vec::<i32>::new());
    }
    signal(&child, Signal::TERM);
    finish(child).exits(143);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_the_dump() {
    if tool("UNPRIVILEGED").is_empty() {
        let scene = Scene::local(&small_database());
        let scene = scene.set("BACKUP_DIR", "/proc/backups");
        scene.run().exits(77);
        return;
    }
    // root may write anywhere, so the run drops to another user
    let scene = Scene::local(&small_database());
    let refused = Path::new("/proc/1/backups");
    let backup = scene.backup.set("BACKUP_DIR", refused.to_str().unwrap());
    let outcome = backup.run(&[]);
    assert!([74, 77].contains(&outcome.code), "{}", outcome.log);
    assert!(outcome.log.contains("/proc/1/backups"), "{}", outcome.log);
}
