//! The chart's pods run for real: the image, with exactly the environment, mounts, user, read-only root and limits that Helm
//! rendered, in Docker containers against a real PostgreSQL and a real S3 server. `make pod-test` names the image.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};
use support::cluster::{Cluster, NAMESPACE};
use support::postgres::{PASSWORD, Postgres, USER};
use support::{s3, tool, wait_for};

fn image() -> (String, String) {
    let image = std::env::var("BACKUP_IMAGE").expect("BACKUP_IMAGE names no image: make pod-test");
    let (repository, tag) = image.rsplit_once(':').expect("BACKUP_IMAGE has no tag");
    (repository.to_owned(), tag.to_owned())
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server of the major whose client tools the image has, with the sample shop.
fn shop() -> (Postgres, String) {
    let postgres = Postgres::start(&tool("PG17_BIN"));
    let database = postgres.database("shop");
    for file in ["init-scripts/01-schema.sql", "init-scripts/02-data.sql"] {
        postgres.sql(&database, &std::fs::read_to_string(file).unwrap());
    }
    (postgres, database)
}

fn values(postgres: &Postgres, database: &str, prefix: &str) -> String {
    let (repository, tag) = image();
    format!(
        "image: {{ repository: {repository}, tag: {tag}, pullPolicy: Never }}
settings:
  POSTGRES_HOST: 127.0.0.1
  POSTGRES_PORT: {}
  POSTGRES_USER: {USER}
  POSTGRES_DB: {database}
  BACKUP_SOURCE: shop
  REMOTE_ENDPOINT: {}
  REMOTE_BUCKET: {}
  REMOTE_PREFIX: {prefix}
verify:
  enabled: true
  location: remote
  server:
    image: {{ repository: postgres, tag: '17', pullPolicy: Never }}
    securityContext: {{ runAsUser: {postgres_user}, runAsGroup: {postgres_group} }}
",
        postgres.port,
        s3::shared().endpoint(),
        s3::BUCKET,
        postgres_user = docker(&["run", "--rm", "--entrypoint", "id", "postgres:17", "-u", "postgres"]),
        postgres_group = docker(&["run", "--rm", "--entrypoint", "id", "postgres:17", "-g", "postgres"]),
    )
}

fn deploy(cluster: &Cluster, values: &str) {
    cluster.make("k8s-ns", &[]).exits(0);
    let (access, secret) = (s3::ACCESS, s3::SECRET);
    let secrets = format!("POSTGRES_PASSWORD={PASSWORD}\nREMOTE_ACCESS_KEY={access}\nREMOTE_SECRET_KEY={secret}\n");
    let file = cluster.write("env", &secrets);
    cluster.make("k8s-secret", &[&format!("ENV_FILE={file}")]).exits(0);
    let file = cluster.write("values.yaml", values);
    cluster.make("k8s-deploy", &[&format!("VALUES={file}")]).exits(0);
}

/// Runs a Job of a CronJob to its end, and returns its container as Docker had it, and its log.
#[track_caller]
fn run(cluster: &Cluster, cronjob: &str, job: &str) -> (serde_json::Value, String) {
    cluster.kubectl(&["create", "job", job, &format!("--from=cronjob/{cronjob}")]).exits(0);
    let mut found = None;
    wait_for("the container", || {
        found = container(job);
        found.is_some()
    });
    wait_for_end(cluster, job);
    let log = cluster.kubectl(&["logs", &format!("job/{job}"), "--container", "backup"]).stdout;
    assert_eq!(cluster.exit_codes(job), [0], "{log}");
    (found.unwrap(), log)
}

/// The running container of a Job's program.
fn container(job: &str) -> Option<serde_json::Value> {
    let (repository, tag) = image();
    let ids = docker(&["ps", "--quiet", "--filter", &format!("ancestor={repository}:{tag}")]);
    ids.lines().find_map(|id| {
        // it may be gone by now
        let output = Command::new("docker").args(["inspect", id]).output().unwrap().stdout;
        let container = serde_json::from_slice::<Vec<serde_json::Value>>(&output).ok()?.pop()?;
        container["Config"]["Hostname"].as_str()?.starts_with(job).then_some(container)
    })
}

fn wait_for_end(cluster: &Cluster, job: &str) {
    let conditions = || cluster.get(&["job", job], ".status.conditions[*].type");
    let end = Instant::now() + Duration::from_secs(240);
    while !["Complete", "Failed"].iter().any(|end| conditions().split(' ').any(|condition| condition == *end)) {
        assert!(Instant::now() < end, "{job} does not end");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_backup_is_made_verified_and_restored_by_the_pods_that_helm_rendered() {
    let (cluster, prefix, (postgres, database)) = (Cluster::start("docker"), s3::fresh_prefix(), shop());
    deploy(&cluster, &values(&postgres, &database, &prefix));

    let (made, log) = run(&cluster, "shop-postgres-backup", "night");
    assert!(
        log.contains("completed /backups/") && log.contains(&format!("completed {}", s3::shared().endpoint())),
        "{log}"
    );
    let host = &made["HostConfig"];
    assert_eq!(made["Config"]["User"], "65532:65532");
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["Memory"], 256 << 20);
    assert_eq!(host["NanoCpus"], 100_000_000);
    assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]));
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{host}");
    let written: Vec<String> = s3::shared().keys(&prefix);
    assert_eq!(written.len(), 4, "archive, sum, facts, manifest: {written:?}");

    let (_, log) = run(&cluster, "shop-postgres-backup-verify", "proof");
    assert!(log.contains("passed, restored in"), "{log}");
    let records: Vec<String> = s3::shared().keys(&prefix).into_iter().filter(|key| key.contains(".verify-")).collect();
    assert_eq!(records.len(), 1, "{records:?}");

    cluster.make("k8s-status", &[]).exits(0).says(" s ago");
    let copy = format!("{database}_copy");
    cluster.make("k8s-restore", &[&format!("DATABASE={copy}"), &format!("CONFIRM={copy}")]).exits(0);
    let count = "SELECT (SELECT count(*) FROM shop.customers), (SELECT count(*) FROM shop.orders)";
    assert_eq!(postgres.sql(&copy, count), postgres.sql(&database, count));
    let output = cluster.folder.path().join("downloads");
    cluster.make("k8s-download", &[&format!("OUTPUT={}", output.display())]).exits(0).says("sql.gz: OK");
}

