//! The bar on the terminal: it is gone when its owner is, and lines of the log stand above it.

use super::{Counters, Pace, at};
use crate::background::AbortOnDrop;
use crate::text;
use indicatif::{ProgressBar, ProgressStyle};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time between two looks at the counters.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Columns below which words are all that a line has room for.
const NARROW: u16 = 70;

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
    let shown = ClearedBar::new(expected_bytes);
    let bar = shown.0.clone();
    let task = async move {
        loop {
            bar.set_length(expected_bytes.max(counters.raw()).max(1));
            show(&bar, counters.raw(), "about ", expected_bytes, &at(&counters.table()));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    ShownBar { _bar: shown, _task: AbortOnDrop::spawn(task) }
}

/// Shows a bar for one restore on the terminal, until dropped.
pub async fn show_restore_bar(counters: Counters, expected_bytes: u64) -> Infallible {
    let bar = ClearedBar::new(expected_bytes);
    loop {
        show(&bar.0, counters.raw(), "", expected_bytes, &counters.stage());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Shows how far it has come, and what it is at, as far as the line has room.
fn show(bar: &ProgressBar, bytes: u64, about: &str, expected_bytes: u64, stage: &str) {
    let pace = Pace::after(bytes, bar.elapsed(), expected_bytes);
    let stage = if stage.is_empty() { String::new() } else { format!(", {stage}") };
    bar.set_position(bytes);
    bar.set_message(format!("{}{stage}", how_far(bytes, about, expected_bytes, pace)));
}

/// Columns of the terminal that the bar is drawn on.
fn console_width() -> Option<u16> {
    rustix::termios::tcgetwinsize(std::io::stderr()).ok().map(|size| size.ws_col)
}

struct ClearedBar(ProgressBar);

impl ClearedBar {
    fn new(expected_bytes: u64) -> Self {
        let bar = ProgressBar::new(expected_bytes.max(1));
        let has_room = console_width().is_none_or(|columns| columns >= NARROW);
        let style = ProgressStyle::with_template(if has_room { "{bar:20} {wide_msg}" } else { "{wide_msg}" });
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
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
