use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::{
    SeededRng,
    blob::{BlobHashes, HashTree},
};

fn bytes(size: u64) -> Vec<u8> {
    let mut rng = SeededRng::from_number(size);
    (0..size).map(|_| u8::try_from(rng.below(256)).unwrap()).collect()
}

fn shape(profile: Profile, size: u64) -> SegmentShape {
    SegmentShape::new(profile, size).unwrap()
}

fn slice(bytes: &[u8], range: core::ops::Range<u64>) -> &[u8] {
    &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

/// All shards of a segment, whole, and their trees.
fn encode(shape: SegmentShape, segment: &[u8]) -> (Vec<Vec<u8>>, Vec<HashTree>) {
    let mut shards = vec![Vec::new(); usize::from(shape.profile().total_shards())];
    let mut encoder = SegmentEncoder::new(shape.profile());
    for stripe in 0..shape.stripes() {
        let data = slice(segment, shape.stripe_range(stripe).unwrap());
        encoder.stripe(data, |shard, block| shards[usize::from(shard)].extend_from_slice(block)).unwrap();
    }
    let (found, trees) = encoder.finish().unwrap();
    assert_eq!(found, shape);
    (shards, trees)
}

fn blocks<'a>(
    shape: SegmentShape,
    stripe: u32,
    shards: &'a [Vec<u8>],
    chosen: &[u16],
) -> BTreeMap<u16, &'a [u8]> {
    let range = shape.block_range(stripe).unwrap();
    chosen.iter().map(|shard| (*shard, slice(&shards[usize::from(*shard)], range.clone()))).collect()
}

fn decode(shape: SegmentShape, shards: &[Vec<u8>], chosen: &[u16]) -> Result<Vec<u8>, DecodeError> {
    let (mut decoder, mut out) = (StripeDecoder::new(shape), Vec::new());
    for stripe in 0..shape.stripes() {
        decoder.decode(stripe, &blocks(shape, stripe, shards, chosen), &mut out)?;
    }
    Ok(out)
}

fn chosen(profile: Profile, count: u16, seed: u64) -> Vec<u16> {
    let mut all: Vec<u16> = (0..profile.total_shards()).collect();
    SeededRng::from_number(seed).shuffle(&mut all);
    all.truncate(usize::from(count));
    all
}

#[test]
fn any_k_shards_are_the_segment_and_one_fewer_are_not() {
    for profile in [Profile::WIDE, Profile::MIDDLE, Profile::SMALL, Profile::THREEFOLD] {
        let k = profile.data_shards();
        let stripe = BLOCK_BYTES * u64::from(k);
        for size in [1, 2, 4096, stripe - 1, stripe, 2 * stripe + 12_345] {
            let shape = shape(profile, size);
            let segment = bytes(size);
            let (shards, _) = encode(shape, &segment);
            for seed in 0..3 {
                assert!(
                    decode(shape, &shards, &chosen(profile, k, seed)).unwrap() == segment,
                    "{profile:?} {size}"
                );
            }
            let too_few = DecodeError::TooFew { found: k - 1, needed: k };
            assert_eq!(decode(shape, &shards, &chosen(profile, k - 1, 9)), Err(too_few));
        }
    }
}

#[test]
fn the_first_shards_are_the_segments_own_bytes() {
    let size = 2 * 29 * BLOCK_BYTES + 1000;
    let (shape, segment) = (shape(Profile::WIDE, size), bytes(size));
    let (shards, _) = encode(shape, &segment);
    for range in [0..size, 0..1, 70_000..70_001, 29 * BLOCK_BYTES - 10..size, size - 1..size, size..size + 5]
    {
        let parts = shape.parts(&range);
        let mut read = Vec::new();
        for part in &parts {
            assert!(part.shard < 29);
            read.extend_from_slice(slice(&shards[usize::from(part.shard)], part.shard_range.clone()));
            assert!(read.ends_with(slice(&segment, part.segment_range.clone())));
        }
        assert!(read == slice(&segment, range.start..range.end.min(size)), "{range:?}");
    }
    // A whole frame is one block of one shard.
    assert_eq!(shape.parts(&(3 * BLOCK_BYTES..4 * BLOCK_BYTES)).len(), 1);
}

