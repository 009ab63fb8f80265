//! The Makefile's targets for Kubernetes, with kubectl and Helm's engine against a small cluster of our own whose pods run
//! this very program as processes; tests/pods.rs runs the same in containers.

use crate::support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use support::backup::finish;
use support::cluster::Cluster;
use support::postgres::{PASSWORD, Postgres, USER, shared};
use support::{s3, wait_for};

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: backups }
spec:
  replicas: 3
  selector: { matchLabels: { app: web } }
  template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: web, image: web }] } }
";

fn cluster() -> Cluster {
    Cluster::start(env!("CARGO_BIN_EXE_backup"))
}

/// A values file for a database of a server, in folder and bucket.
pub(super) fn values(postgres: &Postgres, database: &str, prefix: &str) -> String {
    format!(
        "settings:
  POSTGRES_HOST: 127.0.0.1
  POSTGRES_PORT: {}
  POSTGRES_USER: {USER}
  POSTGRES_DB: {database}
  PG_BIN_DIR: {}
  BACKUP_SOURCE: {database}
  RETRY_COUNT: 1
  REMOTE_ENDPOINT: {}
  REMOTE_BUCKET: {}
  REMOTE_PREFIX: {prefix}
",
        postgres.port,
        postgres.bin,
        s3::shared().endpoint(),
        s3::BUCKET
    )
}

/// An environment file with the secrets and something that is none.
fn secrets(password: &str) -> String {
    let (access, secret) = (s3::ACCESS, s3::SECRET);
    format!(
        "# secrets\nPOSTGRES_HOST=elsewhere\nPOSTGRES_PASSWORD={password}\nREMOTE_ACCESS_KEY={access}\n\
         REMOTE_SECRET_KEY={secret}\nDISCORD_WEBHOOK_URL=\n"
    )
}

/// Namespace, Secret and release for a database.
pub(super) fn deploy(cluster: &Cluster, values: &str, password: &str) {
    cluster.make("k8s-ns", &[]).exits(0);
    let file = cluster.write("env", &secrets(password));
    cluster.make("k8s-secret", &[&format!("ENV_FILE={file}")]).exits(0);
    let file = cluster.write("values.yaml", values);
    cluster.make("k8s-deploy", &[&format!("VALUES={file}")]).exits(0);
}

