//! The requests under way on one link, and how many there should be.
//!
//! The window is twice the product of the best delivery rate and the shortest round trip seen, so that it
//! doubles each round trip while the path has more to give and stays at twice what the path holds when it has
//! not (the idea of BBR's model, Cardwell et al. 2016, applied to requests).

use core::time::Duration;

use super::part::Part;
use crate::base::{BlobRoot, Instant, RequestId};

/// Before anything was measured: four groups, which one round trip of any path carries.
const FIRST_WINDOW_BYTES: u64 = 64 * 1024;
/// For all links together before they brought much: a few first windows.
const SHARED_WINDOW_BYTES_MIN: u64 = 256 * 1024;
/// Added to every round trip: a browser's worker hears of what came only between two of its tasks. Without it a near
/// and fast link has idle moments.
const HEARING_MICROS: f64 = 10_000.0;
/// No answer for this long, with requests under way, is a stall. A choked TCP path recovers within a few seconds.
pub const STALL: Duration = Duration::from_secs(5);
/// A link that answered within this is at work: a busy machine pauses for most of it.
const LIVELY: Duration = Duration::from_secs(1);
/// A request this old is given to somebody else, however lively the link looks.
pub const OVERDUE: Duration = Duration::from_secs(20);
/// How fast the best rate is forgotten, a sample: after fifty slower samples a third is left.
const RATE_MEMORY: f64 = 0.98;
/// How fast the shortest round trip is forgotten, a sample: paths change, and the first sample may flatter.
const RTT_MEMORY: f64 = 1.002;

/// One request under way.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The blob.
    pub root: BlobRoot,
    /// What of it.
    pub part: Part,
    /// Pieces that have not come.
    pub left: u32,
    /// Bytes that have not come.
    pub bytes_left: u64,
    at: Instant,
    delivered_then: u64,
    alone: bool,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    /// In the order of their ids; a few dozen.
    requests: Vec<(RequestId, Asked)>,
    next: u64,
    in_flight: u64,
    delivered: u64,
    last_answer: Instant,
    rtt_micros: Option<f64>,
    bytes_per_second: f64,
}

impl Pipeline {
    /// Bytes asked for and not yet here.
    pub const fn in_flight_bytes(&self) -> u64 {
        self.in_flight
    }

