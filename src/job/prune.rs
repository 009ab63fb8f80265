//! Retention applied to the local side.

use super::{Side, SideKind};
use crate::config::{Config, Target};
use crate::error::Error;
use crate::facts::Subject;
use crate::repository::{Backup, Repository};
use crate::retention::{self, Candidate, Decision};
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use tracing::info;

/// What retention decided about the local backups of this source.
pub struct Plan {
    repository: Repository,
    /// Each backup with its decision, oldest first.
    pub decisions: Vec<(Backup, Decision)>,
}

impl Plan {
    /// The plan for these subjects alone.
    pub fn only(mut self, subjects: &[Subject]) -> Self {
        for (backup, decision) in &mut self.decisions {
            if !subjects.contains(&backup.manifest.subject) && !decision.keep {
                "not saved by this run".clone_into(&mut decision.reason);
                decision.keep = true;
            }
        }
        self
    }

    /// Number and bytes of the backups that stay.
    pub fn kept(&self) -> (usize, u64) {
        let kept = self.decisions.iter().filter(|(_, decision)| decision.keep);
        kept.fold((0, 0), |(count, bytes), (backup, _)| (count + 1, bytes + backup.manifest.stored_bytes))
    }
}

/// Decides; none when there is no local side. Under `all` a backup goes only when the remote side has it, and that
/// question must be answered in full.
pub async fn plan(config: &Config, sides: &[Side], now: DateTime<Utc>) -> Result<Option<Plan>, Error> {
    let Some(local) = sides.iter().find(|side| side.kind == SideKind::Local) else { return Ok(None) };
    let remote: Option<HashSet<(String, String)>> = match sides.iter().find(|side| side.kind == SideKind::Remote) {
        Some(remote) if config.target == Target::All => {
            let catalog = remote.repository.catalog().await?;
            // one that failed its verification there is no replica
            let intact = catalog.backups.into_iter().filter(Backup::is_good);
            Some(intact.map(|backup| (backup.manifest.id, backup.manifest.sha256)).collect())
        }
        _ => None,
    };
    let mut backups = local.repository.catalog().await?.backups;
    backups.retain(|backup| local.repository.owns(backup));
    let candidate = |backup: &Backup| {
        let manifest = &backup.manifest;
        let identity = (manifest.id.clone(), manifest.sha256.clone());
        Candidate {
            id: manifest.id.clone(),
            subject: manifest.subject.clone(),
            backup_type: manifest.backup_type,
            started: manifest.started,
            good: backup.is_good(),
            verified: backup.is_verified(),
            replicated: remote.as_ref().is_none_or(|remote| remote.contains(&identity)),
        }
    };
    let candidates: Vec<Candidate> = backups.iter().map(candidate).collect();
    let decisions = retention::decide(&candidates, &config.retention, now);
    let decisions = backups.into_iter().zip(decisions).collect();
    Ok(Some(Plan { repository: local.repository.clone(), decisions }))
}

/// Deletes what the plan says, one after the other, noting each in `pruned`.
pub async fn apply(plan: &Plan, pruned: &mut Vec<String>) -> Result<(), Error> {
    for (backup, decision) in plan.decisions.iter().filter(|(_, decision)| !decision.keep) {
        plan.repository.remove(backup).await?;
        info!("deleted {} ({})", plan.repository.location().of(&backup.key), decision.reason);
        pruned.push(decision.id.clone());
    }
    Ok(())
}
