//! What must not be left when a command has ended; builds with debug assertions look, and end as a bug does.
//!
//! A task that goes on, or one that panicked where nobody waited for it, is found by the tests, whatever they are about. A
//! future that is polled after it ended panics by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

static PANICKED: AtomicBool = AtomicBool::new(false);
/// How long sessions may take to say goodbye.
const PATIENCE: Duration = Duration::from_secs(5);

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
    if PANICKED.load(Ordering::Relaxed) {
        return Some("a task panicked".to_owned());
    }
    let alive = || Handle::current().metrics().num_alive_tasks();
    let ended = async {
        while alive() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ended).await.is_err().then(|| format!("tasks that outlive their command: {}", alive()))
}
