//! What is where: files, objects and the index, changed together.

use std::{
    fs::File,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shared::base::BlobRoot;
use tokio_util::sync::CancellationToken;

use super::{
    Held, StoreError, Usage,
    bucket::{Bucket, ObjectSource},
    editions::{Edition, Gone},
    index::{Entered, Index},
    layout::Layout,
    names::Names,
    reader::{Reader, Source},
    scrub::Lost,
};

/// Idle blobs are deleted so many at a time, so that uploads do not wait for thousands of files.
const SWEEP: usize = 64;

/// What the parts of the store share.
pub(super) struct State {
    pub(super) layout: Layout,
    pub(super) bucket: Option<Arc<Bucket>>,
    pub(super) index: Arc<Index>,
    books: Mutex<Books>,
    names: Names,
    /// What nobody waits for ends early.
    pub(super) closing: CancellationToken,
}

/// What is written and what may be.
pub(super) struct Books {
    pub(super) usage: Usage,
}

impl Books {
    /// Whether `more` bytes fit.
    pub(super) fn room_for(&self, more: u64) -> Result<(), StoreError> {
        let Usage { stored_bytes, incoming_bytes, quota_bytes, .. } = self.usage;
        let used = stored_bytes.saturating_add(incoming_bytes);
        if used.saturating_add(more) > quota_bytes {
            return Err(StoreError::Quota { used, quota: quota_bytes, wanted: more });
        }
        Ok(())
    }
}

impl State {
    pub(super) fn new(
        layout: Layout,
        index: Arc<Index>,
        bucket: Option<Arc<Bucket>>,
        quota_bytes: u64,
    ) -> Result<Self, StoreError> {
        let (stored_bytes, blobs) = index.totals()?;
        let usage = Usage { stored_bytes, blobs, quota_bytes, incoming_bytes: 0 };
        let books = Mutex::new(Books { usage });
        Ok(Self { layout, bucket, index, books, names: Names::default(), closing: CancellationToken::new() })
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a whole file where blobs lie, for good, and enters it.
    pub(super) fn settle(
        &self,
        file: &File,
        unfinished: &Path,
        held: Held,
        lease: &[u8],
    ) -> Result<(), StoreError> {
        let _taken = self.names.take(held.root);
        let edition = match &self.bucket {
            Some(bucket) => bucket.upload(file, held)?,
            None => {
                file.sync_all()?;
                self.layout.settle(unfinished, held.root)?;
                Edition::FILE
            }
        };
        let Entered { new, replaced } = self.index.insert(held, edition, lease)?;
        {
            let mut books = self.books();
            books.usage.blobs += u64::from(new);
            // Two objects of one blob count twice until one is deleted. A file takes the place of the other.
            let counts = new || replaced.is_some_and(|before| before != Edition::FILE);
            books.usage.stored_bytes += if counts { held.shape.size() } else { 0 };
        }
        // The blob is taken in; what it replaced may as well go later.
        let cleared = match (replaced, &self.bucket) {
            (Some(Edition::FILE), Some(_)) => self.layout.remove(held.root).map_err(StoreError::from),
            (Some(_), Some(_)) => self.delete_gone().map(drop),
            _ => Ok(()),
        };
        if let Err(error) = cleared {
            tracing::warn!(%error, "what a blob replaced stays for now");
        }
        Ok(())
    }

    /// Deletes objects that are to be deleted, if there are any.
    fn delete_gone(&self) -> Result<u64, StoreError> {
        let freed = self.bucket.as_ref().map_or(Ok(0), |bucket| bucket.delete_gone())?;
        self.books().usage.stored_bytes -= freed;
        Ok(freed)
    }

    /// Reads and hashes a whole blob.
    pub(super) fn verify(&self, held: Held) -> Result<(), StoreError> {
        let mut range = 0..held.shape.size();
        let (_, edition) = self.index.locate(held.root)?;
        let mut source = self.source(held, edition)?;
        if let Source::Object(object) = &mut source {
            object.forget_hashes();
        }
        let mut reader = Reader::open(source, held, &range)?;
        if range.is_empty() {
            return reader.groups(0..1).map(drop);
        }
        while reader.next(&mut range)?.is_some() {}
        Ok(())
    }

    /// Moves a damaged blob aside and forgets it, unless it was written anew meanwhile. Says what it was.
    pub(super) fn set_aside(&self, held: Held) -> Result<Option<Lost>, StoreError> {
        let _taken = self.names.take(held.root);
        let lost = match self.verify(held) {
            Ok(()) | Err(StoreError::Absent { .. }) => return Ok(None),
            Err(StoreError::Rotten { .. }) => Lost::Rotten,
            Err(StoreError::Missing { .. }) => Lost::Missing,
            Err(error) => return Err(error),
        };
        match (self.index.locate(held.root)?.1, &self.bucket) {
            (Edition::FILE, _) | (_, None) => self.layout.set_aside(held.root)?,
            (edition, Some(bucket)) => {
                // An object that is not there may also mean that the bucket is not the one that it was.
                bucket.confirm()?;
                bucket.set_aside(held.root, edition)?;
            }
        }
        self.forgotten(self.index.forget(held.root)?.as_slice());
        Ok(Some(lost))
    }

    /// Counts what the index forgot. What lies in a bucket is stored until it is deleted there.
    fn forgotten(&self, gone: &[Gone]) -> u64 {
        let freed = gone.iter().filter(|gone| gone.edition == Edition::FILE).map(|gone| gone.bytes).sum();
        let mut books = self.books();
        books.usage.stored_bytes -= freed;
        books.usage.blobs -= gone.len() as u64;
        freed
    }

    pub(super) fn collect_garbage(&self) -> Result<u64, StoreError> {
        let mut freed = 0;
        for roots in self.index.idle()?.chunks(SWEEP) {
            let taken = self.names.take_free(roots);
            let gone = self.index.forget_idle(&taken.roots)?;
            for gone in gone.iter().filter(|gone| gone.edition == Edition::FILE) {
                self.layout.remove(gone.root)?;
            }
            freed += self.forgotten(&gone);
        }
        Ok(freed + self.delete_gone()?)
    }

    /// Deletes files and objects that the index does not know: a process died between naming one and entering it. Ends
    /// early where the store is closed; the next start goes on.
    pub(super) fn remove_strays(&self) -> Result<(), StoreError> {
        for first in 0..=u8::MAX {
            for root in self.layout.files(first)? {
                if self.closing.is_cancelled() {
                    return Ok(());
                }
                let _taken = self.names.take(root);
                match self.index.locate(root) {
                    Ok((_, Edition::FILE)) => {}
                    Ok(_) | Err(StoreError::Absent { .. }) => self.layout.remove(root)?,
                    Err(error) => return Err(error),
                }
            }
        }
        self.bucket.as_ref().map_or(Ok(()), |bucket| bucket.remove_strays(&self.closing))
    }

    /// The bytes of a blob that lay there a moment ago.
    fn source(&self, held: Held, mut edition: Edition) -> Result<Source, StoreError> {
        let Held { root, .. } = held;
        if edition == Edition::FILE {
            let opened = Source::open_file(&self.layout.path(root), root);
            if !matches!(opened, Err(StoreError::Missing { .. })) {
                return opened;
            }
            // Unless an object took its place just now.
            edition = self.index.locate(root)?.1;
            if edition == Edition::FILE {
                return opened;
            }
        }
        let bucket = self.bucket.as_ref().ok_or(StoreError::NoBucket)?;
        Ok(Source::Object(Box::new(ObjectSource::new(Arc::clone(bucket), held, edition))))
    }

    /// Opens a blob to read `wanted` of it.
    pub(super) fn reader(&self, root: BlobRoot, wanted: &Range<u64>) -> Result<Reader, StoreError> {
        let (shape, edition) = self.index.locate(root)?;
        let held = Held { root, shape };
        Reader::open(self.source(held, edition)?, held, wanted)
    }
}
