//! Where slots and journal records are put.

use litemap::LiteMap;

/// A slot holds one group, page or top, which are all at most this long.
pub const SLOT_BYTES: usize = 16 * 1024;

/// The disk did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The browser allows no more.
    #[error("the browser's storage quota is used up")]
    Quota,
    /// Anything else it said.
    #[error("the browser's storage failed: {0}")]
    Failed(String),
}

/// Slots by number, and a journal. Calls are synchronous, as OPFS access handles are in a worker.
pub trait Disk {
    /// Fills `into` from the start of a slot.
    ///
    /// # Errors
    /// [`DiskError`], also where the slot was never written that far.
    fn read(&mut self, slot: u32, into: &mut [u8]) -> Result<(), DiskError>;
    /// What was written to a slot, if that is still in memory: it cannot have rotted.
    fn written(&self, _slot: u32) -> Option<&[u8]> {
        None
    }
    /// Puts `bytes` at the start of a slot; what is longer than [`SLOT_BYTES`] goes on in the slots behind it.
    ///
    /// # Errors
    /// [`DiskError`]; the slot's content is undefined then.
    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<(), DiskError>;
    /// Adds records to the journal.
    ///
    /// # Errors
    /// [`DiskError`]; some of the records may have been written.
    fn append(&mut self, records: &[u8]) -> Result<(), DiskError>;
    /// Puts a new journal in place of the old one; after a crash either is found, whole.
    ///
    /// # Errors
    /// [`DiskError`]; the old journal counts then.
    fn rewrite(&mut self, journal: &[u8]) -> Result<(), DiskError>;
}

impl Disk for Box<dyn Disk> {
    fn read(&mut self, slot: u32, into: &mut [u8]) -> Result<(), DiskError> {
        (**self).read(slot, into)
    }

    fn written(&self, slot: u32) -> Option<&[u8]> {
        (**self).written(slot)
    }

    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<(), DiskError> {
        (**self).write(slot, bytes)
    }

    fn append(&mut self, records: &[u8]) -> Result<(), DiskError> {
        (**self).append(records)
    }

    fn rewrite(&mut self, journal: &[u8]) -> Result<(), DiskError> {
        (**self).rewrite(journal)
    }
}

/// For a tab that may not, or cannot, write: it remembers until it closes.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    slots: LiteMap<u32, Box<[u8]>>,
}

impl Disk for MemoryDisk {
    fn read(&mut self, slot: u32, into: &mut [u8]) -> Result<(), DiskError> {
        let found = self.slots.get(&slot).and_then(|bytes| bytes.get(..into.len()));
        into.copy_from_slice(found.ok_or_else(|| DiskError::Failed("an empty slot".to_owned()))?);
        Ok(())
    }

    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<(), DiskError> {
        self.slots.insert(slot, bytes.into());
        Ok(())
    }

    fn append(&mut self, _records: &[u8]) -> Result<(), DiskError> {
        Ok(())
    }

    fn rewrite(&mut self, _journal: &[u8]) -> Result<(), DiskError> {
        Ok(())
    }
}
