//! Why the store did not do what it was asked.

use std::io;

use shared::base::BlobRoot;

use super::BucketError;

/// Why an operation on blobs failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such blob here, or not the whole of it.
    #[error("blob {root} is not here")]
    Absent {
        /// Its name.
        root: BlobRoot,
    },
    /// The operator's limit.
    #[error(
        "the blob store is full: {used} of {quota} bytes are used and {wanted} more are needed; raise storage.quota_mib, or delete something"
    )]
    Quota {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        quota: u64,
        /// Bytes that do not fit.
        wanted: u64,
    },
    /// Longer than any blob.
    #[error("a blob may have at most {} bytes", shared::base::blob::MAX_BLOB_BYTES)]
    TooLong,
    /// The bytes are not those of the name that was given for them.
    #[error("the bytes are not those of blob {expected}")]
    Forged {
        /// What was said.
        expected: BlobRoot,
    },
    /// What lies on the disk or in the bucket is not what was written.
    #[error("blob {root} has rotted where it is kept")]
    Rotten {
        /// Its name.
        root: BlobRoot,
    },
    /// What was written is not there any more.
    #[error("the bytes of blob {root} are gone from where they were kept")]
    Missing {
        /// Its name.
        root: BlobRoot,
    },
    /// A lease's name is too long.
    #[error("a lease's name has at most {} bytes", super::MAX_LEASE_BYTES)]
    Lease,
    /// The bytes that were to be stored stopped coming.
    #[error("the bytes stopped coming: {0}")]
    Source(io::Error),
    /// The disk.
    #[error("the disk says: {0}")]
    Io(#[from] io::Error),
    /// Blobs of this store lie in a bucket, and the configuration names none.
    #[error(
        "blobs of this store lie in a bucket; name it in the section [storage.bucket], as it was when they came"
    )]
    NoBucket,
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The index.
    #[error("the index says: {0}")]
    Index(#[from] Box<redb::Error>),
    /// More blobs are in the making than the store keeps places for.
    #[error("too many blobs are arriving in slices; come back when some are whole")]
    Busy,
    /// The holders of a segment's shards.
    #[error("the holders: {0}")]
    Holders(String),
    /// The store was shut down.
    #[error("the blob store is closed")]
    Closed,
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Index(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);
