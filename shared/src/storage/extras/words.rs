//! What is said about extra shards: by tabs, by the machine to its shell, and to its user.

use core::fmt;

#[cfg(doc)]
use super::{Extras, SHARDS_OF_A_TAB};
use crate::{
    base::{BlobRoot, EffectId, Instant, SegmentId, UnixSeconds},
    identity::PublicKey,
    storage::proof::{Challenge, Verdict},
    wire::Refusal,
};

/// A visitor's tab. Not a holder: nothing that counts shards takes one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tab(pub PublicKey);

/// What a tab would keep, and what it keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What there is room for, beside what is kept.
    pub bytes: u64,
    /// At most [`SHARDS_OF_A_TAB`].
    pub kept: Vec<Kept>,
}

/// A shard as a tab keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The shard.
    pub root: BlobRoot,
    /// The segment it is of.
    pub segment: SegmentId,
    /// Until when it is leased.
    pub until: UnixSeconds,
}

/// A shard of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: SegmentId,
    /// Which of its shards.
    pub shard: u16,
    /// The shard's length.
    pub bytes: u64,
}

/// To be done by the shell: give a tab a shard, or renew its lease. Reported by [`Extras::handle_offered`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Names it in the report.
    pub id: EffectId,
    /// To whom.
    pub tab: Tab,
    /// Its root.
    pub root: BlobRoot,
    /// Which shard of what.
    pub place: Place,
    /// Whether the tab has it already, so that only the lease is renewed.
    pub renewal: bool,
}

/// To be sent by the shell, whose answer comes by [`Extras::handle_answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Names it in the answer.
    pub id: EffectId,
    /// Whom to ask what.
    pub challenge: Challenge,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The tab signed that it keeps the shard until then.
    Kept(UnixSeconds),
    /// It said no.
    Refused(Refusal),
    /// It could not be reached, or the shard could not be had.
    Failed,
}

/// What our user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A tab keeps a shard.
    Kept {
        /// Who.
        tab: Tab,
        /// What.
        root: BlobRoot,
    },
    /// An audit showed the shard, or did not.
    Audited {
        /// Who was asked.
        tab: Tab,
        /// About what.
        root: BlobRoot,
        /// How it ended.
        verdict: Verdict,
    },
    /// A tab lied, or lost too much, and is told nothing more.
    Dismissed {
        /// Who.
        tab: Tab,
    },
    /// A tab is not there any more.
    Gone {
        /// Who.
        tab: Tab,
        /// With how many shards, none of which counted.
        shards: usize,
    },
}

/// The last proof of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// What was found.
    pub verdict: Verdict,
    /// When.
    pub at: Instant,
}

/// A shard with a tab, as a status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra<'a> {
    /// Who.
    pub tab: &'a Tab,
    /// Its root.
    pub root: BlobRoot,
    /// Which shard of what.
    pub place: Place,
    /// The last audit, once there was one.
    pub proved: Option<Proved>,
}

impl fmt::Display for Tab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
