//! Whole groups of a blob with the tree above them: what a holder hands out.
//!
//! A bao slice (Bao specification, "Slice format", without its length) whose leaves are groups: of each node on the way
//! to a group, in pre-order, the hashes of its two children, and the groups. The same that iroh-blobs sends.

use core::ops::Range;

use super::{HashTree, hasher::merge};

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
        // BLAKE3 puts the largest power of two to the left.
        let middle = of.start + count.next_power_of_two() / 2;
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
