//! Memory that shards are encoded into. The system hands out fresh memory page by page, which takes longer than the code
//! itself; so it stays from one segment to the next, and is let go when none came for a while.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::SEGMENTS_AT_ONCE;

/// Segments of one upload follow each other sooner.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// As many pieces as there are segments at once, each at most as long as a segment's shards.
#[derive(Default)]
pub(super) struct Memory(Mutex<Vec<(Instant, Vec<u8>)>>);

impl Memory {
    fn pieces(&self) -> MutexGuard<'_, Vec<(Instant, Vec<u8>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes, whatever is in them.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        let (_, mut piece) = self.pieces().pop().unwrap_or_else(|| (Instant::now(), Vec::new()));
        if piece.capacity() < bytes {
            // Not moved to where there is more room: nothing of it is wanted.
            return vec![0; bytes];
        }
        piece.resize(bytes, 0);
        piece
    }

    /// Takes back what nobody reads any more; the rest goes when its last reader has gone.
    pub(super) fn give_back(&self, bytes: Bytes) {
        let mut pieces = self.pieces();
        if let Ok(bytes) = bytes.try_into_mut()
            && pieces.len() < SEGMENTS_AT_ONCE
        {
            pieces.push((Instant::now(), bytes.into()));
        }
    }

    /// Lets go of what nobody wanted lately.
    pub(super) fn expire(&self) {
        self.pieces().retain(|(since, _)| since.elapsed() < KEPT_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_once_nobody_reads_it() {
        let memory = Memory::default();
        let piece = memory.take(1000);
        let place = piece.as_ptr();
        let whole = Bytes::from(piece);
        let slice = whole.slice(10..20);
        drop(slice);
        memory.give_back(whole);
        let again = memory.take(500);
        assert!(again.as_ptr() == place && again.len() == 500);
        let whole = Bytes::from(again);
        let read = whole.slice(..);
        memory.give_back(whole);
        let fresh = memory.take(500);
        assert!(fresh.as_ptr() != read.as_ptr(), "somebody reads it");
        for _ in 0..2 * SEGMENTS_AT_ONCE {
            memory.give_back(Bytes::from(vec![1; 10]));
        }
        assert_eq!(memory.pieces().len(), SEGMENTS_AT_ONCE);
        memory.expire();
        assert_eq!(memory.pieces().len(), SEGMENTS_AT_ONCE, "it was wanted just now");
    }
}
