//! Audits of holders that lie about what they keep, in every way that is known, and of honest ones on a bad line. It
//! drives the product's `Custody` with real shards, proofs and signatures; played are the holders, and what gets lost on
//! the way.
//!
//! Rules that every run keeps:
//! - an honest holder is never dismissed;
//! - who is dismissed for what it signed is convicted by that, in the eyes of anybody.
//!
//! Non-goals: telling a holder from one that has its shards at an accomplice's who answers as fast as a disk does. Where
//! the bytes lie no question can find out, and they are there.

mod liar;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use shared::{
    base::{BlobRoot, EffectId, Instant, SeededRng, UnixSeconds, blob::HashTree},
    identity::{Keypair, PublicKey},
    storage::{
        custody::{Custody, Event, Policy, Rhythm},
        erasure::{Profile, SegmentShape},
        proof::{Challenge, Opinion, Verdict},
        record::SegmentRecord,
        repair::{Rebuild, Terms},
    },
};

use crate::{clock::Agenda, objects::advert};
use liar::Holder;
pub use liar::Nature;

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Liars of each kind in one network; as many as all of them are honest. At most three.
    pub liars_of_a_kind: u8,
    /// Networks, one after the other.
    pub networks: u32,
    /// How long each is watched, unless all its liars are found out before.
    pub days: u32,
    /// Of a hundred messages so many get lost, on each way.
    pub lost_percent: u8,
}

impl Plan {
    /// Enough liars to tell one escape in a thousand.
    pub const LIARS: Self = Self { liars_of_a_kind: 3, networks: 1000, days: 1, lost_percent: 0 };
    /// Ten thousand audits of each honest holder.
    pub const HONEST: Self = Self { liars_of_a_kind: 0, networks: 1, days: 15, lost_percent: 5 };
}

/// What became of the holders of one nature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there were.
    pub holders: u32,
    /// Of them those that were dismissed.
    pub dismissed: u32,
    /// Audits of each until it was dismissed; of all of them where it was not.
    pub audits: Vec<u32>,
    /// Hours until the last of them was dismissed.
    pub hours: u64,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By nature.
    pub tallies: BTreeMap<Nature, Tally>,
    /// Rules that were broken.
    pub violations: Vec<String>,
}

/// Shards of each holder. A tenth of them is a whole number.
const SHARDS: usize = 30;
/// Each is asked about so often: together 720 questions a day, as many as of 720 shards by the rhythm that is usual.
const AUDIT_EVERY: Duration = Duration::from_secs(3600);
/// Honest holders, where nobody lies.
const HONEST: u8 = 12;
const PROFILE: Profile = Profile::SMALL;
/// Of a segment: twenty leaves a shard.
const SEGMENT_BYTES: u64 = 4 * 20 * 1024;
/// An advert is said again within it.
const ADVERTS_EVERY: Duration = Duration::from_secs(900);
const DAY: Duration = Duration::from_secs(86_400);
/// The wall clock at the beginning.
const BEGINNING: UnixSeconds = UnixSeconds(1_764_000_000);

/// Each shard there is, whoever has it.
type Shards = BTreeMap<BlobRoot, (HashTree, Vec<u8>)>;

enum What {
    Adverts,
    Asked(EffectId, Box<Challenge>),
    Answered(EffectId, Vec<u8>),
    Wakes,
}

struct Run {
    plan: Plan,
    rng: SeededRng,
    agenda: Agenda<What>,
    custody: Custody,
    holders: Vec<Holder>,
    numbers: BTreeMap<PublicKey, usize>,
    shards: Shards,
    wakes: Option<Instant>,
    audits: BTreeMap<PublicKey, u32>,
    convicted: BTreeSet<PublicKey>,
    dismissed: BTreeMap<PublicKey, Instant>,
    /// What each was told last, besides what went with questions.
    told: BTreeMap<PublicKey, Opinion>,
    outcome: Outcome,
}

