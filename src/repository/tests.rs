use super::*;
use crate::config::{BackupType, Format};
use crate::record::facts::Subject;
use crate::record::manifest::tests::sample;
use crate::storage::memory::Memory;
use crate::storage::read_small;

fn repository(store: &Memory, source: &str, run_id: &str) -> Repository {
    Repository::new(
        Arc::new(store.clone()),
        Side::Local,
        PathFormat::Monthly,
        Owner::new(source, run_id),
        Duration::from_secs(60),
    )
}

fn shop() -> Subject {
    Subject::Database("shop".to_owned())
}

fn naming(second: u32) -> Naming {
    Naming {
        base: "backup".to_owned(),
        subject: shop(),
        several: false,
        backup_type: BackupType::Auto,
        format: Format::Plain,
        encrypted: false,
        time: format!("2026-01-28T02:05:{second:02}Z").parse().unwrap(),
        zone: chrono_tz::UTC,
    }
}

async fn keys(store: &Memory) -> Vec<String> {
    store.list("").await.unwrap().into_iter().map(|object| object.key).collect()
}

async fn commit_draft(
    new_backup: &mut NewBackup,
    manifest: &Manifest,
    facts: &'static [u8],
) -> Result<(), StorageError> {
    new_backup.store_archive(manifest.stored_bytes).await?;
    new_backup.record(&BackupRecord::new(manifest, Bytes::from_static(facts))).await
}

/// Makes a backup of five bytes.
async fn commit(repository: &Repository, second: u32) -> Backup {
    let naming = naming(second);
    let mut new_backup = repository.begin(&naming, 0).await.unwrap();
    new_backup.write(Bytes::from_static(b"bytes")).await.unwrap();
    let manifest = Manifest {
        source: repository.owner.source.clone(),
        stored_bytes: 5,
        started: naming.time,
        ..sample(&naming.id())
    };
    let key = new_backup.key().to_owned();
    commit_draft(&mut new_backup, &manifest, b"facts").await.unwrap();
    Backup { manifest, key, intact: true, verification: None, whose: Whose::Ours, server: None }
}

const NAME: &str = "2026-01/backup_2026-01-28_02-05-01.sql.gz";

#[tokio::test]
async fn a_committed_backup_is_listed_and_leaves_no_marker() {
    let store = Memory::default();
    let repository = repository(&store, "db:5432", "one");
    commit(&repository, 1).await;
    let expected = ["", ".facts.json.gz", ".json", ".sha256"].map(|ending| format!("{NAME}{ending}"));
    assert_eq!(keys(&store).await, expected);
    let catalog = repository.catalog().await.unwrap();
    assert_eq!((catalog.backups.len(), catalog.foreign.len()), (1, 0));
    let newest = repository.newest(&[shop(), Subject::Globals]).await.unwrap();
    assert_eq!(newest.len(), 1);
    assert_eq!(newest[&shop()].key, NAME);
}

