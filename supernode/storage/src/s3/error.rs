//! S3's codes for what goes wrong. The one place that says which.

use s3s::{S3Error, S3ErrorCode, s3_error};

use crate::{meta::MetaError, objects::WriteError, store::StoreError};

/// A code that s3s does not name, with the status that S3 gives it.
pub(super) fn custom(code: &str, status: http::StatusCode, message: impl Into<String>) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, message.into());
    error.set_status_code(status);
    error
}

/// The answer to a refused operation on metadata.
pub(super) fn meta(error: MetaError) -> S3Error {
    match error {
        MetaError::NoSuchBucket => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
        MetaError::BucketExists { .. } => s3_error!(BucketAlreadyExists, "The bucket name is taken"),
        MetaError::BucketNotEmpty => {
            s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty")
        }
        MetaError::TooManyBuckets(_) => s3_error!(TooManyBuckets),
        MetaError::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
        MetaError::DeleteMarker { .. } => s3_error!(NoSuchKey, "The specified key does not exist."),
        MetaError::NoSuchVersion => s3_error!(NoSuchVersion, "The specified version does not exist."),
        MetaError::NoSuchUpload => s3_error!(NoSuchUpload, "The specified upload does not exist."),
        MetaError::InvalidPart(number) => {
            s3_error!(InvalidPart, "Part {number} could not be found, or has another ETag.")
        }
        MetaError::Precondition => {
            s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
        }
        MetaError::Locked => {
            s3_error!(AccessDenied, "Access Denied because object protected by object lock.")
        }
        MetaError::State(what) => s3_error!(InvalidRequest, "{what}"),
        MetaError::Closed => s3_error!(ServiceUnavailable, "The node is shutting down"),
        error @ (MetaError::Row(_) | MetaError::Storage(_) | MetaError::Commit(_)) => {
            tracing::error!(%error, "the metadata failed");
            s3_error!(error, InternalError, "We encountered an internal error. Please try again.")
        }
    }
}

/// The answer to an object that was not written or read.
pub(super) fn write(error: WriteError) -> S3Error {
    match error {
        WriteError::Source(error) => match error.downcast::<S3Error>() {
            Ok(said) => *said,
            // The bytes of a copy come from the store too.
            Err(error) => {
                match error.downcast::<std::io::Error>().map(|error| error.downcast::<StoreError>()) {
                    Ok(Ok(error)) => store(error),
                    Ok(Err(error)) => source(error.into()),
                    Err(error) => source(error),
                }
            }
        },
        WriteError::TooLong(error) => s3_error!(error, EntityTooLarge),
        WriteError::Store(error) => store(error),
        WriteError::Meta(error) => meta(error),
        WriteError::Path(error) => s3_error!(error, KeyTooLongError, "Your key is too long"),
        error @ (WriteError::Record(_) | WriteError::System(_)) => {
            tracing::error!(%error, "an object could not be written or read");
            s3_error!(error, InternalError, "We encountered an internal error. Please try again.")
        }
    }
}

/// Why a request's body ended early. s3s says it by a text.
fn source(error: Box<dyn std::error::Error + Send + Sync>) -> S3Error {
    let said = error.to_string();
    let mut texts = vec![said];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    let said = |what: &str| texts.iter().any(|text| text.contains(what));
    if said("Sha256Mismatch") {
        return custom(
            "XAmzContentSHA256Mismatch",
            http::StatusCode::BAD_REQUEST,
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
    }
    let code = if said("SignatureMismatch") {
        S3ErrorCode::SignatureDoesNotMatch
    } else {
        S3ErrorCode::IncompleteBody
    };
    tracing::debug!(?texts, "a body ended early");
    S3Error::with_source(code, error)
}

fn store(error: StoreError) -> S3Error {
    match error {
        StoreError::Quota { .. } => {
            // The code that Ceph and others answer; S3 itself has none.
            custom("QuotaExceeded", http::StatusCode::INSUFFICIENT_STORAGE, error.to_string())
        }
        StoreError::Closed => s3_error!(ServiceUnavailable, "The node is shutting down"),
        StoreError::Busy => s3_error!(SlowDown),
        error @ StoreError::Bucket(_) => {
            tracing::warn!(%error, "the bucket failed an object");
            s3_error!(
                error,
                ServiceUnavailable,
                "What this node keeps in its bucket cannot be reached now; try again."
            )
        }
        error @ StoreError::Holders(_) => {
            tracing::warn!(%error, "holders failed an object");
            s3_error!(error, ServiceUnavailable, "Too few of those who hold the data can be reached now.")
        }
        error => {
            tracing::error!(%error, "the blob store failed");
            s3_error!(error, InternalError, "We encountered an internal error. Please try again.")
        }
    }
}
