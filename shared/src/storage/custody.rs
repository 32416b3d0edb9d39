//! Custody: looks after segments that were stored. Audits their shards, and has rebuilt what is lost.
//!
//! ```text
//! adverts ──────────────► who could hold ─────────────────────────► Repair ─► rebuilds
//! audits ─► Auditor ─┬──► lost, or signed wrong: that shard ──────────▲
//!                    ├──► dismissed by its standing: all its shards ──┤
//!                    └──► silent for too long: all its shards ────────┤
//! readers ─────────────► missing, or other bytes: that shard ─────────┘
//! others' evidence ────► convicts by the holder's own signature: its standing
//! ```
//! A holder that was given up for its silence and advertises again is asked about what it had; what it proves counts
//! again, unless it was rebuilt elsewhere meanwhile.
//!
//! Each failed audit is told with its transcript, for the record and for others. What it adds up to is for the holder: it
//! goes with each question, and by itself where no question may follow. Who is dismissed is told again, as often as it was
//! asked before, while it still says that it is there.
//!
//! Goals: rot is found by the first audit or reader that meets it, and repaired; nobody is condemned by one question
//! that got lost. Non-goals: who keeps leases, and moving bytes (the shell does both).

mod auditor;
mod away;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use auditor::{MAX_AUDITS, Rhythm};

use auditor::{Auditor, Finding, Place};
use away::Away;

use super::{
    holders::{FailedAudit, HolderAdvert},
    placement::{Holder, VETTING_AUDITS},
    proof::{Challenge, Fault, Opinion, Standing, Transcript, Verdict},
    record::SegmentRecord,
    repair::{self, Rebuild, Repair, Terms, WatchError},
};
use crate::{
    base::{EffectId, Instant, SegmentId},
    identity::PublicKey,
};

/// Accounts by others that count against one holder: as many dismiss it, and more say nothing more.
const ACCOUNTS_OF_A_HOLDER: usize = 4;

/// What an owner asks of holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is paid, and whom.
    pub terms: Terms,
    /// How they are watched.
    pub rhythm: Rhythm,
    /// A holder counts once it passed so many of our audits; [`VETTING_AUDITS`], or fewer in a network of friends.
    pub vetting_audits: u64,
}

/// To be sent by the shell, whose answer comes by [`Custody::handle_answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Names it in the answer.
    pub id: EffectId,
    /// Whom to ask what.
    pub challenge: Challenge,
    /// What whom we ask may know of our audits so far.
    pub opinion: Opinion,
}

/// What our user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a key is large; these are drained one by one")]
pub enum Event {
    /// An audit showed the shard, or did not.
    Audited {
        /// Of which segment.
        segment: SegmentId,
        /// Which shard.
        shard: u16,
        /// Who was asked.
        holder: PublicKey,
        /// How it ended.
        verdict: Verdict,
        /// What to keep of it, where it failed.
        transcript: Option<Transcript>,
    },
    /// A holder's standing fell below what is put up with; all its shards are rebuilt elsewhere.
    Dismissed {
        /// Who.
        holder: PublicKey,
        /// What it rests on; prints as a sentence.
        standing: Standing,
    },
    /// We think worse of a holder, or have dismissed it: it is to be told, as it may hear no question any more.
    Judged {
        /// Who.
        holder: PublicKey,
        /// What to tell it.
        opinion: Opinion,
    },
    /// A holder answered nothing for too long; all its shards are rebuilt elsewhere.
    Gone {
        /// Who.
        holder: PublicKey,
    },
    /// A holder that was given up is back and proved that it still has a shard, which counts again.
    Returned {
        /// Of which segment.
        segment: SegmentId,
        /// Which shard.
        shard: u16,
        /// Who.
        holder: PublicKey,
    },
    /// A holder that was given up is back with a shard that is another's by now: its lease can end.
    Superfluous {
        /// Of which segment.
        segment: SegmentId,
        /// Which shard.
        shard: u16,
        /// Who.
        holder: PublicKey,
    },
    /// About a segment as a whole.
    Repair(repair::Event),
}

/// Watches over what one node stored.
pub struct Custody {
    policy: Policy,
    auditor: Auditor,
    repair: Repair,
    records: BTreeMap<SegmentId, SegmentRecord>,
    /// What holders offered last, also those whose advert expired.
    holders: BTreeMap<PublicKey, Holder>,
    /// As they were told; the work of rebuilding them is the shell's.
    rebuilding: BTreeMap<EffectId, SegmentId>,
    /// With the moment when an advert of theirs last had them told.
    dismissed: BTreeMap<PublicKey, Option<Instant>>,
    away: Away,
    /// By holder, hashes of answers that convict it and have counted, whoever told.
    convictions: BTreeMap<PublicKey, BTreeSet<[u8; 32]>>,
    events: VecDeque<Event>,
}

