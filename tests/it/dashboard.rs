//! The chart's dashboard and alerts ask only for what is really exported: their queries against a real Prometheus that
//! scrapes a real daemon, the metrics file of a real run, and what kube-state-metrics shows of Jobs.

use crate::support;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use postgres_backup_job::metrics::FAMILIES;
use serde_json::Value;
use std::collections::BTreeSet;
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
