//! Ways to answer for a shard that one has not got.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use shared::{
    base::{BlobRoot, SeededRng, blob::HashTree},
    identity::{Context, Keypair},
    storage::proof::{Challenge, answer},
    wire::storage as wire,
};

use super::{Shards, keypair};

const GROUP: usize = 16 * 1024;
/// Beacons that a liar prepares answers for.
const FORESEEN: usize = 1000;

/// What a holder is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nature {
    /// Keeps what it promised.
    Honest,
    /// Keeps nine of ten shards, and says nothing when asked about the tenth.
    DropsShards,
    /// Keeps nine of ten leaves of each shard and the last, and says nothing when asked for another.
    DropsLeaves,
    /// Passes the question on to another holder, and its answer back.
    PassesOn,
    /// The same, and signs what it gets itself.
    SignsAnothers,
    /// Has its shards far away, and cannot have them here in time.
    Fetches,
    /// Sends its first answer again.
    Repeats,
    /// The same, and signs it anew for the new question.
    SignsOld,
    /// Prepared answers to a thousand questions, and kept nothing else.
    Foretells,
}

impl Nature {
    /// All that lie.
    pub const LIARS: [Self; 8] = [
        Self::DropsShards,
        Self::DropsLeaves,
        Self::PassesOn,
        Self::SignsAnothers,
        Self::Fetches,
        Self::Repeats,
        Self::SignsOld,
        Self::Foretells,
    ];
}

pub(super) struct Holder {
    pub(super) key: Keypair,
    pub(super) nature: Nature,
    /// Of whom it asks what it does not have.
    accomplice: Keypair,
    /// Shards that it took, in order.
    taken: Vec<BlobRoot>,
    /// Its first answer about each.
    first: BTreeMap<BlobRoot, Vec<u8>>,
    foreseen: BTreeSet<[u8; 32]>,
}

impl Holder {
    pub(super) fn new(number: u8, nature: Nature, rng: &mut SeededRng) -> Self {
        let beacons = if nature == Nature::Foretells { FORESEEN } else { 0 };
        let mut beacon = || {
            let mut beacon = [0; 32];
            beacon.chunks_mut(8).for_each(|part| part.copy_from_slice(&rng.next_u64().to_le_bytes()));
            beacon
        };
        let foreseen = (0..beacons).map(|_| beacon()).collect();
        let (taken, first) = (Vec::new(), BTreeMap::new());
        Self { key: keypair(number), nature, accomplice: keypair(number ^ 1), taken, first, foreseen }
    }

    pub(super) fn take(&mut self, root: BlobRoot) {
        self.taken.push(root);
    }

    /// What it sends, and when; nothing where silence is the cleverest.
    pub(super) fn answer(
        &mut self,
        challenge: &Challenge,
        shards: &Shards,
        rng: &mut SeededRng,
    ) -> Option<(Vec<u8>, Duration)> {
        let (tree, shard) = &shards[&challenge.root];
        let groups: BTreeMap<u32, &[u8]> = (0..).zip(shard.chunks(GROUP)).collect();
        let honest = |holder: &Keypair| {
            let asked = Challenge { holder: holder.public(), ..challenge.clone() };
            answer(&asked, tree, &groups, holder)
        };
        let bytes = match self.nature {
            Nature::Honest | Nature::Fetches => honest(&self.key),
            Nature::DropsShards if self.dropped(challenge.root) => return None,
            Nature::DropsShards => honest(&self.key),
            Nature::DropsLeaves if misses(challenge, tree) => return None,
            Nature::DropsLeaves => honest(&self.key),
            Nature::PassesOn => honest(&self.accomplice),
            Nature::SignsAnothers => sign_for(challenge, &honest(&self.accomplice), &self.key),
            Nature::Repeats => self.first.entry(challenge.root).or_insert_with(|| honest(&self.key)).clone(),
            Nature::SignsOld => {
                let first = self.first.entry(challenge.root).or_insert_with(|| honest(&self.key));
                sign_for(challenge, first, &self.key)
            }
            Nature::Foretells if !self.foreseen.contains(&challenge.beacon) => return None,
            Nature::Foretells => honest(&self.key),
        };
        let millis = match self.nature {
            Nature::Fetches => 2000 + rng.below(2000),
            _ => 5 + rng.below(295),
        };
        Some((bytes, Duration::from_millis(millis)))
    }

    fn dropped(&self, root: BlobRoot) -> bool {
        self.taken.iter().position(|taken| *taken == root).is_some_and(|place| place % 10 == 0)
    }
}

/// Whether a leaf of the tenth that was dropped is asked for.
fn misses(challenge: &Challenge, tree: &HashTree) -> bool {
    let leaves = tree.shape().leaves();
    challenge.leaves(tree.shape()).iter().any(|leaf| leaf % 10 == 0 && leaf + 1 < leaves)
}

/// What an answer shows, under another signature, as an answer to this question.
fn sign_for(challenge: &Challenge, signed: &[u8], holder: &Keypair) -> Vec<u8> {
    let signed = wire::SignedProofAnswer::decode(signed).expect("a lawful answer");
    let mut answer = wire::ProofAnswer::decode(signed.answer.as_slice()).expect("a lawful answer");
    answer.beacon = challenge.beacon.to_vec();
    let answer = answer.encode_to_vec();
    let signature = holder.sign(Context::ShardProof, &answer).to_vec();
    wire::SignedProofAnswer { answer, holder: holder.public().to_bytes().to_vec(), signature }.encode_to_vec()
}
