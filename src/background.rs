//! Tasks that run beside a command: ended with their owner, and none left when the command has ended; builds with debug
//! assertions look, and end as a bug does.
//!
//! A task of ours that goes on, or one that panicked where nobody waited for it, is found by the tests, whatever they are
//! about. A future that is polled after it ended panics by itself. Connections that an HTTP library keeps are not ours.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

static ALIVE: AtomicUsize = AtomicUsize::new(0);
static PANICKED: AtomicBool = AtomicBool::new(false);
/// How long sessions may take to say goodbye.
const PATIENCE: Duration = Duration::from_secs(5);

/// A task that is alive.
struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The work of a task that is spawned: it is alive until it is over, or dropped. What it logs has the fields of who
/// spawned it.
pub fn counted<W: Future>(work: W) -> impl Future<Output = W::Output> + use<W> {
    ALIVE.fetch_add(1, Ordering::Relaxed);
    let alive = Alive;
    let work = async move {
        let _alive = alive;
        work.await
    };
    work.in_current_span()
}

/// Ends a task when its owner goes.
pub struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    /// Runs `work` beside its owner.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(counted(work)))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Notes panics, beside what is printed of them anyway.
pub fn note_panics() {
    if cfg!(debug_assertions) {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.store(true, Ordering::Relaxed);
            usual(panic);
        }));
    }
}

/// What is wrong now that the command has ended.
pub async fn find() -> Option<String> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let alive = || ALIVE.load(Ordering::Relaxed);
    let ended = async {
        while alive() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let is_over = timeout(PATIENCE, ended).await.is_ok();
    if PANICKED.load(Ordering::Relaxed) {
        return Some("a task panicked".to_owned());
    }
    (!is_over).then(|| format!("tasks that outlive their command: {}", alive()))
}
