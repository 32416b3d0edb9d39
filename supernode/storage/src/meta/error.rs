//! Why an operation on metadata was refused.

/// Why metadata was not read or changed. A refused operation changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// There is no such bucket.
    #[error("there is no bucket of that name")]
    NoSuchBucket,
    /// The name is taken.
    #[error("there is a bucket of that name already")]
    BucketExists {
        /// Whose it is.
        account: String,
    },
    /// It has objects, versions or uploads.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// The account has as many buckets as it may.
    #[error("an account may have at most {0} buckets")]
    TooManyBuckets(usize),
    /// There is no such object, or it was deleted.
    #[error("there is no object of that key")]
    NoSuchKey,
    /// The newest version is a delete marker.
    #[error("the object was deleted")]
    DeleteMarker {
        /// The marker's own name.
        version: rows::VersionId,
    },
    /// There is no such version.
    #[error("the object has no such version")]
    NoSuchVersion,
    /// There is no such upload in parts.
    #[error("there is no such upload, or it was ended")]
    NoSuchUpload,
    /// A part that was named was not uploaded, or is another one.
    #[error("part {0} was not uploaded, or has another ETag")]
    InvalidPart(u16),
    /// A condition of the request does not hold.
    #[error("the object is not as the request wants it to be")]
    Precondition,
    /// The version is kept by a retention period or a legal hold.
    #[error("the version is locked")]
    Locked,
    /// The bucket's settings do not allow it.
    #[error("{0}")]
    State(&'static str),
    /// A row that this program cannot read.
    #[error("the metadata cannot be read: {0}")]
    Row(#[from] serde_json::Error),
    /// The database.
    #[error("the metadata's database says: {0}")]
    Storage(#[from] Box<redb::Error>),
    /// A commit that others waited for as well failed.
    #[error("the metadata could not be committed: {0}")]
    Commit(String),
    /// The process is shutting down.
    #[error("the metadata is closed")]
    Closed,
}

use super::rows;

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for MetaError {
            fn from(error: redb::$error) -> Self {
                Self::Storage(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);
