//! Reading ranges: each frame is opened by itself, and asked for with its neighbours of the same segment.

use std::{io, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
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
use crate::{meta::Meta, pieces::Pieces, store::ByteStream};

/// Frames that go to the client as one piece.
const SENT_FRAMES: usize = 4;
/// Pieces between the disk and the client.
const PIECES: usize = 2;
/// A reader that takes nothing for so long does not keep a thread, nor what was deleted since.
const PATIENCE: Duration = Duration::from_secs(75);

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
            // Whoever reads may have gone, or may never take it; then the stream ends short, which is an error too.
            let _ = tokio::time::timeout(PATIENCE, pieces.send(Err(error))).await;
        }
    });
    futures::stream::poll_fn(move |context| queue.poll_recv(context)).boxed()
}

type Client = mpsc::Sender<io::Result<Bytes>>;

async fn send(source: &Source, range: Range<u64>, client: &Client) -> io::Result<()> {
    let mut places = source.draft.places(range.clone()).peekable();
    while let Some(first) = places.next() {
        // All that follows in the same segment is read in one go.
        let mut run = vec![first];
        while let Some(next) = places.next_if(|next| (next.part, next.segment) == (first.part, first.segment))
        {
            run.push(next);
        }
        if !send_run(source, &range, &run, client).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends neighbouring frames; says whether anybody still listens.
async fn send_run(source: &Source, range: &Range<u64>, run: &[Place], client: &Client) -> io::Result<bool> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(true) };
    let shape = source.draft.streams().nth(first.part).ok_or(io::ErrorKind::InvalidData)?;
    let salt = match &source.draft.body {
        Body::Inline(_) => [0; 16],
        Body::Parts(parts) => parts.get(first.part).ok_or(io::ErrorKind::InvalidData)?.salt,
    };
    let opener = Opener::new(&source.key.stream(&salt), shape);
    let mut sealed = sealed(source, first, first.start..last.start + last.bytes).await?;
    let mut here = Pieces::default();
    let mut places = run.iter().peekable();
    while let Some(first) = places.next() {
        let (mut plain, mut place, mut frames) = (Vec::new(), first, 0);
        // More frames go with it where they are here already: each piece costs the client's connection a turn.
        loop {
            let (bytes, start) = (usize::try_from(place.bytes).map_err(io::Error::other)?, plain.len());
            while here.len() < bytes {
                here.push(sealed.next().await.ok_or(io::ErrorKind::UnexpectedEof)??);
            }
            if plain.is_empty() {
                plain.reserve_exact(bytes.saturating_mul(SENT_FRAMES).min(here.len()));
            }
            here.take_into(bytes, &mut plain);
            opener.open_at(place.frame, start, &mut plain).map_err(io::Error::other)?;
            frames += 1;
            match places.next_if(|place| frames < SENT_FRAMES && place.bytes <= here.len() as u64) {
                Some(next) => place = next,
                None => break,
            }
        }
        let cut = |at: u64| {
            usize::try_from(at.saturating_sub(first.plain_start))
                .map_or(plain.len(), |at| at.min(plain.len()))
        };
        let (start, end) = (cut(range.start), cut(range.end));
        let sent = client.send(Ok(Bytes::from(plain).slice(start..end)));
        match tokio::time::timeout(PATIENCE, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(false),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
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
