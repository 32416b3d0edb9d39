//! How many shards, and how many of them suffice.

use super::BLOCK_BYTES;

/// The most shards of a segment: the widest profile and half as many again. Bounds a segment's record.
pub const MAX_SHARDS: u16 = 128;

/// How shards are computed. Recorded with each segment, for what was stored must be read for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Every shard is the segment.
    Copies,
    /// Reed–Solomon over GF(2¹⁶) in the FFT basis of Lin, Chung and Han (FOCS 2014), as Leopard-RS and
    /// reed-solomon-simd 3 lay it out, over 64 KiB blocks.
    ReedSolomon,
}

/// A number of shards in all, and how many of them are the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profile {
    data: u16,
    total: u16,
}

impl Profile {
    /// For networks of 80 holders and more: any 51 may vanish, for 2.76 times the bytes.
    pub const WIDE: Self = Self { data: 29, total: 80 };
    /// For networks of 40.
    pub const MIDDLE: Self = Self { data: 16, total: 40 };
    /// For networks of 12.
    pub const SMALL: Self = Self { data: 4, total: 12 };
    /// Three times the bytes, as operators expect who think in replicas, and any 40 of 60 may vanish.
    pub const THREEFOLD: Self = Self { data: 20, total: 60 };

    /// Any `data` of `total` shards suffice; nothing where that is no code or more than [`MAX_SHARDS`].
    pub const fn new(data: u16, total: u16) -> Option<Self> {
        if data >= 1 && data <= total && total <= MAX_SHARDS { Some(Self { data, total }) } else { None }
    }

    /// What a network of this many holders, each of another operator and network, can carry. Below 12 there is
    /// no code worth its width: up to three copies.
    pub fn for_network(holders: usize) -> Self {
        let fits = |profile: &Self| usize::from(profile.total) <= holders;
        let coded = [Self::WIDE, Self::MIDDLE, Self::SMALL].into_iter().find(fits);
        let copies = u16::try_from(holders.clamp(1, 3)).expect("at most three");
        coded.unwrap_or(Self { data: 1, total: copies })
    }

    /// How many shards suffice, k.
    pub const fn data_shards(self) -> u16 {
        self.data
    }

    /// How many there are, n.
    pub const fn total_shards(self) -> u16 {
        self.total
    }

    /// How the shards are computed.
    pub const fn codec(self) -> Codec {
        if self.data == 1 { Codec::Copies } else { Codec::ReedSolomon }
    }

    /// With this many shards left, or fewer, a segment is to be repaired, as long as nothing was measured; where
    /// it was, `durability` says which line keeps the promise.
    pub const fn repair_line(self) -> u16 {
        match (self.data, self.total) {
            (29, 80) => 52,
            (16, 40) => 26,
            // Half way between lost and whole, which 4/12 keeps too.
            (data, total) => (data + total) / 2,
        }
    }

    /// What a full stripe takes of a segment: a block of each of the k.
    pub const fn stripe_bytes(self) -> u64 {
        BLOCK_BYTES * self.data as u64
    }

    /// The length of the blocks of a stripe of so many bytes. The code works on 16-bit words, so they are even.
    pub(super) const fn block_bytes(self, stripe_bytes: u64) -> u64 {
        match self.codec() {
            Codec::Copies => stripe_bytes,
            Codec::ReedSolomon => stripe_bytes.div_ceil(self.data as u64).next_multiple_of(2),
        }
    }
}
