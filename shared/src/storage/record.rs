//! Records: how an object is cut, and by which names its pieces are found again.
//!
//! ```text
//! SignedObjectRecord ─┬─ public: parts ─► segment ids ─► SegmentRecord ─► roots of the shards
//!                     └─ secret: the object's key, its attributes        (named by its own hash)
//! ```
//!
//! The public part is what audit and repair need, so both go on while the owner is away and learn nothing but
//! lengths. The secret is sealed by the object's path and bound to the public part: neither can be given the other's
//! of another object or version. The writer's signature keeps readers, who have the path's key too, from writing.
//!
//! Non-goals: who may write where (capabilities say), which record is the newest (the bucket's index says), and
//! where shards are (leases say).

mod object;
mod segment;

pub use object::{
    Body, MAX_ATTRIBUTES_BYTES, MAX_INLINE_BYTES, MAX_OBJECT_RECORD_BYTES, MAX_PARTS, ObjectDraft,
    ObjectRecord, ObjectSecret, Part, Place,
};
pub use segment::{MAX_SEGMENT_RECORD_BYTES, SegmentRecord};

/// Why a record is not believed, or cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than any honest one.
    #[error("the record has {found} bytes, where at most {bound} are read")]
    TooLong {
        /// Its length.
        found: usize,
        /// What is read.
        bound: usize,
    },
    /// Not a record, or one that breaks a bound.
    #[error("the record cannot be read: {0}")]
    Malformed(String),
    /// A layout this version does not know.
    #[error("the record has layout {found}, and this node knows {known}")]
    Version {
        /// The layout found.
        found: u32,
        /// The one known.
        known: u32,
    },
    /// The bytes do not have the hash that names them.
    #[error("the record is not the one of that name")]
    Name,
    /// The signature does not hold.
    #[error("the record is not signed by the writer it names")]
    Signature,
    /// Sealed under another path's key, for another public part, or changed.
    #[error("the record's secret does not open with this path's key")]
    Secret,
}

fn malformed(what: impl ToString) -> RecordError {
    RecordError::Malformed(what.to_string())
}

fn bounded(bytes: &[u8], bound: usize) -> Result<(), RecordError> {
    if bytes.len() > bound { Err(RecordError::TooLong { found: bytes.len(), bound }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
