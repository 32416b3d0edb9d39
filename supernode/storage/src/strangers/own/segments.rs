//! Segments of the S3 door, whose metadata says what refers to them: stored and unsettled first, watched over once they
//! are kept.

use std::{ops::Range, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use shared::{
    base::SegmentId,
    storage::{
        erasure::{Profile, SegmentShape},
        record::SegmentRecord,
    },
};
use tokio::sync::mpsc;

use super::{
    Moved, Own, blocking,
    catalog::Stored,
    coding::{Coded, Coder, Sealed},
};
use crate::{
    commits::committed,
    pieces::Pieces,
    store::{Blobs, ByteStream, StoreError},
};

/// What a reader fetches at once, and twice that is what it has in memory: 16 stripes of 4/12.
const WINDOW_BYTES: u64 = 4 << 20;
/// The window that is read, and the next.
const WINDOWS: usize = 2;
/// Pieces between the sealing and the code, some 256 KiB each.
const PIECES: usize = 4;
/// A segment that comes within this, 13 MB/s where it is a full one, has a place in memory while it comes.
const COMES_WITHIN: Duration = Duration::from_secs(5);

impl Own {
    /// Codes and sends a segment. It is durable on return, and unsettled.
    ///
    /// One that comes quickly is coded as it comes, where there is a place in memory. Any other is put aside in `blobs`, and
    /// gets a place once it is whole: a client that takes its time keeps nobody from theirs.
    ///
    /// # Errors
    /// What its source or the disk says, and [`StoreError::Holders`]: mostly that too few holders took a shard. Nothing is
    /// kept then.
    pub(in crate::strangers) async fn put_unsettled(
        self: &Arc<Self>,
        mut sealed: ByteStream,
        profile: Profile,
        blobs: &dyn Blobs,
    ) -> Result<SegmentRecord, StoreError> {
        let nobody: Moved = Arc::new(|_| {});
        let stored = match Arc::clone(&self.segments_at_once).try_acquire_owned() {
            Ok(place) => match self.code(&mut sealed, profile, COMES_WITHIN).await? {
                Came::Whole(coded) => {
                    let sent = self.send(coded, &nobody).await;
                    drop(place);
                    Some(sent)
                }
                Came::Slowly(before) => {
                    let before = futures::stream::iter(before.into_iter().map(Ok));
                    // The place is free once what it held is on the disk.
                    let held = futures::stream::once(async move { drop(place) }).filter_map(async |()| None);
                    sealed = before.chain(held).chain(sealed).boxed();
                    None
                }
            },
            Err(_) => None,
        };
        let stored = match stored {
            Some(stored) => stored,
            None => {
                let spool = blobs.spool(sealed).await?;
                let _place = self.segments_at_once.acquire().await.map_err(|_| StoreError::Closed)?;
                self.spread(Sealed::Spool(spool), profile, &nobody).await
            }
        };
        self.unsettle(stored.map_err(holders)?).await.map_err(holders)
    }

    /// Enters a segment that lies with its holders, and that nothing refers to so far.
    async fn unsettle(self: &Arc<Self>, stored: Stored) -> anyhow::Result<SegmentRecord> {
        // What cannot be watched over is refused while nothing refers to it.
        if let Err(error) = self.watch_over(&stored) {
            self.give_up(stored.record.encode().0).await?;
            return Err(error).context("the segment cannot be watched over");
        }
        let (catalog, row) = (self.catalog.clone(), stored.clone());
        blocking(move || catalog.put_unsettled(&row)).await?;
        committed("put.unsettled");
        Ok(stored.record)
    }

    /// Codes a segment on a thread of its own while it comes. Where it is not whole `within` that, says what came, and the
    /// rest is still to be had from `sealed`.
    pub(super) async fn code(
        self: &Arc<Self>,
        sealed: &mut ByteStream,
        profile: Profile,
        within: Duration,
    ) -> Result<Came, StoreError> {
        let (pieces, mut queue) = mpsc::channel::<Bytes>(PIECES);
        let own = Arc::clone(self);
        let coding = tokio::task::spawn_blocking(move || {
            let mut coder = Coder::new(profile);
            while let Some(piece) = queue.blocking_recv() {
                coder.take(&piece, &own.memory)?;
            }
            anyhow::Ok(coder)
        });
        let coming = async {
            // Room first, then the piece: when time is up between the two, nothing is lost. The thread ends early where it
            // cannot go on, and says why.
            while let Ok(room) = pieces.reserve().await {
                let Some(piece) = sealed.next().await else { break };
                room.send(piece.map_err(StoreError::Source)?);
            }
            Ok::<_, StoreError>(())
        };
        let came = tokio::time::timeout(within, coming).await;
        drop(pieces);
        let coder = coding.await.map_err(|_| StoreError::Closed)?.map_err(holders)?;
        match came {
            Ok(came) => {
                came?;
                blocking(move || coder.finish()).await.map(Came::Whole).map_err(holders)
            }
            Err(_) => coder.into_bytes().map(Came::Slowly).map_err(holders),
        }
    }

    /// Segments that are unsettled.
    ///
    /// # Errors
    /// Where the catalogue cannot be read.
    pub(in crate::strangers) async fn unsettled(&self) -> anyhow::Result<Vec<SegmentRecord>> {
        let catalog = self.catalog.clone();
        let unsettled = blocking(move || catalog.unsettled()).await?;
        Ok(unsettled.into_iter().map(|stored| stored.record).collect())
    }

    /// These are kept: watches over them from now on. Those that were given up meanwhile stay so.
    ///
    /// # Errors
    /// Where the catalogue cannot be written.
    pub(in crate::strangers) async fn settle(&self, segments: Vec<SegmentId>) -> anyhow::Result<()> {
        let catalog = self.catalog.clone();
        for stored in blocking(move || catalog.settle(&segments)).await? {
            // One of an earlier process is not watched over yet.
            let is_watched = self.state().custody.alive(stored.record.encode().0).is_some();
            if !is_watched && let Err(error) = self.watch_over(&stored) {
                tracing::error!(%error, "a segment is stored, and cannot be watched over");
            }
        }
        committed("put.settled");
        self.changed.notify_one();
        Ok(())
    }

    /// The sealed bytes `range` of a segment, window after window.
    ///
    /// # Errors
    /// Where the segment is not in the catalogue. What cannot be fetched ends the stream with an error.
    pub(in crate::strangers) async fn read_sealed(
        self: &Arc<Self>,
        record: &SegmentRecord,
        range: Range<u64>,
    ) -> anyhow::Result<ByteStream> {
        let (segment, _) = record.encode();
        let stored = Arc::new(self.stored(segment).await?);
        let own = Arc::clone(self);
        let windows = futures::stream::iter(windows(record.shape(), range));
        let read = windows.map(move |window| {
            let (own, stored) = (Arc::clone(&own), Arc::clone(&stored));
            async move { own.window(segment, &stored, window).await }
        });
        let pieces = |window: Pieces| futures::stream::iter(window.into_iter().map(Ok));
        Ok(read.buffered(WINDOWS).map_ok(pieces).try_flatten().boxed())
    }

    async fn window(
        self: &Arc<Self>,
        segment: SegmentId,
        stored: &Stored,
        window: Range<u64>,
    ) -> std::io::Result<Pieces> {
        let read = self.read_segment(segment, stored, window).await;
        read.map_err(|error| std::io::Error::other(holders(error)))
    }
}

/// How a segment came.
pub(super) enum Came {
    Whole(Coded),
    /// So much of it.
    Slowly(Vec<Bytes>),
}

/// What became of holders, as a store says it.
pub(in crate::strangers) fn holders(error: anyhow::Error) -> StoreError {
    StoreError::Holders(format!("{error:#}"))
}

/// Cuts a range where a window of whole stripes ends.
fn windows(shape: SegmentShape, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send {
    let stripe = shape.profile().stripe_bytes();
    let window = (WINDOW_BYTES / stripe).max(1) * stripe;
    let (mut at, end) = (range.start, range.end.min(shape.bytes()));
    std::iter::from_fn(move || {
        let next = (at / window + 1) * window;
        let found = at..next.min(end);
        at = next;
        (!found.is_empty()).then_some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_the_range_cut_at_stripes() {
        for profile in [Profile::SMALL, Profile::MIDDLE, Profile::WIDE] {
            let shape = SegmentShape::new(profile, 50_000_001).unwrap();
            let stripe = profile.stripe_bytes();
            for range in [0..50_000_001, 7..8, 4_194_303..4_194_305, 10_000_000..60_000_000, 9..9] {
                let mut at = range.start;
                for window in windows(shape, range.clone()) {
                    assert_eq!(window.start, at);
                    assert!(at == range.start || at % stripe == 0);
                    assert!(window.end - window.start <= WINDOW_BYTES);
                    at = window.end;
                }
                assert_eq!(at, range.end.min(50_000_001).max(range.start));
            }
        }
    }
}
