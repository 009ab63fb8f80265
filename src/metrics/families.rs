//! The families, each once: name, help, labels and where its values come from.

/// A family of series. Every series has the label `source` besides.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Where its values come from.
    pub(super) origin: FamilyOrigin,
}

/// Where values come from, and with it when those of a file are out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FamilyOrigin {
    /// What lies in storage: said anew for every database, wherever that could be read.
    Storage,
    /// What the latest run did for a database.
    Attempt,
    /// The latest run of a shard, or of all.
    Run,
    Process,
}

const SIDE: &[&str] = &["database", "target"];
const DATABASE: &[&str] = &["database"];

macro_rules! families {
    ($($constant:ident $name:literal $labels:expr, $origin:ident, $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family {
            name: concat!("pg_backup_", $name), help: $help, labels: $labels, origin: FamilyOrigin::$origin,
        };)*
        /// All of them, in the order documents show them.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    LAST_SUCCESS_TIMESTAMP "last_success_timestamp_seconds" SIDE, Storage, "When the newest good backup was completed; 0 when there is none.";
    LAST_COMPLETION_TIMESTAMP "last_completion_timestamp_seconds" SIDE, Attempt, "When the latest run that had to do with it ended, whatever came of it.";
    STATUS "status" SIDE, Attempt, "1 when that run stored a backup there, 0 when it did not.";
    DURATION "duration_seconds" &["database", "stage"], Attempt, "How long a stage of that run took: dump, store or verify.";
    STORED_BYTES "stored_bytes" SIDE, Storage, "Size of the newest good archive.";
    SOURCE_BYTES "source_bytes" SIDE, Storage, "Size of its dump before compression.";
    ROWS "rows" SIDE, Storage, "Rows in it.";
    BACKUPS "backups" SIDE, Storage, "Backups that are stored, good or not.";
    BACKUPS_BYTES "backups_bytes" SIDE, Storage, "Size of their archives.";
    OLDEST_TIMESTAMP "oldest_timestamp_seconds" SIDE, Storage, "When the oldest of them began; 0 when there is none.";
    PRUNED_BACKUPS "pruned_backups" SIDE, Attempt, "Backups that the latest run pruned.";
    PENDING_UPLOADS "pending_uploads" DATABASE, Storage, "Backups of the folder that the store lacks.";
    VERIFICATION_STATUS "verification_status" DATABASE, Storage, "1 when the latest verification passed, 0 when it failed.";
    VERIFICATION_TIMESTAMP "verification_timestamp_seconds" DATABASE, Storage, "When that ended.";
    STORAGE_USED "storage_used_bytes" &["target"], Storage, "Bytes that files take on the volume of the folder.";
    STORAGE_CAPACITY "storage_capacity_bytes" &["target"], Storage, "Those and the bytes that we may still take.";
    RUN_STATUS "run_status" &["shard"], Run, "1 when the latest run did everything, 0 when anything failed.";
    RUN_COMPLETION_TIMESTAMP "run_completion_timestamp_seconds" &["shard"], Run, "When the latest run ended.";
    RUN_DURATION "run_duration_seconds" &["shard"], Run, "How long it took.";
    NEXT_RUN_TIMESTAMP "next_run_timestamp_seconds" &["type"], Process, "When the daemon runs next.";
    RUN_IN_PROGRESS "run_in_progress" &[], Process, "1 while the daemon makes backups.";
    STORAGE_READABLE "storage_readable" &["target"], Process, "1 when the daemon could read the storage when it last looked.";
    LOOK_TIMESTAMP "look_timestamp_seconds" &[], Process, "When the daemon last looked at the storage.";
    BUILD_INFO "build_info" &["version"], Process, "1, with the version of the program.";
}
