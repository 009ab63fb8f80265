//! Three years of backups on two sides, with everything that goes wrong in three years: what retention promises holds
//! on every single day.

use bytes::Bytes;
use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Utc, Weekday};
use postgres_backup_job::config::{BackupType, Config, Format, PathFormat, Retention};
use postgres_backup_job::inventory::prune;
use postgres_backup_job::inventory::upload;
use postgres_backup_job::progress::Counters;
use postgres_backup_job::record::facts::{Subject, Totals, Versions};
use postgres_backup_job::record::manifest::{self, Compression, How, Manifest, Verification};
use postgres_backup_job::repository::{Backup, BackupRecord, Repository, Side};
use postgres_backup_job::storage::key::Naming;
use postgres_backup_job::storage::memory::Memory;
use postgres_backup_job::storage::{Object, Owner, Storage, read_small};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DAYS: i64 = 3 * 365;
const FACTS: &[u8] = b"facts";
const OURS: &str = "db:5432";

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

struct World {
    stores: BTreeMap<Side, Memory>,
    config: Config,
    dice: Dice,
    /// Objects that belong to nobody, with their bytes.
    foreign: Vec<(Side, String, Bytes)>,
    made: u32,
    repositories: BTreeMap<(Side, String), Repository>,
}

type Id = (String, String);

/// What one side has of a subject, as the test counts it.
#[derive(Default)]
struct Shelf(Vec<Backup>);

impl Shelf {
    fn ids<'a>(backups: impl Iterator<Item = &'a Backup>) -> BTreeSet<Id> {
        backups.map(|backup| (backup.manifest.id.clone(), backup.manifest.sha256.clone())).collect()
    }

    /// Those that must stay by the words of the contract, and no others may.
    fn must_stay(&self, policy: &Retention, now: DateTime<Utc>, unsent: &BTreeSet<Id>) -> BTreeSet<Id> {
        // what a wrong clock has put into the future is counted by itself
        let ahead = |backup: &&Backup| backup.manifest.started > now + TimeDelta::minutes(5);
        let (future, present): (Vec<&Backup>, Vec<&Backup>) = self.0.iter().partition(ahead);
        let group = |backups: Vec<&Backup>| Self(backups.into_iter().cloned().collect());
        let mut stay = group(present).must_stay_at_one_time(policy, now, unsent);
        stay.extend(group(future).must_stay_at_one_time(policy, now, unsent));
        // where all would go, none does
        if stay.is_empty() { Self::ids(self.0.iter()) } else { stay }
    }

    fn must_stay_at_one_time(&self, policy: &Retention, now: DateTime<Utc>, unsent: &BTreeSet<Id>) -> BTreeSet<Id> {
        let mut newest_first: Vec<&Backup> = self.0.iter().collect();
        newest_first.sort_by_key(|backup| std::cmp::Reverse((backup.manifest.started, backup.manifest.id.clone())));
        let all = newest_first.iter().copied();
        let good = |backup: &&Backup| backup.is_good();
        let of = |kind: BackupType| move |backup: &&Backup| backup.manifest.backup_type == kind;
        let mut stay = Self::ids(all.clone().filter(of(BackupType::Manual)));
        let floor = policy.min_keep.max(1) as usize;
        let counted = all.clone().filter(good).filter(|backup| backup.manifest.backup_type != BackupType::Manual);
        stay.extend(Self::ids(counted.take(floor)));
        stay.extend(Self::ids(all.clone().filter(|backup| backup.is_verified()).take(1)));
        let young =
            |backup: &&Backup| policy.days == 0 || now - backup.manifest.started <= TimeDelta::days(policy.days.into());
        stay.extend(Self::ids(all.clone().filter(of(BackupType::Auto)).filter(young)));
        for (kind, count) in [
            (BackupType::Daily, policy.daily),
            (BackupType::Weekly, policy.weekly),
            (BackupType::Monthly, policy.monthly),
        ] {
            let count = if count == 0 { usize::MAX } else { count as usize };
            stay.extend(Self::ids(all.clone().filter(of(kind)).filter(good).take(count)));
            // those that are not good go when as many newer ones exist, good or not
            stay.extend(Self::ids(all.clone().filter(of(kind)).take(count).filter(|backup| !backup.is_good())));
        }
        stay.extend(Self::ids(all.clone()).intersection(unsent).cloned());
        stay
    }
}

fn subjects() -> [Subject; 3] {
    // a database may be called like our own word
    [Subject::Database("shop".to_owned()), Subject::Database("globals".to_owned()), Subject::Globals]
}

