use std::cell::RefCell;
use std::rc::Rc;

use shared::cdn::blob::{BlobHasher, HashTree};

use super::super::{CachedDisk, MemoryDisk};
use super::*;

/// A disk that outlives the tab that uses it.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<(MemoryDisk, Vec<u8>)>>);

impl Disk for Kept {
    fn read(&mut self, slot: u32, into: &mut [u8]) -> Result<(), DiskError> {
        self.0.borrow_mut().0.read(slot, into)
    }

    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.borrow_mut().0.write(slot, bytes)
    }

    fn append(&mut self, records: &[u8]) -> Result<(), DiskError> {
        self.0.borrow_mut().1.extend(records);
        Ok(())
    }

    fn rewrite(&mut self, journal: &[u8]) -> Result<(), DiskError> {
        self.0.borrow_mut().1 = journal.to_vec();
        Ok(())
    }
}

impl Kept {
    fn open(&self, slots_max: u32) -> Blobs<Self> {
        let journal = self.0.borrow().1.clone();
        Blobs::open(self.clone(), &journal, slots_max)
    }
}

fn blob(seed: u8, length: usize) -> (Vec<u8>, HashTree) {
    let bytes = (0..length).map(|i| u8::try_from(i % 251).unwrap_or(0) ^ seed).collect::<Vec<_>>();
    let mut hasher = BlobHasher::default();
    hasher.update(&bytes).unwrap();
    let tree = hasher.finish();
    (bytes, tree)
}

fn put_all<D: Disk>(blobs: &mut Blobs<D>, bytes: &[u8], tree: &HashTree, now: u64) -> Result<(), PutError> {
    let (root, shape) = (tree.root(), tree.shape());
    blobs.begin(root, shape, now);
    if let Some(top) = tree.top() {
        blobs.put(root, Piece::Top, &top, now)?;
    }
    for page in 0..shape.pages() {
        blobs.put(root, Piece::Page(page), &tree.page(page).unwrap(), now)?;
    }
    for group in 0..shape.groups() {
        let range = shape.group_bytes(group).unwrap();
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        blobs.put(root, Piece::Group(group), &bytes[range], now)?;
    }
    Ok(())
}

fn get_all<D: Disk>(blobs: &mut Blobs<D>, tree: &HashTree) -> Option<Vec<u8>> {
    let groups = 0..tree.shape().groups();
    groups
        .map(|group| blobs.get(tree.root(), Piece::Group(group)))
        .collect::<Option<Vec<_>>>()
        .map(|g| g.concat())
}

#[test]
fn what_was_put_is_there_after_a_restart() {
    let disk = Kept::default();
    for (seed, length) in [(1, 0), (2, 10), (3, 16 * 1024), (4, 9 * 1024 * 1024 + 5)] {
        let (bytes, tree) = blob(seed, length);
        let mut blobs = disk.open(4096);
        put_all(&mut blobs, &bytes, &tree, 1).unwrap();
        blobs.flush().unwrap();
        drop(blobs);
        let mut blobs = disk.open(4096);
        assert!(blobs.is_complete(tree.root()));
        assert!(get_all(&mut blobs, &tree) == Some(bytes));
    }
}

#[test]
fn a_lie_is_not_kept() {
    let (mut bytes, tree) = blob(1, 40_000);
    bytes[20_000] ^= 1;
    let mut blobs = Blobs::open(MemoryDisk::default(), &[], 100);
    let refused = put_all(&mut blobs, &bytes, &tree, 1);
    assert_eq!(refused, Err(PutError::Verify(VerifyError::Hash { index: 1 })));
    assert_eq!(blobs.groups(tree.root()).collect::<Vec<_>>(), [0]);
}

#[test]
fn what_rots_on_the_disk_is_not_given_out() {
    let disk = Kept::default();
    let (bytes, tree) = blob(1, 40_000);
    let mut blobs = disk.open(100);
    put_all(&mut blobs, &bytes, &tree, 1).unwrap();
    blobs.flush().unwrap();
    for slot in 0..4 {
        let mut byte = [0];
        disk.clone().read(slot, &mut byte).unwrap();
        let mut rotten = vec![0; 10_000];
        let length = if disk.clone().read(slot, &mut rotten).is_ok() { 10_000 } else { 96 };
        rotten.resize(length, 0);
        rotten[0] ^= 1;
        disk.clone().write(slot, &rotten).unwrap();
    }
    let mut blobs = disk.open(100);
    assert!(get_all(&mut blobs, &tree).is_none());
    assert_eq!(blobs.get(tree.root(), Piece::Group(0)), None);
    // And it can be fetched again.
    put_all(&mut blobs, &bytes, &tree, 2).unwrap();
    assert!(get_all(&mut blobs, &tree) == Some(bytes));
}

#[test]
fn what_was_put_and_is_in_memory_needs_no_disk() {
    let disk = Kept::default();
    let (bytes, tree) = blob(1, 40_000);
    let mut blobs = Blobs::open(CachedDisk::new(disk.clone()), &[], 100);
    put_all(&mut blobs, &bytes, &tree, 1).unwrap();
    blobs.flush().unwrap();
    for slot in 0..3 {
        disk.clone().write(slot, &[7; SLOT_BYTES]).unwrap();
    }
    assert!(get_all(&mut blobs, &tree) == Some(bytes));
    // What has gone is gone, wherever it was.
    blobs.evict(tree.root());
    assert!(get_all(&mut blobs, &tree).is_none());
}

#[test]
fn the_quota_holds_and_the_least_popular_goes_first() {
    let mut blobs = Blobs::open(MemoryDisk::default(), &[], 9);
    let all = (1..=3).map(|seed| blob(seed, 40_000)).collect::<Vec<_>>();
    put_all(&mut blobs, &all[0].0, &all[0].1, 1).unwrap();
    put_all(&mut blobs, &all[1].0, &all[1].1, 2).unwrap();
    blobs.count_use(all[0].1.root(), 3);
    blobs.count_use(all[0].1.root(), 3);
    put_all(&mut blobs, &all[2].0, &all[2].1, 4).unwrap();
    assert!(blobs.is_complete(all[0].1.root()));
    assert!(!blobs.is_complete(all[1].1.root()));
    assert!(blobs.used_bytes() <= 9 * SLOT_BYTES as u64);
}

#[test]
fn what_is_in_use_stays_even_when_room_is_needed() {
    let mut blobs = Blobs::open(MemoryDisk::default(), &[], 4);
    let (a, b) = (blob(1, 40_000), blob(2, 40_000));
    put_all(&mut blobs, &a.0, &a.1, 1).unwrap();
    blobs.pin(a.1.root());
    assert_eq!(put_all(&mut blobs, &b.0, &b.1, 2), Err(PutError::Full));
    blobs.unpin(a.1.root());
    put_all(&mut blobs, &b.0, &b.1, 3).unwrap();
    assert!(get_all(&mut blobs, &b.1) == Some(b.0));
}

#[test]
fn the_journal_does_not_grow_with_time() {
    let disk = Kept::default();
    let (bytes, tree) = blob(1, 40_000);
    let mut blobs = disk.open(100);
    put_all(&mut blobs, &bytes, &tree, 1).unwrap();
    for now in 0..10_000 {
        blobs.count_use(tree.root(), now);
    }
    blobs.flush().unwrap();
    assert!(disk.0.borrow().1.len() < 4 * PENDING_BYTES_MAX);
    assert!(disk.open(100).is_complete(tree.root()));
}
