//! Blobs that arrive in slices, from several holders and in any order.
//!
//! What has arrived is known in memory alone: a holder that restarts asks again, which costs it a shard of 64 MiB at
//! most, and needs no trust in a file that nobody finished.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

use shared::base::{
    BlobRoot,
    blob::{BlobShape, GROUP_BYTES, group_hash},
};

use super::{Held, StoreError, slices, state::State};

/// Blobs that may be in the making at a time: each holds a file open, and room within the quota.
const MAX_PARTIALS: usize = 256;

/// The blobs in the making.
#[derive(Default)]
pub(super) struct Partials(BTreeMap<BlobRoot, Partial>);

/// What came of a slice.
pub(super) enum Took {
    /// The blob is here, and leased.
    Held,
    /// It is not whole yet.
    Some,
    /// It is whole, and to be finished.
    Last(Partial),
}

/// One of them. Dropped before it is whole, it leaves nothing behind.
pub(super) struct Partial {
    state: Arc<State>,
    path: PathBuf,
    file: File,
    shape: BlobShape,
    hashes: Vec<Option<[u8; 32]>>,
    missing: u32,
}

impl Partials {
    /// Takes in what a slice holds. Blocks on the disk.
    pub(super) fn take(
        &mut self,
        state: &Arc<State>,
        held: Held,
        range: &Range<u64>,
        slice: &[u8],
        lease: &[u8],
    ) -> Result<Took, StoreError> {
        let Held { root, shape } = held;
        if let Ok(known) = state.index.shape(root) {
            if known != shape {
                return Err(StoreError::Forged { expected: root });
            }
            state.index.lease(root, lease)?;
            return Ok(Took::Held);
        }
        if !self.0.contains_key(&root) {
            if self.0.len() >= MAX_PARTIALS {
                return Err(StoreError::Busy);
            }
            self.0.insert(root, Partial::begin(Arc::clone(state), shape)?);
        }
        let partial = self.0.get_mut(&root).ok_or(StoreError::Absent { root })?;
        if partial.shape != shape {
            // One of the two lengths is a lie, and only the whole tree tells which.
            return Err(StoreError::Forged { expected: root });
        }
        let taken = partial.take(root, range, slice);
        if partial.missing < partial.shape.groups() && taken.is_ok() && partial.missing == 0 {
            let partial = self.0.remove(&root).ok_or(StoreError::Absent { root })?;
            return Ok(Took::Last(partial));
        }
        if self.0.get(&root).is_some_and(|partial| partial.missing == partial.shape.groups()) {
            // Nothing true has come: whoever made this up shall not keep a place.
            self.0.remove(&root);
        }
        taken.map(|()| Took::Some)
    }
}

impl Partial {
    fn begin(state: Arc<State>, shape: BlobShape) -> Result<Self, StoreError> {
        {
            let mut books = state.books();
            books.room_for(shape.size())?;
            books.usage.incoming_bytes += shape.size();
        }
        let path = state.layout.unfinished();
        match File::options().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => {
                let (hashes, missing) = (vec![None; shape.groups() as usize], shape.groups());
                Ok(Self { state, path, file, shape, hashes, missing })
            }
            Err(error) => {
                state.books().usage.incoming_bytes -= shape.size();
                Err(error.into())
            }
        }
    }

    fn take(&mut self, root: BlobRoot, range: &Range<u64>, slice: &[u8]) -> Result<(), StoreError> {
        let Self { file, shape, hashes, missing, .. } = self;
        let mut verified = Vec::new();
        let read = slices::import(root, *shape, range, slice, |group, place| verified.push((group, place)));
        // What came before a slice broke off is the blob's all the same.
        for (group, place) in verified {
            let hash = hashes.get_mut(group as usize).ok_or(StoreError::Forged { expected: root })?;
            if hash.is_none() {
                let bytes = &slice[place];
                file.seek(SeekFrom::Start(u64::from(group) * GROUP_BYTES))?;
                file.write_all(bytes)?;
                *hash = Some(group_hash(group, bytes));
                *missing -= 1;
            }
        }
        read
    }

    /// Puts the blob in its place, for good, and leases it. Blocks on the disk and the network.
    pub(super) fn finish(mut self, held: Held, lease: &[u8]) -> Result<(), StoreError> {
        if self.shape.pages() > 0 {
            let hashes = self.hashes.iter().flatten().flatten().copied().collect::<Vec<u8>>();
            self.file.seek(SeekFrom::Start(self.shape.size()))?;
            self.file.write_all(&hashes)?;
        }
        self.state.settle(&self.file, &self.path, held, lease)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.state.books().usage.incoming_bytes -= self.shape.size();
        // Gone already where the blob is whole.
        let _ = fs::remove_file(&self.path);
    }
}