impl World {
    fn new(seed: u64, settings: &[(&str, &str)]) -> Self {
        let settings = [&[("BACKUP_TARGET", "all"), ("POSTGRES_HOST", "db")], settings].concat();
        let settings = settings.iter().map(|(name, value)| (name.into(), value.into()));
        Self {
            stores: [(Side::Local, Memory::default()), (Side::Remote, Memory::default())].into(),
            config: Config::load(settings, Path::new("/nonexistent")).unwrap(),
            dice: Dice(seed),
            foreign: Vec::new(),
            made: 0,
            repositories: BTreeMap::new(),
        }
        .connected()
    }

    fn connected(mut self) -> Self {
        for (side, store) in &self.stores {
            for source in [OURS, "other:5432"] {
                let repository = Repository::new(
                    Arc::new(store.clone()),
                    *side,
                    PathFormat::Type,
                    Owner::new(source, "run"),
                    Duration::from_secs(60),
                );
                self.repositories.insert((*side, source.to_owned()), repository);
            }
        }
        self
    }

    fn repository(&self, side: Side, source: &str) -> Repository {
        self.repositories[&(side, source.to_owned())].clone()
    }

    fn sides(&self) -> Vec<Repository> {
        [Side::Local, Side::Remote].map(|side| self.repository(side, OURS)).into()
    }

    async fn shelves(&self) -> BTreeMap<(Side, String, Subject), Shelf> {
        let mut shelves: BTreeMap<_, Shelf> = BTreeMap::new();
        for side in [Side::Local, Side::Remote] {
            for backup in self.repository(side, OURS).catalog().await.unwrap().backups {
                let of = (side, backup.manifest.source.clone(), backup.manifest.subject.clone());
                shelves.entry(of).or_default().0.push(backup);
            }
        }
        shelves
    }

    /// Makes a backup on these sides, and perhaps verifies it there.
    async fn save(&mut self, sides: &[Side], source: &str, subject: &Subject, kind: BackupType, now: DateTime<Utc>) {
        self.made += 1;
        let bytes = Bytes::from(format!("backup {}", self.made));
        for side in sides {
            let repository = self.repository(*side, source);
            let naming = Naming {
                base: format!("n{}", self.made),
                subject: subject.clone(),
                several: true,
                backup_type: kind,
                format: Format::Plain,
                encrypted: false,
                time: now,
                zone: chrono_tz::Asia::Bangkok,
            };
            let mut new_backup = repository.begin(&naming, 0).await.unwrap();
            new_backup.write(bytes.clone()).await.unwrap();
            let manifest = manifest(&naming, source, &bytes);
            new_backup.store_archive(manifest.stored_bytes).await.unwrap();
            new_backup.record(&BackupRecord::new(&manifest, Bytes::from_static(FACTS))).await.unwrap();
            let backup = repository.find(new_backup.key()).await.unwrap().unwrap();
            if self.dice.one_in(3) {
                let how = if self.dice.one_in(3) { How::Checksum } else { How::Restore };
                let passed = !self.dice.one_in(5);
                let sha256 = manifest.sha256.clone();
                let record = Verification {
                    version: manifest::VERSION,
                    sha256,
                    how,
                    passed,
                    exceptions: 0,
                    failures: String::new(),
                    finished: now,
                    restore_seconds: None,
                };
                let record = serde_json::to_vec(&record).unwrap().into();
                repository.record_verification(&backup, now, record).await.unwrap();
            }
        }
    }

    /// What a day brings besides backups.
    async fn live(&mut self, now: DateTime<Utc>) {
        for side in [Side::Local, Side::Remote] {
            if self.dice.one_in(20) {
                let name = match self.dice.roll(4) {
                    0 => format!("notes-{}.txt", self.made),
                    1 => format!("daily/old_{}.sql.gz", self.made),
                    2 => format!("daily/old_{}.sql.gz.json", self.made),
                    _ => format!("weekly/n{}_shop_2020-01-01_00-00-00.dump", self.made),
                };
                let bytes = Bytes::from(format!("somebody else's, of {now}"));
                if self.stores[&side].put(&name, bytes.clone()).await.is_ok() {
                    self.foreign.push((side, name, bytes));
                }
            }
        }
        if self.dice.one_in(30) {
            let subject = subjects()[0].clone();
            self.save(&[Side::Local, Side::Remote], "other:5432", &subject, BackupType::Auto, now).await;
        }
        // an archive is lost to a broken disk
        if self.dice.one_in(60) {
            let objects: Vec<Object> = self.stores[&Side::Local].list("").await.unwrap();
            let ours = |object: &&Object| object.key.contains("/n") && object.key.ends_with(".sql.gz");
            let archives: Vec<&Object> = objects.iter().filter(ours).collect();
            if !archives.is_empty() {
                let lost = archives[self.dice.roll(archives.len() as u64) as usize];
                self.stores[&Side::Local].delete(&lost.key).await.unwrap();
                self.foreign.retain(|(side, name, _)| *side != Side::Local || *name != lost.key);
            }
        }
    }