#[tokio::test]
async fn an_abandoned_draft_leaves_nothing() {
    let store = Memory::default();
    let repository = repository(&store, "db:5432", "one");
    let mut new_backup = repository.begin(&naming(1), 0).await.unwrap();
    new_backup.write(Bytes::from_static(b"bytes")).await.unwrap();
    assert_eq!(keys(&store).await, [format!("{NAME}.pending")]);
    new_backup.abandon().await;
    assert!(keys(&store).await.is_empty());
    assert!(store.unfinished(NAME).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_archive_of_another_length_than_was_sent_does_not_become_a_backup() {
    let store = Memory::default();
    let repository = repository(&store, "db:5432", "one");
    let mut new_backup = repository.begin(&naming(1), 0).await.unwrap();
    new_backup.write(Bytes::from_static(b"bytes")).await.unwrap();
    let manifest = Manifest { stored_bytes: 6, ..sample("x") };
    assert!(commit_draft(&mut new_backup, &manifest, b"").await.is_err());
    new_backup.abandon().await;
    assert!(keys(&store).await.is_empty());
}

#[tokio::test]
async fn a_foreign_file_of_the_same_name_is_neither_overwritten_nor_removed() {
    let store = Memory::default();
    store.put(NAME, Bytes::from_static(b"foreign")).await.unwrap();
    let repository = repository(&store, "db:5432", "one");
    assert!(matches!(repository.begin(&naming(1), 0).await, Err(StorageError::AlreadyExists { .. })));
    assert_eq!(keys(&store).await, [NAME]);
    // and one that appears while the dump runs
    let mut new_backup = repository.begin(&naming(2), 0).await.unwrap();
    let late = new_backup.key().to_owned();
    store.put(&late, Bytes::from_static(b"foreign")).await.unwrap();
    assert!(commit_draft(&mut new_backup, &sample("x"), b"").await.is_err());
    new_backup.abandon().await;
    assert_eq!(keys(&store).await, [NAME, late.as_str()]);
    // and a companion that does
    let mut new_backup = repository.begin(&naming(3), 0).await.unwrap();
    let facts = format!("{}.facts.json.gz", new_backup.key());
    store.put(&facts, Bytes::from_static(b"foreign")).await.unwrap();
    let manifest = Manifest { stored_bytes: 0, ..sample("x") };
    assert!(commit_draft(&mut new_backup, &manifest, b"").await.is_err());
    new_backup.abandon().await;
    assert_eq!(keys(&store).await, [NAME, late.as_str(), facts.as_str()]);
}

#[tokio::test]
async fn removing_takes_every_part_and_nothing_else() {
    let store = Memory::default();
    let repository = repository(&store, "db:5432", "one");
    let backup = commit(&repository, 1).await;
    store.put(&format!("{NAME}.verify-20260128T030000Z.json"), Bytes::new()).await.unwrap();
    store.put(&format!("{NAME}.notes"), Bytes::new()).await.unwrap();
    repository.remove(&backup).await.unwrap();
    assert_eq!(keys(&store).await, [format!("{NAME}.notes")]);
}

#[tokio::test]
async fn the_sweep_undoes_dead_drafts_of_its_own_source_only() {
    let store = Memory::default();
    let (ours, theirs) = (repository(&store, "db:5432", "dead"), repository(&store, "other:5432", "dead"));
    let mut new_backup = ours.begin(&naming(1), 0).await.unwrap();
    new_backup.write(Bytes::from_static(b"bytes")).await.unwrap();
    drop(new_backup);
    let foreign = theirs.begin(&naming(2), 0).await.unwrap();
    let foreign_marker = format!("{}.pending", foreign.key());
    drop(foreign);

    let next = repository(&store, "db:5432", "next");
    let leftovers = next.leftovers().await.unwrap();
    let alive = next.sweep(&leftovers, Some(&["dead".to_owned()]), Utc::now()).await;
    assert_eq!(alive, Swept::default(), "a living run was swept");
    let unknown = next.sweep(&leftovers, None, Utc::now()).await;
    assert_eq!(unknown, Swept::default(), "a fresh new_backup was swept although nobody knows who lives");
    let swept = next.sweep(&leftovers, Some(&[]), Utc::now()).await;
    assert_eq!(swept, Swept { undone: 1, finished: 0 });
    assert_eq!(keys(&store).await, [foreign_marker]);
    assert!(store.unfinished(NAME).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cut_anywhere_in_commit_or_removal_is_finished_or_undone_by_the_next_run() {
    let complete = {
        let store = Memory::default();
        commit(&repository(&store, "db:5432", "one"), 1).await;
        let mut parts = Vec::new();
        for key in keys(&store).await {
            parts.push((key.clone(), read_small(&store, &key, 1 << 20).await.unwrap()));
        }
        parts
    };
    let has_manifest =
        |mask: usize| complete.iter().enumerate().any(|(i, (k, _))| mask & (1 << i) != 0 && k.ends_with("gz.json"));
    for marker in [FileKind::Pending, FileKind::Deleting] {
        for mask in 0..1_usize << complete.len() {
            let store = Memory::default();
            for (index, (key, bytes)) in complete.iter().enumerate() {
                if mask & (1 << index) != 0 {
                    store.put(key, bytes.clone()).await.unwrap();
                }
            }
            let before = keys(&store).await;
            let dead = repository(&store, "db:5432", "dead");
            store.put(&key::companion(NAME, marker), dead.marker()).await.unwrap();
            let next = repository(&store, "db:5432", "next");
            next.sweep(&next.leftovers().await.unwrap(), Some(&[]), Utc::now()).await;
            let expected = if has_manifest(mask) { before } else { Vec::new() };
            assert_eq!(keys(&store).await, expected, "{marker:?} with parts {mask:b}");
        }
    }
}

#[tokio::test]
async fn a_backup_whose_archive_is_gone_is_listed_as_not_intact() {
    let store = Memory::default();
    let repository = repository(&store, "db:5432", "one");
    let backup = commit(&repository, 1).await;
    assert!(repository.catalog().await.unwrap().backups[0].intact);
    store.delete(&backup.key).await.unwrap();
    assert!(!repository.catalog().await.unwrap().backups[0].intact);
}

#[tokio::test]
async fn a_draft_that_somebody_swept_meanwhile_does_not_become_a_backup() {
    let store = Memory::default();
    let repository = repository(&store, "db:5432", "one");
    let mut new_backup = repository.begin(&naming(1), 0).await.unwrap();
    new_backup.write(Bytes::from_static(b"bytes")).await.unwrap();
    let manifest = Manifest { stored_bytes: 5, ..sample("x") };
    new_backup.store_archive(5).await.unwrap();
    store.delete(NAME).await.unwrap();
    assert!(new_backup.record(&BackupRecord::new(&manifest, Bytes::new())).await.is_err());
    new_backup.abandon().await;
    assert!(keys(&store).await.is_empty());
}

#[tokio::test]
async fn what_was_finished_since_somebody_looked_is_not_swept() {
    let store = Memory::default();
    let (one, other) = (repository(&store, "db:5432", "one"), repository(&store, "db:5432", "other"));
    let naming = naming(1);
    let mut new_backup = one.begin(&naming, 0).await.unwrap();
    new_backup.write(Bytes::from_static(b"bytes")).await.unwrap();
    let seen = other.leftovers().await.unwrap();
    let manifest = Manifest { stored_bytes: 5, started: naming.time, ..sample(&naming.id()) };
    commit_draft(&mut new_backup, &manifest, b"facts").await.unwrap();
    // it ends, so that nobody by its id lives
    other.sweep(&seen, Some(&[]), Utc::now()).await;
    let backups = other.catalog().await.unwrap().backups;
    assert!(backups.len() == 1 && backups[0].intact, "{:?}", keys(&store).await);
}

#[tokio::test]
async fn a_draft_whose_name_somebody_else_has_announced_anew_does_not_become_a_backup() {
    let store = Memory::default();
    let (one, other) = (repository(&store, "db:5432", "one"), repository(&store, "db:5432", "other"));
    let naming = naming(1);
    let mut new_backup = one.begin(&naming, 0).await.unwrap();
    new_backup.write(Bytes::from_static(b"bytes")).await.unwrap();
    other.sweep(&other.leftovers().await.unwrap(), Some(&[]), Utc::now()).await;
    let mut again = other.begin(&naming, 0).await.unwrap();
    again.write(Bytes::from_static(b"bytes")).await.unwrap();
    let manifest = Manifest { stored_bytes: 5, started: naming.time, ..sample(&naming.id()) };
    assert!(commit_draft(&mut new_backup, &manifest, b"facts").await.is_err());
    new_backup.abandon().await;
    // and what the other has there is left to it
    assert!(keys(&store).await.iter().any(|key| key.ends_with(".pending")), "{:?}", keys(&store).await);
}

#[tokio::test]
async fn an_archive_without_its_facts_is_no_whole_backup() {
    let store = Memory::default();
    let repository = repository(&store, "db:5432", "one");
    let backup = commit(&repository, 1).await;
    store.delete(&key::companion(&backup.key, FileKind::Facts)).await.unwrap();
    assert!(!repository.catalog().await.unwrap().backups[0].is_good());
    assert!(!repository.find(&backup.key).await.unwrap().unwrap().is_good());
}
