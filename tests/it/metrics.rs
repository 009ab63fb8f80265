//! Metrics where Prometheus finds them: a file, and a real Pushgateway.

use crate::support;

use support::backup::Backup;
use support::http::get;
use support::postgres::{Postgres, shared};
use support::{Server, free_port, lint_metrics, s3, tool, unprivileged_folder, wait_for};

/// Value of the series of that family with all these labels.
#[track_caller]
fn value(text: &str, family: &str, labels: &[&str]) -> Option<f64> {
    let name = format!("pg_backup_{family}{{");
    let fits = |line: &&str| line.starts_with(&name) && labels.iter().all(|label| line.contains(label));
    let mut lines = text.lines().filter(fits);
    let found = lines.next().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap());
    assert!(lines.next().is_none(), "several series of {family} {labels:?} in\n{text}");
    found
}

fn backup(postgres: &Postgres, database: &str) -> Backup {
    Backup::of(postgres, database).set("BACKUP_SOURCE", "shop-db").set("RETRY_COUNT", "1")
}

struct Pushgateway {
    url: String,
    _server: Server,
}

impl Pushgateway {
    fn start() -> Self {
        let (port, folder) = (free_port(0), unprivileged_folder());
        let command = format!("exec '{}' --web.listen-address=127.0.0.1:{port}", tool("PUSHGATEWAY"));
        let server = Server::start(folder, "TERM", &command);
        let url = format!("http://127.0.0.1:{port}");
        wait_for("the Pushgateway", || get(&format!("{url}/-/ready")).is_ok_and(|(status, _)| status == 200));
        Self { url, _server: server }
    }

    fn text(&self) -> String {
        let (status, text) = get(&format!("{}/metrics", self.url)).unwrap();
        assert_eq!(status, 200);
        text
    }
}

#[test]
fn a_file_tells_of_runs_and_verifications_and_a_failure_takes_no_success_away() {
    let database = shared().database("metrics");
    shared().sql(&database, "CREATE TABLE t AS SELECT n FROM generate_series(1, 250) AS n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup.prom");
    let backup = backup(shared(), &database)
        .to("all", &s3::shared().endpoint(), &s3::fresh_prefix())
        .set("METRICS_TEXTFILE", path.to_str().unwrap());
    let text = || std::fs::read_to_string(&path).unwrap();
    backup.run(&["run"]).exits(0);
    lint_metrics(&text());
    let labels = [format!("database=\"{database}\""), "source=\"shop-db\"".to_owned()];
    let read = |family: &str, more: &str| value(&text(), family, &[&labels[0], &labels[1], more]);
    for target in ["target=\"local\"", "target=\"remote\""] {
        assert_eq!(read("status", target), Some(1.0));
        assert_eq!(read("rows", target), Some(250.0));
        assert_eq!(read("backups", target), Some(1.0));
        let (success, completion) =
            (read("last_success_timestamp_seconds", target), read("last_completion_timestamp_seconds", target));
        assert!(success.unwrap() <= completion.unwrap() && success.unwrap() > 1.7e9);
    }
    let manifest = backup.manifest();
    assert_eq!(read("stored_bytes", "local"), manifest["stored_bytes"].as_f64());
    assert_eq!(read("source_bytes", "remote"), manifest["raw_bytes"].as_f64());
    assert!(read("duration_seconds", "stage=\"dump\"").unwrap() > 0.0);
    assert_eq!(value(&text(), "run_status", &[]), Some(1.0));
    assert_eq!(read("verification_status", ""), None);
    let capacity = value(&text(), "storage_capacity_bytes", &["target=\"local\""]).unwrap();
    assert!(value(&text(), "storage_used_bytes", &["target=\"local\""]).unwrap() < capacity);

    backup.verify(&[], 0);
    assert_eq!(read("verification_status", ""), Some(1.0));
    assert_eq!(read("status", "target=\"remote\""), Some(1.0), "a verification says nothing of the run");
    lint_metrics(&text());

    let before = read("last_success_timestamp_seconds", "target=\"remote\"");
    backup.with("POSTGRES_PORT", "1").run(&["run"]).exits(69);
    assert_eq!(value(&text(), "run_status", &[]), Some(0.0));
    assert_eq!(read("last_success_timestamp_seconds", "target=\"remote\""), before);
    // a store that is away says nothing, and nothing is taken from it
    backup.with("REMOTE_ENDPOINT", "http://127.0.0.1:1").run(&["run"]).exits(1);
    assert_eq!((read("status", "target=\"local\""), read("status", "target=\"remote\"")), (Some(1.0), Some(0.0)));
    assert_eq!(read("last_success_timestamp_seconds", "target=\"remote\""), before);
    assert!(read("last_success_timestamp_seconds", "target=\"local\"") > before);
    lint_metrics(&text());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left in the folder");

    let nowhere = folder.path().join("not there/x.prom").display().to_string();
    backup.with("METRICS_TEXTFILE", &nowhere).run(&["run"]).exits(0).says("check METRICS_TEXTFILE");
    backup.with("METRICS_TEXTFILE", "backup.txt").run(&["run"]).exits(0).says("does not end in .prom");
}

