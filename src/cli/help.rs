//! Help: `-h` is one screen, `--help` has the options under headings, every detail, and the settings.

use super::Cli;
use crate::config::settings;
use crate::error::Exit;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write as _;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// A line for each option that people use, for `-h`.
    Short,
    Long,
}

/// Headings in the order of a command line, and the options that stand under them.
const HEADINGS: &[(&str, &[&str])] = &[
    ("Which backup", &["database", "source", "location", "cloud", "each", "before", "file"]),
    (
        "What",
        &[
            "kind",
            "databases",
            "shard",
            "source_database",
            "tables",
            "table",
            "rows",
            "schema_only",
            "data_only",
            "globals",
            "cluster",
            "all",
            "adopt",
            "release",
        ],
    ),
    ("Where to", &["into", "replace", "disconnect", "output", "report"]),
    ("How", &["checksum_only", "jobs", "no_owner", "strict", "skip_checks", "reset_passwords", "max_age"]),
    ("Before anything happens", &["dry_run", "yes"]),
    ("What is shown", &["format", "json", "verbose"]),
];

/// Options that few people need, and that `-h` leaves to `--help`.
const RARE: &[&str] =
    &["jobs", "source_database", "disconnect", "reset_passwords", "skip_checks", "no_owner", "strict"];

/// The command line, with the settings under its `--help`.
pub(super) fn command_line(detail: Detail) -> Command {
    let command = shaped(Cli::command(), detail).mut_subcommands(|command| shaped(command, detail));
    command.after_long_help(settings_and_codes())
}

fn shaped(command: Command, detail: Detail) -> Command {
    command.mut_args(|argument| match detail {
        Detail::Short => {
            let is_rare = RARE.contains(&argument.get_id().as_str());
            let has_values = argument.get_action().takes_values();
            argument.hide_possible_values(has_values).hide_short_help(is_rare)
        }
        Detail::Long if argument.is_positional() => argument,
        Detail::Long => {
            let heading = heading(&argument);
            argument.help_heading(heading)
        }
    })
}

fn heading(argument: &Arg) -> Option<&'static str> {
    let id = argument.get_id().as_str();
    HEADINGS.iter().find(|(_, ids)| ids.contains(&id)).map(|(heading, _)| *heading)
}

fn settings_and_codes() -> String {
    let mut help =
        String::from("Settings (environment variables; a secret may also be given as a file, named by NAME_FILE):\n");
    for group in settings::groups() {
        let _ = write!(help, "\n{}\n", group.title);
        for setting in &group.settings {
            let _ = writeln!(help, "  {} [{}]\n      {}", setting.name, setting.default.words(), setting.describe());
        }
    }
    help.push_str("\nExit codes:\n");
    for (code, meaning) in Exit::MEANINGS {
        let _ = writeln!(help, "  {:<4} {meaning}", code as i32);
    }
    help.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_stands_under_a_heading() {
        let command = Cli::command();
        let commands = std::iter::once(&command).chain(command.get_subcommands());
        for command in commands {
            for option in command.get_arguments().filter(|option| !option.is_positional()) {
                assert!(heading(option).is_some(), "{} --{}", command.get_name(), option.get_id());
            }
        }
    }
}
