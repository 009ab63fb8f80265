//! How often something is tried again.

use std::time::Duration;

/// How often to try, and how long to wait between.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Pause between two attempts, before jitter.
    pub delay: Duration,
}
