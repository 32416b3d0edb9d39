//! Who reads, and since when: what was deleted while somebody reads it stays until that reader is done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The numbers at which reads began, each with how many reads that are.
#[derive(Clone, Default)]
pub(super) struct Readers(Arc<Mutex<BTreeMap<u64, u64>>>);

/// A read under way.
pub(super) struct Reading {
    readers: Readers,
    since: u64,
}

impl Readers {
    /// Begins a read at the metadata's number `since`, drawn before it looks anything up.
    pub(super) fn begin(&self, since: u64) -> Reading {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(since).or_default() += 1;
        Reading { readers: self.clone(), since }
    }

    /// The number of the longest read under way.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().next().copied()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut readers = self.readers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = readers.get_mut(&self.since) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.since);
            }
        }
    }
}
