//! The catalogue: what lies in the storage, and nothing else.

use super::verification::Records;
use super::{Backup, Catalog, Repository};
use crate::facts::Subject;
use crate::manifest::{self, Manifest, Verification};
use crate::storage::key::{self, Part};
use crate::storage::{Object, StorageError, read_small};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::warn;

/// Manifests read at once.
const READS: usize = 32;

/// Manifests that were read, by the listed object: they are never changed once written, so what has the same name, size
/// and time is the same.
#[derive(Clone, Default)]
pub(super) struct Known(Arc<Mutex<HashMap<String, (Object, Manifest)>>>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Object, Manifest)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, object: &Object) -> Option<Manifest> {
        self.lock().get(&object.key).filter(|(known, _)| known == object).map(|(_, manifest)| manifest.clone())
    }

    fn keep(&self, object: &Object, manifest: &Manifest) {
        self.lock().insert(object.key.clone(), (object.clone(), manifest.clone()));
    }

    /// Forgets what is not listed any more.
    fn forget_others(&self, listed: &[Object]) {
        let mut known = self.lock();
        if !known.is_empty() {
            let listed: HashSet<&str> = listed.iter().map(|object| object.key.as_str()).collect();
            known.retain(|key, _| listed.contains(key.as_str()));
        }
    }
}

/// Those of the listed objects that are manifests, by their names.
fn manifests(objects: &[Object]) -> impl Iterator<Item = &Object> {
    objects.iter().filter(|object| matches!(key::parse(&object.key), Some((_, Part::Manifest))))
}

/// Lengths of what is listed, by key.
struct Sizes<'a>(HashMap<&'a str, u64>);

impl<'a> Sizes<'a> {
    fn of(objects: &'a [Object]) -> Self {
        Self(objects.iter().map(|object| (object.key.as_str(), object.size)).collect())
    }

    /// The archive is there and has the length that the manifest says, and its facts are there.
    fn show_whole(&self, backup: &Backup) -> bool {
        let stored = backup.manifest.stored_bytes;
        stored > 0
            && self.0.get(backup.key.as_str()) == Some(&stored)
            && self.0.contains_key(key::companion(&backup.key, Part::Facts).as_str())
    }
}

impl Repository {
    /// Everything in the storage. A manifest that cannot be read or understood is an error or a warning, never silence.
    pub async fn catalog(&self) -> Result<Catalog, StorageError> {
        let objects = self.storage.list("").await?;
        self.known.forget_others(&objects);
        let read = stream::iter(manifests(&objects)).map(|object| self.read_listed(object)).buffered(READS);
        let read: Vec<Option<Backup>> = read.try_collect().await?;
        let mut backups: Vec<Backup> = read.into_iter().flatten().collect();
        let records = Records::among(&objects);
        let verified = stream::iter(backups.iter().map(|backup| self.latest_verification(backup, &records)));
        let verified: Vec<Option<Verification>> = verified.buffered(READS).try_collect().await?;
        backups.iter_mut().zip(verified).for_each(|(backup, verified)| backup.verification = verified);
        let sizes = Sizes::of(&objects);
        for backup in &mut backups {
            backup.intact = sizes.show_whole(backup);
            if !backup.intact {
                let place = self.location().of(&backup.key);
                warn!("{place} is missing, has another length than its manifest says, or lacks its facts file");
            }
        }
        backups.sort_by(|a, b| {
            (a.manifest.started, &a.manifest.id, &a.key).cmp(&(b.manifest.started, &b.manifest.id, &b.key))
        });
        let known: HashSet<&str> = backups.iter().map(|backup| backup.key.as_str()).collect();
        let is_foreign = |object: &Object| match key::parse(&object.key) {
            Some((_, Part::Pending | Part::Deleting)) => false,
            Some((archive, _)) => !known.contains(archive),
            None => !key::is_outage(&object.key),
        };
        let foreign = objects.into_iter().filter(is_foreign).collect();
        Ok(Catalog { backups, foreign })
    }

    /// The backup of that archive, with its latest verification; none when it is not there.
    pub async fn find(&self, archive: &str) -> Result<Option<Backup>, StorageError> {
        let Some(mut backup) = self.read(archive.to_owned()).await? else { return Ok(None) };
        let objects = self.storage.list(archive).await?;
        backup.intact = Sizes::of(&objects).show_whole(&backup);
        let records = Records::among(&objects);
        backup.verification = self.latest_verification(&backup, &records).await?;
        Ok(Some(backup))
    }

    /// The backup of a manifest that is listed; one that was read before is not read again.
    async fn read_listed(&self, object: &Object) -> Result<Option<Backup>, StorageError> {
        let Some((archive, _)) = key::parse(&object.key) else { return Ok(None) };
        if object.size > manifest::LIMIT {
            warn!("{} is passed over: it is larger than any manifest", self.location().of(&object.key));
            return Ok(None);
        }
        if let Some(manifest) = self.known.get(object) {
            return Ok(Some(Backup { manifest, key: archive.to_owned(), intact: true, verification: None }));
        }
        let read = self.read(archive.to_owned()).await?;
        if let Some(backup) = &read {
            self.known.keep(object, &backup.manifest);
        }
        Ok(read)
    }

    /// The backup of that archive; none when its manifest vanished meanwhile or is not one.
    async fn read(&self, archive: String) -> Result<Option<Backup>, StorageError> {
        let name = key::companion(&archive, Part::Manifest);
        let bytes = match read_small(&*self.storage, &name, manifest::LIMIT).await {
            Ok(bytes) => bytes,
            Err(StorageError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match Manifest::parse(&bytes) {
            Ok(manifest) => Ok(Some(Backup { manifest, key: archive, intact: true, verification: None })),
            Err(error) => {
                warn!("{} is passed over: {error}", self.location().of(&name));
                Ok(None)
            }
        }
    }

    /// The newest backup of each subject of this source that has not failed a verification, where there is one. Reads
    /// from the newest on, and no further than needed.
    pub async fn newest(&self, subjects: &[Subject]) -> Result<HashMap<Subject, Backup>, StorageError> {
        let objects = self.storage.list("").await?;
        let (records, sizes) = (Records::among(&objects), Sizes::of(&objects));
        let mut manifests: Vec<&Object> = manifests(&objects).collect();
        // stores tell seconds, and names tell those of one second apart
        manifests.sort_by(|a, b| (b.modified, &b.key).cmp(&(a.modified, &a.key)));
        let mut read = std::pin::pin!(stream::iter(manifests).map(|object| self.read_listed(object)).buffered(READS));
        let mut newest: HashMap<Subject, Backup> = HashMap::new();
        while newest.len() < subjects.len()
            && let Some(backup) = read.try_next().await?
        {
            if let Some(mut backup) = backup.filter(|backup| self.owns(backup))
                && subjects.contains(&backup.manifest.subject)
                && !newest.contains_key(&backup.manifest.subject)
            {
                backup.verification = self.latest_verification(&backup, &records).await?;
                backup.intact = sizes.show_whole(&backup);
                if !backup.is_good() {
                    continue;
                }
                newest.entry(backup.manifest.subject.clone()).or_insert(backup);
            }
        }
        Ok(newest)
    }
}
