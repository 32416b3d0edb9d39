//! The owner: drives the machines as a supernode does.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use shared::{
    base::{BlobRoot, EffectId, Instant, SeededRng, SegmentId, blob::HashTree},
    identity::{Keypair, PublicKey},
    storage::{
        custody::{self, Custody, Policy, Rhythm},
        erasure::{Profile, SegmentEncoder, StripeDecoder},
        holders::FailedAudit,
        placement::{Need, place},
        proof::{Challenge, Verdict},
        read::{self, FetchFailure, Read},
        record::SegmentRecord,
        repair::{self, Rebuild, Terms},
        upload::{self, Upload},
    },
};

use super::{
    AUDIT_EVERY, GONE_AFTER, Outcome, Plan,
    holder::{Handed, Holder},
    unix,
};
use crate::clock::Agenda;

const PROFILE: Profile = Profile::SMALL;
const TERMS: Terms = Terms { price_max: 100, reputation_min: 0 };
/// Until a dead holder's connection is given up.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const REBUILD_TAKES: Duration = Duration::from_secs(60);
const SPARES: u16 = 3;
/// What an owner leases for.
const LEASE_SECONDS: u64 = 30 * 86_400;

pub(super) enum What {
    Adverts,
    Dies(usize),
    Returns(usize),
    Put(u32),
    Get(u32),
    Store { object: u32, id: EffectId, shard: u16, holder: PublicKey },
    Fetch { read: u64, id: EffectId, shard: u16, holder: PublicKey },
    Asked { id: EffectId, challenge: Challenge },
    Rebuilt(Box<Rebuild>),
    Wakes,
}

struct Object {
    bytes: Vec<u8>,
    record: SegmentRecord,
    segment: SegmentId,
    shards: Vec<Vec<u8>>,
    upload: Option<Upload>,
    acknowledged: bool,
}

struct Reading {
    object: u32,
    read: Read,
    fetched: BTreeMap<u16, Vec<u8>>,
}

pub(super) struct Owner {
    plan: Plan,
    key: Keypair,
    rng: SeededRng,
    agenda: Agenda<What>,
    holders: Vec<Holder>,
    numbers: BTreeMap<PublicKey, usize>,
    custody: Custody,
    objects: BTreeMap<u32, Object>,
    readings: BTreeMap<u64, Reading>,
    next_reading: u64,
    segments: BTreeMap<SegmentId, u32>,
    wakes: Option<Instant>,
    named: BTreeSet<PublicKey>,
    took: BTreeMap<PublicKey, Instant>,
    outcome: Outcome,
}

impl Owner {
    pub(super) fn new(
        plan: Plan,
        seed: u64,
        rng: SeededRng,
        agenda: Agenda<What>,
        holders: Vec<Holder>,
    ) -> Self {
        let rhythm = Rhythm { audit_every: AUDIT_EVERY, gone_after: GONE_AFTER };
        let mut secret = [3; 32];
        secret[..8].copy_from_slice(&seed.to_le_bytes());
        let numbers = holders.iter().enumerate().map(|(number, holder)| (holder.key.public(), number));
        Self {
            plan,
            key: Keypair::from_secret([0xaa; 32]),
            rng,
            agenda,
            numbers: numbers.collect(),
            holders,
            custody: Custody::new(Policy { terms: TERMS, rhythm, vetting_audits: 0 }, secret),
            objects: BTreeMap::new(),
            readings: BTreeMap::new(),
            next_reading: 0,
            segments: BTreeMap::new(),
            wakes: None,
            named: BTreeSet::new(),
            took: BTreeMap::new(),
            outcome: Outcome { fewest: u16::MAX, ..Outcome::default() },
        }
    }

    /// Plays until `end`, and the reads that begin there to their end.
    pub(super) fn play(&mut self, end: Instant) {
        while let Some(what) = self.agenda.next_until(end) {
            self.happen(what);
            self.drain();
        }
        let late = end + Duration::from_secs(600);
        while !self.readings.is_empty() {
            let Some(what) = self.agenda.next_until(late) else { break };
            self.happen(what);
            self.drain();
        }
        for reading in self.readings.values() {
            self.outcome.violations.push(format!("a read of object {} never ended", reading.object));
        }
    }

