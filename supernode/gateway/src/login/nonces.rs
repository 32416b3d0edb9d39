//! Nonces that were given out: each is good once, in the browser it was given to, for as long as a wallet takes.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use shared::{base::Instant, identity::siwe::LOGIN_SECONDS_MAX};

use super::Hash;

/// Out at a time; the oldest makes way. At the rate that all clients together may ask, those of minutes.
const NONCES_MAX: usize = 4096;
/// A text is not good for longer either.
const GOOD_FOR: Duration = Duration::from_secs(LOGIN_SECONDS_MAX);

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    given: BTreeMap<String, (Instant, Hash)>,
    order: VecDeque<String>,
}

impl Nonces {
    /// Remembers one.
    pub(super) fn give(&mut self, now: Instant, nonce: String, browser: Hash) {
        while self.order.len() >= NONCES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.given.remove(&oldest);
            }
        }
        self.order.push_back(nonce.clone());
        self.given.insert(nonce, (now, browser));
    }

    /// Uses one up; tells whether it was good.
    pub(super) fn take(&mut self, now: Instant, nonce: &str, browser: &Hash) -> bool {
        let Some((given, of)) = self.given.remove(nonce) else { return false };
        self.order.retain(|other| other != nonce);
        of == *browser && now.since(given) <= GOOD_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Instant = Instant::from_micros(0);

    #[test]
    fn a_nonce_is_good_once_in_its_browser_and_its_time() {
        let mut nonces = Nonces::default();
        let give = |nonces: &mut Nonces, name: &str| nonces.give(T, name.to_owned(), [1; 32]);
        give(&mut nonces, "a");
        assert!(nonces.take(T + GOOD_FOR, "a", &[1; 32]));
        assert!(!nonces.take(T, "a", &[1; 32]), "used");
        assert!(!nonces.take(T, "b", &[1; 32]), "never given");
        give(&mut nonces, "c");
        assert!(!nonces.take(T, "c", &[2; 32]), "another browser's");
        assert!(!nonces.take(T, "c", &[1; 32]), "and used up by it");
        give(&mut nonces, "d");
        assert!(!nonces.take(T + GOOD_FOR + Duration::from_secs(1), "d", &[1; 32]), "too old");
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut nonces = Nonces::default();
        for number in 0..=NONCES_MAX {
            nonces.give(T, number.to_string(), [1; 32]);
        }
        assert_eq!((nonces.given.len(), nonces.order.len()), (NONCES_MAX, NONCES_MAX));
        assert!(!nonces.take(T, "0", &[1; 32]));
        assert!(nonces.take(T, "1", &[1; 32]));
    }
}
