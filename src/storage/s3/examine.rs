//! What a bucket says of itself: whether its listings go on over several pages, and what it does with what is deleted.

use super::S3;
use crate::storage::parts::PartStore;
use crate::storage::{Advice, StorageError};
use crate::text;
use aws_sdk_s3::types::{DefaultRetention, ExpirationStatus, LifecycleRule, ObjectLockRetentionMode};

/// The version of an object in a bucket that makes none.
const UNVERSIONED: &str = "null";
/// What to do about versions that nothing ever deletes.
const EXPIRE: &str = "give the bucket a lifecycle rule that expires noncurrent versions (docs/storage.md has one)";

impl S3 {
    /// Fails where a listing in several pages is not the whole one; everything else is advice.
    pub(super) async fn examine_bucket(&self, prefix: &str) -> Result<Vec<Advice>, StorageError> {
        let keys = |page_size| async move {
            let listed = self.list_in_pages(prefix, page_size).await?;
            Ok::<_, StorageError>(listed.into_iter().map(|object| object.key).collect::<Vec<_>>())
        };
        let (whole, paged) = (keys(None).await?, keys(Some(1)).await?);
        if whole != paged {
            let (whole, paged) = (whole.len(), paged.len());
            let cause = format!("a listing in several pages returns {paged} of {whole} objects");
            return Err(StorageError::Failed { action: self.action("listing", prefix), cause });
        }
        let versions = match whole.first() {
            Some(key) => self.versions(key).await,
            None => None,
        };
        Ok([versions, self.lock().await].into_iter().flatten().collect())
    }

    /// None where versions are off, or the store does not show them with an object. The object is asked, because that
    /// needs no further right.
    async fn versions(&self, key: &str) -> Option<Advice> {
        let object = self.client().head_object().bucket(&self.bucket).key(self.full(key)).send().await.ok()?;
        object.version_id.filter(|version| version != UNVERSIONED)?;
        let rules = self.client().get_bucket_lifecycle_configuration().bucket(&self.bucket).send().await;
        let rules = rules.map(|answer| answer.rules.unwrap_or_default()).unwrap_or_default();
        Some(match rules.iter().find_map(|rule| self.expires_versions(rule)) {
            Some(days) => {
                let what = format!("the bucket keeps deleted backups for {days} more days (versioning)");
                Advice { what, hint: None }
            }
            None => {
                let what = "the bucket keeps every deleted backup as an old version, so that retention frees no space";
                Advice { what: what.to_owned(), hint: Some(EXPIRE.to_owned()) }
            }
        })
    }

    /// After how many days a rule removes versions of our objects.
    fn expires_versions(&self, rule: &LifecycleRule) -> Option<i32> {
        let filter = rule.filter.as_ref();
        let is_for_all = filter.is_none_or(|filter| {
            filter.tag.is_none()
                && filter.and.is_none()
                && filter.object_size_greater_than.is_none()
                && filter.object_size_less_than.is_none()
        });
        #[expect(deprecated, reason = "stores that speak the older form of the rule answer with it")]
        let prefix = filter.and_then(|filter| filter.prefix.as_deref()).or(rule.prefix.as_deref()).unwrap_or_default();
        let is_ours = is_for_all && self.prefix.starts_with(prefix) && rule.status == ExpirationStatus::Enabled;
        rule.noncurrent_version_expiration.as_ref().filter(|_| is_ours)?.noncurrent_days
    }

    /// None where objects are not locked by default, or the store cannot say.
    async fn lock(&self) -> Option<Advice> {
        let answer = self.client().get_object_lock_configuration().bucket(&self.bucket).send().await.ok()?;
        let rule = answer.object_lock_configuration?.rule?;
        let DefaultRetention { days, years, mode, .. } = rule.default_retention?;
        let time = match (days, years) {
            (Some(days), _) => text::count(days, "day"),
            (None, Some(years)) => text::count(years, "year"),
            (None, None) => return None,
        };
        let who = match mode {
            Some(ObjectLockRetentionMode::Compliance) => "nobody",
            _ => "only those who may bypass governance",
        };
        let what = format!("object lock: for the first {time}, {who} can permanently delete what is written");
        Some(Advice { what, hint: None })
    }
}
