//! What an answer of the store means.

use crate::storage::clock::{CLOCK, CLOCKS_AGREE, clock_skew, with_skew};
use crate::storage::{StorageError, innermost};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::error::Error;

/// Sorts an SDK error by what helps: another try, another setting, or nothing.
pub(super) fn explain<E>(action: String, key: &str, error: &SdkError<E, HttpResponse>) -> StorageError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let message = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    let date = error.raw_response().and_then(|response| response.headers().get("date"));
    let skew = clock_skew(date);
    let cause = match status {
        Some(status) => format!("the store answered {status} {code} {message}").trim_end().to_owned(),
        None => innermost(error),
    };
    match (code, status) {
        ("NoSuchBucket" | "InvalidBucketName", _) => StorageError::Missing { action, cause, setting: "REMOTE_BUCKET" },
        ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException", _) => {
            StorageError::Missing { action, cause, setting: "REMOTE_REGION and REMOTE_ENDPOINT" }
        }
        ("ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId" | "TokenRefreshRequired", _) => {
            StorageError::Refused { action, cause, hint: "check REMOTE_ACCESS_KEY and REMOTE_SECRET_KEY" }
        }
        ("NoSuchKey" | "NoSuchUpload" | "NotFound", _) | (_, Some(404)) => {
            StorageError::NotFound { key: key.to_owned() }
        }
        ("InvalidObjectState", _) => StorageError::Cold {
            action,
            hint: "have the store retrieve it (`aws s3api restore-object`, or its console), which takes hours",
        },
        ("PreconditionFailed", _) | (_, Some(412)) => StorageError::AlreadyExists { key: key.to_owned() },
        ("RequestTimeTooSkewed", _) => StorageError::Refused { action, cause: with_skew(&cause, skew), hint: CLOCK },
        (_, Some(401 | 403)) if skew > CLOCKS_AGREE => {
            StorageError::Refused { action, cause: with_skew(&cause, skew), hint: CLOCK }
        }
        ("AccessDenied" | "AllAccessDisabled", _) => StorageError::Refused {
            action,
            cause,
            hint: "give REMOTE_ACCESS_KEY the right to do this in REMOTE_BUCKET",
        },
        ("RequestTimeout" | "SlowDown" | "Throttling" | "InternalError" | "ServiceUnavailable" | "BadDigest", _)
        | ("OperationAborted" | "ConditionalRequestConflict", _)
        | (_, Some(408 | 429 | 500 | 502 | 503 | 504)) => {
            StorageError::Unavailable { action, cause, setting: super::SETTING }
        }
        (_, Some(401 | 403)) => {
            StorageError::Refused { action, cause, hint: "check REMOTE_ACCESS_KEY and REMOTE_SECRET_KEY" }
        }
        (_, Some(301 | 302 | 303 | 307 | 308)) => {
            StorageError::Missing { action, cause, setting: "REMOTE_REGION and REMOTE_ENDPOINT" }
        }
        (_, Some(status)) if status >= 300 => StorageError::Failed { action, cause },
        // an error inside an answer that began with 200
        (_, Some(_)) => StorageError::Unavailable { action, cause, setting: super::SETTING },
        (_, None) => match error {
            SdkError::ConstructionFailure(_) => StorageError::Failed { action, cause },
            SdkError::DispatchFailure(failure) if failure.is_user() => StorageError::Failed { action, cause },
            SdkError::DispatchFailure(failure)
                if failure.as_connector_error().is_none() && !failure.is_io() && !failure.is_timeout() =>
            {
                StorageError::Refused {
                    action,
                    cause,
                    hint: "set REMOTE_ACCESS_KEY and REMOTE_SECRET_KEY, or give this machine an AWS identity",
                }
            }
            _ => StorageError::Unavailable { action, cause, setting: super::SETTING },
        },
    }
}

/// True where the store takes no requests that name the bucket in the path, as several clouds do.
pub(super) fn wants_host<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    matches!(code, "SecondLevelDomainForbidden" | "PathStyleDomainForbidden" | "VirtualHostDomainRequired")
}

/// True where the store wants a checksum with what it is sent, as it does for buckets with a default retention.
pub(super) fn asks_for_digest<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let message = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    let message = message.to_ascii_lowercase();
    status == Some(400) && (message.contains("content-md5") || message.contains("x-amz-checksum"))
}
