//! What a peer can do wrong: each offence has a name, a bound and a consequence.
//!
//! | offence | bound | consequence |
//! |---|---|---|
//! | bad piece | 1 | cut, reported |
//! | wrong object, or ahead of the hashes that were asked for before it | 1 | cut, reported |
//! | oversize, malformed, truncation | 1 | cut |
//! | old manifest | 1 | cut |
//! | bad receipt | 1 | cut |
//! | false `Have` | 8 refusals of promised groups | cut, reported |
//! | slow drip | 3 requests overdue, 256 pieces whose hashes it refused | cut for a minute; not reported, for the path may be to blame |
//! | flooding | message and request rates of `FloodGate` | cut, reported |
//!
//! A cut peer is remembered until its sentence ends, in a bounded list; meanwhile it is neither dialled nor
//! served. Reports lower the standing only with a supernode that has evidence of its own: see
//! [`super::tracker`].

use core::time::Duration;

use crate::{base::Instant, identity::PublicKey, wire::cdn as wire};

/// What a peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// Sent a piece that does not have the hash its blob's name promises.
    BadPiece,
    /// Answers so slowly that a slot is wasted on it.
    SlowDrip,
    /// Refused, again and again, what its `Have` promised.
    FalseHave,
    /// Sent a frame or a piece longer than allowed.
    Oversize,
    /// Sent a piece that was not asked for.
    WrongObject,
    /// Sent a piece or an answer shorter than announced.
    Truncation,
    /// Handed out a manifest older than the one it said it believes.
    OldManifest,
    /// Sent more messages or requests than any lawful peer does.
    Flooding,
    /// Sent bytes that are no message, or a message that breaks a bound.
    Malformed,
    /// Sent a receipt that does not hold.
    BadReceipt,
}

/// Peers remembered as cut. More than a tab ever links to in an hour; the oldest sentence makes room.
pub const MAX_CUT_PEERS: usize = 1024;
/// Refusals of promised groups before a `Have` counts as false. An eviction may cross a request; eight in one
/// link's life do not.
pub const FALSE_HAVE_REFUSALS: u32 = 8;
/// Pieces without the hashes that judge them before a link is given up: a link that has no time for the hashes may
/// still answer what was asked behind them, a window's worth or two; more are of no use to anybody.
pub const UNJUDGED_PIECES: u32 = 256;
/// Overdue requests before a link counts as dripping.
pub const SLOW_DRIP_OVERDUE: u32 = 3;

/// For peers that lied: an hour is longer than most tabs live.
const LIAR_SENTENCE: Duration = Duration::from_secs(3600);
/// For peers whose path may be to blame.
const SLOW_SENTENCE: Duration = Duration::from_secs(60);

impl Offence {
    /// How long the offender stays cut.
    pub const fn sentence(self) -> Duration {
        match self {
            Self::SlowDrip => SLOW_SENTENCE,
            _ => LIAR_SENTENCE,
        }
    }

    /// Whether it is told to the supernode. Only what nobody does by accident, or by a torn connection.
    pub const fn is_reported(self) -> bool {
        matches!(self, Self::BadPiece | Self::WrongObject | Self::FalseHave | Self::Flooding)
    }

    /// Its name, for people and for statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadPiece => "bad-piece",
            Self::SlowDrip => "slow-drip",
            Self::FalseHave => "false-have",
            Self::Oversize => "oversize",
            Self::WrongObject => "wrong-object",
            Self::Truncation => "truncation",
            Self::OldManifest => "old-manifest",
            Self::Flooding => "flooding",
            Self::Malformed => "malformed",
            Self::BadReceipt => "bad-receipt",
        }
    }

    /// Its number on the wire.
    pub const fn to_wire(self) -> wire::OffenceKind {
        match self {
            Self::BadPiece => wire::OffenceKind::BadPiece,
            Self::SlowDrip => wire::OffenceKind::SlowDrip,
            Self::FalseHave => wire::OffenceKind::FalseHave,
            Self::Oversize => wire::OffenceKind::Oversize,
            Self::WrongObject => wire::OffenceKind::WrongObject,
            Self::Truncation => wire::OffenceKind::Truncation,
            Self::OldManifest => wire::OffenceKind::OldManifest,
            Self::Flooding => wire::OffenceKind::Flooding,
            Self::Malformed => wire::OffenceKind::Malformed,
            Self::BadReceipt => wire::OffenceKind::BadReceipt,
        }
    }
}

/// Who was cut, and until when.
#[derive(Clone, Debug, Default)]
pub struct CutList {
    until: Vec<(PublicKey, Instant)>,
}

impl CutList {
    /// Remembers `peer`. The longer sentence holds.
    pub fn cut(&mut self, now: Instant, peer: PublicKey, offence: Offence) {
        let until = now + offence.sentence();
        match self.until.iter_mut().find(|(other, _)| *other == peer) {
            Some((_, longest)) => *longest = (*longest).max(until),
            None => self.until.push((peer, until)),
        }
        if self.until.len() > MAX_CUT_PEERS {
            self.until.retain(|(_, until)| *until > now);
        }
        let ends = self.until.iter().map(|(_, until)| *until);
        if self.until.len() > MAX_CUT_PEERS
            && let Some((soonest, _)) = ends.enumerate().min_by_key(|(_, until)| *until)
        {
            self.until.swap_remove(soonest);
        }
    }

    /// Whether `peer` is to be left alone.
    pub fn holds(&self, now: Instant, peer: &PublicKey) -> bool {
        self.until.iter().any(|(other, until)| other == peer && *until > now)
    }

    /// Peers remembered.
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Whether nobody was cut.
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }
}
