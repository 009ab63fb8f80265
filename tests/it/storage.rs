//! One contract, every backend.

use crate::support;

use bytes::Bytes;
use postgres_backup_job::config::{self, Retry};
use postgres_backup_job::storage::local::Local;
use postgres_backup_job::storage::memory::Memory;
use postgres_backup_job::storage::retry::Retrying;
use postgres_backup_job::storage::{Owner, Storage, StorageError, WHOLE, read_small};
use std::sync::Arc;
use std::time::Duration;
use support::{RUNTIME, azure, gcs, s3};
use tokio::io::AsyncReadExt;

fn retrying(storage: Arc<dyn Storage>) -> Retrying {
    Retrying::new(storage, Retry { attempts: 3, delay: Duration::from_millis(10) })
}

#[test]
fn memory_keeps_the_contract() {
    RUNTIME.block_on(contract(&Memory::default()));
    RUNTIME.block_on(contract(&retrying(Arc::new(Memory::default()))));
}

#[test]
fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(&folder.path().join("new/sub"), Owner::new("db:5432", "run1"));
    RUNTIME.block_on(contract(&local));
    let folder = tempfile::tempdir().unwrap();
    RUNTIME.block_on(contract(&retrying(Arc::new(Local::new(folder.path(), Owner::new("db:5432", "run1"))))));
}

#[test]
fn s3_keeps_the_contract() {
    RUNTIME.block_on(contract(&*s3::shared().store(&s3::fresh_prefix())));
    RUNTIME.block_on(contract(&retrying(s3::shared().store(&s3::fresh_prefix()))));
}

#[test]
fn another_s3_server_keeps_it_too() {
    RUNTIME.block_on(contract(&*s3::store_at(&gcs::other_s3().endpoint(), &s3::fresh_prefix())));
}

#[test]
fn google_keeps_the_contract() {
    for prefix in [s3::fresh_prefix(), format!("{}/b", s3::fresh_prefix())] {
        RUNTIME.block_on(contract(&retrying(google(&prefix))));
    }
}

#[test]
fn azure_keeps_the_contract() {
    RUNTIME.block_on(contract(&*azure_with("AZURE_STORAGE_KEY", azure::KEY, &s3::fresh_prefix())));
    let signature = azure::shared().signature("racwdl");
    RUNTIME.block_on(contract(&retrying(azure_with("AZURE_STORAGE_SAS_TOKEN", &signature, &s3::fresh_prefix()))));
}

const RETRY: Retry = Retry { attempts: 2, delay: Duration::from_millis(50) };

fn remote(pairs: &[(&str, &str)]) -> config::Remote {
    let pairs = pairs.iter().map(|(name, value)| (name.into(), value.into()));
    config::Config::load(pairs, std::path::Path::new("/nonexistent")).unwrap().remote
}

fn google(prefix: &str) -> Arc<dyn Storage> {
    let google = gcs::shared();
    let remote = remote(&[
        ("GCS_BUCKET_NAME", s3::BUCKET),
        ("GCS_CREDENTIALS_PATH", google.key_file.to_str().unwrap()),
        ("GCS_ENDPOINT", &google.endpoint()),
        ("GCS_BACKUP_PREFIX", prefix),
    ]);
    RUNTIME.block_on(remote.open(RETRY, Duration::from_secs(20), 8)).unwrap()
}

fn azure_with(setting: &str, secret: &str, prefix: &str) -> Arc<dyn Storage> {
    let remote = remote(&[
        ("REMOTE_KIND", "azure"),
        ("AZURE_STORAGE_ACCOUNT", azure::ACCOUNT),
        ("AZURE_CONTAINER", azure::CONTAINER),
        ("AZURE_ENDPOINT", &azure::shared().endpoint()),
        ("REMOTE_PREFIX", prefix),
        (setting, secret),
    ]);
    RUNTIME.block_on(remote.open(RETRY, Duration::from_secs(20), 8)).unwrap()
}

/// What every backend must do; the contract's sentences are those of the module `storage`.
async fn contract(storage: &dyn Storage) {
    small_objects(storage).await;
    listings(storage).await;
    uploads(storage, &pattern(100)).await;
    // more than one part of S3, and not a multiple of its length
    uploads(storage, &pattern(37 << 20)).await;
}