#[test]
fn shards_are_blobs_of_the_length_that_the_shape_says() {
    for (profile, size) in
        [(Profile::WIDE, 5_000_000), (Profile::SMALL, 1), (Profile::new(1, 3).unwrap(), 70_001)]
    {
        let shape = shape(profile, size);
        let (shards, trees) = encode(shape, &bytes(size));
        assert_eq!(trees.len(), shards.len());
        for (shard, tree) in shards.iter().zip(&trees) {
            assert_eq!(shard.len() as u64, shape.shard_bytes());
            assert_eq!(HashTree::of(shard).as_ref(), Ok(tree));
        }
    }
}

#[test]
fn a_lost_shard_is_restored_to_its_name() {
    for profile in [Profile::SMALL, Profile::MIDDLE, Profile::new(1, 3).unwrap()] {
        let size = 3 * BLOCK_BYTES * u64::from(profile.data_shards()) + 999;
        let (shape, segment) = (shape(profile, size), bytes(size));
        let (shards, trees) = encode(shape, &segment);
        let kept = chosen(profile, profile.data_shards(), 4);
        let lost: Vec<u16> =
            (0..profile.total_shards()).rev().filter(|shard| !kept.contains(shard)).collect();
        let (mut decoder, mut restored) = (StripeDecoder::new(shape), BTreeMap::<u16, Vec<u8>>::new());
        for stripe in 0..shape.stripes() {
            let blocks = blocks(shape, stripe, &shards, &kept);
            decoder
                .restore(stripe, &blocks, &lost, |shard, block| {
                    restored.entry(shard).or_default().extend_from_slice(block);
                })
                .unwrap();
        }
        assert_eq!(restored.len(), lost.len());
        for (shard, bytes) in restored {
            assert_eq!(HashTree::of(&bytes).unwrap().root(), trees[usize::from(shard)].root());
        }
    }
}

#[test]
fn rot_is_found_by_the_shards_name_before_it_is_decoded() {
    let size = 4 * BLOCK_BYTES;
    let (shape, segment) = (shape(Profile::SMALL, size), bytes(size));
    let (mut shards, trees) = encode(shape, &segment);
    shards[9][20_000] ^= 4;
    let kept = [1, 2, 3, 9];
    // The code itself is blind.
    assert!(decode(shape, &shards, &kept).unwrap() != segment);
    let hashes = BlobHashes::from_tree(&trees[9]);
    let bad: Vec<u32> = (0..4)
        .filter(|group| {
            let range = hashes.shape().group_bytes(*group).unwrap();
            hashes.verify_group(*group, slice(&shards[9], range)).is_err()
        })
        .collect();
    assert_eq!(bad, [1]);
}

/// What was stored by this codec must be read for ever: a library that computes other parity is another codec.
#[test]
fn the_codec_computes_the_parity_it_always_did() {
    let parity = |profile: Profile, size: u64| {
        let data: Vec<u8> = (0..size).map(|at| u8::try_from((at * 7 + at / 256) % 251).unwrap()).collect();
        let (shards, _) = encode(shape(profile, size), &data);
        let parity = shards[usize::from(profile.data_shards())..].concat();
        blake3::hash(&parity).to_hex()[..16].to_owned()
    };
    let cases = [
        (Profile::WIDE, 2_000_000),
        (Profile::MIDDLE, 300_001),
        (Profile::SMALL, 300_000),
        (Profile::THREEFOLD, 20),
    ];
    let found = cases.map(|(profile, size)| parity(profile, size));
    assert_eq!(found, ["295147603cf68766", "58461725ec584433", "58851b079879fc2f", "ef3405050cab0505"]);
}

