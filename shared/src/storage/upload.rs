//! Upload: one segment's shards to their holders, until enough of them promised to keep theirs.
//!
//! ```text
//!            enough shards held               all held, or the grace is over
//! Sending ──────────────────────► Trailing ─────────────────────────────────► Finished
//!    │                              the slowest are cancelled then
//!    └── too few can still come ──► Failed
//! ```
//!
//! All holders are asked at once, without a round trip to reserve room: who is full refuses the shard as it comes. A
//! shard whose holder refuses, or is slower than its fellows were, goes to a spare as well, and the first to promise has
//! it. Enough is above the repair line by half the way to all, so that a fresh segment is no repair's business; what the
//! grace leaves out is filled when the line is reached.
//!
//! Goals: what was acknowledged rests on signed leases alone; bounded work and time. Non-goals: choosing holders
//! (placement does), moving bytes (the shell does), and keeping leases (who stores them does).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    holders::{Lease, LeaseError},
    record::SegmentRecord,
};
use crate::{
    base::{BlobRoot, EffectId, Instant, UnixSeconds},
    identity::PublicKey,
};

/// A shard of 16 MiB over a line of 0.14 MB/s; who is slower holds up everybody.
pub const ATTEMPT_WITHIN: Duration = Duration::from_secs(120);
/// Who takes this many times what the median took is slow.
const SLOW_FACTOR: u32 = 3;
/// And nobody is before this.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// The slowest have as long again as the others took, within these.
const GRACE_MIN: Duration = Duration::from_millis(500);
const GRACE_MAX: Duration = Duration::from_secs(30);

/// What is uploaded, and whereto.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The segment.
    pub record: SegmentRecord,
    /// Whose leases they will be.
    pub owner: PublicKey,
    /// Until when they are to hold.
    pub lease_until: UnixSeconds,
    /// Which shard goes to whom; no shard and no holder twice.
    pub chosen: Vec<(u16, PublicKey)>,
    /// Who stands in, best first.
    pub spares: Vec<PublicKey>,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a key is large; these are drained one by one")]
pub enum Effect {
    /// Send a shard, and report by [`Upload::handle_stored`] or [`Upload::handle_failed`].
    Store {
        /// Names it in the report.
        id: EffectId,
        /// Which shard.
        shard: u16,
        /// Its name.
        root: BlobRoot,
        /// To whom.
        holder: PublicKey,
    },
    /// Break it off; a report that comes all the same is ignored, and a lease is let go.
    Cancel {
        /// Which.
        id: EffectId,
    },
}

/// What our user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The segment is safe: so many holders promised.
    Acknowledged {
        /// Shards held.
        held: u16,
    },
    /// Nothing more will happen.
    Finished {
        /// Shards held.
        held: u16,
    },
    /// Too few holders could be found. What is held may be let go.
    Failed {
        /// Shards held.
        held: u16,
        /// How many would have been enough.
        enough: u16,
    },
    /// A holder's promise is not the one it was asked for.
    BadLease {
        /// Whose.
        holder: PublicKey,
        /// What is wrong.
        fault: LeaseError,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sending,
    /// Until then.
    Trailing(Instant),
    Over,
}

#[derive(Clone, Debug)]
struct Attempt {
    shard: u16,
    holder: PublicKey,
    begun: Instant,
    /// It was too slow, and a spare was asked too.
    doubled: bool,
}

/// One segment on its way.
pub struct Upload {
    record: SegmentRecord,
    owner: PublicKey,
    lease_until: UnixSeconds,
    enough: u16,
    spares: VecDeque<PublicKey>,
    /// At most two a shard.
    attempts: BTreeMap<EffectId, Attempt>,
    held: BTreeMap<u16, (PublicKey, Vec<u8>)>,
    /// What those took that promised; at most 128.
    took: Vec<Duration>,
    begun: Instant,
    state: State,
    next_effect: u64,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
}

/// How many shards are enough to tell the owner that a segment is safe: above the repair line by half the way to all.
pub const fn enough(record: &SegmentRecord) -> u16 {
    let profile = record.shape().profile();
    let (line, total) = (profile.repair_line(), profile.total_shards());
    line + (total - line).div_ceil(2)
}

impl Upload {
    /// Asks all that were chosen.
    pub fn new(now: Instant, plan: Plan) -> Self {
        let Plan { record, owner, lease_until, chosen, spares } = plan;
        let enough = enough(&record);
        let mut upload = Self {
            record,
            owner,
            lease_until,
            enough,
            spares: spares.into(),
            attempts: BTreeMap::new(),
            held: BTreeMap::new(),
            took: Vec::new(),
            begun: now,
            state: State::Sending,
            next_effect: 0,
            effects: VecDeque::new(),
            events: VecDeque::new(),
        };
        let mut sent = BTreeSet::new();
        for (shard, holder) in chosen {
            if upload.record.root(shard).is_some() && sent.insert(shard) {
                upload.send(now, shard, holder, false);
            }
        }
        upload.weigh(now);
        upload
    }

