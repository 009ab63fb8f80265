//! `backup init`: the settings that a first backup needs, asked for and written into `.env`.

use super::output;
use crate::config::{Config, Target, settings};
use crate::error::{Error, SettingsError};
use crate::notify::services;
use crate::shutdown::Shutdown;
use crate::storage::backends;
use crate::storage::store::Backend;
use crate::text;
use clap::Args;
use rustix::fs::Access;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file, in the working directory.
const FILE: &str = ".env";
/// Asked for first.
const SERVER: &[&str] = &["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD"];
/// Settings by which most people enter a store; what else there is has its place in the file.
const KEYS: &[&str] = &["REMOTE_ACCESS_KEY", "REMOTE_SECRET_KEY", "GCS_CREDENTIALS_PATH", "AZURE_STORAGE_KEY"];

#[derive(Debug, Args)]
pub(super) struct Arguments {}

/// True when the file was written and what it says is to be checked.
pub(super) async fn execute(shutdown: &Shutdown) -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        output::print(&settings::template())?;
        return Ok(false);
    }
    // a link to nowhere is there as well
    if Path::new(FILE).symlink_metadata().is_ok() {
        let why = "there is already a .env here, so nothing was changed; edit it, or move it away and run init again";
        return Err(Error::Settings(SettingsError::Usage(why.to_owned())));
    }
    // better known before the first question than after the last
    rustix::fs::access(".", Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| Error::Io(format!("{FILE} cannot be written here: {error}")))?;
    let echo = tcgetattr(io::stdin()).ok();
    let asked = shutdown.guard(tokio::task::spawn_blocking(ask_all)).await;
    // whoever stops in the middle of a password wants to see again what is typed
    if let Some(echo) = &echo {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, echo);
    }
    let answers = asked?.map_err(io::Error::other).flatten();
    let answers = answers.map_err(|error| Error::Io(format!("{error}; nothing was written")))?;
    write(&answers).map_err(|error| Error::Io(format!("writing {FILE}: {error}")))?;
    output::print(&format!("\n{FILE} is written, and only you can read it. `backup check` says:\n\n"))?;
    Ok(true)
}