#[test]
fn from_nothing_to_a_backup_a_restore_and_nothing_again() {
    let (cluster, prefix) = (cluster(), s3::fresh_prefix());
    let database = shared().database("k8s");
    shared().sql(&database, "CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) AS n");
    cluster.make("k8s-test", &[]).exits(64).says("make k8s-deploy");
    deploy(&cluster, &values(shared(), &database, &prefix), PASSWORD);
    assert_eq!(
        cluster.get(&["namespace", "backups"], r".metadata.labels.pod-security\.kubernetes\.io/enforce"),
        "restricted"
    );
    let secret = cluster.kubectl(&["get", "secret", "shop-postgres-backup", "--output", "yaml"]).exits(0).stdout;
    assert!(!secret.contains("POSTGRES_HOST") && !secret.contains("DISCORD"), "only secrets, and none empty: {secret}");
    assert!(!secret.contains("last-applied"), "{secret}");

    cluster.make("k8s-test", &[]).exits(0).says("backup done").says("completed http://");
    assert_eq!(cluster.exit_codes(&cluster.newest_job("shop-postgres-backup-test")), [0]);
    assert_eq!(s3::shared().keys(&prefix).iter().filter(|key| key.ends_with(".json")).count(), 1);
    cluster.make("k8s-backup", &[]).exits(0).says("backup done");
    let list = cluster.make("k8s-list", &[]).exits(0).stdout;
    assert_eq!((list.matches("auto").count(), list.matches("manual").count()), (1, 1), "{list}");
    cluster.make("k8s-status", &[]).exits(0).says("cronjob.batch/shop-postgres-backup").says(&database);
    cluster.make("k8s-pvc", &[]).exits(0).says("Bound").says("Use%");
    cluster.make("k8s-logs", &[]).exits(0).says("backup done");
    let jobs = cluster.get(&["jobs"], ".items[*].metadata.name");
    assert!(!jobs.contains("look"), "Jobs that only looked are gone: {jobs}");

    // into a folder of others' files, whose mode stays
    let output = cluster.folder.path().join("downloads");
    std::fs::create_dir(&output).unwrap();
    std::fs::set_permissions(&output, Permissions::from_mode(0o700)).unwrap();
    std::fs::write(output.join("other.sha256"), "abc  gone\n").unwrap();
    let variable = format!("OUTPUT={}", output.display());
    cluster.make("k8s-download", &[&variable, &format!("DATABASE={database}")]).exits(0).says("sql.gz: OK");
    assert_eq!(std::fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o700);

    restore(&cluster, &database);

    cluster.make("k8s-clean", &[]).exits(0).says("DELETE_DATA=yes");
    for kind in ["cronjobs", "jobs", "secrets"] {
        assert_eq!(cluster.get(&[kind], ".items[*].metadata.name"), "", "{kind}");
    }
    assert_eq!(cluster.get(&["pvc"], ".items[*].metadata.name"), "shop-postgres-backup");
    deploy(&cluster, &values(shared(), &database, &prefix), PASSWORD);
    cluster.make("k8s-list", &[]).exits(0).says("manual").says("local+remote");
    cluster.make("k8s-clean", &["DELETE_DATA=yes"]).exits(0);
    assert_eq!(cluster.get(&["pvc"], ".items[*].metadata.name"), "");
}

/// The restore target: asks, scales down and up, and restores.
fn restore(cluster: &Cluster, database: &str) {
    // make would expand the dollar
    let copy = format!("{database}$copy of 'it'");
    let target = format!("DATABASE={copy}");
    let exists = || {
        shared().sql(
            "postgres",
            &format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", copy.replace('\'', "''")),
        )
    };
    cluster.apply(WEB);
    let replicas = || cluster.get(&["deployment", "web"], ".spec.replicas");
    let generation = || cluster.get(&["deployment", "web"], ".metadata.generation");
    let before = generation();
    cluster.make("k8s-restore", &[]).exits(64).says("DATABASE=");
    cluster
        .make("k8s-restore", &[&target, "APP=deployment/web"])
        .exits(64)
        .says("nothing was changed: without a terminal");
    cluster
        .make("k8s-restore", &[&target, "APP=deployment/web", "CONFIRM=Other"])
        .exits(64)
        .says("nothing was changed: Other is not");
    cluster
        .make("k8s-restore", &[&target, "BACKUP=backup_1999-01-01_00-00-00", "CONFIRM=x"])
        .exits(64)
        .says("no backup");
    assert_eq!((exists().as_str(), generation()), ("0", before.clone()), "nothing was changed");

    let confirm = format!("CONFIRM={copy}");
    cluster.make("k8s-restore", &[&target, "APP=deployment/web deployment/none", &confirm]).exits(1).says("none");
    assert_eq!((exists().as_str(), replicas().as_str()), ("0", "3"));
    cluster.make("k8s-restore", &[&target, "APP=deployment/web", &confirm]).exits(0);
    assert_eq!(shared().sql(&copy, "SELECT count(*) FROM t"), "1000");
    assert_eq!(replicas(), "3");
    assert_ne!(generation(), before, "it was scaled down meanwhile");
    // into what is not empty only with --replace, and the application is back also after a failure
    let again = cluster.make("k8s-restore", &[&target, "APP=deployment/web", &confirm]);
    again.exits(64).says("--replace");
    assert_eq!(replicas(), "3");
    cluster.make("k8s-restore", &[&target, "ARGS=--replace --disconnect", &confirm]).exits(0);
}

