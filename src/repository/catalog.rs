//! The catalogue: what lies in the storage, and nothing else.

use super::verification::Records;
use super::whose::Adoptions;
use super::{Backup, Catalog, Repository, Whose};
use crate::record::facts::Subject;
use crate::record::manifest::{self, Manifest, Verification};
use crate::storage::key::{self, FileKind};
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
pub(super) struct KnownManifests(Arc<Mutex<HashMap<String, (Object, Manifest)>>>);

impl KnownManifests {
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
    objects.iter().filter(|object| matches!(key::parse(&object.key), Some((_, FileKind::Manifest))))
}

/// What a listed manifest came to.
enum Read {
    Backup(Box<Backup>),
    /// It vanished meanwhile.
    Gone,
    Unreadable {
        name: String,
        /// Why the store does not give it; none where it is no manifest.
        error: Option<StorageError>,
    },
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
            && self.0.contains_key(key::companion(&backup.key, FileKind::Facts).as_str())
    }
}

impl Repository {
    /// Everything in the storage. A manifest that cannot be read or understood is an error or a warning, never silence.
    pub async fn catalog(&self) -> Result<Catalog, StorageError> {
        let objects = self.storage.list("").await?;
        self.known.forget_others(&objects);
        let adoptions = Adoptions::among(&objects, &self.owner.source);
        let read = stream::iter(manifests(&objects)).map(|object| self.read_listed(object, &adoptions)).buffered(READS);
        let read: Vec<Read> = read.try_collect().await?;
        let (mut backups, mut unreadable, mut refused) = (Vec::new(), Vec::new(), None);
        for read in read {
            match read {
                Read::Backup(backup) => backups.push(*backup),
                Read::Gone => {}
                Read::Unreadable { name, error } => {
                    unreadable.push(name);
                    refused = refused.or(error);
                }
            }
        }
        // a store that gives none of them is not one with fewer backups
        if let (true, Some(error)) = (backups.is_empty(), refused) {
            return Err(error);
        }
        let records = Records::among(&objects);
        let verified = stream::iter(backups.iter().map(|backup| self.latest_verification(backup, &records)));
        let verified: Vec<Option<Verification>> = verified.buffered(READS).try_collect().await?;
        backups.iter_mut().zip(verified).for_each(|(backup, verified)| backup.verification = verified);
        let sizes = Sizes::of(&objects);
        for backup in &mut backups {
            backup.intact = sizes.show_whole(backup);
            if !backup.intact {
                let place = self.location().of(&backup.key);
                warn!("{place} is missing, differs in length from its manifest, or lacks its facts file");
            }
        }
        backups.sort_by(|a, b| {
            (a.manifest.started, &a.manifest.id, &a.key).cmp(&(b.manifest.started, &b.manifest.id, &b.key))
        });
        let known: HashSet<&str> = backups.iter().map(|backup| backup.key.as_str()).collect();
        let is_foreign = |object: &Object| match key::parse(&object.key) {
            Some((_, FileKind::Pending | FileKind::Upload | FileKind::Deleting)) => false,
            Some((archive, _)) => !known.contains(archive),
            None => !key::is_note(&object.key),
        };
        let notes =
            objects.iter().filter(|object| key::is_note(&object.key)).map(|object| object.key.clone()).collect();
        let foreign = objects.into_iter().filter(is_foreign).collect();
        Ok(Catalog { backups, foreign, unreadable, notes })
    }

    /// The backup of that archive, with its latest verification; none when it is not there.
    pub async fn find(&self, archive: &str) -> Result<Option<Backup>, StorageError> {
        let adopted = self.storage.list(&key::adoptions(&self.owner.source)).await?;
        let adoptions = Adoptions::among(&adopted, &self.owner.source);
        let mut backup = match self.read(archive.to_owned(), &adoptions).await? {
            Read::Backup(backup) => *backup,
            Read::Unreadable { error: Some(error), .. } => return Err(error),
            Read::Gone | Read::Unreadable { .. } => return Ok(None),
        };
        let objects = self.storage.list(archive).await?;
        backup.intact = Sizes::of(&objects).show_whole(&backup);
        let records = Records::among(&objects);
        backup.verification = self.latest_verification(&backup, &records).await?;
        Ok(Some(backup))
    }

    /// The backup of a manifest that is listed; one that was read before is not read again.
    async fn read_listed(&self, object: &Object, adoptions: &Adoptions) -> Result<Read, StorageError> {
        let Some((archive, _)) = key::parse(&object.key) else { return Ok(Read::Gone) };
        if object.size > manifest::LIMIT {
            let name = self.location().of(&object.key);
            warn!("{name} is skipped: it is larger than any manifest");
            return Ok(Read::Unreadable { name, error: None });
        }
        if let Some(manifest) = self.known.get(object) {
            return Ok(self.backup(archive.to_owned(), manifest, adoptions));
        }
        let read = self.read(archive.to_owned(), adoptions).await?;
        if let Read::Backup(backup) = &read {
            self.known.keep(object, &backup.manifest);
        }
        Ok(read)
    }

    fn backup(&self, key: String, manifest: Manifest, adoptions: &Adoptions) -> Read {
        let whose = self.whose(&manifest, adoptions);
        let server = manifest.system_identifier.as_deref().map(|server| adoptions.heir(server).to_owned());
        Read::Backup(Box::new(Backup { manifest, key, intact: true, verification: None, whose, server }))
    }

    /// The backup of that archive. An error only where the store does not answer: one manifest that it does not give, or
    /// that is none, keeps nobody from the others.
    async fn read(&self, archive: String, adoptions: &Adoptions) -> Result<Read, StorageError> {
        let key = key::companion(&archive, FileKind::Manifest);
        let name = self.location().of(&key);
        let bytes = match read_small(&*self.storage, &key, manifest::LIMIT).await {
            Ok(bytes) => bytes,
            Err(StorageError::NotFound { .. }) => return Ok(Read::Gone),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                warn!("{name} is skipped: {error}");
                return Ok(Read::Unreadable { name, error: Some(error) });
            }
        };
        match Manifest::parse(&bytes) {
            Ok(manifest) => Ok(self.backup(archive, manifest, adoptions)),
            Err(error) => {
                warn!("{name} is skipped: {error}");
                Ok(Read::Unreadable { name, error: None })
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
        let adoptions = Adoptions::among(&objects, &self.owner.source);
        let read = stream::iter(manifests).map(|object| self.read_listed(object, &adoptions)).buffered(READS);
        let mut read = std::pin::pin!(read);
        let mut newest: HashMap<Subject, Backup> = HashMap::new();
        while newest.len() < subjects.len()
            && let Some(read) = read.try_next().await?
        {
            if let Read::Backup(mut backup) = read
                && backup.whose == Whose::Ours
                && subjects.contains(&backup.manifest.subject)
                && !newest.contains_key(&backup.manifest.subject)
            {
                backup.verification = self.latest_verification(&backup, &records).await?;
                backup.intact = sizes.show_whole(&backup);
                if !backup.is_good() {
                    continue;
                }
                newest.entry(backup.manifest.subject.clone()).or_insert(*backup);
            }
        }
        Ok(newest)
    }
}
