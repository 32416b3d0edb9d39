//! How fast something delivers, as far as one can tell from what came: plain HTTP, or all neighbours together.
//!
//! Only busy time counts: what delivers nothing because nothing was asked of it is not slow.

use core::time::Duration;

use crate::base::Instant;

/// What comes within this is one sample: long enough to hold a few groups at a megabit a second.
const SAMPLE: Duration = Duration::from_millis(250);
/// How fast the best rate is forgotten, a sample: after ten slower samples a tenth is left.
const RATE_MEMORY: f64 = 0.8;
/// Weight of the newest wait in the mean.
const NEWEST: f64 = 0.25;
/// First bytes that take so many times the shortest seen have waited in a queue.
const CONGESTED: f64 = 2.0;
/// A queue that was seen longer ago may be gone: one finds out by asking.
const QUEUE_MEMORY: Duration = Duration::from_secs(2);
/// Under way at least: what a megabyte a second carries in a quarter of a second.
const AHEAD_BYTES_MIN: u64 = 256 * 1024;
/// Under way at least on a full line: each byte more makes everybody's queue longer, and what two visitors have to say
/// to each other before they are linked stands in it too. Half a stripe: the next is asked for in its second half.
const AHEAD_BYTES_QUEUED: u64 = 64 * 1024;
/// Who comes when the line is full already sees no shorter wait than this; first bytes take less on any usual path.
const FIRST_BYTE_USUAL: f64 = 250_000.0;
/// Under way at most, in seconds of the measured rate: what is asked for is no longer given to others to fetch.
const AHEAD_SECONDS: f64 = 0.5;

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Pace {
    bytes_per_second: f64,
    first_byte_micros: Option<f64>,
    first_byte_micros_min: f64,
    waited_at: Instant,
    sample_at: Instant,
    sample_bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            bytes_per_second: 0.0,
            first_byte_micros: None,
            first_byte_micros_min: FIRST_BYTE_USUAL,
            waited_at: Instant::default(),
            sample_at: Instant::default(),
            sample_bytes: 0,
        }
    }
}

impl Pace {
    /// Best rate lately, in bytes; 0 before anything was measured.
    pub const fn bytes_per_second(&self) -> f64 {
        self.bytes_per_second
    }

    /// How long the first bytes took lately.
    pub fn first_byte(&self) -> Option<Duration> {
        self.first_byte_micros.map(|micros| Duration::from_secs_f64(micros / 1e6))
    }

    /// Whether answers stand in a queue: first bytes took much longer of late than they can. Asking for more then
    /// only makes the queue longer.
    // Once in what a visitor downloads, not at each place that asks.
    #[inline(never)]
    pub fn is_congested(&self, now: Instant) -> bool {
        now.since(self.waited_at) < QUEUE_MEMORY
            && self.first_byte_micros.is_some_and(|mean| mean > CONGESTED * self.first_byte_micros_min)
    }

    /// Bytes that should be under way: enough to keep the line full, no more.
    pub fn ahead_bytes(&self, now: Instant) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate, cut to a window"
        )]
        let ahead = (self.bytes_per_second * AHEAD_SECONDS) as u64;
        ahead.max(if self.is_congested(now) { AHEAD_BYTES_QUEUED } else { AHEAD_BYTES_MIN })
    }

    /// Nothing was under way, and now something is: time begins to count.
    pub fn begin(&mut self, now: Instant) {
        self.sample_at = now;
        self.sample_bytes = 0;
    }

    /// The first bytes of an answer came after `wait`.
    pub fn waited(&mut self, now: Instant, wait: Duration) {
        self.waited_at = now;
        #[expect(clippy::cast_precision_loss, reason = "waits are far below 2^52 microseconds")]
        let micros = wait.as_micros() as f64;
        let mean = self.first_byte_micros.unwrap_or(micros);
        self.first_byte_micros_min = self.first_byte_micros_min.min(micros);
        self.first_byte_micros = Some(mean + NEWEST * (micros - mean));
    }

    /// Bytes came.
    pub fn came(&mut self, now: Instant, bytes: u64) {
        self.sample_bytes += bytes;
        let span = now.since(self.sample_at);
        if span < SAMPLE {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a sample is far below 2^52 bytes")]
        let rate = self.sample_bytes as f64 / span.as_secs_f64();
        self.bytes_per_second = (self.bytes_per_second * RATE_MEMORY).max(rate);
        self.begin(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_and_silence_between_requests_is_not() {
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let mut pace = Pace::default();
        assert_eq!(pace.ahead_bytes(at(0)), AHEAD_BYTES_MIN);
        pace.begin(at(0));
        for millis in (10..=1000).step_by(10) {
            pace.came(at(millis), 20_000);
        }
        assert!((1.9e6..2.2e6).contains(&pace.bytes_per_second()), "{pace:?}");
        pace.begin(at(60_000));
        pace.came(at(60_300), 600_000);
        assert!(pace.bytes_per_second() > 1.5e6, "a pause is not slowness: {pace:?}");
    }

    #[test]
    fn a_slower_line_is_believed_after_a_while() {
        let mut pace = Pace::default();
        pace.begin(Instant::default());
        let mut micros = 0;
        for bytes in [vec![1_000_000; 8], vec![10_000; 40]].concat() {
            micros += 250_000;
            pace.came(Instant::from_micros(micros), bytes);
        }
        assert!(pace.bytes_per_second() < 50_000.0, "{pace:?}");
    }
}
