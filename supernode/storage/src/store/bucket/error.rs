//! What an object store did not do, in words that say what to do about it.

use std::{error::Error, time::Duration};

use object_store::client::{HttpError, HttpErrorKind};

/// Why a bucket did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// Nobody answers there, or only that nobody can now.
    #[error(
        "{bucket} cannot be reached ({reason}); see that its server runs, or correct storage.bucket.endpoint"
    )]
    Unreachable {
        /// Which bucket, and where.
        bucket: String,
        /// What the network or the server says.
        reason: String,
    },
    /// Its certificate is not one that this machine trusts.
    #[error(
        "{bucket} is not believed ({reason}); correct storage.bucket.endpoint, or have its authority among the system's, or in \
         the file that SSL_CERT_FILE names"
    )]
    Untrusted {
        /// Which bucket, and where.
        bucket: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// It takes longer than anybody waits.
    #[error("{bucket} did not answer within {} s; see what its server is busy with", .within.as_secs())]
    Slow {
        /// Which bucket, and where.
        bucket: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// The access key does not suffice.
    #[error(
        "{bucket} refuses the access key ({reason}); it needs to read, write, list and delete under the prefix, and the region \
         and this machine's clock have to be right"
    )]
    Denied {
        /// Which bucket, and where.
        bucket: String,
        /// What the server says.
        reason: String,
    },
    /// There is no such bucket.
    #[error("{bucket} does not exist; make it, or correct storage.bucket.name")]
    NoBucket {
        /// Which bucket, and where.
        bucket: String,
    },
    /// The server has no room.
    #[error("{bucket} has no room left; raise its quota, or lower storage.quota_mib to what it may hold")]
    Full {
        /// Which bucket, and where.
        bucket: String,
    },
    /// Another store's blobs lie there.
    #[error(
        "{bucket} keeps the blobs of another store under the prefix {prefix:?}; give this node a prefix of its own, or, if they \
         were its own, the data directory back whose index knows them"
    )]
    Foreign {
        /// Which bucket, and where.
        bucket: String,
        /// Where in it.
        prefix: String,
    },
    /// Blobs of this store lie in a bucket, and it is not this one.
    #[error(
        "{bucket} is not the one that has this store's blobs: under the prefix {prefix:?} its mark is missing. Correct \
         [storage.bucket]; if only the mark was deleted, put it back, as an object {prefix}/store of the one line {mark:?}"
    )]
    Unmarked {
        /// Which bucket, and where.
        bucket: String,
        /// Where in it.
        prefix: String,
        /// What says whose the prefix is.
        mark: String,
    },
    /// Anything else.
    #[error("{bucket} says: {reason}")]
    Other {
        /// Which bucket, and where.
        bucket: String,
        /// What it says.
        reason: String,
    },
}

impl BucketError {
    /// Whether the configuration is wrong, so that waiting does not help.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. } | Self::NoBucket { .. } | Self::Foreign { .. } | Self::Unmarked { .. }
        )
    }

    /// What `bucket` meant.
    pub(super) fn of(bucket: &str, error: &object_store::Error) -> Self {
        let (bucket, reason) = (bucket.to_owned(), reason(error));
        match kind(error) {
            Some(HttpErrorKind::Timeout) => {
                return Self::Slow { bucket, within: super::config::REQUEST_WITHIN };
            }
            Some(HttpErrorKind::Connect) if reason.contains("certificate") => {
                return Self::Untrusted { bucket, reason };
            }
            Some(HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Interrupted) => {
                return Self::Unreachable { bucket, reason };
            }
            _ => {}
        }
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Self::Denied { bucket, reason }
            }
            object_store::Error::NotFound { .. } if reason.contains("NoSuchBucket") => {
                Self::NoBucket { bucket }
            }
            // Of an error's status object_store keeps its text alone.
            _ => match status(&reason) {
                Some(507) => Self::Full { bucket },
                Some(429 | 500..=599) => Self::Unreachable { bucket, reason },
                _ => Self::Other { bucket, reason },
            },
        }
    }
}

fn kind(error: &(dyn Error + 'static)) -> Option<HttpErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// The innermost reason, and of a server's page the first words.
fn reason(error: &(dyn Error + 'static)) -> String {
    /// As much as a line of a log bears.
    const LETTERS: usize = 240;
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let words = innermost.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(LETTERS).collect()
}

fn status(reason: &str) -> Option<u16> {
    let (_, rest) = reason.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_becomes_a_next_step() {
        let check = |error: object_store::Error, expect: &str| {
            let said = BucketError::of("bucket \"b\" at http://h", &error).to_string();
            assert!(said.contains(expect) && said.contains("http://h"), "{said}");
        };
        let said = |text: &str| text.to_owned().into();
        let generic = |text: &str| object_store::Error::Generic { store: "S3", source: said(text) };
        let page = "Server returned non-2xx status code: 507 Insufficient Storage: <Error/>";
        check(generic(page), "raise its quota");
        check(generic("Server returned non-2xx status code: 503 Service Unavailable: "), "cannot be reached");
        check(generic("Server returned non-2xx status code: 301: "), "says: ");
        let (path, source) = (String::new(), said("<Code>NoSuchBucket</Code>"));
        check(object_store::Error::NotFound { path, source }, "make it");
        let (path, source) = (String::new(), said("SignatureDoesNotMatch"));
        check(object_store::Error::PermissionDenied { path, source }, "refuses the access key");
    }
}
