//! [`Blobs`] over redb, and files or a bucket.
//!
//! ```text
//! put ─► incoming/7 ─► hashed, whole ─┬─► blobs/a5/a5…  renamed, synced ─┬─► index: root, length, lease ─► acknowledged
//!                                     └─► bucket        confirmed       ─┘
//! ```
//! Where there is a bucket, new blobs lie there; what a store has in files from before is read there and goes there.
//!
//! Whatever blocks runs on the runtime's threads for that; pieces go there and back through short channels, so that
//! an upload or a download holds a few hundred KiB, however long it is.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use shared::base::{
    BlobRoot,
    blob::{BlobShape, HashTree},
};
use tokio::sync::{Semaphore, mpsc};

use super::{
    Blobs, BucketConfig, ByteStream, Held, ScrubReport, StoreError, Usage,
    bucket::Bucket,
    incoming::{Incoming, Spool},
    index::Index,
    layout::Layout,
    partial::{Partials, Took},
    scrub, slices,
    state::State,
};

/// Pieces between the network and the disk, at most 256 KiB each when reading.
const PIECES: usize = 4;
/// What the index keeps in memory.
const CACHE_BYTES: usize = 32 << 20;
/// Blobs on the way in or out at a time: each takes a thread that waits for the disk, of 512 there are.
const MAX_TRANSFERS: u32 = 384;

/// The store on this machine's disk, or with its blobs in a bucket.
pub struct BlobStore {
    state: Arc<State>,
    transfers: Arc<Semaphore>,
    partials: Arc<Mutex<Partials>>,
}

impl BlobStore {
    /// Opens the store in `directory`, making it where there is none. Blocks on the disk; strays of a process that
    /// was killed are removed in the background where there is a runtime.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`]; [`StoreError::NoBucket`] where blobs of it lie in one.
    pub fn open(directory: &Path, quota_bytes: u64) -> Result<Self, StoreError> {
        let (layout, index) = parts(directory)?;
        if index.needs_bucket()? {
            return Err(StoreError::NoBucket);
        }
        Self::over(layout, index, None, quota_bytes)
    }

    /// The same, with its blobs in the part `part` of a bucket where one is configured. What is being taken in and the
    /// index are in `directory`. Where the bucket cannot be reached now, the store opens, and says so whenever it is asked
    /// for bytes.
    ///
    /// # Errors
    /// As [`BlobStore::open`], and [`BucketError`](super::BucketError) where waiting would not help.
    pub async fn open_at(
        directory: PathBuf,
        quota_bytes: u64,
        bucket: Option<&BucketConfig>,
        part: &str,
    ) -> anyhow::Result<Self> {
        let Some(config) = bucket else {
            return Ok(tokio::task::spawn_blocking(move || Self::open(&directory, quota_bytes)).await??);
        };
        let (layout, index) = tokio::task::spawn_blocking(move || parts(&directory)).await??;
        let bucket = Bucket::connect(config, part, Arc::clone(&index)).await?;
        Ok(tokio::task::spawn_blocking(move || Self::over(layout, index, Some(bucket), quota_bytes))
            .await??)
    }

    pub(super) fn over(
        layout: Layout,
        index: Arc<Index>,
        bucket: Option<Arc<Bucket>>,
        quota_bytes: u64,
    ) -> Result<Self, StoreError> {
        let state = Arc::new(State::new(layout, index, bucket, quota_bytes)?);
        let transfers = Arc::new(Semaphore::new(MAX_TRANSFERS as usize));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let state = Arc::clone(&state);
            // With a permit, so that a shutdown waits until the index is let go.
            let permit = Arc::clone(&transfers).try_acquire_owned().map_err(|_| StoreError::Closed)?;
            runtime.spawn_blocking(move || {
                if let Err(error) = state.remove_strays() {
                    tracing::warn!(%error, "what no blob belongs to could not be removed");
                }
                drop(state);
                drop(permit);
            });
        }
        Ok(Self { state, transfers, partials: Arc::default() })
    }

    /// Runs what blocks, within the bound on threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<State>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.transfers).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let state = Arc::clone(&self.state);
        let worked = tokio::task::spawn_blocking(move || {
            let done = work(state);
            drop(permit);
            done
        });
        worked.await.map_err(|_| StoreError::Closed)?
    }

    /// Writes bytes as they come, on a thread that may wait for the disk.
    async fn take_in<W: 'static, T: Send + 'static>(
        &self,
        mut bytes: ByteStream,
        begin: fn(Arc<State>) -> Result<W, StoreError>,
        write: fn(&mut W, &[u8]) -> Result<(), StoreError>,
        finish: impl FnOnce(W) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (steps, mut incoming_steps) = mpsc::channel(PIECES);
        let written = self.blocking(move |state| {
            let mut incoming = begin(state)?;
            while let Some(step) = incoming_steps.blocking_recv() {
                match step {
                    Step::Bytes(bytes) => write(&mut incoming, &bytes)?,
                    Step::End => return finish(incoming).map(Some),
                }
            }
            Ok(None)
        });
        let fed = async move {
            while let Some(piece) = bytes.next().await {
                // The thread ends early where it cannot go on; what it says is the answer.
                if steps.send(Step::Bytes(piece.map_err(StoreError::Source)?)).await.is_err() {
                    return Ok::<_, StoreError>(());
                }
            }
            let _ = steps.send(Step::End).await;
            Ok(())
        };
        let (written, fed) = tokio::join!(written, fed);
        let written = written?;
        fed?;
        written.ok_or(StoreError::Closed)
    }
}

impl Drop for BlobStore {
    fn drop(&mut self) {
        self.state.closing.cancel();
    }
}

