//! Pure: how well each database is kept, from what lies in storage.

use crate::inventory::retention::CLOCKS_AGREE;
use crate::inventory::shrink::{self, Fall, RELEASE, Size};
use crate::inventory::{Inventory, InventoryEntry};
use crate::record::facts::Subject;
use crate::record::manifest::{How, Identity};
use crate::repository::Side;
use crate::storage::Space;
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A backup that is smaller or larger than the one before it by more than this share of it is worth a look.
const STEP: f64 = 0.5;
/// A volume that is fuller than this is worth one too.
const FULL: f64 = 0.8;

/// What is asked.
#[derive(Debug)]
pub struct Question<'a> {
    /// The source that is meant.
    pub source: &'a str,
    /// What runs keep up to date.
    pub expected: &'a [Subject],
    /// How old the newest good backup may be.
    pub max_age: TimeDelta,
    /// Ids and SHA-256 of what the folder has and the store should have and lacks.
    pub pending: &'a HashSet<Identity>,
    /// The volume of the folder.
    pub space: Option<Space>,
    /// Days until that is full, by [`super::forecast::full_in_days`].
    pub full_in_days: Option<u32>,
    /// The share of its rows or tables below which a database has fallen.
    pub shrink_guard: f64,
    /// Until when a person has said that losses were meant.
    pub releases: &'a HashMap<Subject, DateTime<Utc>>,
    /// What else a person should look at.
    pub warnings: &'a [String],
    /// Several servers have backups under the name of the source, and it is not known which of them is meant.
    pub is_ambiguous: bool,
    pub now: DateTime<Utc>,
}

#[cfg(test)]
impl<'a> Question<'a> {
    /// Whether these have a backup of a day or younger, where nothing else is known.
    pub fn plain(expected: &'a [Subject], now: DateTime<Utc>) -> Self {
        use std::sync::LazyLock;
        static PENDING: LazyLock<HashSet<Identity>> = LazyLock::new(HashSet::new);
        static RELEASES: LazyLock<HashMap<Subject, DateTime<Utc>>> = LazyLock::new(HashMap::new);
        Self {
            source: "db:5432",
            expected,
            max_age: TimeDelta::days(1),
            pending: &PENDING,
            space: None,
            full_in_days: None,
            shrink_guard: 0.5,
            releases: &RELEASES,
            warnings: &[],
            is_ambiguous: false,
            now,
        }
    }
}

/// The state of one source's backups.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Name of the source.
    pub source: String,
    /// When this was found.
    pub time: DateTime<Utc>,
    /// How old the newest good backup of a database may be.
    pub max_age_seconds: i64,
    /// Every expected database has one that is young enough.
    pub ok: bool,
    /// Databases, globals and whole-server archives, by name.
    pub databases: Vec<Kept>,
    /// The volume of the folder, where there is one.
    pub volume: Option<Volume>,
    /// What else a person should look at.
    pub warnings: Vec<String>,
}

/// How one database is kept.
#[derive(Debug, Serialize)]
pub struct Kept {
    /// Which.
    #[serde(flatten)]
    pub subject: Subject,
    /// Whether that will do.
    pub verdict: StatusVerdict,
    /// Backups of it, good or not.
    pub backups: usize,
    /// Their bytes, each backup counted once.
    pub stored_bytes: u64,
    /// The newest good one.
    pub newest: Option<Newest>,
    /// Its size beside that of the one before, where there is one of the same kind.
    pub trend: Option<Trend>,
    /// Ids of those in the folder that the store lacks, the oldest first; none where backups belong on one side alone.
    pub pending_uploads: Vec<String>,
    /// Those that are on both sides.
    pub uploaded: usize,
    /// The latest verification of any of them.
    pub last_verification: Option<LastVerification>,
    /// Seconds that the latest verification took to restore a backup of it; none where none was restored.
    pub recovery_seconds: Option<f64>,
    /// It has lost most of its rows or tables, and nobody has said that this was meant.
    pub shrunk: Option<Fall>,
}

/// Whether a database is kept well enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusVerdict {
    /// Its newest good backup is young enough.
    Ok,
    /// The same, and it has far fewer rows or tables than the last one before.
    Shrunk,
    TooOld,
    /// There is no good one.
    Missing,
    /// No run of these settings saves it any more.
    NotSelected,
}

