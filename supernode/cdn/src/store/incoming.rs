//! Taking in a blob: hashed as it is written, visible once it is whole and synced.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use shared::{
    base::BlobRoot,
    cdn::blob::{BlobHasher, BlobShape, TooLong},
};

use super::{IndexError, Store};

/// Why a blob was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The operator's limit.
    #[error(
        "the blob store is full: {stored} of {quota} bytes are used and {wanted} more are needed; raise cdn.quota_mib, or serve fewer sites"
    )]
    Quota {
        /// Bytes in use.
        stored: u64,
        /// Bytes allowed.
        quota: u64,
        /// Bytes that do not fit.
        wanted: u64,
    },
    /// Longer than any blob.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The bytes are not those of the name that was given for them.
    #[error("the bytes are blob {found}, where {expected} was announced")]
    OtherBlob {
        /// What they are.
        found: BlobRoot,
        /// What was said.
        expected: BlobRoot,
    },
    /// More or fewer bytes than belong to the blob.
    #[error("the blob has {expected} bytes, and another number came or was announced")]
    OtherLength {
        /// How long it is.
        expected: u64,
    },
    /// The disk.
    #[error("the blob could not be written: {0}; see that the disk has space")]
    Io(#[from] io::Error),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// A blob under way. Dropped before [`Incoming::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    store: Arc<Store>,
    path: PathBuf,
    file: File,
    hasher: BlobHasher,
    /// Never exceeded, so that a body without end is not written to the end of the disk.
    expected: Option<u64>,
    /// Counted in the store's books, so that many downloads at once cannot exceed the quota together.
    reserved: u64,
    written: u64,
}

impl Incoming {
    pub(super) fn begin(store: Arc<Store>, expected_bytes: Option<u64>) -> Result<Self, ImportError> {
        let path = store.layout.unfinished();
        let file = File::create_new(&path)?;
        let mut incoming = Self {
            store,
            path,
            file,
            hasher: BlobHasher::default(),
            expected: expected_bytes,
            reserved: 0,
            written: 0,
        };
        incoming.reserve(expected_bytes.unwrap_or(0))?;
        Ok(incoming)
    }

    /// Bytes written so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Takes the next bytes. Blocks on the disk.
    ///
    /// # Errors
    /// [`ImportError`], after which this is of no use.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        let total = self.written + bytes.len() as u64;
        if let Some(expected) = self.expected.filter(|expected| *expected < total) {
            return Err(ImportError::OtherLength { expected });
        }
        self.reserve(total)?;
        self.hasher.update(bytes)?;
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Syncs the blob, puts it in its place and enters it in the index. Blocks on the disk. With `expected`,
    /// bytes of another name are refused.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is left behind then.
    pub fn finish(mut self, expected: Option<BlobRoot>) -> Result<(BlobRoot, BlobShape), ImportError> {
        let tree = std::mem::take(&mut self.hasher).finish();
        let (root, shape) = (tree.root(), tree.shape());
        if let Some(expected) = expected.filter(|expected| *expected != root) {
            return Err(ImportError::OtherBlob { found: root, expected });
        }
        let store = Arc::clone(&self.store);
        if store.has(root)? {
            return Ok((root, shape));
        }
        self.file.sync_all()?;
        let (bytes, hashes) = store.layout.paths(root);
        if let Some(directory) = bytes.parent() {
            fs::create_dir_all(directory)?;
        }
        // The hashes first: bytes without hashes would be a blob that nobody can read.
        runtime::write_whole(&hashes, &tree.to_bytes(), false)?;
        fs::rename(&self.path, &bytes)?;
        bytes.parent().map_or(Ok(()), runtime::sync_directory)?;
        if store.index.insert_blob(root, shape.size())? {
            store.books().stored_bytes += shape.size();
        }
        Ok((root, shape))
    }

    /// Sees that `total` bytes fit the quota, beside all others that are under way.
    fn reserve(&mut self, total: u64) -> Result<(), ImportError> {
        if total <= self.reserved {
            return Ok(());
        }
        let more = total - self.reserved;
        let mut books = self.store.books();
        books.room_for(more, self.store.quota_bytes)?;
        books.incoming_bytes += more;
        self.reserved = total;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.store.books().incoming_bytes -= self.reserved;
        // Gone already where the blob was finished.
        let _ = fs::remove_file(&self.path);
    }
}
