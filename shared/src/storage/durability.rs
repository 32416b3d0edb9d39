//! Durability: what a profile and a repair line promise, given how long holders really live.
//!
//! A segment is a birth-and-death chain over its living shards. Each shard dies at rate 1/L, independently; once no more
//! than the repair line are left, all lost ones are rebuilt together after an exponential time with mean T; with fewer
//! than k the segment is lost:
//!
//! ```text
//!      n/L          (line+1)/L        line/L         k/L
//!  n ──────► n−1 ─ … ──────────► line ───────► … ─► k ─────► lost
//!  ▲                              │ 1/T           │ 1/T
//!  └──────────────────────────────┴───────────────┘
//! ```
//!
//! The chain is solved exactly, in sums and products of positive numbers only: nothing cancels, and a loss of 10⁻³⁰ is
//! as exact as one of a tenth. (Angus, *On computing MTBF for a k-out-of-n:G repairable system*, IEEE Trans. Reliability
//! 37, 1988, has the model; solving it against a far end that is left unknown is ours.)
//!
//! A real repair has a deadline and no exponential's long tail, so the figures err on the low side.
//!
//! Non-goals: holders that vanish together. The chain knows independent deaths only; correlated ones are simulated, and
//! placement keeps them small. A declared figure holds for what was measured, and says so.

use super::erasure::Profile;

/// What was measured of a network, or is assumed of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Mean time from a holder's vetting to its end, in seconds; L.
    pub holder_lifetime_seconds: f64,
    /// Mean time from the loss that reaches the repair line to the last rebuilt shard, in seconds; T.
    pub repair_seconds: f64,
}

/// A number that no measurement gives.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum DurabilityError {
    /// Times are positive and finite.
    #[error(
        "a holder lives {holder_lifetime_seconds} s and a repair takes {repair_seconds} s, by this measurement"
    )]
    Measured {
        /// What was given.
        holder_lifetime_seconds: f64,
        /// What was given.
        repair_seconds: f64,
    },
    /// A line below k would repair what cannot be read, one at n what is whole.
    #[error("the repair line {line} is not between {data} and {below}")]
    Line {
        /// What was given.
        line: u16,
        /// The least.
        data: u16,
        /// One above the most.
        below: u16,
    },
}

/// The chain of one segment, solved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Durability {
    profile: Profile,
    /// Mean time to the segment's loss.
    loss_seconds: f64,
    /// Mean time from whole to whole again, or to loss: a trip.
    trip_seconds: f64,
    /// Mean number of repairs in a trip: almost one.
    repairs: f64,
    /// Mean number of shards rebuilt in a trip.
    rebuilt_shards: f64,
}

impl Durability {
    /// Solves the chain of `profile` with this repair line.
    ///
    /// # Errors
    /// [`DurabilityError`]; a profile of a single copy has no line at all.
    pub fn of(profile: Profile, line: u16, measured: Measured) -> Result<Self, DurabilityError> {
        let Measured { holder_lifetime_seconds, repair_seconds } = measured;
        let lawful = |seconds: f64| seconds.is_finite() && seconds > 0.0;
        if !lawful(holder_lifetime_seconds) || !lawful(repair_seconds) {
            return Err(DurabilityError::Measured { holder_lifetime_seconds, repair_seconds });
        }
        let (data, total) = (profile.data_shards(), profile.total_shards());
        if !(data..total).contains(&line) {
            return Err(DurabilityError::Line { line, data, below: total });
        }
        // Down to the line nothing is repaired.
        let descent = (line + 1..=total).map(|alive| holder_lifetime_seconds / f64::from(alive)).sum::<f64>();
        let below = Below::solve(data, line, measured);
        // From the line, a trip ends in loss or, after a repair, whole. Their number until the first loss is geometric,
        // and each takes a descent and the time below the line.
        let trip_seconds = descent + below.seconds;
        let loss_seconds = trip_seconds / below.loss;
        // A trip that ends in loss rebuilds nothing.
        let repairs = 1.0 - below.loss;
        let rebuilt_shards = f64::from(total - line) * repairs + below.deaths_repaired;
        Ok(Self { profile, loss_seconds, trip_seconds, repairs, rebuilt_shards })
    }

    /// Mean time to the loss of one segment, in seconds.
    pub const fn mean_seconds_to_loss(&self) -> f64 {
        self.loss_seconds
    }

    /// The probability that a segment which is whole now is lost within this time. Loss comes after so many trips
    /// through the chain that its time is exponential, as far as a trip is short against the mean.
    pub fn loss_within(&self, seconds: f64) -> f64 {
        -(-seconds / self.loss_seconds).exp_m1()
    }

    /// What is declared: how many nines of a hundred percent a year keeps, such as 11.0 for 99.999999999 %.
    pub fn nines_a_year(&self) -> f64 {
        -self.loss_within(YEAR_SECONDS).log10()
    }

    /// Bytes sent in repairs for a byte stored, a second: k shards are read for each repair, and the lost ones written,
    /// each a k-th of the segment.
    pub fn repair_bytes_per_stored_byte_second(&self) -> f64 {
        let data = f64::from(self.profile.data_shards());
        (data * self.repairs + self.rebuilt_shards) / data / self.trip_seconds
    }
}

/// A Julian year.
pub const YEAR_SECONDS: f64 = 365.25 * 86_400.0;

/// The lowest repair line that keeps `nines` a year, if any does: the less is repaired, the less is sent.
///
/// # Errors
/// [`DurabilityError::Measured`].
pub fn repair_line(profile: Profile, nines: f64, measured: Measured) -> Result<Option<u16>, DurabilityError> {
    for line in profile.data_shards()..profile.total_shards() {
        if Durability::of(profile, line, measured)?.nines_a_year() >= nines {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// A trip below the repair line.
struct Below {
    /// Mean time from the line to repair or loss.
    seconds: f64,
    /// The probability that it ends in loss.
    loss: f64,
    /// Mean number of deaths below the line, of trips that end in repair, counted with their probability.
    deaths_repaired: f64,
}

impl Below {
    fn solve(data: u16, line: u16, measured: Measured) -> Self {
        // The probability to come this far down, the time spent, the deaths.
        let (mut here, mut seconds, mut deaths_repaired) = (1.0, 0.0, 0.0);
        for alive in (data..=line).rev() {
            let death = f64::from(alive) / measured.holder_lifetime_seconds;
            let repair = 1.0 / measured.repair_seconds;
            seconds += here / (death + repair);
            deaths_repaired += here * repair / (death + repair) * f64::from(line - alive);
            here *= death / (death + repair);
        }
        Self { seconds, loss: here, deaths_repaired }
    }
}

#[cfg(test)]
mod tests;
