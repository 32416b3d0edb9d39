//! A storage network over weeks: holders live and die, alone and with their operator or their network, and one node
//! watches segments and has them rebuilt.
//!
//! It drives the product's `Repair` and its placement; what is played is who dies, how long it takes to be noticed and
//! how long a rebuild takes. No bytes move. The outcome is held against `Durability`, the formula that a bucket's
//! declared figure comes from.

use core::{net::Ipv4Addr, time::Duration};
use std::collections::{BTreeMap, BTreeSet};

use shared::{
    base::{Instant, SeededRng, SegmentId},
    identity::{Keypair, PublicKey},
    storage::{
        durability::{Durability, Measured},
        erasure::{Profile, SegmentShape},
        placement::{Holder, HolderKind, Need, Network, place},
        repair::{Event, Rebuild, Repair, Terms},
    },
};

use crate::clock::Agenda;

/// Autonomous systems, in equal parts.
const SYSTEMS: u32 = 40;
/// Regions, in equal parts.
const REGIONS: u32 = 12;
/// Nodes of an operator.
const NODES: u32 = 2;
/// From death to the end of its leases.
const NOTICED_AFTER: Duration = Duration::from_secs(3600);
/// What a rebuild takes at most; it takes at least half of it.
const REBUILT_WITHIN: Duration = Duration::from_secs(900);
/// One rebuild of so many fails half-way.
const REBUILDS_TO_A_FAILURE: u64 = 20;
const DAY: f64 = 86_400.0;

/// How large a run is, and what goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Segments watched.
    pub segments: u32,
    /// How they are cut.
    pub profile: Profile,
    /// Holders alive at any time: who dies is replaced by a stranger.
    pub holders: u32,
    /// How long a holder lives, in the mean.
    pub lifetime_days: f64,
    /// How long it is watched.
    pub days: u32,
    /// Whether operators die whole, and an autonomous system vanishes half-way.
    pub correlated: bool,
}

impl Plan {
    /// A month, as the promise has it.
    pub const FULL: Self = Self {
        segments: 10_000,
        profile: Profile::WIDE,
        holders: 400,
        lifetime_days: 60.0,
        days: 30,
        correlated: true,
    };
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Segments that could not be read at some time.
    pub lost: u32,
    /// Rebuilds that stored something.
    pub rebuilds: u64,
    /// Bytes that repairs sent, for each byte stored.
    pub sent: f64,
    /// The same by the formula.
    pub formula: f64,
    /// The fewest shards that any segment had.
    pub fewest: u16,
    /// Rules that were broken.
    pub violations: Vec<String>,
}

enum What {
    Dies(u32),
    Noticed(PublicKey),
    Ends(Rebuild),
    SystemVanishes,
    Wakes,
}

struct Run {
    plan: Plan,
    rng: SeededRng,
    agenda: Agenda<What>,
    repair: Repair,
    /// When time is told to it next.
    wakes: Option<Instant>,
    /// Who is alive, by number.
    alive: BTreeMap<u32, Holder>,
    next: u32,
    outcome: Outcome,
}

/// Plays `plan`; one seed replays it.
pub fn run(plan: Plan, seed: u64) -> Outcome {
    let outcome =
        Outcome { lost: 0, rebuilds: 0, sent: 0.0, formula: 0.0, fewest: u16::MAX, violations: Vec::new() };
    let repair = Repair::new(Terms { price_max: 100, reputation_min: 0 });
    let rng = SeededRng::from_number(seed);
    let mut run = Run {
        plan,
        rng,
        agenda: Agenda::default(),
        repair,
        wakes: None,
        alive: BTreeMap::new(),
        next: 0,
        outcome,
    };
    (0..plan.holders).for_each(|_| run.join());
    (0..plan.segments).for_each(|number| run.store(number));
    let end = Instant::from_micros(u64::from(plan.days) * 86_400_000_000);
    if plan.correlated {
        run.agenda.note(Instant::from_micros(end.as_micros() / 2), What::SystemVanishes);
    }
    while let Some(what) = run.agenda.next_until(end) {
        run.happen(what);
        run.drain();
    }
    run.conclude()
}

impl Run {
    fn join(&mut self) {
        let number = self.next;
        self.next += 1;
        let mut secret = [1; 32];
        secret[..4].copy_from_slice(&number.to_le_bytes());
        let mut operator = [2; 32];
        operator[..4].copy_from_slice(&(number / NODES).to_le_bytes());
        let holder = Holder {
            node: Keypair::from_secret(secret).public(),
            operator: Keypair::from_secret(operator).public(),
            network: Network::of(Ipv4Addr::from_bits(number << 8).into()),
            region: u16::try_from(number % REGIONS).expect("there are few"),
            autonomous_system: number % SYSTEMS,
            free_bytes: (1 + self.rng.below(64)) << 30,
            price: 1 + self.rng.below(100),
            reputation: 500 + u16::try_from(self.rng.below(500)).expect("below 500"),
            passed_audits: 1000,
            kind: HolderKind::Supernode,
        };
        let lives = -(1.0 - self.rng.unit()).ln() * self.plan.lifetime_days * DAY;
        let dies = self.agenda.now() + Duration::from_secs_f64(lives);
        self.agenda.note(dies, What::Dies(number));
        self.repair.handle_holder(holder.clone());
        self.alive.insert(number, holder);
    }

