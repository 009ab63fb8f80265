//! Retention applied to both sides.

use crate::config::{Config, Retention, Target};
use crate::error::{Error, StoreError};
use crate::inventory::retention::{self, Candidate, Decision};
use crate::inventory::shrink::{self, Size};
use crate::record::facts::Subject;
use crate::record::manifest::Identity;
use crate::report::Pruned;
use crate::repository::{Backup, Releases, Repository, Side, Whose};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, HashSet};
use tracing::{info, warn};

/// What retention decided about the backups of this source on one side.
pub struct PrunePlan {
    pub side: Side,
    /// By which rules.
    pub policy: Retention,
    repository: Repository,
    /// Each backup with its decision, oldest first.
    pub decisions: Vec<(Backup, Decision)>,
    /// What people are told of other servers under our name.
    pub namesakes: Vec<String>,
}

impl PrunePlan {
    /// The plan for these subjects alone.
    pub fn only(mut self, subjects: &[Subject]) -> Self {
        for (backup, decision) in &mut self.decisions {
            if !subjects.contains(&backup.manifest.subject) && !decision.keep {
                "not backed up by this run".clone_into(&mut decision.reason);
                decision.keep = true;
            }
        }
        self
    }

    /// Where a backup of the plan lies.
    pub fn location(&self, backup: &Backup) -> String {
        self.repository.location().of(&backup.key)
    }

    /// Places of the backups that go.
    pub fn going(&self) -> impl Iterator<Item = (Side, String)> {
        let going = self.decisions.iter().filter(|(_, decision)| !decision.keep);
        going.map(|(backup, _)| (self.side, backup.key.clone()))
    }

    /// The plan with nothing going that is not in `shown`.
    #[must_use]
    pub fn among(mut self, shown: &HashSet<(Side, String)>) -> Self {
        for (backup, decision) in &mut self.decisions {
            decision.keep |= !shown.contains(&(self.side, backup.key.clone()));
        }
        self
    }

    /// Number and bytes of the backups that stay.
    pub fn kept(&self) -> (usize, u64) {
        let kept = self.decisions.iter().filter(|(_, decision)| decision.keep);
        kept.fold((0, 0), |(count, bytes), (backup, _)| (count + 1, bytes.saturating_add(backup.manifest.stored_bytes)))
    }
}

/// Decides for each side that is pruned, the folder first. Under `all` a backup of the folder goes only when the store
/// has it or would not keep it, and that question must be answered in full.
pub async fn plan(config: &Config, sides: &[Repository], now: DateTime<Utc>) -> Result<Vec<PrunePlan>, Error> {
    let side = |kind| sides.iter().find(|repository| repository.side() == kind);
    let (local, remote) = (side(Side::Local), side(Side::Remote));
    let replicates = config.target == Target::All;
    let mut releases = Releases::default();
    let here = match local {
        Some(local) => own(config, local, &mut releases).await?,
        None => Own::default(),
    };
    let there = match remote {
        Some(remote) if replicates || config.remote_retention.is_some() => {
            Some(own(config, remote, &mut releases).await?)
        }
        _ => None,
    };
    let wanted: HashSet<Identity> = match &there {
        Some(there) if replicates => missing_remotely(config, &here.backups, &there.backups, now),
        _ => HashSet::new(),
    };
    let rules = |policy| Rules { policy, share: config.shrink_guard, releases: &releases, now };
    let mut plans = Vec::new();
    if let Some(local) = local {
        let is_replicated = |backup: &Backup| !wanted.contains(&backup.manifest.identity());
        plans.push(decide(local, here, &rules(&config.retention), is_replicated));
    }
    if let (Some(remote), Some(there), Some(policy)) = (remote, there, &config.remote_retention) {
        plans.push(decide(remote, there, &rules(policy), |_| true));
    }
    Ok(plans)
}

/// By what it is decided.
struct Rules<'a> {
    policy: &'a Retention,
    /// The share of rows or tables below which a database has fallen.
    share: f64,
    releases: &'a Releases,
    now: DateTime<Utc>,
}

/// The backups of the source on one side, and what people are told of those of other servers under its name.
#[derive(Default)]
struct Own {
    backups: Vec<Backup>,
    namesakes: Vec<String>,
}

async fn own(config: &Config, repository: &Repository, releases: &mut Releases) -> Result<Own, Error> {
    let catalog = repository.catalog().await?;
    let namesakes = repository.describe_namesakes(&catalog, &config.source.name);
    repository.add_releases(&catalog, releases);
    let backups = catalog.backups.into_iter().filter(|backup| backup.whose == Whose::Ours).collect();
    Ok(Own { backups, namesakes })
}