#[test]
fn a_failure_that_a_retry_cannot_mend_is_not_retried_and_ends_the_target_with_its_code() {
    let (cluster, prefix) = (cluster(), s3::fresh_prefix());
    let database = shared().database("k8s");
    let values = values(shared(), &database, &prefix);
    deploy(&cluster, &values, "wrong");
    cluster.make("k8s-test", &[]).exits(77).says("password authentication failed");
    assert_eq!(cluster.exit_codes(&cluster.newest_job("shop-postgres-backup-test")), [77]);
    let unreachable = values.replace(&format!("POSTGRES_PORT: {}", shared().port), "POSTGRES_PORT: 1");
    deploy(&cluster, &unreachable, PASSWORD);
    cluster.make("k8s-test", &[]).exits(69).says("Connection refused");
    assert_eq!(cluster.exit_codes(&cluster.newest_job("shop-postgres-backup-test")), [69, 69], "one retry");
    cluster.make("k8s-status", &[]).exits(1).says("NO GOOD BACKUP");
}

#[test]
fn a_fleet_wants_to_know_which_server_is_meant() {
    let (cluster, prefix) = (cluster(), s3::fresh_prefix());
    let (one, other) = (shared().database("k8s"), shared().database("k8s"));
    let clusters = format!(
        "clusters:
  one: {{ settings: {{ BACKUP_TARGET: remote }} }}
  other:
    settings: {{ POSTGRES_DB: {other}, BACKUP_SOURCE: {other} }}
    secret: {{ keys: {{ POSTGRES_PASSWORD: {{ name: others, key: password }} }} }}
"
    );
    deploy(&cluster, &(values(shared(), &one, &prefix) + &clusters), PASSWORD);
    cluster
        .kubectl(&["create", "secret", "generic", "others", &format!("--from-literal=password={PASSWORD}")])
        .exits(0);
    cluster.make("k8s-test", &[]).exits(64).says("CLUSTER=: one other");
    cluster.make("k8s-test", &["CLUSTER=none"]).exits(64).says("CLUSTER=none");
    let copy = format!("{one}_copy");
    let (target, confirm) = (format!("DATABASE={copy}"), format!("CONFIRM={copy}"));
    cluster.make("k8s-restore", &[&target, &confirm]).exits(64).says("CLUSTER=: one other");
    cluster.make("k8s-restore", &[&target, &confirm, "CLUSTER=none"]).exits(64).says("CLUSTER=none");
    assert_eq!(cluster.get(&["jobs"], ".items[*].metadata.name"), "");
    cluster.make("k8s-clean", &["CLUSTER=one"]).exits(64).says("as a whole");
    cluster.make("k8s-test", &["CLUSTER=one"]).exits(0).says(&one);
    cluster.make("k8s-test", &["CLUSTER=other"]).exits(0).says(&other);
    cluster.make("k8s-list", &["CLUSTER=other"]).exits(0).says(&other);
    let copy = format!("{other}_copy");
    let variables = [format!("DATABASE={copy}"), format!("FROM={other}"), format!("CONFIRM={copy}")];
    let variables: Vec<&str> = variables.iter().map(String::as_str).chain(["CLUSTER=other"]).collect();
    cluster.make("k8s-restore", &variables).exits(0);
    assert_eq!(cluster.get(&["pvc"], ".items[*].metadata.name"), "shop-postgres-backup-other");
}

