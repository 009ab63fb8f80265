//! The chart's dashboard and alerts ask only for what is really exported: their queries against a real Prometheus that
//! scrapes a real daemon, the metrics file of a real run, and what kube-state-metrics shows of Jobs.

use crate::support;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use postgres_backup_job::metrics::FAMILIES;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use support::backup::Backup;
use support::daemon::Daemon;
use support::http::{Act, Front, get};
use support::postgres::shared;
use support::{Server, free_port, s3, tool, unprivileged_folder, wait_for};

fn dashboard() -> Value {
    serde_json::from_str(include_str!("../../charts/postgres-backup/files/dashboard.json")).unwrap()
}

/// Every query of the panels, with variables as Grafana would set them for "All".
fn queries(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("expr").and_then(Value::as_str).map(|expr| {
                let all = ["source", "database", "namespace", "cronjob"];
                let expr = all.iter().fold(expr.to_owned(), |expr, name| expr.replace(&format!("${name}"), ".*"));
                expr.replace("$maxAgeHours", "25")
            });
            own.into_iter().chain(fields.values().flat_map(queries)).collect()
        }
        Value::Array(items) => items.iter().flat_map(queries).collect(),
        _ => Vec::new(),
    }
}

/// A Prometheus that scrapes these addresses every second.
struct Prometheus {
    url: String,
    _server: Server,
}

impl Prometheus {
    fn start(targets: &[String]) -> Self {
        let (port, folder) = (free_port(0), unprivileged_folder());
        let path = folder.path().display().to_string();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - {{ job_name: test, honor_labels: true, static_configs: [{{ targets: {targets:?} }}] }}\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let command = format!(
            "exec '{}' --config.file='{path}/prometheus.yml' --storage.tsdb.path='{path}/data' --web.listen-address=127.0.0.1:{port}",
            tool("PROMETHEUS")
        );
        let server = Server::start(folder, "TERM", &command);
        let url = format!("http://127.0.0.1:{port}");
        wait_for("Prometheus", || get(&format!("{url}/-/ready")).is_ok_and(|(status, _)| status == 200));
        Self { url, _server: server }
    }

    /// The results of a query.
    fn ask(&self, query: &str) -> Vec<Value> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let (status, text) = get(&format!("{}/api/v1/query?query={query}", self.url)).unwrap();
        assert_eq!(status, 200, "{text}");
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(answer["data"]["result"].take()).unwrap()
    }
}

/// What kube-state-metrics shows of a CronJob with a Job that succeeded and one that failed after it.
const KUBERNETES: &str = r#"kube_cronjob_info{namespace="b",cronjob="nightly-backup"} 1
kube_cronjob_created{namespace="b",cronjob="nightly-backup"} 1000
kube_cronjob_spec_suspend{namespace="b",cronjob="nightly-backup"} 0
kube_cronjob_status_last_successful_time{namespace="b",cronjob="nightly-backup"} 2000
kube_cronjob_status_last_schedule_time{namespace="b",cronjob="nightly-backup"} 3000
kube_cronjob_next_schedule_time{namespace="b",cronjob="nightly-backup"} 4000
kube_job_owner{namespace="b",job_name="one",owner_kind="CronJob",owner_name="nightly-backup",owner_is_controller="true"} 1
kube_job_owner{namespace="b",job_name="two",owner_kind="CronJob",owner_name="nightly-backup",owner_is_controller="true"} 1
kube_job_status_start_time{namespace="b",job_name="one"} 1900
kube_job_status_start_time{namespace="b",job_name="two"} 3000
kube_job_status_completion_time{namespace="b",job_name="one"} 2000
kube_job_complete{namespace="b",job_name="one",condition="true"} 1
kube_job_failed{namespace="b",job_name="two",condition="true"} 1
kube_job_status_failed{namespace="b",job_name="two",reason="BackoffLimitExceeded"} 1
"#;

