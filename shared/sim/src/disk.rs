//! A node's store under faults: a crash loses what was not flushed, bits rot.
//!
//! The store keeps the rules of the real shells: nothing enters unverified, what is read is judged again
//! before it is served, and after a crash only what was flushed is announced.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use shared::{
    base::{BlobRoot, Instant},
    cdn::{
        blob::{BlobHashes, VerifyError},
        part::Piece,
    },
};

use crate::{
    bits::Bits,
    content::{Blob, Payload, Truth, index_of, judge},
};

/// How often the shells make their writes durable.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What judges a blob of real bytes, and the bytes of each group.
type Real = (BlobHashes, BTreeMap<u32, Arc<[u8]>>);

/// One blob in a store.
#[derive(Debug)]
struct Holding {
    blob: Arc<Blob>,
    groups: Bits,
    pages: Bits,
    top: bool,
    /// Present where the blob has real bytes: the judge, and the bytes of each group.
    real: Option<Real>,
    /// Written and not yet surely durable, oldest first.
    recent: VecDeque<(Instant, Piece)>,
    /// Groups whose bits changed on the medium.
    rotten: BTreeSet<u32>,
}

impl Holding {
    fn new(blob: Arc<Blob>) -> Self {
        let shape = blob.shape();
        let real = blob.tree().is_some().then(|| (BlobHashes::new(blob.root(), shape), BTreeMap::new()));
        Self {
            groups: Bits::new(shape.groups()),
            pages: Bits::new(shape.pages()),
            top: false,
            real,
            recent: VecDeque::new(),
            rotten: BTreeSet::new(),
            blob,
        }
    }

    fn holds(&self, piece: Piece) -> bool {
        match piece {
            Piece::Group(index) => self.groups.contains(index),
            Piece::Page(page) => self.pages.contains(page),
            Piece::Top => self.top,
        }
    }

    /// Whether the hash above `piece` is here.
    fn can_judge(&self, piece: Piece) -> bool {
        let shape = self.blob.shape();
        match piece {
            Piece::Group(index) => shape.pages() == 0 || self.pages.contains(shape.page_of(index)),
            Piece::Page(_) => !shape.has_top() || self.top,
            Piece::Top => true,
        }
    }

    fn judge(&mut self, wanted: Piece, came: &Payload) -> Result<(), VerifyError> {
        match (&mut self.real, &came.truth) {
            (Some((hashes, _)), Truth::Real(bytes)) => match wanted {
                Piece::Group(index) => hashes.verify_group(index, bytes),
                Piece::Page(page) => hashes.insert_page(page, bytes),
                Piece::Top => hashes.insert_top(bytes),
            },
            // A liar may send another blob's bytes; whichever kind those are, they are not this blob's.
            (Some(_), _) => Err(VerifyError::Hash { index: index_of(wanted) }),
            (None, _) => judge(self.blob.shape(), self.blob.root(), wanted, self.can_judge(wanted), came),
        }
    }

    fn insert(&mut self, now: Instant, piece: Piece, came: &Payload) -> bool {
        let new = match piece {
            Piece::Group(index) => {
                if let (Some((_, store)), Truth::Real(bytes)) = (&mut self.real, &came.truth) {
                    store.insert(index, bytes.clone());
                }
                self.rotten.remove(&index);
                self.groups.insert(index)
            }
            Piece::Page(page) => self.pages.insert(page),
            Piece::Top => !core::mem::replace(&mut self.top, true),
        };
        while self.recent.front().is_some_and(|(written, _)| now.since(*written) > 2 * FLUSH_EVERY) {
            self.recent.pop_front();
        }
        self.recent.push_back((now, piece));
        new
    }

    fn remove(&mut self, piece: Piece) {
        match piece {
            Piece::Group(index) => {
                self.groups.remove(index);
                self.rotten.remove(&index);
                if let Some((_, store)) = &mut self.real {
                    store.remove(&index);
                }
            }
            // Pages and the top are re-derived from what is durable; losing them only costs a fetch.
            Piece::Page(page) => {
                self.pages.remove(page);
            }
            Piece::Top => self.top = false,
        }
    }
}

/// What came of an attempt to store a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was not here before.
    New,
    /// It was here already: its bytes were wasted.
    Again,
}

/// A node's store.
#[derive(Debug, Default)]
pub struct Disk {
    holdings: BTreeMap<BlobRoot, Holding>,
}

impl Disk {
    /// The verified groups held of `root`.
    pub fn groups(&self, root: BlobRoot) -> Option<&Bits> {
        self.holdings.get(&root).map(|holding| &holding.groups)
    }

    /// Whether all of `root` is here.
    pub fn is_complete(&self, root: BlobRoot) -> bool {
        self.groups(root).is_some_and(Bits::is_full)
    }

    /// Whether the hash above a piece of `blob` is here, so that the piece can be judged.
    pub fn can_judge(&mut self, blob: &Arc<Blob>, piece: Piece) -> bool {
        self.holdings.entry(blob.root()).or_insert_with(|| Holding::new(blob.clone())).can_judge(piece)
    }

