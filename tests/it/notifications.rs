//! Which service is sent what, how often, and what happens when one does not answer.

use crate::support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::time::{Duration, Instant};
use support::backup::{Backup, assert_fits_schema, finish};
use support::http::{Act, Front, Seen};
use support::postgres::shared;
use support::{s3, wait_for};

fn listening() -> Front {
    Front::start(0, |_, _| Act::Answer(200, "ok".to_owned()))
}

/// A backup of a small database whose source keeps its name, also where the server is away.
fn backup(database: &str) -> Backup {
    Backup::of(shared(), database).set("BACKUP_SOURCE", "shop-db").set("RETRY_COUNT", "1")
}

fn small_database() -> String {
    let database = shared().database("notices");
    shared().sql(&database, "CREATE TABLE t AS SELECT n FROM generate_series(1, 100) AS n");
    database
}

fn json(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}

/// Paths without their queries, in the order of the requests.
fn paths(front: &Front) -> Vec<String> {
    front.seen().iter().map(|seen| seen.target.split('?').next().unwrap().to_owned()).collect()
}

#[test]
fn every_service_is_notified_once_and_the_health_check_of_start_and_end() {
    let front = listening();
    let backup = backup(&small_database())
        .set("DISCORD_WEBHOOK_URL", &format!("{}/discord/secret-token", front.url()))
        .set("SLACK_WEBHOOK_URL", &format!("{}/slack/secret-token", front.url()))
        .set("WEBHOOK_URL", &format!("{}/hook?key=secret-token", front.url()))
        .set("HEALTHCHECK_URL", &format!("{}/ping/secret-token", front.url()));
    let outcome =
        backup.run(&["run"]).exits(0).says("notification sent to Slack").says("notification sent to the health check");
    assert!(!outcome.log.contains("secret-token"), "{}", outcome.log);
    let mut seen = paths(&front);
    assert_eq!(seen.remove(0), "/ping/secret-token/start");
    seen.sort();
    assert_eq!(seen, ["/discord/secret-token", "/hook", "/ping/secret-token", "/slack/secret-token"]);
    let at = |path: &str| front.seen().into_iter().find(|seen| seen.target.starts_with(path)).unwrap();
    assert!(at("/discord").target.ends_with("?wait=true"));
    assert_eq!(at("/hook").target, "/hook?key=secret-token");
    let (begin, end) = (at("/ping/secret-token/start").target, at("/ping/secret-token?").target);
    assert_eq!(begin.split("rid=").nth(1).unwrap(), end.split("rid=").nth(1).unwrap());
    assert_eq!(json(&at("/slack"))["attachments"][0]["color"], "#2ecc71");
    let report = json(&at("/hook"));
    assert_fits_schema("report", &report);
    assert_eq!((&report["outcome"], &report["entries"][0]["backup"]["rows"]), (&"success".into(), &100.into()));

    // people are notified of a verification, but it is no run for the health check
    backup.verify(&[], 0);
    let later = &front.seen()[5..];
    let mut targets: Vec<String> =
        later.iter().map(|seen| seen.target.split('/').nth(1).unwrap()[..4].to_owned()).collect();
    targets.sort();
    assert_eq!(targets, ["disc", "hook", "slac"]);
    let report = json(later.iter().find(|seen| seen.target.starts_with("/hook")).unwrap());
    assert_fits_schema("report", &report);
    assert_eq!(report["activity"], "verification");

    let failed = backup.with("POSTGRES_PORT", "1").run(&["run"]).exits(69);
    assert!(!failed.log.contains("secret-token"), "{}", failed.log);
    let fail = at("/ping/secret-token/fail");
    let text = String::from_utf8(fail.body).unwrap();
    assert!(
        text.starts_with("Backup failed: ") && text.contains("cannot be reached") || text.contains("refused"),
        "{text}"
    );
    assert_fits_schema("report", &json(front.seen().iter().rfind(|seen| seen.target.starts_with("/hook")).unwrap()));
}

#[test]
fn teams_is_sent_a_card_in_the_colour_of_the_outcome() {
    let front = listening();
    let backup = backup(&small_database()).set("TEAMS_WEBHOOK_URL", &format!("{}/teams/secret-token", front.url()));
    backup.run(&["run"]).exits(0).says("notification sent to Microsoft Teams");
    let failed = backup.with("POSTGRES_PORT", "1").run(&["run"]).exits(69);
    assert!(!failed.log.contains("secret-token"), "{}", failed.log);
    let styles: Vec<Value> = front.seen().iter().map(|seen| card(&json(seen))["body"][0]["style"].clone()).collect();
    assert_eq!(styles, ["good", "attention"]);
}

