//! What a segment's way through the code costs beside the bare library: `cargo xtask bench erasure`.
//!
//! All encode the same bytes in the same 64 KiB blocks, by turns; medians over the rounds. The bare library's figure is
//! reed-solomon-simd alone on one core, with its tables made once; beside it stands the same with plain BLAKE3 over each
//! shard, since a shard's name is its hash, and hashing n / k times the bytes takes longer than the code. Named is our encoder
//! on one core, which does both; the whole path also copies shards to where they are sent from, and takes all cores, as a node
//! does, into memory that it has from the segment before.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reed_solomon_simd::ReedSolomonEncoder;
use shared::storage::erasure::{MAX_SEGMENT_BYTES, Profile, SegmentEncoder, SegmentShape};
use supernode_storage::strangers::own::{Sealed, encode, shards_bytes};

const ROUNDS: usize = 7;
const BLOCK_BYTES: usize = 64 * 1024;

fn main() {
    let bytes: Bytes = {
        let mut rng = shared::base::SeededRng::from_number(1);
        (0..MAX_SEGMENT_BYTES / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect()
    };
    println!(
        "a segment of {} MiB, medians of {ROUNDS} rounds, MB of the segment a second",
        bytes.len() >> 20
    );
    println!(
        "{:>8}{:>10}{:>12}{:>10}{:>12}{:>12}{:>16}",
        "", "library", "with BLAKE3", "named", "whole path", "of library", "of with BLAKE3"
    );
    for profile in [Profile::WIDE, Profile::MIDDLE, Profile::SMALL] {
        let mut memory = Vec::new();
        let mut took: [Vec<Duration>; 4] = Default::default();
        for _ in 0..ROUNDS {
            for (way, times) in [library, with_blake3, named, whole_path].into_iter().zip(&mut took) {
                let begun = Instant::now();
                way(profile, &bytes, &mut memory);
                times.push(begun.elapsed());
            }
        }
        let speed = took.map(|mut times| {
            times.sort_unstable();
            bytes.len() as f64 / 1e6 / times[ROUNDS / 2].as_secs_f64()
        });
        let [library, with_blake3, named, whole] = speed;
        let name = format!("{}/{}", profile.data_shards(), profile.total_shards());
        let (of_library, of_both) = (whole / library, whole / with_blake3);
        println!(
            "{name:>8}{library:>10.0}{with_blake3:>12.0}{named:>10.0}{whole:>12.0}{of_library:>12.2}{of_both:>16.2}"
        );
    }
}

/// The library, fed with whole stripes.
fn library(profile: Profile, bytes: &Bytes, _: &mut Vec<u8>) {
    encoded(profile, bytes, |_, block| {
        black_box(block);
    });
}

/// And a hash of each shard.
fn with_blake3(profile: Profile, bytes: &Bytes, _: &mut Vec<u8>) {
    let mut hashers = vec![blake3::Hasher::new(); usize::from(profile.total_shards())];
    encoded(profile, bytes, |shard, block| {
        hashers[shard].update(block);
    });
    for hasher in &hashers {
        black_box(hasher.finalize());
    }
}

fn encoded(profile: Profile, bytes: &[u8], mut each: impl FnMut(usize, &[u8])) {
    let (data, total) = (usize::from(profile.data_shards()), usize::from(profile.total_shards()));
    let mut code = ReedSolomonEncoder::new(data, total - data, BLOCK_BYTES).expect("a lawful profile");
    for stripe in bytes.chunks_exact(data * BLOCK_BYTES) {
        for (shard, block) in stripe.chunks_exact(BLOCK_BYTES).enumerate() {
            code.add_original_shard(block).expect("k blocks");
            each(shard, block);
        }
        for (place, block) in code.encode().expect("all are in").recovery_iter().enumerate() {
            each(data + place, block);
        }
    }
}

/// Our encoder, on one core, and nothing done with what it gives.
fn named(profile: Profile, bytes: &Bytes, _: &mut Vec<u8>) {
    let mut encoder = SegmentEncoder::new(profile);
    for stripe in bytes.chunks(usize::from(profile.data_shards()) * BLOCK_BYTES) {
        let fed = encoder.stripe(stripe, |_, block| {
            black_box(block);
        });
        fed.expect("stripes in order");
    }
    black_box(encoder.finish().expect("all were fed"));
}

/// What an owner's node does with a segment.
fn whole_path(profile: Profile, bytes: &Bytes, memory: &mut Vec<u8>) {
    let shape = SegmentShape::new(profile, bytes.len() as u64).expect("a lawful segment");
    let mut before = std::mem::take(memory);
    before.resize(shards_bytes(shape).expect("it fits"), 0);
    let coded = encode(shape, &Sealed::Memory(bytes.clone()), before).expect("a whole segment");
    *memory = coded.into_memory().try_into_mut().expect("nobody else reads them").into();
}
