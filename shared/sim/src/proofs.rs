//! A day of audits among holders that lie about what they keep, and honest ones on bad lines.
//!
//! It drives the product's `Custody`, its questions and its proofs, over real shards; played are the holders, and what
//! gets lost on the way. A liar does the cleverest it can: where it cannot answer, it says nothing.
//!
//! Rules that every run keeps: each liar is dismissed within the day, and nobody else is.
//!
//! Not here: who holds nothing and fetches what is asked for from k other holders. It answers truly, and only a deadline
//! that its line cannot keep tells it from one who has the shard.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use shared::{
    base::{Instant, SeededRng, UnixSeconds, blob::HashTree},
    identity::{Keypair, PublicKey},
    storage::{
        custody::{Custody, Event, Policy, Question, Rhythm},
        erasure::{Profile, SegmentShape},
        holders::{HolderAdvert, vouch},
        placement::{HolderKind, Network},
        proof::{Challenge, answer},
        record::SegmentRecord,
        repair::Terms,
    },
};

use crate::clock::Agenda;

/// Of each nature so many.
const OF_A_NATURE: u8 = 3;
const NATURES: [Nature; 6] = [
    Nature::Honest,
    Nature::Honest,
    Nature::DropsTenthOfEach,
    Nature::DropsTenth,
    Nature::Replays,
    Nature::Precomputes,
];
/// Twelve shards each: a holder of the eighteen has some twenty-seven.
const SEGMENTS: u64 = 40;
const SEGMENT_BYTES: u64 = 160_000;
const GROUP: usize = 16 * 1024;
const AUDIT_EVERY: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Of a hundred messages so many get lost, each way.
const LOST_OF_A_HUNDRED: u64 = 5;
/// Answers that a liar of foresight keeps for each shard, and draws that it computes ahead.
const KEPT_ANSWERS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Honest,
    /// Keeps nine leaves of ten of each shard.
    DropsTenthOfEach,
    /// Keeps nine shards of ten.
    DropsTenth,
    /// Keeps the answers of its first hours, and lets the shards go; sends the one of the same shard again.
    Replays,
    /// Computed answers to questions that it expected, and let the shards go.
    Precomputes,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Audits that ended.
    pub audits: u64,
    /// Holders that lie.
    pub liars: u32,
    /// Of them those that were dismissed,
    pub caught: u32,
    /// and when the last of them was.
    pub last_caught: Duration,
    /// Honest holders.
    pub honest: u32,
    /// The fewest audits that an honest one went through.
    pub fewest_audits: u64,
    /// Rules that were broken.
    pub violations: Vec<String>,
}

struct Shard {
    tree: HashTree,
    bytes: Vec<u8>,
}

struct Holder {
    key: Keypair,
    nature: Nature,
    /// Answers by shard, as a liar keeps them.
    kept: BTreeMap<[u8; 32], Vec<Vec<u8>>>,
}

enum What {
    Answer { question: Question, answer: Vec<u8> },
    Wakes,
}

/// Plays a day; one seed replays it.
pub fn run(seed: u64) -> Outcome {
    let mut rng = SeededRng::from_number(seed);
    let mut holders: BTreeMap<PublicKey, Holder> = BTreeMap::new();
    let mut secret = [5; 32];
    for number in 0..u8::try_from(NATURES.len()).expect("a few") * OF_A_NATURE {
        secret[..8].copy_from_slice(&(seed * 1000 + u64::from(number)).to_le_bytes());
        let (key, nature) = (Keypair::from_secret(secret), NATURES[usize::from(number / OF_A_NATURE)]);
        holders.insert(key.public(), Holder { key, nature, kept: BTreeMap::new() });
    }
    secret[31] = 6;
    let policy = Policy {
        terms: Terms { price_max: 100, reputation_min: 0 },
        rhythm: Rhythm { audit_every: AUDIT_EVERY, gone_after: DAY * 2 },
        vetting_audits: 0,
    };
    let mut custody = Custody::new(policy, secret);
    for (number, holder) in (0..).zip(holders.values()) {
        custody.handle_advert(Instant::default(), &advert(number, &holder.key));
    }
    let mut shards = BTreeMap::new();
    for _ in 0..SEGMENTS {
        store(&mut custody, &mut shards, &holders, &mut rng);
    }
    play(custody, holders, &shards, &mut rng)
}

fn advert(number: u8, key: &Keypair) -> HolderAdvert {
    HolderAdvert {
        node: key.public(),
        operator: key.public(),
        operator_signature: vouch(key, &key.public()),
        sequence: 1,
        issued: UnixSeconds(1),
        expires: UnixSeconds(2),
        free_bytes: 1 << 30,
        price: 1,
        network: Network::V4([10, 0, number]),
        region: number.into(),
        autonomous_system: number.into(),
        kind: HolderKind::Supernode,
        software: String::new(),
        claimed_audits: 0,
        addresses: Vec::new(),
    }
}

