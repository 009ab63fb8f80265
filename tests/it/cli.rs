//! The program as people meet it: help, configuration, list, prune, check, notifications.

use crate::support;

use std::time::{Duration, Instant};
use support::backup::Backup;
use support::http::{Act, Front};
use support::postgres::{PASSWORD, shared};
use support::s3;

#[test]
fn a_bad_command_line_exits_64_and_help_exits_0() {
    let backup = Backup::of(shared(), "postgres");
    backup.run(&["--no-such-flag"]).exits(64);
    backup.run(&["no-such-command"]).exits(64);
    backup.run(&["run", "--type", "hourly"]).exits(64).says("daily");
    backup.run(&["--help"]).exits(0).says("POSTGRES_HOST").says("Exit codes");
    backup.run(&["--version"]).exits(0).says(env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        backup.run(&["completions", shell]).exits(0).says("backup");
    }
}

#[test]
fn every_command_explains_itself_as_recorded() {
    let backup = Backup::of(shared(), "postgres");
    let short = backup.run(&["-h"]).exits(0).stdout;
    insta::assert_snapshot!("help", short);
    // the settings behind it stand in docs/reference.md as well
    let long = backup.run(&["--help"]).exits(0).stdout;
    insta::assert_snapshot!("help-long", long.split("Settings (").next().unwrap());
    let section = short.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let listed = section.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let commands: Vec<&str> =
        listed.filter_map(|line| line.split_whitespace().next()).filter(|w| *w != "help").collect();
    assert!(commands.len() > 10 && commands.contains(&"restore"), "{commands:?}");
    for command in commands {
        insta::assert_snapshot!(format!("help-{command}"), backup.run(&[command, "--help"]).exits(0).stdout);
    }
}

#[test]
fn a_bad_configuration_exits_78_with_every_problem_and_before_any_work() {
    let backup = Backup::of(shared(), "postgres")
        .set("POSTGRES_PORT", "many")
        .set("BACKUP_TARGET", "moon")
        .set("AGE_RECIPIENTS", "age1x");
    backup
        .run(&[])
        .exits(78)
        .says("POSTGRES_PORT: got `many`")
        .says("BACKUP_TARGET: got `moon`")
        .says("AGE_RECIPIENTS");
    assert_eq!(backup.files(), Vec::<String>::new());
}

