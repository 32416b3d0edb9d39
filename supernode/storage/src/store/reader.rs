//! Reading: no byte leaves here that was not verified against its root just before.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::Path,
};

use bytes::Bytes;
use shared::base::{
    BlobRoot,
    blob::{BlobShape, GROUP_BYTES, HASH_BYTES, HashTree},
};

use super::{StoreError, slices::group_hash};

/// Read at a time.
const READ_GROUPS: u32 = 16;

/// An open blob. Stays readable when its name is removed meanwhile.
pub(super) struct Reader {
    root: BlobRoot,
    file: File,
    tree: HashTree,
    /// One a group, or none where there is a single group.
    hashes: Vec<u8>,
}

impl Reader {
    /// Opens the blob, and checks its hashes.
    pub(super) fn open(path: &Path, root: BlobRoot, shape: BlobShape) -> Result<Self, StoreError> {
        let mut file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Rotten { root },
            _ => StoreError::Io(error),
        })?;
        let mut hashes = Vec::new();
        file.seek(SeekFrom::Start(shape.size()))?;
        // A blob has at most 2^18 groups; a file that is longer has been tampered with and fails below.
        file.by_ref().take(u64::from(shape.groups()) * HASH_BYTES as u64 + 1).read_to_end(&mut hashes)?;
        let tree = HashTree::from_bytes(root, shape, &hashes).map_err(|_| StoreError::Rotten { root })?;
        Ok(Self { root, file, tree, hashes })
    }

    /// The blob's hashes.
    pub(super) const fn tree(&self) -> &HashTree {
        &self.tree
    }

    /// The next verified bytes of `range`, up to 256 KiB, and what is left to read. Nothing once `range` is empty.
    pub(super) fn next(&mut self, range: &mut Range<u64>) -> Result<Option<Bytes>, StoreError> {
        let shape = self.tree.shape();
        let mut groups = shape.groups_touched(range);
        if groups.is_empty() {
            return Ok(None);
        }
        groups.end = groups.end.min(groups.start + READ_GROUPS);
        let bytes = self.groups(groups.clone())?;
        let whole = shape.groups_bytes(&groups);
        let cut = |at: u64| usize::try_from(at - whole.start).expect("within 256 KiB");
        let piece = bytes.slice(cut(range.start)..cut(range.end.min(whole.end)));
        range.start = whole.end;
        Ok(Some(piece))
    }

    /// The bytes of `groups`, which exist, all verified.
    pub(super) fn groups(&mut self, groups: Range<u32>) -> Result<Bytes, StoreError> {
        let range = self.tree.shape().groups_bytes(&groups);
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("a few groups fit")];
        self.file.seek(SeekFrom::Start(range.start))?;
        self.file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => StoreError::Rotten { root: self.root },
            _ => StoreError::Io(error),
        })?;
        let group_bytes = usize::try_from(GROUP_BYTES).expect("16 KiB fit");
        if self.hashes.is_empty() {
            return if *blake3::hash(&bytes).as_bytes() == self.root.0 {
                Ok(bytes.into())
            } else {
                Err(StoreError::Rotten { root: self.root })
            };
        }
        for (group, bytes) in groups.zip(bytes.chunks(group_bytes)) {
            let at = group as usize * HASH_BYTES;
            if group_hash(group, bytes) != self.hashes[at..at + HASH_BYTES] {
                return Err(StoreError::Rotten { root: self.root });
            }
        }
        Ok(bytes.into())
    }
}
