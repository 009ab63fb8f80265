//! How far a stream has come: counters that the stream moves, and the lines or the bar that show them.

use crate::human;
use indicatif::{ProgressBar, ProgressStyle};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::info;

/// Bytes so far; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    raw: AtomicU64,
    stored: AtomicU64,
    table: Mutex<String>,
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

/// Writes a line about one dump every 30 s, until dropped.
pub async fn write_lines(counters: Counters, subject: String, expected_bytes: u64) {
    let started = Instant::now();
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let raw = counters.raw();
        let share = raw.saturating_mul(100) / expected_bytes.max(1);
        info!(
            raw_bytes = raw,
            stored_bytes = counters.stored(),
            "dumping {subject}: {} read, {} stored, {}/s, {share} % of the database's size",
            human::size(raw),
            human::size(counters.stored()),
            human::size(rate(raw, started))
        );
    }
}

/// Writes a line about one restore every 30 s, until dropped.
pub async fn write_restore_lines(counters: Counters, subject: &str, expected_bytes: u64) -> Infallible {
    let started = Instant::now();
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let (raw, table) = (counters.raw(), counters.table());
        let share = raw.saturating_mul(100) / expected_bytes.max(1);
        info!(
            raw_bytes = raw,
            table,
            "restoring {subject}: {} of {} ({share} %), {}/s, {}",
            human::size(raw),
            human::size(expected_bytes),
            human::size(rate(raw, started)),
            if table.is_empty() { "objects".into() } else { human::one_line(&table) }
        );
    }
}

/// Bytes a second.
fn rate(bytes: u64, since: Instant) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let rate = (bytes as f64 / since.elapsed().as_secs_f64().max(0.001)) as u64;
    rate
}

/// Shows a bar for one restore on the terminal, until dropped.
pub async fn show_restore_bar(counters: Counters, expected_bytes: u64) -> Infallible {
    let bar = ProgressBar::new(expected_bytes.max(1));
    let template = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec} {msg}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let _clear = ClearOnDrop(bar.clone());
    loop {
        bar.set_position(counters.raw());
        bar.set_message(human::one_line(&counters.table()).into_owned());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Shows a bar for the whole run on the terminal, until dropped.
pub async fn show_bar(counters: Counters, expected_bytes: u64) {
    let bar = ProgressBar::new(expected_bytes.max(1));
    let template = "{bar:30} {bytes} of about {total_bytes}, {bytes_per_sec}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let _clear = ClearOnDrop(bar.clone());
    loop {
        // a dump may be larger than its database
        bar.set_length(expected_bytes.max(counters.raw()).max(1));
        bar.set_position(counters.raw());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct ClearOnDrop(ProgressBar);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
