//! Repair: which segments are rebuilt, when, and onto whom.
//!
//! ```text
//!            shards ≤ line                    slot free, holders found
//! Resting ──────────────────► Due ─────────────────────────────────► Running ─┐
//!    ▲                         ▲ │ nobody to rebuild onto                     │ report
//!    │                         │ ▼                                            │
//!    │                       Waiting ◄── nothing was stored ──────────────────┤
//!    └───────────────────────── above the line again ─────────────────────────┘
//! ```
//!
//! The segments with the fewest shards to spare come first. A segment below k is told lost once, and rests until a shard
//! turns up again. What is rebuilt is rebuilt to its full number: the way down to the line is what repair costs by
//! (see `durability`).
//!
//! Goals: each watched segment at or below its line is under repair, due, waiting or lost, and told so; bounded work at
//! once. Non-goals: finding out that a holder is gone (audits and leases say so), moving bytes (the shell does, by
//! `StripeDecoder::restore`), and agreeing on who repairs (that is who watches).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    erasure::SegmentShape,
    placement::{Holder, Need, place},
};
use crate::{
    base::{EffectId, Instant, SegmentId},
    identity::PublicKey,
};

/// Segments one node watches: 6 TB in segments of full length, some 70 MB of tables.
pub const MAX_WATCHED_SEGMENTS: usize = 100_000;
/// Rebuilds at once: each reads k blocks and writes n−k, a stripe at a time, and lines are shared with readers.
pub const MAX_REBUILDS: usize = 8;
/// How long a segment rests that found no holder, or whose rebuild stored nothing.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What repair pays, and whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The most for a GiB and a month.
    pub price_max: u64,
    /// The least reputation.
    pub reputation_min: u16,
}

/// To be rebuilt by the shell, and reported by [`Repair::handle_rebuilt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuild {
    /// Names it in the report.
    pub id: EffectId,
    /// What is rebuilt.
    pub segment: SegmentId,
    /// Its geometry.
    pub shape: SegmentShape,
    /// Where its shards are, systematic ones first: any k suffice.
    pub sources: Vec<(u16, PublicKey)>,
    /// Which shards are lost, and who is to hold each from now on.
    pub targets: Vec<(u16, PublicKey)>,
}

/// What our user may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Fewer than k shards are left.
    Lost {
        /// What cannot be read any more.
        segment: SegmentId,
    },
    /// Shards turned up again, and k are there.
    Found {
        /// What can be read again.
        segment: SegmentId,
    },
    /// A rebuild stored shards.
    Rebuilt {
        /// Whose.
        segment: SegmentId,
        /// How many are there now.
        alive: u16,
    },
}

/// A watch that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// This node watches as much as it can.
    #[error("{MAX_WATCHED_SEGMENTS} segments are watched already")]
    Full,
    /// The segment is watched already.
    #[error("the segment is watched already")]
    Watched,
}

/// A holder's place in our tables: a key takes 192 bytes, and a segment has 80.
type Number = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting,
    /// With so many shards to spare.
    Due(u16),
    Waiting(Instant),
    Running(EffectId),
}

struct Watched {
    shape: SegmentShape,
    line: u16,
    /// Who holds each shard.
    shards: Vec<Option<Number>>,
    alive: u16,
    state: State,
    is_lost: bool,
}

/// Watches segments and says what to rebuild.
pub struct Repair {
    terms: Terms,
    numbers: BTreeMap<PublicKey, Number>,
    holders: BTreeMap<Number, Holder>,
    next_number: Number,
    segments: BTreeMap<SegmentId, Watched>,
    /// Which segments a holder has shards of.
    held: BTreeSet<(Number, SegmentId)>,
    /// By shards to spare above k, fewest first. With the waiting and the running at most one entry a segment.
    due: BTreeSet<(u16, SegmentId)>,
    waiting: BTreeSet<(Instant, SegmentId)>,
    running: BTreeMap<EffectId, SegmentId>,
    next_effect: u64,
    /// At most two a segment between two drains.
    events: VecDeque<Event>,
}

impl Repair {
    /// Watches nothing yet, and knows nobody.
    pub const fn new(terms: Terms) -> Self {
        Self {
            terms,
            numbers: BTreeMap::new(),
            holders: BTreeMap::new(),
            next_number: 0,
            segments: BTreeMap::new(),
            held: BTreeSet::new(),
            due: BTreeSet::new(),
            waiting: BTreeSet::new(),
            running: BTreeMap::new(),
            next_effect: 0,
            events: VecDeque::new(),
        }
    }

    /// How many shards of a watched segment are held.
    pub fn alive(&self, segment: SegmentId) -> Option<u16> {
        self.segments.get(&segment).map(|watched| watched.alive)
    }

