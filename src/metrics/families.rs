//! The families, each once: name, help, labels and where its values come from.

/// A family of series. Every series has the label `source` besides.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    /// What its value means, in a sentence that needs no other family to be understood.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Where its values come from.
    pub(super) origin: FamilyOrigin,
}

/// Where values come from, which also decides when those in a file are out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FamilyOrigin {
    /// What is in storage: written for every database by each run, for each target that could be read.
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
    LAST_SUCCESS_TIMESTAMP "last_success_timestamp_seconds" SIDE, Storage, "Time when the newest good backup was completed, in Unix seconds; 0 when there is none.";
    LAST_COMPLETION_TIMESTAMP "last_completion_timestamp_seconds" SIDE, Attempt, "Time when the latest run that included the database ended, successful or not, in Unix seconds.";
    STATUS "status" SIDE, Attempt, "1 when the latest run that included the database stored a backup on this side, 0 when it did not.";
    DURATION "duration_seconds" &["database", "stage"], Attempt, "Seconds that a stage (dump, store or verify) of the latest run took for the database.";
    STORED_BYTES "stored_bytes" SIDE, Storage, "Size of the archive of the newest good backup, in bytes; 0 when there is none.";
    SOURCE_BYTES "source_bytes" SIDE, Storage, "Size of the dump in the newest good backup before compression, in bytes; 0 when there is none.";
    ROWS "rows" SIDE, Storage, "Rows in the newest good backup; 0 when there is none.";
    BACKUPS "backups" SIDE, Storage, "Number of stored backups of the database, good or not.";
    BACKUPS_BYTES "backups_bytes" SIDE, Storage, "Total size of the archives of all stored backups of the database, in bytes.";
    OLDEST_TIMESTAMP "oldest_timestamp_seconds" SIDE, Storage, "Time when the oldest stored backup began, in Unix seconds; 0 when there is none.";
    PRUNED_BACKUPS "pruned_backups" SIDE, Attempt, "Number of backups of the database that the latest run pruned.";
    PENDING_UPLOADS "pending_uploads" DATABASE, Storage, "Number of local backups that are not yet in the remote store.";
    VERIFICATION_STATUS "verification_status" DATABASE, Storage, "1 when the latest verification of a backup of the database passed, 0 when it failed.";
    VERIFICATION_TIMESTAMP "verification_timestamp_seconds" DATABASE, Storage, "Time when the latest verification of a backup of the database ended, in Unix seconds.";
    STORAGE_USED "storage_used_bytes" &["target"], Storage, "Bytes in use on the backup volume, by files of any kind.";
    STORAGE_CAPACITY "storage_capacity_bytes" &["target"], Storage, "Capacity of the backup volume in bytes: bytes in use and bytes available to backups.";
    RUN_STATUS "run_status" &["shard"], Run, "1 when the latest run succeeded in full, 0 when anything in it failed.";
    RUN_COMPLETION_TIMESTAMP "run_completion_timestamp_seconds" &["shard"], Run, "Time when the latest run ended, successful or not, in Unix seconds.";
    RUN_DURATION "run_duration_seconds" &["shard"], Run, "Seconds that the latest run took.";
    NEXT_RUN_TIMESTAMP "next_run_timestamp_seconds" &["type"], Process, "Time when the daemon starts the next run of this type, in Unix seconds.";
    RUN_IN_PROGRESS "run_in_progress" &[], Process, "1 while the daemon is running a backup, 0 otherwise.";
    STORAGE_READABLE "storage_readable" &["target"], Process, "1 when the daemon could read this side at its last check of the storage, 0 when it could not.";
    LOOK_TIMESTAMP "look_timestamp_seconds" &[], Process, "Time when the daemon last checked the storage, in Unix seconds.";
    BUILD_INFO "build_info" &["version"], Process, "Always 1; the label `version` has the version of the program.";
}
