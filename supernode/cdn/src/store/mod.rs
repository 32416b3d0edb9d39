//! Blobs on disk: each whole or absent, each checked again whenever it is read.
//!
//! ```text
//! data_dir/blobs/ab/ab12…         the bytes
//! data_dir/blobs/ab/ab12….hashes  the hash of each group (shared::cdn::blob::HashTree)
//! data_dir/incoming/              blobs under way; emptied at start
//! data_dir/quarantine/            what was found corrupt, for an operator to look at
//! data_dir/index.redb             sizes, sites, manifests, validators
//! ```
//!
//! A blob is hashed while it is written to `incoming`, synced, renamed into place with its hashes first,
//! and then entered in the index: whatever moment the process dies at, the index names whole blobs only.
//! Nothing read from disk leaves unverified: a disk that rots yields [`ReadError::Corrupt`], never bytes.

mod files;
mod incoming;
mod index;
mod reader;
mod writer;

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use files::Layout;
pub use incoming::{ImportError, Incoming};
pub(crate) use index::{AssetRecord, SiteRecord};
pub use index::{Index, IndexError};
pub use reader::{OpenBlob, ReadError};
use shared::base::BlobRoot;
pub use writer::Writer;

/// Blobs held open at a time. Each costs a file descriptor and 1/512 of its length for hashes.
const OPEN_BLOBS: usize = 128;
/// Hashes held for open blobs: those of 16 GiB. The blob that would exceed it is opened without being kept.
const OPEN_HASH_BYTES: usize = 32 * 1024 * 1024;

/// The blobs of a node. One per data directory, which [`runtime::DataDir`] ensures.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    index: Index,
    quota_bytes: u64,
    books: Mutex<Books>,
}

/// What is counted while blobs come and go.
#[derive(Debug, Default)]
struct Books {
    /// Of whole blobs in the index.
    stored_bytes: u64,
    /// Of blobs under way, by what they have written.
    incoming_bytes: u64,
    /// In the order of last use, the latest last.
    open: Vec<Arc<OpenBlob>>,
    quarantined: u64,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of whole blobs.
    pub stored_bytes: u64,
    /// What an operator allows.
    pub quota_bytes: u64,
    /// Blobs found corrupt since start.
    pub quarantined: u64,
}

impl Store {
    /// Opens or makes the store. Clears what an earlier process left unfinished.
    ///
    /// # Errors
    /// Where the index cannot be opened or the directory not written.
    pub fn open(data_dir: &Path, quota_bytes: u64) -> Result<Self, StoreError> {
        let layout = Layout::open(data_dir)?;
        let index = Index::open(&data_dir.join("index.redb"))?;
        let stored_bytes = index.blobs()?.iter().map(|(_, size)| size).sum();
        let books = Mutex::new(Books { stored_bytes, ..Books::default() });
        Ok(Self { layout, index, quota_bytes, books })
    }

    /// The records beside the blobs.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// How full it is.
    pub fn usage(&self) -> Usage {
        let books = self.books();
        Usage {
            stored_bytes: books.stored_bytes,
            quota_bytes: self.quota_bytes,
            quarantined: books.quarantined,
        }
    }

    /// Whether the blob is here, as far as is known without reading it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn has(&self, root: BlobRoot) -> Result<bool, IndexError> {
        Ok(self.index.blob_size(root)?.is_some())
    }

    /// Whether so much more fits, beside what is under way.
    ///
    /// # Errors
    /// [`ImportError::Quota`] where it does not.
    pub fn room_for(&self, more: u64) -> Result<(), ImportError> {
        self.books().room_for(more, self.quota_bytes)
    }

    /// Begins to take in a blob whose length may be known.
    ///
    /// # Errors
    /// [`ImportError::Quota`] where it would not fit.
    pub fn begin(self: &Arc<Self>, expected_bytes: Option<u64>) -> Result<Incoming, ImportError> {
        Incoming::begin(Arc::clone(self), expected_bytes)
    }

    /// The blob, its hashes verified against its name.
    ///
    /// # Errors
    /// [`ReadError`]; a corrupt one is in quarantine then.
    pub fn get(&self, root: BlobRoot) -> Result<Arc<OpenBlob>, ReadError> {
        {
            let mut books = self.books();
            if let Some(at) = books.open.iter().position(|open| open.root() == root) {
                let open = books.open.remove(at);
                books.open.push(Arc::clone(&open));
                return Ok(open);
            }
        }
        let size = self.index.blob_size(root)?.ok_or(ReadError::Absent(root))?;
        match OpenBlob::open(&self.layout, root, size) {
            Ok(open) => Ok(self.keep_open(Arc::new(open))),
            Err(error) => {
                if let ReadError::Corrupt { .. } = &error {
                    self.quarantine(root)?;
                }
                Err(error)
            }
        }
    }

    /// Takes a blob that was found corrupt out of use.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn quarantine(&self, root: BlobRoot) -> Result<(), IndexError> {
        let Some(size) = self.index.remove_blob(root)? else { return Ok(()) };
        tracing::warn!(%root, "a blob is corrupt on disk; it is in quarantine and will be fetched again");
        {
            let mut books = self.books();
            books.open.retain(|open| open.root() != root);
            books.stored_bytes = books.stored_bytes.saturating_sub(size);
            books.quarantined += 1;
        }
        if let Err(error) = self.layout.quarantine(root) {
            tracing::warn!(%root, %error, "the corrupt blob could not be moved to quarantine");
        }
        Ok(())
    }

    /// Removes every blob that no site's manifest names. Returns how many bytes that freed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn collect_garbage(&self, keep: &BTreeSet<BlobRoot>) -> Result<u64, StoreError> {
        let mut freed = 0;
        for (root, size) in self.index.blobs()? {
            if keep.contains(&root) || self.index.remove_blob(root)?.is_none() {
                continue;
            }
            {
                let mut books = self.books();
                books.open.retain(|open| open.root() != root);
                books.stored_bytes = books.stored_bytes.saturating_sub(size);
            }
            self.layout.remove(root)?;
            freed += size;
        }
        Ok(freed)
    }

    fn keep_open(&self, blob: Arc<OpenBlob>) -> Arc<OpenBlob> {
        let mut books = self.books();
        let held = |books: &Books| books.open.iter().map(|open| open.hash_bytes()).sum::<usize>();
        if blob.hash_bytes() <= OPEN_HASH_BYTES {
            books.open.push(Arc::clone(&blob));
            while books.open.len() > OPEN_BLOBS || held(&books) > OPEN_HASH_BYTES {
                books.open.remove(0);
            }
        }
        blob
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn room_for(&self, more: u64, quota: u64) -> Result<(), ImportError> {
        let stored = self.stored_bytes.saturating_add(self.incoming_bytes);
        if stored.saturating_add(more) > quota {
            return Err(ImportError::Quota { stored, quota, wanted: more });
        }
        Ok(())
    }
}

/// Why the store cannot work at all.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The files.
    #[error("the blob store cannot be used: {0}; see that the data directory is writable and has space")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests;