#[test]
fn a_restore_that_is_cut_is_over_before_the_application_comes_back() {
    let (cluster, prefix) = (cluster(), s3::fresh_prefix());
    let database = shared().database("k8s");
    // an index whose making takes a minute, but in the database that it is restored from
    shared().sql(
        &database,
        &format!(
            "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
             $$BEGIN IF current_database() <> '{database}' THEN PERFORM pg_sleep(60); END IF; RETURN $1; END$$;
             CREATE TABLE t AS SELECT 1 AS n; CREATE INDEX ON t (slow(n))"
        ),
    );
    deploy(&cluster, &values(shared(), &database, &prefix), PASSWORD);
    cluster.make("k8s-test", &[]).exits(0);
    cluster.apply(WEB);
    let copy = format!("{database}_copy");
    let variables = [("DATABASE", copy.as_str()), ("CONFIRM", &copy), ("APP", "deployment/web")];
    let sleeping = || shared().sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    for signal in ["TERM", "INT"] {
        let script = cluster.spawn("restore", &variables);
        wait_for("the restore to be under way", || sleeping() == "1");
        assert_eq!(cluster.get(&["deployment", "web"], ".spec.replicas"), "0");
        support::signal(&script, signal);
        finish(script).exits(if signal == "TERM" { 143 } else { 130 });
        assert_eq!(cluster.get(&["deployment", "web"], ".spec.replicas"), "3");
        assert_eq!(sleeping(), "0");
        let jobs = cluster.get(&["jobs"], ".items[*].metadata.name");
        assert!(!jobs.contains("restore"), "{jobs}");
        let databases =
            shared().sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{copy}%'"));
        assert_eq!(databases, "0");
    }
}

#[test]
fn a_job_that_somebody_deletes_ends_the_target() {
    let (cluster, prefix) = (cluster(), s3::fresh_prefix());
    let database = shared().database("k8s");
    shared().sql(&database, "CREATE TABLE t AS SELECT n FROM generate_series(1, 10) AS n");
    deploy(&cluster, &values(shared(), &database, &prefix), PASSWORD);
    let lock = shared().lock_table(&database);
    let script = cluster.spawn("test", &[]);
    lock.wait_for_waiter();
    cluster.kubectl(&["delete", "jobs", "--all"]).exits(0);
    finish(script).exits(1).says("was deleted before it ended");
}

#[test]
fn a_cluster_that_does_not_answer_for_a_while_costs_no_line_and_no_exit_code() {
    let (cluster, prefix) = (cluster(), s3::fresh_prefix());
    let database = shared().database("k8s");
    shared().sql(&database, "CREATE TABLE t AS SELECT n FROM generate_series(1, 10) AS n");
    deploy(&cluster, &values(shared(), &database, &prefix), PASSWORD);
    let (door, kubeconfig) = cluster.door();
    let lock = shared().lock_table(&database);
    let script = cluster.spawn("test", &[("KUBECONFIG", &kubeconfig)]);
    lock.wait_for_waiter();
    door.close();
    wait_for("the script to ask in vain", || door.refused() > 2);
    drop(lock);
    let job = cluster.newest_job("shop-postgres-backup-test");
    let ended = || cluster.get(&["job", &job], ".status.succeeded") == "1";
    wait_for("the run to end", ended);
    door.open();
    let outcome = finish(script).exits(0);
    let log = cluster.kubectl(&["logs", &format!("job/{job}")]).exits(0).stdout;
    assert!(log.lines().count() > 3 && outcome.stdout.contains(log.trim_end()), "{}\n---\n{log}", outcome.stdout);
}

