//! An object comes back: from the holders of its shards, verified, decoded and opened, a window at a time.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use shared::{
    base::SegmentId,
    identity::PublicKey,
    storage::{
        erasure::{SegmentShape, StripeDecoder},
        messages::MAX_HAND_OUT_BYTES,
        record::{Body, ObjectRecord},
        seal::{ObjectPath, Opener},
    },
};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{Moved, Own, blocking, catalog::Stored, shards::Sources};
use crate::pieces::Pieces;

/// Stripes of a window: their blocks of one shard are what is handed out at once.
const WINDOW_STRIPES: u32 = 16;
const _: () = assert!(WINDOW_STRIPES as u64 * shared::storage::erasure::BLOCK_BYTES <= MAX_HAND_OUT_BYTES);

impl Own {
    /// The record of an object; nothing where there is none.
    ///
    /// # Errors
    /// Where the catalogue cannot be read.
    pub async fn find(&self, path: &ObjectPath) -> anyhow::Result<Option<ObjectRecord>> {
        let (catalog, sealed) = (self.catalog.clone(), self.bucket().seal_path(path));
        let record = blocking(move || catalog.object(&sealed)).await?;
        Ok(record.map(|record| ObjectRecord::read(&record)).transpose()?)
    }

    /// Writes the plain bytes `range` of an object into `sink`, in order. What was written is what was stored; on an
    /// error it is the beginning of it.
    ///
    /// # Errors
    /// Says why it cannot be read on.
    pub async fn get(
        self: &Arc<Self>,
        path: &ObjectPath,
        record: &ObjectRecord,
        range: Range<u64>,
        mut sink: impl AsyncWrite + Unpin + Send,
        moved: Moved,
    ) -> anyhow::Result<()> {
        let (_, record_key) = self.bucket().object(path);
        let secret = record.secret(&record_key)?;
        let parts = match &record.public.body {
            Body::Inline(sealed) => {
                let shape = record.public.streams().next().context("an inline object is a stream")?;
                let mut plain = Vec::new();
                Opener::new(&secret.key.stream(&[0; 16]), shape).open(0, sealed, &mut plain)?;
                let end = range.end.min(plain.len() as u64).max(range.start);
                let wanted = usize::try_from(range.start)?..usize::try_from(end)?;
                sink.write_all(plain.get(wanted).unwrap_or_default()).await?;
                return Ok(sink.flush().await?);
            }
            Body::Parts(parts) => parts,
        };
        let mut places = record.public.places(range.clone()).peekable();
        while let Some(first) = places.peek().copied() {
            // Frames of one segment in a row, as many as a window has stripes of.
            let part = &parts[first.part];
            let segment = part.segments[first.segment];
            let stored = self.stored(segment).await?;
            let shape = stored.record.shape();
            let begin = stripe_of(shape, first.start);
            let mut frames = Vec::new();
            let mut end = first.start;
            while let Some(place) = places.next_if(|place| {
                let same = place.part == first.part && place.segment == first.segment;
                same && stripe_of(shape, place.start + place.bytes - 1) < begin + WINDOW_STRIPES
            }) {
                end = place.start + place.bytes;
                frames.push(place);
            }
            anyhow::ensure!(!frames.is_empty(), "a frame that is longer than a window");
            let mut sealed = self.read_segment(segment, &stored, first.start..end).await?;
            let opener = Opener::new(&secret.key.stream(&part.salt), part.shape);
            let mut plain = Vec::with_capacity(sealed.len());
            for place in &frames {
                let start = plain.len();
                sealed.take_into(usize::try_from(place.bytes)?, &mut plain);
                opener.open_at(place.frame, start, &mut plain)?;
            }
            // The first and the last frame hold more than was asked for.
            let skip = range.start.saturating_sub(first.plain_start);
            let take = range.end.saturating_sub(first.plain_start).min(plain.len() as u64);
            let wanted = &plain[usize::try_from(skip)?..usize::try_from(take)?];
            sink.write_all(wanted).await?;
            moved(wanted.len() as u64);
        }
        Ok(sink.flush().await?)
    }

    pub(super) async fn stored(&self, segment: SegmentId) -> anyhow::Result<Stored> {
        let catalog = self.catalog.clone();
        let stored = blocking(move || catalog.segment(segment)).await?;
        stored.with_context(|| format!("segment {segment} is not in the catalogue"))
    }

