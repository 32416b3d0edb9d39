//! What a holder's audits add up to, in a way that can be explained to it.
//!
//! Two cumulative sums (Page, *Continuous inspection schemes*, Biometrika 1954), one of shards that were not there, one
//! of answers that came late. Each verdict adds the logarithm of how much likelier it is of a bad holder than of a
//! good one; a sum never falls below zero, so a long good past buys no licence. A holder is dismissed at the logarithm
//! of ten million: either sum dismisses a good one by mistake once in ten million audits at most (Lorden, *Procedures
//! for reacting to a change in distribution*, 1971), however long it stays.
//!
//! All in thousandths of a natural logarithm, as whole numbers: two auditors who saw the same come to the same.

use core::fmt;

use super::Verdict;
use crate::storage::placement::{REPUTATION_MAX, VETTING_AUDITS};

/// ln 10⁷.
pub const DISMISSAL_POINTS: u32 = 16_118;

// Rounded in the holder's favour.

/// A good holder fails to show one shard of a hundred, a bad one of ten: ln (0.1 / 0.01).
pub(super) const MISSED: i32 = 2_302;
/// A good holder checks what it signs, and errs once in a million, a bad one in a thousand: ln 1,000.
const SIGNED_WRONG: i32 = 6_907;
/// What is left of both: ln (0.899 / 0.989999).
const SHOWN: i32 = -97;
/// A good holder is late with a quarter of its answers, a bad one with three: ln 3,
pub(super) const LATE: i32 = 1_098;
/// and so one in time counts −ln 3.
const IN_TIME: i32 = -1_099;

/// A holder's record with one auditor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Audits that ended so.
    passed: u64,
    late: u64,
    lost: u64,
    silent: u64,
    wrong: u64,
    /// Points for shards that were not there.
    absence: u32,
    /// Points for answers that came late.
    lateness: u32,
    dismissed: bool,
}

impl Standing {
    /// For the owner's own disk: verdicts by kind, the points of both sums, and whether it was dismissed.
    pub fn to_counts(&self) -> [u64; 8] {
        let Self { passed, late, lost, silent, wrong, absence, lateness, dismissed } = *self;
        [passed, late, lost, silent, wrong, absence.into(), lateness.into(), dismissed.into()]
    }

    /// What [`Standing::to_counts`] gave.
    pub fn from_counts(counts: [u64; 8]) -> Self {
        let [passed, late, lost, silent, wrong, absence, lateness, dismissed] = counts;
        let points = |sum: u64| u32::try_from(sum).unwrap_or(u32::MAX);
        let (absence, lateness, dismissed) = (points(absence), points(lateness), dismissed > 0);
        Self { passed, late, lost, silent, wrong, absence, lateness, dismissed }
    }

    /// Audits that showed the shard, in time or late.
    pub const fn held(&self) -> u64 {
        self.passed + self.late
    }

    /// Whether it may hold shards that count. Dismissal stays: who wants to come back comes as a stranger.
    pub const fn is_vetted(&self) -> bool {
        !self.dismissed && self.held() >= VETTING_AUDITS
    }

    /// Whether its shards are to be repaired elsewhere.
    pub const fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// From 0 to [`REPUTATION_MAX`]: how far it is from dismissal.
    pub fn reputation(&self) -> u16 {
        let worst = self.absence.max(self.lateness).min(DISMISSAL_POINTS);
        let left =
            u64::from(DISMISSAL_POINTS - worst) * u64::from(REPUTATION_MAX) / u64::from(DISMISSAL_POINTS);
        if self.dismissed { 0 } else { u16::try_from(left).expect("at most a thousand") }
    }

    /// Takes a verdict.
    pub fn handle_verdict(&mut self, verdict: Verdict) {
        let (count, absence, lateness) = match verdict {
            Verdict::Passed => (&mut self.passed, SHOWN, IN_TIME),
            Verdict::Late(_) => (&mut self.late, SHOWN, LATE),
            Verdict::Lost => (&mut self.lost, MISSED, 0),
            Verdict::Silent => (&mut self.silent, MISSED, 0),
            Verdict::Wrong(_) => (&mut self.wrong, SIGNED_WRONG, 0),
        };
        *count = count.saturating_add(1);
        self.absence = self.absence.saturating_add_signed(absence);
        self.lateness = self.lateness.saturating_add_signed(lateness);
        self.dismissed |= self.absence.max(self.lateness) >= DISMISSAL_POINTS;
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tell_counts(f, [self.passed, self.late, self.lost, self.silent, self.wrong])?;
        write!(
            f,
            ". Absence stands at {} and lateness at {} of the {DISMISSAL_POINTS} points that dismiss",
            self.absence, self.lateness
        )?;
        match (self.dismissed, VETTING_AUDITS.saturating_sub(self.held())) {
            (true, _) => f.write_str(": dismissed."),
            (false, 0) => f.write_str(": vetted."),
            (false, missing) => write!(f, "; {missing} more to be vetted."),
        }
    }
}

/// How often which verdict was given, as the beginning of a sentence. The counts may be anybody's.
pub(super) fn tell_counts(f: &mut fmt::Formatter<'_>, counts: [u64; 5]) -> fmt::Result {
    let [passed, late, lost, silent, wrong] = counts;
    let held = passed.saturating_add(late);
    let all = [held, lost, silent, wrong].into_iter().fold(0, u64::saturating_add);
    write!(f, "{held} of {all} audits showed the shard, {late} of them late")?;
    let misses = [
        (lost, "were answered as lost"),
        (silent, "were not answered"),
        (wrong, "were answered with something else"),
    ];
    for (count, how) in misses.into_iter().filter(|(count, _)| *count > 0) {
        write!(f, "; {count} {how}")?;
    }
    Ok(())
}
