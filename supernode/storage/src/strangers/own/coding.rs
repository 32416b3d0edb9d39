//! From a segment's bytes to its shards in memory: side by side where the bytes are there, or stripe by stripe as they come.

use std::{collections::BTreeMap, ops::Range};

use anyhow::Context as _;
use bytes::Bytes;
use shared::storage::{
    erasure::{BLOCK_BYTES, MAX_SEGMENT_BYTES, Profile, SegmentEncoder, SegmentShape},
    record::SegmentRecord,
};

use super::memory::Memory;
use crate::store::Spool;

/// Threads that encode one segment: more wait for memory, and two segments may be on their way.
const ENCODERS: usize = 4;

/// A segment that is coded: its record, and each shard's bytes in a row.
pub struct Coded {
    record: SegmentRecord,
    memory: Bytes,
    /// From where one shard begins to where the next does.
    stride: usize,
}

impl Coded {
    fn new(encoder: SegmentEncoder, memory: Vec<u8>, stride: usize) -> anyhow::Result<Self> {
        let (shape, trees) = encoder.finish()?;
        let roots = trees.iter().map(|tree| tree.root()).collect();
        let record = SegmentRecord::new(shape, roots).context("a root for each shard")?;
        Ok(Self { record, memory: memory.into(), stride })
    }

    /// What the segment is, by the names of its shards.
    pub const fn record(&self) -> &SegmentRecord {
        &self.record
    }

    /// Each shard.
    pub fn shards(&self) -> BTreeMap<u16, Bytes> {
        let shape = self.record.shape();
        let shard_bytes = usize::try_from(shape.shard_bytes()).expect("it is in memory");
        let shard = |number: u16| {
            let from = usize::from(number) * self.stride;
            (number, self.memory.slice(from..from + shard_bytes))
        };
        (0..shape.profile().total_shards()).map(shard).collect()
    }

    /// The memory, to be used again.
    pub fn into_memory(self) -> Bytes {
        self.memory
    }
}

/// What all shards of a segment take together.
///
/// # Errors
/// Where that is more than memory has places.
pub fn shards_bytes(shape: SegmentShape) -> anyhow::Result<usize> {
    Ok(usize::try_from(shape.shard_bytes())? * usize::from(shape.profile().total_shards()))
}

/// A segment's bytes before they are coded.
pub enum Sealed {
    /// As they come from a source that this node trusts to be quick.
    Memory(Bytes),
    /// Put aside while a client took its time.
    Spool(Spool),
}

impl Sealed {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spool(spool) => spool.size(),
        }
    }

    /// The bytes `range`, from `buffer` where they are not in memory already.
    fn bytes<'a>(&'a self, range: Range<u64>, buffer: &'a mut Vec<u8>) -> anyhow::Result<&'a [u8]> {
        let (start, end) = (usize::try_from(range.start)?, usize::try_from(range.end)?);
        match self {
            Self::Memory(bytes) => bytes.get(start..end).context("a stripe beyond the end"),
            Self::Spool(spool) => {
                buffer.resize(end - start, 0);
                spool.read(range.start, buffer).context("reading what was put aside")?;
                Ok(buffer)
            }
        }
    }
}

/// A segment and its shards, encoded into `memory` on several cores side by side. `sealed` is of that
/// shape, and `memory` has [`shards_bytes`] of it.
///
/// # Errors
/// What the disk says, where the bytes are there; else our own mistakes alone.
pub fn encode(shape: SegmentShape, sealed: &Sealed, mut memory: Vec<u8>) -> anyhow::Result<Coded> {
    let shard_bytes = usize::try_from(shape.shard_bytes())?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(ENCODERS);
    let stripes_each = shape.stripes().div_ceil(u32::try_from(cores)?);
    let mut rest: Vec<&mut [u8]> = memory.chunks_exact_mut(shard_bytes).collect();
    let encoder = std::thread::scope(|scope| {
        let mut parts = Vec::new();
        let mut first = 0;
        while first < shape.stripes() {
            let stripes = first..(first + stripes_each).min(shape.stripes());
            first = stripes.end;
            let blocks = shape.block_range(stripes.start).context("a stripe of the segment")?.start
                ..shape.block_range(stripes.end - 1).context("a stripe of the segment")?.end;
            let length = usize::try_from(blocks.end - blocks.start)?;
            let ours: Vec<&mut [u8]> =
                rest.iter_mut().filter_map(|rest| rest.split_off_mut(..length)).collect();
            parts.push(scope.spawn(move || encode_part(shape, stripes, sealed, ours)));
        }
        let mut whole = SegmentEncoder::new(shape.profile());
        for part in parts {
            let part = part.join().map_err(|_| anyhow::anyhow!("encoding ended in a panic"))?;
            whole.append(part?)?;
        }
        anyhow::Ok(whole)
    })?;
    Coded::new(encoder, memory, shard_bytes)
}