    fn store(&mut self, number: u32) {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let shape = SegmentShape::new(self.plan.profile, 64 << 20).expect("a lawful segment");
        let need = Need {
            profile: self.plan.profile,
            shards: self.plan.profile.total_shards(),
            spares: 0,
            shard_bytes: shape.shard_bytes(),
            price_max: 100,
            reputation_min: 0,
        };
        let placement = place(SegmentId(id), &need, [], self.alive.values());
        if placement.missing > 0 {
            self.outcome.violations.push(format!("no place for {} shards: {placement:?}", placement.missing));
        }
        let shards: Vec<_> = (0..).zip(placement.chosen.iter().map(|holder| holder.node.clone())).collect();
        let watched = self.repair.watch(SegmentId(id), shape, self.plan.profile.repair_line(), &shards);
        watched.expect("each segment is watched once");
    }

    fn happen(&mut self, what: What) {
        let now = self.agenda.now();
        match what {
            What::Dies(number) => {
                // An operator that gives up takes all its nodes along, one time in ten.
                let operator = number / NODES * NODES;
                let along = self.plan.correlated && self.rng.below(10) == 0;
                let dying = if along { operator..operator + NODES } else { number..number + 1 };
                dying.for_each(|number| self.die(number));
            }
            What::SystemVanishes => {
                let system = u32::try_from(self.rng.below(SYSTEMS.into())).expect("there are few");
                let dying: Vec<u32> =
                    self.alive.keys().copied().filter(|number| number % SYSTEMS == system).collect();
                dying.into_iter().for_each(|number| self.die(number));
            }
            What::Noticed(node) => {
                self.repair.handle_holder_gone(&node);
                self.join();
            }
            What::Ends(rebuild) => self.end(&rebuild),
            What::Wakes => {
                self.wakes = None;
                self.repair.handle_time(now);
            }
        }
    }

    fn die(&mut self, number: u32) {
        if let Some(holder) = self.alive.remove(&number) {
            self.agenda.note(self.agenda.now() + NOTICED_AFTER, What::Noticed(holder.node));
        }
    }

    /// The targets that are still alive have their shard, unless the rebuild broke off; it needed k living sources.
    fn end(&mut self, rebuild: &Rebuild) {
        let living: BTreeSet<&PublicKey> = self.alive.values().map(|holder| &holder.node).collect();
        let data = self.plan.profile.data_shards();
        let sources = rebuild.sources.iter().filter(|(_, node)| living.contains(node)).count();
        let mut stored: Vec<_> =
            rebuild.targets.iter().filter(|(_, node)| living.contains(node)).cloned().collect();
        if sources < usize::from(data) {
            stored.clear();
        } else if self.rng.below(REBUILDS_TO_A_FAILURE) == 0 {
            stored.truncate(stored.len() / 2);
        }
        if !stored.is_empty() {
            self.outcome.rebuilds += 1;
            let blocks = f64::from(data) + f64::from(u16::try_from(stored.len()).expect("at most 128"));
            self.outcome.sent += blocks / f64::from(data) / f64::from(self.plan.segments);
        }
        self.repair.handle_rebuilt(self.agenda.now(), rebuild.id, &stored);
        self.judge(rebuild.segment);
    }

    /// No rule of independence is broken by what was added.
    fn judge(&mut self, segment: SegmentId) {
        let holders: Vec<&Holder> = self.repair.shards(segment).map(|(_, holder)| holder).collect();
        let operators: BTreeSet<_> = holders.iter().map(|holder| &holder.operator).collect();
        let share = usize::from(self.plan.profile.total_shards()) / 5;
        let crowded = |of: &dyn Fn(&Holder) -> u32| {
            let mut count = BTreeMap::<u32, usize>::new();
            holders.iter().for_each(|holder| *count.entry(of(holder)).or_default() += 1);
            count.into_values().max().unwrap_or(0) > share
        };
        if operators.len() < holders.len() {
            self.outcome.violations.push(format!("{segment:?} has two shards with one operator"));
        }
        if crowded(&|holder| holder.region.into()) || crowded(&|holder| holder.autonomous_system) {
            self.outcome.violations.push(format!("{segment:?} has more than a fifth in one place"));
        }
    }

    fn drain(&mut self) {
        let now = self.agenda.now();
        while let Some(rebuild) = self.repair.poll_rebuild(now) {
            let alive = self.repair.alive(rebuild.segment).unwrap_or(0);
            self.outcome.fewest = self.outcome.fewest.min(alive);
            let half = u64::try_from(REBUILT_WITHIN.as_micros() / 2).expect("a quarter of an hour");
            let takes = Duration::from_micros(half + self.rng.below(half));
            self.agenda.note(now + takes, What::Ends(rebuild));
        }
        while let Some(event) = self.repair.poll_event() {
            if let Event::Lost { segment } = event {
                self.outcome.lost += 1;
                self.outcome.violations.push(format!("{segment:?} was lost"));
            }
        }
        if let Some(deadline) =
            self.repair.poll_deadline().filter(|deadline| self.wakes.is_none_or(|at| *deadline < at))
        {
            self.wakes = Some(deadline);
            self.agenda.note(deadline, What::Wakes);
        }
    }

    fn conclude(mut self) -> Outcome {
        let repair_seconds = (NOTICED_AFTER + REBUILT_WITHIN).as_secs_f64();
        let measured = Measured { holder_lifetime_seconds: self.plan.lifetime_days * DAY, repair_seconds };
        let durability = Durability::of(self.plan.profile, self.plan.profile.repair_line(), measured);
        let rate = durability.expect("a lawful line and times").repair_bytes_per_stored_byte_second();
        self.outcome.formula = rate * f64::from(self.plan.days) * DAY;
        self.outcome
    }
}