    /// All blobs of which something is held.
    pub fn blobs(&self) -> impl Iterator<Item = (&Arc<Blob>, &Bits)> {
        self.holdings.values().map(|holding| (&holding.blob, &holding.groups))
    }

    /// The payload held, put together; for comparison with what was published. Nothing while incomplete
    /// or where the blob is synthetic.
    pub fn assemble(&self, root: BlobRoot) -> Option<Vec<u8>> {
        let holding = self.holdings.get(&root).filter(|holding| holding.groups.is_full())?;
        let (_, store) = holding.real.as_ref()?;
        Some(store.values().flat_map(|bytes| bytes.iter().copied()).collect())
    }

    /// Judges `came` as the `wanted` piece of `blob`, and keeps it if it is good.
    ///
    /// # Errors
    /// The [`VerifyError`] found; nothing is kept then.
    pub fn store(
        &mut self,
        now: Instant,
        blob: &Arc<Blob>,
        wanted: Piece,
        came: &Payload,
    ) -> Result<Stored, VerifyError> {
        let holding = self.holdings.entry(blob.root()).or_insert_with(|| Holding::new(blob.clone()));
        let had = holding.holds(wanted);
        holding.judge(wanted, came)?;
        holding.insert(now, wanted, came);
        Ok(if had { Stored::Again } else { Stored::New })
    }

    /// Puts a whole blob in, as its publisher's node has it.
    ///
    /// # Panics
    /// Never: a blob agrees with itself.
    pub fn import(&mut self, now: Instant, blob: &Arc<Blob>) {
        let shape = blob.shape();
        let pages = (0..shape.pages()).map(Piece::Page);
        let groups = (0..shape.groups()).map(Piece::Group);
        for piece in core::iter::once(Piece::Top).chain(pages).chain(groups) {
            if let Some(payload) = blob.payload(piece) {
                self.store(now, blob, piece, &payload).expect("a blob agrees with itself");
            }
        }
        if let Some(holding) = self.holdings.get_mut(&blob.root()) {
            holding.recent.clear();
        }
    }

    /// Reads a piece to serve it. A rotten one is found out, dropped and not served.
    pub fn read(&mut self, root: BlobRoot, piece: Piece) -> Option<Payload> {
        let holding = self.holdings.get_mut(&root)?;
        if let Piece::Group(index) = piece
            && holding.rotten.contains(&index)
        {
            holding.remove(piece);
            return None;
        }
        if !holding.holds(piece) {
            return None;
        }
        holding.blob.payload(piece)
    }

    /// Forgets a blob.
    pub fn evict(&mut self, root: BlobRoot) {
        self.holdings.remove(&root);
    }

    /// Power is lost at `now`: what was written since the last flush is gone.
    pub fn crash(&mut self, now: Instant) {
        let every = u64::try_from(FLUSH_EVERY.as_micros()).unwrap_or(u64::MAX);
        let flushed = Instant::from_micros(now.as_micros() / every * every);
        for holding in self.holdings.values_mut() {
            for (written, piece) in core::mem::take(&mut holding.recent) {
                if written > flushed {
                    holding.remove(piece);
                }
            }
        }
    }

    /// One bit changes in group `index` of `root`, if it is held.
    pub fn rot(&mut self, root: BlobRoot, index: u32) -> bool {
        let holding = self.holdings.get_mut(&root).filter(|holding| holding.groups.contains(index));
        holding.is_some_and(|holding| holding.rotten.insert(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{base::SeededRng, cdn::blob::GROUP_BYTES};

    fn filled() -> (Disk, Arc<Blob>) {
        let blob = Arc::new(Blob::real(5 * GROUP_BYTES, &mut SeededRng::from_number(3)));
        let mut disk = Disk::default();
        disk.import(Instant::default(), &blob);
        (disk, blob)
    }

    #[test]
    fn a_crash_loses_what_was_not_flushed_and_nothing_else() {
        let (source, blob) = filled();
        assert!(source.is_complete(blob.root()));
        let mut disk = Disk::default();
        for (micros, piece) in [(1, Piece::Page(0)), (2, Piece::Group(0)), (1_500_000, Piece::Group(1))] {
            let payload = blob.payload(piece).unwrap();
            assert_eq!(disk.store(Instant::from_micros(micros), &blob, piece, &payload), Ok(Stored::New));
        }
        disk.crash(Instant::from_micros(1_900_000));
        assert_eq!(disk.groups(blob.root()).unwrap().ranges().as_slice(), core::slice::from_ref(&(0..1)));
    }

    #[test]
    fn a_forged_group_is_not_kept_and_a_rotten_one_not_served() {
        let (mut disk, blob) = filled();
        let forged = blob.payload(Piece::Group(2)).unwrap().forged();
        assert_eq!(
            disk.store(Instant::default(), &blob, Piece::Group(2), &forged),
            Err(VerifyError::Hash { index: 2 })
        );
        assert!(disk.rot(blob.root(), 4));
        assert!(disk.read(blob.root(), Piece::Group(4)).is_none());
        assert!(disk.read(blob.root(), Piece::Group(3)).is_some());
        assert!(!disk.is_complete(blob.root()));
    }
}
