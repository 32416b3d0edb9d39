//! Shards rot on their holders' disks: a bit flips, a file is cut off, two files change places. No reader gets any of it,
//! each rot is found, and each shard that was hit lies whole with some holder again.
//!
//! The suite plays one round; `cargo xtask bench rots --rots 270` as many as it takes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use shared::{
    base::{SeededRng, blob::HashTree},
    storage::{
        erasure::{Profile, SegmentShape},
        seal::{Sealing, StreamShape},
    },
};

use crate::{
    process::{Node, text},
    strangers::{Network, Plan, files, object},
};

/// Objects of one segment each. With so many, a holder passes far more audits between two rots than it fails, as one
/// does whose disk is not dying.
const OBJECTS: u32 = 20;
/// Of them so many are hit at once.
const HIT_AT_ONCE: usize = 5;
/// Of a shard there are five groups: an audit asks about four of them.
const SMALLEST_BYTES: usize = 290_000;
/// Makes the length of each object's shards its own, by which their files are told apart.
const LONGER_BYTES: usize = 4096;
const GROUP_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rot {
    Bit,
    Truncation,
    Swap,
}

/// A shard of an object, by its number.
type Place = (String, u64);

struct Run {
    network: Network,
    rng: SeededRng,
    objects: BTreeMap<String, Vec<u8>>,
    /// The name of each shard's file: its root, which never changes.
    roots: BTreeMap<Place, String>,
    rots: BTreeMap<Rot, u32>,
    /// How often the shard of that root was hit at that holder.
    hits: BTreeMap<(String, String), usize>,
    /// Shards that were hit and lie whole with somebody again.
    whole_again: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let plan = Plan { audit_seconds: 2, gone_seconds: 86_400, ..Plan::SMALL };
        let network = Network::planned(plan);
        let objects = (0..OBJECTS).map(|number| {
            let (name, length) = (format!("object{number}"), SMALLEST_BYTES + LONGER_BYTES * number as usize);
            let bytes = object(length, number.into());
            network.put(&name, &bytes);
            (name, bytes)
        });
        let (objects, rng) = (objects.collect(), SeededRng::from_number(seed));
        let (roots, rots, hits) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { network, rng, objects, roots, rots, hits, whole_again: 0 }
    }

    /// Which shard of an object lies where, by what the owner counts.
    fn places(&self, status: &serde_json::Value, name: &str) -> Vec<(Place, usize)> {
        let segments = status["segments"].as_array().unwrap();
        let segment = segments.iter().find(|segment| segment["name"] == name).unwrap();
        let number = |did: &serde_json::Value| {
            let is_it = |node: &Option<Node>| node.as_ref().is_some_and(|node| did == node.did.as_str());
            self.network.holders.iter().position(is_it).unwrap()
        };
        let places = segment["holders"].as_array().unwrap().iter();
        places.map(|place| ((name.to_owned(), place[0].as_u64().unwrap()), number(&place[1]))).collect()
    }

    /// Where a holder keeps a shard.
    fn file(&self, holder: usize, root: &str) -> PathBuf {
        let blobs = self.network.world.path(&format!("holder{holder}/storage/held/blobs"));
        blobs.join(&root[..2]).join(root)
    }

    /// Learns the name of a shard that a holder has: the one that is whole, as long as this object's shards are, and none
    /// that is known.
    fn learn(&mut self, place: &Place, holder: usize) {
        if self.roots.contains_key(place) {
            return;
        }
        let object_bytes = self.objects[&place.0].len();
        let kept = files(&self.network.world.path(&format!("holder{holder}/storage/held/blobs")));
        let new = kept.iter().filter(|file| is_whole(file, object_bytes)).find_map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap();
            self.roots.values().all(|known| known != name).then(|| name.to_owned())
        });
        let new = new.unwrap_or_else(|| panic!("holder {holder} has not got {place:?}"));
        self.roots.insert(place.clone(), new);
    }

    /// One round: as many shards of some objects as make them due for repair, and no more than `most`. Says how many.
    fn round(&mut self, most: usize) -> usize {
        let status = self.network.status();
        let mut names: Vec<String> = self.objects.keys().cloned().collect();
        self.rng.shuffle(&mut names);
        names.truncate(HIT_AT_ONCE);
        let mut victims = Vec::new();
        for name in &names {
            let mut places = self.places(&status, name);
            places.iter().for_each(|(place, holder)| self.learn(place, *holder));
            self.rng.shuffle(&mut places);
            places.truncate(places.len().saturating_sub(usize::from(Profile::SMALL.repair_line())));
            victims.extend(places);
        }
        self.rng.shuffle(&mut victims);
        victims.truncate(most);
        self.injure(&victims);
        for name in &names {
            self.read(name, "right behind the rot");
        }
        self.wait_for_repair(&names);
        self.nothing_rotten_was_counted_again();
        for name in &names {
            self.read(name, "after the repair");
        }
        let status = self.network.status();
        let again = |(place, _): &&(Place, usize)| {
            self.places(&status, &place.0).iter().any(|(other, _)| other == place)
        };
        self.whole_again += victims.iter().filter(again).count();
        victims.len()
    }

    /// Lets each of them rot, each way in its turn.
    fn injure(&mut self, victims: &[(Place, usize)]) {
        let files: Vec<PathBuf> =
            victims.iter().map(|(place, holder)| self.file(*holder, &self.roots[place])).collect();
        for (place, holder) in victims {
            let did = self.network.holders[*holder].as_ref().unwrap().did.clone();
            *self.hits.entry((did, self.roots[place].clone())).or_default() += 1;
        }
        let mut left = files.as_slice();
        for turn in 0_u32.. {
            let rot = match (turn % 3, left) {
                (_, []) => return,
                (0, [one, other, ..]) => {
                    let (ours, others) = (fs::read(one).unwrap(), fs::read(other).unwrap());
                    fs::write(one, others).unwrap();
                    fs::write(other, ours).unwrap();
                    left = &left[1..];
                    Rot::Swap
                }
                (1, [file, ..]) => {
                    let length = fs::metadata(file).unwrap().len();
                    let kept = self.rng.below(length);
                    fs::File::options().write(true).open(file).unwrap().set_len(kept).unwrap();
                    Rot::Truncation
                }
                (_, [file, ..]) => {
                    let mut bytes = fs::read(file).unwrap();
                    let at = usize::try_from(self.rng.below(bytes.len() as u64)).unwrap();
                    bytes[at] ^= 1 << self.rng.below(8);
                    fs::write(file, bytes).unwrap();
                    Rot::Bit
                }
            };
            left = &left[1..];
            *self.rots.entry(rot).or_default() += if rot == Rot::Swap { 2 } else { 1 };
        }
    }

    fn read(&self, name: &str, when: &str) {
        let read = self.network.get(name).unwrap_or_else(|why| panic!("{name} {when}: {why}"));
        assert!(read == self.objects[name], "{name} {when}: a reader got something else");
    }

    /// A holder that owned up to its loss is not believed to have that shard until it was sent it anew.
    fn nothing_rotten_was_counted_again(&self) {
        let listed = self.network.storage(&["evidence"]);
        let mut lost = BTreeMap::<(String, String), usize>::new();
        for line in text(&listed).lines().filter(|line| line.contains("\"admits\":true")) {
            let account: serde_json::Value = serde_json::from_str(line).unwrap();
            let said = |name: &str| account[name].as_str().unwrap().to_owned();
            *lost.entry((said("holder"), said("root"))).or_default() += 1;
        }
        for (shard, times) in lost {
            let hit = self.hits.get(&shard).copied().unwrap_or(0);
            assert!(times <= hit, "{shard:?} was lost {times} times, and hit {hit} times");
        }
    }

    /// Until each shard that the owner counts is whole on its holder's disk, and of each object there are enough. What was
    /// hit and is not counted was found; what was hit and is counted was stored anew.
    fn wait_for_repair(&mut self, names: &[String]) {
        let mut new = Vec::new();
        self.network.wait_long_for("all rots to be found and repaired", |status| {
            new.clear();
            for name in names {
                let places = self.places(status, name);
                if places.len() <= usize::from(Profile::SMALL.repair_line()) {
                    return None;
                }
                for (place, holder) in places {
                    match self.roots.get(&place) {
                        Some(root) if !is_whole(&self.file(holder, root), self.objects[name].len()) => {
                            return None;
                        }
                        Some(_) => {}
                        None => new.push((place, holder)),
                    }
                }
            }
            Some(())
        });
        new.iter().for_each(|(place, holder)| self.learn(place, *holder));
    }
}

