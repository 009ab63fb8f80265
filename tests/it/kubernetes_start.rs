//! Pods that do not start, with their reasons, and volumes that only one node has at a time.

use crate::kubernetes::{deploy, values};
use crate::support;

use support::backup::finish;
use support::cluster::Cluster;
use support::postgres::{PASSWORD, shared};
use support::{s3, wait_for};

const LOCAL: &str = "settings: { POSTGRES_HOST: 127.0.0.1, BACKUP_TARGET: local }\n";

#[test]
fn a_job_whose_pod_does_not_start_says_why_once_and_is_deleted() {
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_backup"));
    let cases = [
        ("image: { registry: registry.invalid }", "lookup registry.invalid: no such host"),
        (
            "secret: { keys: { POSTGRES_USER: { name: nowhere, key: user } } }",
            "CreateContainerConfigError: secret \"nowhere\" not found",
        ),
        (
            "nodeSelector: { disk: fast }",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector",
        ),
        ("persistence: { existingClaim: nowhere }", "persistentvolumeclaim \"nowhere\" not found"),
        // in an event of the pod alone
        (
            "secret: { asFiles: true, keys: { POSTGRES_PASSWORD: { name: nowhere, key: password } } }",
            "FailedMount: MountVolume.SetUp failed for volume \"secrets\"",
        ),
        // in an event of the Job alone, because there is no pod
        ("serviceAccount: { create: false, name: nobody }", "serviceaccount \"nobody\" not found"),
    ];
    for (value, reason) in cases {
        deploy(&cluster, &format!("{LOCAL}{value}\n"), PASSWORD);
        let done = cluster.make("k8s-test", &["START_TIMEOUT=2"]).exits(69);
        let lines: Vec<&str> = done.log.lines().collect();
        assert!(
            lines.iter().any(|line| line.contains(" did not start within 2 s: ") && line.contains(reason)),
            "{lines:?}"
        );
        assert!(lines.iter().filter(|line| line.contains(" waits: ")).count() <= 1, "{lines:?}");
        done.says("was deleted, and nothing was done");
        cluster.make("k8s-list", &["START_TIMEOUT=2"]).exits(69).says(reason);
        wait_for("the Jobs to be gone", || cluster.get(&["jobs"], ".items[*].metadata.name").is_empty());
    }
}

#[test]
fn pods_that_share_a_claim_of_one_node_run_there_and_say_where_another_one_has_it() {
    let (cluster, prefix) = (Cluster::with_nodes(env!("CARGO_BIN_EXE_backup"), 2), s3::fresh_prefix());
    let database = shared().database("k8s");
    shared().sql(&database, "CREATE TABLE t AS SELECT n FROM generate_series(1, 10) AS n");
    let values = values(shared(), &database, &prefix);
    deploy(&cluster, &values, PASSWORD);
    let lock = shared().lock_table(&database);
    let script = cluster.spawn("test", &[]);
    lock.wait_for_waiter();
    // beside the backup on its node, though the other one has no pod
    cluster.make("k8s-pvc", &["START_TIMEOUT=20"]).exits(0).says("Use%");
    drop(lock);
    finish(script).exits(0);

    // pods of others do not know the label
    cluster.apply(
        "apiVersion: v1
kind: Pod
metadata: { name: other, namespace: backups }
spec:
  nodeSelector: { kubernetes.io/hostname: node-1 }
  volumes: [{ name: data, persistentVolumeClaim: { claimName: shop-postgres-backup } }]
  containers:
    - { name: other, image: other, command: [sleep, infinity], volumeMounts: [{ name: data, mountPath: /data }] }
",
    );
    wait_for("the other pod", || cluster.get(&["pod", "other"], ".status.phase") == "Running");
    deploy(&cluster, &format!("{values}nodeSelector: {{ kubernetes.io/hostname: node-2 }}\n"), PASSWORD);
    let refused = cluster.make("k8s-test", &["START_TIMEOUT=2"]).exits(69);
    refused.says("FailedAttachVolume: Multi-Attach error for volume").says("already used by pod(s) other");
    cluster.kubectl(&["delete", "pod", "other", "--grace-period=1"]).exits(0);
    cluster.make("k8s-test", &[]).exits(0);
}
