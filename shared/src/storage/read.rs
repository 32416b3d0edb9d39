//! Read: as much of one segment as a reader wants, from whoever holds it.
//!
//! ```text
//!          each shard wanted is fetched from its holder
//! Direct ──────────────────────────────────────────────► Done
//!    │ one of them is gone, late or lying                  ▲
//!    └──────────► Coded: any k shards, and a few more ─────┤
//!                    └── nobody left to ask ───────────► Failed
//! ```
//!
//! The first k shards are the segment's own bytes, so a reader asks for those it wants and computes nothing. Where one
//! does not come, any k do instead: a few more than k are asked at once, more with each span of patience, and the
//! slowest are cancelled. Each holder is asked once.
//!
//! Goals: one slow or dead holder costs a reader its patience once, a liar one block; what a reader finds out about a
//! holder is told. Non-goals: which bytes of the shards (the shell knows its stripes), verifying and decoding them.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::erasure::Profile;
use crate::{
    base::{EffectId, Instant},
    identity::PublicKey,
};

/// Who says nothing for so long is gone for this read.
pub const ATTEMPT_WITHIN: Duration = Duration::from_secs(30);
/// What a reader waits for the next shard before it asks others, as long as nothing came yet.
const PATIENCE: Duration = Duration::from_millis(700);
/// Patience follows what the median took, within these.
const PATIENCE_MIN: Duration = Duration::from_millis(200);
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// One more than needed is asked for each so many: the long tail of one slow holder in ten.
const DATA_TO_AN_EXTRA: u16 = 8;

/// Why a shard did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FetchFailure {
    /// Not reached, broken off, too busy, too slow.
    Unavailable,
    /// The holder says that it has not got it.
    Lost,
    /// What came is not the shard's.
    Wrong,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Fetch the part of a shard, verify it, and report by [`Read::handle_fetched`] or [`Read::handle_failed`].
    Fetch {
        /// Names it in the report.
        id: EffectId,
        /// Which shard.
        shard: u16,
        /// Of whom.
        holder: PublicKey,
    },
    /// Break it off; a report that comes all the same is ignored.
    Cancel {
        /// Which.
        id: EffectId,
    },
}

/// What our user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// These shards are here, and enough.
    Done {
        /// Which: all that were wanted, or any k.
        shards: BTreeSet<u16>,
    },
    /// Nobody is left to ask.
    Failed {
        /// Shards that came.
        arrived: u16,
        /// How many would be enough.
        needed: u16,
    },
    /// A holder has not got what it promised to keep.
    Missing {
        /// Which shard.
        shard: u16,
        /// Who.
        holder: PublicKey,
        /// Whether it sent other bytes instead of saying so.
        lied: bool,
    },
}

#[derive(Clone, Debug)]
struct Attempt {
    shard: u16,
    holder: PublicKey,
    begun: Instant,
}

/// One read under way.
pub struct Read {
    profile: Profile,
    wanted: BTreeSet<u16>,
    /// Who can be asked for each shard yet, best first.
    holders: BTreeMap<u16, VecDeque<PublicKey>>,
    attempts: BTreeMap<EffectId, Attempt>,
    arrived: BTreeSet<u16>,
    took: Vec<Duration>,
    coded: bool,
    /// Asked beyond what is needed.
    extra: u16,
    progress: Instant,
    over: bool,
    next_effect: u64,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
}

impl Read {
    /// Asks for the shards `wanted`, all of the first k. `holders` says who has which, whom to prefer first.
    pub fn new(
        now: Instant,
        profile: Profile,
        wanted: impl IntoIterator<Item = u16>,
        holders: impl IntoIterator<Item = (u16, PublicKey)>,
    ) -> Self {
        let mut by_shard = BTreeMap::<u16, VecDeque<PublicKey>>::new();
        for (shard, holder) in holders {
            if shard < profile.total_shards() {
                by_shard.entry(shard).or_default().push_back(holder);
            }
        }
        let wanted = wanted.into_iter().filter(|shard| *shard < profile.data_shards()).collect();
        let mut read = Self {
            profile,
            wanted,
            holders: by_shard,
            attempts: BTreeMap::new(),
            arrived: BTreeSet::new(),
            took: Vec::new(),
            coded: false,
            extra: 0,
            progress: now,
            over: false,
            next_effect: 0,
            effects: VecDeque::new(),
            events: VecDeque::new(),
        };
        read.drive(now);
        read
    }

