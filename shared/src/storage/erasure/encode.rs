//! From a segment's bytes to its shards, a stripe at a time.

use reed_solomon_simd::ReedSolomonEncoder;

use super::{BLOCK_BYTES, Codec, MAX_SEGMENT_BYTES, Profile, SegmentShape};
use crate::base::blob::{BlobHasher, GROUP_BYTES, HashTree};

/// Each block but those of the last stripe is as many groups of its shard.
const GROUPS_OF_A_BLOCK: u32 = 4;
const _: () = assert!(GROUPS_OF_A_BLOCK as u64 * GROUP_BYTES == BLOCK_BYTES, "a block is whole groups");

/// Why a segment cannot be encoded as it was fed: its feeder erred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A stripe came behind one that was not full, or more than a segment may have.
    #[error("the segment ended after {stripes} stripes, and one more was fed")]
    Ended {
        /// How many came.
        stripes: u32,
    },
    /// There are stripes between what was encoded and what was to be appended, or before it.
    #[error("stripe {expected} comes next, and stripe {found} was fed")]
    Gap {
        /// Which comes next.
        expected: u32,
        /// Which came.
        found: u32,
    },
    /// The stripe is empty, or too long.
    #[error("stripe {stripe} has {found} bytes, where 1 to {most} belong")]
    Length {
        /// The stripe.
        stripe: u32,
        /// What came.
        found: u64,
        /// What a full one has.
        most: u64,
    },
    /// Nothing was fed.
    #[error("a segment has at least one byte")]
    Empty,
}

/// Encodes a segment from front to back and learns the name of each shard; or a part of it, where several encode it side
/// by side. How long the segment is shows only at its end.
pub struct SegmentEncoder {
    profile: Profile,
    blocks: BlockEncoder,
    hashers: Vec<BlobHasher>,
    first: u32,
    next: u32,
    /// From `first` on.
    bytes: u64,
}

impl SegmentEncoder {
    /// Begins a segment of this profile.
    pub fn new(profile: Profile) -> Self {
        Self::starting_at(profile, 0)
    }

    /// Begins such a segment at a stripe; who encodes what comes before it [appends](Self::append) this.
    pub fn starting_at(profile: Profile, stripe: u32) -> Self {
        let before = stripe.saturating_mul(GROUPS_OF_A_BLOCK);
        let hashers = (0..profile.total_shards()).map(|_| BlobHasher::starting_at(before)).collect();
        Self { profile, blocks: BlockEncoder::default(), hashers, first: stripe, next: stripe, bytes: 0 }
    }

    /// Takes what another encoded of the stripes that come next.
    ///
    /// # Errors
    /// [`EncodeError::Gap`] or [`EncodeError::Ended`]; nothing was taken then.
    pub fn append(&mut self, next: Self) -> Result<(), EncodeError> {
        if next.first != self.next {
            return Err(EncodeError::Gap { expected: self.next, found: next.first });
        }
        self.room_for(next.bytes)?;
        self.next = next.next;
        self.bytes += next.bytes;
        for (hasher, next) in self.hashers.iter_mut().zip(next.hashers) {
            hasher.append(next).expect("a shard is far shorter than a blob may be");
        }
        Ok(())
    }

    /// Takes the bytes of the next stripe, and hands each shard's next block to `each`, in order of shards. Each stripe but
    /// the last is full.
    ///
    /// # Errors
    /// [`EncodeError::Ended`] or [`EncodeError::Length`]; nothing was taken then.
    pub fn stripe(&mut self, data: &[u8], mut each: impl FnMut(u16, &[u8])) -> Result<(), EncodeError> {
        let (found, most) = (data.len() as u64, self.profile.stripe_bytes());
        if found == 0 || found > most {
            return Err(EncodeError::Length { stripe: self.next, found, most });
        }
        self.room_for(found)?;
        self.next += 1;
        self.bytes += found;
        let hashers = &mut self.hashers;
        self.blocks.encode(self.profile, data, |shard, block| {
            hashers[usize::from(shard)].update(block).expect("a shard is far shorter than a blob may be");
            each(shard, block);
        });
        Ok(())
    }

    /// The segment's geometry, and the hash tree of each shard: its root is the shard's name.
    ///
    /// # Errors
    /// [`EncodeError::Empty`]; [`EncodeError::Gap`] where what comes before was encoded by another.
    pub fn finish(self) -> Result<(SegmentShape, Vec<HashTree>), EncodeError> {
        if self.first > 0 {
            return Err(EncodeError::Gap { expected: 0, found: self.first });
        }
        let shape = SegmentShape::new(self.profile, self.bytes).ok_or(EncodeError::Empty)?;
        Ok((shape, self.hashers.into_iter().map(BlobHasher::finish).collect()))
    }

    fn room_for(&self, more: u64) -> Result<(), EncodeError> {
        let stripe_bytes = self.profile.stripe_bytes();
        let end = u64::from(self.first) * stripe_bytes + self.bytes;
        if !end.is_multiple_of(stripe_bytes) || end + more > MAX_SEGMENT_BYTES {
            return Err(EncodeError::Ended { stripes: self.next });
        }
        Ok(())
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
    /// Hands block after block of the stripe `data` to `each`; it has a byte at least, and no more than a full one.
    pub(super) fn encode(&mut self, profile: Profile, data: &[u8], mut each: impl FnMut(u16, &[u8])) {
        if profile.codec() == Codec::Copies {
            return (0..profile.total_shards()).for_each(|shard| each(shard, data));
        }
        let block_bytes =
            usize::try_from(profile.block_bytes(data.len() as u64)).expect("64 KiB fit any usize");
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
