//! The wish to stop, and why.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
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
    signal: CancellationToken,
    reason: Arc<Mutex<Option<Stop>>>,
    signalled: Arc<OnceLock<Instant>>,
    whole: Option<Box<Shutdown>>,
}

impl Shutdown {
    /// Asks everybody to stop. The first reason counts, but a signal counts more than the deadline.
    pub fn request(&self, reason: Stop) {
        let mut current = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*current, None | Some(Stop::Deadline)) {
            *current = Some(reason);
        }
        if reason != Stop::Deadline {
            self.signalled.get_or_init(Instant::now);
            self.signal.cancel();
        }
        self.token.cancel();
    }

    /// The wish of a part: it stops with this whole, and its deadline is its own.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            token: self.token.child_token(),
            signal: self.signal.child_token(),
            reason: Arc::default(),
            signalled: self.signalled.clone(),
            whole: Some(Box::new(self.clone())),
        }
    }

    /// The reason, once somebody asked.
    pub fn reason(&self) -> Option<Stop> {
        let whole = self.whole.as_ref().and_then(|whole| whole.reason());
        whole.or(*self.reason.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The reason, when it is a signal: the process is about to be killed.
    pub fn signal(&self) -> Option<Stop> {
        self.reason().filter(|reason| *reason != Stop::Deadline)
    }

    /// Runs `work` unless it is time to stop; then `work` is dropped where it stands.
    pub async fn guard<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(self.reason().unwrap_or(Stop::Terminate)),
            output = work => Ok(output),
        }
    }

    /// Runs `work`, which must not be dropped lightly, for at most `patience`, and at most until `haste` after a signal,
    /// however many such works follow each other; none when the time is over.
    pub async fn finish<T>(&self, patience: Duration, haste: Duration, work: impl Future<Output = T>) -> Option<T> {
        let hurried = async {
            self.signal.cancelled().await;
            let since = self.signalled.get().copied().unwrap_or_else(Instant::now);
            tokio::time::sleep_until(since + haste).await;
        };
        tokio::select! {
            biased;
            output = work => Some(output),
            () = hurried => None,
            () = tokio::time::sleep(patience) => None,
        }
    }
}
