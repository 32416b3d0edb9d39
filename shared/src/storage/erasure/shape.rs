//! Where the stripes, blocks and shards of a segment lie.

use core::ops::Range;

use super::Profile;

/// One block of one shard, the unit of the code.
pub const BLOCK_BYTES: u64 = 64 * 1024;
/// Bounds what is lost and repaired as one, and a shard: a blob far below its own bound.
pub const MAX_SEGMENT_BYTES: u64 = 64 << 20;

/// The geometry of a segment: a length that was checked once, and a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentShape {
    profile: Profile,
    bytes: u64,
}

/// A piece of a segment that lies on one block: what a range read asks one holder for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPart {
    /// The shard, one of the first k.
    pub shard: u16,
    /// The stripe.
    pub stripe: u32,
    /// Which bytes of the shard's blob.
    pub shard_range: Range<u64>,
    /// Which bytes of the segment they are.
    pub segment_range: Range<u64>,
}

impl SegmentShape {
    /// The shape of a segment of 1 to [`MAX_SEGMENT_BYTES`] bytes. What is empty is kept in its record.
    pub const fn new(profile: Profile, bytes: u64) -> Option<Self> {
        if bytes >= 1 && bytes <= MAX_SEGMENT_BYTES { Some(Self { profile, bytes }) } else { None }
    }

    /// The profile.
    pub const fn profile(self) -> Profile {
        self.profile
    }

    /// Length in bytes.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Number of stripes, at least one.
    pub fn stripes(self) -> u32 {
        u32::try_from(self.bytes.div_ceil(self.profile.stripe_bytes()))
            .expect("at most 1,024: 64 MiB of 64 KiB")
    }

    /// The bytes of the segment that stripe `index` holds, or nothing beyond the end.
    pub fn stripe_range(self, index: u32) -> Option<Range<u64>> {
        let start = u64::from(index) * self.profile.stripe_bytes();
        (index < self.stripes()).then(|| start..(start + self.profile.stripe_bytes()).min(self.bytes))
    }

    /// The bytes of every shard's blob that belong to stripe `index`, or nothing beyond the end.
    pub fn block_range(self, index: u32) -> Option<Range<u64>> {
        let data = self.stripe_range(index)?;
        let start = u64::from(index) * BLOCK_BYTES;
        Some(start..start + self.profile.block_bytes(data.end - data.start))
    }

    /// The length of every shard.
    pub fn shard_bytes(self) -> u64 {
        self.block_range(self.stripes() - 1).expect("the last stripe is there").end
    }

    /// The blocks that hold the segment's bytes `range`, in order; nothing beyond the end. At most 1,024 and k.
    pub fn parts(self, range: &Range<u64>) -> Vec<BlockPart> {
        let (mut at, end) = (range.start, range.end.min(self.bytes));
        let mut parts = Vec::new();
        while at < end {
            let stripe = u32::try_from(at / self.profile.stripe_bytes()).expect("at is in the segment");
            let (data, block) = (self.stripe_range(stripe), self.block_range(stripe));
            let (data, block) = (data.expect("at is in it"), block.expect("at is in it"));
            let block_bytes = block.end - block.start;
            let (shard, within) = ((at - data.start) / block_bytes, (at - data.start) % block_bytes);
            let length = (block_bytes - within).min(end - at);
            parts.push(BlockPart {
                shard: u16::try_from(shard).expect("k blocks hold a stripe"),
                stripe,
                shard_range: block.start + within..block.start + within + length,
                segment_range: at..at + length,
            });
            at += length;
        }
        parts
    }
}