async fn small_objects(storage: &dyn Storage) {
    let key = "folder/a%20b.json";
    assert!(storage.list("").await.unwrap().is_empty());
    assert!(storage.head(key).await.unwrap().is_none());
    assert!(matches!(storage.get(key, WHOLE).await, Err(StorageError::NotFound { .. })));
    storage.delete(key).await.unwrap();

    storage.put(key, Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(&read_small(storage, key, 100).await.unwrap()[..], b"first");
    assert_eq!(storage.head(key).await.unwrap().unwrap().size, 5);
    assert!(matches!(storage.put(key, Bytes::from_static(b"other")).await, Err(StorageError::AlreadyExists { .. })));
    assert_eq!(&read_small(storage, key, 100).await.unwrap()[..], b"first", "an object was overwritten");
    assert!(read_small(storage, key, 4).await.is_err(), "an object above the limit was read");

    for (range, expected) in [(0..2, "fi"), (1..4, "irs"), (4..u64::MAX, "t"), (0..100, "first"), (WHOLE, "first")] {
        let mut part = storage.get(key, range.clone()).await.unwrap();
        assert_eq!(part.size, 5, "the size is that of the whole object");
        let mut bytes = Vec::new();
        part.body.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{range:?}");
    }

    storage.put("empty", Bytes::new()).await.unwrap();
    assert_eq!(read_small(storage, "empty", 100).await.unwrap().len(), 0);
    storage.delete("empty").await.unwrap();
    storage.delete(key).await.unwrap();
    assert!(storage.list("").await.unwrap().is_empty());
}

async fn listings(storage: &dyn Storage) {
    let keys = ["a/1", "a/2", "a/b/3", "ab", "z"];
    for key in keys.iter().rev() {
        storage.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let listed = |objects: Vec<postgres_backup_job::storage::Object>| -> Vec<String> {
        objects.into_iter().map(|object| object.key).collect()
    };
    assert_eq!(listed(storage.list("").await.unwrap()), keys);
    assert_eq!(listed(storage.list("a/").await.unwrap()), ["a/1", "a/2", "a/b/3"]);
    assert_eq!(listed(storage.list("a").await.unwrap()), ["a/1", "a/2", "a/b/3", "ab"]);
    assert_eq!(listed(storage.list("ab").await.unwrap()), ["ab"], "a prefix may be a whole name");
    assert_eq!(listed(storage.list("a/b/3").await.unwrap()), ["a/b/3"]);
    assert!(storage.list("nothing").await.unwrap().is_empty());
    for key in keys {
        storage.delete(key).await.unwrap();
    }
}

async fn uploads(storage: &dyn Storage, bytes: &Bytes) {
    let key = "2026-01/backup.sql.gz";
    // nothing shows before the commit, and nothing stays after an abort
    let mut upload = storage.upload(key, 0).await.unwrap();
    for chunk in bytes.chunks(3 << 20) {
        upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    assert!(storage.head(key).await.unwrap().is_none());
    assert!(storage.list("").await.unwrap().is_empty());
    upload.abort().await.unwrap();
    assert!(storage.unfinished(key).await.unwrap().is_empty());

    let mut upload = storage.upload(key, 0).await.unwrap();
    for chunk in bytes.chunks(700_001) {
        upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    let object = upload.commit().await.unwrap();
    assert_eq!((object.key.as_str(), object.size), (key, bytes.len() as u64));
    assert!(read_small(storage, key, 1 << 30).await.unwrap() == *bytes, "other bytes came back");
    assert!(storage.unfinished(key).await.unwrap().is_empty());

    // a second upload to the same key does not replace the first
    let other = Bytes::from(vec![1; bytes.len()]);
    let mut upload = storage.upload(key, 0).await.unwrap();
    upload.write(other).await.unwrap();
    assert!(matches!(upload.commit().await, Err(StorageError::AlreadyExists { .. })));
    assert!(read_small(storage, key, 1 << 30).await.unwrap() == *bytes, "an object was overwritten");
    storage.delete(key).await.unwrap();

    // what a dead process leaves is found by its key, and discarded
    let mut upload = storage.upload(key, 0).await.unwrap();
    upload.write(bytes.clone()).await.unwrap();
    drop(upload);
    for unfinished in storage.unfinished(key).await.unwrap() {
        storage.discard(&unfinished).await.unwrap();
        storage.discard(&unfinished).await.unwrap();
    }
    assert!(storage.unfinished(key).await.unwrap().is_empty());
    assert!(storage.list("").await.unwrap().is_empty());
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<u8>>().into()
}

#[test]
fn files_are_for_their_owner_only_and_hidden_until_they_are_whole() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new");
    let local = Local::new(&root, Owner::new("db:5432", "run1"));
    RUNTIME.block_on(async {
        let mut upload = local.upload("2026-01/x.sql.gz", 0).await.unwrap();
        upload.write(Bytes::from_static(b"x")).await.unwrap();
        let entries: Vec<String> = std::fs::read_dir(root.join("2026-01"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(entries.len(), 1);
        assert!(entries[0].starts_with(".x.sql.gz.") && entries[0].ends_with("-run1.partial"), "{entries:?}");
        let owners = local.unfinished_with_owner().await.unwrap();
        assert_eq!(owners[0].0, Owner::new("db:5432", "run1").trace());
        upload.commit().await.unwrap();
    });
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root.join("2026-01")), 0o700);
    assert_eq!(mode(&root.join("2026-01/x.sql.gz")), 0o600);
}

#[test]
fn a_key_never_leaves_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(&folder.path().join("in"), Owner::new("db:5432", "run1"));
    for key in ["../x", "/etc/x", "a/../../x", "a//b", "", ".", "a/./b"] {
        assert!(RUNTIME.block_on(local.put(key, Bytes::new())).is_err(), "{key} was accepted");
    }
    let link = folder.path().join("in/link");
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(folder.path().join("target"), &link).unwrap();
    assert!(RUNTIME.block_on(local.put("link", Bytes::new())).is_err());
    assert!(!folder.path().join("target").exists(), "a symbolic link was followed");
}