#[test]
fn config_shows_each_value_with_its_source_and_no_secret() {
    let backup = Backup::of(shared(), "postgres").set("LOG_LEVEL", "WARNING");
    std::fs::write(backup.folder.path().join(".env"), "BACKUP_BASE_NAME=nightly\n").unwrap();
    let shown = backup.run(&["config"]).exits(0).says("nightly").says("(hidden)").stdout;
    assert!(!shown.contains(PASSWORD));
    let line = |name: &str| shown.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(line("BACKUP_BASE_NAME").contains(".env"));
    assert!(line("POSTGRES_PORT").ends_with("env"));
    assert!(line("RETENTION_DAYS").ends_with("default"));
    let json = backup.json(&["config"], 0);
    assert!(
        json["settings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|setting| setting["name"] == "POSTGRES_PASSWORD" && setting["value"] == "(hidden)")
    );
}

#[test]
fn logs_tell_the_run_in_order_and_as_json_one_object_a_line() {
    let backup = Backup::of(shared(), &shared().database("logs"));
    let log = backup.run(&[]).exits(0).log;
    let order = ["starting backup", "connected to", "dumping", "completed", "cleaning up", "backup done"];
    let found: Vec<usize> =
        order.iter().map(|text| log.find(text).unwrap_or_else(|| panic!("no {text} in {log}"))).collect();
    assert!(found.is_sorted(), "{log}");
    let json = backup.set("LOG_FORMAT", "json").run(&[]).exits(0).log;
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["time"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[test]
fn list_merges_both_sides_and_shows_foreign_files_on_request() {
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &shared().database("list")).to("all", &s3::shared().endpoint(), &prefix);
    backup.run(&["list"]).exits(0).says("no backups");
    backup.run(&["run", "--type", "weekly"]).exits(0);
    std::fs::write(backup.path().join("notes.txt"), "mine").unwrap();
    let list = backup.run(&["list", "--json", "--all"]).exits(0).stdout;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["backups"].as_array().unwrap().len(), 1);
    assert_eq!(list["backups"][0]["type"], "weekly");
    let sides: Vec<_> = list["backups"][0]["locations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["side"].as_str().unwrap())
        .collect();
    assert_eq!(sides, ["local", "remote"]);
    assert!(list["foreign"][0].as_str().unwrap().ends_with("notes.txt"));
    backup.run(&["list"]).exits(0).says("local+remote");
    backup.run(&["list", "--cloud"]).exits(0).says("remote");
    let name = backup.get("POSTGRES_DB");
    let list = |option, value| backup.run(&["list", option, value]).exits(0).stdout;
    assert_eq!(list("--database", "other"), format!("no backups of other; there are backups of {name}\n"));
    assert_eq!(list("--type", "daily"), "no backups of type daily; there are backups of type weekly\n");
    assert!(list("--source", "other").starts_with("no backups of the source other; there are backups of "));
    backup.run(&["status", "--source", "other"]).exits(64).says("no backup of the source other; there are backups of");
    backup.run(&["prune", "--release", "--database", "other"]).exits(0).says(&format!("there are backups of {name}"));
}

#[test]
fn a_listing_that_fails_is_an_error_and_never_a_shorter_list() {
    let front = Front::start(s3::shared().port, |seen, _| {
        if seen.target.contains("list-type=2") { Act::Answer(500, String::new()) } else { Act::Forward }
    });
    let backup = Backup::of(shared(), "postgres").to("all", &front.url(), "x");
    backup.run(&["list"]).exits(69).says("listing");
}

/// Ages a backup by rewriting its manifest, as a person with an editor could.
#[test]
fn old_auto_backups_are_pruned_after_a_good_run_and_foreign_files_stay() {
    let backup = Backup::of(shared(), &shared().database("prune"));
    backup.run(&[]).exits(0);
    backup.make_older(8);
    std::fs::write(backup.path().join("notes.sql.gz"), "foreign").unwrap();
    backup.run(&[]).exits(0).says("deleted 1 backup");
    assert_eq!(backup.files().len(), 5, "{:?}", backup.files());
    assert!(backup.path().join("notes.sql.gz").exists());
}

#[test]
fn prune_shows_reasons_asks_and_deletes_only_with_yes() {
    let backup = Backup::of(shared(), &shared().database("prune")).set("RETENTION_DAYS", "0");
    backup.run(&[]).exits(0);
    backup.make_older(30);
    backup.run(&[]).exits(0);
    let backup = backup.set("RETENTION_DAYS", "7");
    backup.run(&["prune", "--dry-run"]).exits(0).says("older than 7 days").says("the newest good backup of");
    backup.run(&["prune"]).exits(64).says("--yes");
    assert_eq!(backup.files().len(), 8);
    backup.run(&["prune", "--yes"]).exits(0).says("deleted 1 backup");
    assert_eq!(backup.files().len(), 4);
    backup.run(&["prune", "--yes"]).exits(0);
    assert_eq!(backup.files().len(), 4);
}

#[test]
fn under_all_a_local_backup_that_is_not_remote_is_never_pruned() {
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &shared().database("prune"));
    backup.run(&[]).exits(0);
    backup.make_older(30);
    let backup = backup.to("all", &s3::shared().endpoint(), &prefix);
    backup.run(&[]).exits(0).says("deleted 0 backups");
    assert_eq!(backup.files().len(), 8);
    backup.run(&["prune", "--dry-run"]).exits(0).says("not yet on the remote side");
}

#[test]
fn a_dry_run_writes_nothing() {
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &shared().database("dry")).to("all", &s3::shared().endpoint(), &prefix);
    backup.run(&["--dry-run"]).exits(0).says("would dump").says("would store");
    assert_eq!(backup.files(), Vec::<String>::new());
    assert_eq!(s3::shared().keys(&prefix), Vec::<String>::new());
}

