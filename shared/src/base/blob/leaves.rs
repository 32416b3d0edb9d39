//! Single leaves of a blob, proved by its root alone.
//!
//! A leaf is 1 KiB, one chunk of BLAKE3. The proof of a set of leaves is a bao slice (Bao specification, "Slice
//! format", without its length): the tree in pre-order, of each node on the way to a leaf the hashes of its two
//! children, and the leaves. It grows by some 64 bytes a storey and leaf, and whoever knows the root can check it.
//!
//! The blob's size need not be known: the proof of a set that has the last leaf in it holds for the true size only,
//! because a chunk's hash covers its length and its place (Bao specification, "Security").

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use blake3::{
    Hasher,
    hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use super::{
    BlobShape, GROUP_BYTES, HASH_BYTES, HashTree, SubtreeHash,
    hasher::{group_hash, merge},
};
use crate::base::BlobRoot;

/// One chunk of BLAKE3, the smallest piece that its tree can tell from another.
pub const LEAF_BYTES: u64 = 1024;
/// The same, to measure slices with.
const LEAF_LENGTH: usize = 1024;
/// Leaves of a group.
const GROUP_LEAVES: u32 = 16;

impl BlobShape {
    /// Number of leaves, the last one possibly short. The empty blob has one, empty.
    pub fn leaves(self) -> u32 {
        u32::try_from(self.size().div_ceil(LEAF_BYTES).max(1)).expect("4 GiB are 2^22 leaves")
    }

    /// The bytes of leaf `index`, or nothing beyond the end.
    pub fn leaf_bytes(self, index: u32) -> Option<Range<u64>> {
        let start = u64::from(index) * LEAF_BYTES;
        (index < self.leaves()).then(|| start..(start + LEAF_BYTES).min(self.size()))
    }

    /// The group that leaf `index` is in.
    pub const fn group_of_leaf(self, index: u32) -> u32 {
        index / GROUP_LEAVES
    }
}

/// Why a holder cannot prove leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The blob has no such leaf.
    #[error("the blob has no leaf {leaf}")]
    Absent {
        /// The number asked for.
        leaf: u32,
    },
    /// The group's bytes were not handed in, or are not what they were when the blob was hashed.
    #[error("group {group} is missing or damaged")]
    Damaged {
        /// The group.
        group: u32,
    },
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Too short or too long for what it should prove.
    #[error("the proof has another length than such a proof has")]
    Length,
    /// A hash in it is not what stands above it.
    #[error("the proof does not lead to the root")]
    Hash,
    /// It was to prove nothing, or a leaf beyond the end.
    #[error("no proof is about those leaves")]
    Leaves,
}

/// Proves `leaves` of a blob that is held: `groups` are the bytes of the groups they are in. Bytes that have rotted are
/// noticed here, before anybody is told something wrong.
///
/// # Errors
/// [`ProveError`].
pub fn prove_leaves(
    tree: &HashTree,
    leaves: &BTreeSet<u32>,
    groups: &BTreeMap<u32, &[u8]>,
) -> Result<Vec<u8>, ProveError> {
    let shape = tree.shape();
    if let Some(leaf) = leaves.iter().copied().find(|leaf| *leaf >= shape.leaves()) {
        return Err(ProveError::Absent { leaf });
    }
    for group in leaves.iter().map(|leaf| shape.group_of_leaf(*leaf)).collect::<BTreeSet<_>>() {
        let whole = groups.get(&group).is_some_and(|bytes| match tree.group_hashes() {
            [] => *blake3::hash(bytes).as_bytes() == tree.root().0,
            hashes => group_hash(group, bytes) == hashes[group as usize],
        });
        if !whole {
            return Err(ProveError::Damaged { group });
        }
    }
    let mut proof = Vec::new();
    Prover { tree, leaves, groups }.node(0, shape.leaves(), &mut proof);
    Ok(proof)
}