#[test]
fn shards_share_the_databases_of_a_server() {
    let (cluster, prefix) = (cluster(), s3::fresh_prefix());
    let postgres = Postgres::start(&support::tool("PG_BIN"));
    let long = "a-name-that-is-as-long-as-names-are-let-be-45";
    let databases: Vec<String> = (0..6).map(|_| postgres.database("shard")).collect();
    let more = format!(
        "  BACKUP_TARGET: remote\n  BACKUP_DATABASES: {}\n  BACKUP_GLOBALS: false\nsharding: {{ shards: 3 }}\n\
         fullnameOverride: {long}\nsecret: {{ name: shop-postgres-backup }}\n",
        databases.join(",")
    );
    deploy(&cluster, &(values(&postgres, "postgres", &prefix) + &more), PASSWORD);
    cluster.make("k8s-test", &[]).exits(0);
    cluster.make("k8s-backup", &[]).exits(0);
    assert_eq!(cluster.exit_codes(&cluster.newest_job(&format!("{long}-test"))), [0, 0, 0]);
    let keys = s3::shared().keys(&prefix);
    for database in &databases {
        let of_it = keys.iter().filter(|key| key.contains(database.as_str()) && key.ends_with(".sql.gz.json"));
        assert_eq!(of_it.count(), 2, "{database} in {keys:?}");
    }
    // one pod looks, not three
    let list = cluster.make("k8s-list", &[]).exits(0).stdout;
    assert_eq!(list.matches(&format!("backup_{}_", databases[0])).count(), 2, "{list}");
    // which of them is meant is said in the words of the target
    cluster.make("k8s-restore", &["DATABASE=copy", "CONFIRM=copy"]).exits(64).says("write FROM=NAME");
    // one that cannot be reached keeps the other shards from nothing, and is not tried again
    let lost = &databases[3];
    postgres.sql(
        "postgres",
        &format!(
            "ALTER DATABASE {lost} CONNECTION LIMIT 0; ALTER ROLE {USER} NOSUPERUSER; GRANT pg_read_all_data TO {USER}"
        ),
    );
    cluster.make("k8s-test", &[]).says("failed");
    let codes = cluster.exit_codes(&cluster.newest_job(&format!("{long}-test")));
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 2, "{codes:?}");
}

#[test]
fn what_is_missing_is_said_after_deploying() {
    let cluster = cluster();
    cluster.make("k8s-ns", &[]).exits(0);
    cluster.make("k8s-ns", &[]).exits(0).says("is left unchanged");
    let deployed = cluster.make("k8s-deploy", &["IMAGE_TAG=9.9.9", "IMAGE=registry.example.com/backup"]).exits(0);
    let deployed = deployed
        .says("Missing: settings.POSTGRES_HOST")
        .says("Missing: settings.REMOTE_ENDPOINT, settings.REMOTE_BUCKET");
    deployed
        .says("Needed, unless it exists already: the Secret shop-postgres-backup in backups")
        .says("is kept when this release is uninstalled");
    let image = || cluster.get(&["cronjobs"], ".items[0].spec.jobTemplate.spec.template.spec.containers[0].image");
    assert_eq!(image(), "registry.example.com/backup:9.9.9");
    // without a values file the release keeps its values, and what is there is not asked for
    let file = cluster.write("env", &secrets(PASSWORD));
    cluster.make("k8s-secret", &[&format!("ENV_FILE={file}")]).exits(0);
    let again = cluster.make("k8s-deploy", &[]).exits(0);
    assert!(!again.stdout.contains("Needed"), "{}", again.stdout);
    again.says("in the time zone Asia/Bangkok; set timeZone");
    for (component, next) in
        [("backup", "make k8s-test"), ("verify", "set verify.enabled"), ("restore", "make k8s-restore")]
    {
        cluster.make("k8s-logs", &[&format!("COMPONENT={component}")]).exits(64).says(component).says(next);
    }
    assert_eq!(image(), "registry.example.com/backup:9.9.9");
    let file = cluster.write("values.yaml", "settings: { POSTGRES_PASSWORD: x }\n");
    cluster.make("k8s-deploy", &[&format!("VALUES={file}")]).exits(1).says("is a secret");
    let empty = cluster.write("env", "POSTGRES_HOST=db\nPOSTGRES_PASSWORD=\n");
    cluster.make("k8s-secret", &[&format!("ENV_FILE={empty}")]).exits(64).says("holds no secret");
    let restore =
        cluster.write("values.yaml", "settings: { BACKUP_TARGET: local }\nrestore: { database: a, confirm: a }\n");
    cluster.make("k8s-deploy", &[&format!("VALUES={restore}")]).exits(1).says("a restore cannot be part of a release");
    cluster.make("k8s-secret", &["ENV_FILE=/nowhere"]).exits(64).says("/nowhere cannot be read");
}
