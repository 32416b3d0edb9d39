//! Taking in a blob: hashed as it is written, visible once it is whole and synced.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    sync::Arc,
};

use shared::base::{BlobRoot, blob::BlobHasher};

use super::{Held, StoreError, state::State};

/// Counted in the store's books at a time, so that not every piece of a stream takes the lock.
const RESERVE_STEP_BYTES: u64 = 1 << 20;

/// A blob under way. Dropped before [`Incoming::finish`], it leaves nothing behind.
pub(super) struct Incoming {
    state: Arc<State>,
    path: PathBuf,
    file: File,
    hasher: BlobHasher,
    /// Counted in the store's books, so that many uploads at once cannot exceed the quota together.
    reserved: u64,
    written: u64,
}

impl Incoming {
    pub(super) fn begin(state: Arc<State>) -> Result<Self, StoreError> {
        let path = state.layout.unfinished();
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { state, path, file, hasher: BlobHasher::default(), reserved: 0, written: 0 })
    }

    /// Takes the next bytes. Blocks on the disk.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let total = self.written + bytes.len() as u64;
        if total > self.reserved {
            self.reserve(total)?;
        }
        self.hasher.update(bytes).map_err(|_| StoreError::TooLong)?;
        self.file.write_all(bytes)?;
        self.written = total;
        Ok(())
    }

    /// Puts the blob in its place, for good, and enters it in the index under `lease`. Blocks on the disk and the network.
    pub(super) fn finish(mut self, expected: Option<BlobRoot>, lease: &[u8]) -> Result<Held, StoreError> {
        let tree = std::mem::take(&mut self.hasher).finish();
        let held = Held { root: tree.root(), shape: tree.shape() };
        if let Some(expected) = expected.filter(|expected| *expected != held.root) {
            return Err(StoreError::Forged { expected });
        }
        // Written also where the blob is here already: what is here may have rotted, and this has not.
        self.file.write_all(&tree.to_bytes())?;
        self.state.settle(&self.file, &self.path, held, lease)?;
        Ok(held)
    }

    /// Sees that `total` bytes fit the quota, beside all others that are under way; a step ahead where that fits too.
    fn reserve(&mut self, total: u64) -> Result<(), StoreError> {
        let mut books = self.state.books();
        let ahead = total.next_multiple_of(RESERVE_STEP_BYTES) - self.reserved;
        let more = if books.room_for(ahead).is_ok() { ahead } else { total - self.reserved };
        books.room_for(more)?;
        books.usage.incoming_bytes += more;
        self.reserved += more;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.state.books().usage.incoming_bytes -= self.reserved;
        // Gone already where the blob was finished.
        let _ = fs::remove_file(&self.path);
    }
}