struct Prover<'a> {
    tree: &'a HashTree,
    leaves: &'a BTreeSet<u32>,
    groups: &'a BTreeMap<u32, &'a [u8]>,
}

impl Prover<'_> {
    fn node(&self, first: u32, count: u32, proof: &mut Vec<u8>) {
        if self.leaves.range(first..first + count).next().is_none() {
            return;
        }
        if count == 1 {
            return proof.extend_from_slice(self.bytes(first, 1));
        }
        let left = left_leaves(count);
        for (first, count) in [(first, left), (first + left, count - left)] {
            proof.extend_from_slice(&self.hash(first, count));
        }
        self.node(first, left, proof);
        self.node(first + left, count - left, proof);
    }

    /// The hash of a subtree that is not the root. Above the groups all hashes are kept; inside one it is computed,
    /// and asked for only where the group is on the way to a leaf.
    fn hash(&self, first: u32, count: u32) -> SubtreeHash {
        let group = first / GROUP_LEAVES;
        let hashes = self.tree.group_hashes();
        if first.is_multiple_of(GROUP_LEAVES) && !hashes.is_empty() {
            let shape = self.tree.shape();
            let end = (first + count).div_ceil(GROUP_LEAVES);
            let whole = count >= GROUP_LEAVES || first + count == shape.leaves();
            if whole {
                return merge(&hashes[group as usize..end as usize]);
            }
        }
        subtree_hash(first, self.bytes(first, count))
    }

    /// Some leaves of one group.
    fn bytes(&self, first: u32, count: u32) -> &[u8] {
        let bytes = self.groups[&(first / GROUP_LEAVES)];
        let at = |leaf: u32| (leaf as usize * LEAF_LENGTH).min(bytes.len());
        let place = first % GROUP_LEAVES;
        &bytes[at(place)..at(place + count)]
    }
}

/// Checks a proof of `leaves` and hands out their bytes. `size` counts only where the last leaf is among them.
///
/// # Errors
/// [`LeafError`]: whoever made the proof does not hold those leaves, or lies about the size.
pub fn verify_leaves<'a>(
    root: BlobRoot,
    shape: BlobShape,
    leaves: &BTreeSet<u32>,
    proof: &'a [u8],
) -> Result<BTreeMap<u32, &'a [u8]>, LeafError> {
    if leaves.last().is_none_or(|last| *last >= shape.leaves()) {
        return Err(LeafError::Leaves);
    }
    let mut verifier = Verifier { shape, leaves, rest: proof, proved: BTreeMap::new() };
    if shape.leaves() == 1 {
        let bytes = verifier.take(usize::try_from(shape.size()).map_err(|_| LeafError::Length)?)?;
        if *blake3::hash(bytes).as_bytes() != root.0 {
            return Err(LeafError::Hash);
        }
        verifier.proved.insert(0, bytes);
    } else {
        let (left, right) = (verifier.take_hash()?, verifier.take_hash()?);
        if *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes() != root.0 {
            return Err(LeafError::Hash);
        }
        verifier.children(0, shape.leaves(), [left, right])?;
    }
    if verifier.rest.is_empty() { Ok(verifier.proved) } else { Err(LeafError::Length) }
}

struct Verifier<'a, 'b> {
    shape: BlobShape,
    leaves: &'b BTreeSet<u32>,
    rest: &'a [u8],
    proved: BTreeMap<u32, &'a [u8]>,
}

