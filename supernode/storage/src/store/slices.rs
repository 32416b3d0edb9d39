//! Slices as bao writes them: the hashes on the way to some groups in pre-order, and the groups.

use std::ops::Range;

use bao_tree::{
    BaoTree, BlockSize, ChunkNum, ChunkRanges,
    io::{BaoContentItem, sync::DecodeResponseIter},
};
use blake3::{Hash, Hasher, hazmat::HasherExt as _};
use bytes::Bytes;
use shared::base::{
    BlobRoot,
    blob::{BlobShape, GROUP_BYTES},
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

/// The slice of the groups that `range` touches, which the blob has.
pub(super) fn export(reader: &mut Reader, range: &Range<u64>) -> Result<Bytes, StoreError> {
    let groups = reader.tree().shape().groups_touched(range);
    let payload = reader.groups(groups.clone())?;
    Ok(reader.tree().slice(&groups, &payload).unwrap_or_default().into())
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
