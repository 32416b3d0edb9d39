//! Rot of three kinds on the disks of holders: none of it is returned to a reader, all of it is found, and what has too
//! little left is rebuilt.
//!
//! The suite plays a few; `cargo xtask bench rots` 270.

use std::{collections::BTreeSet, fs, path::PathBuf};

use shared::base::SeededRng;

use crate::strangers::{Network, Plan, files, object};

/// Of an object's twelve shards; seven are left, which is below the line of eight.
const ROTTEN_OF_AN_OBJECT: usize = 5;
/// A shard's length on the disk is at least this: its bytes, and behind them the hashes of its groups.
const OBJECT_BYTES: usize = 200_000;

#[derive(Clone, Copy, Debug)]
enum Rot {
    /// One bit, anywhere.
    Bit,
    /// The end is missing.
    Truncation,
    /// Another shard's bytes.
    Swap,
}

fn shards_of(network: &Network, holder: usize) -> BTreeSet<PathBuf> {
    let all = files(&network.world.path(&format!("holder{holder}/storage/held")));
    all.into_iter().filter(|file| file.extension().is_none_or(|extension| extension != "redb")).collect()
}

fn spoil(file: &PathBuf, other: &PathBuf, rot: Rot, rng: &mut SeededRng) {
    let mut bytes = fs::read(file).unwrap();
    match rot {
        Rot::Bit => {
            let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
            bytes[at] ^= 1 << rng.below(8);
        }
        Rot::Truncation => bytes.truncate(usize::try_from(rng.below(bytes.len() as u64)).unwrap()),
        Rot::Swap => bytes = fs::read(other).unwrap(),
    }
    fs::write(file, bytes).unwrap();
}

fn play(objects: usize, seed: u64) {
    let network = Network::planned(Plan { audit_seconds: 20, gone_seconds: 86_400, ..Plan::SMALL });
    let mut rng = SeededRng::from_number(seed);
    let holders = network.holders.len();
    let mut lying: Vec<BTreeSet<PathBuf>> = vec![BTreeSet::new(); holders];
    let mut stored = Vec::new();
    for number in 0..objects {
        let bytes = object(OBJECT_BYTES, seed * 1000 + number as u64);
        network.put(&format!("object{number}"), &bytes);
        // What is new with each holder is its shard of this object.
        let now: Vec<_> = (0..holders).map(|holder| shards_of(&network, holder)).collect();
        let new = now.iter().zip(&lying).flat_map(|(now, before)| now.difference(before)).cloned();
        stored.push((bytes, new.collect::<Vec<_>>()));
        lying = now;
    }
    let (mut injected, mut other) = (0, stored.last().unwrap().1[0].clone());
    for (_, shards) in &mut stored {
        rng.shuffle(shards);
        for (shard, rot) in shards
            .iter()
            .take(ROTTEN_OF_AN_OBJECT)
            .zip([Rot::Bit, Rot::Truncation, Rot::Swap].iter().cycle().skip(injected))
        {
            spoil(shard, &other, *rot, &mut rng);
            other.clone_from(shard);
            injected += 1;
        }
    }
    for (number, (bytes, _)) in stored.iter().enumerate() {
        assert!(
            network.get(&format!("object{number}")).as_ref() == Ok(bytes),
            "object{number} while {injected} shards are rotten"
        );
    }
    network.wait_long_for("all to be whole again", |status| {
        let segments = status["segments"].as_array().unwrap();
        segments.iter().all(|segment| segment["alive"] == segment["total"]).then_some(())
    });
    for (number, (bytes, _)) in stored.iter().enumerate() {
        assert!(
            network.get(&format!("object{number}")).as_ref() == Ok(bytes),
            "object{number} after {injected} repairs"
        );
    }
    println!("{injected} rots in {objects} objects, seed {seed}: none was read, all were found and repaired");
}

#[test]
fn rot_of_any_kind_is_never_read_and_is_repaired() {
    play(3, 1);
}

/// `BLACKHOLE_SEEDS` says which seed.
#[test]
#[ignore = "for cargo xtask bench rots"]
fn two_hundred_and_seventy_rots_are_never_read_and_are_repaired() {
    play(54, std::env::var("BLACKHOLE_SEEDS").map_or(1, |seed| seed.parse().unwrap()));
}