    /// The segment's bytes `range`, within a window.
    pub(super) async fn read_segment(
        self: &Arc<Self>,
        segment: SegmentId,
        stored: &Stored,
        range: Range<u64>,
    ) -> anyhow::Result<Pieces> {
        let record = &stored.record;
        let shape = record.shape();
        let parts = shape.parts(&range);
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { bail!("an empty range") };
        let stripes = first.stripe..last.stripe + 1;
        let wanted: Vec<u16> = parts.iter().map(|part| part.shard).collect();
        let blocks = blocks(shape, &stripes)?;
        let sources =
            Sources { holders: self.holders_of(segment, stored), tabs: self.extras().of_segment(segment) };
        let window = self.fetch_window(record, wanted, sources, blocks.clone()).await;
        let mut window = match window {
            Ok(window) => window,
            Err((arrived, needed)) => {
                bail!("{arrived} shards of segment {segment} can be read, where {needed} are needed")
            }
        };
        self.report(segment, &window.missing);
        self.report_extras(segment, &window.missing_extras);
        let direct = parts.iter().all(|part| window.shards.contains_key(&part.shard));
        if direct {
            let mut sealed = Pieces::default();
            let mut at = BTreeMap::new();
            for part in &parts {
                let shard = window.shards.get_mut(&part.shard).context("a shard that was wanted")?;
                // Parts of a shard come in its order; between them nothing is left out but at the ends.
                let at = at.entry(part.shard).or_insert(blocks.start);
                shard.take(usize::try_from(part.shard_range.start - *at)?);
                *at = part.shard_range.end;
                sealed.append(shard.take(usize::try_from(part.shard_range.end - part.shard_range.start)?));
            }
            return Ok(sealed);
        }
        let data = decode(shape, stripes.clone(), whole(window.shards)).await?;
        let start = shape.stripe_range(first.stripe).context("a stripe beyond the end")?.start;
        let wanted = usize::try_from(range.start - start)?..usize::try_from(range.end - start)?;
        let mut sealed = Pieces::default();
        sealed.push(Bytes::from(data).slice(wanted));
        Ok(sealed)
    }

    /// Who has which shard, as far as is known.
    pub(super) fn holders_of(&self, segment: SegmentId, stored: &Stored) -> Vec<(u16, PublicKey)> {
        let state = self.state();
        let watched: Vec<_> =
            state.custody.shards(segment).map(|(shard, holder)| (shard, holder.clone())).collect();
        // What custody gave up may be there all the same, and a reader has nothing to lose.
        let mut holders = watched.clone();
        let given_up = stored.leases.iter().map(|(shard, lease, _)| (*shard, lease.holder.clone()));
        holders.extend(given_up.filter(|place| !watched.contains(place)));
        holders
    }

    /// Tells custody whom a reader found out.
    pub(super) fn report(&self, segment: SegmentId, missing: &[(u16, PublicKey, bool)]) {
        for (shard, holder, lied) in missing {
            tracing::warn!(%holder, shard, lied, "a reader found that a holder has not got its shard");
            tracing::info!(target: "blackhole::events::storage", event = "missing", %holder, shard, lied);
            self.state().custody.handle_missing(segment, *shard, holder, *lied);
        }
        if !missing.is_empty() {
            self.changed.notify_one();
        }
    }
}

fn stripe_of(shape: SegmentShape, at: u64) -> u32 {
    let stripe = shared::storage::erasure::BLOCK_BYTES * u64::from(shape.profile().data_shards());
    u32::try_from(at / stripe).unwrap_or(u32::MAX)
}

/// Which bytes of each shard belong to these stripes.
pub(super) fn blocks(shape: SegmentShape, stripes: &Range<u32>) -> anyhow::Result<Range<u64>> {
    let (Some(first), Some(last)) =
        (shape.block_range(stripes.start), shape.block_range(stripes.end.saturating_sub(1)))
    else {
        bail!("stripes beyond the end of the segment");
    };
    Ok(first.start..last.end)
}

/// Each shard in one piece, as the code wants them.
pub(super) fn whole(shards: BTreeMap<u16, Pieces>) -> BTreeMap<u16, Bytes> {
    shards.into_iter().map(|(shard, pieces)| (shard, pieces.into_whole())).collect()
}

/// The segment's bytes of some stripes, from the same blocks of enough shards.
async fn decode(
    shape: SegmentShape,
    stripes: Range<u32>,
    shards: BTreeMap<u16, Bytes>,
) -> anyhow::Result<Vec<u8>> {
    blocking(move || {
        let (mut decoder, mut data) = (StripeDecoder::new(shape), Vec::new());
        for (stripe, blocks) in each_stripe(shape, stripes, &shards)? {
            decoder.decode(stripe, &blocks, &mut data)?;
        }
        Ok(data)
    })
    .await
}

/// A stripe's number, and its blocks by shard.
pub(super) type StripeBlocks<'a> = (u32, BTreeMap<u16, &'a [u8]>);

/// The blocks of each stripe in what was fetched of the shards.
pub(super) fn each_stripe(
    shape: SegmentShape,
    stripes: Range<u32>,
    shards: &BTreeMap<u16, Bytes>,
) -> anyhow::Result<Vec<StripeBlocks<'_>>> {
    let start = blocks(shape, &stripes)?.start;
    let stripe = |stripe: u32| {
        let range = shape.block_range(stripe).context("a stripe beyond the end")?;
        let range = usize::try_from(range.start - start)?..usize::try_from(range.end - start)?;
        anyhow::ensure!(shards.values().all(|bytes| range.end <= bytes.len()), "a shard that is too short");
        Ok((stripe, shards.iter().map(|(shard, bytes)| (*shard, &bytes[range.clone()])).collect()))
    };
    stripes.map(stripe).collect()
}
