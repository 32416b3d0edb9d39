//! Which shard is asked about when, and what the answers add up to.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    base::{BlobRoot, EffectId, Instant, SeededRng, SegmentId},
    identity::PublicKey,
    storage::{
        proof::{Audit, Challenge, Standing, Step, Transcript, Verdict},
        repair::MAX_WATCHED_SEGMENTS,
    },
};

/// Audits at once: an answer has 32 KiB at most, and a round trip is a second.
pub const MAX_AUDITS: usize = 64;
/// Holders whose record is kept; beyond, those without a shard of ours are forgotten first.
const MAX_STANDINGS: usize = 16_384;
/// The widest code on all segments there may be.
const MAX_TARGETS: usize = MAX_WATCHED_SEGMENTS * 128;

/// Who was away proves within so much time what it still has, so that nothing is rebuilt in vain.
const RETURN_WITHIN: Duration = Duration::from_secs(60);

/// How a network is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Each shard is asked about once in such a span, at a moment that nobody can foresee.
    pub audit_every: Duration,
    /// A holder that answered nothing for so long is gone.
    pub gone_after: Duration,
}

impl Rhythm {
    /// Once a day for a shard: a holder of 24 is asked each hour, and vetted after four days. A holder may be away for
    /// a night's maintenance.
    pub const DEFAULT: Self =
        Self { audit_every: Duration::from_secs(86_400), gone_after: Duration::from_secs(12 * 3600) };
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) segment: SegmentId,
    pub(super) shard: u16,
    pub(super) holder: PublicKey,
    pub(super) verdict: Verdict,
    pub(super) transcript: Option<Transcript>,
    /// It answered nothing for as long as is put up with.
    pub(super) gone: bool,
}

/// A shard of a segment.
pub(super) type Place = (SegmentId, u16);

struct Target {
    root: BlobRoot,
    holder: PublicKey,
    next: Option<Instant>,
}

#[derive(Default)]
struct Record {
    standing: Standing,
    shards: u32,
    /// Since when it answers nothing.
    silent_since: Option<Instant>,
}

/// Watches shards.
pub(super) struct Auditor {
    rhythm: Rhythm,
    rng: SeededRng,
    targets: BTreeMap<Place, Target>,
    due: BTreeSet<(Instant, Place)>,
    running: BTreeMap<EffectId, (Place, Audit)>,
    records: BTreeMap<PublicKey, Record>,
    next_effect: u64,
    findings: VecDeque<Finding>,
}

impl Auditor {
    pub(super) fn new(rhythm: Rhythm, seed: [u8; 32]) -> Self {
        Self {
            rhythm,
            rng: SeededRng::new(seed),
            targets: BTreeMap::new(),
            due: BTreeSet::new(),
            running: BTreeMap::new(),
            records: BTreeMap::new(),
            next_effect: 0,
            findings: VecDeque::new(),
        }
    }

    pub(super) fn standing(&self, holder: &PublicKey) -> Standing {
        self.records.get(holder).map(|record| record.standing).unwrap_or_default()
    }

    pub(super) fn standings(&self) -> impl Iterator<Item = (&PublicKey, &Standing)> {
        self.records.iter().map(|(holder, record)| (holder, &record.standing))
    }

    /// What was known of a holder before this process began.
    pub(super) fn restore(&mut self, holder: PublicKey, standing: Standing) {
        if self.records.len() < MAX_STANDINGS {
            self.records.insert(holder, Record { standing, ..Record::default() });
        }
    }

    /// Asks about this shard from now on.
    pub(super) fn watch(&mut self, now: Instant, place: Place, root: BlobRoot, holder: PublicKey) {
        self.add(now, place, root, holder, self.rhythm.audit_every * 2);
    }

    /// Asks about a shard whose holder was away, soon for the first time. Its silence is over.
    pub(super) fn welcome(&mut self, now: Instant, place: Place, root: BlobRoot, holder: PublicKey) {
        if let Some(record) = self.records.get_mut(&holder) {
            record.silent_since = None;
        }
        self.add(now, place, root, holder, RETURN_WITHIN.min(self.rhythm.audit_every * 2));
    }

