//! When a node says again what others may not know yet: whoever comes late hears it too, and however many know it, it
//! is said about once an interval.
//!
//! Each waits a while of its own choosing and then says it, unless somebody else has meanwhile (the suppression of
//! Trickle, RFC 6206, with one interval for all).

use core::time::Duration;
use std::collections::BTreeMap;

use crate::base::{Instant, SeededRng};

/// Quiet for so long after a thing was said: who comes late waits for it this long at least.
const QUIET: Duration = Duration::from_secs(15);
/// And up to so much longer: of many who know it, one is first.
const SPREAD: Duration = Duration::from_secs(15);
/// What could not be said is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// Things kept: what is said of them all in an interval stays below what gossip carries in passing.
const REPEATED_MAX: usize = 1024;

/// See the module's head.
#[derive(Debug)]
pub struct Repetition<K> {
    rng: SeededRng,
    due: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Repetition<K> {
    /// Of nothing yet.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { rng: SeededRng::new(seed), due: BTreeMap::new() }
    }

    /// Whether this is among the things that are said.
    pub fn contains(&self, thing: &K) -> bool {
        self.due.contains_key(thing)
    }

    /// Somebody said it, we included.
    pub fn handle_said(&mut self, now: Instant, thing: K) {
        let due = now + QUIET + SPREAD.mul_f64(self.rng.unit());
        self.insert(thing, due);
    }

    /// It was not heard from others: it is said at once.
    pub fn handle_new(&mut self, now: Instant, thing: K) {
        self.insert(thing, now);
    }

    /// Saying it failed.
    pub fn handle_unsaid(&mut self, now: Instant, thing: K) {
        self.insert(thing, now + AGAIN);
    }

    /// Nothing but these is said from now on.
    pub fn retain(&mut self, is_wanted: impl Fn(&K) -> bool) {
        self.due.retain(|thing, _| is_wanted(thing));
    }

    /// What is to be said now; its caller says it and tells how that went.
    pub fn poll_due(&self, now: Instant) -> Option<&K> {
        self.due.iter().filter(|(_, due)| **due <= now).min_by_key(|(_, due)| **due).map(|(thing, _)| thing)
    }

    /// When that will be.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    fn insert(&mut self, thing: K, due: Instant) {
        if self.due.len() < REPEATED_MAX || self.due.contains_key(&thing) {
            self.due.insert(thing, due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes that all hear each other; tells how often the thing was said until `end`, and when the last of them heard it
    /// that came at `late`.
    fn run(nodes: u8, late: Duration, end: Duration) -> (usize, Duration) {
        let start = Instant::from_micros(0);
        let mut knowing: Vec<_> = (0..nodes).map(|node| Repetition::new([node; 32])).collect();
        for node in &mut knowing {
            node.handle_said(start, 7);
        }
        let (mut said, mut heard_late) = (0, None);
        while let Some(now) = knowing.iter().filter_map(Repetition::poll_timeout).min()
            && now <= start + end
        {
            assert!(knowing.iter().any(|node| node.poll_due(now).is_some()));
            said += 1;
            if now >= start + late {
                heard_late.get_or_insert(now.since(start));
            }
            for node in &mut knowing {
                node.handle_said(now, 7);
            }
        }
        (said, heard_late.unwrap() - late)
    }

    #[test]
    fn however_many_know_it_says_one_and_who_comes_late_hears_it_within_half_a_minute() {
        for nodes in [1, 2, 200] {
            let (said, waited) = run(nodes, Duration::from_secs(100), Duration::from_secs(600));
            assert!((600 / 30..=600 / 15).contains(&said), "{nodes} nodes said it {said} times");
            assert!(waited <= QUIET + SPREAD, "{nodes} nodes: {waited:?}");
        }
    }

    #[test]
    fn what_is_new_is_said_at_once_and_what_failed_soon_again() {
        let at = |seconds| Instant::from_micros(seconds * 1_000_000);
        let mut node = Repetition::new([1; 32]);
        node.handle_new(at(5), "a");
        assert_eq!(node.poll_due(at(5)), Some(&"a"));
        node.handle_unsaid(at(5), "a");
        assert_eq!((node.poll_due(at(6)), node.poll_due(at(7))), (None, Some(&"a")));
        node.handle_said(at(7), "a");
        assert_eq!(node.poll_due(at(7 + QUIET.as_secs() - 1)), None);
        node.retain(|thing| *thing != "a");
        assert_eq!(node.poll_timeout(), None);
    }

    #[test]
    fn no_more_is_kept_than_is_said() {
        let mut node = Repetition::new([1; 32]);
        (0..REPEATED_MAX + 10).for_each(|thing| node.handle_new(Instant::from_micros(0), thing));
        assert!(node.contains(&0) && !node.contains(&(REPEATED_MAX + 1)));
        node.handle_said(Instant::from_micros(0), 3);
        assert_ne!(node.poll_timeout(), None);
    }
}
