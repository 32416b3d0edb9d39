//! Reading ranges: each frame is opened by itself, and asked for with its neighbours of the same segment.

use std::{io, ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use shared::{
    base::SegmentId,
    storage::{
        record::{Body, ObjectDraft, Place},
        seal::{ObjectKey, Opener},
    },
};
use tokio::sync::mpsc;

use super::{Segments, readers::Reading};
use crate::{meta::Meta, store::ByteStream};

/// Frames between the disk and the client.
const PIECES: usize = 4;

/// What is needed to read an object.
pub(super) struct Source {
    pub(super) draft: Arc<ObjectDraft>,
    pub(super) key: ObjectKey,
    pub(super) meta: Meta,
    pub(super) segments: Arc<dyn Segments>,
    pub(super) reading: Arc<Reading>,
}

/// The object's plain bytes `range`. Ends with an error where they cannot be had.
pub(super) fn read(source: Source, range: Range<u64>) -> ByteStream {
    let (pieces, mut queue) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        if let Err(error) = send(&source, range, &pieces).await {
            // Whoever reads may have gone.
            let _ = pieces.send(Err(error)).await;
        }
    });
    futures::stream::poll_fn(move |context| queue.poll_recv(context)).boxed()
}

type Pieces = mpsc::Sender<io::Result<Bytes>>;

async fn send(source: &Source, range: Range<u64>, pieces: &Pieces) -> io::Result<()> {
    let mut places = source.draft.places(range.clone()).peekable();
    while let Some(first) = places.next() {
        // All that follows in the same segment is read in one go.
        let mut run = vec![first];
        while let Some(next) = places.next_if(|next| (next.part, next.segment) == (first.part, first.segment))
        {
            run.push(next);
        }
        if !send_run(source, &range, &run, pieces).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends neighbouring frames; says whether anybody still listens.
async fn send_run(source: &Source, range: &Range<u64>, run: &[Place], pieces: &Pieces) -> io::Result<bool> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(true) };
    let shape = source.draft.streams().nth(first.part).ok_or(io::ErrorKind::InvalidData)?;
    let salt = match &source.draft.body {
        Body::Inline(_) => [0; 16],
        Body::Parts(parts) => parts.get(first.part).ok_or(io::ErrorKind::InvalidData)?.salt,
    };
    let opener = Opener::new(&source.key.stream(&salt), shape);
    let mut sealed = sealed(source, first, first.start..last.start + last.bytes).await?;
    let mut buffer = BytesMut::new();
    for place in run {
        let bytes = usize::try_from(place.bytes).map_err(io::Error::other)?;
        while buffer.len() < bytes {
            let piece = sealed.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
            buffer.extend_from_slice(&piece);
        }
        let frame = buffer.split_to(bytes);
        let mut plain = Vec::with_capacity(bytes);
        opener.open(place.frame, &frame, &mut plain).map_err(io::Error::other)?;
        let cut = |at: u64| {
            usize::try_from(at.saturating_sub(place.plain_start))
                .map_or(plain.len(), |at| at.min(plain.len()))
        };
        let (start, end) = (cut(range.start), cut(range.end));
        if pieces.send(Ok(Bytes::from(plain).slice(start..end))).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn sealed(source: &Source, place: &Place, range: Range<u64>) -> io::Result<ByteStream> {
    match &source.draft.body {
        Body::Inline(bytes) => {
            let cut = |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
            let piece = Bytes::copy_from_slice(&bytes[cut(range.start)..cut(range.end)]);
            Ok(futures::stream::iter([Ok(piece)]).boxed())
        }
        Body::Parts(parts) => {
            let id: Option<&SegmentId> =
                parts.get(place.part).and_then(|part| part.segments.get(place.segment));
            let id = *id.ok_or(io::ErrorKind::InvalidData)?;
            let records = source.meta.segments(vec![id]).await.map_err(io::Error::other)?;
            let record = records.first().ok_or(io::ErrorKind::NotFound)?;
            // Held for as long as the object is read.
            let _ = &source.reading;
            source.segments.read(record, range).await.map_err(io::Error::other)
        }
    }
}
