//! The blobs of a tab: every piece judged on its way in and on its way out.

use std::collections::BTreeMap;

use shared::base::BlobRoot;
use shared::cdn::blob::{BlobHashes, BlobShape, VerifyError};
use shared::cdn::part::Piece;

use super::disk::{Disk, DiskError, SLOT_BYTES};
use super::eviction::worth;
use super::journal::{Record, records};

/// Records gathered before they are written: a write costs more than what it carries, and a crash loses
/// at most this many pieces, which are fetched again.
const PENDING_BYTES_MAX: usize = 4096;
/// The journal is rewritten when it is this many times as long as what it says.
const JOURNAL_SLACK: usize = 4;
/// What a piece's record takes, for that estimate.
const RECORD_BYTES: usize = 24;

/// A piece was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// It is not the blob's.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The blob was never announced, or has been evicted meanwhile.
    #[error("nobody asked for this blob")]
    Unwanted,
    /// Everything that is here is in use.
    #[error("no room: all that is stored is in use")]
    Full,
    /// The disk's fault.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Verified pieces of blobs on a [`Disk`].
#[derive(Debug)]
pub struct Blobs<D> {
    disk: D,
    slots_max: u32,
    /// Slots that were used and are free again.
    free: Vec<u32>,
    /// The first slot that was never used.
    unused: u32,
    entries: BTreeMap<BlobRoot, Entry>,
    next_number: u32,
    pending: Vec<u8>,
    journal_bytes: usize,
    /// Evicted since somebody last asked; what is offered to others must follow what is here.
    evicted: Vec<BlobRoot>,
}

#[derive(Debug)]
struct Entry {
    number: u32,
    hashes: BlobHashes,
    slots: BTreeMap<Piece, u32>,
    groups: u32,
    uses: u32,
    used_at: u64,
    /// Readers and transfers; not evicted while there are any.
    pins: u32,
}

impl<D: Disk> Blobs<D> {
    /// Takes over what `journal` says is on `disk`. Hash pages are verified now, groups when they are read.
    pub fn open(disk: D, journal: &[u8], slots_max: u32) -> Self {
        let mut blobs = Self {
            disk,
            slots_max,
            free: Vec::new(),
            unused: 0,
            entries: BTreeMap::new(),
            next_number: 0,
            pending: Vec::new(),
            journal_bytes: journal.len(),
            evicted: Vec::new(),
        };
        blobs.replay(journal);
        blobs
    }

    /// The blobs that are here, whole or in part.
    pub fn roots(&self) -> impl Iterator<Item = (BlobRoot, BlobShape)> {
        self.entries.iter().map(|(root, entry)| (*root, entry.hashes.shape()))
    }

    /// What is known of a blob's hashes.
    pub fn hashes(&self, root: BlobRoot) -> Option<&BlobHashes> {
        self.entries.get(&root).map(|entry| &entry.hashes)
    }

    /// Whether a group is here.
    pub fn has_group(&self, root: BlobRoot, group: u32) -> bool {
        self.entries.get(&root).is_some_and(|entry| entry.slots.contains_key(&Piece::Group(group)))
    }

    /// The groups that are here, ascending.
    pub fn groups(&self, root: BlobRoot) -> impl Iterator<Item = u32> {
        let groups = Piece::Group(0)..=Piece::Group(u32::MAX);
        self.entries.get(&root).into_iter().flat_map(move |entry| {
            entry.slots.range(groups.clone()).filter_map(|(piece, _)| match piece {
                Piece::Group(group) => Some(*group),
                _ => None,
            })
        })
    }

    /// Whether every group is here.
    pub fn is_complete(&self, root: BlobRoot) -> bool {
        self.entries.get(&root).is_some_and(|entry| entry.groups == entry.hashes.shape().groups())
    }

    /// Bytes of all slots in use.
    pub fn used_bytes(&self) -> u64 {
        (u64::from(self.unused) - self.free.len() as u64) * SLOT_BYTES as u64
    }