    /// The outcome, who was there, who was named, and for how long each liar has had a shard.
    pub(super) fn finish(self) -> (Outcome, Vec<Holder>, BTreeSet<PublicKey>, BTreeMap<PublicKey, Duration>) {
        let now = self.agenda.now();
        let took = self.took.into_iter().map(|(holder, since)| (holder, now.since(since))).collect();
        (self.outcome, self.holders, self.named, took)
    }

    fn happen(&mut self, what: What) {
        let now = self.agenda.now();
        match what {
            What::Adverts => {
                for holder in &self.holders {
                    if holder.alive {
                        self.custody.handle_advert(now, &holder.advert(unix(now)));
                    } else {
                        self.custody.handle_advert_expired(&holder.key.public());
                    }
                }
                self.agenda.note(now + Duration::from_secs(1800), What::Adverts);
            }
            What::Dies(number) => {
                self.holders[number].alive = false;
                self.weigh();
            }
            What::Returns(number) => {
                self.holders[number].alive = true;
                self.custody.handle_advert(now, &self.holders[number].advert(unix(now)));
            }
            What::Put(object) => self.put(object),
            What::Get(object) => self.get(object),
            What::Store { object, id, shard, holder } => self.store(object, id, shard, &holder),
            What::Fetch { read, id, shard, holder } => self.fetch(read, id, shard, &holder),
            What::Asked { id, challenge } => {
                let holder = &self.holders[self.numbers[&challenge.holder]];
                if holder.alive {
                    let answer = holder.prove(&challenge);
                    self.custody.handle_answer(now, id, &answer);
                }
            }
            What::Rebuilt(rebuild) => self.rebuilt(&rebuild),
            What::Wakes => {
                self.wakes = None;
                self.custody.handle_time(now);
                for object in self.objects.values_mut() {
                    if let Some(upload) = &mut object.upload {
                        upload.handle_time(now);
                    }
                }
                self.readings.values_mut().for_each(|reading| reading.read.handle_time(now));
            }
        }
    }

    fn put(&mut self, number: u32) {
        let now = self.agenda.now();
        let bytes: Vec<u8> = (0..self.plan.bytes).map(|_| self.rng.next_u64().to_le_bytes()[0]).collect();
        let (mut encoder, mut shards) = (SegmentEncoder::new(PROFILE), vec![Vec::new(); 12]);
        for stripe in bytes.chunks(usize::try_from(PROFILE.stripe_bytes()).expect("it fits any usize")) {
            let each = |shard: u16, block: &[u8]| shards[usize::from(shard)].extend_from_slice(block);
            encoder.stripe(stripe, each).expect("stripes in order");
        }
        let (shape, trees) = encoder.finish().expect("a lawful segment");
        let roots = trees.iter().map(HashTree::root).collect();
        let record = SegmentRecord::new(shape, roots).expect("a root each");
        let (segment, _) = record.encode();
        let need = Need {
            profile: PROFILE,
            shards: PROFILE.total_shards(),
            spares: SPARES,
            shard_bytes: shape.shard_bytes(),
            price_max: TERMS.price_max,
            reputation_min: TERMS.reputation_min,
        };
        let placement = place(segment, &need, [], self.custody.holders());
        let chosen = (0..).zip(placement.chosen.iter().map(|holder| holder.node.clone())).collect();
        let spares = placement.spares.iter().map(|holder| holder.node.clone()).collect();
        let lease_until = unix(now).plus(LEASE_SECONDS);
        let (record_sent, owner) = (record.clone(), self.key.public());
        let upload =
            Upload::new(now, upload::Plan { record: record_sent, owner, lease_until, chosen, spares });
        self.segments.insert(segment, number);
        let object = Object { bytes, record, segment, shards, upload: Some(upload), acknowledged: false };
        self.objects.insert(number, object);
    }

