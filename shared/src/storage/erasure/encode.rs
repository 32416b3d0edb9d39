//! From a segment's bytes to its shards, a stripe at a time.

use reed_solomon_simd::ReedSolomonEncoder;

use super::{BLOCK_BYTES, Codec, Profile, SegmentShape};
use crate::base::blob::{BlobHasher, GROUP_BYTES, HashTree};

/// Each block but those of the last stripe is as many groups of its shard.
const GROUPS_OF_A_BLOCK: u32 = 4;
const _: () = assert!(GROUPS_OF_A_BLOCK as u64 * GROUP_BYTES == BLOCK_BYTES, "a block is whole groups");

/// Why a segment cannot be encoded as it was fed: its feeder erred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// All stripes were fed.
    #[error("the segment has {stripes} stripes, and one more was fed")]
    Finished {
        /// How many there are.
        stripes: u32,
    },
    /// Not all stripes were fed.
    #[error("the segment has {stripes} stripes, and {fed} were fed")]
    Unfinished {
        /// How many there are.
        stripes: u32,
        /// How many came.
        fed: u32,
    },
    /// The stripe has another length.
    #[error("stripe {stripe} has {expected} bytes, and {found} were fed")]
    Length {
        /// The stripe.
        stripe: u32,
        /// What came.
        found: u64,
        /// What belongs there.
        expected: u64,
    },
}

/// Encodes a segment from front to back and learns the name of each shard; or a part of it, where several encode it side
/// by side.
pub struct SegmentEncoder {
    shape: SegmentShape,
    blocks: BlockEncoder,
    hashers: Vec<BlobHasher>,
    first: u32,
    next: u32,
}

impl SegmentEncoder {
    /// Begins a segment of this shape.
    pub fn new(shape: SegmentShape) -> Self {
        Self::starting_at(shape, 0)
    }

    /// Begins such a segment at a stripe; who encodes what comes before it [appends](Self::append) this.
    pub fn starting_at(shape: SegmentShape, stripe: u32) -> Self {
        let before = stripe.saturating_mul(GROUPS_OF_A_BLOCK);
        let hashers = (0..shape.profile().total_shards()).map(|_| BlobHasher::starting_at(before)).collect();
        Self { shape, blocks: BlockEncoder::default(), hashers, first: stripe, next: stripe }
    }

    /// Takes what another encoded of the stripes that come next.
    ///
    /// # Errors
    /// [`EncodeError::Unfinished`] where there are stripes between; nothing was taken then.
    pub fn append(&mut self, next: Self) -> Result<(), EncodeError> {
        if next.first != self.next {
            return Err(EncodeError::Unfinished { stripes: next.first, fed: self.next });
        }
        self.next = next.next;
        for (hasher, next) in self.hashers.iter_mut().zip(next.hashers) {
            hasher.append(next).expect("a shard is far shorter than a blob may be");
        }
        Ok(())
    }

    /// Takes the bytes of the next stripe, and hands each shard's next block to `each`, in order of shards.
    ///
    /// # Errors
    /// [`EncodeError::Finished`] or [`EncodeError::Length`]; nothing was taken then.
    pub fn stripe(&mut self, data: &[u8], mut each: impl FnMut(u16, &[u8])) -> Result<(), EncodeError> {
        let (stripe, stripes) = (self.next, self.shape.stripes());
        let range = self.shape.stripe_range(stripe).ok_or(EncodeError::Finished { stripes })?;
        let (found, expected) = (data.len() as u64, range.end - range.start);
        if found != expected {
            return Err(EncodeError::Length { stripe, found, expected });
        }
        self.next += 1;
        let hashers = &mut self.hashers;
        self.blocks.encode(self.shape, stripe, data, |shard, block| {
            hashers[usize::from(shard)].update(block).expect("a shard is far shorter than a blob may be");
            each(shard, block);
        });
        Ok(())
    }

    /// The hash tree of each shard: its root is the shard's name.
    ///
    /// # Errors
    /// [`EncodeError::Unfinished`].
    pub fn finish(self) -> Result<Vec<HashTree>, EncodeError> {
        let (stripes, fed) = (self.shape.stripes(), self.next - self.first);
        if fed < stripes {
            return Err(EncodeError::Unfinished { stripes, fed });
        }
        Ok(self.hashers.into_iter().map(BlobHasher::finish).collect())
    }
}

/// The code itself. Keeps its tables and buffers from stripe to stripe.
#[derive(Default)]
pub(super) struct BlockEncoder {
    code: Option<ReedSolomonEncoder>,
    /// The last stripe with zeros behind it.
    padded: Vec<u8>,
}

impl BlockEncoder {
    /// Hands block after block of `stripe` to `each`. `data` has the stripe's length.
    pub(super) fn encode(
        &mut self,
        shape: SegmentShape,
        stripe: u32,
        data: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) {
        let profile = shape.profile();
        if profile.codec() == Codec::Copies {
            return (0..profile.total_shards()).for_each(|shard| each(shard, data));
        }
        let range = shape.block_range(stripe).expect("the caller knows its stripes");
        let block_bytes = usize::try_from(range.end - range.start).expect("64 KiB fit any usize");
        let stripe_bytes = block_bytes * usize::from(profile.data_shards());
        let data = if data.len() == stripe_bytes {
            data
        } else {
            self.padded.clear();
            self.padded.extend_from_slice(data);
            self.padded.resize(stripe_bytes, 0);
            &self.padded
        };
        let code = ready(&mut self.code, profile, block_bytes);
        for (shard, block) in (0..).zip(data.chunks_exact(block_bytes)) {
            code.add_original_shard(block).expect("k blocks of the announced length");
            each(shard, block);
        }
        let coded = code.encode().expect("all k blocks are in");
        for (shard, block) in (profile.data_shards()..).zip(coded.recovery_iter()) {
            each(shard, block);
        }
    }
}

fn ready(
    code: &mut Option<ReedSolomonEncoder>,
    profile: Profile,
    block_bytes: usize,
) -> &mut ReedSolomonEncoder {
    let data = usize::from(profile.data_shards());
    let parity = usize::from(profile.total_shards()) - data;
    let code = code.get_or_insert_with(|| {
        ReedSolomonEncoder::new(data, parity, block_bytes)
            .expect("a profile has at most 128 shards, blocks are even")
    });
    code.reset(data, parity, block_bytes).expect("as above");
    code
}
