//! Reading a blob, each group checked before it is handed out.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use shared::{
    base::BlobRoot,
    cdn::blob::{BlobHashes, BlobShape, HASH_BYTES, HashTree, VerifyError},
};

use super::{IndexError, files::Layout};

/// Groups read at once: 256 KiB, enough for a disk to be quick and little enough to hold for each reader.
const GROUPS_PER_READ: u32 = 16;

/// Why bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such blob.
    #[error("blob {0} is not here")]
    Absent(BlobRoot),
    /// The disk gave other bytes than were written.
    #[error("blob {root} is corrupt on disk: {why}")]
    Corrupt {
        /// Which blob.
        root: BlobRoot,
        /// What does not hold.
        why: VerifyError,
    },
    /// The disk failed.
    #[error("blob {root} cannot be read: {source}")]
    Io {
        /// Which blob.
        root: BlobRoot,
        /// What the system says.
        source: io::Error,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// A blob whose hashes were verified. Readers share it; removing the blob meanwhile does not disturb them.
#[derive(Debug)]
pub struct OpenBlob {
    hashes: BlobHashes,
    file: File,
}

impl OpenBlob {
    pub(super) fn open(layout: &Layout, root: BlobRoot, size: u64) -> Result<Self, ReadError> {
        let (bytes, hashes) = layout.paths(root);
        let failed = |source: io::Error| match source.kind() {
            // The index says that it is here: files that vanished are damage like any other.
            io::ErrorKind::NotFound => ReadError::Corrupt { root, why: VerifyError::Absent { index: 0 } },
            _ => ReadError::Io { root, source },
        };
        let corrupt = |why| ReadError::Corrupt { root, why };
        let shape = BlobShape::new(size).ok_or(corrupt(VerifyError::Absent { index: 0 }))?;
        let file = File::open(bytes).map_err(failed)?;
        let stored = std::fs::read(hashes).map_err(failed)?;
        let tree = HashTree::from_bytes(root, shape, &stored).map_err(corrupt)?;
        Ok(Self { hashes: BlobHashes::from_tree(&tree), file })
    }

    /// Its name.
    pub const fn root(&self) -> BlobRoot {
        self.hashes.root()
    }

    /// Its geometry.
    pub const fn shape(&self) -> BlobShape {
        self.hashes.shape()
    }

    /// Hash page `page` as it travels.
    pub fn page(&self, page: u32) -> Option<Vec<u8>> {
        self.hashes.page(page)
    }

    /// The hashes of all pages as they travel.
    pub fn top(&self) -> Option<Vec<u8>> {
        self.hashes.top()
    }

    /// Reads and verifies whole groups, as many from `groups` as are read at once. Blocks on the disk.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`]; no byte is handed out then.
    pub fn read_groups(&self, groups: Range<u32>) -> Result<Bytes, ReadError> {
        let root = self.root();
        let end = groups.end.min(groups.start.saturating_add(GROUPS_PER_READ));
        let range = self.shape().groups_bytes(&(groups.start..end));
        let length = usize::try_from(range.end - range.start).unwrap_or(0);
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, range.start).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Corrupt {
                root,
                why: VerifyError::Length { index: groups.start, found: 0, expected: length as u64 },
            },
            _ => ReadError::Io { root, source },
        })?;
        for group in groups.start..end {
            let Some(place) = self.shape().group_bytes(group) else { break };
            let at = |byte: u64| usize::try_from(byte - range.start).unwrap_or(length);
            let group_bytes = &buffer[at(place.start)..at(place.end)];
            self.hashes.verify_group(group, group_bytes).map_err(|why| ReadError::Corrupt { root, why })?;
        }
        Ok(Bytes::from(buffer))
    }

    /// Reads the bytes of `range`, verified, beginning where it begins and as many as are read at once.
    /// Blocks on the disk. Empty at the end.
    ///
    /// # Errors
    /// As [`OpenBlob::read_groups`].
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        let groups = self.shape().groups_touched(&range);
        if groups.is_empty() {
            return Ok(Bytes::new());
        }
        let first = self.shape().groups_bytes(&(groups.start..groups.start)).start;
        let bytes = self.read_groups(groups)?;
        let skip = usize::try_from(range.start - first).unwrap_or(usize::MAX).min(bytes.len());
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        Ok(bytes.slice(skip..bytes.len().min(skip.saturating_add(wanted))))
    }

    /// The same off the runtime's threads.
    ///
    /// # Errors
    /// As [`OpenBlob::read`].
    pub async fn read_async(self: Arc<Self>, range: Range<u64>) -> Result<Bytes, ReadError> {
        let root = self.root();
        match tokio::task::spawn_blocking(move || self.read(range)).await {
            Ok(read) => read,
            Err(error) => Err(ReadError::Io { root, source: io::Error::other(error) }),
        }
    }

    pub(super) fn hash_bytes(&self) -> usize {
        self.shape().groups() as usize * HASH_BYTES
    }
}