#[test]
fn check_examines_everything_and_leaves_nothing() {
    let webhook = Front::start(0, |_, _| Act::Answer(200, "{}".to_owned()));
    let prefix = s3::fresh_prefix();
    let backup = Backup::of(shared(), &shared().database("check"))
        .to("all", &s3::shared().endpoint(), &prefix)
        .set("DISCORD_WEBHOOK_URL", &webhook.url());
    let table = backup.run(&["check"]).exits(0).stdout;
    // client tools with known holes get a warning
    assert_eq!(table.lines().filter(|line| line.trim_start().starts_with(['✓', '!'])).count(), 6, "{table}");
    assert_eq!(webhook.seen()[0].method, "GET");
    assert_eq!(backup.files(), Vec::<String>::new());
    assert_eq!(s3::shared().keys(&prefix), Vec::<String>::new());
    let backup = backup.set("REMOTE_SECRET_KEY", "wrong").set("POSTGRES_PASSWORD", "wrong");
    let table = backup.run(&["test"]).exits(77).says("POSTGRES_PASSWORD").says("REMOTE_SECRET_KEY").stdout;
    assert_eq!(table.matches('✗').count(), 2, "{table}");
}

#[test]
fn discord_is_told_of_success_with_wait_and_without_mentions() {
    let webhook = Front::start(0, |_, _| Act::Answer(200, "{}".to_owned()));
    let backup = Backup::of(shared(), &shared().database("@everyone"))
        .set("DISCORD_WEBHOOK_URL", &format!("{}/hook", webhook.url()));
    backup.run(&[]).exits(0);
    let seen = webhook.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].target, "/hook?wait=true");
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(body["allowed_mentions"]["parse"], serde_json::json!([]));
    assert_eq!(body["embeds"][0]["color"], 0x2e_cc71);
    let quiet = backup.set("DISCORD_NOTIFY_SUCCESS", "false");
    quiet.run(&[]).exits(0);
    assert_eq!(webhook.seen().len(), 1);
}

#[test]
fn discord_is_obeyed_when_it_asks_to_wait_and_tried_again_when_it_is_broken() {
    let webhook = Front::start(0, |_, before| match before {
        0 => Act::Answer(429, r#"{"retry_after": 1.5}"#.to_owned()),
        1 => Act::Answer(500, String::new()),
        _ => Act::Answer(204, String::new()),
    });
    let backup = Backup::of(shared(), &shared().database("patient")).set("DISCORD_WEBHOOK_URL", &webhook.url());
    let started = Instant::now();
    backup.run(&[]).exits(0).says("notification sent to Discord");
    assert_eq!(webhook.seen().len(), 3);
    assert!(started.elapsed() >= Duration::from_millis(2500), "{:?}", started.elapsed());
}

#[test]
fn a_notice_that_fails_changes_nothing_and_never_shows_the_url() {
    let gone = Front::start(0, |_, _| Act::Answer(404, String::new()));
    let silent = Front::start(0, |_, _| Act::Cut);
    let database = shared().database("deaf");
    for (webhook, requests) in [(&gone, 1), (&silent, 4)] {
        let url = format!("{}/api/webhooks/1/secret-token", webhook.url());
        let backup = Backup::of(shared(), &database).set("DISCORD_WEBHOOK_URL", &url).set("LOG_LEVEL", "trace");
        let outcome = backup.run(&[]).exits(0).says("DISCORD_WEBHOOK_URL");
        assert!(!outcome.log.contains("secret-token"), "{}", outcome.log);
        assert_eq!(webhook.seen().len(), requests);
    }
}

#[test]
fn a_webhook_that_never_answers_is_given_up_in_bounded_time() {
    let webhook = Front::start(0, |_, _| Act::Stall);
    let backup = Backup::of(shared(), &shared().database("stall")).set("DISCORD_WEBHOOK_URL", &webhook.url());
    let started = Instant::now();
    backup.run(&[]).exits(0).says("notification to Discord not sent");
    assert!(started.elapsed() < Duration::from_secs(55), "{:?}", started.elapsed());
}
