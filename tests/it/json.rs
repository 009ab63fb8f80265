//! What machines read: the results of commands, and the lines of the log.

use crate::support::backup::{Backup, Outcome, assert_fits_schema};
use crate::support::http::{Act, Front};
use crate::support::postgres::shared;
use crate::support::s3;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What was printed, held against the schema of that name.
#[track_caller]
fn fits(schema: &str, outcome: &Outcome) -> Value {
    let value: Value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}\n{}", outcome.stdout, outcome.log));
    assert_fits_schema(schema, &value);
    assert_eq!(value["exit_code"], outcome.code, "{value:#}");
    value
}

/// A database with rows.
fn filled(prefix: &str) -> Backup {
    let database = shared().database(prefix);
    shared().sql(
        &database,
        "CREATE TABLE public.orders (id int PRIMARY KEY, note text);
         INSERT INTO public.orders SELECT n, 'note ' || n FROM generate_series(1, 100) n",
    );
    Backup::of(shared(), &database)
}

/// Names of the schemas in docs/schemas.
fn schemas() -> BTreeSet<String> {
    let files = std::fs::read_dir(root().join("docs/schemas")).unwrap();
    files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_command_with_json_has_a_schema_and_the_reference_names_them_all() {
    let backup = Backup::of(shared(), "postgres");
    let help = backup.run(&["--help"]).exits(0).stdout;
    let commands = help.split("\nCommands:\n").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
    // a line that goes on with a description is further in
    let commands = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<&str> = commands.filter(|name| *name != "help" && !name.is_empty()).collect();
    let mut wanted = BTreeSet::from(["report", "run-plan", "failure"].map(str::to_owned));
    for command in &commands {
        if backup.run(&[command, "--help"]).exits(0).stdout.contains("--json") {
            wanted.insert((*command).to_owned());
        }
    }
    assert!(wanted.len() >= 12, "{wanted:?} of {commands:?}");
    assert_eq!(schemas(), wanted);
    let reference = std::fs::read_to_string(root().join("docs/reference.md")).unwrap();
    for schema in schemas() {
        assert!(reference.contains(&format!("(schemas/{schema}.json)")), "docs/reference.md does not name {schema}");
    }
}

#[test]
fn schemas_have_a_version_and_allow_more_fields() {
    for name in schemas() {
        let text = std::fs::read_to_string(root().join(format!("docs/schemas/{name}.json"))).unwrap();
        assert!(text.contains(r#""version": { "const": 1"#), "{name} has no version");
        assert!(!text.contains("\"additionalProperties\": false"), "{name} allows no more fields");
    }
}

#[test]
fn a_run_prints_what_the_webhook_gets_with_the_exit_code_and_logs_elsewhere() {
    let webhook = Front::start(0, |_, _| Act::Answer(200, String::new()));
    let backup = filled("json_run").set("WEBHOOK_URL", &webhook.url());
    let database = backup.get("POSTGRES_DB");
    let mut printed = fits("run", &backup.run(&["run", "--json"]).exits(0).says("completed"));
    assert_eq!(printed["outcome"], "success");
    assert_eq!(printed["entries"][0]["database"], database);
    assert_eq!(printed["entries"][0]["backup"]["rows"], 100);
    printed.as_object_mut().unwrap().remove("exit_code");
    let sent: Value = serde_json::from_slice(&webhook.seen()[0].body).unwrap();
    assert_eq!(printed, sent);

    let wrong = backup.with("POSTGRES_PASSWORD", "wrong");
    let failed = fits("run", &wrong.run(&["run", "--json"]).exits(77));
    assert_eq!((&failed["outcome"], &failed["failures"][0]["stage"]), (&json!("failure"), &json!("connect")));
    assert!(failed["failures"][0]["hint"].as_str().unwrap().contains("POSTGRES_PASSWORD"), "{failed:#}");
    // alone it is a run too
    fits("run", &wrong.run(&["--json"]).exits(77));
}

#[test]
fn settings_that_cannot_be_used_are_failures_in_json_too() {
    let backup = Backup::of(shared(), "postgres").set("RETENTION_DAYS", "many").set("BACKUP_FORMAT", "odd");
    for (schema, arguments) in [
        ("run", &["run", "--json"][..]),
        ("run-plan", &["run", "--dry-run", "--json"]),
        ("prune", &["prune", "--json"]),
        ("upload", &["upload", "--json"]),
        ("restore", &["restore", "--into", "x", "--json"]),
        ("failure", &["list", "--json"]),
        ("failure", &["status", "--json"]),
        ("failure", &["show", "--json"]),
        ("failure", &["diff", "x", "--json"]),
        ("failure", &["peek", "--table", "t", "--format", "json"]),
        ("failure", &["check", "--json"]),
        ("failure", &["config", "--json"]),
        ("failure", &["verify", "--json"]),
    ] {
        let failed = fits(schema, &backup.run(arguments).exits(78));
        let causes: Vec<&str> =
            failed["failures"].as_array().unwrap().iter().map(|one| one["cause"].as_str().unwrap()).collect();
        assert_eq!(causes.len(), 2, "{causes:?}");
        assert!(causes.iter().any(|cause| cause.contains("RETENTION_DAYS")), "{causes:?}");
        assert_eq!(failed["failures"][0]["stage"], "configuration");
    }
    let cluster = Backup::of(shared(), "postgres").set("BACKUP_MODE", "cluster");
    let refused = fits("run", &cluster.run(&["run", "--database", "x", "--json"]).exits(64));
    assert!(refused["failures"][0]["cause"].as_str().unwrap().contains("BACKUP_MODE"), "{refused:#}");
}

#[test]
fn a_command_without_an_answer_prints_why_as_json() {
    let backup = filled("json_no_answer").set("BACKUP_SOURCE", "answers");
    backup.run(&["run"]).exits(0);
    let away = backup.with("BACKUP_TARGET", "all").with("REMOTE_ENDPOINT", "http://127.0.0.1:1");
    let away = away.with("REMOTE_BUCKET", "backups").with("REMOTE_ACCESS_KEY", "key");
    let away = away.with("REMOTE_SECRET_KEY", "secret").with("RETRY_COUNT", "1");
    for arguments in [
        &["list", "--json"][..],
        &["status", "--json"],
        &["show", "--json"],
        &["peek", "--table", "orders", "--json"],
        &["verify", "--json"],
    ] {
        let outcome = away.run(arguments).exits(69);
        assert_eq!(fits("failure", &outcome)["failures"].as_array().unwrap().len(), 1);
        // the folder has what is asked for
        assert!(outcome.log.contains("BACKUP_TARGET=local"), "{}", outcome.log);
        away.with("BACKUP_TARGET", "local").run(arguments).exits(0);
    }
    for arguments in [&["download", "latest"][..], &["restore", "latest", "--into", "copy", "--yes"]] {
        away.run(arguments).exits(69).says("BACKUP_TARGET=local");
    }
    // beside what could be verified
    let absent = backup.with("POSTGRES_PORT", "1").with("RETRY_COUNT", "1");
    assert_eq!(fits("verify", &absent.run(&["verify", "--json"]).exits(69))["failures"][0]["stage"], "verify");
    let each = fits("verify", &absent.run(&["verify", "--each", "--json"]).exits(69));
    assert_eq!((&each["reports"], &each["failures"][0]["stage"]), (&json!([]), &json!("verify")));
    fits("failure", &backup.run(&["show", "nothing", "--json"]).exits(64));
    // the line of the log is for machines as well
    let line = backup.with("LOG_FORMAT", "json").run(&["show", "nothing"]).exits(64).log;
    assert!(serde_json::from_str::<Value>(&line).unwrap()["message"].as_str().unwrap().contains("nothing"), "{line}");
    let wrong = backup.with("LOG_FORMAT", "json").with("RETENTION_DAYS", "7d").run(&["run"]).exits(78).log;
    assert_eq!(serde_json::from_str::<Value>(&wrong).unwrap()["level"], "ERROR", "{wrong}");
}

#[test]
fn a_dry_run_prints_its_plan_as_json() {
    let backup = filled("json_plan");
    let plan = fits("run-plan", &backup.run(&["run", "--dry-run", "--json"]).exits(0));
    assert_eq!(plan["dry_run"], true);
    assert_eq!(plan["backups"][0]["database"], backup.get("POSTGRES_DB"));
    assert_eq!(plan["locations"][0]["side"], "local");
    assert_eq!(plan["verify_server"], Value::Null);
    assert_eq!(backup.files(), Vec::<String>::new());
    let absent = backup.with("POSTGRES_HOST", "127.0.0.2").with("POSTGRES_PORT", "1").with("RETRY_COUNT", "1");
    let failed = fits("run-plan", &absent.run(&["run", "--dry-run", "--json"]).exits(69));
    assert_eq!(failed["failures"].as_array().unwrap().len(), 1, "{failed:#}");
}

#[test]
fn a_prune_prints_each_backup_with_decision_outcome_and_reason() {
    let backup = filled("json_prune");
    let keeping = backup.with("RETENTION_DAYS", "0");
    keeping.run(&["run"]).exits(0);
    keeping.run(&["run"]).exits(0);
    backup.make_older(30);
    keeping.run(&["run"]).exits(0);
    let outcomes = |document: &Value, field: &str| {
        let rows = document["backups"].as_array().unwrap();
        rows.iter().map(|row| row[field].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let planned = fits("prune", &backup.run(&["prune", "--dry-run", "--json"]).exits(0));
    assert_eq!(outcomes(&planned, "decision"), ["delete", "delete", "keep"], "{planned:#}");
    assert_eq!(outcomes(&planned, "outcome"), ["not_deleted", "not_deleted", "kept"]);
    assert_eq!((&planned["kept"][0]["backups"], &planned["deleted"][0]["backups"]), (&json!(1), &json!(0)));
    // nobody is asked
    let refused = fits("prune", &backup.run(&["prune", "--json"]).exits(64));
    assert!(refused["failures"][0]["cause"].as_str().unwrap().contains("--yes"), "{refused:#}");
    let pruned = fits("prune", &backup.run(&["prune", "--yes", "--json"]).exits(0));
    assert_eq!(outcomes(&pruned, "outcome"), ["deleted", "deleted", "kept"], "{pruned:#}");
    assert_eq!(pruned["deleted"][0]["backups"], 2);
    assert!(outcomes(&pruned, "reason").iter().all(|reason| !reason.is_empty()));
    // nothing to do is a document as well
    for rest in [&["--database", "other"][..], &[]] {
        let arguments = [&["prune", "--release", "--json"][..], rest].concat();
        assert!(outcomes(&fits("prune", &backup.run(&arguments).exits(0)), "outcome").is_empty());
    }
}

#[test]
fn an_upload_prints_what_became_of_each_backup() {
    let local = filled("json_upload");
    local.run(&["run"]).exits(0);
    let both = local.to("all", &s3::shared().endpoint(), &s3::fresh_prefix());
    let sent = fits("upload", &both.run(&["upload", "--json"]).exits(0));
    assert_eq!((&sent["uploaded"], &sent["backups"][0]["outcome"]), (&json!(1), &json!("uploaded")), "{sent:#}");
    assert!(sent["backups"][0]["seconds"].as_f64().is_some(), "{sent:#}");
    let again = fits("upload", &both.run(&["upload", "--json"]).exits(0));
    assert_eq!((&again["present"], &again["backups"][0]["outcome"]), (&json!(1), &json!("present")), "{again:#}");
    let gone = both.with("REMOTE_ENDPOINT", "http://127.0.0.1:1").with("RETRY_COUNT", "1");
    let failed = fits("upload", &gone.run(&["upload", "--json"]).exits(69));
    assert_eq!(failed["failures"][0]["stage"], "upload", "{failed:#}");
}

#[test]
fn a_restore_prints_plan_and_result_with_what_it_kept() {
    let backup = filled("json_restore");
    let database = backup.get("POSTGRES_DB");
    backup.run(&["run"]).exits(0);
    let copy = format!("{database}_copy");
    let into = ["restore", "--into", &copy, "--json"];
    let planned = fits("restore", &backup.run(&[&into[..], &["--dry-run"]].concat()).exits(0));
    assert_eq!(planned["plan"]["databases"][0]["into"], copy, "{planned:#}");
    assert_eq!(planned["databases"], json!([]));
    let made = fits("restore", &backup.run(&into).exits(0));
    assert_eq!((&made["databases"][0]["into"], &made["databases"][0]["kept_as"]), (&json!(copy), &Value::Null));
    assert_eq!((&made["checks"][0]["rows"], &made["exceptions"]), (&json!(100), &json!([])), "{made:#}");
    let refused = fits("restore", &backup.run(&into).exits(64));
    assert_eq!(refused["failures"][0]["stage"], "restore", "{refused:#}");
    let replace = [&into[..], &["--replace"]].concat();
    assert_eq!(fits("restore", &backup.run(&replace).exits(64))["plan"]["needs_consent"], true);
    let replaced = fits("restore", &backup.run(&[&replace[..], &["--yes"]].concat()).exits(0));
    let kept = replaced["databases"][0]["kept_as"].as_str().unwrap().to_owned();
    assert!(kept.starts_with(&format!("{copy}_before_")), "{replaced:#}");
    assert_eq!(replaced["databases"][0]["swap_back"].as_array().unwrap().len(), 1, "{replaced:#}");
    let table = ["restore", "--into", &copy, "--table", "public.orders", "--json"];
    let beside = fits("restore", &backup.run(&table).exits(0));
    assert_eq!((&beside["tables"][0]["table"], &beside["tables"][0]["rows"]), (&json!("public.orders"), &json!(100)));
    shared().sql("postgres", &format!("DROP DATABASE {copy}"));
    shared().sql("postgres", &format!("DROP DATABASE {kept}"));
}

#[test]
fn a_restore_prints_each_exception_with_reason_and_sql() {
    let database = shared().database("json_exception");
    shared().sql(
        &database,
        "CREATE TABLE k (id int); CREATE FUNCTION has() RETURNS boolean LANGUAGE sql AS 'SELECT count(*) > 0 FROM public.k';
         CREATE TABLE a (id int, CHECK (has())); INSERT INTO k VALUES (1); INSERT INTO a VALUES (1); DELETE FROM k",
    );
    let backup = Backup::of(shared(), &database);
    backup.run(&["run"]).exits(0);
    let copy = format!("{database}_copy");
    let made = fits("restore", &backup.run(&["restore", "--into", &copy, "--json"]).exits(0));
    let exception = &made["exceptions"][0];
    assert_eq!(exception["database"], copy, "{made:#}");
    assert!(exception["sql"].as_str().unwrap().contains("VALIDATE CONSTRAINT"), "{made:#}");
    shared().sql("postgres", &format!("DROP DATABASE {copy}"));
}

/// The lines of a log, each of which has what every line has.
#[track_caller]
fn lines(log: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    let lines: Vec<Value> = log.lines().map(parse).collect();
    for line in &lines {
        for field in ["time", "level", "message", "run_id", "source"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
        chrono::DateTime::parse_from_rfc3339(line["time"].as_str().unwrap()).unwrap();
    }
    lines
}

#[test]
fn each_line_of_a_json_log_says_whose_it_is() {
    let webhook = Front::start(0, |_, _| Act::Answer(200, String::new()));
    let (one, other) = (filled("json_log"), filled("json_log"));
    let databases = [one.get("POSTGRES_DB"), other.get("POSTGRES_DB")];
    let backup = one
        .set("BACKUP_DATABASES", &databases.join(","))
        .set("BACKUP_DATABASE_JOBS", "2")
        .set("VERIFY_ENABLED", "true")
        .set("LOG_FORMAT", "json")
        .set("WEBHOOK_URL", &webhook.url());
    backup.run(&["run"]).exits(0);
    backup.make_older(30);
    let log = backup.run(&["run"]).exits(0).log;
    let lines = lines(&log);
    let runs: BTreeSet<String> = lines.iter().map(|line| line["run_id"].to_string()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    let of =
        |text: &str| lines.iter().filter(|line| line["message"].as_str().unwrap().contains(text)).collect::<Vec<_>>();
    for database in &databases {
        let mine = |text: &str| {
            let mut found = of(text).into_iter().filter(|line| line["database"] == **database);
            found.next().unwrap_or_else(|| panic!("no line with `{text}` of {database}:\n{log}")).clone()
        };
        let dumping = mine("dumping ");
        assert_eq!(dumping["stage"], "dump");
        let (completed, verified, deleted) = (mine("completed "), mine("verified backup"), mine("deleted "));
        assert_eq!((&completed["stage"], &completed["backup_id"]), (&json!("store"), &dumping["backup_id"]));
        assert!(dumping["backup_id"].as_str().unwrap().contains(database.as_str()), "{dumping}");
        assert!(completed["bytes"].is_u64() && completed["seconds"].is_f64(), "{completed}");
        assert_eq!((&verified["stage"], &verified["backup_id"]), (&json!("verify"), &dumping["backup_id"]));
        assert!(verified["seconds"].is_f64(), "{verified}");
        assert_eq!(deleted["stage"], "prune");
        assert!(deleted["bytes"].is_u64() && deleted["backup_id"] != dumping["backup_id"], "{deleted}");
    }
    assert_eq!(of("connected to")[0]["stage"], "preflight");
    assert_eq!(of("notification sent")[0]["stage"], "notify");
    assert!(of("backup done")[0]["seconds"].is_f64());
    assert!(of("scratch database").iter().all(|line| line["stage"] == "verify" && line["backup_id"].is_string()));
}

#[test]
fn lines_of_other_commands_and_of_few_levels_have_their_fields_too() {
    let backup = filled("json_levels").set("LOG_FORMAT", "json");
    backup.run(&["run"]).exits(0);
    let id = backup.json(&["list"], 0)["backups"][0]["id"].clone();
    let verified = lines(&backup.run(&["verify"]).exits(0).log);
    assert!(verified.iter().all(|line| line["stage"] == "verify" && line["backup_id"] == id), "{verified:?}");
    let copy = format!("{}_copy", backup.get("POSTGRES_DB"));
    let restored = lines(&backup.run(&["restore", "--into", &copy]).exits(0).log);
    assert!(restored.iter().any(|line| line["stage"] == "restore" && line["backup_id"] == id), "{restored:?}");
    shared().sql("postgres", &format!("DROP DATABASE {copy}"));
    // a line that a high level lets through has what is known of the run
    let wrong = backup.with("LOG_LEVEL", "error").with("POSTGRES_PASSWORD", "wrong");
    assert!(!lines(&wrong.run(&["run"]).exits(77).log).is_empty());
}
