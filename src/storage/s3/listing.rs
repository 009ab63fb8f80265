//! Listings of stores that do not keep every promise about them: whatever a page says of itself, it is the last one only
//! where nothing stands behind its last key.

use super::{S3, SETTING, size, time};
use crate::storage::parts::PartStore;
use crate::storage::{Object, Storage, StorageError};
use std::sync::Once;
use tracing::warn;

/// Said once: the listing is whole all the same.
static ODD: Once = Once::new();

/// Where a page begins.
enum Position {
    Beginning,
    /// Where the store says that it goes on.
    Token(String),
    /// Behind that object.
    After(String),
}

impl S3 {
    /// Every object whose key begins so; never fewer. Without `page_size`, in objects, the store decides.
    pub(super) async fn list_in_pages(
        &self,
        prefix: &str,
        page_size: Option<i32>,
    ) -> Result<Vec<Object>, StorageError> {
        let verb = if page_size.is_some() { "listing in several pages" } else { "listing" };
        let (mut found, mut position, mut last) = (Vec::new(), Position::Beginning, self.full(prefix));
        loop {
            let request =
                self.client().list_objects_v2().bucket(&self.bucket).prefix(self.full(prefix)).set_max_keys(page_size);
            let request = match &position {
                Position::Beginning => request,
                Position::Token(token) => request.continuation_token(token),
                Position::After(key) => request.start_after(key),
            };
            let page = request.send().await.map_err(|error| {
                self.location().no_list(self.explain(self.action(verb, prefix), prefix, &error), prefix)
            })?;
            let action = || self.action(verb, prefix);
            // a page that was cut is still XML to the SDK, and must not pass for the last one
            let Some(is_truncated) = page.is_truncated else {
                let cause = "the store's answer is incomplete".to_owned();
                return Err(StorageError::Unavailable { action: action(), cause, setting: SETTING });
            };
            let keys = page.contents().iter().filter_map(|object| Some((object.key()?, object)));
            let first = keys.clone().next().map(|(key, _)| key);
            let is_again = |first: &str| found.iter().any(|object: &Object| object.key == self.short(first));
            if let (Position::After(_), Some(first)) = (&position, first.filter(|first| is_again(first))) {
                let cause = format!("the store says that there is more, but lists {} again", self.short(first));
                return Err(StorageError::Failed { action: action(), cause });
            }
            for (key, object) in keys {
                let modified = time(object.last_modified());
                found.push(Object { key: self.short(key).to_owned(), size: size(object.size()), modified });
                key.clone_into(&mut last);
            }
            let count = page.contents().len();
            let is_counted = page.key_count.is_none_or(|counted| usize::try_from(counted) == Ok(count));
            let next = page.next_continuation_token.filter(|_| is_truncated && is_counted);
            position = match (next, position) {
                (Some(next), Position::Token(token)) if token == next => Position::After(last.clone()),
                (Some(next), _) => Position::Token(next),
                (None, _) if !is_truncated && is_counted => break,
                // behind the last key there is nothing, whatever was counted
                (None, Position::After(_)) if count == 0 => break,
                (None, _) => {
                    let name = &self.name;
                    ODD.call_once(|| {
                        warn!(
                            "{name} reports wrongly where a listing ends; every listing is read until nothing follows"
                        );
                    });
                    Position::After(last.clone())
                }
            };
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}