    /// Who holds each shard of a watched segment.
    pub fn shards(&self, segment: SegmentId) -> impl Iterator<Item = (u16, &Holder)> {
        let shards = self.segments.get(&segment).map_or(&[][..], |watched| &watched.shards);
        (0..).zip(shards).filter_map(|(shard, number)| Some((shard, self.holders.get(&(*number)?)?)))
    }

    /// How many rebuilds are under way.
    pub fn rebuilds(&self) -> usize {
        self.running.len()
    }

    /// A holder's advert: it is there, and these are its terms.
    pub fn handle_holder(&mut self, holder: Holder) {
        let number = *self.numbers.entry(holder.node.clone()).or_insert_with(|| {
            self.next_number += 1;
            self.next_number
        });
        self.holders.insert(number, holder);
    }

    /// A holder is gone for good: its leases ended or it was dismissed. All its shards are lost.
    pub fn handle_holder_gone(&mut self, node: &PublicKey) {
        let Some(number) = self.numbers.remove(node) else { return };
        self.holders.remove(&number);
        let first = (number, SegmentId([0; 32]));
        let held: Vec<SegmentId> =
            self.held.range(first..).take_while(|(other, _)| *other == number).map(|(_, id)| *id).collect();
        for segment in held {
            self.vacate(segment, |_, holder| holder == number);
        }
    }

    /// An audit or a reader found that a holder does not have its shard.
    pub fn handle_shard_lost(&mut self, segment: SegmentId, shard: u16, node: &PublicKey) {
        let Some(number) = self.numbers.get(node).copied() else { return };
        self.vacate(segment, |index, holder| index == shard && holder == number);
    }

    /// A holder shows a shard that nobody was known to hold.
    pub fn handle_shard_found(&mut self, segment: SegmentId, shard: u16, node: &PublicKey) {
        let found = self.settle(segment, [(shard, node.clone())]);
        if found > 0 {
            self.weigh(segment);
        }
    }

    /// The shell's one report of a rebuild: which targets hold their shard now, as they signed for it.
    pub fn handle_rebuilt(&mut self, now: Instant, id: EffectId, stored: &[(u16, PublicKey)]) {
        let Some(segment) = self.running.remove(&id) else { return };
        let count = self.settle(segment, stored.iter().cloned());
        let Some(watched) = self.segments.get_mut(&segment) else { return };
        if count > 0 {
            self.events.push_back(Event::Rebuilt { segment, alive: watched.alive });
        }
        // A segment that was forgotten and is watched anew is not this rebuild's any more.
        if watched.state == State::Running(id) {
            watched.state = State::Resting;
            if count == 0 {
                self.wait(now, segment);
            }
        }
        self.weigh(segment);
    }

    /// Time passed.
    pub fn handle_time(&mut self, now: Instant) {
        while let Some((until, segment)) = self.waiting.first().copied().filter(|(until, _)| *until <= now) {
            self.waiting.remove(&(until, segment));
            let watched = self.segments.get_mut(&segment).expect("only what is watched waits");
            watched.state = State::Resting;
            self.weigh(segment);
        }
    }

