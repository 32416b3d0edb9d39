//! [`Blobs`] over files and redb.
//!
//! Whatever blocks runs on the runtime's threads for that; pieces go there and back through short channels, so that
//! an upload or a download holds a few hundred KiB, however long it is.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
    Blobs, ByteStream, Held, ScrubReport, StoreError, Usage, incoming::Incoming, index::Index,
    layout::Layout, partial::Partials, reader::Reader, scrub, slices,
};

/// Pieces between the network and the disk, at most 256 KiB each when reading.
const PIECES: usize = 4;
/// What the index keeps in memory.
const CACHE_BYTES: usize = 32 << 20;
/// Blobs on the way in or out at a time: each takes a thread that waits for the disk, of 512 there are.
const MAX_TRANSFERS: u32 = 384;
/// Idle blobs are deleted so many at a time, so that uploads do not wait for thousands of files.
const SWEEP: usize = 64;

/// The store on this machine's disk.
pub struct BlobStore {
    state: Arc<State>,
    transfers: Arc<Semaphore>,
    partials: Arc<Mutex<Partials>>,
}

/// What the parts of the store share.
pub(super) struct State {
    pub(super) layout: Layout,
    pub(super) index: Index,
    books: Mutex<Books>,
    /// Held while a name is given to a file or taken from one, so that a blob that is coming in is not deleted as
    /// one that went.
    names: Mutex<()>,
    /// What nobody waits for ends early.
    closing: AtomicBool,
}

/// What is written and what may be.
pub(super) struct Books {
    pub(super) usage: Usage,
}

impl Books {
    /// Whether `more` bytes fit.
    pub(super) fn room_for(&self, more: u64) -> Result<(), StoreError> {
        let Usage { stored_bytes, incoming_bytes, quota_bytes, .. } = self.usage;
        let used = stored_bytes.saturating_add(incoming_bytes);
        if used.saturating_add(more) > quota_bytes {
            return Err(StoreError::Quota { used, quota: quota_bytes, wanted: more });
        }
        Ok(())
    }
}

impl State {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a synced file its name and enters it.
    pub(super) fn settle(&self, unfinished: &Path, held: Held, lease: &[u8]) -> Result<(), StoreError> {
        let _names = self.names();
        self.layout.settle(unfinished, held.root)?;
        if self.index.insert(held, lease)? {
            let mut books = self.books();
            books.usage.stored_bytes += held.shape.size();
            books.usage.blobs += 1;
        }
        Ok(())
    }

    /// Moves a damaged blob aside, unless it was written anew meanwhile.
    pub(super) fn set_aside(&self, held: Held) -> Result<bool, StoreError> {
        let _names = self.names();
        let path = self.layout.path(held.root);
        let sound = Reader::open(&path, held.root, held.shape).and_then(|mut reader| {
            let mut range = 0..held.shape.size();
            while reader.next(&mut range)?.is_some() {}
            Ok(())
        });
        if sound.is_ok() && held.shape.size() > 0 {
            return Ok(false);
        }
        self.layout.set_aside(held.root)?;
        self.forgotten(self.index.forget(held.root)?);
        Ok(true)
    }

    fn forgotten(&self, bytes: impl IntoIterator<Item = u64>) -> u64 {
        let mut books = self.books();
        let mut total = 0;
        for bytes in bytes {
            books.usage.stored_bytes -= bytes;
            books.usage.blobs -= 1;
            total += bytes;
        }
        total
    }

    fn collect_garbage(&self) -> Result<u64, StoreError> {
        let mut freed = 0;
        for roots in self.index.idle()?.chunks(SWEEP) {
            let _names = self.names();
            let gone = self.index.forget_idle(roots)?;
            for (root, _) in &gone {
                self.layout.remove(*root)?;
            }
            freed += self.forgotten(gone.into_iter().map(|(_, bytes)| bytes));
        }
        Ok(freed)
    }

    /// Deletes files that the index does not know: a process died between naming one and entering it. Ends early
    /// where the store is closed; the next start goes on.
    fn remove_strays(&self) -> Result<(), StoreError> {
        for first in 0..=u8::MAX {
            for root in self.layout.files(first)? {
                if self.closing.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let _names = self.names();
                if matches!(self.index.shape(root), Err(StoreError::Absent { .. })) {
                    self.layout.remove(root)?;
                }
            }
        }
        Ok(())
    }

    fn reader(&self, root: BlobRoot) -> Result<Reader, StoreError> {
        Reader::open(&self.layout.path(root), root, self.index.shape(root)?)
    }
}

impl BlobStore {
    /// Opens the store in `directory`, making it where there is none. Blocks on the disk; strays of a process that
    /// was killed are removed in the background where there is a runtime.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Index`].
    pub fn open(directory: &Path, quota_bytes: u64) -> Result<Self, StoreError> {
        let layout = Layout::open(directory)?;
        let index = Index::open(&directory.join("index.redb"), CACHE_BYTES)?;
        let (stored_bytes, blobs) = index.totals()?;
        let usage = Usage { stored_bytes, blobs, quota_bytes, incoming_bytes: 0 };
        let books = Mutex::new(Books { usage });
        let state = Arc::new(State {
            layout,
            index,
            books,
            names: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let transfers = Arc::new(Semaphore::new(MAX_TRANSFERS as usize));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let state = Arc::clone(&state);
            // With a permit, so that a shutdown waits until the index is let go.
            let permit = Arc::clone(&transfers).try_acquire_owned().map_err(|_| StoreError::Closed)?;
            runtime.spawn_blocking(move || {
                if let Err(error) = state.remove_strays() {
                    tracing::warn!(%error, "files that no blob belongs to could not be removed");
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
        mut bytes: ByteStream,
        expected: Option<BlobRoot>,
        lease: &[u8],
    ) -> Result<Held, StoreError> {
        let (steps, mut incoming_steps) = mpsc::channel(PIECES);
        let lease = lease.to_vec();
        let written = self.blocking(move |state| {
            let mut incoming = Incoming::begin(state)?;
            while let Some(step) = incoming_steps.blocking_recv() {
                match step {
                    Step::Bytes(bytes) => incoming.write(&bytes)?,
                    Step::End => return incoming.finish(expected, &lease).map(Some),
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
            let mut partials = partials.lock().unwrap_or_else(PoisonError::into_inner);
            partials.take(&state, Held { root, shape }, &range, &slice, &lease)
        })
        .await
    }

    async fn shape(&self, root: BlobRoot) -> Result<BlobShape, StoreError> {
        self.blocking(move |state| state.index.shape(root)).await
    }

    async fn read(&self, root: BlobRoot, mut range: Range<u64>) -> Result<ByteStream, StoreError> {
        let (pieces, mut read) = mpsc::channel(PIECES);
        let mut reader = self.blocking(move |state| state.reader(root)).await?;
        let permit = Arc::clone(&self.transfers).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
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
        self.blocking(move |state| slices::export(&mut state.reader(root)?, &range)).await
    }

    async fn proof_material(
        &self,
        root: BlobRoot,
        groups: &BTreeSet<u32>,
    ) -> Result<(HashTree, Vec<(u32, Bytes)>), StoreError> {
        let groups = groups.clone();
        self.blocking(move |state| {
            let mut reader = state.reader(root)?;
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

    fn usage(&self) -> Usage {
        self.state.books().usage
    }

    async fn shutdown(&self) {
        self.state.closing.store(true, Ordering::Relaxed);
        // Whoever has all permits knows that nobody else has one.
        let all = self.transfers.acquire_many(MAX_TRANSFERS).await;
        self.transfers.close();
        drop(all);
    }
}
