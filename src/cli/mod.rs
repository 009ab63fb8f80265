//! The command line: clap, and one thin file for each command. Only this module prints.

mod calendar;
mod check;
mod config;
mod confirm;
mod diff;
mod download;
mod find;
mod help;
mod init;
mod json;
mod list;
mod man;
mod output;
mod peek;
mod prune;
mod prune_document;
mod restore;
mod restore_document;
mod run;
mod run_plan;
mod schedule;
mod show;
mod status;
mod table;
mod tally;
mod upload;
mod verify;

use crate::config::{BackupType, Config, Target, log_of};
use crate::error::{Error, Exit};
use crate::logging::{self, LogOutput};
use crate::shutdown::Shutdown;
use clap::{Args, Parser, Subcommand, ValueEnum};
use help::Detail;
use std::ffi::OsString;
use std::path::Path;
use tracing::warn;

/// Backs up PostgreSQL: dump, store, verify, prune, notify
///
/// Without a command it does the same as `run`. Settings come from environment variables; those that are not set there
/// are read from `.env` in the working directory.
#[derive(Debug, Parser)]
#[command(name = "backup", version, args_conflicts_with_subcommands = true, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole job: dump, store, verify, prune, notify
    #[command(visible_alias = "backup")]
    Run(run::Arguments),
    /// List the backups
    List(list::Arguments),
    /// Whether each database has a recent good backup; exits 1 if not
    ///
    /// A backup is recent when it is not older than --max-age.
    Status(status::Arguments),
    /// Prove that a backup restores to what was dumped
    ///
    /// The backup is restored into a scratch database, which is compared with what was recorded while the dump was made.
    Verify(verify::Arguments),
    /// Restore a database, a table, or the whole server
    ///
    /// What was restored is compared with what was dumped before anything is replaced.
    Restore(restore::Arguments),
    /// Show what is in a backup: tables, rows, extensions, verification
    Show(show::Arguments),
    /// Show what changed between two backups: objects, rows, bytes
    Diff(diff::Arguments),
    /// Show the first rows of a table in a backup, without a restore
    Peek(peek::Arguments),
    /// Send local backups to the store, unless it already has them
    Upload(upload::Arguments),
    /// Copy a backup into a folder, resuming an interrupted copy
    Download(download::Arguments),
    /// Delete the backups that retention no longer keeps
    Prune(prune::Arguments),
    /// Run on a schedule until stopped; serve a status page and metrics
    ///
    /// It serves a status page, /healthz and /metrics over HTTP.
    Schedule(schedule::Arguments),
    /// Look for problems that would stop a run
    ///
    /// It checks the database, privileges, client tools, folder and store, keys and webhooks.
    #[command(visible_alias = "test")]
    Check(OutputFormat),
    /// Show the settings in force, and where each comes from
    ///
    /// Secrets are hidden.
    Config(OutputFormat),
    /// Ask for what a first backup needs, write .env, and check it
    ///
    /// Without a terminal, it prints a template.
    Init(init::Arguments),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program or of a command
    Man(man::Arguments),
}

impl Command {
    /// True where JSON is wanted of a command that prints it whatever its end.
    fn prints_result(&self) -> bool {
        match self {
            Self::Run(arguments) => arguments.json,
            Self::Prune(arguments) => arguments.json,
            Self::Restore(arguments) => arguments.json,
            Self::Upload(arguments) => arguments.json,
            Self::Verify(arguments) => arguments.json,
            _ => false,
        }
    }

    /// The name of a command of which an answer in JSON is wanted: where it fails, there is none.
    fn answers(&self) -> Option<&'static str> {
        let (name, is_json) = match self {
            Self::List(arguments) => ("list", arguments.json),
            Self::Status(arguments) => ("status", arguments.json),
            Self::Show(arguments) => ("show", arguments.json),
            Self::Diff(arguments) => ("diff", arguments.json),
            Self::Peek(arguments) => ("peek", arguments.is_json()),
            Self::Check(format) => ("check", format.json),
            Self::Config(format) => ("config", format.json),
            _ => return None,
        };
        is_json.then_some(name)
    }

    /// True for what only reads backups, of which one side has enough.
    fn reads_backups(&self) -> bool {
        matches!(
            self,
            Self::List(_)
                | Self::Status(_)
                | Self::Show(_)
                | Self::Diff(_)
                | Self::Peek(_)
                | Self::Verify(_)
                | Self::Restore(_)
                | Self::Download(_)
        )
    }
}

/// Form of the output.
#[derive(Debug, Args)]
struct OutputFormat {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which side to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SideArgument {
    /// The local folder
    Local,
    /// The remote store
    Remote,
    /// Both
    All,
}

impl From<SideArgument> for Target {
    fn from(location: SideArgument) -> Self {
        match location {
            SideArgument::Local => Self::Local,
            SideArgument::Remote => Self::Remote,
            SideArgument::All => Self::All,
        }
    }
}

/// `--type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TypeArgument {
    /// Pruned by age
    Auto,
    /// Newest N kept
    Daily,
    /// Newest N kept
    Weekly,
    /// Newest N kept
    Monthly,
    /// Never pruned
    Manual,
}

