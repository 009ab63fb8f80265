//! What an answer of Google's or Azure's store means.

use super::Dialect;
use super::http::Trouble;
use crate::storage::clock::{CLOCK, CLOCKS_AGREE, with_skew};
use crate::storage::{StorageError, innermost};
use object_store::Error;
use object_store::client::HttpError;

/// What was tried, and how the store is entered.
pub(super) struct FailedRequest<'a> {
    pub(super) action: String,
    pub(super) key: &'a str,
    pub(super) dialect: &'static Dialect,
    /// The credentials are those that the machine or the pod is given.
    pub(super) asks_machine: bool,
}

/// Sorts an error by what helps: another try, another setting, or nothing.
pub(super) fn explain(attempt: FailedRequest<'_>, error: &Error, trouble: Option<Trouble>) -> StorageError {
    let FailedRequest { action, key, dialect, asks_machine } = attempt;
    let setting = dialect.place;
    let Some(Trouble { from_store, answer, cause }) = trouble else {
        let cause = innermost(error);
        return match error {
            Error::NotFound { .. } => StorageError::NotFound { key: key.to_owned() },
            Error::AlreadyExists { .. } | Error::Precondition { .. } => {
                StorageError::AlreadyExists { key: key.to_owned() }
            }
            // a body that broke off
            _ if is_network(error) => StorageError::Unavailable { action, cause, setting },
            _ => StorageError::Failed { action, cause },
        };
    };
    let refused = |action: String, cause: String, hint: &'static str| StorageError::Refused { action, cause, hint };
    let Some(answer) = answer else {
        // who gives out identities may be up a moment later
        let setting = if !from_store && asks_machine { dialect.identity } else { setting };
        return StorageError::Unavailable { action, cause, setting };
    };
    let is_clock = answer.skew > CLOCKS_AGREE;
    match (answer.code.as_str(), answer.status) {
        (_, 404 | 410) if !from_store && asks_machine => {
            StorageError::Unavailable { action, cause, setting: dialect.identity }
        }
        (_, 408 | 429 | 500 | 502..=504) | ("AccountBeingCreated", _) => {
            StorageError::Unavailable { action, cause, setting }
        }
        (_, 400..=403) if is_clock => refused(action, with_skew(&cause, answer.skew), CLOCK),
        (_, 400..=404) if !from_store => refused(action, cause, dialect.credentials),
        ("NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted" | "InvalidBucketName", _)
        | ("InvalidResourceName" | "OutOfRangeInput", _) => {
            StorageError::Missing { action, cause, setting: dialect.bucket }
        }
        ("BlobImmutableDueToPolicy" | "ObjectUnderActiveHold" | "RetentionPolicyNotMet", _) => {
            refused(action, cause, "a retention policy or a hold of the store still protects it")
        }
        ("BlobArchived" | "BlobBeingRehydrated", _) => StorageError::Cold {
            action,
            hint: "move it to the hot or cool tier (`az storage blob set-tier`, or the portal), which takes hours",
        },
        ("AccountIsDisabled", _) | (_, 300..=399) => StorageError::Missing { action, cause, setting },
        ("InvalidAuthenticationInfo" | "PublicAccessNotPermitted" | "AuthenticationFailed", _) => {
            refused(action, cause, dialect.credentials)
        }
        (_, 404) => StorageError::NotFound { key: key.to_owned() },
        ("BlobAlreadyExists" | "PreconditionFailed" | "ConditionNotMet", _) | (_, 412) => {
            StorageError::AlreadyExists { key: key.to_owned() }
        }
        (_, 401 | 403) => refused(action, cause, dialect.credentials),
        _ => StorageError::Failed { action, cause },
    }
}

fn is_network(error: &Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<HttpError>() {
            return true;
        }
        source = error.source();
    }
    false
}