impl<'a> Verifier<'a, '_> {
    /// Goes at most 22 storeys deep: a blob has at most 2²² leaves.
    fn children(&mut self, first: u32, count: u32, hashes: [SubtreeHash; 2]) -> Result<(), LeafError> {
        let left = left_leaves(count);
        self.node(first, left, hashes[0])?;
        self.node(first + left, count - left, hashes[1])
    }

    fn node(&mut self, first: u32, count: u32, expected: SubtreeHash) -> Result<(), LeafError> {
        if self.leaves.range(first..first + count).next().is_none() {
            return Ok(());
        }
        if count == 1 {
            let range = self.shape.leaf_bytes(first).ok_or(LeafError::Leaves)?;
            let length = usize::try_from(range.end - range.start).map_err(|_| LeafError::Length)?;
            let bytes = self.take(length)?;
            if subtree_hash(first, bytes) != expected {
                return Err(LeafError::Hash);
            }
            self.proved.insert(first, bytes);
            return Ok(());
        }
        let (left, right) = (self.take_hash()?, self.take_hash()?);
        if merge_subtrees_non_root(&left, &right, Mode::Hash) != expected {
            return Err(LeafError::Hash);
        }
        self.children(first, count, [left, right])
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], LeafError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(LeafError::Length)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_hash(&mut self) -> Result<SubtreeHash, LeafError> {
        let hash = self.take(HASH_BYTES)?;
        Ok(hash.try_into().expect("took as many"))
    }
}

/// The largest power of two below `count`, which is at least two.
fn left_leaves(count: u32) -> u32 {
    count.next_power_of_two() / 2
}

fn subtree_hash(first: u32, bytes: &[u8]) -> SubtreeHash {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(u64::from(first) * LEAF_BYTES);
    hasher.update(bytes).finalize_non_root()
}

const _: () = assert!(LEAF_LENGTH as u64 == LEAF_BYTES && GROUP_LEAVES as u64 * LEAF_BYTES == GROUP_BYTES);

#[cfg(test)]
mod tests {
    use bao_tree::{
        BlockSize, ChunkNum, ChunkRanges,
        io::{outboard::PreOrderMemOutboard, sync::encode_ranges},
    };
    use proptest::prelude::*;

    use super::*;

    fn bytes(size: u64) -> Vec<u8> {
        (0..size).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
    }

    fn prove(data: &[u8], leaves: &BTreeSet<u32>) -> Result<(HashTree, Vec<u8>), ProveError> {
        let tree = HashTree::of(data).unwrap();
        let wanted: BTreeSet<u32> = leaves.iter().map(|leaf| leaf / 16).collect();
        let groups: BTreeMap<u32, &[u8]> =
            (0..).zip(data.chunks(16384)).filter(|(group, _)| wanted.contains(group)).collect();
        let groups = if data.is_empty() { [(0, &[][..])].into() } else { groups };
        let proof = prove_leaves(&tree, leaves, &groups)?;
        Ok((tree, proof))
    }

    /// Sizes at which the tree changes its form.
    const SIZES: [u64; 14] =
        [0, 1, 1023, 1024, 1025, 2048, 5000, 16_384, 16_385, 17_408, 32_769, 49_153, 300_000, 1_048_577];

    #[test]
    fn a_proof_is_the_slice_that_bao_tree_makes() {
        for size in SIZES {
            let data = bytes(size);
            let last = BlobShape::new(size).unwrap().leaves() - 1;
            for leaves in [vec![0], vec![last], vec![0, last / 2, last], (0..=last).step_by(7).collect()] {
                let leaves: BTreeSet<u32> = leaves.into_iter().collect();
                let (tree, proof) = prove(&data, &leaves).unwrap();
                let outboard = PreOrderMemOutboard::create(&data, BlockSize::ZERO);
                let mut ranges = ChunkRanges::empty();
                for leaf in &leaves {
                    ranges |= ChunkRanges::from(ChunkNum(u64::from(*leaf))..ChunkNum(u64::from(*leaf) + 1));
                }
                let mut slice = Vec::new();
                encode_ranges(data.as_slice(), &outboard, &ranges, &mut slice).unwrap();
                assert!(proof == slice, "{size} {leaves:?}: {} and {}", proof.len(), slice.len());
                let proved = verify_leaves(tree.root(), tree.shape(), &leaves, &proof).unwrap();
                for leaf in leaves {
                    let range = tree.shape().leaf_bytes(leaf).unwrap();
                    let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                    assert_eq!(proved[&leaf], &data[range]);
                }
            }
        }
    }

