//! The chart, rendered by Helm's own engine: manifests as recorded, valid for the oldest and the newest Kubernetes,
//! restricted pods, refusals, and alerts that fire when they should.

use crate::support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::tool;

/// Versions that `kubeVersion` allows: the least, and the newest whose schemas we have.
const OLDEST: &str = "1.27.0";
const NEWEST: &str = "1.37.0";

const CHART: &str = "charts/postgres-backup";

fn python(script: &str) -> Command {
    let mut command = Command::new(tool("PYTHON"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg(format!("tests/tools/{script}"));
    command
}

fn helm(arguments: &[&str]) -> Output {
    python("helm").args(arguments).output().unwrap()
}

/// Renders the chart, or says why it was refused.
fn render(arguments: &[&str]) -> Result<String, String> {
    let output = helm(&[&["template", "shop", CHART, "--namespace", "backups"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Hands text to a script of ours and takes what it prints.
fn filter(script: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = python(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Values files of the chart, by name; the first is none.
fn values_files() -> Vec<(String, Option<PathBuf>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(CHART).join("ci");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().replace("-values", ""), Some(path)))
        .collect();
    files.sort();
    files.insert(0, ("defaults".to_owned(), None));
    files
}

fn option(file: Option<&PathBuf>) -> Vec<&str> {
    file.map_or_else(Vec::new, |file| vec!["--values", file.to_str().unwrap()])
}

/// Asserts that a Kubernetes of that version takes the manifests and that pods are restricted.
#[track_caller]
fn assert_valid(name: &str, manifests: &str, versions: &[&str]) {
    let output = filter("manifests.py", versions, manifests);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

/// Rendered manifests without the dashboard, which is a file of its own.
fn without_dashboard(manifests: &str) -> String {
    let mut lines = manifests.lines().peekable();
    let mut text = String::new();
    while let Some(line) = lines.next() {
        writeln!(text, "{line}").unwrap();
        if line == "  postgres-backup.json: |" {
            text.push_str("    (files/dashboard.json)\n");
            while lines.next_if(|line| line.starts_with("    ")).is_some() {}
        }
    }
    text
}

/// The manifests with the optional secrets of each container said in one line: from which Secret, and which of the list
/// are not among them.
fn without_secrets(manifests: &str) -> String {
    let all: Vec<&str> = include_str!("../../charts/postgres-backup/files/secret-settings.txt").lines().collect();
    let lines: Vec<&str> = manifests.lines().collect();
    let (mut text, mut at) = (String::new(), 0);
    // the secrets of the container whose `env:` was the last, and where their line goes
    let mut block: Option<(usize, String, Vec<&str>)> = None;
    let end = |block: &mut Option<(usize, String, Vec<&str>)>, text: &mut String| {
        let Some((place, secret, names)) = block.take().filter(|(.., names)| !names.is_empty()) else { return };
        let others: Vec<&str> = all.iter().filter(|name| !names.contains(name)).copied().collect();
        let but = if others.is_empty() { String::new() } else { format!(" but {}", others.join(", ")) };
        text.insert_str(place, &format!("# optional, from {secret}: every secret{but}\n"));
    };
    while let Some(line) = lines.get(at) {
        let value = |offset: usize, key: &str| lines.get(at + offset)?.trim().strip_prefix(key);
        let name = line.trim().strip_prefix("- name: ").filter(|name| all.contains(name));
        let is_same_key = name.is_some() && value(4, "key: ") == name.map(|name| format!("\"{name}\"")).as_deref();
        match (name, value(3, "name: "), value(5, "optional: "), &mut block) {
            (Some(name), Some(from), Some("true"), Some((_, secret, names)))
                if is_same_key && (names.is_empty() || secret == from) =>
            {
                from.clone_into(secret);
                names.push(name);
                at += 6;
                continue;
            }
            _ => {}
        }
        if line.trim() == "env:" {
            end(&mut block, &mut text);
            writeln!(text, "{line}").unwrap();
            block = Some((text.len(), String::new(), Vec::new()));
        } else {
            writeln!(text, "{line}").unwrap();
        }
        at += 1;
    }
    end(&mut block, &mut text);
    text
}

#[test]
fn every_values_file_renders_as_recorded_and_is_valid_for_the_oldest_and_the_newest_kubernetes() {
    let files = values_files();
    assert!(files.len() > 15);
    for (name, file) in &files {
        let newest = render(&[&["--kube-version", NEWEST], option(file.as_ref()).as_slice()].concat());
        let newest = newest.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_valid(name, &newest, &[NEWEST]);
        insta::assert_snapshot!(name.as_str(), without_secrets(&without_dashboard(&newest)));
        match render(&[&["--kube-version", OLDEST], option(file.as_ref()).as_slice()].concat()) {
            Ok(oldest) => {
                assert_valid(name, &oldest, &[OLDEST, NEWEST]);
                if oldest != newest {
                    insta::assert_snapshot!(format!("{name}-oldest"), without_secrets(&without_dashboard(&oldest)));
                }
            }
            Err(error) => assert!(error.contains("needs Kubernetes 1.29"), "{name}: {error}"),
        }
    }
}

#[test]
fn every_values_file_passes_helm_lint() {
    for (name, file) in values_files() {
        let output = helm(&[&["lint", CHART, "--strict"], option(file.as_ref()).as_slice()].concat());
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_bad_value_is_refused_by_its_name() {
    let refused: &[(&[&str], &[&str])] = &[
        (&["unknown=1"], &["additional properties 'unknown' not allowed"]),
        (&["settings.POSTGRES_HOTS=db"], &["/settings", "'POSTGRES_HOTS' not allowed"]),
        (&["clusters.a.shedule=x"], &["/clusters/a", "'shedule' not allowed"]),
        (&["terminationGracePeriodSeconds=null"], &["missing property 'terminationGracePeriodSeconds'"]),
        (&["persistence.size=null"], &["/persistence", "missing property 'size'"]),
        (&["prometheusRule.warnAfterHours=null"], &["/prometheusRule", "missing property 'warnAfterHours'"]),
        (&["secret.keys.POSTGRES_PASWORD.key=x"], &["invalid propertyName 'POSTGRES_PASWORD'"]),
        (&["secret.keys.BACKUP_DIR.key=x"], &["invalid propertyName 'BACKUP_DIR'"]),
        (&["secret.keys.BACKUP_TARGET.key=x"], &["secret.keys.BACKUP_TARGET", "settings"]),
        (&["podLabels.app\\.kubernetes\\.io/name=x"], &["invalid propertyName 'app.kubernetes.io/name'"]),
        (&["extraVolumes[0].name=backups"], &["extraVolumes", "volume backups of its own"]),
        (&["secret.asFiles=true", "secret.keys.POSTGRES_USER.key=x"], &["secret.asFiles mounts the secrets"]),
        (&["fullnameOverride=a.b"], &["/fullnameOverride"]),
        (
            &["settings.BACKUP_TARGET=remote", "verify.settings.BACKUP_TARGET=local"],
            &["verify.settings.BACKUP_TARGET is local"],
        ),
        (&["settings.BACKUP_TARGET=remote", "verify.location=local"], &["verify.location is local"]),
        (&["prometheusRule.enabled=true", "failedJobsHistoryLimit=0"], &["failedJobsHistoryLimit is 0"]),
        (&["prometheusRule.enabled=true", "prometheusRule.programMetrics=true"], &["settings.BACKUP_SOURCE"]),
        (&["clusters.a.suspend=true", "restore.database=x", "restore.confirm=x"], &["every server of clusters"]),
        (&["schedule=null"], &["missing property 'schedule'"]),
        (&["clusters.A_B.schedule=5 2 * * *"], &["invalid propertyName 'A_B'"]),
        (&["schedule=TZ=UTC 5 2 * * *"], &["/schedule", "TZ=UTC"]),
        (&["schedule=CRON_TZ=UTC 5 2 * * *"], &["/schedule"]),
        (&["schedule=5 2 * *"], &["/schedule"]),
        (&["verify.schedule=whenever"], &["/verify/schedule"]),
        (&["timeZone=Local"], &["/timeZone"]),
        (&["timeZone="], &["/timeZone"]),
        (&["backoffLimit=-1"], &["/backoffLimit"]),
        (&["concurrencyPolicy=Maybe"], &["/concurrencyPolicy", "Forbid"]),
        (&["terminationGracePeriodSeconds=5"], &["/terminationGracePeriodSeconds", "20"]),
        (&["persistence.size=lots"], &["/persistence/size"]),
        (&["image.digest=latest"], &["/image/digest"]),
        (&["image.registry=https://registry.example.com"], &["/image/registry"]),
        (&["podLabels.postgres-backup/claim=x"], &["invalid propertyName 'postgres-backup/claim'"]),
        (&["settings.BACKUP_TARGET=moon"], &["/settings/BACKUP_TARGET", "'local', 'remote', 'all'"]),
        (&["settings.BACKUP_DIR=/data"], &["'BACKUP_DIR' not allowed"]),
        (&["settings.SCHEDULE_DAILY=x"], &["'SCHEDULE_DAILY' not allowed"]),
        (
            &["settings.POSTGRES_PASSWORD=x"],
            &["settings.POSTGRES_PASSWORD is a secret", "secret.keys.POSTGRES_PASSWORD"],
        ),
        (&["clusters.a.verify.settings.VERIFY_PASSWORD=x"], &["clusters.a.settings.VERIFY_PASSWORD is a secret"]),
        (&["settings.POSTGRES_USER=a", "secret.keys.POSTGRES_USER.key=b"], &["POSTGRES_USER is set twice"]),
        (&["secret.asFiles=true"], &["secret.asFiles mounts the secrets that secret.keys names"]),
        (&["persistence.enabled=false"], &["settings.BACKUP_TARGET is all", "persistence.enabled"]),
        (&["sharding.shards=3"], &["sharding.shards is 3", "ReadWriteMany"]),
        (
            &["sharding.shards=3", "settings.BACKUP_TARGET=remote", "settings.BACKUP_MODE=cluster"],
            &["settings.BACKUP_MODE is cluster", "sharding.shards"],
        ),
        (&["restore.database=shop", "restore.confirm=Shop"], &["restore.confirm is \"Shop\"", "\"shop\""]),
        (&["restore.confirm=shop"], &["restore.confirm is \"shop\" and restore.database \"\""]),
        (
            &["clusters.a.verify.enabled=true", "clusters.a-verify.suspend=true"],
            &["clusters.a-verify would have the name of the verification of clusters.a"],
        ),
        (
            &[
                "clusters.a.secret.create=true",
                "clusters.b.secret.create=true",
                "clusters.b.secret.data.POSTGRES_PASSWORD=x",
            ],
            &["clusters.b.secret.data differs", "clusters.b.secret.name"],
        ),
        (
            &["clusters.a.serviceAccount.annotations.role=x", "clusters.b.suspend=true"],
            &["clusters.b.serviceAccount.annotations differ", "clusters.b.serviceAccount.name"],
        ),
    ];
    for (sets, said) in refused {
        let arguments: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let error = render(&arguments).expect_err(&format!("{sets:?} is taken"));
        for words in *said {
            assert!(error.contains(words), "{sets:?}: {error}");
        }
    }
}

#[test]
fn what_kubernetes_takes_is_taken() {
    let taken = [
        "schedule=*/5 8-18\\,20 * * MON-FRI",
        "schedule=@every 6h30m",
        "timeZone=America/Argentina/Buenos_Aires",
        "timeZone=Etc/GMT+5",
        "timeZone=UTC",
        "persistence.size=1.5Gi",
        "persistence.size=500M",
        "persistence.size=1e12",
        "commonLabels.app\\.kubernetes\\.io/part-of=shop",
        "startingDeadlineSeconds=null",
        "clusters.a.secret.keys.POSTGRES_PASSWORD=null",
        "clusters.a.nodeSelector.disk=null",
        "clusters.a=null",
        "settings=null",
        "secret=null",
        "restore.args=null",
        "prometheusRule.labels=null",
    ];
    for set in taken {
        let manifests = render(&["--set", set]).unwrap_or_else(|error| panic!("{set}: {error}"));
        assert_valid(set, &manifests, &[NEWEST]);
    }
}

#[test]
fn names_that_look_like_numbers_stay_names() {
    let sets =
        ["secret.keys.POSTGRES_PASSWORD.key=1", "secret.keys.POSTGRES_PASSWORD.name=007", "fullnameOverride=123"];
    let arguments: Vec<&str> = sets.iter().flat_map(|set| ["--set-string", set]).collect();
    let manifests = render(&[&["--namespace", "42"], arguments.as_slice()].concat()).unwrap();
    assert_valid("numbers", &manifests, &[NEWEST]);
}

#[test]
fn the_server_beside_a_verification_wins_over_one_that_is_named_elsewhere() {
    let sets =
        ["verify.enabled=true", "secret.keys.VERIFY_HOST.key=a", "settings.VERIFY_USER=b", "settings.POSTGRES_PORT=1"];
    let arguments: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let manifests =
        render(&[arguments.as_slice(), &["--show-only", "templates/verify-cronjob.yaml"]].concat()).unwrap();
    assert_valid("server", &manifests, &[NEWEST]);
    for line in [
        "VERIFY_HOST\n                  value: \"/run/postgresql\"",
        "VERIFY_PORT\n                  value: \"5432\"",
        "VERIFY_USER\n                  value: \"postgres\"",
    ] {
        assert!(manifests.contains(line), "{line} in {manifests}");
    }
}

#[test]
fn a_restore_may_have_a_role_of_its_own_whichever_way_the_shared_one_is_given() {
    let restore = ["restore.database=a", "restore.confirm=a"];
    let job = |sets: &[&str]| {
        let arguments: Vec<&str> = restore.iter().chain(sets).flat_map(|set| ["--set", set]).collect();
        let job = render(&[arguments.as_slice(), &["--show-only", "templates/restore-job.yaml"]].concat()).unwrap();
        assert_valid("restore", &job, &[NEWEST]);
        job
    };
    let by_value = job(&["secret.keys.POSTGRES_USER.key=user", "restore.settings.POSTGRES_USER=admin"]);
    assert!(by_value.contains("name: POSTGRES_USER\n              value: \"admin\""), "{by_value}");
    let by_secret = job(&["settings.POSTGRES_USER=reader", "restore.secret.keys.POSTGRES_USER.key=admin"]);
    assert!(by_secret.contains("name: POSTGRES_USER\n              valueFrom"), "{by_secret}");
}

#[test]
fn a_restore_is_rendered_only_when_it_is_confirmed_and_never_as_a_hook() {
    let kinds = |sets: &[&str]| {
        let arguments: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        render(&arguments).unwrap().matches("kind: Job\n").count()
    };
    assert_eq!(kinds(&[]), 0);
    assert_eq!(kinds(&["restore.database=shop"]), 0);
    assert_eq!(kinds(&["restore.database=shop", "restore.confirm=shop"]), 1);
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(CHART).join("templates")).unwrap() {
        let path = entry.unwrap().path();
        assert!(!std::fs::read_to_string(&path).unwrap().contains("helm.sh/hook"), "{}", path.display());
    }
}

#[test]
fn a_secret_stands_in_no_manifest_but_the_demonstrations_own() {
    let secret = ["--set", "secret.create=true", "--set", "secret.data.POSTGRES_PASSWORD=hunter2"];
    let files = ["--set", "secret.asFiles=true"];
    for arguments in [secret.to_vec(), [secret.as_slice(), files.as_slice()].concat()] {
        let manifests = render(&arguments).unwrap();
        let with: Vec<&str> = manifests.split("\n---\n").filter(|document| document.contains("hunter2")).collect();
        assert_eq!(with.len(), 1, "{manifests}");
        assert!(with[0].contains("kind: Secret\n"), "{}", with[0]);
    }
}

/// Rules of the chart in a folder of their own, as promtool takes them.
fn rules(arguments: &[&str], filter_arguments: &[&str]) -> tempfile::TempDir {
    let values = format!("{CHART}/ci/alerts-values.yaml");
    let manifests = render(&[&["--values", &values], arguments].concat()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let rules = filter("rules.py", filter_arguments, &manifests).stdout;
    std::fs::write(folder.path().join("rules.json"), rules).unwrap();
    folder
}

#[track_caller]
fn assert_promtool(folder: &Path, arguments: &[&str]) {
    let output = Command::new(tool("PROMTOOL")).current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

#[test]
fn alerts_fire_when_something_is_wrong_and_end_when_it_is_right_again() {
    assert_promtool(rules(&[], &[]).path(), &["check", "rules", "rules.json"]);
    let folder = rules(&["--set", "prometheusRule.alertLabels=null"], &["--without-annotations"]);
    let tests = include_str!("../alerts.yaml");
    std::fs::write(folder.path().join("alerts.yaml"), tests).unwrap();
    assert_promtool(folder.path(), &["test", "rules", "alerts.yaml"]);
    let rules = std::fs::read_to_string(folder.path().join("rules.json")).unwrap();
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("\"alert\": \"")?.strip_suffix("\","));
    let mut count = 0;
    for name in names {
        count += 1;
        let is_silent = tests.contains(&format!("alertname: {name}, eval_time")) && tests.contains("exp_alerts: []");
        assert!(is_silent, "no test says when {name} is silent");
        assert!(tests.contains(&format!("alertname: {name}\n")), "no test says when {name} fires");
    }
    assert_eq!(count, 19);
}

#[test]
fn an_alert_says_what_happened_and_what_to_do_next() {
    let folder = rules(&["--set", "prometheusRule.alertLabels=null"], &[]);
    let labels = "severity: warning, cronjob: shop-postgres-backup";
    let test = format!(
        r#"
rule_files: [rules.json]
tests:
  - interval: 1h
    input_series:
      - {{ series: 'kube_cronjob_created{{namespace="backups", cronjob="shop-postgres-backup"}}', values: 0x40 }}
      - {{ series: 'pg_backup_storage_used_bytes{{source="shop", target="local"}}', values: 91x40 }}
      - {{ series: 'pg_backup_storage_capacity_bytes{{source="shop", target="local"}}', values: 100x40 }}
    alert_rule_test:
      - eval_time: 30h
        alertname: PostgresBackupLate
        exp_alerts:
          - exp_labels: {{ {labels}, namespace: backups }}
            exp_annotations:
              summary: No backup of shop-postgres-backup for more than 25 hours
              description: No Job of the CronJob shop-postgres-backup has succeeded for 1d 6h 0m 0s. Check whether the CronJob is suspended, whether its last pod started, and what its log says.
              runbook_url: https://example.com/postgres-backup#postgresbackuplate
      - eval_time: 30h
        alertname: PostgresBackupStorageFull
        exp_alerts:
          - exp_labels: {{ {labels}, source: shop, target: local }}
            exp_annotations:
              summary: The backup folder of shop is nearly full
              description: The volume of BACKUP_DIR is 91% full. Enlarge it (persistence.size), or retain fewer backups (RETENTION_DAYS).
              runbook_url: https://example.com/postgres-backup#postgresbackupstoragefull
"#
    );
    std::fs::write(folder.path().join("test.yaml"), test).unwrap();
    assert_promtool(folder.path(), &["test", "rules", "test.yaml"]);
}

#[test]
fn the_dockerfile_passes_hadolint() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    let output = Command::new(tool("HADOLINT")).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