    /// Watches a segment from now on. `shards` says who holds which; holders that are not known count as gone.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn watch(
        &mut self,
        segment: SegmentId,
        shape: SegmentShape,
        line: u16,
        shards: &[(u16, PublicKey)],
    ) -> Result<(), WatchError> {
        if self.segments.contains_key(&segment) {
            return Err(WatchError::Watched);
        }
        if self.segments.len() >= MAX_WATCHED_SEGMENTS {
            return Err(WatchError::Full);
        }
        let total = usize::from(shape.profile().total_shards());
        let (state, is_lost) = (State::Resting, false);
        let watched = Watched { shape, line, shards: vec![None; total], alive: 0, state, is_lost };
        self.segments.insert(segment, watched);
        self.settle(segment, shards.iter().cloned());
        self.weigh(segment);
        Ok(())
    }

    /// Watches a segment no longer: it was deleted, or is another's to watch. A rebuild under way may still report.
    pub fn forget(&mut self, segment: SegmentId) {
        self.unqueue(segment);
        let Some(watched) = self.segments.remove(&segment) else { return };
        for number in watched.shards.into_iter().flatten() {
            self.held.remove(&(number, segment));
        }
    }

    /// Another repair line: the measured network changed.
    pub fn set_line(&mut self, segment: SegmentId, line: u16) {
        if let Some(watched) = self.segments.get_mut(&segment) {
            watched.line = line;
            self.weigh(segment);
        }
    }

    /// The next rebuild to begin, of the segment that needs it most; nothing while [`MAX_REBUILDS`] are under way.
    pub fn poll_rebuild(&mut self, now: Instant) -> Option<Rebuild> {
        while self.running.len() < MAX_REBUILDS {
            let (_, segment) = *self.due.first()?;
            self.unqueue(segment);
            let targets = self.targets(segment);
            if targets.is_empty() {
                self.wait(now, segment);
                continue;
            }
            let id = EffectId(self.next_effect);
            self.next_effect += 1;
            let sources = self.shards(segment).map(|(shard, holder)| (shard, holder.node.clone())).collect();
            let watched = self.segments.get_mut(&segment).expect("only what is watched is due");
            watched.state = State::Running(id);
            self.running.insert(id, segment);
            return Some(Rebuild { id, segment, shape: watched.shape, sources, targets });
        }
        None
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Repair::handle_time`] has something to do.
    pub fn poll_deadline(&self) -> Option<Instant> {
        self.waiting.first().map(|(until, _)| *until)
    }

    /// Whom each lost shard goes to.
    fn targets(&self, segment: SegmentId) -> Vec<(u16, PublicKey)> {
        let watched = &self.segments[&segment];
        let vacant: Vec<u16> = (0..)
            .zip(&watched.shards)
            .filter(|(_, number)| number.is_none())
            .map(|(shard, _)| shard)
            .collect();
        let need = Need {
            profile: watched.shape.profile(),
            shards: u16::try_from(vacant.len()).expect("a segment has at most 128 shards"),
            spares: 0,
            shard_bytes: watched.shape.shard_bytes(),
            price_max: self.terms.price_max,
            reputation_min: self.terms.reputation_min,
        };
        let kept = self.shards(segment).map(|(_, holder)| holder);
        let placement = place(segment, &need, kept, self.holders.values());
        vacant.into_iter().zip(placement.chosen.into_iter().map(|holder| holder.node.clone())).collect()
    }

    /// Takes shards away from who is said to hold them no longer.
    fn vacate(&mut self, segment: SegmentId, is_gone: impl Fn(u16, Number) -> bool) {
        let Some(watched) = self.segments.get_mut(&segment) else { return };
        let (mut vacated, mut still) = (BTreeSet::new(), BTreeSet::new());
        for (shard, place) in (0..).zip(&mut watched.shards) {
            let Some(number) = *place else { continue };
            if is_gone(shard, number) {
                *place = None;
                watched.alive -= 1;
                vacated.insert(number);
            } else {
                still.insert(number);
            }
        }
        for number in vacated.difference(&still) {
            self.held.remove(&(*number, segment));
        }
        if !vacated.is_empty() {
            self.weigh(segment);
        }
    }

    /// Writes down who holds shards that nobody held. Tells how many were.
    fn settle(&mut self, segment: SegmentId, stored: impl IntoIterator<Item = (u16, PublicKey)>) -> usize {
        let Some(watched) = self.segments.get_mut(&segment) else { return 0 };
        let mut count = 0;
        for (shard, node) in stored {
            let Some(place) = watched.shards.get_mut(usize::from(shard)).filter(|place| place.is_none())
            else {
                continue;
            };
            if let Some(number) = self.numbers.get(&node) {
                *place = Some(*number);
                watched.alive += 1;
                count += 1;
                self.held.insert((*number, segment));
            }
        }
        count
    }

    /// Puts a segment where its living shards belong, unless it is being rebuilt or waits to be.
    fn weigh(&mut self, segment: SegmentId) {
        self.undue(segment);
        let Some(watched) = self.segments.get_mut(&segment) else { return };
        let held = watched.shards.iter().flatten().count();
        assert_eq!(usize::from(watched.alive), held, "living shards are those that are held");
        let spare = watched.alive.checked_sub(watched.shape.profile().data_shards());
        match (spare, watched.is_lost) {
            (None, false) => {
                watched.is_lost = true;
                self.events.push_back(Event::Lost { segment });
            }
            (Some(_), true) => {
                watched.is_lost = false;
                self.events.push_back(Event::Found { segment });
            }
            _ => {}
        }
        let is_whole = usize::from(watched.alive) == watched.shards.len();
        if let (State::Resting, Some(spare)) = (watched.state, spare)
            && watched.alive <= watched.line
            && !is_whole
        {
            watched.state = State::Due(spare);
            self.due.insert((spare, segment));
        }
    }

    /// Until [`RETRY_AFTER`] from now.
    fn wait(&mut self, now: Instant, segment: SegmentId) {
        if let Some(watched) = self.segments.get_mut(&segment) {
            let until = now + RETRY_AFTER;
            watched.state = State::Waiting(until);
            self.waiting.insert((until, segment));
        }
    }

    /// Back to rest from being due.
    fn undue(&mut self, segment: SegmentId) {
        if let Some(watched) = self.segments.get_mut(&segment)
            && let State::Due(spare) = watched.state
        {
            watched.state = State::Resting;
            self.due.remove(&(spare, segment));
        }
    }

    fn unqueue(&mut self, segment: SegmentId) {
        self.undue(segment);
        if let Some(watched) = self.segments.get_mut(&segment)
            && let State::Waiting(until) = watched.state
        {
            watched.state = State::Resting;
            self.waiting.remove(&(until, segment));
        }
    }
}

#[cfg(test)]
mod tests;