    /// Shortest round trip seen lately.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt_micros.map(|micros| Duration::from_secs_f64(micros / 1e6))
    }

    /// Best delivery rate seen lately.
    pub const fn bytes_per_second(&self) -> f64 {
        self.bytes_per_second
    }

    /// How many bytes should be under way.
    pub fn window_bytes(&self, max: u64) -> u64 {
        self.window_at(self.bytes_per_second).clamp(FIRST_WINDOW_BYTES.min(max), max)
    }

    /// How many bytes should be under way on this link, where `others` are on others and all together bring
    /// `all_bytes_per_second`. What each brought when it had the receiver to itself adds up to more than a receiver takes
    /// in, and the rest would stand in its queue. What all bring is measured over longer than one link's rate, so it has
    /// twice the room to grow.
    pub fn window_beside(&self, max: u64, others: u64, all_bytes_per_second: f64) -> u64 {
        let shared =
            (2 * self.window_at(all_bytes_per_second)).max(SHARED_WINDOW_BYTES_MIN).saturating_sub(others);
        self.window_bytes(max).min(shared.max(FIRST_WINDOW_BYTES))
    }

    /// Twice what a path of this round trip holds at such a rate.
    fn window_at(&self, bytes_per_second: f64) -> u64 {
        let Some(rtt) = self.rtt_micros else { return 0 };
        let product = 2.0 * bytes_per_second * (rtt + HEARING_MICROS) / 1e6;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is clamped"
        )]
        let window = product as u64;
        window
    }

    /// How long what is under way will take, as far as is known.
    pub fn backlog(&self) -> Duration {
        let rtt = self.rtt().unwrap_or(Duration::from_millis(200));
        #[expect(clippy::cast_precision_loss, reason = "bytes under way are far below 2^52")]
        let seconds = self.in_flight as f64 / self.bytes_per_second.max(16_384.0);
        rtt + Duration::from_secs_f64(seconds.min(3600.0))
    }

    /// Whether such a request was ever made.
    pub const fn was_made(&self, request: RequestId) -> bool {
        request.0 < self.next
    }

    /// A request under way.
    pub fn get(&self, request: RequestId) -> Option<&Asked> {
        self.place(request).map(|place| &self.requests[place].1)
    }

    /// All requests under way.
    pub fn iter(&self) -> impl Iterator<Item = (RequestId, &Asked)> {
        self.requests.iter().map(|(request, asked)| (*request, asked))
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Notes a request that goes out.
    pub fn ask(&mut self, now: Instant, root: BlobRoot, part: Part, bytes: u64) -> RequestId {
        let request = RequestId(self.next);
        self.next += 1;
        let alone = self.requests.is_empty();
        if alone {
            self.last_answer = now;
        }
        self.in_flight += bytes;
        let asked = Asked {
            root,
            part,
            left: part.pieces(),
            bytes_left: bytes,
            at: now,
            delivered_then: self.delivered,
            alone,
        };
        self.requests.push((request, asked));
        request
    }

    /// Notes a piece of a request under way, and measures. The request ends with its last piece.
    pub fn piece(&mut self, now: Instant, request: RequestId, bytes: u64) {
        let Some(place) = self.place(request) else { return };
        let asked = &mut self.requests[place].1;
        let first = asked.left == asked.part.pieces();
        asked.left = asked.left.saturating_sub(1);
        let bytes = bytes.min(asked.bytes_left);
        asked.bytes_left -= bytes;
        self.in_flight -= bytes;
        self.delivered += bytes;
        self.last_answer = now;
        let micros = now.since(asked.at).as_micros().max(1);
        #[expect(clippy::cast_precision_loss, reason = "link lifetimes and byte counts are far below 2^52")]
        let (micros, delivered) = (micros as f64, (self.delivered - asked.delivered_then) as f64);
        if first {
            let remembered = self.rtt_micros.map_or(f64::MAX, |rtt| rtt * RTT_MEMORY);
            // A request behind others measures their queue too; it may lower the estimate, not raise it.
            self.rtt_micros = match self.rtt_micros {
                Some(rtt) if !asked.alone => Some(rtt.min(micros)),
                _ => Some(remembered.min(micros)),
            };
        }
        self.bytes_per_second = (self.bytes_per_second * RATE_MEMORY).max(delivered * 1e6 / micros);
        if asked.left == 0 {
            self.take(request);
        }
    }

    /// Ends a request early and returns it.
    pub fn take(&mut self, request: RequestId) -> Option<Asked> {
        let (_, asked) = self.requests.remove(self.place(request)?);
        self.in_flight = self.in_flight.saturating_sub(asked.bytes_left);
        Some(asked)
    }

    /// Ends all requests early.
    pub fn take_all(&mut self) -> Vec<(RequestId, Asked)> {
        self.in_flight = 0;
        core::mem::take(&mut self.requests)
    }

    /// Whether requests are under way and nothing comes.
    pub fn is_stalled(&self, now: Instant) -> bool {
        !self.requests.is_empty() && now.since(self.last_answer) >= STALL
    }

    /// Whether the oldest request has waited too long.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.requests.first().is_some_and(|(_, asked)| now.since(asked.at) >= OVERDUE)
    }

    /// Whether something came of late.
    pub fn is_delivering(&self, now: Instant) -> bool {
        !self.requests.is_empty() && now.since(self.last_answer) < LIVELY
    }

    fn place(&self, request: RequestId) -> Option<usize> {
        self.requests.binary_search_by_key(&request, |(request, _)| *request).ok()
    }

    /// Halves what was measured, after a stall.
    pub fn slow_down(&mut self) {
        self.bytes_per_second /= 2.0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Serves requests over a path of fixed rate and round trip; returns the window at the end.
    fn run(bytes_per_second: u64, rtt_micros: u64) -> u64 {
        const MAX: u64 = 8 * 1024 * 1024;
        let mut pipeline = Pipeline::default();
        let mut now = 0u64;
        let mut free_at = 0u64;
        let mut arrivals: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for _ in 0..4000 {
            while pipeline.in_flight_bytes() + 16_384 <= pipeline.window_bytes(MAX) {
                let part = Part::Groups { first: 0, count: 1 };
                let request = pipeline.ask(Instant::from_micros(now), BlobRoot([0; 32]), part, 16_384);
                free_at = free_at.max(now) + 16_384 * 1_000_000 / bytes_per_second;
                arrivals.insert((free_at + rtt_micros, request.0), 16_384);
            }
            let ((at, request), bytes) = arrivals.pop_first().unwrap();
            now = at;
            pipeline.piece(Instant::from_micros(now), RequestId(request), bytes);
        }
        pipeline.window_bytes(MAX)
    }

    #[test]
    fn the_window_finds_the_bandwidth_delay_product() {
        for (rate, rtt) in [(1_000_000, 100_000), (10_000_000, 60_000), (400_000, 20_000)] {
            let product = (rate * rtt / 1_000_000).max(FIRST_WINDOW_BYTES / 2);
            let window = run(rate, rtt);
            assert!(window >= product, "{rate} B/s, {rtt} µs: {window}");
            assert!(window <= 4 * product + FIRST_WINDOW_BYTES, "{rate} B/s, {rtt} µs: {window}");
        }
    }

    #[test]
    fn links_that_were_fast_alone_share_what_their_receiver_takes_in() {
        const MAX: u64 = 2 * 1024 * 1024;
        let mut pipeline = Pipeline::default();
        for request in 0..100 {
            let at = |micros: u64| Instant::from_micros(request * 10_000 + micros);
            let part = Part::Groups { first: 0, count: 8 };
            let asked = pipeline.ask(at(0), BlobRoot([0; 32]), part, 131_072);
            (0..8).for_each(|_| pipeline.piece(at(5_000), asked, 16_384));
        }
        let alone = pipeline.window_bytes(MAX);
        assert!(alone > 700_000, "{alone}");
        assert_eq!(pipeline.window_beside(MAX, 0, 1e9), alone);
        // Seven others have filled what ten megabytes a second want: a first window is left.
        assert_eq!(pipeline.window_beside(MAX, 7 * 64 * 1024, 8e6), FIRST_WINDOW_BYTES);
        let room = pipeline.window_beside(MAX, 100_000, 8e6);
        assert!((300_000..500_000).contains(&room), "{room}");
    }

    #[test]
    fn silence_is_a_stall_and_an_old_request_is_overdue() {
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let mut pipeline = Pipeline::default();
        assert!(!pipeline.is_stalled(at(100)));
        let request =
            pipeline.ask(at(100), BlobRoot([0; 32]), Part::Groups { first: 0, count: 8 }, 8 * 16_384);
        assert!(pipeline.is_stalled(at(105)));
        pipeline.piece(at(105), request, 16_384);
        assert!(!pipeline.is_stalled(at(109)));
        assert!(pipeline.is_overdue(at(120)));
        pipeline.take_all();
        assert_eq!(pipeline.in_flight_bytes(), 0);
    }
}
