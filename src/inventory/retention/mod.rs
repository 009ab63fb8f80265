//! Pure: which backups of one side may go, and why each one stays or goes.

use crate::config::{BackupType, Retention};
use crate::record::facts::Subject;
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, BTreeSet};

/// A backup that begins later than this from now is from a clock that is, or was, wrong.
pub const CLOCKS_AGREE: TimeDelta = TimeDelta::minutes(5);

/// What retention knows of one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Id of the backup.
    pub id: String,
    /// What it holds: a database, the globals and the whole server are each kept for themselves.
    pub subject: Subject,
    pub backup_type: BackupType,
    /// When it began.
    pub started: DateTime<Utc>,
    /// Not failed in its latest verification.
    pub good: bool,
    /// Passed its latest verification.
    pub verified: bool,
    /// The last before its database lost most of its rows, which nobody has said was meant.
    pub guarded: bool,
    /// False for a local backup that the remote side still lacks although it should have it.
    pub replicated: bool,
}

/// Keep or delete, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Id of the backup.
    pub id: String,
    /// True when it stays.
    pub keep: bool,
    /// For people.
    pub reason: String,
}

/// Decides over all backups of one source on one side, in the order given.
///
/// `auto` backups go by age, the other types by count among their own, `manual` ones never. Whatever those rules say,
/// the newest `min_keep` good backups of each database stay (one at least, manual ones not counted), and so do the
/// newest verified one and every one that is not yet replicated. The last backup before a database lost most of its rows
/// stays until the newer ones of each type are as many as the counts. Backups from the future are ranked among themselves. Where every backup of a database would go, none does.
pub fn decide(candidates: &[Candidate], policy: &Retention, now: DateTime<Utc>) -> Vec<Decision> {
    let mut decisions: BTreeMap<usize, (bool, String)> = BTreeMap::new();
    let mut subjects: BTreeMap<&Subject, Vec<(usize, &Candidate)>> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        subjects.entry(&candidate.subject).or_default().push((index, candidate));
    }
    for group in subjects.values_mut() {
        group.sort_by(|(_, a), (_, b)| b.started.cmp(&a.started).then_with(|| b.id.cmp(&a.id)));
        let mut decided: Vec<(bool, String)> =
            (0..group.len()).map(|position| decide_one(group, position, policy, now)).collect();
        if decided.iter().all(|(keep, _)| !keep) {
            let reason = "every backup of its database would be pruned, and none of them is good";
            decided.iter_mut().for_each(|decision| *decision = (true, reason.to_owned()));
        }
        decisions.extend(group.iter().map(|(index, _)| *index).zip(decided));
    }
    let decision =
        |(index, (keep, reason)): (usize, (bool, String))| Decision { id: candidates[index].id.clone(), keep, reason };
    decisions.into_iter().map(decision).collect()
}

/// `group` is one subject, newest first.
fn decide_one(
    group: &[(usize, &Candidate)],
    position: usize,
    policy: &Retention,
    now: DateTime<Utc>,
) -> (bool, String) {
    let candidate = group[position].1;
    // a backup that a wrong clock put into the future takes no place from those of the present, and copies of one
    // backup are one
    let is_ahead = |one: &Candidate| one.started > now + CLOCKS_AGREE;
    let counts = |other: &Candidate| other.id != candidate.id && is_ahead(other) == is_ahead(candidate);
    let newer = || group[..position].iter().map(|(_, other)| other).filter(|other| counts(other));
    let distinct =
        |others: &mut dyn Iterator<Item = &&Candidate>| others.map(|other| &other.id).collect::<BTreeSet<_>>().len();
    let keep = |reason: String| (true, reason);

    if candidate.backup_type == BackupType::Manual {
        return keep("manual backups are never pruned".to_owned());
    }
    if !candidate.replicated {
        return keep("it is not yet on the remote side".to_owned());
    }
    let counted = |other: &&&Candidate| other.good && other.backup_type != BackupType::Manual;
    let rank = distinct(&mut newer().filter(counted));
    let floor = policy.min_keep.max(1) as usize;
    if candidate.good && rank < floor {
        return keep(format!("{} of its database", among_newest(floor, "good")));
    }
    if candidate.verified && !newer().any(|other| other.verified) {
        return keep("the newest verified backup of its database".to_owned());
    }
    let outlives = |kind, count: u32| {
        let of_kind = |other: &&&Candidate| other.good && other.backup_type == kind;
        count > 0 && distinct(&mut newer().filter(of_kind)) >= count as usize
    };
    let typed =
        [(BackupType::Daily, policy.daily), (BackupType::Weekly, policy.weekly), (BackupType::Monthly, policy.monthly)];
    if candidate.guarded && !typed.into_iter().all(|(kind, count)| outlives(kind, count)) {
        return keep(
            "the last backup before its database lost rows or tables; `backup prune --release` ends this".to_owned(),
        );
    }
    let count = match candidate.backup_type {
        BackupType::Auto => return decide_by_age(candidate, policy.days, now),
        BackupType::Daily => policy.daily,
        BackupType::Weekly => policy.weekly,
        BackupType::Monthly => policy.monthly,
        BackupType::Manual => 0,
    };
    let kind = candidate.backup_type.as_str();
    if count == 0 {
        return keep(format!("all {kind} backups are kept"));
    }
    // a bad backup takes no place from a good one
    let same = |other: &&&Candidate| other.backup_type == candidate.backup_type && (other.good || !candidate.good);
    if distinct(&mut newer().filter(same)) < count as usize {
        keep(among_newest(count as usize, kind))
    } else if count == 1 {
        (false, format!("a newer {kind} backup exists"))
    } else {
        (false, format!("{count} newer {kind} backups exist"))
    }
}

/// How a backup is called that has fewer than `count` newer ones of its kind.
fn among_newest(count: usize, kind: &str) -> String {
    match count {
        1 => format!("the newest {kind} backup"),
        _ => format!("among the newest {count} {kind} backups"),
    }
}

fn decide_by_age(candidate: &Candidate, days: u32, now: DateTime<Utc>) -> (bool, String) {
    if days == 0 {
        return (true, "all auto backups are kept".to_owned());
    }
    if now - candidate.started > TimeDelta::days(days.into()) {
        (false, format!("older than {}", text::count(days, "day")))
    } else {
        (true, format!("not older than {}", text::count(days, "day")))
    }
}

#[cfg(test)]
mod tests;
