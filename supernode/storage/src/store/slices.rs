//! Slices as bao writes them: the hashes on the way to some groups in pre-order, and the groups.

use std::ops::Range;

use blake3::{Hasher, hazmat::HasherExt as _};
use bytes::Bytes;
use shared::base::{
    BlobRoot,
    blob::{BlobShape, GROUP_BYTES, SliceError, read_slice},
};

use super::{StoreError, reader::Reader};

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

/// The groups in a slice that [`export`] made, each verified, and where in it they lie. Ends after the first error.
pub(super) fn import(
    root: BlobRoot,
    shape: BlobShape,
    range: &Range<u64>,
    slice: &[u8],
    mut group: impl FnMut(u32, Range<usize>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    read_slice(root, shape, &shape.groups_touched(range), slice, |number, place| {
        group(number, place).map_err(Broken::Here)
    })
    .map_err(|broken| match broken {
        Broken::Slice => StoreError::Forged { expected: root },
        Broken::Here(error) => error,
    })
}

/// Why an import ends.
enum Broken {
    Slice,
    Here(StoreError),
}

impl From<SliceError> for Broken {
    fn from(_: SliceError) -> Self {
        Self::Slice
    }
}
