//! A set of small numbers: which groups or pages of a blob are held.

use core::ops::Range;

/// Numbers below a bound that was given at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    bound: u32,
    count: u32,
}

impl Bits {
    /// An empty set of numbers below `bound`.
    pub fn new(bound: u32) -> Self {
        Self { words: vec![0; bound.div_ceil(64) as usize], bound, count: 0 }
    }

    /// The set of all numbers below `bound`.
    pub fn full(bound: u32) -> Self {
        let mut bits = Self::new(bound);
        for number in 0..bound {
            bits.insert(number);
        }
        bits
    }

    /// The bound.
    pub const fn bound(&self) -> u32 {
        self.bound
    }

    /// How many numbers are in the set.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether every number below the bound is in the set.
    pub const fn is_full(&self) -> bool {
        self.count == self.bound
    }

    /// Whether `number` is in the set.
    pub fn contains(&self, number: u32) -> bool {
        self.words.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Puts `number` in; tells whether it is new. What is over the bound stays out.
    pub fn insert(&mut self, number: u32) -> bool {
        if number >= self.bound || self.contains(number) {
            return false;
        }
        self.words[number as usize / 64] |= 1 << (number % 64);
        self.count += 1;
        true
    }

    /// Takes `number` out; tells whether it was in.
    pub fn remove(&mut self, number: u32) -> bool {
        if !self.contains(number) {
            return false;
        }
        self.words[number as usize / 64] &= !(1 << (number % 64));
        self.count -= 1;
        true
    }

    /// The set as maximal ranges, ascending.
    pub fn ranges(&self) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for number in (0..self.bound).filter(|number| self.contains(*number)) {
            match ranges.last_mut() {
                Some(last) if last.end == number => last.end += 1,
                _ => ranges.push(number..number + 1),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_counts_what_it_holds_and_nothing_over_its_bound() {
        let mut bits = Bits::new(70);
        assert!(bits.insert(0) && bits.insert(1) && bits.insert(69));
        assert!(!bits.insert(69) && !bits.insert(70));
        assert_eq!((bits.count(), bits.ranges()), (3, vec![0..2, 69..70]));
        assert!(bits.remove(0) && !bits.remove(0));
        assert_eq!(bits.ranges(), [1..2, 69..70]);
        assert!(Bits::full(65).is_full());
    }
}
