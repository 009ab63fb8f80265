//! A check that is pinged when a run begins and when it ends, and raises the alarm when that does not happen.

use super::message::Message;
use crate::config::Secret;
use crate::delivery::{Content, Undelivered, deliver};
use crate::report::{Outcome, Report};
use uuid::Uuid;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Start,
    Success,
    Fail,
}

impl Signal {
    pub(super) fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Partial | Outcome::Failure => Self::Fail,
        }
    }
}

/// Pings the check; `rid` lets it tell runs at the same time apart.
pub(super) async fn ping(url: &Secret, signal: Signal, run_id: &str, text: String) -> Result<(), Undelivered> {
    let address = address(url, signal, run_id).ok_or(Undelivered::Address)?;
    deliver(&address, &Content::Text(text), None).await
}

/// What the check is told of the end.
pub(super) fn text(report: &Report) -> String {
    Message::of(report).minimal()
}

fn address(url: &Secret, signal: Signal, run_id: &str) -> Option<Secret> {
    let mut address = url::Url::parse(url.expose()).ok()?;
    let word = match signal {
        Signal::Start => Some("start"),
        Signal::Success => None,
        Signal::Fail => Some("fail"),
    };
    if let Some(word) = word {
        address.path_segments_mut().ok()?.pop_if_empty().push(word);
    }
    if let Ok(run_id) = Uuid::parse_str(run_id) {
        address.query_pairs_mut().append_pair("rid", &run_id.hyphenated().to_string());
    }
    Some(Secret::from(address.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_goes_behind_the_path_and_before_the_query() {
        let run = "0197c0ffee007000800000000000abcd";
        let address = |url: &str, signal| {
            let address = address(&Secret::from(url.to_owned()), signal, run).unwrap();
            address.expose().replace("0197c0ff-ee00-7000-8000-00000000abcd", "RUN")
        };
        assert_eq!(address("https://hc.example/ping/x", Signal::Start), "https://hc.example/ping/x/start?rid=RUN");
        assert_eq!(
            address("https://hc.example/x/?create=1", Signal::Fail),
            "https://hc.example/x/fail?create=1&rid=RUN"
        );
        assert_eq!(address("https://hc.example/x", Signal::Success), "https://hc.example/x?rid=RUN");
    }
}