    /// Who holds which shard so far, and the signed lease that says so.
    pub fn held(&self) -> impl Iterator<Item = (u16, &PublicKey, &[u8])> {
        self.held.iter().map(|(shard, (holder, lease))| (*shard, holder, lease.as_slice()))
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// A holder answered with this lease.
    pub fn handle_stored(&mut self, now: Instant, id: EffectId, lease: &[u8]) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        let root = self.record.root(attempt.shard).expect("what was sent is of the segment");
        let shard = (root, self.record.shape().shard_bytes());
        let (holder, owner, until) = (&attempt.holder, &self.owner, self.lease_until);
        match Lease::answers(lease, holder, shard, owner, until) {
            Ok(_) => {
                self.took.push(now.since(attempt.begun));
                self.cancel(|other| other.shard == attempt.shard);
                self.held.insert(attempt.shard, (attempt.holder, lease.to_vec()));
            }
            Err(fault) => {
                self.events.push_back(Event::BadLease { holder: attempt.holder, fault });
                self.replace(now, attempt.shard);
            }
        }
        self.weigh(now);
    }

    /// A holder could not be reached, refused, or broke off.
    pub fn handle_failed(&mut self, now: Instant, id: EffectId) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        self.replace(now, attempt.shard);
        self.weigh(now);
    }

    /// Time passed.
    pub fn handle_time(&mut self, now: Instant) {
        let late = |attempt: &Attempt| now >= attempt.begun + ATTEMPT_WITHIN;
        let given_up: BTreeSet<u16> =
            self.attempts.values().filter(|attempt| late(attempt)).map(|attempt| attempt.shard).collect();
        self.cancel(late);
        given_up.into_iter().for_each(|shard| self.replace(now, shard));
        if let Some(patience) = self.patience() {
            let slow: Vec<(EffectId, u16)> = self
                .attempts
                .iter()
                .filter(|(_, attempt)| !attempt.doubled && now >= attempt.begun + patience)
                .map(|(id, attempt)| (*id, attempt.shard))
                .collect();
            for (id, shard) in slow {
                let Some(spare) = self.spares.pop_front() else { break };
                self.attempts.get_mut(&id).expect("just found").doubled = true;
                self.send(now, shard, spare, true);
            }
        }
        self.weigh(now);
    }

    /// Breaks all off: the owner gave up.
    pub fn abandon(&mut self) {
        self.cancel(|_| true);
        self.state = State::Over;
    }

    /// What to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Upload::handle_time`] has something to do.
    pub fn poll_deadline(&self) -> Option<Instant> {
        let given_up = self.attempts.values().map(|attempt| attempt.begun + ATTEMPT_WITHIN).min();
        let grace = if let State::Trailing(until) = self.state { Some(until) } else { None };
        let slow = self.patience().filter(|_| !self.spares.is_empty()).and_then(|patience| {
            let waiting = self.attempts.values().filter(|attempt| !attempt.doubled);
            waiting.map(|attempt| attempt.begun + patience).min()
        });
        [given_up, grace, slow].into_iter().flatten().min()
    }

    /// After how long a holder is slow; nothing while too few are through to tell, or where nobody waits any more.
    fn patience(&self) -> Option<Duration> {
        if self.state != State::Sending || self.took.len() * 2 < usize::from(self.enough) {
            return None;
        }
        let mut took = self.took.clone();
        took.sort_unstable();
        Some((*took.get(took.len() / 2)? * SLOW_FACTOR).max(PATIENCE_MIN))
    }

    fn send(&mut self, now: Instant, shard: u16, holder: PublicKey, doubled: bool) {
        let id = EffectId(self.next_effect);
        self.next_effect += 1;
        let root = self.record.root(shard).expect("the caller knows the segment's shards");
        self.effects.push_back(Effect::Store { id, shard, root, holder: holder.clone() });
        self.attempts.insert(id, Attempt { shard, holder, begun: now, doubled });
    }

    /// A shard lost its holder: the next spare gets it, unless somebody else has it or is at it.
    fn replace(&mut self, now: Instant, shard: u16) {
        let served =
            self.held.contains_key(&shard) || self.attempts.values().any(|attempt| attempt.shard == shard);
        if served || self.state == State::Over {
            return;
        }
        if let Some(spare) = self.spares.pop_front() {
            self.send(now, shard, spare, false);
        }
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

    fn weigh(&mut self, now: Instant) {
        let held = u16::try_from(self.held.len()).expect("a segment has at most 128 shards");
        if self.state == State::Sending && held >= self.enough {
            let grace = now.since(self.begun).clamp(GRACE_MIN, GRACE_MAX);
            self.state = State::Trailing(now + grace);
            self.events.push_back(Event::Acknowledged { held });
        }
        match self.state {
            State::Sending => {
                let coming: BTreeSet<u16> = self.attempts.values().map(|attempt| attempt.shard).collect();
                if self.held.len() + coming.len() < usize::from(self.enough) {
                    self.abandon();
                    self.events.push_back(Event::Failed { held, enough: self.enough });
                }
            }
            State::Trailing(until) if self.attempts.is_empty() || now >= until => {
                self.abandon();
                self.events.push_back(Event::Finished { held });
            }
            State::Trailing(_) | State::Over => {}
        }
    }
}

#[cfg(test)]
mod tests;
