//! How far a stream has come: counters that the stream moves, and the lines or the bar that show them.

mod bar;

use crate::text;
use chrono::TimeDelta;
use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{info, warn};

pub use bar::{ShownBar, beside_bar, show_bar, show_restore_bar};

/// Bytes so far; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    raw: AtomicU64,
    stored: AtomicU64,
    table: Mutex<String>,
    /// What is made of rows once they are read, and how much of it is left.
    making: Mutex<Option<(&'static str, usize)>>,
    /// Since when the source is waited for; none while bytes are worked on.
    waiting: Mutex<Option<Instant>>,
    whole: Option<Counters>,
}

impl Counters {
    /// Counters of a part, whose bytes count for this whole too.
    pub fn part(&self) -> Self {
        Self(Arc::new(Count { whole: Some(self.clone()), ..Count::default() }))
    }

    /// Adds bytes read from the source.
    pub fn add_raw(&self, bytes: u64) {
        self.0.raw.fetch_add(bytes, Ordering::Relaxed);
        self.0.whole.iter().for_each(|whole| whole.add_raw(bytes));
    }

    /// Notes that the source is waited for, until it is noted that it is not.
    pub fn set_waiting(&self, waiting: bool) {
        *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting.then(Instant::now);
    }

    /// How long the source has sent nothing that was waited for.
    pub fn silence(&self) -> Duration {
        let waiting = *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Adds bytes handed to the targets.
    pub fn add_stored(&self, bytes: u64) {
        self.0.stored.fetch_add(bytes, Ordering::Relaxed);
        self.0.whole.iter().for_each(|whole| whole.add_stored(bytes));
    }

    /// Says which table's rows pass.
    pub fn set_table(&self, table: &str) {
        let mut current = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != table {
            table.clone_into(&mut current);
            self.0.whole.iter().for_each(|whole| whole.set_table(table));
        }
    }

    /// Says what is made of the rows now, and how many of them are left.
    pub fn set_making(&self, what: &'static str, left: usize) {
        *self.0.making.lock().unwrap_or_else(PoisonError::into_inner) = (left > 0).then_some((what, left));
    }

    /// Where it is: `12 indexes and keys left`, or `at public.orders`
    fn stage(&self) -> String {
        match *self.0.making.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((what, left)) => format!("rows are loaded, {left} {what} left"),
            None => format!("at {}", at(&self.table())),
        }
    }

    /// The table whose rows passed last; empty where none did.
    pub fn table(&self) -> String {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes read from the source.
    pub fn raw(&self) -> u64 {
        self.0.raw.load(Ordering::Relaxed)
    }

    /// Bytes handed to the targets.
    pub fn stored(&self) -> u64 {
        self.0.stored.load(Ordering::Relaxed)
    }
}

/// Time between two lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// A source that sends nothing for so long is told of.
pub const SILENT: Duration = Duration::from_secs(60);

/// Says each time that a source has sent nothing for another minute, and why, until dropped.
pub async fn watch_silence(counters: Counters, subject: String, why: impl AsyncFn() -> String) -> Infallible {
    let mut told = Duration::ZERO;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let silence = counters.silence();
        if silence < SILENT {
            told = Duration::ZERO;
        } else if silence >= told + SILENT {
            told = silence;
            let lasted = text::duration(TimeDelta::from_std(silence).unwrap_or_default());
            warn!("{subject}: the source has sent nothing for {lasted}; {}", why().await);
        }
    }
}

/// Writes a line about one dump every 30 s, until dropped.
pub async fn write_lines(counters: Counters, subject: String, expected_bytes: u64) {
    let started = Instant::now();
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        if counters.silence() >= LINE_EVERY / 3 {
            // how long the rest takes is anybody's guess
            let raw_bytes = counters.raw();
            info!(raw_bytes, "dumping {subject}: {} read, and no more data is arriving", text::size(raw_bytes));
            continue;
        }
        let pace = Pace::of(&counters, started, expected_bytes);
        let (raw, stored) = (counters.raw(), counters.stored());
        let (table, share) = (counters.table(), pace.share);
        info!(
            raw_bytes = raw,
            bytes = stored,
            table,
            "dumping {subject}: {} read, {} stored, {pace}, {share} % of the database's size, {}",
            text::size(raw),
            text::size(stored),
            at(&table)
        );
    }
}

/// Writes a line about one restore every 30 s, until dropped.
pub async fn write_restore_lines(counters: Counters, subject: &str, expected_bytes: u64) -> Infallible {
    let started = Instant::now();
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let pace = Pace::of(&counters, started, expected_bytes);
        let (raw, table, share, stage) = (counters.raw(), counters.table(), pace.share, counters.stage());
        info!(
            raw_bytes = raw,
            table,
            "restoring {subject}: {} of {} ({share} %), {pace}, {stage}",
            text::size(raw),
            text::size(expected_bytes),
        );
    }
}

fn at(table: &str) -> Cow<'_, str> {
    if table.is_empty() { "objects".into() } else { text::one_line(table) }
}

/// How fast a stream is, and how long the rest of it takes at that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second.
    pub rate: u64,
    /// Percent of what is expected, which the stream may pass.
    pub share: u64,
    /// Time until the expected end; none once that is passed, while nothing moves, and in the last second.
    pub left: Option<TimeDelta>,
}

impl Pace {
    /// The pace since the beginning.
    pub fn of(counters: &Counters, since: Instant, expected_bytes: u64) -> Self {
        Self::after(counters.raw(), since.elapsed(), expected_bytes)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn after(bytes: u64, elapsed: Duration, expected_bytes: u64) -> Self {
        let rate = (bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        let rest = expected_bytes.checked_sub(bytes).filter(|rest| *rest > 0);
        let seconds = rest.and_then(|rest| i64::try_from(rest.checked_div(rate)?).ok());
        let left = seconds.filter(|seconds| *seconds > 0).and_then(TimeDelta::try_seconds);
        Self { rate, share: bytes.saturating_mul(100) / expected_bytes.max(1), left }
    }
}

/// `12.3 MiB/s, about 4 min 5 s left`
impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/s", text::size(self.rate))?;
        self.left.map_or(Ok(()), |left| write!(f, ", about {} left", text::duration(left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_tells_rate_share_and_the_rest() {
        let pace = |bytes, seconds, expected| Pace::after(bytes, Duration::from_secs(seconds), expected).to_string();
        assert_eq!(pace(10 << 20, 10, 70 << 20), "1.0 MiB/s, about 1 min 0 s left");
        assert_eq!(pace(0, 10, 70 << 20), "0 B/s");
        // the last second is not worth a word
        assert_eq!(pace(69 << 20, 10, 70 << 20), "6.9 MiB/s");
        // a dump may be larger than its database
        assert_eq!(pace(80 << 20, 10, 70 << 20), "8.0 MiB/s");
        assert_eq!(Pace::after(80 << 20, Duration::from_secs(1), 40 << 20).share, 200);
    }

    #[test]
    fn a_whole_shows_the_table_of_the_part_that_began_one_last() {
        let whole = Counters::default();
        let (one, other) = (whole.part(), whole.part());
        one.set_table("public.a");
        other.set_table("public.b");
        one.add_raw(3);
        assert_eq!((one.table().as_str(), whole.table().as_str(), whole.raw()), ("public.a", "public.b", 3));
    }
}