    fn get(&mut self, number: u32) {
        let Some(object) = self.objects.get(&number).filter(|object| object.acknowledged) else { return };
        let holders: Vec<(u16, PublicKey)> = match &object.upload {
            Some(upload) => upload.held().map(|(shard, holder, _)| (shard, holder.clone())).collect(),
            None => {
                self.custody.shards(object.segment).map(|(shard, holder)| (shard, holder.clone())).collect()
            }
        };
        let read = Read::new(self.agenda.now(), PROFILE, 0..PROFILE.data_shards(), holders);
        self.readings.insert(self.next_reading, Reading { object: number, read, fetched: BTreeMap::new() });
        self.next_reading += 1;
    }

    fn store(&mut self, number: u32, id: EffectId, shard: u16, holder: &PublicKey) {
        let now = self.agenda.now();
        let object = self.objects.get_mut(&number).expect("it was put");
        let Some(upload) = &mut object.upload else { return };
        let holder = &mut self.holders[self.numbers[holder]];
        if !holder.alive {
            return upload.handle_failed(now, id);
        }
        let root = object.record.root(shard).expect("of the segment");
        let until = unix(now).plus(LEASE_SECONDS);
        let lease =
            holder.store(unix(now), root, &object.shards[usize::from(shard)], &self.key.public(), until);
        upload.handle_stored(now, id, &lease);
        self.took.entry(holder.key.public()).or_insert(now);
    }

    fn fetch(&mut self, number: u64, id: EffectId, shard: u16, holder: &PublicKey) {
        let now = self.agenda.now();
        let Some(reading) = self.readings.get_mut(&number) else { return };
        let holder = &self.holders[self.numbers[holder]];
        if !holder.alive {
            return reading.read.handle_failed(now, id, FetchFailure::Unavailable);
        }
        let root = self.objects[&reading.object].record.root(shard).expect("of the segment");
        match holder.hand_out(root) {
            Handed::Lost => reading.read.handle_failed(now, id, FetchFailure::Lost),
            Handed::Bytes(bytes) if is(&bytes, root) => {
                reading.fetched.insert(shard, bytes);
                reading.read.handle_fetched(now, id);
            }
            Handed::Bytes(_) => reading.read.handle_failed(now, id, FetchFailure::Wrong),
        }
    }

    /// The targets that are alive have their shard, as long as k sources are intact.
    fn rebuilt(&mut self, rebuild: &Rebuild) {
        let now = self.agenda.now();
        let object = &self.objects[&self.segments[&rebuild.segment]];
        let root = |shard: u16| object.record.root(shard).expect("of the segment");
        let intact = |(shard, node): &&(u16, PublicKey)| self.holders[self.numbers[node]].has(root(*shard));
        let sources = rebuild.sources.iter().filter(intact).count();
        let mut stored = Vec::new();
        if sources >= usize::from(PROFILE.data_shards()) {
            for (shard, node) in &rebuild.targets {
                let holder = &mut self.holders[self.numbers[node]];
                if holder.alive {
                    let until = unix(now).plus(LEASE_SECONDS);
                    let bytes = &object.shards[usize::from(*shard)];
                    holder.store(unix(now), root(*shard), bytes, &self.key.public(), until);
                    self.took.entry(node.clone()).or_insert(now);
                    stored.push((*shard, node.clone()));
                }
            }
        }
        self.outcome.rebuilt += u32::try_from(stored.len()).expect("at most 12");
        self.custody.handle_rebuilt(now, rebuild.id, &stored);
    }

