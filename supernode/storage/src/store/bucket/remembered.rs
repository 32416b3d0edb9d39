//! Hashes of groups that were read lately, so that a reader of many short ranges asks for them once.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use shared::base::BlobRoot;

/// Those of 8 GiB of blobs. A blob's are verified against its root before they come here, and whenever they are used.
const MAX_BYTES: usize = 16 << 20;
/// Short blobs have few hashes, and looking for one takes longer the more there are.
const MAX_BLOBS: usize = 512;

/// The newest is last.
#[derive(Default)]
pub(super) struct Remembered(Mutex<VecDeque<(BlobRoot, Bytes)>>);

impl Remembered {
    fn hashes(&self) -> MutexGuard<'_, VecDeque<(BlobRoot, Bytes)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, root: BlobRoot) -> Option<Bytes> {
        let mut hashes = self.hashes();
        let at = hashes.iter().rposition(|(known, _)| *known == root)?;
        let found = hashes.remove(at)?;
        let bytes = found.1.clone();
        hashes.push_back(found);
        Some(bytes)
    }

    pub(super) fn put(&self, root: BlobRoot, bytes: Bytes) {
        let mut hashes = self.hashes();
        if hashes.iter().any(|(known, _)| *known == root) {
            return;
        }
        hashes.push_back((root, bytes));
        while hashes.len() > MAX_BLOBS
            || hashes.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > MAX_BYTES
        {
            hashes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays_longest() {
        let remembered = Remembered::default();
        let (root, some) = (|at: u8| BlobRoot([at; 32]), Bytes::from(vec![0; MAX_BYTES / 4]));
        for at in 0..4 {
            remembered.put(root(at), some.clone());
        }
        assert!(remembered.get(root(0)).is_some());
        remembered.put(root(4), some);
        assert!(remembered.get(root(1)).is_none());
        assert!(remembered.get(root(0)).is_some() && remembered.get(root(4)).is_some());
    }
}