impl From<TypeArgument> for BackupType {
    fn from(kind: TypeArgument) -> Self {
        match kind {
            TypeArgument::Auto => Self::Auto,
            TypeArgument::Daily => Self::Daily,
            TypeArgument::Weekly => Self::Weekly,
            TypeArgument::Monthly => Self::Monthly,
            TypeArgument::Manual => Self::Manual,
        }
    }
}

/// What a command needs from the process.
pub struct Process {
    /// Arguments, the program's name first.
    pub arguments: Vec<OsString>,
    /// Asks everybody to stop.
    pub shutdown: Shutdown,
}

/// Runs a command; the answer is the exit code.
pub async fn run(process: Process) -> Exit {
    let cli = match parse(&process.arguments) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let mut command = cli.command.unwrap_or(Command::Run(cli.run));
    if let Command::Completions { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut help::command_line(Detail::Long), "backup", &mut script);
        return ended(output::print(&String::from_utf8_lossy(&script)).map(|()| Exit::Done));
    }
    if let Command::Man(arguments) = &command {
        return ended(man::execute(arguments, help::command_line(Detail::Long)));
    }
    if let Command::Init(_) = command {
        match init::execute(&process.shutdown).await {
            Ok(true) => command = Command::Check(OutputFormat { json: false }),
            outcome => return ended(outcome.map(|_| Exit::Done)),
        }
    }
    let config = match Config::load(std::env::vars_os(), Path::new(".")) {
        Ok(config) => config,
        Err(problems) => {
            logging::init(log_of(std::env::vars_os(), Path::new(".")), LogOutput::Stderr);
            problems.0.iter().for_each(|problem| output::complain(&format!("configuration: {problem}")));
            let wants_json = command.prints_result() || command.answers().is_some();
            let printed = if wants_json { json::print_problems(&problems) } else { Ok(()) };
            return ended(printed.map(|()| Exit::Config));
        }
    };
    // a daemon's log is what it has to say
    let output = if matches!(command, Command::Schedule(_)) { LogOutput::Stdout } else { LogOutput::Stderr };
    logging::init(config.log, output);
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    let answers = command.answers();
    let may_read_one = config.target == Target::All && command.reads_backups();
    let outcome = match command {
        Command::Run(arguments) => run::execute(&arguments, config, process.shutdown).await,
        Command::List(arguments) => guarded(&process.shutdown, list::execute(&arguments, &config)).await,
        Command::Schedule(arguments) => schedule::execute(&arguments, config, process.shutdown).await,
        Command::Status(arguments) => guarded(&process.shutdown, status::execute(&arguments, &config)).await,
        Command::Show(arguments) => guarded(&process.shutdown, show::execute(&arguments, &config)).await,
        Command::Diff(arguments) => guarded(&process.shutdown, diff::execute(&arguments, &config)).await,
        Command::Peek(arguments) => guarded(&process.shutdown, peek::execute(&arguments, &config)).await,
        Command::Upload(arguments) => upload::execute(&arguments, &config, &process.shutdown).await,
        Command::Verify(arguments) => verify::execute(&arguments, &config, &process.shutdown).await,
        Command::Restore(arguments) => restore::execute(&arguments, &config, &process.shutdown).await,
        Command::Download(arguments) => guarded(&process.shutdown, download::execute(&arguments, &config)).await,
        Command::Prune(arguments) => prune::execute(&arguments, &config, &process.shutdown).await,
        Command::Check(format) => guarded(&process.shutdown, check::execute(&format, &config)).await,
        Command::Config(format) => config::execute(&format, &config),
        Command::Init(_) | Command::Completions { .. } | Command::Man(_) => Ok(Exit::Done),
    };
    let is_store_away = outcome.as_ref().is_err_and(Error::is_store_away);
    let printed = match (&outcome, answers) {
        (Err(error), Some(name)) => json::print_failure(name, error),
        _ => Ok(()),
    };
    let exit = ended(outcome);
    if may_read_one && is_store_away {
        output::complain("the local backups can be read without the store: set BACKUP_TARGET=local for this command");
    }
    // the error itself comes first
    ended(printed.map(|()| exit));
    exit
}

/// The exit code of a command, whose error is said here and nowhere else.
fn ended(outcome: Result<Exit, Error>) -> Exit {
    outcome.unwrap_or_else(|error| {
        output::complain_of(&error);
        error.exit()
    })
}

async fn guarded(shutdown: &Shutdown, work: impl Future<Output = Result<Exit, Error>>) -> Result<Exit, Error> {
    shutdown.guard(work).await?
}

/// clap's own exit code for a bad command line is 2; ours is 64.
fn parse(arguments: &[OsString]) -> Result<Cli, Exit> {
    let is_short = arguments.iter().any(|argument| argument == "-h");
    let command_line = help::command_line(if is_short { Detail::Short } else { Detail::Long });
    let matches = command_line.try_get_matches_from(arguments);
    matches.and_then(|matches| <Cli as clap::FromArgMatches>::from_arg_matches(&matches)).map_err(|error| {
        let printed = output::written(error.print());
        if error.use_stderr() { Exit::Usage } else { ended(printed.map(|()| Exit::Done)) }
    })
}
