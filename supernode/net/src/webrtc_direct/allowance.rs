//! How often strangers are answered. Their requests are forged for nothing, and answers go where the forger says.

use std::time::{Duration, Instant};

/// Answers at once: a crowd that comes within a second, each asking twice.
const BURST: u32 = 2_000;

/// The time in which another is earned. A thousand answers a second are 80 kB, which harm nobody.
const ONE_EVERY: Duration = Duration::from_millis(1);

/// A bucket of [`BURST`] that fills with time.
#[derive(Default)]
pub(super) struct Allowance {
    /// When the bucket will be full again; the past where it is.
    full_at: Option<Instant>,
}

impl Allowance {
    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + ONE_EVERY;
        let allowed = full_at <= now + BURST * ONE_EVERY;
        if allowed {
            self.full_at = Some(full_at);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_no_more_than_its_share() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        let mut answered = |now| (0..10_000).filter(|_| allowance.take(now)).count();
        assert_eq!(answered(start), 2_000);
        assert_eq!(answered(start + Duration::from_millis(500)), 500);
        assert_eq!(answered(start + Duration::from_secs(60)), 2_000);
    }
}
