//! Objects on strangers: an owner uploads, reads, audits and repairs over holders of which some are slow, some die and
//! some lie. It drives the product's machines with real shards, leases, proofs and codes; played are the holders, the
//! time things take and what gets lost on the way.
//!
//! Rules that every run keeps:
//! - what was acknowledged can be read, equal to what was stored, at any time that k of its shards are intact, which is
//!   always;
//! - each liar that held a shard is named, with evidence where it signed, and each named is one;
//! - each upload ends once, and each effect is begun once.

mod holder;
mod owner;

use core::time::Duration;
use std::collections::BTreeSet;

use shared::{
    base::{Instant, SeededRng, UnixSeconds},
    identity::PublicKey,
};

use crate::clock::Agenda;
pub(crate) use holder::advert;
use holder::{Holder, Nature};
use owner::{Owner, What};

/// How large a run is, and who takes part.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Objects uploaded, one after the other over the first day.
    pub objects: u32,
    /// Their length.
    pub bytes: u32,
    /// Holders in all, at most 200.
    pub holders: u8,
    /// Of them so many are slow,
    pub slow: u8,
    /// so many die,
    pub mortal: u8,
    /// so many are away for a day, one after the other, and come back with what they had,
    pub absent: u8,
    /// and so many lie, in three ways by turns.
    pub liars: u8,
    /// One question in so many gets lost.
    pub questions_to_a_loss: u64,
    /// How long it is played.
    pub days: u32,
}

impl Plan {
    /// A week with forty holders.
    pub const FULL: Self = Self {
        objects: 60,
        bytes: 200_000,
        holders: 40,
        slow: 4,
        mortal: 8,
        absent: 6,
        liars: 6,
        questions_to_a_loss: 20,
        days: 7,
    };
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Objects that were acknowledged.
    pub acknowledged: u32,
    /// Uploads that failed.
    pub failed: u32,
    /// Reads that came back equal.
    pub reads: u32,
    /// Audits that ended.
    pub audits: u32,
    /// Shards that were rebuilt.
    pub rebuilt: u32,
    /// Shards that counted again when their holder came back.
    pub returned: u32,
    /// Liars that held a shard.
    pub liars: u32,
    /// Of them those that were named.
    pub named: u32,
    /// The fewest intact shards of an acknowledged object at any time.
    pub fewest: u16,
    /// Rules that were broken.
    pub violations: Vec<String>,
}

/// A liar must be named within so many spans of audits after it took a shard.
const SPANS_TO_NAME: u32 = 4;
/// Each shard is asked about so often.
const AUDIT_EVERY: Duration = Duration::from_secs(6 * 3600);
const GONE_AFTER: Duration = Duration::from_secs(12 * 3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The wall clock at the beginning.
const BEGINNING: UnixSeconds = UnixSeconds(1_764_000_000);

fn unix(now: Instant) -> UnixSeconds {
    BEGINNING.plus(now.as_micros() / 1_000_000)
}

/// Plays `plan`; one seed replays it.
pub fn run(plan: Plan, seed: u64) -> Outcome {
    let mut rng = SeededRng::from_number(seed);
    let mut agenda = Agenda::default();
    let end = Instant::default() + DAY * plan.days;
    let mut natures: Vec<Nature> = (0..plan.holders).map(|number| nature(plan, number)).collect();
    rng.shuffle(&mut natures);
    let holders: Vec<Holder> =
        (0..).zip(natures).map(|(number, nature)| Holder::new(number, nature)).collect();
    for (index, _) in holders.iter().enumerate().filter(|(_, holder)| holder.nature == Nature::Mortal) {
        let lives = Duration::from_secs(rng.below((DAY * plan.days).as_secs() * 3 / 4));
        agenda.note(Instant::default() + lives, What::Dies(index));
    }
    let absent = holders.iter().enumerate().filter(|(_, holder)| holder.nature == Nature::Absent);
    for (turn, (index, _)) in (0..).zip(absent) {
        // After the uploads, and early enough to be back when all is read.
        let span = (DAY * (plan.days - 2)).saturating_sub(Duration::from_secs(3600));
        let leaves = Instant::default() + DAY + span * turn / u32::from(plan.absent);
        agenda.note(leaves, What::Dies(index));
        agenda.note(leaves + DAY, What::Returns(index));
    }
    for object in 0..plan.objects {
        let when = Instant::default() + Duration::from_secs(60 + rng.below(DAY.as_secs()));
        agenda.note(when, What::Put(object));
        for _ in 0..3 {
            let left = (DAY * plan.days).as_secs() - DAY.as_secs();
            agenda.note(when + Duration::from_secs(60 + rng.below(left)), What::Get(object));
        }
        // After all has been found out and rebuilt.
        agenda.note(end, What::Get(object));
    }
    agenda.note(Instant::default(), What::Adverts);
    let mut owner = Owner::new(plan, seed, rng, agenda, holders);
    owner.play(end);
    conclude(owner)
}

fn nature(plan: Plan, number: u8) -> Nature {
    let (slow, mortal) = (plan.slow, plan.slow + plan.mortal);
    let absent = mortal + plan.absent;
    match number {
        _ if number < slow => Nature::Slow,
        _ if number < mortal => Nature::Mortal,
        _ if number < absent => Nature::Absent,
        _ if number < absent + plan.liars => {
            [Nature::Forgets, Nature::Fakes, Nature::Cheats][usize::from((number - absent) % 3)]
        }
        _ => Nature::Honest,
    }
}

fn conclude(owner: Owner) -> Outcome {
    let (mut outcome, holders, named, took) = owner.finish();
    let key = |holder: &Holder| holder.key.public();
    let liars: BTreeSet<PublicKey> = holders.iter().filter(|holder| holder.nature.lies()).map(key).collect();
    for honest in named.difference(&liars) {
        outcome.violations.push(format!("{honest} was named a liar and is none"));
    }
    for liar in &liars {
        let Some(since) = took.get(liar) else { continue };
        outcome.liars += 1;
        if named.contains(liar) {
            outcome.named += 1;
        } else if *since > AUDIT_EVERY * SPANS_TO_NAME {
            outcome.violations.push(format!("{liar} lied for {since:?} and was never named"));
        }
    }
    outcome
}