    fn drain(&mut self) {
        let now = self.agenda.now();
        self.drain_uploads(now);
        self.drain_readings(now);
        loop {
            let mut beacon = [0; 32];
            beacon[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
            let Some(question) = self.custody.poll_question(now, &beacon) else { break };
            if self.rng.below(self.plan.questions_to_a_loss) > 0 {
                let takes = self.holders[self.numbers[&question.challenge.holder]].takes(&mut self.rng);
                // Proofs are small: a slow holder's line does not hold them up.
                let takes = takes.min(Duration::from_secs(1));
                let asked = What::Asked { id: question.id, challenge: question.challenge };
                self.agenda.note(now + takes, asked);
            }
        }
        while let Some((rebuild, _)) = self.custody.poll_rebuild(now) {
            self.agenda.note(now + REBUILD_TAKES, What::Rebuilt(Box::new(rebuild)));
        }
        while let Some(event) = self.custody.poll_event() {
            self.told(event);
        }
        let uploads = self.objects.values().filter_map(|object| object.upload.as_ref()?.poll_deadline());
        let readings = self.readings.values().filter_map(|reading| reading.read.poll_deadline());
        let deadline = uploads.chain(readings).chain(self.custody.poll_deadline()).min();
        if let Some(deadline) = deadline.filter(|deadline| self.wakes.is_none_or(|at| *deadline < at)) {
            self.wakes = Some(deadline);
            self.agenda.note(deadline, What::Wakes);
        }
    }

    fn drain_uploads(&mut self, now: Instant) {
        for (number, object) in &mut self.objects {
            let Some(upload) = &mut object.upload else { continue };
            while let Some(effect) = upload.poll_effect() {
                if let upload::Effect::Store { id, shard, holder, .. } = effect {
                    let played = &self.holders[self.numbers[&holder]];
                    let takes = if played.alive { played.takes(&mut self.rng) } else { CONNECT_WITHIN };
                    self.agenda.note(now + takes, What::Store { object: *number, id, shard, holder });
                }
            }
            let mut over = false;
            while let Some(event) = upload.poll_event() {
                match event {
                    upload::Event::Acknowledged { .. } if object.acknowledged => {
                        self.outcome.violations.push(format!("object {number} was acknowledged twice"));
                    }
                    upload::Event::Acknowledged { .. } => {
                        object.acknowledged = true;
                        self.outcome.acknowledged += 1;
                    }
                    upload::Event::Finished { .. } => over = true,
                    upload::Event::Failed { .. } => {
                        self.outcome.failed += 1;
                        over = true;
                    }
                    upload::Event::BadLease { holder, fault } => {
                        let what = format!("{holder} gave a bad lease: {fault}");
                        self.outcome.violations.push(what);
                    }
                }
            }
            if over {
                if object.acknowledged {
                    let held: Vec<_> =
                        upload.held().map(|(shard, holder, _)| (shard, holder.clone())).collect();
                    let watched =
                        self.custody.watch(now, object.record.clone(), PROFILE.repair_line(), &held);
                    watched.expect("each is watched once");
                }
                object.upload = None;
            }
        }
    }

    fn drain_readings(&mut self, now: Instant) {
        let mut ended = Vec::new();
        for (number, reading) in &mut self.readings {
            while let Some(effect) = reading.read.poll_effect() {
                if let read::Effect::Fetch { id, shard, holder } = effect {
                    let played = &self.holders[self.numbers[&holder]];
                    let takes = if played.alive { played.takes(&mut self.rng) } else { CONNECT_WITHIN };
                    self.agenda.note(now + takes, What::Fetch { read: *number, id, shard, holder });
                }
            }
            let object = &self.objects[&reading.object];
            while let Some(event) = reading.read.poll_event() {
                match event {
                    read::Event::Done { .. } => {
                        ended.push(*number);
                        if decode(object, &reading.fetched).as_ref() == Some(&object.bytes) {
                            self.outcome.reads += 1;
                        } else {
                            let what = format!("object {} was read as something else", reading.object);
                            self.outcome.violations.push(what);
                        }
                    }
                    read::Event::Failed { arrived, needed } => {
                        ended.push(*number);
                        let what = format!("object {}: {arrived} of {needed} shards", reading.object);
                        self.outcome.violations.push(what);
                    }
                    read::Event::Missing { shard, holder, lied } => {
                        self.named.insert(holder.clone());
                        self.custody.handle_missing(object.segment, shard, &holder, lied);
                    }
                }
            }
        }
        for number in ended {
            self.readings.remove(&number);
        }
    }

    fn told(&mut self, event: custody::Event) {
        match event {
            custody::Event::Audited { holder, verdict, transcript, .. } => {
                self.outcome.audits += 1;
                let caught = matches!(verdict, Verdict::Lost | Verdict::Wrong(_));
                if caught {
                    self.named.insert(holder.clone());
                }
                if let Some(transcript) = transcript {
                    let (auditor, observed) = (self.key.public(), unix(self.agenda.now()));
                    let evidence = FailedAudit { auditor, transcript, observed };
                    match FailedAudit::open(&evidence.sign(&self.key)) {
                        Ok(read) if read.convicts() == matches!(verdict, Verdict::Wrong(_)) => {}
                        other => {
                            let what = format!("{verdict:?} of {holder} is no evidence: {other:?}");
                            self.outcome.violations.push(what);
                        }
                    }
                }
            }
            custody::Event::Dismissed { holder, standing } => {
                let played = &self.holders[self.numbers[&holder]];
                if played.alive && !played.nature.lies() {
                    self.outcome.violations.push(format!("honest {holder} was dismissed: {standing}"));
                }
            }
            custody::Event::Judged { holder, opinion } => {
                // Who was dismissed while it was away is told when it is back; nobody else is.
                if opinion.is_dismissed() && !self.custody.standing(&holder).is_dismissed() {
                    self.outcome
                        .violations
                        .push(format!("{holder} was told that it is dismissed, and is not"));
                }
            }
            custody::Event::Gone { holder } => {
                if self.holders[self.numbers[&holder]].alive {
                    self.outcome.violations.push(format!("{holder} is there and was given up"));
                }
            }
            custody::Event::Returned { segment, shard, holder } => {
                self.outcome.returned += 1;
                let object = &self.objects[&self.segments[&segment]];
                let root = object.record.root(shard).expect("of the segment");
                if !self.holders[self.numbers[&holder]].has(root) {
                    self.outcome.violations.push(format!("{holder} counts again without its shard"));
                }
            }
            custody::Event::Superfluous { segment, shard, holder } => {
                let object = &self.objects[&self.segments[&segment]];
                let root = object.record.root(shard).expect("of the segment");
                self.holders[self.numbers[&holder]].drop_shard(root);
                self.weigh();
            }
            custody::Event::Repair(repair::Event::Lost { segment }) => {
                self.outcome.violations.push(format!("{segment:?} was lost"));
            }
            custody::Event::Repair(_) => self.weigh(),
        }
    }

    /// Whether each acknowledged object has its k intact shards, by what is really on the holders' disks.
    fn weigh(&mut self) {
        for (number, object) in self.objects.iter().filter(|(_, object)| object.acknowledged) {
            let has = |shard: &u16| {
                let root = object.record.root(*shard).expect("of the segment");
                self.holders.iter().any(|holder| holder.has(root))
            };
            let intact = (0..PROFILE.total_shards()).filter(has).count();
            let intact = u16::try_from(intact).expect("at most 12");
            self.outcome.fewest = self.outcome.fewest.min(intact);
            if intact < PROFILE.data_shards() {
                self.outcome.violations.push(format!("object {number} has {intact} intact shards"));
            }
        }
    }
}

fn is(bytes: &[u8], root: BlobRoot) -> bool {
    HashTree::of(bytes).is_ok_and(|tree| tree.root() == root)
}

fn slice(bytes: &[u8], range: core::ops::Range<u64>) -> &[u8] {
    &bytes[usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small")]
}

fn decode(object: &Object, fetched: &BTreeMap<u16, Vec<u8>>) -> Option<Vec<u8>> {
    let shape = object.record.shape();
    let (mut decoder, mut bytes) = (StripeDecoder::new(shape), Vec::new());
    for stripe in 0..shape.stripes() {
        let range = shape.block_range(stripe)?;
        let blocks = fetched.iter().map(|(shard, bytes)| (*shard, slice(bytes, range.clone()))).collect();
        decoder.decode(stripe, &blocks, &mut bytes).ok()?;
    }
    Some(bytes)
}
