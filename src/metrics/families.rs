//! The families, each once: name, help and labels.

/// A family of series. Every series has the label `source` besides.
#[derive(Debug)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
}

const SIDE: &[&str] = &["database", "target"];

macro_rules! families {
    ($($constant:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family { name: concat!("pg_backup_", $name), help: $help, labels: $labels };)*
        /// All of them, in the order documents show them.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    LAST_SUCCESS_TIMESTAMP "last_success_timestamp_seconds" SIDE, "When the newest good backup was completed.";
    LAST_COMPLETION_TIMESTAMP "last_completion_timestamp_seconds" SIDE, "When the latest run that had to do with it ended, whatever came of it.";
    STATUS "status" SIDE, "1 when that run stored a backup there, 0 when it did not.";
    DURATION "duration_seconds" &["database", "stage"], "How long a stage of that run took: dump, store or verify.";
    STORED_BYTES "stored_bytes" SIDE, "Size of the newest good archive.";
    SOURCE_BYTES "source_bytes" SIDE, "Size of its dump before compression.";
    ROWS "rows" SIDE, "Rows in it.";
    BACKUPS "backups" SIDE, "Backups that are stored, good or not.";
    BACKUPS_BYTES "backups_bytes" SIDE, "Size of their archives.";
    OLDEST_TIMESTAMP "oldest_timestamp_seconds" SIDE, "When the oldest of them began.";
    PRUNED_BACKUPS "pruned_backups" SIDE, "Backups that the latest run pruned.";
    PENDING_UPLOADS "pending_uploads" &["database"], "Backups of the folder that the store lacks.";
    VERIFICATION_STATUS "verification_status" &["database"], "1 when the latest verification passed, 0 when it failed.";
    VERIFICATION_TIMESTAMP "verification_timestamp_seconds" &["database"], "When that ended.";
    STORAGE_USED "storage_used_bytes" &["target"], "Bytes that files take on the volume of the folder.";
    STORAGE_CAPACITY "storage_capacity_bytes" &["target"], "Those and the bytes that we may still take.";
    RUN_STATUS "run_status" &["shard"], "1 when the latest run did everything, 0 when anything failed.";
    RUN_COMPLETION_TIMESTAMP "run_completion_timestamp_seconds" &["shard"], "When the latest run ended.";
    RUN_DURATION "run_duration_seconds" &["shard"], "How long it took.";
    NEXT_RUN_TIMESTAMP "next_run_timestamp_seconds" &["type"], "When the daemon runs next.";
    RUN_IN_PROGRESS "run_in_progress" &[], "1 while the daemon makes backups.";
    STORAGE_READABLE "storage_readable" &["target"], "1 when the daemon could read the storage when it last looked.";
    LOOK_TIMESTAMP "look_timestamp_seconds" &[], "When the daemon last looked at the storage.";
    BUILD_INFO "build_info" &["version"], "1, with the version of the program.";
}
