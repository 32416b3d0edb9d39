//! Which leaves are asked for.

use std::collections::BTreeSet;

use crate::{
    base::{BlobRoot, blob::BlobShape},
    identity::PublicKey,
};

/// Leaves drawn for a challenge, beside the last. Who dropped a tenth of a shard fails 57 challenges of 100, and the
/// answer stays below 20 KiB.
pub const CHALLENGE_LEAVES: usize = 8;

/// A question to one holder about one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The shard.
    pub root: BlobRoot,
    /// 32 bytes that nobody could foresee.
    pub beacon: [u8; 32],
    /// Who is asked.
    pub holder: PublicKey,
}

impl Challenge {
    /// The leaves asked for, of a shard of this shape: [`CHALLENGE_LEAVES`] draws, and the last leaf, which proves the
    /// length. Keyed BLAKE3 as an extendable output (BLAKE3 paper, section 2.3); a draw's bias is below 2⁻⁴².
    pub fn leaves(&self, shape: BlobShape) -> BTreeSet<u32> {
        let mut hasher = blake3::Hasher::new_keyed(&self.beacon);
        hasher.update(b"blackhole/storage/challenge/1\0");
        hasher.update(&self.root.0);
        hasher.update(&self.holder.to_bytes());
        let mut draws = [0; CHALLENGE_LEAVES * 8];
        hasher.finalize_xof().fill(&mut draws);
        let (draws, _) = draws.as_chunks::<8>();
        let leaf = |draw: &[u8; 8]| {
            let wide = u128::from(u64::from_be_bytes(*draw)) * u128::from(shape.leaves());
            u32::try_from(wide >> 64).expect("below the number of leaves")
        };
        draws.iter().map(leaf).chain([shape.leaves() - 1]).collect()
    }
}
