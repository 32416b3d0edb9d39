//! Who of a neighbourhood takes what from infrastructure, agreed without a message.
//!
//! Each peer draws the same pseudo-random weight for each stripe and neighbour (rendezvous hashing, Thaler and
//! Ravishankar 1998); the neighbour with the highest weight takes the stripe from infrastructure, the others wait
//! to get it from that one. In a swarm larger than the neighbourhood a stripe is taken with a probability that
//! makes about [`COPIES`] of the whole swarm take it. Waiting has an end: the share grows as patience runs out,
//! until whoever still lacks the stripe takes it.

use super::blob::BlobShape;
use crate::{base::BlobRoot, identity::PublicKey};

/// Groups that are spread as one: 128 KiB, two dozen round trips' worth of nothing for HTTP, small enough for ten
/// tabs to share a megabyte.
pub const STRIPE_GROUPS: u32 = 8;
/// How many peers of a swarm that is larger than a neighbourhood take a stripe at first. Three stripes in ten wait until
/// somebody's patience runs out; more copies would stand in the queue of a full line.
const COPIES: f64 = 1.2;

/// The stripe that `group` belongs to.
pub const fn stripe_of(group: u32) -> u32 {
    group / STRIPE_GROUPS
}

/// The stripes that ranges of groups, first and count, touch in a blob of `shape`.
pub fn stripes_of(ranges: &[(u32, u32)], shape: BlobShape) -> impl Iterator<Item = u32> {
    let groups = shape.groups();
    ranges.iter().filter(move |(first, count)| *first < groups && *count > 0).flat_map(
        move |(first, count)| stripe_of(*first)..=stripe_of(first.saturating_add(*count).min(groups) - 1),
    )
}

/// A peer's draw for weights: any eight bytes of its key.
pub fn draw(key: &PublicKey) -> u64 {
    let bytes = key.to_bytes();
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[8..16]);
    u64::from_le_bytes(eight)
}

/// How many of `others` come before us for `stripe`.
pub fn rank(root: &BlobRoot, stripe: u32, ours: u64, others: &[u64]) -> usize {
    let weight = weight(root, stripe, ours);
    others.iter().filter(|other| self::weight(root, stripe, **other) > weight).count()
}

fn weight(root: &BlobRoot, stripe: u32, draw: u64) -> u64 {
    let salt = mix(u64::from_le_bytes(root.0[..8].try_into().unwrap_or_default()) ^ u64::from(stripe));
    mix(salt ^ draw)
}

/// The place below `bound` where visitor number `visitor` begins. However many there are, those of consecutive
/// numbers begin far from each other: multiples of the golden ratio, without their whole part, lie evenly (Swierczkowski
/// 1958). Of random numbers it makes random places.
pub const fn place(visitor: u32, bound: u32) -> u32 {
    const GOLDEN: u32 = 0x9e37_79b9;
    let part = visitor.wrapping_mul(GOLDEN) as u64 * bound as u64;
    (part >> 32) as u32
}

/// Whether we are to take `stripe`, among `others`, in a swarm of `swarm` members, having waited `patience`
/// spans of patience.
pub fn is_ours(root: &BlobRoot, stripe: u32, ours: u64, others: &[u64], swarm: u32, patience: f64) -> bool {
    if patience < 1.0 && rank(root, stripe, ours, others) > 0 {
        return false;
    }
    let weight = weight(root, stripe, ours);
    #[expect(clippy::cast_precision_loss, reason = "neighbourhoods are small")]
    let near = others.len() as f64 + 1.0;
    // Being first among `near` happens once in `near`: that part of the thinning is done already.
    let chosen = if patience < 1.0 { near } else { 1.0 };
    let share = COPIES * chosen / f64::from(swarm).max(near) * 2f64.powf(patience.min(64.0));
    #[expect(clippy::cast_precision_loss, reason = "a probability needs no 64 bits")]
    let lot = mix(weight) as f64 / u64::MAX as f64;
    f64::from(swarm) <= near || lot < share
}

/// `SplitMix64`'s finaliser (Steele, Lea and Flood 2014): every input bit reaches every output bit.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takers(peers: u64, neighbours: usize, swarm: u32, patience: f64) -> Vec<usize> {
        let root = BlobRoot([7; 32]);
        let draws: Vec<u64> = (0..peers).map(|peer| mix(peer ^ 0xabc)).collect();
        (0..800)
            .map(|stripe| {
                let is_taker = |peer: &usize| {
                    let others: Vec<u64> =
                        (1..=neighbours).map(|step| draws[(peer + step * 7) % draws.len()]).collect();
                    is_ours(&root, stripe, draws[*peer], &others, swarm, patience)
                };
                (0..draws.len()).filter(is_taker).count()
            })
            .collect()
    }

    #[test]
    fn visitors_who_come_together_begin_far_apart() {
        for (first, count) in [(0, 10u32), (4_000, 10), (7, 100)] {
            let mut places: Vec<u32> =
                (first..first + count).map(|visitor| place(visitor, 1_000_000)).collect();
            places.sort_unstable();
            let nearest = places.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
            assert!(places[places.len() - 1] < 1_000_000);
            // Random places would be a hundredth of an even share apart.
            assert!(nearest > 1_000_000 / count / 3, "{count} from {first}: {nearest}");
        }
    }

    #[test]
    fn in_a_full_mesh_each_stripe_has_exactly_one_taker() {
        assert!(takers(10, 9, 10, 0.0).iter().all(|takers| *takers == 1));
    }

    #[test]
    fn in_a_large_swarm_each_stripe_leaves_infrastructure_a_few_times() {
        let takers = takers(300, 10, 300, 0.0);
        let mean = takers.iter().sum::<usize>() as f64 / takers.len() as f64;
        assert!((0.8..3.0).contains(&mean), "{mean}");
    }

    #[test]
    fn patience_ends() {
        assert!(takers(100, 10, 100, 8.0).iter().all(|takers| *takers == 100));
    }
}
