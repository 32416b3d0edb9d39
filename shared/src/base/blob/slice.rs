//! Whole groups of a blob with the tree above them: what a holder hands out.
//!
//! A bao slice (Bao specification, "Slice format", without its length) whose leaves are groups: of each node on the way
//! to a group, in pre-order, the hashes of its two children, and the groups. The same that iroh-blobs sends.

use core::ops::Range;

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::{
    BlobShape, HASH_BYTES, HashTree, SubtreeHash,
    hasher::{group_hash, merge},
};
use crate::base::BlobRoot;

/// Why bytes are no slice of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SliceError {
    /// It is shorter or longer than such a slice.
    #[error("the slice has another length than what was asked for")]
    Length,
    /// A hash or a group in it is not what stands above it.
    #[error("the slice does not lead to the root")]
    Hash,
}

/// Verifies the slice of `groups` of a blob of this root and shape, and says of each group, in order, its number and where
/// in the slice it lies, as soon as it is verified.
///
/// # Errors
/// [`SliceError`] at the first byte that is not the blob's.
pub fn read_slice(
    root: BlobRoot,
    shape: BlobShape,
    groups: &Range<u32>,
    slice: &[u8],
    each: impl FnMut(u32, Range<usize>),
) -> Result<(), SliceError> {
    let mut reading = Reading { shape, groups, slice, at: 0, each };
    reading.node(0..shape.groups(), &Expected::Root(root))?;
    if reading.at == slice.len() { Ok(()) } else { Err(SliceError::Length) }
}

/// What a node has to be.
enum Expected {
    Root(BlobRoot),
    Subtree(SubtreeHash),
}

struct Reading<'a, Each> {
    shape: BlobShape,
    groups: &'a Range<u32>,
    slice: &'a [u8],
    at: usize,
    each: Each,
}

impl<'a, Each: FnMut(u32, Range<usize>)> Reading<'a, Each> {
    /// As deep as the tree is high, at most 18 storeys.
    fn node(&mut self, of: Range<u32>, expected: &Expected) -> Result<(), SliceError> {
        if of.end <= self.groups.start || self.groups.end <= of.start {
            return Ok(());
        }
        let count = of.end - of.start;
        if count == 1 {
            let bytes = self.shape.groups_bytes(&of);
            let length = usize::try_from(bytes.end - bytes.start).expect("a group is 16 KiB");
            let (place, group) = self.take(length)?;
            let good = match expected {
                Expected::Root(root) => *blake3::hash(group).as_bytes() == root.0,
                Expected::Subtree(hash) => group_hash(of.start, group) == *hash,
            };
            if !good {
                return Err(SliceError::Hash);
            }
            (self.each)(of.start, place);
            return Ok(());
        }
        let (_, hashes) = self.take(2 * HASH_BYTES)?;
        let (pair, _) = hashes.as_chunks::<HASH_BYTES>();
        let (left, right) = (pair[0], pair[1]);
        let good = match expected {
            Expected::Root(root) => *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes() == root.0,
            Expected::Subtree(hash) => merge_subtrees_non_root(&left, &right, Mode::Hash) == *hash,
        };
        if !good {
            return Err(SliceError::Hash);
        }
        let middle = middle(&of);
        self.node(of.start..middle, &Expected::Subtree(left))?;
        self.node(middle..of.end, &Expected::Subtree(right))
    }

    fn take(&mut self, length: usize) -> Result<(Range<usize>, &'a [u8]), SliceError> {
        let place = self.at..self.at + length;
        let taken = self.slice.get(place.clone()).ok_or(SliceError::Length)?;
        self.at = place.end;
        Ok((place, taken))
    }
}

/// BLAKE3 puts the largest power of two to the left.
fn middle(of: &Range<u32>) -> u32 {
    of.start + (of.end - of.start).next_power_of_two() / 2
}

impl HashTree {
    /// The slice of `groups`, whose bytes are `payload`; nothing where the blob has not all of them. Whether the bytes
    /// are the blob's is for the caller to know.
    pub fn slice(&self, groups: &Range<u32>, payload: &[u8]) -> Option<Vec<u8>> {
        let bytes = self.shape().groups_bytes(groups);
        let exist = !groups.is_empty() && groups.end <= self.shape().groups();
        if !exist || payload.len() as u64 != bytes.end - bytes.start {
            return None;
        }
        let mut slice = Vec::with_capacity(payload.len() + payload.len() / 128);
        let at = |group: u32| {
            let place = self.shape().groups_bytes(&(groups.start..group));
            usize::try_from(place.end - place.start).unwrap_or(usize::MAX)
        };
        self.node(0..self.shape().groups(), groups, &mut slice, &|group| &payload[at(group)..at(group + 1)]);
        Some(slice)
    }