#[test]
fn a_pushgateway_keeps_each_database_for_itself_whatever_it_is_called() {
    let gateway = Pushgateway::start();
    let postgres = Postgres::start(&tool("PG_BIN"));
    let names = ["shop", "a/b c", "..", "ünï\"\\ x"];
    for name in names {
        postgres.sql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")));
        postgres.sql(name, "CREATE TABLE t AS SELECT n FROM generate_series(1, 10) AS n");
    }
    let url = gateway.url.replace("http://", "http://user:password@");
    let backup = backup(&postgres, "postgres").set("BACKUP_DATABASES", "all").set("PUSHGATEWAY_URL", &url);
    let outcome = backup.run(&["run"]).exits(0);
    assert!(!outcome.log.contains("WARN"), "{}", outcome.log);
    let text = gateway.text();
    let own: Vec<&str> = text.lines().filter(|line| line.contains("pg_backup_")).collect();
    lint_metrics(&(own.join("\n") + "\n"));
    let label = |name: &str| format!("database=\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    let success = |name: &str| value(&gateway.text(), "last_success_timestamp_seconds", &[&label(name)]).unwrap();
    let before: Vec<f64> = names.iter().map(|name| success(name)).collect();
    assert_eq!(value(&text, "rows", &[&label("a/b c")]), Some(10.0));

    // one alone, and then one that fails beside others that do not
    backup.run(&["run", "--database", "shop"]).exits(0);
    assert!(success("shop") > before[0]);
    assert_eq!(success(".."), before[2]);
    postgres.sql("shop", "CREATE ROLE limited LOGIN PASSWORD 'x'; GRANT pg_read_all_data TO limited");
    postgres.sql("postgres", "ALTER DATABASE \"a/b c\" ALLOW_CONNECTIONS false");
    backup.with("BACKUP_DATABASES", "shop,a/b c").run(&["run"]).exits(1);
    assert_eq!(success("a/b c"), before[1]);
    assert_eq!(value(&gateway.text(), "status", &[&label("a/b c"), "target"]), Some(0.0));
    backup.with("POSTGRES_PORT", "1").run(&["run"]).exits(69);
    assert_eq!(success("ünï\"\\ x"), before[3]);
    assert_eq!(value(&gateway.text(), "run_status", &["source=\"shop-db\""]), Some(0.0));
}

#[test]
fn a_database_that_is_excluded_leaves_the_file_and_one_that_never_was_is_not_said_to_have_backups() {
    let postgres = Postgres::start(&tool("PG_BIN"));
    for name in ["one", "two"] {
        postgres.sql("postgres", &format!("CREATE DATABASE {name}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup.prom");
    let backup = backup(&postgres, "postgres").set("BACKUP_DATABASES", "one,two").set("BACKUP_GLOBALS", "false");
    let backup = backup.set("METRICS_TEXTFILE", path.to_str().unwrap());
    let has_two = || std::fs::read_to_string(&path).unwrap().contains("database=\"two\"");
    backup.run(&["run"]).exits(0);
    postgres.sql("postgres", "DROP DATABASE two");
    let gone = backup.run(&["run"]).exits(1).log;
    assert!(has_two() && gone.contains("the database two has backups but is no longer on the server"), "{gone}");
    let never = backup.with("BACKUP_DATABASES", "one,never").run(&["run"]).exits(1).log;
    assert!(never.contains("never") && !never.contains("never has backups"), "{never}");
    backup.with("BACKUP_EXCLUDE_DATABASES", "two").run(&["run"]).exits(0);
    assert!(!has_two(), "{}", std::fs::read_to_string(&path).unwrap());
}