/// The newest good backup.
#[derive(Debug, Serialize)]
pub struct Newest {
    pub id: String,
    /// When it began.
    pub started: DateTime<Utc>,
    /// How long ago that is.
    pub age_seconds: i64,
    /// Bytes of the archive.
    pub stored_bytes: u64,
    /// Sides that have it, good.
    pub sides: Vec<Side>,
    /// Restored, and found to be what it should be.
    pub verified: bool,
}

/// A size beside the one before it.
#[derive(Debug, Serialize)]
pub struct Trend {
    /// Bytes of the archive before.
    pub previous_bytes: u64,
    /// The newest one's bytes, as a share of those.
    pub ratio: f64,
    /// More than half less, or more than half more.
    pub conspicuous: bool,
}

/// A verification.
#[derive(Debug, Serialize)]
pub struct LastVerification {
    /// Which backup.
    pub id: String,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// How it was verified.
    pub how: How,
    /// Nothing failed.
    pub passed: bool,
    /// Objects that PostgreSQL cannot load from its own dump.
    pub exceptions: usize,
    /// It is of the latest backup, good or not.
    pub of_latest: bool,
}

/// The volume of the folder.
#[derive(Debug, Serialize)]
pub struct Volume {
    /// Bytes that files take.
    pub used_bytes: u64,
    /// Bytes that we may still take.
    pub free_bytes: u64,
    /// The share that is taken, 0 to 1.
    pub share_used: f64,
    /// More than four fifths.
    pub nearly_full: bool,
    /// Days until it is full, at the present rate and with the present retention; none where it does not fill
    /// within a year, or there are too few backups to tell.
    pub full_in_days: Option<u32>,
}

impl Status {
    /// Answers the question from what lies there.
    pub fn of(inventory: &Inventory, question: &Question<'_>) -> Self {
        let own = || inventory.entries.iter().filter(|entry| entry.is_of(question.source));
        let saved = own().map(|entry| &entry.manifest.subject);
        let expected: HashSet<&Subject> = question.expected.iter().collect();
        let subjects: BTreeSet<&Subject> = saved.chain(question.expected).collect();
        let mut entries: BTreeMap<&Subject, Vec<&InventoryEntry>> = BTreeMap::new();
        own().for_each(|entry| entries.entry(&entry.manifest.subject).or_default().push(entry));
        let kept = |subject: &Subject| {
            let entries = entries.get(subject).map_or(&[] as &[_], Vec::as_slice);
            Kept::of(subject, entries, expected.contains(subject), question)
        };
        let databases: Vec<Kept> = subjects.into_iter().map(kept).collect();
        let is_young = |kept: &Kept| matches!(kept.verdict, StatusVerdict::Ok | StatusVerdict::Shrunk);
        let is_well = |kept: &Kept| is_young(kept) || kept.verdict == StatusVerdict::NotSelected;
        Self {
            source: question.source.to_owned(),
            time: question.now,
            max_age_seconds: question.max_age.num_seconds(),
            // where nothing is kept up to date, nothing is well kept
            ok: databases.iter().any(is_young) && databases.iter().all(is_well) && !question.is_ambiguous,
            databases,
            volume: question.space.map(|space| Volume::of(space, question.full_in_days)),
            warnings: question.warnings.to_vec(),
        }
    }
}

impl Kept {
    /// What people are told of a fall; none where there is none.
    pub fn alarm(&self) -> Option<String> {
        let subject = self.subject.to_string();
        self.shrunk.as_ref().map(|fall| format!("{} has shrunk: {fall}; {RELEASE}", text::one_line(&subject)))
    }