/// Plays `plan`; one seed replays it.
pub fn run(plan: Plan, seed: u64) -> Outcome {
    let mut rng = SeededRng::from_number(seed);
    let mut outcome = Outcome::default();
    for _ in 0..plan.networks {
        let mut run = Run::new(plan, SeededRng::from_number(rng.next_u64()), outcome);
        run.play();
        outcome = run.conclude();
    }
    outcome
}

impl Run {
    fn new(plan: Plan, mut rng: SeededRng, outcome: Outcome) -> Self {
        let liars =
            Nature::LIARS.into_iter().flat_map(|nature| (0..plan.liars_of_a_kind).map(move |_| nature));
        // Every second is honest, so that no segment has more liars than shards to spare.
        let mut natures: Vec<Nature> = liars.flat_map(|liar| [Nature::Honest, liar]).collect();
        if natures.is_empty() {
            natures = (0..HONEST).map(|_| Nature::Honest).collect();
        }
        let holders: Vec<Holder> =
            (0..).zip(natures).map(|(number, nature)| Holder::new(number, nature, &mut rng)).collect();
        let numbers = holders.iter().enumerate().map(|(number, holder)| (holder.key.public(), number));
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
        let policy = Policy {
            terms: Terms { price_max: 100, reputation_min: 0 },
            rhythm: Rhythm { audit_every: AUDIT_EVERY, ..Rhythm::DEFAULT },
            vetting_audits: 0,
        };
        let mut run = Self {
            plan,
            rng,
            agenda: Agenda::default(),
            custody: Custody::new(policy, secret),
            numbers: numbers.collect(),
            holders,
            shards: Shards::new(),
            wakes: None,
            audits: BTreeMap::new(),
            convicted: BTreeSet::new(),
            dismissed: BTreeMap::new(),
            told: BTreeMap::new(),
            outcome,
        };
        run.advertise();
        run.store_all();
        run
    }

    /// Segments until each holder has its shards, and each liar does away with what it will not keep.
    fn store_all(&mut self) {
        let total = usize::from(PROFILE.total_shards());
        let shape = SegmentShape::new(PROFILE, SEGMENT_BYTES).expect("a lawful segment");
        let shard_bytes = usize::try_from(shape.shard_bytes()).expect("some KiB");
        for segment in 0..self.holders.len() * SHARDS / total {
            let (mut roots, mut places) = (Vec::new(), Vec::new());
            for place in 0..total {
                let words = (0..shard_bytes / 8).flat_map(|_| self.rng.next_u64().to_le_bytes());
                let bytes: Vec<u8> = words.collect();
                let tree = HashTree::of(&bytes).expect("a shard is small");
                let number = (segment * total + place) % self.holders.len();
                let holder = &mut self.holders[number];
                holder.take(tree.root());
                roots.push(tree.root());
                places.push((u16::try_from(place).expect("twelve"), holder.key.public()));
                self.shards.insert(tree.root(), (tree, bytes));
            }
            let record = SegmentRecord::new(shape, roots).expect("a root each");
            let watched = self.custody.watch(Instant::default(), record, PROFILE.repair_line(), &places);
            watched.expect("each segment is watched once");
        }
    }

    fn play(&mut self) {
        let end = Instant::default() + DAY * self.plan.days;
        self.agenda.note(Instant::default(), What::Adverts);
        let liars = self.holders.iter().filter(|holder| holder.nature != Nature::Honest).count();
        // Once all are found out there is nothing left to see, where there was any.
        while liars == 0 || self.dismissed.len() < liars {
            let Some(what) = self.agenda.next_until(end) else { break };
            self.happen(what);
            self.drain();
        }
    }

    fn happen(&mut self, what: What) {
        let now = self.agenda.now();
        match what {
            What::Adverts => {
                self.advertise();
                self.agenda.note(now + ADVERTS_EVERY, What::Adverts);
            }
            What::Asked(id, challenge) => {
                let holder = &mut self.holders[self.numbers[&challenge.holder]];
                let Some((answer, takes)) = holder.answer(&challenge, &self.shards, &mut self.rng) else {
                    return;
                };
                if !self.is_lost() {
                    self.agenda.note(now + takes, What::Answered(id, answer));
                }
            }
            What::Answered(id, answer) => self.custody.handle_answer(now, id, &answer),
            What::Wakes => {
                self.wakes = None;
                self.custody.handle_time(now);
            }
        }
    }