impl Custody {
    /// Watches nothing yet. `seed` decides when each shard is asked about, so it is secret and fresh.
    pub fn new(policy: Policy, seed: [u8; 32]) -> Self {
        Self {
            policy,
            auditor: Auditor::new(policy.rhythm, seed),
            repair: Repair::new(policy.terms),
            records: BTreeMap::new(),
            holders: BTreeMap::new(),
            rebuilding: BTreeMap::new(),
            dismissed: BTreeMap::new(),
            away: Away::default(),
            convictions: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// How many shards of a watched segment are held.
    pub fn alive(&self, segment: SegmentId) -> Option<u16> {
        self.repair.alive(segment)
    }

    /// Who holds each shard of a watched segment.
    pub fn shards(&self, segment: SegmentId) -> impl Iterator<Item = (u16, &PublicKey)> {
        self.repair.shards(segment).map(|(shard, holder)| (shard, &holder.node))
    }

    /// The record of a watched segment.
    pub fn record(&self, segment: SegmentId) -> Option<&SegmentRecord> {
        self.records.get(&segment)
    }

    /// Watched segments in the order of their names, from this one on.
    pub fn records_from(&self, segment: SegmentId) -> impl Iterator<Item = (SegmentId, &SegmentRecord)> {
        self.records.range(segment..).map(|(segment, record)| (*segment, record))
    }

    /// What a holder's audits add up to.
    pub fn standing(&self, holder: &PublicKey) -> Standing {
        self.auditor.standing(holder)
    }

    /// The same, as it is told to the holder.
    pub fn opinion(&self, holder: &PublicKey) -> Opinion {
        Opinion::new(&self.standing(holder), self.policy.vetting_audits)
    }

    /// All standings, for whoever keeps them over a restart.
    pub fn standings(&self) -> impl Iterator<Item = (&PublicKey, &Standing)> {
        self.auditor.standings()
    }

    /// The holders to place shards with, as placement sees them.
    pub fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.holders.values()
    }

    /// What was known of a holder before this process began.
    pub fn restore(&mut self, holder: PublicKey, standing: Standing) {
        if standing.is_dismissed() {
            self.dismissed.insert(holder.clone(), None);
        }
        self.auditor.restore(holder, standing);
    }

    /// A holder says what it offers, and with that, that it is there.
    pub fn handle_advert(&mut self, now: Instant, advert: &HolderAdvert) {
        if let Some(told) = self.dismissed.get_mut(&advert.node) {
            if told.is_none_or(|told| now.since(told) >= self.policy.rhythm.audit_every) {
                *told = Some(now);
                self.tell(&advert.node);
            }
            return;
        }
        let standing = self.auditor.standing(&advert.node);
        let counted = standing.held() >= self.policy.vetting_audits;
        let passed = if counted { standing.held().max(VETTING_AUDITS) } else { standing.held() };
        // What counts in a network of friends must not count by chance: below our own bar nobody is vetted.
        let passed = if counted { passed } else { passed.min(VETTING_AUDITS - 1) };
        let holder = advert.holder(passed, standing.reputation());
        self.holders.insert(advert.node.clone(), holder.clone());
        self.repair.handle_holder(holder);
        for place in self.away.take(&advert.node) {
            self.welcome(now, place, &advert.node);
        }
    }

    /// Somebody's account of a failed audit. It counts as one of our own where the holder's signature convicts it,
    /// whoever tells it; each answer counts once. Says whether it did.
    pub fn handle_evidence(&mut self, account: &FailedAudit) -> bool {
        let holder = &account.transcript.challenge.holder;
        let counts =
            self.holders.contains_key(holder) && account.convicts() && self.convict(&account.transcript);
        if counts {
            self.auditor.judge(holder, Verdict::Wrong(Fault::Proof));
            self.dismiss_if_due(holder);
            self.tell(holder);
            self.drain();
        }
        counts
    }

    /// A holder's advert expired: nothing new is put there, and what is there is audited on.
    pub fn handle_advert_expired(&mut self, node: &PublicKey) {
        if let Some(holder) = self.holders.get_mut(node) {
            holder.free_bytes = 0;
            self.repair.handle_holder(holder.clone());
        }
    }

    /// The answer to a question.
    pub fn handle_answer(&mut self, now: Instant, id: EffectId, answer: &[u8]) {
        self.auditor.handle_answer(now, id, answer);
        self.drain();
    }

    /// A reader found that a holder has not got its shard: see [`super::read::Event::Missing`].
    pub fn handle_missing(&mut self, segment: SegmentId, shard: u16, holder: &PublicKey, lied: bool) {
        if !self.shards(segment).any(|(other, node)| other == shard && node == holder) {
            return;
        }
        self.auditor.judge(holder, if lied { Verdict::Wrong(Fault::Proof) } else { Verdict::Lost });
        self.lose(segment, shard, holder);
        self.dismiss_if_due(holder);
        self.tell(holder);
        self.drain();
    }

    /// The shell's one report of a rebuild: which targets hold their shard now, as they signed for it.
    pub fn handle_rebuilt(&mut self, now: Instant, id: EffectId, stored: &[(u16, PublicKey)]) {
        let Some(segment) = self.rebuilding.remove(&id) else { return };
        let before: BTreeSet<u16> = self.shards(segment).map(|(shard, _)| shard).collect();
        self.repair.handle_rebuilt(now, id, stored);
        let new: Vec<(u16, PublicKey)> =
            self.shards(segment).map(|(shard, node)| (shard, node.clone())).collect();
        for (shard, node) in new.into_iter().filter(|(shard, _)| !before.contains(shard)) {
            if let Some(holder) = self.away.end((segment, shard)).filter(|holder| *holder != node) {
                self.events.push_back(Event::Superfluous { segment, shard, holder });
            }
        }
        self.audit_all(now, segment, |shard| !before.contains(&shard));
        self.drain();
    }

    /// Time passed.
    pub fn handle_time(&mut self, now: Instant) {
        self.repair.handle_time(now);
        self.drain();
    }

    /// Watches a segment from now on. `shards` says who holds which; of the holders an advert was seen.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn watch(
        &mut self,
        now: Instant,
        record: SegmentRecord,
        line: u16,
        shards: &[(u16, PublicKey)],
    ) -> Result<SegmentId, WatchError> {
        let (segment, _) = record.encode();
        self.repair.watch(segment, record.shape(), line, shards)?;
        self.records.insert(segment, record);
        self.audit_all(now, segment, |_| true);
        self.drain();
        Ok(segment)
    }

