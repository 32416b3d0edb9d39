//! How many bytes a stream may have handed to the browser and not yet seen leave.
//!
//! Too few starve a long path: a browser drains at most one window a round trip. Too many make a
//! near path slower (the cost of its send queue grows with its length) and hold up every other
//! stream. So the window follows twice the bandwidth-delay product: while it is what limits, the
//! rate it yields lets it double every round trip; once the path limits, it stays.
//!
//! The round trip is the path's own, as ICE measures it beside the data; one measured through the
//! queue would grow with the window and feed it.

/// Below this a near path has idle moments between two events of a busy worker.
pub(crate) const WINDOW_BYTES_MIN: usize = 256 * 1024;
/// The most a far path is given: 20 MB/s over 100 ms, twice.
pub(crate) const WINDOW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Rates are measured over at least this long: events come in bursts.
const SAMPLE_MILLIS_MIN: f64 = 20.0;
/// Twice the product: one in flight, one ready to follow.
const GAIN: f64 = 2.0;

/// A stream's send window. Times are milliseconds of any steady clock.
#[derive(Debug)]
pub(crate) struct Window {
    limit: usize,
    sent_bytes: u64,
    sample: Option<Sample>,
}

/// A stretch of time throughout which the writer wanted to send.
#[derive(Debug)]
struct Sample {
    since_millis: f64,
    drained_before: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { limit: WINDOW_BYTES_MIN, sent_bytes: 0, sample: None }
    }
}

impl Window {
    /// The bytes that may be with the browser at once.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The level at which a waiting writer is woken: early enough that the queue never runs dry.
    pub(crate) fn low_mark(&self) -> usize {
        self.limit / 2
    }

    /// Bytes were handed to the browser.
    pub(crate) fn handle_sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    /// The writer has to wait with `buffered` bytes before it.
    pub(crate) fn handle_full(&mut self, buffered: usize, now_millis: f64) {
        if self.sample.is_none() {
            self.sample = Some(Sample { since_millis: now_millis, drained_before: self.drained(buffered) });
        }
    }

    /// The writer has nothing to send: a rate measured from now on says nothing of the path.
    pub(crate) fn handle_idle(&mut self) {
        self.sample = None;
    }

    /// Bytes have left. `rtt_millis` is the path's round trip, if it is known.
    pub(crate) fn handle_drained(&mut self, buffered: usize, rtt_millis: Option<f64>, now_millis: f64) {
        let drained = self.drained(buffered);
        let (Some(sample), Some(rtt_millis)) = (&self.sample, rtt_millis) else { return };
        let elapsed_millis = now_millis - sample.since_millis;
        if elapsed_millis < rtt_millis.max(SAMPLE_MILLIS_MIN) {
            return;
        }
        let drained_bytes = drained.saturating_sub(sample.drained_before);
        let product = drained_bytes as f64 / elapsed_millis * rtt_millis;
        self.limit = toward(self.limit, GAIN * product);
        self.sample = Some(Sample { since_millis: now_millis, drained_before: drained });
    }

    fn drained(&self, buffered: usize) -> u64 {
        self.sent_bytes.saturating_sub(buffered as u64)
    }
}

/// Grows by at most a doubling and shrinks by at most an eighth, so that one bad sample costs little.
fn toward(limit: usize, target_bytes: f64) -> usize {
    let lowest = limit - limit / 8;
    // A float that does not fit saturates, which is what a bound wants.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let target = target_bytes as usize;
    target.clamp(lowest, limit * 2).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A saturated writer over a path that takes at most `rate` bytes a millisecond and holds each
    /// byte for a round trip.
    fn settle(rate: f64, rtt_millis: f64) -> usize {
        let mut window = Window::default();
        let mut now = 0.0;
        for _ in 0..200 {
            let limit = window.limit();
            window.handle_sent(limit);
            window.handle_full(limit, now);
            now += (limit as f64 / rate).max(rtt_millis);
            window.handle_drained(0, Some(rtt_millis), now);
        }
        window.limit()
    }

    #[test]
    fn near_paths_keep_the_small_window() {
        assert_eq!(settle(36_000.0, 1.0), WINDOW_BYTES_MIN);
    }

    #[test]
    fn far_paths_get_two_products_and_never_more_than_the_bound() {
        let settled = settle(10_000.0, 60.0);
        assert!((900_000..1_400_000).contains(&settled), "{settled}");
        assert_eq!(settle(100_000.0, 200.0), WINDOW_BYTES_MAX);
    }

    #[test]
    fn an_unknown_round_trip_changes_nothing() {
        let mut window = Window::default();
        window.handle_sent(WINDOW_BYTES_MIN);
        window.handle_full(WINDOW_BYTES_MIN, 0.0);
        window.handle_drained(0, None, 1_000.0);
        assert_eq!(window.limit(), WINDOW_BYTES_MIN);
    }
}
