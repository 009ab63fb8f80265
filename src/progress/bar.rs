//! The bar on the terminal: it is gone when its owner is, and lines of the log stand above it.

use super::{Counters, Pace, at};
use crate::background::AbortOnDrop;
use crate::text;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time between two looks at the counters.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The bar that is on the terminal now.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Takes the bar off the terminal for as long as something else is written there.
pub fn beside_bar<T>(write: impl FnOnce() -> T) -> T {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match shown {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A bar that is cleared when this is dropped, whatever its task is doing.
pub struct ShownBar {
    _bar: ClearedBar,
    _task: AbortOnDrop,
}

/// Shows a bar for the whole run on the terminal, until dropped. `expected_bytes` is what the dumps are likely to come to.
pub fn show_bar(counters: Counters, expected_bytes: u64) -> ShownBar {
    let shown = ClearedBar::new("about ", expected_bytes);
    let bar = shown.0.clone();
    let task = async move {
        loop {
            bar.set_length(expected_bytes.max(counters.raw()).max(1));
            bar.set_position(counters.raw());
            bar.set_message(at(&counters.table()).into_owned());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    ShownBar { _bar: shown, _task: AbortOnDrop::spawn(task) }
}

/// Shows a bar for one restore on the terminal, until dropped.
pub async fn show_restore_bar(counters: Counters, expected_bytes: u64) -> Infallible {
    let bar = ClearedBar::new("", expected_bytes);
    loop {
        bar.0.set_position(counters.raw());
        bar.0.set_message(counters.stage());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct ClearedBar(ProgressBar);

impl ClearedBar {
    fn new(about: &'static str, expected_bytes: u64) -> Self {
        let bar = ProgressBar::new(expected_bytes.max(1));
        let words = move |state: &ProgressState, text: &mut dyn Write| {
            let pace = Pace::after(state.pos(), state.elapsed(), expected_bytes);
            let _ = text.write_str(&how_far(state.pos(), about, expected_bytes, pace));
        };
        let style = ProgressStyle::with_template("{bar:20} {words}, {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("words", words));
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self(bar)
    }
}

impl Drop for ClearedBar {
    fn drop(&mut self) {
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.finish_and_clear();
    }
}

/// `1.2 GiB of about 4.0 GiB, 20.1 MiB/s, about 2 min 3 s left`; what is expected is not said once it is passed.
fn how_far(bytes: u64, about: &str, expected_bytes: u64, pace: Pace) -> String {
    let of = match bytes < expected_bytes {
        true => format!(" of {about}{}", text::size(expected_bytes)),
        false => String::new(),
    };
    format!("{}{of}, {pace}", text::size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_not_said_once_it_is_passed_and_nothing_takes_0_s() {
        let far = |bytes, seconds, expected| {
            how_far(bytes, "about ", expected, Pace::after(bytes, Duration::from_secs(seconds), expected))
        };
        assert_eq!(far(10 << 20, 10, 70 << 20), "10.0 MiB of about 70.0 MiB, 1.0 MiB/s, about 1 min 0 s left");
        assert_eq!(far(0, 0, 70 << 20), "0 B of about 70.0 MiB, 0 B/s");
        assert_eq!(far((70 << 20) - 1, 10, 70 << 20), "70.0 MiB of about 70.0 MiB, 7.0 MiB/s");
        assert_eq!(far(80 << 20, 10, 70 << 20), "80.0 MiB, 8.0 MiB/s");
    }
}