/// Some stripes in a row, each shard's blocks to their place.
fn encode_part(
    shape: SegmentShape,
    stripes: Range<u32>,
    sealed: &Sealed,
    mut places: Vec<&mut [u8]>,
) -> anyhow::Result<SegmentEncoder> {
    let mut encoder = SegmentEncoder::starting_at(shape.profile(), stripes.start);
    let mut buffer = Vec::new();
    for stripe in stripes {
        let range = shape.stripe_range(stripe).context("a stripe beyond the end")?;
        let data = sealed.bytes(range, &mut buffer)?;
        encoder.stripe(data, |shard, block| {
            if let Some(place) = places[usize::from(shard)].split_off_mut(..block.len()) {
                place.copy_from_slice(block);
            }
        })?;
    }
    Ok(encoder)
}

/// Codes a segment as it comes.
pub(super) struct Coder {
    profile: Profile,
    encoder: SegmentEncoder,
    /// Empty until the first full stripe: most segments have none.
    memory: Vec<u8>,
    stride: usize,
    /// The end of what came, where it is no full stripe.
    rest: Vec<u8>,
    stripes: usize,
}

impl Coder {
    pub(super) fn new(profile: Profile) -> Self {
        let encoder = SegmentEncoder::new(profile);
        Self { profile, encoder, memory: Vec::new(), stride: 0, rest: Vec::new(), stripes: 0 }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// Where they are more than a segment has.
    pub(super) fn take(&mut self, mut bytes: &[u8], memory: &Memory) -> anyhow::Result<()> {
        let stripe_bytes = usize::try_from(self.profile.stripe_bytes())?;
        while self.rest.len() + bytes.len() >= stripe_bytes {
            if self.memory.is_empty() {
                // How long the segment will be is not known: room for the longest, of which only what is written counts.
                let longest = SegmentShape::new(self.profile, MAX_SEGMENT_BYTES).context("the longest")?;
                self.stride = usize::try_from(longest.shard_bytes())?;
                self.memory = memory.take(shards_bytes(longest)?);
            }
            let (missing, behind) = bytes.split_at(stripe_bytes - self.rest.len());
            bytes = behind;
            if self.rest.is_empty() {
                self.stripe(missing)?;
            } else {
                let mut stripe = std::mem::take(&mut self.rest);
                stripe.extend_from_slice(missing);
                self.stripe(&stripe)?;
                stripe.clear();
                self.rest = stripe;
            }
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    fn stripe(&mut self, data: &[u8]) -> anyhow::Result<()> {
        let (memory, stride) = (&mut self.memory, self.stride);
        let from = self.stripes * usize::try_from(BLOCK_BYTES)?;
        self.encoder.stripe(data, |shard, block| {
            let from = usize::from(shard) * stride + from;
            memory[from..from + block.len()].copy_from_slice(block);
        })?;
        self.stripes += 1;
        Ok(())
    }

    /// All bytes came.
    ///
    /// # Errors
    /// Where there were none.
    pub(super) fn finish(mut self) -> anyhow::Result<Coded> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            if self.memory.is_empty() {
                let shape = SegmentShape::new(self.profile, rest.len() as u64).context("a short segment")?;
                self.stride = usize::try_from(shape.shard_bytes())?;
                self.memory = vec![0; shards_bytes(shape)?];
            }
            self.stripe(&rest)?;
        }
        Coded::new(self.encoder, self.memory, self.stride)
    }

    /// What was taken, in order: the first shards are the segment's own bytes.
    pub(super) fn into_bytes(self) -> anyhow::Result<Vec<Bytes>> {
        let (memory, block) = (Bytes::from(self.memory), usize::try_from(BLOCK_BYTES)?);
        let mut pieces = Vec::new();
        for stripe in 0..self.stripes {
            for shard in 0..usize::from(self.profile.data_shards()) {
                let from = shard * self.stride + stripe * block;
                pieces.push(memory.slice(from..from + block));
            }
        }
        pieces.push(self.rest.into());
        Ok(pieces)
    }
}