/// Names and values, in the order of the questions.
type Answers = Vec<(&'static str, String)>;

fn ask_all() -> io::Result<Answers> {
    let mut answers = Answers::new();
    say("Press Enter to accept the value in brackets. `backup config` shows every other setting.\n")?;
    let present: Vec<&str> =
        settings::all().map(|setting| setting.name).filter(|name| std::env::var_os(name).is_some()).collect();
    if !present.is_empty() {
        let names = text::some(&present, output::MOST_NAMES);
        say(&format!("\nSet in the environment, which wins over {FILE}: {names}.\n"))?;
    }
    for name in SERVER {
        ask(&mut answers, name, None)?;
    }
    ask(&mut answers, "BACKUP_DATABASES", Some("all"))?;
    let target = ask(&mut answers, "BACKUP_TARGET", None)?;
    if target != Target::Remote.as_str() {
        ask(&mut answers, "BACKUP_DIR", None)?;
    }
    if target != Target::Local.as_str() {
        let kind = ask(&mut answers, "REMOTE_KIND", backends::names().first().copied())?;
        if let Some(backend) = backends::ALL.iter().find(|backend| backend.name == kind) {
            ask_store(&mut answers, backend)?;
        }
    }
    ask_service(&mut answers)?;
    Ok(answers)
}

/// Asks again where the answers do not go together.
fn ask_store(answers: &mut Answers, backend: &Backend) -> io::Result<()> {
    let keys = backend.settings.iter().map(|setting| setting.name).filter(|name| KEYS.contains(name));
    let asked: Vec<&'static str> = backend.needed.iter().copied().chain(keys).collect();
    let before = answers.len();
    loop {
        for name in &asked {
            ask(answers, name, None)?;
        }
        let problems = problems_of(answers, None);
        if problems.is_empty() {
            return Ok(());
        }
        complain(&problems)?;
        answers.truncate(before);
    }
}

fn ask_service(answers: &mut Answers) -> io::Result<()> {
    say("\nWhere to send a notification of each run:\n  0  nowhere\n")?;
    for (number, service) in services::ALL.iter().enumerate() {
        say(&format!("  {}  {}\n", number + 1, service.name))?;
    }
    let service = loop {
        match ask_line("Number [0]: ")?.trim() {
            "" | "0" => return Ok(()),
            text => match text.parse::<usize>().ok().and_then(|number| services::ALL.get(number.checked_sub(1)?)) {
                Some(service) => break service,
                None => say(&format!("{text} is not in the list.\n"))?,
            },
        }
    };
    for setting in service.settings.iter().filter(|setting| setting.default.literal().is_empty()) {
        ask(answers, setting.name, None)?;
    }
    Ok(())
}

/// Asks until the value is one that the setting takes; the answer is what holds, and is kept where somebody chose it.
fn ask(answers: &mut Answers, name: &'static str, suggested: Option<&str>) -> io::Result<String> {
    let Some(setting) = settings::all().find(|setting| setting.name == name) else { return Ok(String::new()) };
    let default = setting.default.literal();
    let suggested = suggested.unwrap_or(default).to_owned();
    say(&format!("\n{}\n", setting.describe()))?;
    loop {
        let shown = match (setting.secret, suggested.as_str()) {
            (_, "") => String::new(),
            (true, _) => " [the default]".to_owned(),
            (false, text) => format!(" [{text}]"),
        };
        let question = format!("{name}{shown}: ");
        // a space at its end may be a part of a password
        let typed = if setting.secret { ask_secret(&question)? } else { ask_line(&question)?.trim().to_owned() };
        let typed = typed.trim_end_matches(['\r', '\n']);
        let value = if typed.is_empty() { suggested.clone() } else { typed.to_owned() };
        let problems = problems_of(answers, Some((name, &value)));
        if problems.is_empty() {
            // a default that nobody chose may hold only somewhere else
            if !typed.is_empty() || value != default {
                answers.push((name, value.clone()));
            }
            return Ok(value);
        }
        complain(&problems)?;
    }
}

fn complain(problems: &[String]) -> io::Result<()> {
    problems.iter().try_for_each(|problem| say(&format!("{problem}\n")))
}

/// What is wrong with the answers, or with one more alone.
fn problems_of(answers: &Answers, one: Option<(&str, &str)>) -> Vec<String> {
    let pairs = answers.iter().map(|(name, value)| (*name, value.as_str())).chain(one);
    let pairs = pairs.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let problems = Config::load(pairs, Path::new("/nonexistent")).err().map(|problems| problems.0).unwrap_or_default();
    let is_meant = |problem: &String| one.is_none_or(|(name, _)| problem.starts_with(&format!("{name}:")));
    problems.into_iter().filter(is_meant).collect()
}

fn write(answers: &Answers) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(FILE)?;
    let mut text = String::from(
        "# Settings of `backup`, written by `backup init`. `backup config` shows all settings in effect.\n",
    );
    for (name, value) in answers {
        text += &format!("{name}={value}\n");
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn say(text: &str) -> io::Result<()> {
    let mut terminal = io::stderr().lock();
    terminal.write_all(text.as_bytes())?;
    terminal.flush()
}

fn ask_line(question: &str) -> io::Result<String> {
    say(question)?;
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line)? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the input ended before the last question was answered")),
        _ => Ok(line),
    }
}

/// Asks for a line that the terminal does not show. Whoever sees the question may type at once, so the terminal is told
/// before.
fn ask_secret(question: &str) -> io::Result<String> {
    let shown: Termios = tcgetattr(io::stdin())?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
    let line = ask_line(question);
    tcsetattr(io::stdin(), OptionalActions::Now, &shown)?;
    say("\n")?;
    line
}