    /// Announces a blob, of which pieces may come now.
    pub fn begin(&mut self, root: BlobRoot, shape: BlobShape, now: u64) {
        if self.entries.contains_key(&root) {
            return;
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let entry = Entry {
            number,
            hashes: BlobHashes::new(root, shape),
            slots: BTreeMap::new(),
            groups: 0,
            uses: 0,
            used_at: now,
            pins: 0,
        };
        self.record(entry.record());
        self.entries.insert(root, entry);
    }

    /// Judges a piece and keeps it, over what may have rotted where it was.
    ///
    /// # Errors
    /// [`PutError`]; nothing is kept then.
    pub fn put(&mut self, root: BlobRoot, piece: Piece, bytes: &[u8], now: u64) -> Result<(), PutError> {
        let entry = self.entries.get_mut(&root).ok_or(PutError::Unwanted)?;
        match piece {
            Piece::Top => entry.hashes.insert_top(bytes)?,
            Piece::Page(page) => entry.hashes.insert_page(page, bytes)?,
            Piece::Group(group) => entry.hashes.verify_group(group, bytes)?,
        }
        if let Some(&slot) = entry.slots.get(&piece) {
            return Ok(self.disk.write(slot, bytes)?);
        }
        let slot = self.take_slot(root, now).ok_or(PutError::Full)?;
        if let Err(error) = self.disk.write(slot, bytes) {
            self.free.push(slot);
            return Err(error.into());
        }
        let entry = self.entries.get_mut(&root).ok_or(PutError::Unwanted)?;
        let number = entry.number;
        entry.insert(piece, slot);
        self.record(Record::Piece { number, piece, slot });
        Ok(())
    }

    /// A piece. What comes from the disk is verified as it leaves; what has rotted is forgotten.
    pub fn get(&mut self, root: BlobRoot, piece: Piece) -> Option<Vec<u8>> {
        let entry = self.entries.get(&root)?;
        let group = match piece {
            Piece::Top => return entry.hashes.top(),
            Piece::Page(page) => return entry.hashes.page(page),
            Piece::Group(group) => group,
        };
        let slot = *entry.slots.get(&piece)?;
        if let Some(bytes) = self.disk.written(slot) {
            return Some(bytes.to_vec());
        }
        let range = entry.hashes.shape().group_bytes(group)?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        let read = self.disk.read(slot, &mut bytes);
        if read.is_ok() && entry.hashes.verify_group(group, &bytes).is_ok() {
            return Some(bytes);
        }
        self.lose(root, piece);
        None
    }

    /// Somebody asked for this blob.
    pub fn count_use(&mut self, root: BlobRoot, now: u64) {
        if let Some(entry) = self.entries.get_mut(&root) {
            entry.uses = entry.uses.saturating_add(1);
            entry.used_at = now;
            let record = entry.record();
            self.record(record);
        }
    }

    /// Keeps a blob from eviction until the matching [`Blobs::unpin`].
    pub fn pin(&mut self, root: BlobRoot) {
        if let Some(entry) = self.entries.get_mut(&root) {
            entry.pins += 1;
        }
    }

    /// Undoes one [`Blobs::pin`].
    pub fn unpin(&mut self, root: BlobRoot) {
        if let Some(entry) = self.entries.get_mut(&root) {
            entry.pins = entry.pins.saturating_sub(1);
        }
    }

    /// Forgets a blob, pinned or not.
    pub fn evict(&mut self, root: BlobRoot) {
        if let Some(entry) = self.entries.remove(&root) {
            self.free.extend(entry.slots.values());
            self.evicted.push(root);
            self.record(Record::Gone { number: entry.number });
        }
    }

    /// The blobs that were evicted since the last call.
    pub fn take_evicted(&mut self) -> Vec<BlobRoot> {
        std::mem::take(&mut self.evicted)
    }

    /// Allows no more than what is in use now: the browser's quota turned out to be smaller than ours.
    pub fn shrink_to_used(&mut self) {
        let used = self.unused - u32::try_from(self.free.len()).unwrap_or(self.unused);
        self.slots_max = self.slots_max.min(used);
    }

    /// Writes what is pending. Called when the tab is hidden, and now and then.
    ///
    /// # Errors
    /// [`DiskError`]; what was pending is forgotten, and will be fetched again after a restart.
    pub fn flush(&mut self) -> Result<(), DiskError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pieces = self.entries.values().map(|entry| entry.slots.len() + 4).sum::<usize>();
        if self.journal_bytes > PENDING_BYTES_MAX + pieces * RECORD_BYTES * JOURNAL_SLACK {
            self.pending.clear();
            let journal = self.compacted();
            self.journal_bytes = journal.len();
            return self.disk.rewrite(&journal);
        }
        let pending = std::mem::take(&mut self.pending);
        self.journal_bytes += pending.len();
        self.disk.append(&pending)
    }

