//! The wish to stop, and why.

pub mod budget;

pub use budget::Budget;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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
    /// SIGHUP: the terminal or the session that started it is gone.
    #[error("stopped by SIGHUP")]
    Hangup,
    /// `BACKUP_TIMEOUT` is over.
    #[error("the deadline BACKUP_TIMEOUT has passed")]
    Deadline,
}

/// Carries the wish to whoever waits for something; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    reason: Arc<Mutex<Option<Stop>>>,
    since: Arc<OnceLock<Instant>>,
    whole: Option<Box<Shutdown>>,
}

impl Shutdown {
    /// Asks everybody to stop. The first reason counts, but a signal counts more than the deadline.
    pub fn request(&self, reason: Stop) {
        let mut current = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*current, None | Some(Stop::Deadline)) {
            *current = Some(reason);
        }
        self.since.get_or_init(Instant::now);
        self.token.cancel();
    }

    /// The wish of a part: it stops with this whole, and its deadline is its own.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            token: self.token.child_token(),
            reason: Arc::default(),
            since: Arc::default(),
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

    /// Since when it is time to stop, whoever asked first.
    fn since(&self) -> Instant {
        let whole = self.whole.as_ref().and_then(|whole| whole.since.get()).copied();
        let asked = whole.into_iter().chain(self.since.get().copied()).min();
        asked.unwrap_or_else(Instant::now)
    }

    /// Runs `work`, which must not be dropped lightly, in its time; none when that is over. After a stop it counts from
    /// the moment that somebody asked, however many such works follow each other. A deadline is no different from a
    /// signal: who set it counts on the end.
    pub async fn finish<T>(&self, budget: Budget, work: impl Future<Output = T>) -> Option<T> {
        let hurried = async {
            self.token.cancelled().await;
            tokio::time::sleep_until(self.since() + budget.after_stop).await;
        };
        tokio::select! {
            biased;
            output = work => Some(output),
            () = hurried => None,
            () = tokio::time::sleep(budget.limit) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn lasts(shutdown: &Shutdown) -> Duration {
        let begun = Instant::now();
        let never = std::future::pending::<()>();
        assert_eq!(shutdown.finish(Budget { limit: Duration::from_secs(300), ..budget::CLEANUP }, never).await, None);
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_must_end_well_is_hurried_by_a_deadline_as_by_a_signal() {
        for stop in [Stop::Deadline, Stop::Terminate, Stop::Hangup] {
            let shutdown = Shutdown::default();
            shutdown.request(stop);
            assert!(lasts(&shutdown).await <= Duration::from_secs(9), "{stop}");
            // the next work has what is left
            assert_eq!(lasts(&shutdown).await, Duration::ZERO, "{stop}");
        }
        assert!(lasts(&Shutdown::default()).await >= Duration::from_secs(300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_of_one_part_leaves_the_next_part_its_time() {
        let whole = Shutdown::default();
        whole.part().request(Stop::Deadline);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let next = whole.part();
        whole.request(Stop::Terminate);
        assert!(lasts(&next).await >= Duration::from_secs(9));
        assert_eq!(next.reason(), Some(Stop::Terminate));
    }
}
