//! Holders of every nature, with real shards in memory.

use core::time::Duration;
use std::collections::BTreeMap;

use shared::{
    base::{BlobRoot, SeededRng, UnixSeconds, blob::HashTree},
    identity::{Keypair, PublicKey},
    storage::{
        holders::{HolderAdvert, Lease, vouch},
        placement::{HolderKind, Network},
        proof::{Challenge, answer},
    },
};

const GROUP: usize = 16 * 1024;
const ADVERT_LASTS_SECONDS: u64 = 3600;

/// What a holder is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    Honest,
    /// Keeps what it promised, and takes its time.
    Slow,
    /// Honest, until it vanishes.
    Mortal,
    /// Honest, and away for a day.
    Absent,
    /// Promises, keeps nothing, and says so when asked.
    Forgets,
    /// Promises, keeps half, and fills the rest with zeros.
    Fakes,
    /// Keeps everything for auditors, and sends readers other bytes.
    Cheats,
}

impl Nature {
    pub(super) const fn lies(self) -> bool {
        matches!(self, Self::Forgets | Self::Fakes | Self::Cheats)
    }
}

/// What a reader gets.
pub(super) enum Handed {
    Bytes(Vec<u8>),
    Lost,
}

pub(super) struct Holder {
    pub(super) key: Keypair,
    pub(super) nature: Nature,
    pub(super) alive: bool,
    number: u8,
    /// What is kept under each name, and its tree.
    shards: BTreeMap<BlobRoot, (HashTree, Vec<u8>)>,
}

impl Holder {
    pub(super) fn new(number: u8, nature: Nature) -> Self {
        let key = Keypair::from_secret([number + 1; 32]);
        Self { key, nature, alive: true, number, shards: BTreeMap::new() }
    }

    pub(super) fn advert(&self, now: UnixSeconds) -> HolderAdvert {
        advert(self.number, &self.key, now)
    }

    /// What an exchange with it takes.
    pub(super) fn takes(&self, rng: &mut SeededRng) -> Duration {
        let millis = 20 + rng.below(180);
        Duration::from_millis(if self.nature == Nature::Slow { millis * 40 } else { millis })
    }

    /// Keeps a shard, each in its own way, and promises to.
    pub(super) fn store(
        &mut self,
        now: UnixSeconds,
        root: BlobRoot,
        shard: &[u8],
        owner: &PublicKey,
        until: UnixSeconds,
    ) -> Vec<u8> {
        let kept = match self.nature {
            Nature::Forgets => None,
            Nature::Fakes => {
                let mut half = shard.to_vec();
                half[shard.len() / 2..].fill(0);
                Some(half)
            }
            _ => Some(shard.to_vec()),
        };
        if let Some(kept) = kept {
            self.shards.insert(root, (HashTree::of(&kept).expect("a shard is small"), kept));
        }
        let (bytes, owner) = (shard.len() as u64, owner.clone());
        Lease { root, bytes, owner, holder: self.key.public(), issued: now, until }.sign(&self.key)
    }

    /// Its lease ended.
    pub(super) fn drop_shard(&mut self, root: BlobRoot) {
        self.shards.remove(&root);
    }

    pub(super) fn hand_out(&self, root: BlobRoot) -> Handed {
        match self.shards.get(&root) {
            None => Handed::Lost,
            Some((_, shard)) if self.nature == Nature::Cheats => {
                let mut other = shard.clone();
                other[0] ^= 1;
                Handed::Bytes(other)
            }
            Some((_, shard)) => Handed::Bytes(shard.clone()),
        }
    }

    pub(super) fn prove(&self, challenge: &Challenge) -> Vec<u8> {
        let Some((tree, shard)) = self.shards.get(&challenge.root) else {
            let nothing = HashTree::of(b"").expect("nothing is small");
            return answer(challenge, &nothing, &BTreeMap::new(), &self.key);
        };
        answer(challenge, tree, &(0..).zip(shard.chunks(GROUP)).collect(), &self.key)
    }

    /// Whether the shard is there for a reader, whatever is said.
    pub(super) fn has(&self, root: BlobRoot) -> bool {
        let intact = |(tree, _): &(HashTree, Vec<u8>)| tree.root() == root;
        self.alive && self.nature != Nature::Cheats && self.shards.get(&root).is_some_and(intact)
    }
}

/// What holder `number` of a network says of itself: each is another operator's, in a network of its own.
pub(crate) fn advert(number: u8, key: &Keypair, now: UnixSeconds) -> HolderAdvert {
    let mut secret = [0xee; 32];
    secret[0] = number;
    let operator = Keypair::from_secret(secret);
    let advert = HolderAdvert {
        node: key.public(),
        operator_signature: vouch(&operator, &key.public()),
        operator: operator.public(),
        sequence: now.0,
        issued: now,
        expires: now.plus(ADVERT_LASTS_SECONDS),
        free_bytes: 1 << 30,
        price: 1,
        network: Network::V4([10, 0, number]),
        region: u16::from(number % 10),
        autonomous_system: u32::from(number % 13),
        kind: HolderKind::Supernode,
        software: "sim".to_owned(),
        claimed_audits: 0,
        addresses: Vec::new(),
    };
    HolderAdvert::open(&advert.sign(key)).expect("our own advert is lawful")
}
