//! What commands print as JSON: one document with a version. A command that does something prints it whatever its end,
//! with exit code and failures.

use super::output;
use crate::config::Problems;
use crate::error::{Error, Exit};
use crate::job;
use crate::notify;
use crate::report::{Failure, Report};
use serde::Serialize;

/// Raised when a field is renamed or removed.
const VERSION: u32 = 1;

/// A document with its version.
#[derive(Serialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

/// What a command came to.
#[derive(Serialize)]
struct CommandResult<'a, T> {
    exit_code: i32,
    #[serde(flatten)]
    content: &'a T,
    failures: Vec<Failure>,
}

/// Nothing but how it ended.
#[derive(Serialize)]
pub(super) struct NothingDone {}

/// Prints an object with its version.
pub(super) fn print(content: &impl Serialize) -> Result<(), Error> {
    output::print_json(&Versioned { version: VERSION, content })
}

/// Prints what a command came to. The error that ended it early is the answer, which is said where every command's is;
/// others are in the log already.
pub(super) fn conclude(
    stage: &'static str,
    content: &impl Serialize,
    outcome: Result<(Exit, Vec<Error>), Error>,
) -> Result<Exit, Error> {
    let (exit_code, failures) = match &outcome {
        Ok((exit, errors)) => (*exit as i32, errors.iter().flat_map(|error| failures(stage, error)).collect()),
        Err(error) => (error.exit() as i32, failures(stage, error)),
    };
    let printed = print(&CommandResult { exit_code, content, failures });
    written(outcome?.0, printed)
}

/// Prints the report of a run as the webhook gets it, with the exit code.
pub(super) fn print_report(report: &Report, exit: Exit) -> Result<Exit, Error> {
    let mut document = notify::as_json(report);
    document["exit_code"] = (exit as i32).into();
    written(exit, output::print_json(&document))
}

/// Prints that the settings cannot be used.
pub(super) fn print_problems(problems: &Problems) -> Result<(), Error> {
    let failure = |cause: &String| Failure { stage: "configuration", cause: cause.clone(), hint: None, stderr: None };
    let failures = problems.0.iter().map(failure).collect();
    print(&CommandResult { exit_code: Exit::Config as i32, content: &NothingDone {}, failures })
}

/// Prints why there is no answer.
pub(super) fn print_failure(stage: &'static str, error: &Error) -> Result<(), Error> {
    let failures = failures(stage, error);
    print(&CommandResult { exit_code: error.exit() as i32, content: &NothingDone {}, failures })
}

/// The exit code of a command whose document was to be written.
pub(super) fn written(exit: Exit, printed: Result<(), Error>) -> Result<Exit, Error> {
    match printed {
        Err(error) if exit == Exit::Done => Err(error),
        Err(error) => {
            output::complain(&error.to_string());
            Ok(exit)
        }
        Ok(()) => Ok(exit),
    }
}

/// Several errors that came as one are several failures.
fn failures(stage: &'static str, error: &Error) -> Vec<Failure> {
    match error {
        Error::Partly { errors, .. } | Error::Targets(errors) => {
            errors.iter().flat_map(|error| failures(stage, error)).collect()
        }
        error => vec![job::failure(stage, error)],
    }
}