    #[test]
    fn any_changed_bit_of_a_proof_is_caught() {
        for size in [700, 5000, 40_000] {
            let leaves = [0, BlobShape::new(size).unwrap().leaves() - 1].into();
            let (tree, mut proof) = prove(&bytes(size), &leaves).unwrap();
            for at in 0..proof.len() {
                proof[at] ^= 0x20;
                assert_eq!(
                    verify_leaves(tree.root(), tree.shape(), &leaves, &proof),
                    Err(LeafError::Hash),
                    "{at}"
                );
                proof[at] ^= 0x20;
            }
            let longer = [&proof[..], &[0]].concat();
            for wrong in [&proof[1..], &proof[..proof.len() - 1], &longer, &[]] {
                assert!(verify_leaves(tree.root(), tree.shape(), &leaves, wrong).is_err());
            }
        }
    }

    #[test]
    fn with_the_last_leaf_no_other_size_is_believed() {
        for size in [0, 1, 1000, 1024, 1025, 5000, 16_384, 40_000] {
            let data = bytes(size);
            let last = BlobShape::new(size).unwrap().leaves() - 1;
            let (tree, proof) = prove(&data, &[0, last].into()).unwrap();
            for other in
                (0..70_000).step_by(7).chain([size + 1, size.saturating_sub(1)]).filter(|n| *n != size)
            {
                let shape = BlobShape::new(other).unwrap();
                let leaves = [0, shape.leaves() - 1].into();
                assert!(
                    verify_leaves(tree.root(), shape, &leaves, &proof).is_err(),
                    "{size} passed for {other}"
                );
            }
        }
    }

    #[test]
    fn a_holder_notices_its_own_rot() {
        let mut data = bytes(100_000);
        let tree = HashTree::of(&data).unwrap();
        data[20_000] ^= 1;
        let groups: BTreeMap<u32, &[u8]> = (0..).zip(data.chunks(16384)).collect();
        assert_eq!(prove_leaves(&tree, &[3, 19].into(), &groups), Err(ProveError::Damaged { group: 1 }));
        assert!(prove_leaves(&tree, &[3, 40].into(), &groups).is_ok());
        assert_eq!(prove_leaves(&tree, &[3].into(), &BTreeMap::new()), Err(ProveError::Damaged { group: 0 }));
        assert_eq!(prove_leaves(&tree, &[98].into(), &groups), Err(ProveError::Absent { leaf: 98 }));
        let none = verify_leaves(tree.root(), tree.shape(), &BTreeSet::new(), &[]);
        assert_eq!(none, Err(LeafError::Leaves));
    }

    proptest! {
        #[test]
        fn any_leaves_of_any_blob_are_proved(size in 1u64..200_000, picks in prop::collection::vec(any::<prop::sample::Index>(), 1..12)) {
            let count = BlobShape::new(size).unwrap().leaves();
            let leaves = picks.iter().map(|pick| u32::try_from(pick.index(count as usize)).unwrap()).collect();
            let (tree, proof) = prove(&bytes(size), &leaves).unwrap();
            let proved = verify_leaves(tree.root(), tree.shape(), &leaves, &proof);
            prop_assert_eq!(proved.map(|proved| proved.len()), Ok(leaves.len()));
        }

        #[test]
        fn garbage_proves_nothing(garbage in prop::collection::vec(any::<u8>(), 0..3000), size in 0u64..MAX, leaf in any::<u32>()) {
            let shape = BlobShape::new(size).unwrap();
            prop_assert!(verify_leaves(BlobRoot([9; 32]), shape, &[leaf % shape.leaves()].into(), &garbage).is_err());
        }
    }

    const MAX: u64 = super::super::MAX_BLOB_BYTES;
}
