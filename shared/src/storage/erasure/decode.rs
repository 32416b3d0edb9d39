//! From any k shards back to the segment, or to the shards that were lost, a stripe at a time.

use std::collections::BTreeMap;

use reed_solomon_simd::ReedSolomonDecoder;

use super::{Codec, SegmentShape, encode::BlockEncoder};

/// Why a stripe cannot be read from the blocks at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The segment has no such stripe.
    #[error("the segment has no stripe {stripe}")]
    AbsentStripe {
        /// The number asked about.
        stripe: u32,
    },
    /// The segment has no such shard.
    #[error("the segment has no shard {shard}")]
    AbsentShard {
        /// The number found.
        shard: u16,
    },
    /// Too few blocks to compute the rest from.
    #[error("{found} blocks are here, where {needed} are needed")]
    TooFew {
        /// How many came.
        found: u16,
        /// How many suffice.
        needed: u16,
    },
    /// A block has another length.
    #[error("the block of shard {shard} has {found} bytes, where {expected} belong")]
    Length {
        /// The shard.
        shard: u16,
        /// What came.
        found: u64,
        /// What belongs there.
        expected: u64,
    },
}

/// Decodes stripes of one segment, in any order. Its blocks were verified against their shards' roots before.
pub struct StripeDecoder {
    shape: SegmentShape,
    code: Option<ReedSolomonDecoder>,
    encoder: BlockEncoder,
}

impl StripeDecoder {
    /// For a segment of this shape.
    pub fn new(shape: SegmentShape) -> Self {
        Self { shape, code: None, encoder: BlockEncoder::default() }
    }

    /// Appends the bytes of `stripe` to `out`. Computes only what of the first k shards is missing: with all of
    /// them at hand this is a copy.
    ///
    /// # Errors
    /// [`DecodeError`]; `out` is as it was then.
    pub fn decode(
        &mut self,
        stripe: u32,
        blocks: &BTreeMap<u16, &[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let range = self.shape.stripe_range(stripe).ok_or(DecodeError::AbsentStripe { stripe })?;
        let block_bytes = self.check(stripe, blocks)?;
        let end = out.len() + usize::try_from(range.end - range.start).expect("a stripe fits any usize");
        let data = self.shape.profile().data_shards();
        if self.shape.profile().codec() == Codec::Copies {
            out.extend_from_slice(blocks.values().next().expect("one is enough, and was counted"));
        } else if (0..data).all(|shard| blocks.contains_key(&shard)) {
            blocks.range(..data).for_each(|(_, block)| out.extend_from_slice(block));
        } else {
            self.compute(block_bytes, blocks, out);
        }
        // What is behind is the padding of the last stripe.
        out.truncate(end);
        Ok(())
    }

    /// Hands the blocks of the shards `wanted`, which were lost, to `each`, in the order asked for.
    ///
    /// # Errors
    /// [`DecodeError`]; nothing was handed out then.
    pub fn restore(
        &mut self,
        stripe: u32,
        blocks: &BTreeMap<u16, &[u8]>,
        wanted: &[u16],
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), DecodeError> {
        let total = self.shape.profile().total_shards();
        if let Some(shard) = wanted.iter().copied().find(|shard| *shard >= total) {
            return Err(DecodeError::AbsentShard { shard });
        }
        let mut data = Vec::new();
        self.decode(stripe, blocks, &mut data)?;
        let mut restored = BTreeMap::new();
        self.encoder.encode(self.shape.profile(), &data, |shard, block| {
            if wanted.contains(&shard) {
                restored.insert(shard, block.to_vec());
            }
        });
        for shard in wanted {
            each(*shard, &restored[shard]);
        }
        Ok(())
    }

    /// The length of the stripe's blocks, once all at hand are seen to have it and to be enough.
    fn check(&self, stripe: u32, blocks: &BTreeMap<u16, &[u8]>) -> Result<usize, DecodeError> {
        let range = self.shape.block_range(stripe).ok_or(DecodeError::AbsentStripe { stripe })?;
        let expected = range.end - range.start;
        for (shard, block) in blocks {
            if *shard >= self.shape.profile().total_shards() {
                return Err(DecodeError::AbsentShard { shard: *shard });
            }
            let found = block.len() as u64;
            if found != expected {
                return Err(DecodeError::Length { shard: *shard, found, expected });
            }
        }
        let (found, needed) = (blocks.len(), self.shape.profile().data_shards());
        if found < usize::from(needed) {
            let found = u16::try_from(found).expect("below k");
            return Err(DecodeError::TooFew { found, needed });
        }
        Ok(usize::try_from(expected).expect("64 KiB fit any usize"))
    }

    fn compute(&mut self, block_bytes: usize, blocks: &BTreeMap<u16, &[u8]>, out: &mut Vec<u8>) {
        let profile = self.shape.profile();
        let (data, total) = (profile.data_shards(), profile.total_shards());
        let (originals, parity) = (usize::from(data), usize::from(total - data));
        let code = self.code.get_or_insert_with(|| {
            ReedSolomonDecoder::new(originals, parity, block_bytes)
                .expect("a profile has at most 128 shards, blocks are even")
        });
        code.reset(originals, parity, block_bytes).expect("as above");
        // Systematic shards come first in the map, so as little as possible has to be computed.
        for (shard, block) in blocks.iter().take(originals) {
            let added = match shard.checked_sub(data) {
                None => code.add_original_shard(usize::from(*shard), block),
                Some(index) => code.add_recovery_shard(usize::from(index), block),
            };
            added.expect("in range, of this length, each once");
        }
        let decoded = code.decode().expect("k blocks are in");
        for shard in 0..data {
            let restored =
                || decoded.restored_original(usize::from(shard)).expect("what was missing is computed");
            out.extend_from_slice(blocks.get(&shard).copied().unwrap_or_else(restored));
        }
    }
}
