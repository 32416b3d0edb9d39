//! What one remote peer said it holds.

use litemap::LiteMap;

use super::{bits::Bits, blob::BlobShape, messages::What};
use crate::base::BlobRoot;

/// Blobs remembered a link; with more, a peer is asked for what it named first.
pub const MAX_BLOBS_PER_LINK: usize = 20_000;

/// What a peer holds of one blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Has {
    /// All.
    All,
    /// Some.
    Some(Bits),
}

impl Has {
    /// Whether it holds `group`.
    pub fn group(&self, group: u32) -> bool {
        match self {
            Self::All => true,
            Self::Some(bits) => bits.get(group),
        }
    }

    /// 64 groups at once.
    pub fn word(&self, word: usize) -> u64 {
        match self {
            Self::All => u64::MAX,
            Self::Some(bits) => bits.word(word),
        }
    }
}

/// What one peer holds.
#[derive(Clone, Debug, Default)]
pub struct Availability {
    blobs: LiteMap<BlobRoot, Has>,
    /// Over all blobs.
    groups: u64,
}

/// A statement about groups that the blob does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonsense;

impl Availability {
    /// What it holds of a blob.
    pub fn get(&self, root: &BlobRoot) -> Option<&Has> {
        self.blobs.get(root)
    }

    /// How many groups it holds, over all blobs.
    pub const fn groups(&self) -> u64 {
        self.groups
    }

    /// All it holds.
    pub fn iter(&self) -> impl Iterator<Item = (&BlobRoot, &Has)> {
        self.blobs.iter()
    }

    /// Takes a statement. `changed(group, holds)` hears each group whose state changed.
    ///
    /// # Errors
    /// [`Nonsense`].
    pub fn update(
        &mut self,
        root: BlobRoot,
        shape: BlobShape,
        what: &What,
        mut changed: impl FnMut(u32, bool),
    ) -> Result<(), Nonsense> {
        let groups = shape.groups();
        if !self.blobs.contains_key(&root) && self.blobs.len() >= MAX_BLOBS_PER_LINK {
            return Ok(());
        }
        let after = match what {
            What::Added(ranges) => {
                if ranges
                    .iter()
                    .any(|(first, count)| first.checked_add(*count).is_none_or(|end| end > groups))
                {
                    return Err(Nonsense);
                }
                let has = self.blobs.entry(root).or_insert_with(|| Has::Some(Bits::new(groups)));
                let Has::Some(bits) = has else { return Ok(()) };
                for (first, count) in ranges {
                    for group in *first..first + count {
                        if bits.set(group) {
                            self.groups += 1;
                            changed(group, true);
                        }
                    }
                }
                if bits.is_full() {
                    *has = Has::All;
                }
                return Ok(());
            }
            What::Complete => Some(Has::All),
            What::Gone => None,
            What::Bitfield(bytes) => {
                let bits = Bits::from_bytes(bytes, groups).ok_or(Nonsense)?;
                Some(if bits.is_full() { Has::All } else { Has::Some(bits) })
            }
        };
        let before = self.blobs.remove(&root);
        for word in 0..groups.div_ceil(64) as usize {
            let tail = groups - u32::try_from(word * 64).unwrap_or(u32::MAX);
            let mask = if tail < 64 { (1u64 << tail) - 1 } else { u64::MAX };
            let was = before.as_ref().map_or(0, |has| has.word(word)) & mask;
            let is = after.as_ref().map_or(0, |has| has.word(word)) & mask;
            for bit in super::bits::ones(was ^ is) {
                let group = u32::try_from(word * 64).unwrap_or(u32::MAX) + bit;
                let holds = is >> bit & 1 == 1;
                self.groups = if holds { self.groups + 1 } else { self.groups - 1 };
                changed(group, holds);
            }
        }
        if let Some(after) = after {
            self.blobs.insert(root, after);
        }
        Ok(())
    }

    /// Notes that a promise was not kept.
    pub fn retract(&mut self, root: &BlobRoot, shape: BlobShape, group: u32) -> bool {
        let Some(has) = self.blobs.get_mut(root) else { return false };
        if matches!(has, Has::All) {
            *has = Has::Some(Bits::full(shape.groups()));
        }
        let Has::Some(bits) = has else { return false };
        let held = bits.clear(group);
        self.groups -= u64::from(held);
        held
    }
}
