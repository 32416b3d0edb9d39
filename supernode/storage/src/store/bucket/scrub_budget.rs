//! How much may be read back to be verified: providers charge for what leaves them.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Fills with time up to an hour's worth, and may be overdrawn by one blob.
pub(in crate::store) struct ScrubBudget {
    hourly_bytes: u64,
    spent: Mutex<Spent>,
}

struct Spent {
    bytes: u64,
    at: Instant,
}

impl ScrubBudget {
    pub(in crate::store) fn new(mib_per_hour: u64) -> Self {
        let spent = Mutex::new(Spent { bytes: 0, at: Instant::now() });
        Self { hourly_bytes: mib_per_hour.saturating_mul(1 << 20), spent }
    }

    /// Whether another blob may be read at `now`; if so, its `bytes` are spent.
    pub(in crate::store) fn spend(&self, bytes: u64, now: Instant) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(spent.at).as_millis();
        let earned = u128::from(self.hourly_bytes).saturating_mul(passed) / HOUR.as_millis();
        if earned > 0 {
            spent.bytes = spent.bytes.saturating_sub(u64::try_from(earned).unwrap_or(u64::MAX));
            spent.at = now;
        }
        if spent.bytes >= self.hourly_bytes {
            return false;
        }
        spent.bytes = spent.bytes.saturating_add(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hours_worth_is_spent_in_an_hour() {
        let (budget, start) = (ScrubBudget::new(1), Instant::now());
        assert!(budget.spend(1 << 20, start));
        assert!(!budget.spend(1, start));
        assert!(!budget.spend(1, start + Duration::from_micros(1)));
        let later = start + HOUR / 2;
        assert!(budget.spend(10 << 20, later));
        assert!(!budget.spend(1, later + HOUR));
        assert!(budget.spend(1, later + HOUR * 10));
        assert!(!ScrubBudget::new(0).spend(1, start + HOUR));
    }
}
