//! Where sealed segments lie: on this machine's disk, each a blob of one copy, or behind the same trait in shards on
//! strangers' disks.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use shared::{
    base::{BlobRoot, SegmentId},
    storage::{
        erasure::{Profile, SegmentShape},
        record::SegmentRecord,
    },
};

use crate::store::{Blobs, ByteStream, Held, StoreError};

/// A segment that lies where it should.
#[derive(Clone, Debug)]
pub struct StoredSegment {
    /// Its name.
    pub id: SegmentId,
    /// How it became shards.
    pub record: SegmentRecord,
}

/// Keeps segments.
#[async_trait]
pub trait Segments: Send + Sync + 'static {
    /// Stores a segment of 1 byte to [`shared::storage::erasure::MAX_SEGMENT_BYTES`]; durable on return. Until it is
    /// [kept](Segments::keep) it is found by [`Segments::unsettled`] after a restart.
    async fn put(&self, sealed: ByteStream) -> Result<StoredSegment, StoreError>;

    /// Says that the metadata refers to these segments now. Need not be durable at once.
    fn keep(&self, segments: Vec<StoredSegment>);

    /// The sealed bytes `range` of a segment, each verified.
    async fn read(&self, record: &SegmentRecord, range: Range<u64>) -> Result<ByteStream, StoreError>;

    /// Lets a segment go, of which nothing is read any more.
    async fn release(&self, record: &SegmentRecord) -> Result<(), StoreError>;

    /// Segments that were stored, and of which nobody said that they are kept: the process ended in between. For a
    /// start, before anything is stored.
    async fn unsettled(&self) -> Result<Vec<StoredSegment>, StoreError>;

    /// Settles what [`Segments::keep`] left for later, and frees what was released.
    async fn settle(&self) -> Result<(), StoreError>;
}

/// The lease of a segment that nothing refers to so far.
const INCOMING: &[u8] = b"segment/incoming";
/// The lease of one that something refers to.
const KEPT: &[u8] = b"segment/kept";
/// Leases looked at in one go.
const PAGE: usize = 1024;

/// Segments as blobs of one copy on this machine.
pub struct LocalSegments {
    blobs: Arc<dyn Blobs>,
    kept: Mutex<Vec<BlobRoot>>,
}

impl LocalSegments {
    /// Over a store.
    pub fn new(blobs: Arc<dyn Blobs>) -> Self {
        Self { blobs, kept: Mutex::default() }
    }

    fn stored(held: Held) -> Option<StoredSegment> {
        let shape = SegmentShape::new(Profile::new(1, 1)?, held.shape.size())?;
        let record = SegmentRecord::new(shape, vec![held.root])?;
        Some(StoredSegment { id: record.encode().0, record })
    }
}

/// The blob that a segment of one copy is.
fn root_of(record: &SegmentRecord) -> Result<BlobRoot, StoreError> {
    let copies = record.shape().profile().data_shards() == 1;
    let root = record.root(0).filter(|_| copies);
    root.ok_or_else(|| {
        StoreError::Io(std::io::Error::other("the segment is coded, and lies on no single disk"))
    })
}

#[async_trait]
impl Segments for LocalSegments {
    async fn put(&self, sealed: ByteStream) -> Result<StoredSegment, StoreError> {
        let held = self.blobs.put(sealed, None, INCOMING).await?;
        Self::stored(held).ok_or(StoreError::TooLong)
    }

    fn keep(&self, segments: Vec<StoredSegment>) {
        let roots = segments.iter().filter_map(|segment| segment.record.root(0));
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(roots);
    }

    async fn read(&self, record: &SegmentRecord, range: Range<u64>) -> Result<ByteStream, StoreError> {
        self.blobs.read(root_of(record)?, range).await
    }

    async fn release(&self, record: &SegmentRecord) -> Result<(), StoreError> {
        let root = root_of(record)?;
        self.blobs.release(root, KEPT).await?;
        self.blobs.release(root, INCOMING).await
    }

    async fn unsettled(&self) -> Result<Vec<StoredSegment>, StoreError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.blobs.leases(INCOMING, after.take(), PAGE).await?;
            for (_, root) in &page {
                if let Ok(shape) = self.blobs.shape(*root).await {
                    found.extend(Self::stored(Held { root: *root, shape }));
                }
            }
            if page.len() < PAGE {
                return Ok(found);
            }
            after = page.into_iter().next_back();
        }
    }

    async fn settle(&self) -> Result<(), StoreError> {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        self.blobs.hand_over(&kept, INCOMING, KEPT).await?;
        self.blobs.collect_garbage().await?;
        Ok(())
    }
}
