//! What a person has to type before something is destroyed.

use crate::error::{Error, SettingsError};
use crate::shutdown::Shutdown;
use crate::text;
use std::io::{IsTerminal, Write};

/// Asks for a word on the terminal; an error says what was typed instead, and that nothing was changed. It waits as other
/// work does: a signal ends it.
pub(super) async fn confirm(shutdown: Shutdown, question: String, word: String) -> Result<(), Error> {
    if !std::io::stdin().is_terminal() {
        let why = "nothing was changed: confirm on a terminal, or pass --yes";
        return Err(Error::Settings(SettingsError::Usage(why.to_owned())));
    }
    let _ = write!(std::io::stderr().lock(), "{question} Type `{word}` to continue: ");
    let reading = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        // what cannot be read was not typed
        let _ = std::io::stdin().read_line(&mut answer);
        answer
    });
    let answer = shutdown.guard(reading).await?.unwrap_or_default();
    judge(answer.trim_end_matches(['\r', '\n']), &word).map_err(|why| Error::Settings(SettingsError::Usage(why)))
}

/// The error of a command whose output is not for people, and that may not do what it would ask for.
pub(super) fn ask_nobody() -> Error {
    let why = "nothing was changed: with --json there is no question; pass --yes";
    Error::Settings(SettingsError::Usage(why.to_owned()))
}

fn judge(typed: &str, word: &str) -> Result<(), String> {
    match typed {
        typed if typed == word || typed.trim() == word => Ok(()),
        typed if typed.trim().is_empty() => {
            Err(format!("nothing was typed where `{}` was expected: nothing was changed", text::one_line(word)))
        }
        typed => Err(format!("typed `{}`, not `{}`: nothing was changed", text::one_line(typed), text::one_line(word))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_typed_and_that_nothing_was_changed() {
        assert_eq!(judge("shop", "shop"), Ok(()));
        assert_eq!(judge("shpo", "shop").unwrap_err(), "typed `shpo`, not `shop`: nothing was changed");
        assert_eq!(judge(" shop ", "shop"), Ok(()));
        assert_eq!(judge("shop ", "shop "), Ok(()));
        assert_eq!(judge("", "shop").unwrap_err(), "nothing was typed where `shop` was expected: nothing was changed");
    }
}
