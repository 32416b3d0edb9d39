//! A set of group numbers below a fixed bound, as words: sets of two peers are compared 64 groups at a time.

/// Which of `len` things. Never grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

impl Bits {
    /// None of `len`.
    pub fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len, ones: 0 }
    }

    /// All of `len`.
    pub fn full(len: u32) -> Self {
        let mut bits = Self { words: vec![u64::MAX; len.div_ceil(64) as usize], len, ones: len };
        if let Some(last) = bits.words.last_mut()
            && !len.is_multiple_of(64)
        {
            *last = (1 << (len % 64)) - 1;
        }
        bits
    }

    /// Reads the wire's bit field: bit `i % 8` of byte `i / 8`. Nothing where it names what is not below `len`.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<Self> {
        if bytes.len() > len.div_ceil(8) as usize {
            return None;
        }
        let mut bits = Self::new(len);
        for (word, chunk) in bits.words.iter_mut().zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(padded);
        }
        let tail = len % 64;
        if tail != 0 && bits.words.last().is_some_and(|last| last >> tail != 0) {
            return None;
        }
        bits.ones = bits.words.iter().map(|word| word.count_ones()).sum();
        Some(bits)
    }

    /// The wire's bit field, without trailing zero bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        bytes
    }

    /// The bound.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// How many are in.
    pub const fn ones(&self) -> u32 {
        self.ones
    }

    /// Whether none is in.
    pub const fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Whether all are in.
    pub const fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Whether `index` is in.
    pub fn get(&self, index: u32) -> bool {
        index < self.len && self.words[index as usize / 64] >> (index % 64) & 1 == 1
    }

    /// Puts `index` in; whether it was not. Beyond the bound nothing happens.
    pub fn set(&mut self, index: u32) -> bool {
        if index >= self.len || self.get(index) {
            return false;
        }
        self.words[index as usize / 64] |= 1 << (index % 64);
        self.ones += 1;
        true
    }

    /// Takes `index` out; whether it was in.
    pub fn clear(&mut self, index: u32) -> bool {
        if !self.get(index) {
            return false;
        }
        self.words[index as usize / 64] &= !(1 << (index % 64));
        self.ones -= 1;
        true
    }

    /// The lowest member from `from` on.
    pub fn next_from(&self, from: u32) -> Option<u32> {
        let first = from as usize / 64;
        let mut mask = u64::MAX << (from % 64);
        for word in first..self.words.len() {
            let members = self.words[word] & core::mem::replace(&mut mask, u64::MAX);
            if members != 0 {
                return u32::try_from(word * 64).ok().map(|base| base + members.trailing_zeros());
            }
        }
        None
    }

    /// The 64 members from `64 * word` on; zero beyond the bound.
    pub fn word(&self, word: usize) -> u64 {
        self.words.get(word).copied().unwrap_or(0)
    }

    /// How many words there are.
    pub const fn words(&self) -> usize {
        self.words.len()
    }

    /// Members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.words).flat_map(|(at, word)| ones(*word).map(move |bit| at * 64 + bit))
    }
}

/// The positions of the ones of a word, ascending.
pub fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros();
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_set(len in 1u32..300, changes in prop::collection::vec((any::<bool>(), 0u32..320), 0..200)) {
            let (mut bits, mut set) = (Bits::new(len), std::collections::BTreeSet::new());
            for (put, index) in changes {
                if put {
                    prop_assert_eq!(bits.set(index), index < len && set.insert(index));
                } else {
                    prop_assert_eq!(bits.clear(index), set.remove(&index));
                }
            }
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(bits.ones() as usize, set.len());
            prop_assert_eq!(Bits::from_bytes(&bits.to_bytes(), len), Some(bits));
        }

        #[test]
        fn a_field_that_names_too_much_is_refused(len in 1u32..200) {
            let mut larger = Bits::new(len + 70);
            larger.set(len);
            prop_assert_eq!(Bits::from_bytes(&larger.to_bytes(), len), None);
            prop_assert!(Bits::full(len).is_full());
            prop_assert_eq!(Bits::full(len).iter().count(), len as usize);
        }
    }
}
