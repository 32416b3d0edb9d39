//! What one neighbour said it has asked infrastructure for, and will soon hold.
//!
//! Neighbours that want the same thing at the same time each fetch a different stripe by HTTP and get the rest
//! from one another. A claim is a hint: it buys its stripe a bounded wait, and a neighbour whose claims come to
//! nothing is no longer waited for.

use core::time::Duration;
use std::collections::VecDeque;

use litemap::LiteMap;

use crate::base::{BlobRoot, Instant};

/// Claims remembered a link: at 128 KiB each, far more than one neighbour has under way by HTTP.
const MAX_CLAIMS: usize = 512;
/// Claims in a row that came to nothing, until a neighbour's are no longer heeded.
const BROKEN_MAX: u32 = 8;

/// See the module's head. A stripe is [`super::spread::STRIPE_GROUPS`] groups.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    at: LiteMap<(BlobRoot, u32), Instant>,
    order: VecDeque<(BlobRoot, u32)>,
    broken: u32,
}

impl Claims {
    /// The neighbour says that `stripe` of `root` is coming to it. Saying it again does not renew it.
    pub fn note(&mut self, now: Instant, root: BlobRoot, stripe: u32) {
        if self.at.contains_key(&(root, stripe)) {
            return;
        }
        if self.order.len() >= MAX_CLAIMS
            && let Some(oldest) = self.order.pop_front()
        {
            self.at.remove(&oldest);
        }
        self.at.insert((root, stripe), now);
        self.order.push_back((root, stripe));
    }

    /// Whether `stripe` of `root` is worth waiting for: claimed, by somebody who can be believed, and not longer
    /// ago than `patience`.
    pub fn is_coming(&self, now: Instant, root: BlobRoot, stripe: u32, patience: Duration) -> bool {
        self.is_heeded() && self.at.get(&(root, stripe)).is_some_and(|at| now.since(*at) < patience)
    }

    /// Whether the neighbour's claims mean something.
    pub const fn is_heeded(&self) -> bool {
        self.broken < BROKEN_MAX
    }

    /// The neighbour holds some of `stripe`: it kept its word.
    pub fn keep(&mut self, root: BlobRoot, stripe: u32) {
        if self.at.contains_key(&(root, stripe)) {
            self.broken = 0;
        }
    }

    /// We no longer wait for `stripe`.
    pub fn give_up(&mut self, root: BlobRoot, stripe: u32) {
        if self.at.contains_key(&(root, stripe)) {
            self.broken = self.broken.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: BlobRoot = BlobRoot([5; 32]);
    const PATIENCE: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn a_claim_is_believed_for_a_while_and_repeating_it_buys_nothing() {
        let mut claims = Claims::default();
        claims.note(at(0), ROOT, 7);
        claims.note(at(900), ROOT, 7);
        assert!(claims.is_coming(at(999), ROOT, 7, PATIENCE));
        assert!(!claims.is_coming(at(1000), ROOT, 7, PATIENCE));
        assert!(!claims.is_coming(at(0), ROOT, 8, PATIENCE));
    }

    #[test]
    fn who_breaks_its_word_is_not_waited_for_until_it_keeps_it() {
        let mut claims = Claims::default();
        for stripe in 0..BROKEN_MAX {
            claims.note(at(0), ROOT, stripe);
            claims.give_up(ROOT, stripe);
        }
        claims.note(at(0), ROOT, 100);
        assert!(!claims.is_coming(at(1), ROOT, 100, PATIENCE));
        claims.keep(ROOT, 100);
        assert!(claims.is_coming(at(1), ROOT, 100, PATIENCE));
    }

    #[test]
    fn memory_is_bounded() {
        let mut claims = Claims::default();
        for stripe in 0..10_000 {
            claims.note(at(0), ROOT, stripe);
        }
        assert_eq!(claims.at.len(), MAX_CLAIMS);
        assert_eq!(claims.order.len(), MAX_CLAIMS);
    }
}
