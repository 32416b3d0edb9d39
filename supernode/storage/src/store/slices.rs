//! Slices as bao writes them: the hashes on the way to some groups in pre-order, and the groups.

use std::{cell::RefCell, io, ops::Range};

use bao_tree::{
    BaoTree, BlockSize, ChunkNum, ChunkRanges, TreeNode,
    io::{
        BaoContentItem,
        sync::{DecodeResponseIter, Outboard, ReadAt, encode_ranges_validated},
    },
};
use blake3::{
    Hash, Hasher,
    hazmat::{HasherExt as _, Mode, merge_subtrees_non_root},
};
use bytes::Bytes;
use shared::base::{
    BlobRoot,
    blob::{BlobShape, GROUP_BYTES, HASH_BYTES},
};

use super::{StoreError, reader::Reader};

/// 2^4 chunks of 1 KiB are a group.
const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);
const GROUP_CHUNKS: u64 = 16;

/// The hash of a group that is not the whole blob.
pub(super) fn group_hash(index: u32, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(u64::from(index) * GROUP_BYTES);
    hasher.update(bytes).finalize_non_root()
}

/// The slice of the groups that `range` touches.
pub(super) fn export(reader: &mut Reader, range: &Range<u64>) -> Result<Bytes, StoreError> {
    let (shape, root) = (reader.tree().shape(), reader.tree().root());
    let hashes = Hashes { root, shape, hashes: reader.tree().to_bytes() };
    let mut slice = Vec::new();
    encode_ranges_validated(Groups(RefCell::new(reader)), hashes, &chunks(shape, range), &mut slice)
        .map_err(|error| match error {
            // What the reader below found out.
            bao_tree::io::EncodeError::Io(error) => error.downcast().unwrap_or_else(StoreError::Io),
            _ => StoreError::Rotten { root },
        })?;
    Ok(slice.into())
}

/// The groups in a slice that [`export`] made, each verified. Ends after the first error.
pub(super) fn import(
    root: BlobRoot,
    shape: BlobShape,
    range: &Range<u64>,
    slice: &[u8],
    mut group: impl FnMut(u32, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let tree = BaoTree::new(shape.size(), BLOCK_SIZE);
    let ranges = chunks(shape, range);
    for item in DecodeResponseIter::new(Hash::from_bytes(root.0), tree, slice, &ranges) {
        match item {
            Ok(BaoContentItem::Parent(_)) => {}
            Ok(BaoContentItem::Leaf(leaf)) => {
                let index = u32::try_from(leaf.offset / GROUP_BYTES).expect("a blob has at most 2^18 groups");
                group(index, &leaf.data)?;
            }
            Err(_) => return Err(StoreError::Forged { expected: root }),
        }
    }
    Ok(())
}

/// The chunks of whole groups that `range` touches.
fn chunks(shape: BlobShape, range: &Range<u64>) -> ChunkRanges {
    let groups = shape.groups_touched(range);
    let chunk = |group: u32| ChunkNum(u64::from(group) * GROUP_CHUNKS);
    ChunkRanges::from(chunk(groups.start)..chunk(groups.end))
}

/// The tree above the groups, computed from their hashes.
struct Hashes {
    root: BlobRoot,
    shape: BlobShape,
    hashes: Vec<u8>,
}

impl Outboard for Hashes {
    fn root(&self) -> Hash {
        Hash::from_bytes(self.root.0)
    }

    fn tree(&self) -> BaoTree {
        BaoTree::new(self.shape.size(), BLOCK_SIZE)
    }

    fn load(&self, node: TreeNode) -> io::Result<Option<(Hash, Hash)>> {
        let (chunks, middle) = (node.chunk_range(), node.mid().0);
        if chunks.end.0 - chunks.start.0 <= GROUP_CHUNKS {
            return Ok(None);
        }
        let end = chunks.end.0.div_ceil(GROUP_CHUNKS).min(u64::from(self.shape.groups()));
        let (start, middle) = (chunks.start.0 / GROUP_CHUNKS, middle / GROUP_CHUNKS);
        if !(start < middle && middle < end) {
            return Ok(None);
        }
        Ok(Some((self.merge(start..middle), self.merge(middle..end))))
    }
}

impl Hashes {
    /// The hash over neighbouring groups; BLAKE3 puts the largest power of two of them to the left.
    fn merge(&self, groups: Range<u64>) -> Hash {
        let count = groups.end - groups.start;
        if count == 1 {
            let at = usize::try_from(groups.start).expect("at most 2^18") * HASH_BYTES;
            return Hash::from_bytes(self.hashes[at..at + HASH_BYTES].try_into().expect("32 bytes"));
        }
        let middle = groups.start + count.next_power_of_two() / 2;
        let (left, right) = (self.merge(groups.start..middle), self.merge(middle..groups.end));
        Hash::from_bytes(merge_subtrees_non_root(left.as_bytes(), right.as_bytes(), Mode::Hash))
    }
}

/// A reader where bao-tree wants one that is not changed by reading.
struct Groups<'a>(RefCell<&'a mut Reader>);

impl ReadAt for Groups<'_> {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut range = at..at + buffer.len() as u64;
        let piece = self.0.borrow_mut().next(&mut range).map_err(io::Error::other)?.unwrap_or_default();
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        Ok(length)
    }
}
