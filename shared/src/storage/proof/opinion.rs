//! What an auditor tells a holder of its audits, in words that help the holder's operator.
//!
//! An opinion is the auditor's word alone. A holder that would believe it had to trust each stranger whose shards it
//! took; so nothing is decided by it, and what is made of it is a sentence, a warning and a figure.

use core::fmt;

use super::{DISMISSAL_POINTS, Standing, standing};
use crate::{
    storage::placement::{REPUTATION_MAX, REPUTATION_MIN},
    wire::storage as wire,
};

/// A standing as it is told to whom it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Audits that showed the shard in time,
    pub passed: u64,
    /// or later.
    pub late: u64,
    /// Audits that the holder answered with having lost the shard,
    pub lost: u64,
    /// did not answer,
    pub silent: u64,
    /// or answered with what is not so.
    pub wrong: u64,
    /// From 0 to [`REPUTATION_MAX`]; 0 of who is dismissed.
    reputation: u16,
    vetted: bool,
    dismissed: bool,
}

/// How much of a concern an opinion is to the holder's operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// None.
    #[default]
    Nothing,
    /// The reputation is below [`REPUTATION_MIN`], where owners place nothing new.
    Doubted,
    /// What the holder has is rebuilt elsewhere, and nothing is ever placed there again.
    Dismissed,
}

impl Opinion {
    /// What to tell a holder that stands so, of an auditor with whom it counts after so many audits.
    pub fn new(standing: &Standing, vetting_audits: u64) -> Self {
        let [passed, late, lost, silent, wrong, ..] = standing.to_counts();
        let dismissed = standing.is_dismissed();
        let vetted = !dismissed && standing.held() >= vetting_audits;
        let reputation = standing.reputation();
        Self { passed, late, lost, silent, wrong, reputation, vetted, dismissed }
    }

    /// For the wire.
    pub fn to_wire(&self) -> wire::AuditorOpinion {
        let Self { passed, late, lost, silent, wrong, reputation, vetted, dismissed } = *self;
        let reputation = reputation.into();
        wire::AuditorOpinion { passed, late, lost, silent, wrong, reputation, vetted, dismissed }
    }

    /// What anybody may have said, made to agree with itself: of two words the worse one holds.
    pub fn from_wire(said: &wire::AuditorOpinion) -> Self {
        let wire::AuditorOpinion { passed, late, lost, silent, wrong, reputation, vetted, dismissed } = *said;
        let reputation = u16::try_from(reputation).unwrap_or(REPUTATION_MAX).min(REPUTATION_MAX);
        let reputation = if dismissed { 0 } else { reputation };
        Self { passed, late, lost, silent, wrong, reputation, vetted: vetted && !dismissed, dismissed }
    }

    /// From 0 to [`REPUTATION_MAX`].
    pub const fn reputation(&self) -> u16 {
        self.reputation
    }

    /// Whether what the holder has counts with this auditor.
    pub const fn is_vetted(&self) -> bool {
        self.vetted
    }

    /// Whether the auditor has done with this holder.
    pub const fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// All audits that it counts.
    pub const fn audits(&self) -> u64 {
        self.held().saturating_add(self.failed())
    }

    /// Of them those that did not show the shard.
    pub const fn failed(&self) -> u64 {
        self.lost.saturating_add(self.silent).saturating_add(self.wrong)
    }

    const fn held(&self) -> u64 {
        self.passed.saturating_add(self.late)
    }

    /// Whether the operator should look.
    pub const fn concern(&self) -> Concern {
        if self.dismissed {
            Concern::Dismissed
        } else if self.reputation < REPUTATION_MIN {
            Concern::Doubted
        } else {
            Concern::Nothing
        }
    }

    /// As few audits in a row as dismiss, where none shows the shard, and where each shows it late. Which of the two
    /// sums the reputation is of is not told, so either may be as near as the nearer.
    fn left(&self) -> (u32, u32) {
        let points = u32::from(self.reputation) * DISMISSAL_POINTS / u32::from(REPUTATION_MAX);
        let left = |each: i32| points.div_ceil(each.unsigned_abs()).max(1);
        (left(standing::MISSED), left(standing::LATE))
    }

    /// What an operator can do about each kind of failure there was.
    pub fn advice(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (
                self.lost,
                "Answered as lost: shards rotted or were deleted. Look at the disk, and at who else writes to the data \
                 directory.",
            ),
            (
                self.silent,
                "Not answered: the node was off or not to be reached, or its clock is ahead and it let shards go before \
                 their time. Look at its line, its firewall and its clock.",
            ),
            (
                self.late,
                "Late: answers took longer than two seconds. Look at what else uses the disk, the processors and the line.",
            ),
            (
                self.wrong,
                "Answered with something else: what was signed does not lead to the shard. Look at the disk, the memory \
                 and the version, and for another node with this one's key.",
            ),
        ];
        all.into_iter().filter(|(count, _)| *count > 0).map(|(_, advice)| advice)
    }
}

impl fmt::Display for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        standing::tell_counts(f, [self.passed, self.late, self.lost, self.silent, self.wrong])?;
        if self.dismissed {
            return f.write_str(
                ". Dismissed: what is held here is rebuilt elsewhere, and nothing new will come.",
            );
        }
        let (missed, late) = self.left();
        write!(
            f,
            ". Reputation {} of {REPUTATION_MAX}: as few as {missed} missed or {late} late in a row would dismiss",
            self.reputation
        )?;
        f.write_str(if self.vetted { "; vetted." } else { "; not vetted yet." })
    }
}
