//! Reading an object: windows of it, each a request of its own, the next ones on their way while one is used.
//!
//! A reader that is slow keeps no connection busy, and a request that fails is one window's. Nothing is verified here.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;
use object_store::{GetOptions, GetRange, ObjectStoreExt as _};
use tokio_util::task::AbortOnDropHandle;

use super::{ANSWER_WITHIN, Bucket, BucketError, Failed, object_bytes};
use crate::store::{Held, StoreError, editions::Edition};

/// One request: long beside a round trip, short beside what a reader may give up.
const WINDOW_BYTES: u64 = 512 << 10;
/// Windows of one reader in memory: 2 MiB.
const WINDOWS: usize = 4;
/// Requests of all readers at a time.
pub(super) const READ_AT_ONCE: usize = 64;

/// A blob in a bucket.
pub(in crate::store) struct ObjectSource {
    bucket: Arc<Bucket>,
    held: Held,
    edition: Edition,
    /// Nobody wants what lies behind.
    wanted_end: u64,
    /// Whether hashes that were read before do.
    remembers: bool,
    /// In order, without gaps.
    coming: VecDeque<Window>,
    current: (u64, Bytes),
}

struct Window {
    range: Range<u64>,
    bytes: AbortOnDropHandle<Result<Bytes, StoreError>>,
}

impl ObjectSource {
    pub(in crate::store) fn new(bucket: Arc<Bucket>, held: Held, edition: Edition) -> Self {
        Self {
            bucket,
            held,
            edition,
            wanted_end: 0,
            remembers: true,
            coming: VecDeque::new(),
            current: (0, Bytes::new()),
        }
    }

    /// Reads the hashes as they are there now.
    pub(in crate::store) const fn forget_hashes(&mut self) {
        self.remembers = false;
    }

    /// Says what of the blob will be read, in order, so that it is fetched before it is asked for.
    pub(in crate::store) fn expect(&mut self, groups: Range<u64>) {
        // A short blob comes with its hashes.
        let all = object_bytes(self.held.shape);
        let range = if all <= WINDOW_BYTES { 0..all } else { groups };
        self.wanted_end = range.end;
        self.coming.clear();
        self.fetch_from(range.start);
    }

    /// The hashes behind the payload.
    pub(in crate::store) fn hashes(&mut self) -> Result<Bytes, StoreError> {
        let Held { root, shape } = self.held;
        let range = shape.size()..object_bytes(shape);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if self.remembers
            && let Some(hashes) = self.bucket.remembered.get(root)
        {
            return Ok(hashes);
        }
        if range.end <= self.wanted_end {
            let mut hashes =
                vec![0; usize::try_from(range.end - range.start).map_err(|_| StoreError::TooLong)?];
            self.read_exact_at(range.start, &mut hashes)?;
            return Ok(hashes.into());
        }
        let fetched = fetch(Arc::clone(&self.bucket), self.held, self.edition, range);
        self.bucket.runtime.block_on(fetched)
    }

    /// The hashes were verified.
    pub(in crate::store) fn remember(&self, hashes: Bytes) {
        if !hashes.is_empty() {
            self.bucket.remembered.put(self.held.root, hashes);
        }
    }

    pub(in crate::store) fn read_exact_at(
        &mut self,
        mut at: u64,
        mut buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        while !buffer.is_empty() {
            let (start, bytes) = &self.current;
            let skip = at.checked_sub(*start).and_then(|skip| usize::try_from(skip).ok());
            if let Some(rest) = skip.and_then(|skip| bytes.get(skip..)).filter(|rest| !rest.is_empty()) {
                let taken = rest.len().min(buffer.len());
                let (filled, left) = buffer.split_at_mut(taken);
                filled.copy_from_slice(&rest[..taken]);
                buffer = left;
                at += taken as u64;
                continue;
            }
            if !self.coming.front().is_some_and(|window| window.range.contains(&at)) {
                self.coming.clear();
                self.wanted_end = self.wanted_end.max(at + buffer.len() as u64);
                self.fetch_from(at);
            }
            let Some(Window { range, bytes }) = self.coming.pop_front() else {
                return Err(StoreError::Rotten { root: self.held.root });
            };
            self.fetch_from(range.end);
            let bytes = self.bucket.runtime.block_on(bytes).map_err(|_| StoreError::Closed)??;
            self.current = (range.start, bytes);
        }
        Ok(())
    }

    /// Sends for windows, the first from `from` on where none is under way.
    fn fetch_from(&mut self, from: u64) {
        let mut from = self.coming.back().map_or(from, |window| window.range.end);
        while self.coming.len() < WINDOWS && from < self.wanted_end {
            let range = from..self.wanted_end.min(from + WINDOW_BYTES);
            from = range.end;
            let fetched = fetch(Arc::clone(&self.bucket), self.held, self.edition, range.clone());
            let bytes = AbortOnDropHandle::new(self.bucket.windows.spawn_on(fetched, &self.bucket.runtime));
            self.coming.push_back(Window { range, bytes });
        }
    }
}

/// The bytes `range`, which are not empty, of an object that is as long as it should be.
async fn fetch(
    bucket: Arc<Bucket>,
    held: Held,
    edition: Edition,
    range: Range<u64>,
) -> Result<Bytes, StoreError> {
    let _permit = bucket.reading.acquire().await.map_err(|_| StoreError::Closed)?;
    let fetched = get(&bucket, held, edition, &range).await;
    let Err(Failed::Absent(_)) = fetched else { return answer(&bucket, held, edition, fetched).await };
    // Written anew meanwhile, it is elsewhere.
    let (_, known) = bucket.index.locate(held.root)?;
    if known == edition || known == Edition::FILE {
        return Err(StoreError::Missing { root: held.root });
    }
    let fetched = get(&bucket, held, known, &range).await;
    answer(&bucket, held, known, fetched).await
}

async fn get(
    bucket: &Bucket,
    held: Held,
    edition: Edition,
    range: &Range<u64>,
) -> Result<Option<Bytes>, Failed> {
    let path = bucket.blob_path(held.root, edition);
    let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
    let got = async {
        let found = bucket.objects.get_opts(&path, options).await?;
        let sound = found.meta.size == object_bytes(held.shape) && found.range == *range;
        if sound { found.bytes().await.map(Some) } else { Ok(None) }
    };
    bucket.within(ANSWER_WITHIN, got).await
}

async fn answer(
    bucket: &Bucket,
    held: Held,
    edition: Edition,
    got: Result<Option<Bytes>, Failed>,
) -> Result<Bytes, StoreError> {
    match got {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(StoreError::Rotten { root: held.root }),
        Err(Failed::Absent(_)) => Err(StoreError::Missing { root: held.root }),
        // Beyond the end of an object that was cut off, servers answer each in their own way.
        Err(Failed::Bucket(error @ BucketError::Other { .. })) => {
            let path = bucket.blob_path(held.root, edition);
            match bucket.within(ANSWER_WITHIN, bucket.objects.head(&path)).await {
                Ok(meta) if meta.size != object_bytes(held.shape) => {
                    Err(StoreError::Rotten { root: held.root })
                }
                _ => Err(error.into()),
            }
        }
        Err(Failed::Bucket(error)) => Err(error.into()),
    }
}
