//! Memory that shards are encoded into. The system hands out fresh memory page by page, which takes longer than the code
//! itself; so it stays from one segment to the next, and is let go when none came for a while.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::SEGMENTS_AT_ONCE;

/// Less is not worth keeping, and would take the place of more.
const KEPT_FROM_BYTES: usize = 1 << 20;
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
        let mut pieces = self.pieces();
        let fits = (0..pieces.len()).filter(|place| pieces[*place].1.capacity() >= bytes);
        match fits.min_by_key(|place| pieces[*place].1.capacity()) {
            Some(place) => {
                let mut piece = pieces.swap_remove(place).1;
                piece.resize(bytes, 0);
                piece
            }
            // Not moved to where there is more room: nothing of it is wanted.
            None => vec![0; bytes],
        }
    }

    /// Takes back what nobody reads any more; the rest goes when its last reader has gone.
    pub(super) fn give_back(&self, bytes: Bytes) {
        let Ok(bytes) = bytes.try_into_mut() else { return };
        let piece = Vec::from(bytes);
        if piece.capacity() < KEPT_FROM_BYTES {
            return;
        }
        let mut pieces = self.pieces();
        pieces.push((Instant::now(), piece));
        if pieces.len() > SEGMENTS_AT_ONCE {
            let smallest = (0..pieces.len()).min_by_key(|place| pieces[*place].1.capacity());
            smallest.map(|place| pieces.swap_remove(place));
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

    const MIB: usize = 1 << 20;

    #[test]
    fn memory_comes_back_once_nobody_reads_it() {
        let memory = Memory::default();
        let piece = memory.take(2 * MIB);
        let place = piece.as_ptr();
        let whole = Bytes::from(piece);
        let slice = whole.slice(10..20);
        drop(slice);
        memory.give_back(whole);
        let again = memory.take(MIB);
        assert!(again.as_ptr() == place && again.len() == MIB);
        let whole = Bytes::from(again);
        let read = whole.slice(..);
        memory.give_back(whole);
        let fresh = memory.take(MIB);
        assert!(fresh.as_ptr() != read.as_ptr(), "somebody reads it");
    }

    #[test]
    fn the_largest_pieces_stay_and_the_smallest_that_fits_is_taken() {
        let memory = Memory::default();
        memory.give_back(Bytes::from(vec![1; 1000]));
        assert!(memory.pieces().is_empty(), "not worth keeping");
        for mib in [4, 1, 2, 3] {
            memory.give_back(Bytes::from(vec![1; mib * MIB]));
        }
        let kept =
            |memory: &Memory| memory.pieces().iter().map(|piece| piece.1.len() / MIB).collect::<Vec<_>>();
        assert_eq!((SEGMENTS_AT_ONCE, kept(&memory)), (2, vec![4, 3]));
        memory.expire();
        assert_eq!(kept(&memory), [4, 3], "they were wanted just now");
        assert_eq!(memory.take(MIB).capacity(), 3 * MIB);
        assert_eq!(memory.take(5 * MIB).capacity(), 5 * MIB);
        assert_eq!(kept(&memory), [4]);
    }
}
