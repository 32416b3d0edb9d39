//! Extras: copies of a segment's shards with visitors' tabs, for readers, beside the shards that count.
//!
//! ```text
//! a tab offers room ─► Offer ─► kept ─► audits ─┬─ proved ──► stays
//!        ▲ each minute            ▲             ├─ lost ────► forgotten; three times: dismissed
//!        └─ says what it keeps ───┘             └─ lied ────► dismissed: asked and told nothing more
//! ```
//! They count nothing for durability, and cannot: placement, custody, repair and the figures take holders, and a [`Tab`] is
//! none. Nothing of this is on any disk of the owner's. A tab says itself what it keeps, and what it says is proved or
//! not; who closes a tab has broken no promise, so silence is no offence and a tab that is not heard of is forgotten.
//!
//! Goals: a shard more to read where a holder is away; little upload for it; a lying tab costs one audit. Non-goals:
//! moving bytes and opening streams (the shell does both), and safety of any kind.

mod words;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use words::{Event, Extra, Kept, Offer, Offered, Place, Proved, Question, Room, Tab};

use super::{
    placement::MAX_EXTRAS,
    proof::{Audit, Challenge, Step, Verdict},
    record::SegmentRecord,
};
use crate::{
    base::{BlobRoot, EffectId, Instant, SeededRng, SegmentId, UnixSeconds},
    wire::Refusal,
};

/// A quarter of the longest segment: what an owner has in memory while it passes one on.
pub const MAX_EXTRA_BYTES: u64 = 16 << 20;
/// Shards with one tab: enough for any quota that a visitor would grant, and what it keeps is told in one message.
pub const SHARDS_OF_A_TAB: usize = 64;
/// A tab says again what it offers at least so often,
pub const ROOM_EVERY: Duration = Duration::from_secs(60);
/// and who has said nothing for so long is gone: two may get lost.
pub const ROOM_LASTS: Duration = Duration::from_secs(180);
/// A shard is leased to a tab for so long: a visitor who comes each week finds it wanted.
pub const LEASE_SECONDS: u64 = 8 * 86_400;
/// Between two offers to one tab: twelve a minute, so that no visitor's line is filled.
pub const OFFER_EVERY: Duration = Duration::from_secs(5);
/// Offers under way: each has a shard in memory, up to [`MAX_EXTRA_BYTES`].
const MAX_OFFERS: usize = 2;
/// Tabs with room that are known: all their shards are looked through for what is due. Whoever comes later is told to
/// wait.
const MAX_TABS: usize = 256;
/// Tabs that lost or lied which are remembered; the first to be forgotten are those that only lost.
const MAX_RECORDS: usize = 4096;
/// A browser that drops what it stored has done so again by then, and will again.
const LOST_MAX: u8 = 3;
/// Who could not be given a shard is not tried again before.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Segments looked at for one offer. Where the next look begins is drawn, so that all have their turn.
const CANDIDATES: usize = 256;
/// Visits are short: a shard is asked about once in such a span, where holders are asked less often.
const AUDIT_EVERY_MAX: Duration = Duration::from_secs(300);
/// A tab that comes back shows first what it still has.
const RETURN_WITHIN: Duration = Duration::from_secs(30);
/// Audits at once.
const MAX_AUDITS: usize = 64;
/// Shards that tabs are to be told to let go of; beyond, their leases end by themselves.
const MAX_DROPS: usize = 1024;

struct Held {
    place: Place,
    until: UnixSeconds,
    proved: Option<Proved>,
    /// When it is asked about next; nothing while it is.
    next: Option<Instant>,
}

struct Present {
    room: u64,
    heard: Instant,
    offer_after: Instant,
    /// An offer is under way.
    offered: bool,
    shards: BTreeMap<BlobRoot, Held>,
}

/// What a tab is remembered for after it has gone.
#[derive(Clone, Copy, Default)]
struct Record {
    lost: u8,
    dismissed: bool,
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Extra shards of one segment, at most [`MAX_EXTRAS`]; none switches all this off.
    pub of_a_segment: usize,
    /// Each shard is asked about once in such a span, or once in [`AUDIT_EVERY_MAX`].
    pub audit_every: Duration,
}

/// The extra shards of one owner.
pub struct Extras {
    policy: Policy,
    rng: SeededRng,
    tabs: BTreeMap<Tab, Present>,
    /// How many tabs have a shard of it, given or under way.
    copies: BTreeMap<SegmentId, BTreeMap<u16, usize>>,
    records: BTreeMap<Tab, Record>,
    offers: BTreeMap<EffectId, Offer>,
    audits: BTreeMap<EffectId, (Tab, BlobRoot, Audit)>,
    drops: VecDeque<(Tab, BlobRoot)>,
    events: VecDeque<Event>,
    next_effect: u64,
}