    fn advertise(&mut self) {
        let now = self.agenda.now();
        let unix = BEGINNING.plus(now.as_micros() / 1_000_000);
        for (number, holder) in (0..).zip(&self.holders) {
            self.custody.handle_advert(now, &advert(number, &holder.key, unix));
        }
    }

    fn is_lost(&mut self) -> bool {
        self.rng.below(100) < self.plan.lost_percent.into()
    }

    fn drain(&mut self) {
        let now = self.agenda.now();
        loop {
            let mut beacon = [0; 32];
            beacon.chunks_mut(8).for_each(|part| part.copy_from_slice(&self.rng.next_u64().to_le_bytes()));
            let Some(question) = self.custody.poll_question(now, &beacon) else { break };
            if !self.is_lost() {
                let takes = Duration::from_millis(5 + self.rng.below(95));
                self.agenda.note(now + takes, What::Asked(question.id, Box::new(question.challenge)));
            }
        }
        while let Some((rebuild, record)) = self.custody.poll_rebuild(now) {
            let Rebuild { id, targets, .. } = rebuild;
            for (shard, node) in &targets {
                let root = record.root(*shard).expect("of the segment");
                self.holders[self.numbers[node]].take(root);
            }
            self.custody.handle_rebuilt(now, id, &targets);
        }
        while let Some(event) = self.custody.poll_event() {
            self.told(now, event);
        }
        let deadline = self.custody.poll_deadline();
        if let Some(deadline) = deadline.filter(|deadline| self.wakes.is_none_or(|at| *deadline < at)) {
            self.wakes = Some(deadline);
            self.agenda.note(deadline, What::Wakes);
        }
    }

    fn told(&mut self, now: Instant, event: Event) {
        match event {
            Event::Audited { holder, verdict, transcript, .. } => {
                *self.audits.entry(holder.clone()).or_default() += 1;
                if matches!(verdict, Verdict::Wrong(_)) {
                    if !transcript.is_some_and(|transcript| transcript.convicts()) {
                        self.outcome.violations.push(format!("{verdict:?} of {holder} convicts nobody"));
                    }
                    self.convicted.insert(holder);
                }
            }
            Event::Dismissed { holder, standing } => {
                let nature = self.holders[self.numbers[&holder]].nature;
                if nature == Nature::Honest {
                    self.outcome.violations.push(format!("honest {holder} was dismissed: {standing}"));
                }
                self.dismissed.insert(holder, now);
            }
            Event::Judged { holder, opinion } => {
                self.told.insert(holder, opinion);
            }
            Event::Gone { .. } | Event::Returned { .. } | Event::Superfluous { .. } | Event::Repair(_) => {}
        }
    }

    fn conclude(mut self) -> Outcome {
        for holder in &self.holders {
            let key: PublicKey = holder.key.public();
            let tally = self.outcome.tallies.entry(holder.nature).or_default();
            tally.holders += 1;
            tally.audits.push(self.audits.get(&key).copied().unwrap_or(0));
            if let Some(when) = self.dismissed.get(&key) {
                tally.dismissed += 1;
                tally.hours = tally.hours.max(when.as_micros().div_ceil(3_600_000_000));
            }
            let told = self.told.get(&key).is_some_and(Opinion::is_dismissed);
            if told != self.dismissed.contains_key(&key) {
                self.outcome.violations.push(format!("{key} was not told whether it is dismissed"));
            }
            if self.convicted.contains(&key) && holder.nature == Nature::Honest {
                self.outcome.violations.push(format!("honest {key} was convicted"));
            }
        }
        self.outcome
    }
}

/// A key of one of them.
fn keypair(number: u8) -> Keypair {
    Keypair::from_secret([number + 1; 32])
}
