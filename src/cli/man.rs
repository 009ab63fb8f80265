//! `backup man`

use super::output;
use crate::config::settings;
use crate::error::{Error, Exit, SettingsError};
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The command that the page is about; without it the page is about the whole program
    #[arg(value_name = "COMMAND")]
    about: Option<String>,
    /// Write every page into this folder instead of printing one
    #[arg(long, value_name = "DIR", conflicts_with = "about")]
    output: Option<PathBuf>,
}

/// A page of the manual.
struct Page {
    /// `backup`, or `backup-run` and so on.
    name: String,
    text: String,
}

pub(super) fn execute(arguments: &Arguments, command_line: Command) -> Result<Exit, Error> {
    let mut program =
        command_line.disable_help_subcommand(true).subcommand_help_heading("COMMANDS").subcommand_value_name("COMMAND");
    program.build();
    if let Some(folder) = &arguments.output {
        write_all(&program, folder)?;
    } else {
        let page = match &arguments.about {
            None => overview(&program),
            Some(name) => of_command(program.find_subcommand(name).ok_or_else(|| unknown(name))?),
        };
        output::print(&page.text)?;
    }
    Ok(Exit::Done)
}

fn unknown(name: &str) -> Error {
    Error::Settings(SettingsError::Usage(format!("there is no command `{name}`; `backup -h` lists all of them")))
}

fn write_all(program: &Command, folder: &Path) -> Result<(), Error> {
    let failed = |path: &Path, error| Error::Io(format!("writing {}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for page in program.get_subcommands().map(of_command).chain([overview(program)]) {
        let path = folder.join(format!("{}.1", page.name));
        std::fs::write(&path, page.text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The page about the whole program: its commands, what they read and write, and how they end.
fn overview(program: &Command) -> Page {
    let mut end = Roff::new();
    heading(&mut end, "EXIT STATUS");
    for (code, meaning) in Exit::MEANINGS {
        item(&mut end, &(code as i32).to_string(), meaning);
    }
    heading(&mut end, "ENVIRONMENT");
    end.text([roman(
        "Settings are environment variables. Those that are not in the environment are read from .env in the working \
         directory, one NAME=value a line. A secret may also be given as a file, by NAME_FILE. ",
    )]);
    end.text([bold("backup config"), roman(" shows the settings in force, and where each comes from.")]);
    for group in settings::groups() {
        end.control("SS", [group.title]);
        for setting in &group.settings {
            end.control("TP", []);
            end.text([bold(setting.name), roman(format!(" [{}]", setting.default.words()))]);
            end.text([roman(setting.describe())]);
        }
    }
    heading(&mut end, "FILES");
    for (name, meaning) in [
        (".env", "Settings that are not in the environment, in the working directory."),
        ("NAME.sql.gz, NAME.dump", "An archive, below BACKUP_DIR or in the store; with .age if it is encrypted."),
        ("NAME.sql.gz.sha256", "Its checksum, for sha256sum -c."),
        ("NAME.sql.gz.facts.json.gz", "What is known of its content, which a verification compares."),
        ("NAME.sql.gz.json", "The manifest, written last. Without it there is no backup."),
    ] {
        item(&mut end, name, meaning);
    }
    heading(&mut end, "EXAMPLES");
    for (command, meaning) in [
        ("backup check", "List what would stop a backup, with a hint for each problem."),
        ("backup run --type daily", "Make a daily backup, and prune what retention no longer keeps."),
        ("backup verify latest", "Restore the newest backup into a scratch database, and compare."),
        ("backup restore latest --into shop_copy", "Restore it into a database of its own."),
    ] {
        item(&mut end, command, meaning);
    }
    heading(&mut end, "SEE ALSO");
    end.text([roman("pg_dump(1), pg_dumpall(1), pg_restore(1)")]);
    page(program, &end)
}

fn of_command(command: &Command) -> Page {
    let mut end = Roff::new();
    heading(&mut end, "EXIT STATUS");
    end.text([roman("0 when everything was done; "), bold("backup"), roman("(1) lists the others.")]);
    heading(&mut end, "SEE ALSO");
    end.text([bold("backup"), roman("(1), for settings, files and examples")]);
    page(command, &end)
}

fn heading(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

fn item(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(meaning)]);
}

/// What clap knows of a command, and then the rest.
fn page(command: &Command, end: &Roff) -> Page {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command.clone());
    let mut sections = Vec::new();
    // writing to memory cannot fail
    let _ = man.render_name_section(&mut sections);
    let _ = man.render_synopsis_section(&mut sections);
    let _ = man.render_description_section(&mut sections);
    let _ = man.render_options_section(&mut sections);
    if command.has_subcommands() {
        let _ = man.render_subcommands_section(&mut sections);
    }
    let _ = end.to_writer(&mut sections);
    // each section brings the same preamble, which defines the apostrophe
    let preamble = Roff::new().render();
    let sections = String::from_utf8_lossy(&sections).replace(&preamble, "");
    let version = env!("CARGO_PKG_VERSION");
    // aligned to the left and not hyphenated, so that options and settings can be searched for and copied
    let begin = format!(".TH {name} 1 \"\" \"postgres-backup-job {version}\" \"User Commands\"\n.nh\n.ad l\n");
    Page { name, text: ascii(&format!("{preamble}{begin}{sections}")) }
}

/// Every other letter by its number, so that a page is read alike whatever the locale.
fn ascii(text: &str) -> String {
    let escaped = |letter: char| match letter {
        // terminals of plain ASCII have no such letter
        '…' => "...".to_owned(),
        _ if letter.is_ascii() => letter.into(),
        _ => format!("\\[u{:04X}]", letter as u32),
    };
    text.chars().map(escaped).collect()
}
