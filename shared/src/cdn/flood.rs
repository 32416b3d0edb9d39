//! How many messages a link may send: a bucket that fills with time.

use crate::base::Instant;

/// Messages at once. A peer that comes with its whole `Have` and a full pipeline stays below.
const BURST: u64 = 8192;
/// Messages a second in the long run: a 64 MiB/s link asking for single groups.
const PER_SECOND: u64 = 4096;

/// One link's allowance.
#[derive(Clone, Copy, Debug)]
pub struct FloodGate {
    left: u64,
    at: Instant,
}

impl FloodGate {
    /// Full.
    pub const fn new(now: Instant) -> Self {
        Self { left: BURST, at: now }
    }

    /// Takes one message; whether it was allowed.
    #[must_use]
    pub fn pass(&mut self, now: Instant) -> bool {
        let micros = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        let gained = micros.saturating_mul(PER_SECOND) / 1_000_000;
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(BURST);
            // What was not enough for a whole message counts towards the next.
            self.at =
                self.at + core::time::Duration::from_micros(gained.saturating_mul(1_000_000) / PER_SECOND);
        }
        let passes = self.left > 0;
        self.left = self.left.saturating_sub(1);
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_noticed_and_a_steady_stream_is_not() {
        let mut gate = FloodGate::new(Instant::default());
        assert!((0..BURST).all(|_| gate.pass(Instant::default())));
        assert!(!gate.pass(Instant::default()));
        let mut gate = FloodGate::new(Instant::default());
        assert!((0..100_000u64).all(|n| gate.pass(Instant::from_micros(n * 1_000_000 / PER_SECOND))));
    }
}
