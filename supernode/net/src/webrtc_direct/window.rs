//! How many bytes may be written before the remote has acknowledged earlier ones.
//!
//! Too few starve a long path, too many make SCTP slow (its cost grows with its queue) and let
//! small messages wait behind large ones. So the window is what the path holds: the measured rate
//! of acknowledgement times the shortest round trip seen, twice, within bounds.

use std::time::{Duration, Instant};

/// The rate and the round trip are measured a bit late; twice the product leaves room to grow.
const GAIN: u128 = 2;

/// The send window of a session.
#[derive(Debug)]
pub(super) struct SendWindow {
    bytes: usize,
    bounds: (usize, usize),
    written: u64,
    acknowledged: u64,
    round: Option<Round>,
    round_trip_min: Duration,
}

/// A stretch of the stream whose acknowledgement is waited for.
#[derive(Debug, Clone, Copy)]
struct Round {
    started: Instant,
    until: u64,
    acknowledged_before: u64,
    limited: bool,
}

impl SendWindow {
    pub(super) fn new(bounds: (usize, usize)) -> Self {
        Self {
            bytes: bounds.0,
            bounds,
            written: 0,
            acknowledged: 0,
            round: None,
            round_trip_min: Duration::MAX,
        }
    }

    /// Bytes written and not yet acknowledged.
    pub(super) fn in_flight(&self) -> usize {
        usize::try_from(self.written - self.acknowledged).unwrap_or(usize::MAX)
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight() < self.bytes
    }

    /// Few enough bytes are left that writers should be woken.
    pub(super) fn is_low(&self) -> bool {
        self.in_flight() <= self.bytes / 2
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A writer would have written more.
    pub(super) fn handle_blocked(&mut self) {
        if let Some(round) = &mut self.round {
            round.limited = true;
        }
    }

    pub(super) fn handle_written(&mut self, bytes: usize, now: Instant) {
        self.written += bytes as u64;
        self.round.get_or_insert(Round {
            started: now,
            until: self.written,
            acknowledged_before: self.acknowledged,
            limited: false,
        });
    }

    /// `in_flight` bytes are left unacknowledged.
    pub(super) fn handle_in_flight(&mut self, in_flight: usize, now: Instant) {
        let acknowledged = self.written.saturating_sub(in_flight as u64);
        self.acknowledged = self.acknowledged.max(acknowledged);
        let Some(round) = self.round.filter(|round| self.acknowledged >= round.until) else { return };
        self.round = None;
        let took = now.saturating_duration_since(round.started).max(Duration::from_micros(50));
        self.round_trip_min = self.round_trip_min.min(took);
        if !round.limited {
            return;
        }
        let acknowledged = u128::from(self.acknowledged - round.acknowledged_before);
        let product = GAIN * acknowledged * self.round_trip_min.as_nanos() / took.as_nanos().max(1);
        let target = usize::try_from(product).unwrap_or(usize::MAX);
        // At most twice as much a round, and down by an eighth: one odd measurement is no path.
        let low = self.bytes - self.bytes / 8;
        self.bytes = target.clamp(low, self.bytes * 2).clamp(self.bounds.0, self.bounds.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: (usize, usize) = (32 * 1024, 2 * 1024 * 1024);

    /// A writer that always has more, over a path of the given rate and round trip.
    fn settle(rate_bytes: u64, round_trip: Duration, seconds: u64) -> SendWindow {
        let mut window = SendWindow::new(BOUNDS);
        let start = Instant::now();
        let mut now = start;
        let mut path = std::collections::VecDeque::<(Instant, usize)>::new();
        let mut free_at = now;
        while now < start + Duration::from_secs(seconds) {
            while window.has_room() {
                let bytes = 16 * 1024;
                window.handle_written(bytes, now);
                free_at = free_at.max(now) + Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate_bytes);
                path.push_back((free_at + round_trip, bytes));
            }
            window.handle_blocked();
            let (arrives, bytes) = path.pop_front().unwrap();
            now = arrives;
            let left = window.in_flight() - bytes;
            window.handle_in_flight(left, now);
        }
        window
    }

    #[test]
    fn near_path_keeps_a_small_window() {
        let window = settle(35_000_000, Duration::from_micros(200), 2);
        assert!(window.bytes() <= 128 * 1024, "{}", window.bytes());
    }

    #[test]
    fn far_path_grows_to_its_product() {
        let window = settle(5_000_000, Duration::from_millis(60), 10);
        assert!((300_000..1_500_000).contains(&window.bytes()), "{}", window.bytes());
    }

    #[test]
    fn bounds_hold() {
        let window = settle(500_000_000, Duration::from_millis(300), 20);
        assert_eq!(window.bytes(), BOUNDS.1);
    }
}