/// Shards with twelve of the holders. Their bytes are as random as coded ones are; no code is needed to audit them.
fn store(
    custody: &mut Custody,
    shards: &mut BTreeMap<[u8; 32], Shard>,
    holders: &BTreeMap<PublicKey, Holder>,
    rng: &mut SeededRng,
) {
    let shape = SegmentShape::new(Profile::SMALL, SEGMENT_BYTES).expect("a lawful segment");
    let roots = (0..12).map(|_| {
        let words = (0..shape.shard_bytes().div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes());
        let bytes: Vec<u8> = words.take(usize::try_from(shape.shard_bytes()).expect("small")).collect();
        let tree = HashTree::of(&bytes).expect("a shard is small");
        let root = tree.root();
        shards.insert(root.0, Shard { tree, bytes });
        root
    });
    let record = SegmentRecord::new(shape, roots.collect()).expect("a root each");
    let mut names: Vec<PublicKey> = holders.keys().cloned().collect();
    rng.shuffle(&mut names);
    // No line to repair at: nothing moves in this scenario.
    let watched = custody.watch(Instant::default(), record, 0, &(0..12).zip(names).collect::<Vec<_>>());
    watched.expect("each is watched once");
}

fn play(
    mut custody: Custody,
    mut holders: BTreeMap<PublicKey, Holder>,
    shards: &BTreeMap<[u8; 32], Shard>,
    rng: &mut SeededRng,
) -> Outcome {
    let mut agenda = Agenda::default();
    let (mut outcome, mut caught) = (Outcome::default(), BTreeSet::new());
    let end = Instant::default() + DAY;
    agenda.note(Instant::default(), What::Wakes);
    let mut wakes = Some(Instant::default());
    while let Some(what) = agenda.next_until(end) {
        let now = agenda.now();
        match what {
            What::Answer { question, answer } => custody.handle_answer(now, question.id, &answer),
            What::Wakes => {
                wakes = None;
                custody.handle_time(now);
            }
        }
        loop {
            let beacon: Vec<u8> = (0..4).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
            let beacon = beacon.try_into().expect("four words");
            let Some(question) = custody.poll_question(now, &beacon) else { break };
            let lost = (0..2).any(|_| rng.below(100) < LOST_OF_A_HUNDRED);
            let holder = holders.get_mut(&question.challenge.holder).expect("a holder of ours");
            let said = respond(holder, &question.challenge, shards, now, rng);
            if let Some(answer) = said.filter(|_| !lost) {
                let takes = Duration::from_millis(40 + rng.below(300));
                agenda.note(now + takes, What::Answer { question, answer });
            }
        }
        while let Some(event) = custody.poll_event() {
            match event {
                Event::Audited { .. } => outcome.audits += 1,
                Event::Dismissed { holder, standing } if holders[&holder].nature == Nature::Honest => {
                    outcome.violations.push(format!("honest {holder} was dismissed: {standing}"));
                }
                Event::Dismissed { holder, .. } => {
                    outcome.last_caught = now.since(Instant::default());
                    caught.insert(holder);
                }
                _ => {}
            }
        }
        if let Some(deadline) = custody.poll_deadline().filter(|next| wakes.is_none_or(|at| *next < at)) {
            wakes = Some(deadline);
            agenda.note(deadline, What::Wakes);
        }
    }
    outcome.fewest_audits = u64::MAX;
    for (name, holder) in &holders {
        if holder.nature == Nature::Honest {
            outcome.honest += 1;
            outcome.fewest_audits = outcome.fewest_audits.min(custody.standing(name).held());
            continue;
        }
        outcome.liars += 1;
        if caught.contains(name) {
            outcome.caught += 1;
        } else {
            let standing = custody.standing(name);
            outcome.violations.push(format!("{name} {:?} and was not dismissed: {standing}", holder.nature));
        }
    }
    outcome
}

/// What a holder says, if anything.
fn respond(
    holder: &mut Holder,
    challenge: &Challenge,
    shards: &BTreeMap<[u8; 32], Shard>,
    now: Instant,
    rng: &mut SeededRng,
) -> Option<Vec<u8>> {
    let root = challenge.root.0;
    let shard = &shards[&root];
    let truth = |challenge: &Challenge, key: &Keypair| {
        let groups = (0..).zip(shard.bytes.chunks(GROUP)).collect();
        answer(challenge, &shard.tree, &groups, key)
    };
    let leaves = challenge.leaves(shard.tree.shape());
    match holder.nature {
        Nature::Honest => Some(truth(challenge, &holder.key)),
        Nature::DropsTenthOfEach => {
            let all = shard.tree.shape().leaves();
            // The last leaf is asked for each time, so it is not among those that go.
            let dropped = all - 1 - all / 10..all - 1;
            (!leaves.iter().any(|leaf| dropped.contains(leaf))).then(|| truth(challenge, &holder.key))
        }
        Nature::DropsTenth => {
            // An empty list stands for a shard that went: each tenth that is asked about.
            let goes = holder.kept.len() % 10 == 5;
            let kept = holder.kept.entry(root).or_insert_with(|| vec![Vec::new(); usize::from(!goes)]);
            (!kept.is_empty()).then(|| truth(challenge, &holder.key))
        }
        Nature::Replays => {
            let kept = holder.kept.entry(root).or_default();
            if now < Instant::default() + AUDIT_EVERY * 4 {
                let said = truth(challenge, &holder.key);
                kept.push(said.clone());
                return Some(said);
            }
            kept.last().cloned()
        }
        Nature::Precomputes => {
            let kept = holder.kept.entry(root).or_default();
            if kept.is_empty() {
                kept.extend((0..KEPT_ANSWERS).map(|_| {
                    let mut beacon = [0; 32];
                    beacon[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
                    truth(&Challenge { beacon, ..challenge.clone() }, &holder.key)
                }));
            }
            kept.first().cloned()
        }
    }
}
