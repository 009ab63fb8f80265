//! The wish to stop, and why.

use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// Why a run has to end before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// SIGINT.
    #[error("stopped by SIGINT")]
    Interrupt,
    /// SIGTERM.
    #[error("stopped by SIGTERM")]
    Terminate,
    /// `BACKUP_TIMEOUT` is over.
    #[error("the deadline BACKUP_TIMEOUT is over")]
    Deadline,
}

/// Carries the wish to whoever waits for something; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    reason: Arc<OnceLock<Stop>>,
}

impl Shutdown {
    /// Asks everybody to stop; the first reason counts.
    pub fn request(&self, reason: Stop) {
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// The reason, once somebody asked.
    pub fn reason(&self) -> Option<Stop> {
        self.reason.get().copied()
    }

    /// Runs `work` unless it is time to stop; then `work` is dropped where it stands.
    pub async fn guard<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(self.reason().unwrap_or(Stop::Terminate)),
            output = work => Ok(output),
        }
    }
}