#[test]
fn every_query_of_the_dashboard_finds_what_the_program_exports() {
    let database = shared().database("dashboard");
    shared().sql(&database, "CREATE TABLE t AS SELECT n FROM generate_series(1, 100) AS n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.prom");
    let backup = Backup::of(shared(), &database)
        .to("all", &s3::shared().endpoint(), &s3::fresh_prefix())
        .set("METRICS_TEXTFILE", file.to_str().unwrap())
        .set("VERIFY_ENABLED", "true");
    backup.run(&["run"]).exits(0);
    let exported = std::fs::read_to_string(&file).unwrap() + KUBERNETES;
    let front = Front::start(0, move |_, _| Act::Answer(200, exported.clone()));
    let daemon = Daemon::start(&backup.with("BACKUP_SCHEDULE", "0 0 1 1 *"), &[]);
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let prometheus = Prometheus::start(&[address(&front.url()), address(&daemon.url)]);
    wait_for("both to be scraped", || {
        prometheus.ask("up == 1").len() == 2 && !prometheus.ask("pg_backup_storage_readable").is_empty()
    });
    let queries = queries(&dashboard());
    assert!(queries.len() > 20, "{queries:?}");
    for query in queries {
        let found = prometheus.ask(&query);
        // a comparison with last week has nothing to compare with, and none of two halves of a threshold holds for both
        let may_be_empty = query.contains("offset 1w") || query.ends_with("> 25 * 3600");
        assert!(may_be_empty || !found.is_empty(), "nothing for {query}");
    }
    // the first panel's question, answered
    let late = |hours: u32| format!("count(time() - pg_backup_last_success_timestamp_seconds > {hours} * 3600)");
    assert_eq!((prometheus.ask(&late(25)).len(), prometheus.ask(&late(0)).len()), (0, 1));
}

/// Panels that show something, those of collapsed rows too.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let own = dashboard["panels"].as_array().into_iter().flatten();
    own.flat_map(|panel| if panel["type"] == "row" { panels(panel) } else { vec![panel] }).collect()
}

#[test]
fn grafana_can_import_the_dashboard_and_no_panel_hides_another() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    assert!(["uid", "title"].iter().all(|name| !dashboard[name].as_str().unwrap().is_empty()));
    let rows = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] == "row");
    let all: Vec<&Value> = panels(&dashboard).into_iter().chain(rows).collect();
    let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "panels have ids of their own");
    let mut taken = std::collections::BTreeMap::new();
    for panel in &all {
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{name} of {panel:#}"));
        let (x, y, width, height) = (place("x"), place("y"), place("w"), place("h"));
        assert!(width > 0 && height > 0 && x + width <= 24, "{}", panel["title"]);
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            let other = taken.insert(cell, &panel["title"]);
            assert!(other.is_none(), "{} lies on {}", panel["title"], other.unwrap());
        }
    }
    for panel in panels(&dashboard) {
        let (title, targets) = (&panel["title"], panel["targets"].as_array().unwrap());
        assert!(!title.as_str().unwrap().is_empty() && !targets.is_empty(), "{title}");
        let names: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(names.len(), targets.len(), "the queries of {title} have names of their own");
        assert!(targets.iter().all(|target| !target["expr"].as_str().unwrap().is_empty()), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
    }
    // what starts with two underscores is Grafana's own, and a number is a group of a regular expression
    let declared = dashboard["templating"]["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap());
    let declared: BTreeSet<&str> = declared.collect();
    let text = dashboard.to_string();
    for rest in text.split('$').skip(1) {
        let rest = rest.trim_start_matches('{');
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
        let is_group = name.chars().all(|c| c.is_ascii_digit());
        assert!(is_group || name.starts_with("__") || declared.contains(name), "no variable is called {name}");
    }
}

#[test]
fn every_query_of_the_dashboard_is_promql() {
    let rule = |(number, expr): (usize, String)| json!({ "record": format!("dashboard:query_{number}"), "expr": expr });
    let rules: Vec<Value> = queries(&dashboard()).into_iter().enumerate().map(rule).collect();
    assert!(rules.len() > 20);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.json");
    std::fs::write(&file, json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string()).unwrap();
    let output = Command::new(tool("PROMTOOL")).args(["check", "rules"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

#[test]
fn dashboard_and_alerts_name_no_metric_that_does_not_exist() {
    let exported: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let alerts = include_str!("../../charts/postgres-backup/templates/_alerts.tpl");
    let dashboard = dashboard().to_string();
    for text in [alerts, &dashboard] {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("pg_backup_")).collect();
        assert!(asked.len() > 5);
        assert!(asked.is_subset(&exported), "{:?}", asked.difference(&exported));
    }
}