    fn replay(&mut self, journal: &[u8]) {
        let mut roots = BTreeMap::new();
        for record in records(journal) {
            match record {
                Record::Blob { number, root, size, uses, used_at } => {
                    let Some(shape) = BlobShape::new(size) else { continue };
                    roots.insert(number, root);
                    self.next_number = self.next_number.max(number.wrapping_add(1));
                    let entry = self.entries.entry(root).or_insert_with(|| Entry {
                        number,
                        hashes: BlobHashes::new(root, shape),
                        slots: BTreeMap::new(),
                        groups: 0,
                        uses,
                        used_at,
                        pins: 0,
                    });
                    (entry.number, entry.uses, entry.used_at) = (number, uses, used_at);
                }
                Record::Piece { number, piece, slot } => {
                    let entry = roots.get(&number).and_then(|root| self.entries.get_mut(root));
                    if let Some(entry) = entry.filter(|_| slot < self.slots_max) {
                        entry.insert(piece, slot);
                    }
                }
                Record::Gone { number } => {
                    roots.remove(&number).and_then(|root| self.entries.remove(&root));
                }
                Record::Lost { number, piece } => {
                    if let Some(entry) = roots.get(&number).and_then(|root| self.entries.get_mut(root)) {
                        entry.remove(piece);
                    }
                }
            }
        }
        self.load_hashes();
        self.find_free_slots();
    }

    /// Reads tops, then pages. A group whose hash is missing is of no use until the page comes again.
    fn load_hashes(&mut self) {
        for entry in self.entries.values_mut() {
            let shape = entry.hashes.shape();
            let hashes = Piece::Top..Piece::Group(0);
            for (piece, slot) in entry.slots.range(hashes).map(|(p, s)| (*p, *s)).collect::<Vec<_>>() {
                let count = match piece {
                    Piece::Top => shape.pages(),
                    Piece::Page(page) => {
                        shape.page_groups(page).map_or(0, |groups| groups.end - groups.start)
                    }
                    Piece::Group(_) => 0,
                };
                let mut bytes = vec![0; count as usize * shared::cdn::blob::HASH_BYTES];
                let good = self.disk.read(slot, &mut bytes).is_ok()
                    && match piece {
                        Piece::Top => entry.hashes.insert_top(&bytes).is_ok(),
                        Piece::Page(page) => entry.hashes.insert_page(page, &bytes).is_ok(),
                        Piece::Group(_) => false,
                    };
                if !good {
                    entry.remove(piece);
                }
            }
        }
    }

    /// Two records that claim one slot cannot both be right; reading will tell which is.
    fn find_free_slots(&mut self) {
        let used = self.entries.values().flat_map(|entry| entry.slots.values().copied());
        let mut used = used.collect::<Vec<u32>>();
        used.sort_unstable();
        self.unused = used.last().map_or(0, |last| last + 1);
        self.free = (0..self.unused).filter(|slot| used.binary_search(slot).is_err()).collect();
    }

    fn take_slot(&mut self, wanted_by: BlobRoot, now: u64) -> Option<u32> {
        loop {
            if let Some(slot) = self.free.pop() {
                return Some(slot);
            }
            if self.unused < self.slots_max {
                self.unused += 1;
                return Some(self.unused - 1);
            }
            let candidates = self.entries.iter();
            let candidates = candidates
                .filter(|(root, entry)| **root != wanted_by && entry.pins == 0 && !entry.slots.is_empty());
            let (&victim, _) = candidates.min_by_key(|(_, entry)| worth(entry.uses, entry.used_at, now))?;
            self.evict(victim);
        }
    }

    fn lose(&mut self, root: BlobRoot, piece: Piece) {
        let Some(entry) = self.entries.get_mut(&root) else { return };
        let number = entry.number;
        if let Some(slot) = entry.remove(piece) {
            self.free.push(slot);
            self.record(Record::Lost { number, piece });
        }
    }

    fn record(&mut self, record: Record) {
        record.write(&mut self.pending);
        if self.pending.len() > PENDING_BYTES_MAX {
            // A journal that cannot be written costs a fetch after the next start, no more.
            let _ = self.flush();
        }
    }

    fn compacted(&self) -> Vec<u8> {
        let mut journal = Vec::new();
        for entry in self.entries.values() {
            entry.record().write(&mut journal);
            for (&piece, &slot) in &entry.slots {
                Record::Piece { number: entry.number, piece, slot }.write(&mut journal);
            }
        }
        journal
    }
}

impl Entry {
    fn record(&self) -> Record {
        Record::Blob {
            number: self.number,
            root: self.hashes.root(),
            size: self.hashes.shape().size(),
            uses: self.uses,
            used_at: self.used_at,
        }
    }

    fn insert(&mut self, piece: Piece, slot: u32) {
        let new = self.slots.insert(piece, slot).is_none();
        self.groups += u32::from(new && matches!(piece, Piece::Group(_)));
    }

    fn remove(&mut self, piece: Piece) -> Option<u32> {
        let slot = self.slots.remove(&piece)?;
        self.groups -= u32::from(matches!(piece, Piece::Group(_)));
        Some(slot)
    }
}

#[cfg(test)]
#[path = "blobs_tests.rs"]
mod tests;