    /// `entries` are those of the subject, the newest first.
    fn of(subject: &Subject, entries: &[&InventoryEntry], is_expected: bool, question: &Question<'_>) -> Self {
        let good: Vec<&&InventoryEntry> = entries.iter().filter(|entry| entry.is_good()).collect();
        // one from the future is nobody's newest, unless there is no other
        let is_present = |entry: &&&&InventoryEntry| entry.manifest.started <= question.now + CLOCKS_AGREE;
        let present = good.iter().find(is_present);
        let newest = present.or(good.first()).map(|entry| Newest::of(entry, question.now));
        let shrunk = shrunk(subject, &good, question);
        let verdict = match &newest {
            _ if !is_expected => StatusVerdict::NotSelected,
            None => StatusVerdict::Missing,
            Some(_) if present.is_none() => StatusVerdict::TooOld,
            Some(newest) if newest.age_seconds > question.max_age.num_seconds() => StatusVerdict::TooOld,
            Some(_) if shrunk.is_some() => StatusVerdict::Shrunk,
            Some(_) => StatusVerdict::Ok,
        };
        let is_pending = |entry: &&&InventoryEntry| {
            entry.is_good_on(Side::Local) && question.pending.contains(&entry.manifest.identity())
        };
        let pending = entries.iter().rev().filter(is_pending);
        let is_uploaded =
            |entry: &&&InventoryEntry| [Side::Local, Side::Remote].into_iter().all(|side| entry.is_good_on(side));
        let verifications = entries.iter().filter_map(|entry| Some((entry, entry.verification()?)));
        let last = verifications.max_by_key(|(_, verification)| verification.finished);
        Self {
            subject: subject.clone(),
            verdict,
            backups: entries.len(),
            stored_bytes: entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.manifest.stored_bytes)),
            newest,
            trend: Trend::of(&good),
            pending_uploads: pending.map(|entry| entry.manifest.id.clone()).collect(),
            uploaded: entries.iter().filter(is_uploaded).count(),
            last_verification: last.map(|(entry, verification)| LastVerification {
                id: entry.manifest.id.clone(),
                finished: verification.finished,
                how: verification.how,
                passed: verification.passed,
                exceptions: verification.exceptions,
                of_latest: entries.first().is_some_and(|latest| latest.manifest.id == entry.manifest.id),
            }),
            recovery_seconds: recovery_seconds(entries),
            shrunk,
        }
    }
}

fn recovery_seconds(entries: &[&InventoryEntry]) -> Option<f64> {
    let verifications = entries.iter().flat_map(|entry| &entry.copies).filter_map(|copy| copy.verification.as_ref());
    let restored =
        verifications.filter_map(|verification| Some((verification.finished, verification.restore_seconds?)));
    restored.max_by_key(|(finished, _)| *finished).map(|(_, seconds)| seconds)
}

/// `good` are the good ones, the newest first.
fn shrunk(subject: &Subject, good: &[&&InventoryEntry], question: &Question<'_>) -> Option<Fall> {
    let present = |entry: &&&&InventoryEntry| entry.manifest.started <= question.now + CLOCKS_AGREE;
    let sizes: Vec<Size> = good.iter().rev().filter(present).map(|entry| Size::of(&entry.manifest)).collect();
    shrink::fall(&sizes, question.shrink_guard, question.releases.get(subject).copied())
}

impl Newest {
    fn of(entry: &InventoryEntry, now: DateTime<Utc>) -> Self {
        let manifest = &entry.manifest;
        Self {
            id: manifest.id.clone(),
            started: manifest.started,
            age_seconds: (now - manifest.started).num_seconds(),
            stored_bytes: manifest.stored_bytes,
            sides: [Side::Local, Side::Remote].into_iter().filter(|side| entry.is_good_on(*side)).collect(),
            verified: entry.is_verified(),
        }
    }
}

impl Trend {
    /// `good` are the good ones, the newest first. Only what was written in the same way is compared.
    fn of(good: &[&&InventoryEntry]) -> Option<Self> {
        let (newest, older) = good.split_first()?;
        let newest = &newest.manifest;
        let way = |entry: &InventoryEntry| {
            let manifest = &entry.manifest;
            (manifest.format, manifest.compression.clone(), manifest.encryption.clone())
        };
        let before = older.iter().find(|entry| way(entry) == way(good[0]))?;
        let previous_bytes = before.manifest.stored_bytes;
        let ratio = newest.stored_bytes as f64 / previous_bytes.max(1) as f64;
        Some(Self { previous_bytes, ratio, conspicuous: (ratio - 1.0).abs() > STEP })
    }
}

impl Volume {
    fn of(space: Space, full_in_days: Option<u32>) -> Self {
        let (share_used, Space { used, free }) = (space.share_used(), space);
        Self { used_bytes: used, free_bytes: free, share_used, nearly_full: share_used > FULL, full_in_days }
    }
}