#[test]
fn secrets_as_files_are_read_by_the_unprivileged_user() {
    let (cluster, prefix, (postgres, database)) = (Cluster::start("docker"), s3::fresh_prefix(), shop());
    let keys = "secret:
  asFiles: true
  keys: { POSTGRES_PASSWORD: {}, REMOTE_ACCESS_KEY: {}, REMOTE_SECRET_KEY: {} }
";
    let keys = keys.replace("{}", "{ name: shop-postgres-backup }");
    deploy(&cluster, &(values(&postgres, &database, &prefix) + &keys));
    let (made, _) = run(&cluster, "shop-postgres-backup", "files");
    let environment = made["Config"]["Env"].to_string();
    assert!(
        environment.contains("POSTGRES_PASSWORD_FILE=/run/secrets/postgres-backup/POSTGRES_PASSWORD"),
        "{environment}"
    );
    assert!(!environment.contains(s3::SECRET) && !environment.contains(PASSWORD), "{environment}");
}

#[test]
fn a_pod_that_is_deleted_in_mid_dump_is_out_in_time_and_leaves_nothing() {
    let (cluster, prefix, (postgres, database)) = (Cluster::start("docker"), s3::fresh_prefix(), shop());
    postgres.sql(&database, "CREATE TABLE t AS SELECT n FROM generate_series(1, 10) AS n");
    deploy(&cluster, &values(&postgres, &database, &prefix));
    let lock = postgres.lock_table(&database);
    cluster.kubectl(&["create", "job", "cut", "--from=cronjob/shop-postgres-backup"]).exits(0);
    lock.wait_for_waiter();
    let begun = Instant::now();
    cluster.kubectl(&["delete", "pod", "--selector", "batch.kubernetes.io/job-name=cut"]).exits(0);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    cluster.kubectl(&["delete", "job", "cut"]).exits(0);
    drop(lock);
    let folder = cluster.folder.path().join(format!("state/pvc/{NAMESPACE}/shop-postgres-backup"));
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let left: Vec<_> = left.iter().filter(|name| !name.to_string_lossy().starts_with("backup-failed")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!((s3::shared().keys(&prefix), s3::shared().unfinished(&prefix)), (vec![], vec![]));
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%backup%' OR application_name = 'pg_dump'";
    wait_for("the sessions to end", || postgres.sql("postgres", sessions) == "0");
}
