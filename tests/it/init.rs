//! The first steps of somebody who has nothing yet.

use crate::support::backup::{Backup, finish};
use crate::support::postgres::{PASSWORD, Postgres, USER, shared};
use crate::support::s3;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// `backup init` on a terminal, with these lines typed; the exit code and what is on the screen.
fn init(backup: &Backup, typed: &[&str]) -> (i32, String) {
    init_with(backup, &[], typed)
}

fn init_with(backup: &Backup, environment: &[(&str, &str)], typed: &[&str]) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_backup");
    let command = format!("stty cols 200; {program} init");
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(backup.folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TERM", "xterm")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut screen, mut byte, mut typed) = (Vec::new(), [0], typed.iter());
    while stdout.read(&mut byte).unwrap() > 0 {
        screen.push(byte[0]);
        let line = String::from_utf8_lossy(screen.split(|byte| *byte == b'\n').next_back().unwrap()).into_owned();
        let name = line.split([' ', ':']).next().unwrap();
        let is_name = name == "Number" || name.len() > 5 && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        // a question has been asked
        if is_name
            && line.ends_with(": ")
            && let Some(answer) = typed.next()
        {
            stdin.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
    }
    (finish(child).code, String::from_utf8_lossy(&screen).into_owned())
}

fn at(postgres: &Postgres) -> (String, String) {
    ("127.0.0.1".to_owned(), postgres.port.to_string())
}

#[test]
fn somebody_at_a_terminal_is_asked_and_gets_a_checked_file() {
    let database = shared().database("init");
    let backup = Backup::of(shared(), &database);
    let (host, port) = at(shared());
    let (code, screen) = init(
        &backup,
        // a port that is none is asked for again
        &[&host, "many", &port, USER, PASSWORD, &database, "", "", ""],
    );
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("POSTGRES_PORT: got `many`"), "{screen}");
    assert!(screen.contains("everything in 1 database can be read"), "{screen}");
    let path = backup.folder.path().join(".env");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(text.contains(&format!("POSTGRES_PORT={port}\n")), "{text}");
    assert!(!text.contains("BACKUP_TARGET") && !text.contains("many"), "defaults are left out: {text}");
    let (code, screen) = init(&backup, &[]);
    assert_eq!(code, 64, "{screen}");
    assert!(screen.contains("nothing was changed"), "{screen}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_store_and_a_service_are_asked_for_and_secrets_are_not_shown() {
    let database = shared().database("init");
    let backup = Backup::of(shared(), &database);
    let (host, port) = at(shared());
    let secret = s3::SECRET;
    let server = [&host, &port, USER, PASSWORD, &database];
    let store = ["remote", "s3", &s3::shared().endpoint(), s3::BUCKET, s3::ACCESS, secret];
    let (code, screen) = init(&backup, &[&server[..], &store, &["7", "http://127.0.0.1:9/hook"]].concat());
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("remote store"), "{screen}");
    let text = std::fs::read_to_string(backup.folder.path().join(".env")).unwrap();
    assert!(text.contains(&format!("REMOTE_SECRET_KEY={secret}\n")) && text.contains("WEBHOOK_URL="), "{text}");
    let questions = screen.split("is written").next().unwrap();
    assert_eq!(questions.matches(secret).count(), 0, "{questions}");
}

#[test]
fn a_password_is_kept_to_its_last_space_and_the_environment_is_named_where_it_wins() {
    let database = shared().database("init");
    let role = format!("{database}_role");
    shared().sql("postgres", &format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD ' lead and trail '"));
    let backup = Backup::of(shared(), &database);
    let (host, port) = at(shared());
    let typed = [&host, &port, &role, " lead and trail ", &database, "", "", ""];
    let (code, screen) = init_with(&backup, &[("LOG_LEVEL", "warn"), ("RETENTION_DAYS", "9")], &typed);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("wins over .env: RETENTION_DAYS, LOG_LEVEL"), "{screen}");
    let text = std::fs::read_to_string(backup.folder.path().join(".env")).unwrap();
    assert!(text.contains("POSTGRES_PASSWORD= lead and trail \n"), "{text}");
}

#[test]
fn a_link_to_nowhere_is_not_written_through() {
    let backup = Backup::of(shared(), "postgres");
    std::os::unix::fs::symlink("nowhere", backup.folder.path().join(".env")).unwrap();
    let (code, screen) = init(&backup, &["localhost"]);
    assert_eq!(code, 64, "{screen}");
    assert!(screen.contains("there is already a .env here") && !screen.contains("POSTGRES_HOST"), "{screen}");
}

#[test]
fn answers_that_end_early_write_nothing() {
    let backup = Backup::of(shared(), "postgres");
    let (code, screen) = init(&backup, &["localhost", "\u{4}"]);
    assert_eq!(code, 74, "{screen}");
    assert!(!backup.folder.path().join(".env").exists());
}

#[test]
fn without_a_terminal_the_template_is_printed() {
    let backup = Backup::of(shared(), "postgres");
    let printed = backup.run(&["init"]).exits(0).stdout;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    assert_eq!(printed, std::fs::read_to_string(example).unwrap());
}
