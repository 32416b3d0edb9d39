//! Memory in front of a disk: what came lately is read from memory, and goes to the disk in long runs.
//!
//! A browser may answer each call of a file handle by way of another process, where a write of 16 KiB costs two
//! milliseconds of the worker's time and one of a megabyte little more. So slots gather here until the journal is
//! written, or until [`DIRTY_SLOTS_MAX`] of them have.
//!
//! A crash loses what had not been written, and the journal does not name it; where it does, reading finds that it
//! does not verify. What the disk refused stays in memory, and the refusal is the answer to the next write.

use std::collections::VecDeque;

use litemap::LiteMap;

use super::disk::{Disk, DiskError, SLOT_BYTES};

/// Kept in memory at most: a page's worth of pictures and the film that is playing.
const CACHE_SLOTS: usize = 24 * 1024 * 1024 / SLOT_BYTES;
/// Not yet written at most: what a crash may cost, and how long one write keeps the worker from all else.
const DIRTY_SLOTS_MAX: usize = 1024 * 1024 / SLOT_BYTES;

#[derive(Debug)]
struct Slot {
    bytes: Box<[u8]>,
    /// Put here, and not read from the disk.
    written: bool,
}

/// See the module's head.
#[derive(Debug)]
pub struct CachedDisk<D> {
    disk: D,
    slots: LiteMap<u32, Slot>,
    /// Slots in memory by the time they came; those written since are named again.
    order: VecDeque<u32>,
    /// Ascending.
    dirty: Vec<u32>,
    /// Whether the disk refused what is dirty.
    refused: bool,
}

impl<D: Disk> CachedDisk<D> {
    /// With nothing in memory.
    pub fn new(disk: D) -> Self {
        Self { disk, slots: LiteMap::new(), order: VecDeque::new(), dirty: Vec::new(), refused: false }
    }

    fn keep(&mut self, slot: u32, bytes: &[u8], written: bool) {
        if self.slots.insert(slot, Slot { bytes: bytes.into(), written }).is_none() {
            self.order.push_back(slot);
        }
        while self.slots.len() > CACHE_SLOTS
            && let Some(oldest) = self.order.pop_front()
        {
            if self.dirty.contains(&oldest) {
                // There are fewer of them than the cache holds, so this ends.
                self.order.push_back(oldest);
            } else {
                self.slots.remove(&oldest);
            }
        }
    }

    /// Writes what is not on the disk, each run of neighbours at once.
    fn write_dirty(&mut self) -> Result<(), DiskError> {
        self.refused = false;
        while let Some(&first) = self.dirty.first() {
            let mut run = Vec::new();
            let slots = (first..).zip(&self.dirty).take_while(|(next, slot)| next == *slot).count();
            for (place, slot) in self.dirty.iter().take(slots).enumerate() {
                run.resize(place * SLOT_BYTES, 0);
                run.extend_from_slice(self.slots.get(slot).map_or(&[], |slot| &slot.bytes));
            }
            if let Err(error) = self.disk.write(first, &run) {
                self.refused = true;
                return Err(error);
            }
            self.dirty.drain(..slots);
        }
        Ok(())
    }
}

impl<D: Disk> Disk for CachedDisk<D> {
    fn read(&mut self, slot: u32, into: &mut [u8]) -> Result<(), DiskError> {
        if let Some(bytes) = self.slots.get(&slot).and_then(|slot| slot.bytes.get(..into.len())) {
            into.copy_from_slice(bytes);
            return Ok(());
        }
        self.disk.read(slot, into)?;
        self.keep(slot, into, false);
        Ok(())
    }

    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<(), DiskError> {
        if self.dirty.len() >= DIRTY_SLOTS_MAX {
            self.write_dirty()?;
        }
        // What was refused may find room by now: other slots were given up, or the visitor made some.
        if self.refused {
            self.write_dirty()?;
        }
        if let Err(place) = self.dirty.binary_search(&slot) {
            self.dirty.insert(place, slot);
        }
        self.keep(slot, bytes, true);
        Ok(())
    }

    fn written(&self, slot: u32) -> Option<&[u8]> {
        self.slots.get(&slot).filter(|slot| slot.written).map(|slot| &*slot.bytes)
    }

    fn append(&mut self, records: &[u8]) -> Result<(), DiskError> {
        self.write_dirty()?;
        self.disk.append(records)
    }

