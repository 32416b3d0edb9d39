//! A holder's score for a segment, in whole numbers: floating-point logarithms differ between machines, and two
//! machines that choose differently move shards for nothing.

use core::cmp::Ordering;

use super::Holder;
use crate::base::SegmentId;

/// More free space than this attracts no more shards, or the largest holders would have one of everything.
const FREE_GIB_MAX: u64 = 1024;
/// Fractional bits of a logarithm.
const FRACTION_BITS: u32 = 32;

/// Weight over negated logarithm, kept as a fraction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    weight: u64,
    /// −log₂ of a number in (0, 1], in units of 2⁻³².
    logarithm: u64,
}

impl Score {
    pub(super) fn new(segment: SegmentId, holder: &Holder, price_max: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("blackhole 2026-11-26 storage placement");
        hasher.update(&segment.0);
        hasher.update(&holder.node.to_bytes());
        let drawn = *hasher.finalize().as_bytes().first_chunk().expect("8 of 32 bytes");
        Self { weight: weight(holder, price_max), logarithm: negated_log2(u64::from_le_bytes(drawn)) }
    }
}

/// Grows with room and reputation, and up to twofold with how far the price is below the most that is paid. Below
/// 2³²: 2¹⁰ GiB, 2¹⁰ of reputation, 2¹¹ of price.
fn weight(holder: &Holder, price_max: u64) -> u64 {
    let gib = (holder.free_bytes >> 30).clamp(1, FREE_GIB_MAX);
    let price = u128::from(holder.price.min(price_max)) * 1024 / u128::from(price_max.max(1));
    let price = 2048 - u64::try_from(price).expect("at most 1,024");
    gib * u64::from(holder.reputation.clamp(1, super::REPUTATION_MAX)) * price
}

/// −log₂((`drawn` + 1) / 2⁶⁴) in units of 2⁻³², at least 1; bit by bit, by squaring (Knuth, TAOCP 1.2.2, exercise 25
/// has the idea).
fn negated_log2(drawn: u64) -> u64 {
    let number = u128::from(drawn) + 1;
    let whole = number.ilog2();
    // The mantissa in [1, 2), with 63 fractional bits.
    let mut mantissa = (number << (127 - whole)) >> 64;
    let mut log = u64::from(whole);
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 63;
        let bit = mantissa >> 64;
        mantissa >>= bit;
        log = log << 1 | u64::from(bit == 1);
    }
    ((64 << FRACTION_BITS) - log).max(1)
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // a/b against c/d by a·d against c·b: below 2³² · 2³⁹.
        let cross = |a: &Self, b: &Self| u128::from(a.weight) * u128::from(b.logarithm);
        cross(self, other).cmp(&cross(other, self))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "a comparison within a millionth")]
    fn the_logarithm_is_a_logarithm() {
        for drawn in
            [0, 1, 2, 1000, u64::MAX / 3, u64::MAX / 2, u64::MAX - 1, u64::MAX, 0x1234_5678_9abc_def0]
        {
            let expect = 64.0 - (drawn as f64 + 1.0).log2();
            let found = negated_log2(drawn) as f64 / f64::from(u32::MAX);
            assert!((found - expect).abs() < 1e-6, "{drawn}: {found}, expected {expect}");
        }
    }
}
