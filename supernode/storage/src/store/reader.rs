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
    blob::{BlobShape, GROUP_BYTES, HASH_BYTES, HashTree, group_hash},
};

use super::{Held, StoreError, bucket::ObjectSource};

/// Read at a time.
const READ_GROUPS: u32 = 16;

/// Where the bytes come from.
pub(super) enum Source {
    /// Stays readable when its name is removed meanwhile.
    File(File),
    Object(Box<ObjectSource>),
}

/// An open blob.
pub(super) struct Reader {
    root: BlobRoot,
    source: Source,
    tree: HashTree,
    /// One a group, or none where there is a single group.
    hashes: Bytes,
}

impl Source {
    pub(super) fn open_file(path: &Path, root: BlobRoot) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { root },
            _ => StoreError::Io(error),
        })?;
        Ok(Self::File(file))
    }

    /// What lies behind the payload.
    fn hashes(&mut self, shape: BlobShape) -> Result<Bytes, StoreError> {
        match self {
            Self::File(file) => {
                let mut hashes = Vec::new();
                file.seek(SeekFrom::Start(shape.size()))?;
                // A blob has at most 2^18 groups; a file that is longer has been tampered with and fails below.
                let limit = u64::from(shape.groups()) * HASH_BYTES as u64 + 1;
                file.by_ref().take(limit).read_to_end(&mut hashes)?;
                Ok(hashes.into())
            }
            Self::Object(object) => object.hashes(),
        }
    }

    fn read_exact_at(&mut self, root: BlobRoot, at: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        match self {
            Self::File(file) => {
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(bytes).map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => StoreError::Rotten { root },
                    _ => StoreError::Io(error),
                })
            }
            Self::Object(object) => object.read_exact_at(at, bytes),
        }
    }
}

impl Reader {
    /// Opens the blob to read `wanted` of it, and checks its hashes.
    pub(super) fn open(mut source: Source, held: Held, wanted: &Range<u64>) -> Result<Self, StoreError> {
        let Held { root, shape } = held;
        if let Source::Object(object) = &mut source {
            object.expect(shape.groups_bytes(&shape.groups_touched(wanted)));
        }
        let hashes = source.hashes(shape)?;
        let tree = HashTree::from_bytes(root, shape, &hashes).map_err(|_| StoreError::Rotten { root })?;
        if let Source::Object(object) = &source {
            object.remember(hashes.clone());
        }
        Ok(Self { root, source, tree, hashes })
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
        self.source.read_exact_at(self.root, range.start, &mut bytes)?;
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