/// Whether a file is a shard of an object of this length, and what its name says. Behind the payload is the hash of each
/// group.
fn is_whole(file: &Path, object_bytes: usize) -> bool {
    let stream = StreamShape::new(Sealing::Aes256Gcm, object_bytes as u64).unwrap();
    let shape = SegmentShape::new(Profile::SMALL, stream.sealed_bytes()).unwrap();
    let payload = usize::try_from(shape.shard_bytes()).unwrap();
    let Ok(bytes) = fs::read(file) else { return false };
    if bytes.len() != payload + 32 * payload.div_ceil(GROUP_BYTES) {
        return false;
    }
    let (payload, hashes) = bytes.split_at(payload);
    let tree = HashTree::of(payload).unwrap();
    tree.to_bytes() == hashes && file.ends_with(tree.root().to_string())
}

/// `cargo xtask bench rots` plays more: `BLACKHOLE_ROTS` says how many, `BLACKHOLE_SEEDS` by which seed.
#[test]
fn rots_are_never_read_and_always_repaired() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let wanted = number("BLACKHOLE_ROTS").map(|wanted| usize::try_from(wanted).unwrap());
    let mut run = Run::new(number("BLACKHOLE_SEEDS").unwrap_or(1));
    let mut injected = run.round(wanted.unwrap_or(usize::MAX));
    assert!(injected >= 4, "each way once, and a swap is two");
    while let Some(left) = wanted.map(|wanted| wanted.saturating_sub(injected)).filter(|left| *left > 0) {
        injected += run.round(left);
        println!("{injected} rots: {:?}", run.rots);
    }
    println!(
        "{injected} rots ({:?}): none was read, all were found; {} of the shards lie whole with a holder again, and each object \
         has more than repair waits for",
        run.rots, run.whole_again
    );
}