/// What lies in a store's directory.
pub(super) fn parts(directory: &Path) -> Result<(Layout, Arc<Index>), StoreError> {
    let layout = Layout::open(directory)?;
    let index = Index::open(&directory.join("index.redb"), CACHE_BYTES)?;
    Ok((layout, Arc::new(index)))
}

/// What an upload's thread is told.
enum Step {
    Bytes(Bytes),
    /// All have come. Without it the blob is dropped: its source broke off, or nobody waits any more.
    End,
}

#[async_trait]
impl Blobs for BlobStore {
    async fn put(
        &self,
        bytes: ByteStream,
        expected: Option<BlobRoot>,
        lease: &[u8],
    ) -> Result<Held, StoreError> {
        let lease = lease.to_vec();
        self.take_in(bytes, Incoming::begin, Incoming::write, move |blob| blob.finish(expected, &lease)).await
    }

    async fn spool(&self, bytes: ByteStream) -> Result<Spool, StoreError> {
        self.take_in(bytes, Spool::begin, Spool::write, Ok).await
    }

    async fn put_slice(
        &self,
        root: BlobRoot,
        shape: BlobShape,
        range: Range<u64>,
        slice: Bytes,
        lease: &[u8],
    ) -> Result<bool, StoreError> {
        let (partials, lease) = (Arc::clone(&self.partials), lease.to_vec());
        self.blocking(move |state| {
            let held = Held { root, shape };
            let took = {
                let mut partials = partials.lock().unwrap_or_else(PoisonError::into_inner);
                partials.take(&state, held, &range, &slice, &lease)?
            };
            match took {
                Took::Held => Ok(true),
                Took::Some => Ok(false),
                // Not with all others waiting: it may have far to go.
                Took::Last(partial) => partial.finish(held, &lease).map(|()| true),
            }
        })
        .await
    }

    async fn shape(&self, root: BlobRoot) -> Result<BlobShape, StoreError> {
        self.blocking(move |state| state.index.shape(root)).await
    }

    async fn read(&self, root: BlobRoot, mut range: Range<u64>) -> Result<ByteStream, StoreError> {
        let (pieces, mut read) = mpsc::channel(PIECES);
        let wanted = range.clone();
        let reader = self.blocking(move |state| state.reader(root, &wanted)).await?;
        let permit = Arc::clone(&self.transfers).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            // Let go before the permit.
            let mut reader = reader;
            loop {
                let piece = match reader.next(&mut range) {
                    Ok(None) => return,
                    Ok(Some(piece)) => Ok(piece),
                    Err(error) => Err(std::io::Error::other(error)),
                };
                let failed = piece.is_err();
                if pieces.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        Ok(futures::stream::poll_fn(move |context| read.poll_recv(context)).boxed())
    }

    async fn export(&self, root: BlobRoot, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.blocking(move |state| slices::export(&mut state.reader(root, &range)?, &range)).await
    }

    async fn proof_material(
        &self,
        root: BlobRoot,
        groups: &BTreeSet<u32>,
    ) -> Result<(HashTree, Vec<(u32, Bytes)>), StoreError> {
        let groups = groups.clone();
        self.blocking(move |state| {
            let mut reader = state.reader(root, &(0..0))?;
            let known = reader.tree().shape().groups();
            let mut found = Vec::new();
            for group in groups.into_iter().filter(|group| *group < known) {
                match reader.groups(group..group + 1) {
                    Ok(bytes) => found.push((group, bytes)),
                    Err(StoreError::Rotten { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok((reader.tree().clone(), found))
        })
        .await
    }

    async fn lease(&self, root: BlobRoot, lease: &[u8]) -> Result<(), StoreError> {
        let lease = lease.to_vec();
        self.blocking(move |state| state.index.lease(root, &lease)).await
    }

    async fn release(&self, root: BlobRoot, lease: &[u8]) -> Result<(), StoreError> {
        let lease = lease.to_vec();
        self.blocking(move |state| state.index.release(root, &lease)).await
    }

    async fn hand_over(&self, roots: &[BlobRoot], from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        let (roots, from, to) = (roots.to_vec(), from.to_vec(), to.to_vec());
        if roots.is_empty() {
            return Ok(());
        }
        self.blocking(move |state| state.index.hand_over(&roots, &from, &to)).await
    }

    async fn leases(
        &self,
        prefix: &[u8],
        after: Option<(Vec<u8>, BlobRoot)>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, BlobRoot)>, StoreError> {
        let prefix = prefix.to_vec();
        self.blocking(move |state| state.index.leases(&prefix, after, limit)).await
    }

    async fn collect_garbage(&self) -> Result<u64, StoreError> {
        self.blocking(|state| state.collect_garbage()).await
    }

    async fn scrub(&self, after: Option<BlobRoot>, limit: usize) -> Result<ScrubReport, StoreError> {
        self.blocking(move |state| scrub::scrub(&state, after, limit)).await
    }

    async fn check(&self, root: BlobRoot) -> Result<(), StoreError> {
        self.blocking(move |state| match state.index.shape(root) {
            Ok(shape) => scrub::check(&state, Held { root, shape }).map(drop),
            Err(StoreError::Absent { .. }) => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }

    fn usage(&self) -> Usage {
        self.state.books().usage
    }

    async fn shutdown(&self) {
        self.state.closing.cancel();
        // Whoever has all permits knows that nobody else has one.
        let all = self.transfers.acquire_many(MAX_TRANSFERS).await;
        self.transfers.close();
        drop(all);
        if let Some(bucket) = &self.state.bucket {
            bucket.windows.close();
            bucket.windows.wait().await;
        }
    }
}