fn card(message: &Value) -> Value {
    assert_eq!(message["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
    message["attachments"][0]["content"].clone()
}

#[test]
fn a_telegram_bot_writes_to_its_chat_and_waits_as_long_as_it_is_asked_to() {
    // the parameters of a 429 say how long
    let front = Front::start(0, |seen, before| match (seen.target.contains("sendMessage"), before) {
        (true, 0) => Act::Answer(429, r#"{"ok":false,"parameters":{"retry_after":1}}"#.to_owned()),
        _ => Act::Answer(200, r#"{"ok":true}"#.to_owned()),
    });
    let backup = backup(&small_database())
        .set("TELEGRAM_API_URL", &front.url())
        .set("TELEGRAM_BOT_TOKEN", "123:secret-token")
        .set("TELEGRAM_CHAT_ID", "-1001");
    let begun = Instant::now();
    let outcome = backup.run(&["run"]).exits(0).says("notification sent to Telegram");
    assert!(begun.elapsed() >= Duration::from_secs(1) && !outcome.log.contains("secret-token"), "{}", outcome.log);
    let seen = front.seen();
    assert!(seen.iter().all(|seen| seen.target == "/bot123:secret-token/sendMessage"), "{seen:?}");
    let message = json(&seen[1]);
    assert_eq!(message["chat_id"], "-1001");
    assert!(message["text"].as_str().unwrap().starts_with("✅ Backup done: "), "{message}");
    assert!(backup.run(&["check"]).exits(0).stdout.contains("Telegram"));
    assert!(paths(&front).contains(&"/bot123:secret-token/getMe".to_owned()));
    backup
        .with("TELEGRAM_CHAT_ID", "")
        .run(&["config"])
        .exits(78)
        .says("TELEGRAM_CHAT_ID: TELEGRAM_BOT_TOKEN needs it");
}

#[test]
fn an_ntfy_topic_has_a_higher_priority_for_a_failure() {
    let front = listening();
    let backup = backup(&small_database()).set("NTFY_URL", &format!("{}/push/topic", front.url()));
    backup.run(&["run"]).exits(0).says("notification sent to ntfy");
    let failed = backup.with("POSTGRES_PORT", "1").with("NTFY_TOKEN", "secret-token").run(&["run"]).exits(69);
    assert!(!failed.log.contains("secret-token"), "{}", failed.log);
    let told: Vec<(String, Value)> = front.seen().iter().map(|seen| (seen.target.clone(), json(seen))).collect();
    assert!(told.iter().all(|(path, message)| path == "/push" && message["topic"] == "topic"), "{told:?}");
    assert_eq!(told.iter().map(|(_, message)| &message["priority"]).collect::<Vec<_>>(), [3, 5]);
    assert!(backup.run(&["check"]).exits(0).stdout.contains("ntfy"));
    assert!(paths(&front).contains(&"/push/v1/health".to_owned()));
}

#[test]
fn a_recovery_is_notified_once_also_where_success_is_not() {
    for target in ["local", "remote", "all"] {
        let (front, prefix) = (listening(), s3::fresh_prefix());
        let backup = backup(&small_database())
            .to(target, &s3::shared().endpoint(), &prefix)
            .set("DISCORD_WEBHOOK_URL", &format!("{}/discord", front.url()))
            .set("DISCORD_NOTIFY_SUCCESS", "false");
        let broken = backup.with("POSTGRES_PORT", "1");
        backup.run(&["run"]).exits(0);
        assert_eq!(front.seen().len(), 0, "success is not notified");
        broken.run(&["run"]).exits(69);
        let notes = || {
            let objects = s3::shared().keys(&prefix).into_iter();
            backup.files().into_iter().chain(objects).filter(|name| name.contains("backup-failed-")).count()
        };
        let places = if target == "all" { 2 } else { 1 };
        assert_eq!(notes(), places);
        // several failures are one outage; what has to do with other databases is none of its business
        broken.run(&["run"]).exits(69);
        assert_eq!(notes(), places);
        backup.run(&["run", "--database", "postgres"]).exits(0);
        let listed = backup.run(&["list", "--all"]).exits(0);
        assert!(!listed.stdout.contains("backup-failed"), "{}", listed.stdout);
        assert_eq!(front.seen().len(), 2, "{:?}", paths(&front));
        backup.run(&["run"]).exits(0);
        let title = json(&front.seen()[2])["embeds"][0]["title"].as_str().unwrap().to_owned();
        assert!(title.starts_with("Backup recovered: notices"), "{title}");
        assert_eq!(notes(), 0);
        backup.run(&["run"]).exits(0);
        assert_eq!(front.seen().len(), 3, "{target}: {:?}", paths(&front));
    }
}

#[test]
fn a_store_that_lets_nothing_be_deleted_makes_no_second_recovery() {
    let store = Front::start(s3::shared().port, |seen: &Seen, _| match seen.method.as_str() {
        "DELETE" => Act::Answer(403, "<Error><Code>AccessDenied</Code></Error>".to_owned()),
        _ => Act::Forward,
    });
    let (front, prefix) = (listening(), s3::fresh_prefix());
    let backup = backup(&small_database())
        .to("remote", &store.url(), &prefix)
        .set("DISCORD_WEBHOOK_URL", &format!("{}/discord", front.url()))
        .set("DISCORD_NOTIFY_SUCCESS", "false");
    backup.run(&["run"]).exits(0);
    for _ in 0..2 {
        backup.with("POSTGRES_PORT", "1").run(&["run"]).exits(69);
        for _ in 0..2 {
            backup.run(&["run"]).exits(0);
        }
    }
    let title = |seen: &Seen| json(seen)["embeds"][0]["title"].as_str().unwrap()[..13].to_owned();
    let titles: Vec<String> = front.seen().iter().map(title).collect();
    assert_eq!(titles, ["Backup failed", "Backup recove", "Backup failed", "Backup recove"]);
}

#[test]
fn a_message_that_is_refused_as_malformed_is_sent_as_one_line() {
    let told = std::sync::Mutex::new(Vec::new());
    let front = Front::start(0, move |seen: &Seen, _| {
        // an embed, or blocks, come first to each
        let mut told = told.lock().unwrap();
        let is_first = !told.contains(&seen.target);
        told.push(seen.target.clone());
        Act::Answer(if is_first { 400 } else { 200 }, String::new())
    });
    let backup = backup(&small_database())
        .set("DISCORD_WEBHOOK_URL", &format!("{}/discord", front.url()))
        .set("SLACK_WEBHOOK_URL", &format!("{}/slack", front.url()));
    backup.run(&["run"]).exits(0).says("notification sent to Discord").says("notification sent to Slack");
    let seen = front.seen();
    let last = |path: &str| json(seen.iter().rfind(|seen| seen.target.starts_with(path)).unwrap());
    assert_eq!(seen.len(), 4);
    assert!(last("/discord")["content"].as_str().unwrap().starts_with("Backup done: notices"));
    assert!(last("/slack")["text"].as_str().unwrap().starts_with("Backup done: notices"));
}

#[test]
fn services_that_do_not_answer_keep_nobody_waiting_after_a_signal_and_change_no_exit_code() {
    let front = Front::start(0, |_, _| Act::Stall);
    let refused = Front::start(0, |_, _| Act::Answer(404, String::new()));
    let backup = backup(&small_database())
        .set("DISCORD_WEBHOOK_URL", &format!("{}/discord", front.url()))
        .set("SLACK_WEBHOOK_URL", &format!("{}/slack", refused.url()))
        .set("HEALTHCHECK_URL", &format!("{}/ping", front.url()))
        .set("PUSHGATEWAY_URL", &refused.url());
    let child = backup.spawn(&["run"]);
    wait_for("the notice", || front.seen().iter().any(|seen| seen.target.starts_with("/discord")));
    let asked = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let outcome = finish(child).exits(143);
    assert!(asked.elapsed() < Duration::from_secs(18), "{:?}", asked.elapsed());
    for text in [
        "backup done",
        "notification to Slack not sent: it answered 404",
        "check PUSHGATEWAY_URL",
        "notification to Discord not sent",
    ] {
        assert!(outcome.log.contains(text), "no `{text}` in {}", outcome.log);
    }
    backup.with("DISCORD_WEBHOOK_URL", "").with("HEALTHCHECK_URL", "").run(&["run"]).exits(0);
}