#[test]
fn a_feeder_that_errs_is_told_and_nothing_is_taken() {
    let full = vec![0; 256 * 1024];
    let fed = |encoder: &mut SegmentEncoder, data: &[u8]| encoder.stripe(data, |_, _| {});
    let mut encoder = SegmentEncoder::new(Profile::SMALL);
    assert_eq!(SegmentEncoder::new(Profile::SMALL).finish().map(|_| ()), Err(EncodeError::Empty));
    for wrong in [&[][..], &[0; 256 * 1024 + 1]] {
        let length = EncodeError::Length { stripe: 0, found: wrong.len() as u64, most: 256 * 1024 };
        assert_eq!(fed(&mut encoder, wrong), Err(length));
    }
    fed(&mut encoder, &full).unwrap();
    let mut later = SegmentEncoder::starting_at(Profile::SMALL, 2);
    fed(&mut later, &[0; 10]).unwrap();
    assert_eq!(encoder.append(later), Err(EncodeError::Gap { expected: 1, found: 2 }));
    let mut next = SegmentEncoder::starting_at(Profile::SMALL, 1);
    fed(&mut next, &[0; 10]).unwrap();
    let alone = SegmentEncoder::starting_at(Profile::SMALL, 1).finish().map(|_| ());
    assert_eq!(alone, Err(EncodeError::Gap { expected: 0, found: 1 }));
    encoder.append(next).unwrap();
    assert_eq!(fed(&mut encoder, &full), Err(EncodeError::Ended { stripes: 2 }));
    assert_eq!(encoder.finish().unwrap().0, shape(Profile::SMALL, 256 * 1024 + 10));
    let mut longest = SegmentEncoder::starting_at(Profile::SMALL, 255);
    fed(&mut longest, &full).unwrap();
    assert_eq!(fed(&mut longest, &[0]), Err(EncodeError::Ended { stripes: 256 }));
    let shape = shape(Profile::SMALL, 10);
    let mut decoder = StripeDecoder::new(shape);
    let (good, long) = ([0; 4], [0; 5]);
    let mut check = |stripe, blocks: &[(u16, &[u8])], expect| {
        let mut out = Vec::new();
        assert_eq!(decoder.decode(stripe, &blocks.iter().copied().collect(), &mut out), Err(expect));
        assert!(out.is_empty());
    };
    check(1, &[], DecodeError::AbsentStripe { stripe: 1 });
    check(0, &[(12, &good)], DecodeError::AbsentShard { shard: 12 });
    check(0, &[(0, &good), (1, &long)], DecodeError::Length { shard: 1, found: 5, expected: 4 });
    let all = [(0, &good[..]), (1, &good), (2, &good), (3, &good)].into();
    let outside = decoder.restore(0, &all, &[12], |_, _| {});
    assert_eq!(outside, Err(DecodeError::AbsentShard { shard: 12 }));
}

#[test]
fn profiles_follow_the_network() {
    let check = |holders, data, total, line| {
        let profile = Profile::for_network(holders);
        assert_eq!(
            (profile.data_shards(), profile.total_shards(), profile.repair_line()),
            (data, total, line)
        );
    };
    check(100_000, 29, 80, 52);
    check(80, 29, 80, 52);
    check(79, 16, 40, 26);
    check(39, 4, 12, 8);
    check(11, 1, 3, 2);
    check(2, 1, 2, 1);
    check(0, 1, 1, 1);
    for (data, total) in [(0, 3), (4, 3), (100, 129)] {
        assert_eq!(Profile::new(data, total), None);
    }
}

proptest! {
    #[test]
    fn stripes_tile_the_segment_and_blocks_the_shard(size in 1..=MAX_SEGMENT_BYTES, data in 1u16..40, parity in 0u16..60) {
        let shape = shape(Profile::new(data, data + parity).unwrap(), size);
        let (mut at, mut block_at) = (0, 0);
        for stripe in 0..shape.stripes() {
            let (range, block) = (shape.stripe_range(stripe).unwrap(), shape.block_range(stripe).unwrap());
            prop_assert_eq!((range.start, block.start), (at, block_at));
            prop_assert!(range.end > range.start && block.end - block.start <= BLOCK_BYTES);
            prop_assert!((block.end - block.start) * u64::from(data) >= range.end - range.start);
            (at, block_at) = (range.end, block.end);
        }
        prop_assert_eq!((at, block_at), (size, shape.shard_bytes()));
        prop_assert_eq!(shape.stripe_range(shape.stripes()), None);
        // No more than a word a block is lost to evenness.
        prop_assert!(shape.shard_bytes() * u64::from(data) < size + 2 * u64::from(data));
    }

    #[test]
    fn parts_tile_any_range(size in 1u64..3_000_000, from in 0u64..3_000_000, length in 0u64..3_000_000) {
        let shape = shape(Profile::SMALL, size);
        let mut at = from;
        for part in shape.parts(&(from..from + length)) {
            prop_assert_eq!(part.segment_range.start, at);
            prop_assert!(part.shard < 4 && part.shard_range.end <= shape.shard_bytes());
            at = part.segment_range.end;
        }
        prop_assert_eq!(at, (from + length).min(size).max(from));
    }
}