impl Extras {
    /// Knows no tab yet. `seed` decides when each shard is asked about, so it is secret and fresh.
    pub fn new(policy: Policy, seed: [u8; 32]) -> Self {
        let policy = Policy {
            of_a_segment: policy.of_a_segment.min(MAX_EXTRAS),
            audit_every: policy.audit_every.min(AUDIT_EVERY_MAX),
        };
        Self {
            policy,
            rng: SeededRng::new(seed),
            tabs: BTreeMap::new(),
            copies: BTreeMap::new(),
            records: BTreeMap::new(),
            offers: BTreeMap::new(),
            audits: BTreeMap::new(),
            drops: VecDeque::new(),
            events: VecDeque::new(),
            next_effect: 0,
        }
    }

    /// All tabs that are there.
    pub fn tabs(&self) -> impl Iterator<Item = &Tab> {
        self.tabs.keys()
    }

    /// All extra shards.
    pub fn shards(&self) -> impl Iterator<Item = Extra<'_>> {
        self.tabs.iter().flat_map(|(tab, present)| {
            present.shards.iter().map(move |(root, held)| Extra {
                tab,
                root: *root,
                place: held.place,
                proved: held.proved,
            })
        })
    }

    /// Who may be read from: tabs with a shard of this segment, those that proved it first.
    pub fn of_segment(&self, segment: SegmentId) -> Vec<(u16, Tab)> {
        if !self.copies.contains_key(&segment) {
            return Vec::new();
        }
        let mut found: Vec<_> = self.shards().filter(|extra| extra.place.segment == segment).collect();
        found.sort_by_key(|extra| !extra.proved.is_some_and(|proved| proved.verdict.is_held()));
        found.into_iter().map(|extra| (extra.place.shard, extra.tab.clone())).collect()
    }

    /// A tab says what it would keep and what it keeps; `find` knows the segments that are watched over.
    ///
    /// # Errors
    /// [`Refusal`]: it is to keep nothing here.
    pub fn handle_room<'a>(
        &mut self,
        now: Instant,
        tab: &Tab,
        room: &Room,
        find: impl Fn(SegmentId) -> Option<&'a SegmentRecord>,
    ) -> Result<(), Refusal> {
        if self.policy.of_a_segment == 0 || self.records.get(tab).is_some_and(|record| record.dismissed) {
            return Err(Refusal::Forbidden);
        }
        if room.bytes == 0 && room.kept.is_empty() {
            self.handle_gone(tab);
            return Ok(());
        }
        let known = self.tabs.len() < MAX_TABS || self.tabs.contains_key(tab);
        if !known {
            return Err(Refusal::Busy);
        }
        let present = self.tabs.entry(tab.clone()).or_insert_with(|| Present {
            room: 0,
            heard: now,
            offer_after: now,
            offered: false,
            shards: BTreeMap::new(),
        });
        (present.room, present.heard) = (room.bytes, now);
        let kept: BTreeMap<BlobRoot, &Kept> = room.kept.iter().map(|kept| (kept.root, kept)).collect();
        // What it does not name it has lost, or dropped when the lease ended.
        let lost: Vec<_> = present.shards.keys().filter(|root| !kept.contains_key(root)).copied().collect();
        lost.into_iter().for_each(|root| self.forget_shard(tab, root));
        for (root, kept) in kept.into_iter().take(SHARDS_OF_A_TAB) {
            self.recall(now, tab, root, kept, find(kept.segment));
        }
        Ok(())
    }

    /// A tab names a shard that it keeps.
    fn recall(
        &mut self,
        now: Instant,
        tab: &Tab,
        root: BlobRoot,
        kept: &Kept,
        record: Option<&SegmentRecord>,
    ) {
        let is_known = self.tabs.get(tab).is_some_and(|present| present.shards.contains_key(&root));
        let under_way = self.offers.values().any(|offer| offer.tab == *tab && offer.root == root);
        if is_known || under_way {
            return;
        }
        let shard = record.and_then(|record| {
            let mut shards = 0..record.shape().profile().total_shards();
            shards.find(|shard| record.root(*shard) == Some(root)).map(|shard| (record, shard))
        });
        let Some((record, shard)) = shard else {
            // Of an object that was deleted meanwhile, or nothing of ours.
            return self.drop_later(tab, root);
        };
        let place = Place { segment: kept.segment, shard, bytes: record.shape().shard_bytes() };
        self.hold(now, tab, root, place, kept.until, RETURN_WITHIN);
    }

    /// A tab went away, or cannot be reached. What it had is forgotten; it says so when it is back.
    pub fn handle_gone(&mut self, tab: &Tab) {
        let Some(present) = self.tabs.get(tab) else { return };
        let roots: Vec<_> = present.shards.keys().copied().collect();
        let shards = roots.len();
        roots.into_iter().for_each(|root| self.forget_shard(tab, root));
        self.tabs.remove(tab);
        self.drops.retain(|(of, _)| of != tab);
        self.events.push_back(Event::Gone { tab: tab.clone(), shards });
    }

    /// What became of an offer.
    pub fn handle_offered(&mut self, now: Instant, id: EffectId, offered: Offered) {
        let Some(Offer { tab, root, place, renewal, .. }) = self.offers.remove(&id) else { return };
        if !renewal {
            self.uncount(place);
        }
        let Some(present) = self.tabs.get_mut(&tab) else { return };
        present.offered = false;
        present.offer_after = now + OFFER_EVERY;
        match offered {
            Offered::Kept(until) => {
                if renewal {
                    if let Some(held) = present.shards.get_mut(&root) {
                        held.until = until;
                    }
                    return;
                }
                present.room = present.room.saturating_sub(place.bytes);
                self.hold(now, &tab, root, place, until, self.policy.audit_every * 2);
                self.events.push_back(Event::Kept { tab, root });
            }
            Offered::Refused(refusal) => {
                present.offer_after = now + RETRY_AFTER;
                if refusal == Refusal::OverBudget {
                    // Until it says otherwise.
                    present.room = 0;
                }
            }
            Offered::Failed => present.offer_after = now + RETRY_AFTER,
        }
    }

    /// Something came that claims to be the answer to a question.
    pub fn handle_answer(&mut self, now: Instant, id: EffectId, answer: &[u8]) {
        let Some((_, _, audit)) = self.audits.get_mut(&id) else { return };
        audit.handle_answer(now, answer);
        if let Some(verdict) = audit.verdict() {
            self.conclude(now, id, verdict);
        }
    }

    /// A reader found that a tab has not got a shard, or sends other bytes.
    pub fn handle_missing(&mut self, now: Instant, tab: &Tab, place: (SegmentId, u16), lied: bool) {
        let Some(present) = self.tabs.get(tab) else { return };
        let found = present.shards.iter().find(|(_, held)| (held.place.segment, held.place.shard) == place);
        if let Some(root) = found.map(|(root, _)| *root) {
            self.judge(now, tab, root, if lied { None } else { Some(Verdict::Lost) });
        }
    }

    /// What is past its time is forgotten.
    pub fn handle_time(&mut self, now: Instant) {
        let gone = self.tabs.iter().filter(|(_, present)| now.since(present.heard) >= ROOM_LASTS);
        let gone: Vec<_> = gone.map(|(tab, _)| tab.clone()).collect();
        gone.iter().for_each(|tab| self.handle_gone(tab));
    }

    /// A segment is nobody's any more.
    pub fn forget(&mut self, segment: SegmentId) {
        if !self.copies.contains_key(&segment) {
            return;
        }
        // Whoever is just getting a shard of it says so with its next word, and is told then that nobody wants it.
        let under_way: Vec<_> =
            self.offers.values().filter(|offer| offer.place.segment == segment).cloned().collect();
        for Offer { id, tab, place, renewal, .. } in under_way {
            self.offers.remove(&id);
            if !renewal {
                self.uncount(place);
            }
            if let Some(present) = self.tabs.get_mut(&tab) {
                present.offered = false;
            }
        }
        let kept = self.shards().filter(|extra| extra.place.segment == segment);
        let kept: Vec<_> = kept.map(|extra| (extra.tab.clone(), extra.root)).collect();
        for (tab, root) in kept {
            self.forget_shard(&tab, root);
            self.drop_later(&tab, root);
        }
    }

    /// The next offer to make, of what `segments` has from a segment on.
    pub fn poll_offer<'a, S: Iterator<Item = (SegmentId, &'a SegmentRecord)>>(
        &mut self,
        now: Instant,
        unix: UnixSeconds,
        segments: impl Fn(SegmentId) -> S,
    ) -> Option<Offer> {
        if self.offers.len() >= MAX_OFFERS {
            return None;
        }
        let ready = |present: &Present| !present.offered && present.offer_after <= now;
        let tabs: Vec<_> =
            self.tabs.iter().filter(|(_, present)| ready(present)).map(|(tab, _)| tab).cloned().collect();
        for tab in tabs {
            let (root, place, renewal) = match self.due_for_renewal(&tab, unix) {
                Some((root, place)) => (root, place, true),
                None => match self.choose(&tab, &segments) {
                    Some((root, place)) => (root, place, false),
                    None => {
                        // There may be something later.
                        self.tabs.get_mut(&tab)?.offer_after = now + RETRY_AFTER;
                        continue;
                    }
                },
            };
            if !renewal {
                *self.copies.entry(place.segment).or_default().entry(place.shard).or_default() += 1;
            }
            self.tabs.get_mut(&tab)?.offered = true;
            let offer = Offer { id: self.effect(), tab, root, place, renewal };
            self.offers.insert(offer.id, offer.clone());
            return Some(offer);
        }
        None
    }

    /// The next question to send. `beacon` is 32 fresh bytes; it is used where the question is a new one.
    pub fn poll_question(&mut self, now: Instant, beacon: &[u8; 32]) -> Option<Question> {
        let ids: Vec<EffectId> = self.audits.keys().copied().collect();
        for id in ids {
            let (_, _, audit) = self.audits.get_mut(&id)?;
            match audit.poll_step(now) {
                Step::Ask => return Some(Question { id, challenge: audit.challenge().clone() }),
                Step::Wait(_) => {}
                Step::Done(verdict) => self.conclude(now, id, verdict),
            }
        }
        if self.audits.len() >= MAX_AUDITS {
            return None;
        }
        let mut due = self
            .tabs
            .iter_mut()
            .flat_map(|(tab, present)| present.shards.iter_mut().map(move |(root, held)| (tab, *root, held)));
        let (tab, root, held) = due.find(|(_, _, held)| held.next.is_some_and(|next| next <= now))?;
        held.next = None;
        let challenge = Challenge { root, beacon: *beacon, holder: tab.0.clone() };
        let mut audit = Audit::new(challenge.clone());
        audit.poll_step(now);
        let tab = tab.clone();
        let id = self.effect();
        self.audits.insert(id, (tab, root, audit));
        Some(Question { id, challenge })
    }

    /// The next shard that a tab need not keep any more.
    pub fn poll_drop(&mut self) -> Option<(Tab, BlobRoot)> {
        self.drops.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When something is due.
    pub fn poll_deadline(&self) -> Option<Instant> {
        let free = self.offers.len() < MAX_OFFERS;
        let tabs = self.tabs.values().flat_map(|present| {
            let offer = (free && !present.offered).then_some(present.offer_after);
            let audit = present.shards.values().filter_map(|held| held.next).min();
            [Some(present.heard + ROOM_LASTS), offer, audit].into_iter().flatten()
        });
        let waits = self.audits.values().filter_map(|(_, _, audit)| audit.deadline());
        tabs.chain(waits).min()
    }

    fn effect(&mut self) -> EffectId {
        self.next_effect += 1;
        EffectId(self.next_effect)
    }

    fn due_for_renewal(&self, tab: &Tab, unix: UnixSeconds) -> Option<(BlobRoot, Place)> {
        let present = self.tabs.get(tab)?;
        let due = |held: &&Held| unix.until(held.until) < LEASE_SECONDS / 2;
        present.shards.iter().find(|(_, held)| due(held)).map(|(root, held)| (*root, held.place))
    }

    /// Of a segment with the fewest extra shards one that no tab has, drawn among the first k, which are the segment's own
    /// bytes and are read first. Drawn, because this time's may have a holder that is away.
    fn choose<'a, S: Iterator<Item = (SegmentId, &'a SegmentRecord)>>(
        &mut self,
        tab: &Tab,
        segments: &impl Fn(SegmentId) -> S,
    ) -> Option<(BlobRoot, Place)> {
        let mut start = [0; 32];
        start[..8].copy_from_slice(&self.rng.next_u64().to_be_bytes());
        let start = SegmentId(start);
        let present = self.tabs.get(tab)?;
        if present.shards.len() >= SHARDS_OF_A_TAB {
            return None;
        }
        // A tab that goes takes one shard of a segment with it, and no more.
        let has: BTreeSet<SegmentId> = present.shards.values().map(|held| held.place.segment).collect();
        let behind = segments(start).take(CANDIDATES);
        let before = segments(SegmentId([0; 32])).take_while(|(segment, _)| *segment < start);
        let mut best: Option<(usize, SegmentId, &SegmentRecord)> = None;
        for (segment, record) in behind.chain(before).take(CANDIDATES) {
            let bytes = record.shape().shard_bytes();
            let copies = self.copies.get(&segment);
            let count = copies.map_or(0, |copies| copies.values().sum::<usize>());
            let fits = bytes <= present.room.min(MAX_EXTRA_BYTES) && count < self.policy.of_a_segment;
            if !fits || has.contains(&segment) || best.as_ref().is_some_and(|(fewest, ..)| *fewest <= count) {
                continue;
            }
            best = Some((count, segment, record));
        }
        let (_, segment, record) = best?;
        let profile = record.shape().profile();
        let free = |shard: &u16| self.copies.get(&segment).is_none_or(|copies| !copies.contains_key(shard));
        let mut shards: Vec<u16> = (0..profile.data_shards()).filter(free).collect();
        if shards.is_empty() {
            shards.extend((profile.data_shards()..profile.total_shards()).filter(free));
        }
        let shard = *self.rng.pick(&shards)?;
        Some((record.root(shard)?, Place { segment, shard, bytes: record.shape().shard_bytes() }))
    }

    fn hold(
        &mut self,
        now: Instant,
        tab: &Tab,
        root: BlobRoot,
        place: Place,
        until: UnixSeconds,
        within: Duration,
    ) {
        let within = within.min(self.policy.audit_every * 2);
        let next = Some(self.moment(now, within));
        let Some(present) = self.tabs.get_mut(tab) else { return };
        if present.shards.len() < SHARDS_OF_A_TAB {
            present.shards.insert(root, Held { place, until, proved: None, next });
            *self.copies.entry(place.segment).or_default().entry(place.shard).or_default() += 1;
        }
    }

    fn drop_later(&mut self, tab: &Tab, root: BlobRoot) {
        if self.drops.len() < MAX_DROPS {
            self.drops.push_back((tab.clone(), root));
        }
    }

    /// Uniformly within the span, so that an answer to one question says nothing about the next.
    fn moment(&mut self, now: Instant, within: Duration) -> Instant {
        let micros = u64::try_from(within.as_micros()).unwrap_or(u64::MAX).max(1);
        now + Duration::from_micros(self.rng.below(micros))
    }

    fn forget_shard(&mut self, tab: &Tab, root: BlobRoot) {
        let held = self.tabs.get_mut(tab).and_then(|present| present.shards.remove(&root));
        if let Some(held) = held {
            self.uncount(held.place);
        }
        self.audits.retain(|_, (of, about, _)| !(of == tab && *about == root));
    }

    fn uncount(&mut self, place: Place) {
        let Some(copies) = self.copies.get_mut(&place.segment) else { return };
        if let Some(count) = copies.get_mut(&place.shard) {
            *count -= 1;
            if *count == 0 {
                copies.remove(&place.shard);
            }
        }
        if copies.is_empty() {
            self.copies.remove(&place.segment);
        }
    }

    fn conclude(&mut self, now: Instant, id: EffectId, verdict: Verdict) {
        let Some((tab, root, _)) = self.audits.remove(&id) else { return };
        self.events.push_back(Event::Audited { tab: tab.clone(), root, verdict });
        let next = self.moment(now, self.policy.audit_every * 2);
        let held = self.tabs.get_mut(&tab).and_then(|present| present.shards.get_mut(&root));
        if let Some(held) = held {
            (held.proved, held.next) = (Some(Proved { verdict, at: now }), Some(next));
        }
        match verdict {
            Verdict::Passed | Verdict::Late(_) | Verdict::Silent => {}
            Verdict::Lost => self.judge(now, &tab, root, Some(verdict)),
            Verdict::Wrong(_) => self.judge(now, &tab, root, None),
        }
    }

    /// A shard is not there; without a verdict that its tab admits to, it lied.
    fn judge(&mut self, now: Instant, tab: &Tab, root: BlobRoot, admitted: Option<Verdict>) {
        self.forget_shard(tab, root);
        if self.records.len() >= MAX_RECORDS && !self.records.contains_key(tab) {
            let harmless = self.records.iter().find(|(_, record)| !record.dismissed);
            let oldest = harmless.or_else(|| self.records.first_key_value()).map(|(tab, _)| tab.clone());
            if let Some(tab) = oldest {
                self.records.remove(&tab);
            }
        }
        let record = self.records.entry(tab.clone()).or_default();
        record.lost = record.lost.saturating_add(1);
        record.dismissed = admitted.is_none() || record.lost >= LOST_MAX;
        if record.dismissed {
            self.events.push_back(Event::Dismissed { tab: tab.clone() });
            self.handle_gone(tab);
        } else if let Some(present) = self.tabs.get_mut(tab) {
            // Not the same again at once.
            present.offer_after = now + RETRY_AFTER;
        }
    }
}

#[cfg(test)]
mod tests;