    /// Whether nothing more will happen.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// A shard's part is here, and verified.
    pub fn handle_fetched(&mut self, now: Instant, id: EffectId) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        self.took.push(now.since(attempt.begun));
        self.progress = now;
        self.arrived.insert(attempt.shard);
        self.cancel(|other| other.shard == attempt.shard);
        self.drive(now);
    }

    /// A shard's part did not come.
    pub fn handle_failed(&mut self, now: Instant, id: EffectId, failure: FetchFailure) {
        let Some(Attempt { shard, holder, .. }) = self.attempts.remove(&id) else { return };
        match failure {
            FetchFailure::Unavailable => {}
            FetchFailure::Lost => self.events.push_back(Event::Missing { shard, holder, lied: false }),
            FetchFailure::Wrong => self.events.push_back(Event::Missing { shard, holder, lied: true }),
        }
        self.drive(now);
    }

    /// Time passed.
    pub fn handle_time(&mut self, now: Instant) {
        if self.over {
            return;
        }
        self.cancel(|attempt| now >= attempt.begun + ATTEMPT_WITHIN);
        if now >= self.progress + self.patience() {
            self.progress = now;
            if self.coded {
                self.extra = self.extra.saturating_add(self.extras());
            }
            self.coded = true;
        }
        self.drive(now);
    }

    /// The reader went away.
    pub fn abandon(&mut self) {
        self.over = true;
        self.cancel(|_| true);
    }

    /// What to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Read::handle_time`] has something to do.
    pub fn poll_deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let given_up = self.attempts.values().map(|attempt| attempt.begun + ATTEMPT_WITHIN).min();
        let impatient = (!self.holders.is_empty()).then(|| self.progress + self.patience());
        [given_up, impatient].into_iter().flatten().min()
    }

    fn patience(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let median = took.get(took.len() / 2);
        median.map_or(PATIENCE, |median| (*median * 2).clamp(PATIENCE_MIN, PATIENCE_MAX))
    }

    fn extras(&self) -> u16 {
        (self.profile.data_shards() / DATA_TO_AN_EXTRA).max(1)
    }

    /// Asks whom there is reason to ask, and ends where there is nobody or no need.
    fn drive(&mut self, now: Instant) {
        if self.over {
            return;
        }
        let needed = self.profile.data_shards();
        if self.wanted.is_subset(&self.arrived) || self.arrived.len() >= usize::from(needed) {
            self.abandon();
            self.events.push_back(Event::Done { shards: self.arrived.clone() });
            return;
        }
        if !self.coded {
            for shard in self.wanted.clone() {
                if !self.arrived.contains(&shard) && !self.is_asked(shard) && !self.ask(now, shard) {
                    self.coded = true;
                }
            }
        }
        if self.coded {
            self.extra = self.extra.max(self.extras());
            let target = usize::from(needed) + usize::from(self.extra);
            while self.arrived.len() + self.shards_asked() < target {
                let candidate = self
                    .holders
                    .keys()
                    .copied()
                    .find(|shard| !self.arrived.contains(shard) && !self.is_asked(*shard));
                let Some(shard) = candidate else { break };
                self.ask(now, shard);
            }
        }
        if self.attempts.is_empty() {
            self.over = true;
            let arrived = u16::try_from(self.arrived.len()).expect("a segment has at most 128 shards");
            self.events.push_back(Event::Failed { arrived, needed });
        }
    }

    fn is_asked(&self, shard: u16) -> bool {
        self.attempts.values().any(|attempt| attempt.shard == shard)
    }

    fn shards_asked(&self) -> usize {
        self.attempts.values().map(|attempt| attempt.shard).collect::<BTreeSet<_>>().len()
    }

    /// Asks the next holder of a shard; says whether there was one.
    fn ask(&mut self, now: Instant, shard: u16) -> bool {
        let Some(holders) = self.holders.get_mut(&shard) else { return false };
        let holder = holders.pop_front();
        if holders.is_empty() {
            self.holders.remove(&shard);
        }
        let Some(holder) = holder else { return false };
        let id = EffectId(self.next_effect);
        self.next_effect += 1;
        self.effects.push_back(Effect::Fetch { id, shard, holder: holder.clone() });
        self.attempts.insert(id, Attempt { shard, holder, begun: now });
        true
    }

    fn cancel(&mut self, which: impl Fn(&Attempt) -> bool) {
        let effects = &mut self.effects;
        self.attempts.retain(|id, attempt| {
            let keep = !which(attempt);
            if !keep {
                effects.push_back(Effect::Cancel { id: *id });
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests;
