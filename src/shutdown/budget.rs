//! How long what must not be dropped lightly may take: the one table of the times in which a stop has to be over.

use std::time::Duration;

/// How long a command may go on after it was asked to stop, by the contract; Kubernetes kills after 30 s, Docker after 10
/// unless told otherwise.
pub const STOP: Duration = Duration::from_secs(18);

/// The time of one piece of work that must not be dropped lightly.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Most that it may take.
    pub limit: Duration,
    /// When it has to be over after a stop, counted from the moment that somebody asked for it.
    pub after_stop: Duration,
}

const fn budget(limit: u64, after_stop: u64) -> Budget {
    Budget { limit: Duration::from_secs(limit), after_stop: Duration::from_secs(after_stop) }
}

/// Two databases change their names; it gives up by itself before.
pub const SWAP: Budget = budget(120, 2);
/// What became of a swap that was not answered.
pub const SWAP_OUTCOME: Budget = budget(60, 6);
/// A store ends what it was asked for: an archive that it has begun to make may be there in a moment, and can be removed.
pub const STORE_ANSWER: Budget = budget(6, 6);
/// The record of a backup is written, or what was begun is removed, on each side.
pub const CLEANUP: Budget = budget(60, 9);
/// A store notes an upload down, before its bytes and after them.
pub const UPLOAD_RECORD: Budget = budget(600, 9);
/// A scratch database is made or dropped.
pub const SCRATCH: Budget = budget(300, 11);
/// The notes of failed runs are read and written.
pub const FAILURE_NOTES: Budget = budget(15, 11);
/// The look at the storage for the metrics.
pub const OVERVIEW: Budget = budget(20, 12);
/// Metrics are published.
pub const METRICS: Budget = budget(45, 14);
/// Notifications are sent, the last thing of a run.
pub const NOTIFICATIONS: Budget = budget(45, 16);

/// All of them, in the order in which a run that is stopped comes to them.
const IN_ORDER: &[Budget] = &[
    SWAP,
    SWAP_OUTCOME,
    STORE_ANSWER,
    CLEANUP,
    UPLOAD_RECORD,
    SCRATCH,
    FAILURE_NOTES,
    OVERVIEW,
    METRICS,
    NOTIFICATIONS,
];

/// Each ends after the one before it, and the last one early enough for the process to end: checked when this is compiled.
const _: () = {
    let mut at = 1;
    while at < IN_ORDER.len() {
        assert!(IN_ORDER[at - 1].after_stop.as_secs() <= IN_ORDER[at].after_stop.as_secs());
        at += 1;
    }
    assert!(IN_ORDER[at - 1].after_stop.as_secs() + 2 <= STOP.as_secs());
};
