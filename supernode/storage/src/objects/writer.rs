//! Writing: bytes are sealed as they come, and cut into segments that are stored while the next ones come.

use std::{collections::VecDeque, io, mem, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use shared::storage::{
    erasure::MAX_SEGMENT_BYTES,
    record::{Body, MAX_INLINE_BYTES, Part},
    seal::{ObjectKey, Sealer, Sealing, StreamShape},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Segments, StoredSegment};
use crate::store::StoreError;

/// An object's own bytes, and why they ended early.
pub type PlainStream =
    Pin<Box<dyn Stream<Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>> + Send>>;

/// Sealed bytes are handed on in pieces of this.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces between the sealing and the disk: with those on their way there, some 2 MiB an upload.
const PIECES: usize = 4;
/// Segments that are being synced while the next one fills.
const MAX_PENDING: usize = 1;

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Its bytes ended early, or were not what they should be.
    #[error("the object's bytes: {0}")]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// Longer than any object.
    #[error(transparent)]
    TooLong(#[from] shared::storage::seal::StreamTooLong),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metadata.
    #[error(transparent)]
    Meta(#[from] crate::meta::MetaError),
    /// The record could not be made.
    #[error("the object's record: {0}")]
    Record(#[from] shared::storage::record::RecordError),
    /// The key is no object's path.
    #[error(transparent)]
    Path(#[from] shared::storage::seal::ObjectPathError),
    /// No randomness, or the process is ending.
    #[error("{0}")]
    System(String),
}

/// A stream that was sealed and stored, and that nothing refers to yet. Dropped before it is kept, its segments go.
pub struct Written {
    /// Its length before sealing.
    pub plain_bytes: u64,
    /// How it was sealed.
    pub(super) sealing: Sealing,
    /// Where it lies.
    pub(super) body: Body,
    pub(super) stored: Stored,
}

/// Segments that were stored. Dropped before they are kept, they are released.
pub(super) struct Stored {
    segments: Arc<dyn Segments>,
    pending: VecDeque<JoinHandle<Result<StoredSegment, StoreError>>>,
    pub(super) done: Vec<StoredSegment>,
}

impl Stored {
    fn new(segments: Arc<dyn Segments>) -> Self {
        Self { segments, pending: VecDeque::new(), done: Vec::new() }
    }

    async fn wait_for(&mut self, left: usize) -> Result<(), StoreError> {
        while self.pending.len() > left
            && let Some(next) = self.pending.front_mut()
        {
            // The handle stays in the queue while it is waited for, so that a drop finds it.
            let stored = next.await.map_err(|_| StoreError::Closed);
            self.pending.pop_front();
            self.done.push(stored??);
        }
        Ok(())
    }

    /// Something refers to them now.
    pub(super) fn keep(mut self) {
        self.segments.keep(mem::take(&mut self.done));
    }

    /// Whether something refers to them is not known: the next start finds out.
    pub(super) fn leave(mut self) {
        self.done.clear();
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let (done, pending) = (mem::take(&mut self.done), mem::take(&mut self.pending));
        if done.is_empty() && pending.is_empty() {
            return;
        }
        // Without a runtime the process is ending, and the next start finds them.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let segments = Arc::clone(&self.segments);
        runtime.spawn(async move {
            let mut records: Vec<_> = done.into_iter().map(|stored| stored.record).collect();
            for pending in pending {
                if let Ok(Ok(stored)) = pending.await {
                    records.push(stored.record);
                }
            }
            for record in records {
                if let Err(error) = segments.release(&record).await {
                    tracing::warn!(%error, "a segment of an upload that failed stays until the next start");
                }
            }
        });
    }
}

/// Seals and stores a stream. With `inline`, a short one becomes part of its record.
pub(super) async fn write(
    segments: &Arc<dyn Segments>,
    (sealing, key): (Sealing, &ObjectKey),
    salt: [u8; 16],
    inline: bool,
    mut bytes: PlainStream,
) -> Result<Written, WriteError> {
    let mut head = Vec::new();
    let mut ended = false;
    if inline {
        while head.len() as u64 <= MAX_INLINE_BYTES && !ended {
            match bytes.next().await {
                Some(piece) => head.extend_from_slice(&piece.map_err(WriteError::Source)?),
                None => ended = true,
            }
        }
    }
    let mut sealed = Vec::new();
    if ended && head.len() as u64 <= MAX_INLINE_BYTES {
        let mut sealer = Sealer::new(sealing, &key.stream(&[0; 16]));
        sealer.update(&head, &mut sealed)?;
        let shape = sealer.finish(&mut sealed);
        let stored = Stored::new(Arc::clone(segments));
        let (plain_bytes, body) = (shape.plain_bytes(), Body::Inline(sealed));
        return Ok(Written { plain_bytes, sealing, body, stored });
    }
    let mut sealer = Sealer::new(sealing, &key.stream(&salt));
    let mut cutter = Cutter { stored: Stored::new(Arc::clone(segments)), current: None, room: 0 };
    sealer.update(&head, &mut sealed)?;
    drop(head);
    while let Some(piece) = bytes.next().await {
        sealer.update(&piece.map_err(WriteError::Source)?, &mut sealed)?;
        if sealed.len() >= PIECE_BYTES {
            // As much room as this one came to need: what a body brings at once varies little.
            let next = Vec::with_capacity(sealed.len());
            cutter.push(mem::replace(&mut sealed, next).into()).await?;
        }
    }
    let shape: StreamShape = sealer.finish(&mut sealed);
    cutter.push(sealed.into()).await?;
    let stored = cutter.finish().await?;
    let part = Part { shape, salt, segments: stored.done.iter().map(|stored| stored.id).collect() };
    Ok(Written { plain_bytes: shape.plain_bytes(), sealing, body: Body::Parts(vec![part]), stored })
}

/// Cuts a stream of sealed bytes into segments.
struct Cutter {
    stored: Stored,
    /// The segment that is filling. An item without bytes ends it; without that one it is thrown away.
    current: Option<mpsc::Sender<Option<Bytes>>>,
    room: u64,
}

impl Cutter {
    async fn push(&mut self, mut sealed: Bytes) -> Result<(), StoreError> {
        while !sealed.is_empty() {
            if self.current.is_none() {
                self.stored.wait_for(MAX_PENDING).await?;
                self.begin();
            }
            let take = sealed.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
            self.room -= take as u64;
            let full = self.room == 0;
            if let Some(current) = &self.current
                && current.send(Some(sealed.split_to(take))).await.is_err()
            {
                // The store gave up, and its answer says why.
                self.current = None;
                self.stored.wait_for(0).await?;
                return Err(StoreError::Closed);
            }
            if full {
                self.end().await;
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        let (pieces, mut queue) = mpsc::channel::<Option<Bytes>>(PIECES);
        let mut ended = false;
        let sealed = futures::stream::poll_fn(move |context| {
            if ended {
                return std::task::Poll::Ready(None);
            }
            queue.poll_recv(context).map(|next| {
                ended = !matches!(next, Some(Some(_)));
                match next {
                    Some(piece) => piece.map(Ok),
                    None => Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof))),
                }
            })
        });
        let segments = Arc::clone(&self.stored.segments);
        self.stored.pending.push_back(tokio::spawn(async move { segments.put(sealed.boxed()).await }));
        self.current = Some(pieces);
        self.room = MAX_SEGMENT_BYTES;
    }

    async fn end(&mut self) {
        if let Some(current) = self.current.take() {
            let _ = current.send(None).await;
        }
    }

    async fn finish(mut self) -> Result<Stored, StoreError> {
        self.end().await;
        self.stored.wait_for(0).await?;
        Ok(self.stored)
    }
}