    /// Sends to the store what it lacks and would keep.
    async fn synchronize(&mut self, now: DateTime<Utc>) {
        let (local, remote) = (self.repository(Side::Local, OURS), self.repository(Side::Remote, OURS));
        let here = local.catalog().await.unwrap().backups.into_iter();
        let ours = here.filter(|backup| backup.manifest.source == OURS).map(|backup| (local.clone(), backup)).collect();
        let choice = upload::choose(&self.config, ours, &remote, OURS, false, now).await.unwrap();
        for (_, backup) in &choice.missing {
            let mut new_backup = remote.expect(backup).await.unwrap();
            let content = new_backup.receive(&local, backup, &Counters::default()).await.unwrap();
            new_backup.record(&content).await.unwrap();
        }
    }

    /// Prunes, and holds every promise against what is left.
    async fn prune(&mut self, now: DateTime<Utc>) {
        let policies = [(Side::Local, Some(self.config.retention)), (Side::Remote, self.config.remote_retention)];
        let before = self.shelves().await;
        let good = |shelf: &Shelf| Shelf::ids(shelf.0.iter().filter(|backup| backup.is_good()));
        let replicas: BTreeSet<Id> =
            before.iter().filter(|((side, ..), _)| *side == Side::Remote).flat_map(|(_, shelf)| good(shelf)).collect();
        let mut expected = BTreeMap::new();
        for ((side, source, subject), shelf) in &before {
            let policy = policies.iter().find(|(of, _)| of == side).and_then(|(_, policy)| *policy);
            let stay = match policy.filter(|_| source == OURS) {
                Some(policy) if *side == Side::Local => {
                    let unsent = self.unsent(
                        shelf,
                        before.get(&(Side::Remote, source.clone(), subject.clone())),
                        &replicas,
                        now,
                    );
                    shelf.must_stay(&policy, now, &unsent)
                }
                Some(policy) => shelf.must_stay(&policy, now, &BTreeSet::new()),
                // other sources, and a side that keeps everything
                None => Shelf::ids(shelf.0.iter()),
            };
            expected.insert((*side, source.clone(), subject.clone()), stay);
        }
        for plan in prune::plan(&self.config, &self.sides(), now).await.unwrap() {
            assert!(prune::apply(&plan, &mut Vec::new()).await.is_empty());
        }
        let after = self.shelves().await;
        assert_eq!(after.len(), before.len(), "of some database nothing is left on {now}");
        for (of, shelf) in after {
            assert_eq!(Shelf::ids(shelf.0.iter()), expected[&of], "{of:?} on {now}");
        }
        for (side, name, bytes) in &self.foreign {
            let there = read_small(&self.stores[side], name, 1 << 20).await;
            assert_eq!(there.ok().as_ref(), Some(bytes), "the foreign {name} on {now}");
        }
        if self.dice.one_in(10) {
            for plan in prune::plan(&self.config, &self.sides(), now).await.unwrap() {
                assert!(
                    plan.decisions.iter().all(|(_, decision)| decision.keep),
                    "a second prune deletes more on {now}"
                );
            }
        }
    }

    /// What of the folder the store lacks, and by its own rules would keep if it were there.
    fn unsent(&self, here: &Shelf, there: Option<&Shelf>, replicas: &BTreeSet<Id>, now: DateTime<Utc>) -> BTreeSet<Id> {
        let is_missing = |backup: &&Backup| Shelf::ids(std::iter::once(*backup)).is_disjoint(replicas);
        let sendable = here.0.iter().filter(|backup| backup.is_good());
        let missing: Vec<Backup> = sendable.filter(is_missing).cloned().collect();
        let ids = Shelf::ids(missing.iter());
        let Some(policy) = self.config.remote_retention else { return ids };
        // nobody has verified there what is not there
        let unverified = |backup: Backup| Backup { verification: None, ..backup };
        let both = missing.into_iter().map(unverified).chain(there.iter().flat_map(|shelf| shelf.0.clone())).collect();
        Shelf(both).must_stay(&policy, now, &BTreeSet::new()).intersection(&ids).cloned().collect()
    }