    /// Watches a segment no longer.
    pub fn forget(&mut self, segment: SegmentId) {
        let Some(record) = self.records.remove(&segment) else { return };
        (0..record.shape().profile().total_shards()).for_each(|shard| self.auditor.forget((segment, shard)));
        self.away.forget(segment);
        self.repair.forget(segment);
    }

    /// The next question to send; [`super::proof::ANSWER_WITHIN`] is what its answer may take. `beacon` is 32 fresh
    /// bytes that nobody could foresee.
    pub fn poll_question(&mut self, now: Instant, beacon: &[u8; 32]) -> Option<Question> {
        let question = self.auditor.poll_question(now, beacon);
        self.drain();
        let (id, challenge) = question?;
        let opinion = self.opinion(&challenge.holder);
        Some(Question { id, challenge, opinion })
    }

    /// The next rebuild to begin, reported by [`Custody::handle_rebuilt`].
    pub fn poll_rebuild(&mut self, now: Instant) -> Option<(Rebuild, &SegmentRecord)> {
        loop {
            let rebuild = self.repair.poll_rebuild(now)?;
            match self.records.get(&rebuild.segment) {
                Some(record) => {
                    self.rebuilding.insert(rebuild.id, rebuild.segment);
                    return Some((rebuild, record));
                }
                None => self.repair.handle_rebuilt(now, rebuild.id, &[]),
            }
        }
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Custody::handle_time`] or [`Custody::poll_question`] has something to do.
    pub fn poll_deadline(&self) -> Option<Instant> {
        [self.auditor.poll_deadline(), self.repair.poll_deadline()].into_iter().flatten().min()
    }

    fn audit_all(&mut self, now: Instant, segment: SegmentId, which: impl Fn(u16) -> bool) {
        let Some(record) = self.records.get(&segment) else { return };
        for (shard, holder) in self.repair.shards(segment) {
            if let Some(root) = record.root(shard).filter(|_| which(shard)) {
                self.auditor.watch(now, (segment, shard), root, holder.node.clone());
            }
        }
    }

    fn lose(&mut self, segment: SegmentId, shard: u16, holder: &PublicKey) {
        self.auditor.forget((segment, shard));
        self.repair.handle_shard_lost(segment, shard, holder);
    }

    /// All that a holder has, or was about to prove.
    fn lose_all(&mut self, holder: &PublicKey) -> Vec<Place> {
        let held = |segment: &SegmentId| {
            let shards = self.repair.shards(*segment).filter(|(_, other)| other.node == *holder);
            shards.map(|(shard, _)| (*segment, shard)).collect::<Vec<_>>()
        };
        let mut places: Vec<_> = self.records.keys().flat_map(held).collect();
        places.extend(self.away.end_all(holder));
        places.iter().for_each(|place| self.auditor.forget(*place));
        self.holders.remove(holder);
        self.repair.handle_holder_gone(holder);
        places
    }

    /// Says whether it was.
    fn dismiss_if_due(&mut self, holder: &PublicKey) -> bool {
        let standing = self.auditor.standing(holder);
        let is_due = standing.is_dismissed() && !self.dismissed.contains_key(holder);
        if is_due {
            self.dismissed.insert(holder.clone(), None);
            self.lose_all(holder);
            self.away.take(holder);
            self.convictions.remove(holder);
            self.events.push_back(Event::Dismissed { holder: holder.clone(), standing });
        }
        is_due
    }

    fn tell(&mut self, holder: &PublicKey) {
        let opinion = self.opinion(holder);
        self.events.push_back(Event::Judged { holder: holder.clone(), opinion });
    }

    /// Notes what a holder signed; says whether that is new and counts.
    fn convict(&mut self, transcript: &Transcript) -> bool {
        let Some(answer) = &transcript.answer else { return false };
        let known = self.convictions.entry(transcript.challenge.holder.clone()).or_default();
        known.len() < ACCOUNTS_OF_A_HOLDER && known.insert(*blake3::hash(answer).as_bytes())
    }

    /// A holder that was given up is there again: of what it had, what is nobody's is asked about.
    fn welcome(&mut self, now: Instant, (segment, shard): Place, holder: &PublicKey) {
        let Some(root) = self.records.get(&segment).and_then(|record| record.root(shard)) else { return };
        if self.shards(segment).any(|(other, _)| other == shard) {
            self.events.push_back(Event::Superfluous { segment, shard, holder: holder.clone() });
        } else if self.away.begin((segment, shard), holder) {
            self.auditor.welcome(now, (segment, shard), root, holder.clone());
        } else {
            self.away.expect(holder, [(segment, shard)]);
        }
    }

    /// A returned holder's proof was waited for, and came or did not.
    fn returned(&mut self, place: Place, holder: &PublicKey, verdict: Verdict) {
        let ((segment, shard), holder) = (place, holder.clone());
        match verdict {
            Verdict::Passed | Verdict::Late(_) => {
                self.away.end(place);
                // Others of the segment may have come to the same operator or network meanwhile.
                let ours = self.holders.get(&holder);
                let is_alone = |other: &Holder| {
                    ours.is_some_and(|ours| ours.operator != other.operator && ours.network != other.network)
                };
                if self.repair.shards(segment).all(|(_, other)| is_alone(other)) {
                    self.repair.handle_shard_found(segment, shard, &holder);
                    self.events.push_back(Event::Returned { segment, shard, holder });
                } else {
                    self.auditor.forget(place);
                    self.events.push_back(Event::Superfluous { segment, shard, holder });
                }
            }
            Verdict::Lost | Verdict::Wrong(_) => {
                self.away.end(place);
                self.auditor.forget(place);
            }
            Verdict::Silent => {}
        }
    }

    fn drain(&mut self) {
        while let Some(finding) = self.auditor.poll_finding() {
            let Finding { segment, shard, holder, verdict, transcript, gone } = finding;
            if self.away.is_returning((segment, shard), &holder) {
                self.returned((segment, shard), &holder, verdict);
            } else if matches!(verdict, Verdict::Lost | Verdict::Wrong(_)) {
                self.lose(segment, shard, &holder);
            }
            if let Some(transcript) = transcript.as_ref().filter(|_| matches!(verdict, Verdict::Wrong(_))) {
                self.convict(transcript);
            }
            let audited = Event::Audited { segment, shard, holder: holder.clone(), verdict, transcript };
            self.events.push_back(audited);
            let dismissed = self.dismiss_if_due(&holder);
            // Who was silent is asked on, unless it was for the last time.
            if dismissed || matches!(verdict, Verdict::Lost | Verdict::Wrong(_)) {
                self.tell(&holder);
            }
            if gone && self.holders.contains_key(&holder) {
                let places = self.lose_all(&holder);
                self.away.expect(&holder, places);
                self.events.push_back(Event::Gone { holder });
            }
        }
        while let Some(event) = self.repair.poll_event() {
            self.events.push_back(Event::Repair(event));
        }
    }
}

#[cfg(test)]
mod tests;
