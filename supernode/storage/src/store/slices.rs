//! Slices as bao writes them: the hashes on the way to some groups in pre-order, and the groups.

use std::ops::Range;

use bytes::Bytes;
use shared::base::{
    BlobRoot,
    blob::{BlobShape, read_slice},
};

use super::{StoreError, reader::Reader};

/// The slice of the groups that `range` touches, which the blob has.
pub(super) fn export(reader: &mut Reader, range: &Range<u64>) -> Result<Bytes, StoreError> {
    let groups = reader.tree().shape().groups_touched(range);
    let payload = reader.groups(groups.clone())?;
    Ok(reader.tree().slice(&groups, &payload).unwrap_or_default().into())
}

/// The groups in a slice that [`export`] made, each verified, and where in it they lie. Ends after the first that is not
/// the blob's.
pub(super) fn import(
    root: BlobRoot,
    shape: BlobShape,
    range: &Range<u64>,
    slice: &[u8],
    group: impl FnMut(u32, Range<usize>),
) -> Result<(), StoreError> {
    let read = read_slice(root, shape, &shape.groups_touched(range), slice, group);
    read.map_err(|_| StoreError::Forged { expected: root })
}
