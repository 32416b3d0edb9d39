//! Blobs on this machine's disk or in a bucket, named by their BLAKE3 root.
//!
//! What a caller may rely on:
//! - a blob that was taken in is on the disk, synced, or confirmed by the bucket's server, before its taker hears so, and
//!   under the taker's lease;
//! - every byte that is read was verified against the root just before, in groups of 16 KiB; what has rotted is an
//!   error and never bytes;
//! - what nobody leases goes at the next [`Blobs::collect_garbage`], and nothing else does;
//! - more than the quota is never written, however many write at once.
//!
//! Slices are bao's (pre-order hashes and groups of 16 KiB, as bao-tree and iroh-blobs write them).
//!
//! Non-goals: who may read, what the bytes mean, and other machines.

mod blob_store;
mod bucket;
mod editions;
mod error;
mod incoming;
mod index;
mod layout;
mod names;
mod partial;
mod reader;
mod scrub;
mod slices;
mod state;

use std::{collections::BTreeSet, io, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use shared::base::{
    BlobRoot,
    blob::{BlobShape, GROUP_BYTES, HashTree},
};

pub use blob_store::BlobStore;
pub use bucket::{BucketConfig, BucketError};
pub use error::StoreError;
pub use incoming::Spool;
pub use scrub::ScrubReport;

use crate::pieces::Pieces;

/// Bytes as they come and go: pieces of any length, or the reason why there are no more.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// The name of a lease: any bytes up to this many. A blob stays as long as one lease is on it.
pub const MAX_LEASE_BYTES: usize = 128;

/// A blob that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub root: BlobRoot,
    /// Its geometry.
    pub shape: BlobShape,
}

/// How full the store is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In whole blobs.
    pub stored_bytes: u64,
    /// On the way in, or of blobs that are not whole yet.
    pub incoming_bytes: u64,
    /// What both together may be.
    pub quota_bytes: u64,
    /// Blobs that are whole.
    pub blobs: u64,
}

/// A verified store of blobs.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Takes in a blob under `lease`. With `expected`, another blob's bytes are refused. Durable on return.
    /// Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left behind then.
    async fn put(
        &self,
        bytes: ByteStream,
        expected: Option<BlobRoot>,
        lease: &[u8],
    ) -> Result<Held, StoreError>;

    /// Puts bytes aside on this machine's disk, within the quota, until the value goes. Not durable, and not verified when
    /// they are read: for what is on its way to elsewhere.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left behind then.
    async fn spool(&self, bytes: ByteStream) -> Result<Spool, StoreError>;

    /// Takes in a verified slice of a blob of `shape`: what [`Blobs::export`] of the same `range` gave elsewhere. The
    /// groups that were verified stay, also where the slice breaks off. Says whether the blob is whole; then it is
    /// durable and under `lease`. What is not whole is forgotten on a restart.
    ///
    /// # Errors
    /// [`StoreError::Forged`] at the first group that is not the blob's.
    async fn put_slice(
        &self,
        root: BlobRoot,
        shape: BlobShape,
        range: Range<u64>,
        slice: Bytes,
        lease: &[u8],
    ) -> Result<bool, StoreError>;

    /// The geometry of a blob that is held whole.
    ///
    /// # Errors
    /// [`StoreError::Absent`] and what the index says.
    async fn shape(&self, root: BlobRoot) -> Result<BlobShape, StoreError>;

    /// The bytes `range` of a blob, cut at its end, each verified before it is handed on.
    ///
    /// # Errors
    /// [`StoreError::Absent`]. What is found rotten while reading ends the stream with an error.
    async fn read(&self, root: BlobRoot, range: Range<u64>) -> Result<ByteStream, StoreError>;

    /// The bao slice of the groups that `range` touches.
    ///
    /// # Errors
    /// [`StoreError::Absent`], [`StoreError::Rotten`], [`StoreError::Missing`].
    async fn export(&self, root: BlobRoot, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// What a proof is made of: the blob's hashes, and of the groups asked for those that are still what they were.
    ///
    /// # Errors
    /// [`StoreError::Absent`].
    async fn proof_material(
        &self,
        root: BlobRoot,
        groups: &BTreeSet<u32>,
    ) -> Result<(HashTree, Vec<(u32, Bytes)>), StoreError>;

    /// Puts a further lease on a blob that is held.
    ///
    /// # Errors
    /// [`StoreError::Absent`].
    async fn lease(&self, root: BlobRoot, lease: &[u8]) -> Result<(), StoreError>;

    /// Ends a lease; one that is not there is fine.
    ///
    /// # Errors
    /// What the index says.
    async fn release(&self, root: BlobRoot, lease: &[u8]) -> Result<(), StoreError>;

    /// Replaces the lease `from` by the lease `to` on each of these blobs that is under it, all at once.
    ///
    /// # Errors
    /// What the index says.
    async fn hand_over(&self, roots: &[BlobRoot], from: &[u8], to: &[u8]) -> Result<(), StoreError>;

    /// At most `limit` leases that begin with `prefix`, after `after`, in order.
    ///
    /// # Errors
    /// What the index says.
    async fn leases(
        &self,
        prefix: &[u8],
        after: Option<(Vec<u8>, BlobRoot)>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, BlobRoot)>, StoreError>;

    /// Deletes what nobody leases, and says how many bytes that freed. What a bucket cannot delete now, it deletes later.
    ///
    /// # Errors
    /// What the index, the disk or the bucket says.
    async fn collect_garbage(&self) -> Result<u64, StoreError>;

    /// Reads and hashes at most `limit` blobs after `after`, fewer where reading them back is paid for. What is rotten is
    /// moved aside; what is rotten or missing is named in the report.
    ///
    /// # Errors
    /// What the index, the disk or the bucket says.
    async fn scrub(&self, after: Option<BlobRoot>, limit: usize) -> Result<ScrubReport, StoreError>;

    /// Reads and hashes one blob. What is rotten is moved aside, and as little there from then on as what is missing.
    ///
    /// # Errors
    /// What the index, the disk or the bucket says.
    async fn check(&self, root: BlobRoot) -> Result<(), StoreError>;

    /// How full it is.
    fn usage(&self) -> Usage;

    /// Waits for what is being written, and closes. Nothing is taken in any more.
    async fn shutdown(&self);
}

/// The bytes `range` out of a slice that [`Blobs::export`] made of them elsewhere, each verified. They stay where they are.
///
/// # Errors
/// [`StoreError::Forged`].
pub(crate) fn open_slice(
    root: BlobRoot,
    shape: BlobShape,
    range: &Range<u64>,
    slice: &Bytes,
) -> Result<Pieces, StoreError> {
    let mut groups = Pieces::default();
    slices::import(root, shape, range, slice, |_, place| groups.push(slice.slice(place)))?;
    let skip = usize::try_from(range.start % GROUP_BYTES).map_err(|_| StoreError::TooLong)?;
    let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| StoreError::TooLong)?;
    if skip.saturating_add(length) > groups.len() {
        return Err(StoreError::Forged { expected: root });
    }
    groups.take(skip);
    Ok(groups.take(length))
}

#[cfg(test)]
mod tests;
