//! Virtual time: an agenda of what happens when. Time passes only by taking the next entry, and entries
//! of one moment come in the order they were written down, so a run replays exactly.

use std::{cmp::Ordering, collections::BinaryHeap};

use shared::base::Instant;

struct Entry<T> {
    when: Instant,
    written: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// Reversed: the heap yields its greatest entry, and we want the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.when, other.written).cmp(&(self.when, self.written))
    }
}

/// Virtual time and everything that is still to happen.
pub struct Agenda<T> {
    now: Instant,
    entries: BinaryHeap<Entry<T>>,
    written: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { now: Instant::default(), entries: BinaryHeap::new(), written: 0 }
    }
}

impl<T> Agenda<T> {
    /// The present.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// How many entries were written so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Notes that `what` happens at `when`, or now where that is past.
    pub fn note(&mut self, when: Instant, what: T) {
        self.written += 1;
        self.entries.push(Entry { when: when.max(self.now), written: self.written, what });
    }

    /// Passes time up to the next entry, if there is one until `end`.
    pub fn next_until(&mut self, end: Instant) -> Option<T> {
        if self.entries.peek()?.when > end {
            return None;
        }
        let entry = self.entries.pop()?;
        self.now = entry.when;
        Some(entry.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_by_time_and_then_as_written() {
        let mut agenda = Agenda::default();
        for (micros, name) in [(5, "c"), (1, "a"), (5, "d"), (1, "b"), (9, "late")] {
            agenda.note(Instant::from_micros(micros), name);
        }
        let end = Instant::from_micros(8);
        let order: Vec<_> = std::iter::from_fn(|| agenda.next_until(end)).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert_eq!(agenda.now(), Instant::from_micros(5));
    }

    #[test]
    fn nothing_happens_in_the_past() {
        let mut agenda = Agenda::default();
        agenda.note(Instant::from_micros(7), "first");
        assert_eq!(agenda.next_until(Instant::from_micros(99)), Some("first"));
        agenda.note(Instant::from_micros(3), "second");
        assert_eq!(agenda.next_until(Instant::from_micros(99)), Some("second"));
        assert_eq!(agenda.now(), Instant::from_micros(7));
    }
}