/// Ids of the last backups before their databases lost most of their rows.
fn guarded(backups: &[Backup], rules: &Rules<'_>) -> HashSet<String> {
    let mut sizes: BTreeMap<&Subject, Vec<Size>> = BTreeMap::new();
    let counts = |backup: &&Backup| backup.is_good() && backup.manifest.started <= rules.now + retention::CLOCKS_AGREE;
    for manifest in backups.iter().filter(counts).map(|backup| &backup.manifest) {
        sizes.entry(&manifest.subject).or_default().push(Size::of(manifest));
    }
    let falls = sizes.iter().filter_map(|(subject, sizes)| {
        shrink::fall(sizes, rules.share, rules.releases.get(*subject).copied()).map(|fall| fall.before.id)
    });
    falls.collect()
}

/// The good backups of the folder that the store lacks and, by its own rules, would keep: what it has pruned is not sent
/// again. One that failed its verification there is no replica. Both are of one source.
pub fn missing_remotely(config: &Config, here: &[Backup], there: &[Backup], now: DateTime<Utc>) -> HashSet<Identity> {
    let replicas: HashSet<Identity> =
        there.iter().filter(|backup| backup.is_good()).map(|backup| backup.manifest.identity()).collect();
    let missing: Vec<&Backup> =
        here.iter().filter(|backup| backup.is_good() && !replicas.contains(&backup.manifest.identity())).collect();
    let Some(policy) = &config.remote_retention else {
        return missing.into_iter().map(|backup| backup.manifest.identity()).collect();
    };
    // nobody has verified there what is not there
    let sent = missing.iter().map(|backup| Candidate { verified: false, ..candidate(backup, true) });
    let candidates: Vec<Candidate> = sent.chain(there.iter().map(|backup| candidate(backup, true))).collect();
    let decisions = retention::decide(&candidates, policy, now);
    missing
        .into_iter()
        .zip(decisions)
        .filter(|(_, decision)| decision.keep)
        .map(|(backup, _)| backup.manifest.identity())
        .collect()
}

fn candidate(backup: &Backup, replicated: bool) -> Candidate {
    Candidate {
        id: backup.manifest.id.clone(),
        subject: backup.manifest.subject.clone(),
        backup_type: backup.manifest.backup_type,
        started: backup.manifest.started,
        good: backup.is_good(),
        verified: backup.is_verified(),
        guarded: false,
        replicated,
    }
}

/// `own` are the backups of the side, the oldest first.
fn decide(repository: &Repository, own: Own, rules: &Rules<'_>, is_replicated: impl Fn(&Backup) -> bool) -> PrunePlan {
    let Own { backups, namesakes } = own;
    let guarded = guarded(&backups, rules);
    let candidate = |backup: &Backup| Candidate {
        guarded: guarded.contains(&backup.manifest.id),
        ..candidate(backup, is_replicated(backup))
    };
    let candidates: Vec<Candidate> = backups.iter().map(candidate).collect();
    let decisions = retention::decide(&candidates, rules.policy, rules.now);
    let decisions = backups.into_iter().zip(decisions).collect();
    PrunePlan { side: repository.side(), policy: *rules.policy, repository: repository.clone(), decisions, namesakes }
}

/// Deletes what the plan says, one after the other, noting each in `pruned`. One that cannot be deleted keeps none of
/// the others from it, unless the storage does not answer at all.
pub async fn apply(plan: &PrunePlan, pruned: &mut Vec<Pruned>) -> Vec<Error> {
    let mut errors = Vec::new();
    for (backup, decision) in plan.decisions.iter().filter(|(_, decision)| !decision.keep) {
        let place = plan.location(backup);
        let (backup_id, bytes) = (&decision.id, backup.manifest.stored_bytes);
        let database = backup.manifest.subject.database();
        match plan.repository.remove(backup).await {
            Ok(()) => {
                info!(database, backup_id, bytes, "deleted {place} ({})", decision.reason);
                let (id, subject) = (decision.id.clone(), backup.manifest.subject.clone());
                pruned.push(Pruned { id, subject, side: plan.side });
            }
            Err(error) => {
                let is_gone = error.is_transient();
                warn!(database, backup_id, "{place} was not deleted: {error}");
                errors.push(Error::Store(StoreError::NotDeleted { place, cause: error }));
                if is_gone {
                    break;
                }
            }
        }
    }
    errors
}