    async fn live_for_three_years(&mut self, subjects: &[Subject], every_day: &[BackupType]) {
        let first: DateTime<Utc> = "2026-01-01T02:00:00Z".parse().unwrap();
        for day in 0..DAYS {
            let today = first + TimeDelta::days(day);
            // a clock that is wrong is put right the next day
            let error = match self.dice.roll(40) {
                0 => TimeDelta::days(-3),
                1 => TimeDelta::days(9),
                2 => TimeDelta::hours(-1),
                _ => TimeDelta::zero(),
            };
            let now = today + error;
            self.live(now).await;
            let mut kinds = every_day.to_vec();
            kinds.extend((today.weekday() == Weekday::Sun).then_some(BackupType::Weekly));
            kinds.extend((today.day() == 1).then_some(BackupType::Monthly));
            kinds.extend(self.dice.one_in(50).then_some(BackupType::Manual));
            for (index, kind) in kinds.into_iter().enumerate() {
                for subject in subjects {
                    let sides: &[Side] = match self.dice.roll(20) {
                        0 | 1 => &[],
                        2 => &[Side::Remote],
                        // the store is away for a whole week now and then
                        3 => &[Side::Local],
                        _ if day % 97 < 7 => &[Side::Local],
                        _ => &[Side::Local, Side::Remote],
                    };
                    let time =
                        now.date_naive().and_time(NaiveTime::from_hms_opt(2, index as u32, 0).unwrap()).and_utc();
                    self.save(sides, OURS, subject, kind, time).await;
                }
            }
            if self.dice.one_in(5) {
                self.synchronize(now + TimeDelta::minutes(20)).await;
            }
            // a run whose lock is lost, or that fails, prunes nothing
            if !self.dice.one_in(15) {
                self.prune(now + TimeDelta::minutes(30)).await;
            }
        }
        assert!(i64::from(self.made) > DAYS);
        let left = self.repository(Side::Local, OURS).catalog().await.unwrap().backups;
        let ours = left.iter().filter(|backup| backup.manifest.source == OURS).count();
        assert!(ours < 500, "three years leave {ours} of {} in the folder", self.made);
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn manifest(naming: &Naming, source: &str, bytes: &[u8]) -> Manifest {
    Manifest {
        version: manifest::VERSION,
        id: naming.id(),
        run_id: "run".to_owned(),
        source: source.to_owned(),
        subject: naming.subject.clone(),
        backup_type: naming.backup_type,
        format: naming.format,
        compression: Compression { method: "gzip".to_owned(), level: 6 },
        encryption: None,
        started: naming.time,
        snapshot: None,
        finished: naming.time,
        versions: Versions { server: "17.10".to_owned(), client: "17.10".to_owned(), tool: "0.1.0".to_owned() },
        system_identifier: None,
        raw_bytes: 1000,
        stored_bytes: bytes.len() as u64,
        sha256: sha256(bytes),
        facts_sha256: sha256(FACTS),
        arguments: Vec::new(),
        databases: Vec::new(),
        settings_of_all_roles: Vec::new(),
        totals: Totals::default(),
        properties: None,
    }
}

#[tokio::test]
async fn three_years_with_the_defaults_and_a_remote_side_that_keeps_everything() {
    let mut world = World::new(1, &[]);
    world.live_for_three_years(&subjects()[..1], &[BackupType::Daily]).await;
    let store = world.repository(Side::Remote, OURS).catalog().await.unwrap();
    assert!(store.backups.len() > 900, "the remote side is not pruned unless told");
}

#[tokio::test]
async fn three_years_with_both_sides_pruned_each_by_its_own_rules() {
    let settings = [
        ("REMOTE_RETENTION_ENABLED", "true"),
        ("REMOTE_RETENTION_DAYS", "3"),
        ("REMOTE_RETENTION_DAILY", "5"),
        ("REMOTE_RETENTION_WEEKLY", "2"),
        ("REMOTE_RETENTION_MONTHLY", "0"),
        ("RETENTION_MIN_KEEP", "3"),
    ];
    World::new(2, &settings).live_for_three_years(&subjects(), &[BackupType::Auto, BackupType::Daily]).await;
}

#[tokio::test]
async fn three_years_with_the_shortest_rules_there_are() {
    let settings = [
        ("RETENTION_DAYS", "1"),
        ("BACKUP_RETENTION_DAILY", "1"),
        ("BACKUP_RETENTION_WEEKLY", "1"),
        ("BACKUP_RETENTION_MONTHLY", "1"),
        ("RETENTION_MIN_KEEP", "0"),
        ("REMOTE_RETENTION_ENABLED", "true"),
        ("REMOTE_RETENTION_DAYS", "1"),
        ("REMOTE_RETENTION_DAILY", "1"),
        ("REMOTE_RETENTION_WEEKLY", "1"),
        ("REMOTE_RETENTION_MONTHLY", "1"),
    ];
    World::new(3, &settings).live_for_three_years(&subjects(), &[BackupType::Auto, BackupType::Daily]).await;
}