    fn add(&mut self, now: Instant, place: Place, root: BlobRoot, holder: PublicKey, within: Duration) {
        self.forget(place);
        if self.targets.len() >= MAX_TARGETS {
            return;
        }
        if self.records.len() >= MAX_STANDINGS {
            // A dismissed one is remembered as long as there is room for it.
            let idle = |record: &Record| record.shards == 0 && !record.standing.is_dismissed();
            self.records.retain(|_, record| !idle(record));
        }
        self.records.entry(holder.clone()).or_default().shards += 1;
        self.targets.insert(place, Target { root, holder, next: None });
        self.plan(now, place, within);
    }

    pub(super) fn forget(&mut self, place: Place) {
        let Some(target) = self.targets.remove(&place) else { return };
        if let Some(next) = target.next {
            self.due.remove(&(next, place));
        }
        if let Some(record) = self.records.get_mut(&target.holder) {
            record.shards = record.shards.saturating_sub(1);
        }
        self.running.retain(|_, (running, _)| *running != place);
    }

    /// A verdict that did not come of a question: what a reader found out.
    pub(super) fn judge(&mut self, holder: &PublicKey, verdict: Verdict) {
        self.records.entry(holder.clone()).or_default().standing.handle_verdict(verdict);
    }

    pub(super) fn handle_answer(&mut self, now: Instant, id: EffectId, answer: &[u8]) {
        let Some((_, audit)) = self.running.get_mut(&id) else { return };
        audit.handle_answer(now, answer);
        if audit.verdict().is_some() {
            self.conclude(now, id);
        }
    }

    /// The next question to send. `beacon` is 32 fresh bytes; it is used where the question is a new one.
    pub(super) fn poll_question(&mut self, now: Instant, beacon: &[u8; 32]) -> Option<(EffectId, Challenge)> {
        let ids: Vec<EffectId> = self.running.keys().copied().collect();
        for id in ids {
            let (_, audit) = self.running.get_mut(&id).expect("just listed");
            match audit.poll_step(now) {
                Step::Ask => return Some((id, audit.challenge().clone())),
                Step::Wait(_) => {}
                Step::Done(_) => self.conclude(now, id),
            }
        }
        let (when, place) = *self.due.first()?;
        if when > now || self.running.len() >= MAX_AUDITS {
            return None;
        }
        self.due.remove(&(when, place));
        let target = self.targets.get_mut(&place).expect("only what is watched is due");
        target.next = None;
        let challenge = Challenge { root: target.root, beacon: *beacon, holder: target.holder.clone() };
        let mut audit = Audit::new(challenge.clone());
        audit.poll_step(now);
        let id = EffectId(self.next_effect);
        self.next_effect += 1;
        self.running.insert(id, (place, audit));
        Some((id, challenge))
    }

    pub(super) fn poll_finding(&mut self) -> Option<Finding> {
        self.findings.pop_front()
    }

    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        let free = self.running.len() < MAX_AUDITS;
        let due = self.due.first().filter(|_| free).map(|(when, _)| *when);
        let waits = self.running.values().filter_map(|(_, audit)| audit.deadline()).min();
        [due, waits].into_iter().flatten().min()
    }

    fn conclude(&mut self, now: Instant, id: EffectId) {
        let Some((place, audit)) = self.running.remove(&id) else { return };
        let (Some(verdict), Some(target)) = (audit.verdict(), self.targets.get(&place)) else { return };
        let holder = target.holder.clone();
        let record = self.records.entry(holder.clone()).or_default();
        record.standing.handle_verdict(verdict);
        let silent_for = match verdict {
            Verdict::Silent => now.since(*record.silent_since.get_or_insert(now)),
            _ => {
                record.silent_since = None;
                Duration::ZERO
            }
        };
        let gone = verdict == Verdict::Silent && silent_for >= self.rhythm.gone_after;
        let (segment, shard) = place;
        let transcript = audit.transcript();
        self.findings.push_back(Finding { segment, shard, holder, verdict, transcript, gone });
        self.plan(now, place, self.rhythm.audit_every * 2);
    }

    /// Uniformly within the span, so that an answer to one question says nothing about the next.
    fn plan(&mut self, now: Instant, place: Place, within: Duration) {
        let micros = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        let next = now + Duration::from_micros(self.rng.below(micros));
        if let Some(target) = self.targets.get_mut(&place) {
            target.next = Some(next);
            self.due.insert((next, place));
        }
    }
}
