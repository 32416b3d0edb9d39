//! What was given to a browser to come back with, such as a nonce: each is good once, in the browser it was given to, for
//! as long as a person takes. With each is kept what is needed when it comes back.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use shared::{base::Instant, identity::siwe::LOGIN_SECONDS_MAX};

use super::Hash;

/// A wallet's text is not good for longer either.
const GOOD_FOR: Duration = Duration::from_secs(LOGIN_SECONDS_MAX);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Given<T> {
    /// Out at a time; the oldest makes way.
    max: usize,
    out: BTreeMap<String, One<T>>,
    order: VecDeque<String>,
}

#[derive(Debug)]
struct One<T> {
    given: Instant,
    browser: Hash,
    kept: T,
}

impl<T> Given<T> {
    /// Nothing given yet, and room for so many.
    pub(super) const fn new(max: usize) -> Self {
        Self { max, out: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Remembers one.
    pub(super) fn give(&mut self, now: Instant, name: String, browser: Hash, kept: T) {
        while self.order.len() >= self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.out.remove(&oldest);
            }
        }
        self.order.push_back(name.clone());
        self.out.insert(name, One { given: now, browser, kept });
    }

    /// Uses one up; what was kept with it, if it was good.
    pub(super) fn take(&mut self, now: Instant, name: &str, browser: &Hash) -> Option<T> {
        let one = self.out.remove(name)?;
        self.order.retain(|other| other != name);
        (one.browser == *browser && now.since(one.given) <= GOOD_FOR).then_some(one.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Instant = Instant::from_micros(0);

    #[test]
    fn what_was_given_is_good_once_in_its_browser_and_its_time() {
        let mut given = Given::new(9);
        let give = |given: &mut Given<u8>, name: &str| given.give(T, name.to_owned(), [1; 32], 7);
        give(&mut given, "a");
        assert_eq!(given.take(T + GOOD_FOR, "a", &[1; 32]), Some(7));
        assert_eq!(given.take(T, "a", &[1; 32]), None, "used");
        assert_eq!(given.take(T, "b", &[1; 32]), None, "never given");
        give(&mut given, "c");
        assert_eq!(given.take(T, "c", &[2; 32]), None, "another browser's");
        assert_eq!(given.take(T, "c", &[1; 32]), None, "and used up by it");
        give(&mut given, "d");
        assert_eq!(given.take(T + GOOD_FOR + Duration::from_secs(1), "d", &[1; 32]), None, "too old");
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut given = Given::new(100);
        for number in 0..=100 {
            given.give(T, number.to_string(), [1; 32], ());
        }
        assert_eq!((given.out.len(), given.order.len()), (100, 100));
        assert_eq!(given.take(T, "0", &[1; 32]), None);
        assert_eq!(given.take(T, "1", &[1; 32]), Some(()));
    }
}