    fn node<'a>(
        &self,
        of: Range<u32>,
        groups: &Range<u32>,
        slice: &mut Vec<u8>,
        payload: &impl Fn(u32) -> &'a [u8],
    ) {
        if of.end <= groups.start || groups.end <= of.start {
            return;
        }
        let count = of.end - of.start;
        if count == 1 {
            return slice.extend_from_slice(payload(of.start));
        }
        let middle = middle(&of);
        for part in [of.start..middle, middle..of.end] {
            slice.extend_from_slice(&merge(&self.group_hashes()[part.start as usize..part.end as usize]));
        }
        self.node(of.start..middle, groups, slice, payload);
        self.node(middle..of.end, groups, slice, payload);
    }
}

#[cfg(test)]
mod tests {
    use bao_tree::{
        BaoTree, BlockSize, ChunkNum, ChunkRanges,
        io::{BaoContentItem, sync::DecodeResponseIter},
    };

    use super::*;
    use crate::base::blob::GROUP_BYTES;

    fn check(size: usize, groups: Range<u32>) {
        let data: Vec<u8> = (0..size).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect();
        let tree = HashTree::of(&data).unwrap();
        let range = tree.shape().groups_bytes(&groups);
        let wanted = &data[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        let slice = tree.slice(&groups, wanted).unwrap();
        let other = BaoTree::new(size as u64, BlockSize::from_chunk_log(4));
        let chunks = ChunkNum(u64::from(groups.start) * 16)..ChunkNum(u64::from(groups.end) * 16);
        let chunks = ChunkRanges::from(chunks);
        let mut reader = slice.as_slice();
        let mut read = Vec::new();
        let root = blake3::Hash::from_bytes(tree.root().0);
        for item in DecodeResponseIter::new(root, other, &mut reader, &chunks) {
            if let BaoContentItem::Leaf(leaf) = item.unwrap() {
                read.extend_from_slice(&leaf.data);
            }
        }
        assert!(read == wanted && reader.is_empty(), "{size} bytes, groups {groups:?}");
        assert_eq!(ours(&tree, &groups, &slice), Ok(wanted.to_vec()), "{size} bytes, groups {groups:?}");
        for changed in [0, slice.len() / 2, slice.len() - 1] {
            let mut slice = slice.clone();
            slice[changed] ^= 1;
            assert_eq!(
                ours(&tree, &groups, &slice),
                Err(SliceError::Hash),
                "{size} bytes, {changed} changed"
            );
        }
        assert_eq!(ours(&tree, &groups, &slice[..slice.len() - 1]), Err(SliceError::Length));
        assert_eq!(ours(&tree, &groups, &[&slice[..], &[0]].concat()), Err(SliceError::Length));
    }

    fn ours(tree: &HashTree, groups: &Range<u32>, slice: &[u8]) -> Result<Vec<u8>, SliceError> {
        let (mut read, mut next) = (Vec::new(), groups.start);
        read_slice(tree.root(), tree.shape(), groups, slice, |group, place| {
            assert_eq!(group, next);
            next += 1;
            read.extend_from_slice(&slice[place]);
        })
        .map(|()| read)
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_no_slice(size in 1_u64..1_000_000, bytes: Vec<u8>, start: u32, count: u32) {
            let shape = BlobShape::new(size).unwrap();
            let groups = start % 70..(start % 70).saturating_add(count % 70);
            let read = read_slice(BlobRoot([7; 32]), shape, &groups, &bytes, |_, _| {});
            // Of nothing there is an empty slice.
            let none = groups.is_empty() || groups.start >= shape.groups();
            proptest::prop_assert!(read.is_err() || (none && bytes.is_empty()));
        }
    }

    #[test]
    fn another_implementation_reads_it() {
        let group = usize::try_from(GROUP_BYTES).unwrap();
        for size in [1, group, group + 1, 5 * group, 5 * group + 7, 600 * group + 3] {
            let count = HashTree::of(&vec![0; size]).unwrap().shape().groups();
            for start in [0, 1, count / 2, count - 1] {
                for end in [start + 1, start + 3, count] {
                    if start < end && end <= count {
                        check(size, start..end);
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_blob_has_not_is_not_sliced() {
        let tree = HashTree::of(&[7; 40_000]).unwrap();
        assert!(tree.slice(&(0..3), &[7; 40_000]).is_some());
        for (groups, bytes) in [(0..0, 0), (2..4, 7232), (3..4, 0), (0..3, 39_999)] {
            assert_eq!(tree.slice(&groups, &vec![7; bytes]), None);
        }
    }
}
