//! Taking in a blob: hashed as it is written, visible once it is whole and synced. And what only passes through: neither
//! hashed nor synced, since nobody finds it again after a restart.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
    thread,
};

use shared::base::{BlobRoot, blob::BlobHasher};

use super::{Held, StoreError, state::State};

/// Counted in the store's books at a time, so that not every piece of a stream takes the lock.
const RESERVE_STEP_BYTES: u64 = 1 << 20;

/// So much is synced at a time while the rest comes, so that the sync at the end has little to wait for.
const SYNC_STEP_BYTES: u64 = 4 << 20;

/// Bytes on this machine's disk, within the store's quota, that nobody else finds. They go with the value, or with the
/// process.
pub struct Spool {
    state: Arc<State>,
    path: PathBuf,
    file: File,
    /// Counted in the store's books, so that many uploads at once cannot exceed the quota together.
    reserved: u64,
    written: u64,
}

impl Spool {
    pub(super) fn begin(state: Arc<State>) -> Result<Self, StoreError> {
        let path = state.layout.unfinished();
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { state, path, file, reserved: 0, written: 0 })
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.written
    }

    /// Fills `buffer` with the bytes from `at` on, all of which must be there. Blocks on the disk.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }

    /// Takes the next bytes. Blocks on the disk.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let total = self.written + bytes.len() as u64;
        if total > self.reserved {
            self.reserve(total)?;
        }
        self.file.write_all(bytes)?;
        self.written = total;
        Ok(())
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

impl Drop for Spool {
    fn drop(&mut self) {
        self.state.books().usage.incoming_bytes -= self.reserved;
        // Gone already where it became a blob.
        let _ = fs::remove_file(&self.path);
    }
}

/// A blob under way. Dropped before [`Incoming::finish`], it leaves nothing behind.
pub(super) struct Incoming {
    spool: Spool,
    hasher: BlobHasher,
    syncing: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Incoming {
    pub(super) fn begin(state: Arc<State>) -> Result<Self, StoreError> {
        Ok(Self { spool: Spool::begin(state)?, hasher: BlobHasher::default(), syncing: None })
    }

    /// Takes the next bytes. Blocks on the disk.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes).map_err(|_| StoreError::TooLong)?;
        let before = self.spool.written / SYNC_STEP_BYTES;
        self.spool.write(bytes)?;
        // What goes to a bucket is synced nowhere.
        if self.spool.state.bucket.is_none() && self.spool.written / SYNC_STEP_BYTES > before {
            self.sync_aside()?;
        }
        Ok(())
    }

    /// Has what was written synced meanwhile, unless that is still being done for what came before.
    fn sync_aside(&mut self) -> io::Result<()> {
        if self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished()) {
            return Ok(());
        }
        self.wait_for_sync()?;
        let file = self.spool.file.try_clone()?;
        self.syncing = Some(thread::Builder::new().name("sync".to_owned()).spawn(move || file.sync_data())?);
        Ok(())
    }

    /// What the system says to a sync it says once: whoever asks next hears that all is well.
    fn wait_for_sync(&mut self) -> io::Result<()> {
        match self.syncing.take().map(thread::JoinHandle::join) {
            Some(Ok(synced)) => synced,
            Some(Err(_)) => Err(io::Error::other("the thread that syncs a blob ended in a panic")),
            None => Ok(()),
        }
    }

    /// Puts the blob in its place, for good, and enters it in the index under `lease`. Blocks on the disk and the network.
    pub(super) fn finish(mut self, expected: Option<BlobRoot>, lease: &[u8]) -> Result<Held, StoreError> {
        self.wait_for_sync()?;
        let Self { mut spool, hasher, .. } = self;
        let tree = hasher.finish();
        let held = Held { root: tree.root(), shape: tree.shape() };
        if let Some(expected) = expected.filter(|expected| *expected != held.root) {
            return Err(StoreError::Forged { expected });
        }
        // Written also where the blob is here already: what is here may have rotted, and this has not.
        spool.file.write_all(&tree.to_bytes())?;
        spool.state.settle(&spool.file, &spool.path, held, lease)?;
        Ok(held)
    }
}
