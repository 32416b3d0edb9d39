//! The S3 door's segments among strangers: [`Segments`] on [`Own`].
//!
//! ```text
//! put ─┬─► a place in memory, coded as it comes ──────────────────┬─► enough holders signed ─► catalogue: unsettled
//!      └─► spool: this node's disk ─► a place in memory ─► code ──┘
//! keep, settle ─► catalogue: watched over     read ◄─ windows ◄─ holders     release ─► given up ─► leases end
//! ```
//! A segment that comes slowly, or while all places are taken, fills one only once it is whole.
//!
//! What lies whole on this node from when no profile was configured is read and released there.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use shared::{
    base::SegmentId,
    storage::{erasure::Profile, record::SegmentRecord},
};

use super::own::{Own, holders};
use crate::{
    objects::{LocalSegments, Segments, StoredSegment},
    store::{Blobs, ByteStream, StoreError},
};

/// Segments in shards on strangers' disks.
pub struct SpreadSegments {
    own: Arc<Own>,
    blobs: Arc<dyn Blobs>,
    local: LocalSegments,
    profile: Option<Profile>,
    kept: Mutex<Vec<SegmentId>>,
}

impl SpreadSegments {
    /// Of `own`, by way of a store on this node. Without a `profile`, new segments lie whole on this node, and those that
    /// were spread before are read.
    pub fn new(own: Arc<Own>, blobs: Arc<dyn Blobs>, profile: Option<Profile>) -> Self {
        let local = LocalSegments::new(Arc::clone(&blobs));
        Self { own, blobs, local, profile, kept: Mutex::default() }
    }
}

/// Whether a segment lies whole on this node: whatever is spread has more shards than one.
fn is_local(record: &SegmentRecord) -> bool {
    record.shape().profile().total_shards() == 1
}

#[async_trait]
impl Segments for SpreadSegments {
    async fn put(&self, sealed: ByteStream) -> Result<StoredSegment, StoreError> {
        let Some(profile) = self.profile else { return self.local.put(sealed).await };
        let record = self.own.put_unsettled(sealed, profile, self.blobs.as_ref()).await?;
        Ok(StoredSegment { id: record.encode().0, record })
    }

    fn keep(&self, segments: Vec<StoredSegment>) {
        let (local, spread): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|segment| is_local(&segment.record));
        self.local.keep(local);
        let spread = spread.into_iter().map(|segment| segment.id);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(spread);
    }

    async fn read(&self, record: &SegmentRecord, range: Range<u64>) -> Result<ByteStream, StoreError> {
        if is_local(record) {
            return self.local.read(record, range).await;
        }
        self.own.read_sealed(record, range).await.map_err(holders)
    }

    async fn release(&self, record: &SegmentRecord) -> Result<(), StoreError> {
        if is_local(record) {
            return self.local.release(record).await;
        }
        self.own.give_up(record.encode().0).await.map_err(holders)
    }

    async fn unsettled(&self) -> Result<Vec<StoredSegment>, StoreError> {
        let mut unsettled = self.local.unsettled().await?;
        let spread = self.own.unsettled().await.map_err(holders)?;
        unsettled.extend(spread.into_iter().map(|record| StoredSegment { id: record.encode().0, record }));
        Ok(unsettled)
    }

    async fn settle(&self) -> Result<(), StoreError> {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        if !kept.is_empty()
            && let Err(error) = self.own.settle(kept.clone()).await
        {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
            return Err(holders(error));
        }
        self.local.settle().await
    }
}