    fn rewrite(&mut self, journal: &[u8]) -> Result<(), DiskError> {
        self.write_dirty()?;
        self.disk.rewrite(journal)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// A disk of so many bytes that remembers each write.
    #[derive(Clone, Default)]
    struct Told(Rc<RefCell<State>>);

    #[derive(Default)]
    struct State {
        bytes: Vec<u8>,
        writes: Vec<(u32, usize)>,
        full: bool,
    }

    impl Disk for Told {
        fn read(&mut self, slot: u32, into: &mut [u8]) -> Result<(), DiskError> {
            let at = slot as usize * SLOT_BYTES;
            let state = self.0.borrow();
            let found = state.bytes.get(at..at + into.len());
            into.copy_from_slice(found.ok_or_else(|| DiskError::Failed("beyond the end".to_owned()))?);
            Ok(())
        }

        fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<(), DiskError> {
            let mut state = self.0.borrow_mut();
            if state.full {
                return Err(DiskError::Quota);
            }
            let at = slot as usize * SLOT_BYTES;
            let length = state.bytes.len().max(at + bytes.len());
            state.bytes.resize(length, 0);
            state.bytes[at..at + bytes.len()].copy_from_slice(bytes);
            state.writes.push((slot, bytes.len()));
            Ok(())
        }

        fn append(&mut self, _: &[u8]) -> Result<(), DiskError> {
            Ok(())
        }

        fn rewrite(&mut self, _: &[u8]) -> Result<(), DiskError> {
            Ok(())
        }
    }

    fn slot(number: u32) -> Vec<u8> {
        (0..SLOT_BYTES).map(|at| u8::try_from((at + number as usize * 7) % 251).unwrap_or(0)).collect()
    }

    fn read(disk: &mut impl Disk, number: u32, length: usize) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0; length];
        disk.read(number, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn neighbours_are_written_at_once_and_short_slots_stay_in_place() {
        let told = Told::default();
        let mut cached = CachedDisk::new(told.clone());
        for number in [3, 1, 2, 7] {
            let length = if number == 2 { 100 } else { SLOT_BYTES };
            cached.write(number, &slot(number)[..length]).unwrap();
        }
        assert!(told.0.borrow().writes.is_empty());
        cached.append(b"records").unwrap();
        assert_eq!(told.0.borrow().writes, [(1, 3 * SLOT_BYTES), (7, SLOT_BYTES)]);
        let mut again = told.clone();
        assert_eq!(read(&mut again, 1, SLOT_BYTES).unwrap(), slot(1));
        assert_eq!(read(&mut again, 2, 100).unwrap(), slot(2)[..100]);
        assert_eq!(read(&mut again, 3, SLOT_BYTES).unwrap(), slot(3));
    }

    #[test]
    fn only_what_was_put_here_needs_no_judge() {
        let told = Told::default();
        let mut cached = CachedDisk::new(told.clone());
        cached.write(1, &slot(1)).unwrap();
        cached.append(b"records").unwrap();
        assert_eq!(cached.written(1), Some(&*slot(1)));
        let mut again = CachedDisk::new(told);
        read(&mut again, 1, SLOT_BYTES).unwrap();
        assert_eq!(again.written(1), None);
        again.write(1, &slot(2)).unwrap();
        assert_eq!(again.written(1), Some(&*slot(2)));
    }

    #[test]
    fn memory_is_bounded_and_everything_reads_back() {
        let told = Told::default();
        let mut cached = CachedDisk::new(told.clone());
        let count = u32::try_from(2 * CACHE_SLOTS).unwrap();
        for number in 0..count {
            cached.write(number, &slot(number)).unwrap();
            assert!(cached.dirty.len() <= DIRTY_SLOTS_MAX && cached.slots.len() <= CACHE_SLOTS);
        }
        for number in (0..count).step_by(97) {
            assert_eq!(read(&mut cached, number, SLOT_BYTES).unwrap(), slot(number));
        }
        assert!(cached.slots.len() <= CACHE_SLOTS && cached.order.len() <= CACHE_SLOTS);
    }

    #[test]
    fn what_a_full_disk_refused_still_reads_back_and_no_more_is_taken() {
        let told = Told::default();
        told.0.borrow_mut().full = true;
        let mut cached = CachedDisk::new(told.clone());
        cached.write(5, &slot(5)).unwrap();
        assert_eq!(cached.append(b"records"), Err(DiskError::Quota));
        assert_eq!(cached.write(6, &slot(6)), Err(DiskError::Quota));
        assert_eq!(read(&mut cached, 5, SLOT_BYTES).unwrap(), slot(5));
    }
}
