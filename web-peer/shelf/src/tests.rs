//! A shelf in memory, and a supernode that speaks to it over a stream in memory.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use futures::{FutureExt as _, executor::block_on};
use shared::{
    base::{
        BlobRoot, RequestId, SegmentId, UnixSeconds,
        blob::{BlobShape, HashTree},
    },
    identity::{Keypair, PublicKey},
    storage::{
        extras::{LEASE_SECONDS, MAX_EXTRA_BYTES, SHARDS_OF_A_TAB},
        holders::{Lease, LeaseError},
        messages::{Ask, Said, ShardAnswer, ShardRequest},
        proof::{Answer, Challenge, check_answer},
    },
    wire::{Refusal, split_frame, write_frame},
};

use super::*;
use crate::header::{HEADER_BYTES, Header, file_bytes};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const SEGMENT: SegmentId = SegmentId([6; 32]);
const QUOTA: u64 = 4 << 20;

type Bytes = Rc<RefCell<Vec<u8>>>;

/// A disk that remembers, and may be full.
#[derive(Clone, Default)]
struct Memory {
    files: Rc<RefCell<BTreeMap<String, Bytes>>>,
    room: Rc<Cell<Option<usize>>>,
}

struct MemoryFile {
    bytes: Bytes,
    room: Rc<Cell<Option<usize>>>,
}

impl File for MemoryFile {
    fn size(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), FileError> {
        let at = usize::try_from(at).unwrap();
        let bytes = self.bytes.borrow();
        into.copy_from_slice(bytes.get(at..at + into.len()).ok_or(FileError::Failed)?);
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), FileError> {
        let at = usize::try_from(at).unwrap();
        let mut file = self.bytes.borrow_mut();
        if self.room.get().is_some_and(|room| at + bytes.len() > room) {
            return Err(FileError::Quota);
        }
        let length = file.len().max(at + bytes.len());
        file.resize(length, 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&self) -> Result<(), FileError> {
        Ok(())
    }
}

impl Files for Memory {
    type File = MemoryFile;

    async fn create(&self, name: &str) -> Result<MemoryFile, FileError> {
        let bytes = Bytes::default();
        self.files.borrow_mut().insert(name.to_owned(), Rc::clone(&bytes));
        Ok(MemoryFile { bytes, room: Rc::clone(&self.room) })
    }

    async fn remove(&self, name: &str, _: MemoryFile) {
        self.files.borrow_mut().remove(name);
    }
}

impl Memory {
    fn found(&self) -> Vec<(String, MemoryFile)> {
        let files = self.files.borrow();
        let file = |bytes: &Bytes| MemoryFile { bytes: Rc::clone(bytes), room: Rc::clone(&self.room) };
        files.iter().map(|(name, bytes)| (name.clone(), file(bytes))).collect()
    }

    fn damage(&self, name: &str, at: u64) {
        self.files.borrow()[name].borrow_mut()[usize::try_from(at).unwrap()] ^= 1;
    }
}

/// What one side has said, in pieces, and what the other says.
#[derive(Clone, Default)]
struct Wire {
    coming: Rc<RefCell<VecDeque<Vec<u8>>>>,
    said: Bytes,
    /// After that it never says anything more, instead of ending.
    stalls: bool,
}

impl Stream for Wire {
    async fn read(&mut self) -> Result<Vec<u8>, Broken> {
        let next = self.coming.borrow_mut().pop_front();
        match next {
            None if self.stalls => std::future::pending().await,
            next => Ok(next.unwrap_or_default()),
        }
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Broken> {
        self.said.borrow_mut().extend(bytes);
        Ok(())
    }

    async fn close(&mut self) {}
}

fn tab() -> Keypair {
    Keypair::from_secret([1; 32])
}

fn owner() -> PublicKey {
    Keypair::from_secret([2; 32]).public()
}

fn shard(size: usize) -> (Vec<u8>, HashTree) {
    let bytes: Vec<u8> = (0..size).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect();
    let tree = HashTree::of(&bytes).unwrap();
    (bytes, tree)
}

fn open(disk: &Memory, quota: u64) -> Shelf<Memory> {
    block_on(Shelf::open(disk.clone(), disk.found(), tab(), quota, || NOW))
}

fn request(ask: Ask, payload: &[u8], piece: usize) -> Wire {
    let mut bytes = Vec::new();
    write_frame(&ShardRequest { request: RequestId(7), ask }.encode().unwrap(), &mut bytes);
    bytes.extend_from_slice(payload);
    let wire = Wire::default();
    wire.coming.borrow_mut().extend(bytes.chunks(piece).map(<[u8]>::to_vec));
    wire
}

/// Asks as `asker`, and returns what is said to it and what follows.
fn ask_as(shelf: &Shelf<Memory>, asker: &PublicKey, ask: Ask, payload: &[u8]) -> (Said, Vec<u8>) {
    let wire = request(ask, payload, 9_000);
    block_on(shelf.serve(asker, wire.clone())).unwrap();
    let said = wire.said.borrow();
    let (frame, whole) = split_frame(&said).unwrap().unwrap();
    let answer = ShardAnswer::read(frame).unwrap();
    assert_eq!(answer.request, RequestId(7));
    (answer.said, said[whole..].to_vec())
}

fn ask(shelf: &Shelf<Memory>, ask: Ask) -> Said {
    ask_as(shelf, &owner(), ask, &[]).0
}

fn keep_ask(tree: &HashTree) -> Ask {
    let (root, bytes) = (tree.root(), tree.shape().size());
    Ask::Keep { root, bytes, lease_until: NOW.plus(LEASE_SECONDS), segment: SEGMENT }
}

fn keep(shelf: &Shelf<Memory>, bytes: &[u8], tree: &HashTree) -> Said {
    ask_as(shelf, &owner(), keep_ask(tree), &[&tree.to_bytes(), bytes].concat()).0
}

fn refusal(said: &Said) -> Option<Refusal> {
    if let Said::Refused { refusal, .. } = said { Some(*refusal) } else { None }
}

fn lease(said: Said, tree: &HashTree) -> Result<Lease, LeaseError> {
    let Said::Lease(signed) = said else { panic!("no lease: {said:?}") };
    let until = NOW.plus(LEASE_SECONDS);
    Lease::answers(&signed, &tab().public(), (tree.root(), tree.shape().size()), &owner(), until)
}

fn proves(shelf: &Shelf<Memory>, tree: &HashTree, beacon: u8) -> Option<Answer> {
    let challenge = Challenge { root: tree.root(), beacon: [beacon; 32], holder: tab().public() };
    let within = core::time::Duration::from_secs(2);
    let asked = Ask::Challenge { root: tree.root(), beacon: challenge.beacon, within, opinion: None };
    match ask(shelf, asked) {
        Said::Proof(proof) => Some(check_answer(&challenge, &proof).unwrap()),
        _ => None,
    }
}

fn kept(shelf: &Shelf<Memory>) -> Vec<BlobRoot> {
    block_on(shelf.room()).kept.into_iter().map(|kept| kept.root).collect()
}

#[test]
fn a_shard_is_kept_proved_handed_out_and_still_there_after_a_reload() {
    for size in [1, 16_384, 16_385, 300_000, 1 << 20] {
        let disk = Memory::default();
        let shelf = open(&disk, QUOTA);
        let (bytes, tree) = shard(size);
        assert!(lease(keep(&shelf, &bytes, &tree), &tree).is_ok());
        drop(shelf);
        let shelf = open(&disk, QUOTA);
        let room = block_on(shelf.room());
        assert_eq!(room.kept.len(), 1);
        assert_eq!((room.kept[0].root, room.kept[0].segment), (tree.root(), SEGMENT));
        assert!(room.bytes < QUOTA - size as u64);
        for beacon in 0..5 {
            assert_eq!(proves(&shelf, &tree, beacon), Some(Answer::Held(tree.shape())));
        }
        assert_eq!(shelf.status().proofs, 5);
        let range = 0..size as u64;
        let (said, slice) = ask_as(&shelf, &owner(), Ask::HandOut { root: tree.root(), range }, &[]);
        let groups = 0..tree.shape().groups();
        assert_eq!(slice, tree.slice(&groups, &bytes).unwrap());
        assert_eq!(said, Said::Payload { shard_bytes: size as u64, payload_bytes: slice.len() as u64 });
    }
}

#[test]
fn what_is_not_the_shard_is_refused_with_its_first_group_and_leaves_nothing() {
    let disk = Memory::default();
    let shelf = open(&disk, QUOTA);
    let (mut bytes, tree) = shard(300_000);
    bytes[40_000] ^= 1;
    let wire = request(keep_ask(&tree), &[&tree.to_bytes()[..], &bytes[..]].concat(), 16_384);
    block_on(shelf.serve(&owner(), wire.clone())).unwrap();
    assert!(wire.coming.borrow().len() > 10, "what comes behind a forged group is not read");
    assert!(disk.files.borrow().is_empty());
    // Hashes that do not lead to the root.
    let (_, other) = shard(290_000);
    let mut hashes = other.to_bytes();
    hashes.resize(tree.to_bytes().len(), 0);
    let said = ask_as(&shelf, &owner(), keep_ask(&tree), &[&hashes, &bytes[..]].concat()).0;
    assert_eq!(refusal(&said), Some(Refusal::Malformed));
    assert_eq!(shelf.status().forgeries, 2);
    bytes[40_000] ^= 1;
    assert!(lease(keep(&shelf, &bytes, &tree), &tree).is_ok(), "the true one is taken");
    let (mut forged, tree) = shard(100_000);
    forged[0] ^= 1;
    keep(&shelf, &forged, &tree);
    forged[0] ^= 1;
    assert_eq!(
        refusal(&keep(&shelf, &forged, &tree)),
        Some(Refusal::Forbidden),
        "after three nothing more is"
    );
}

#[test]
fn no_supernode_fills_more_than_the_visitor_allowed() {
    let disk = Memory::default();
    let (bytes, tree) = shard(100_000);
    let footprint = file_bytes(tree.shape());
    assert_eq!(refusal(&keep(&open(&disk, footprint - 1), &bytes, &tree)), Some(Refusal::OverBudget));
    let shelf = open(&disk, footprint);
    assert!(lease(keep(&shelf, &bytes, &tree), &tree).is_ok());
    let (one, small) = shard(1);
    assert_eq!(refusal(&keep(&shelf, &one, &small)), Some(Refusal::OverBudget));
    assert_eq!(block_on(shelf.room()).bytes, 0);
    // A visitor who allows less later gets it back.
    assert!(kept(&open(&disk, footprint - 1)).is_empty());
    assert!(disk.files.borrow().is_empty());
    // And a browser that allows less than the visitor.
    disk.room.set(Some(50_000));
    let shelf = open(&disk, QUOTA);
    assert_eq!(refusal(&keep(&shelf, &bytes, &tree)), Some(Refusal::OverBudget));
    assert!(disk.files.borrow().is_empty());
    assert_eq!(block_on(shelf.room()).bytes, 0, "no more is offered");
    // What no extra shard can be is no message.
    let long =
        Ask::Keep { root: tree.root(), bytes: MAX_EXTRA_BYTES + 1, lease_until: NOW, segment: SEGMENT };
    assert_eq!(block_on(shelf.serve(&owner(), request(long, &[], 100))), Err(Broken));
}

#[test]
fn shards_and_offers_a_minute_are_bounded() {
    thread_local!(static LATER: Cell<u64> = const { Cell::new(0) });
    let disk = Memory::default();
    let clock = || UnixSeconds(NOW.0 + LATER.get());
    let shelf = block_on(Shelf::open(disk.clone(), disk.found(), tab(), QUOTA, clock));
    let mut taken = 0;
    for number in 0..200 {
        let (bytes, tree) = shard(100 + number);
        let payload = [&tree.to_bytes()[..], &bytes[..]].concat();
        let said = ask_as(&shelf, &owner(), keep_ask(&tree), &payload).0;
        match refusal(&said) {
            None => taken += 1,
            Some(Refusal::Busy) => {
                assert!(taken % 12 == 0 && taken > 0, "{taken}");
                LATER.set(LATER.get() + 60);
            }
            Some(other) => {
                assert_eq!((other, taken), (Refusal::OverBudget, SHARDS_OF_A_TAB));
                return;
            }
        }
    }
    panic!("{taken} shards were taken");
}

#[test]
fn one_shard_is_taken_at_a_time_and_a_stalled_one_can_be_given_up() {
    let disk = Memory::default();
    let shelf = open(&disk, QUOTA);
    let (bytes, tree) = shard(300_000);
    let mut wire = request(keep_ask(&tree), &tree.to_bytes(), 9_000);
    wire.stalls = true;
    {
        let asker = owner();
        let mut taking = Box::pin(shelf.serve(&asker, wire));
        assert!(taking.as_mut().now_or_never().is_none());
        let (other, another) = shard(1000);
        assert_eq!(refusal(&keep(&shelf, &other, &another)), Some(Refusal::Busy));
        // The network ends a stream that stalls.
    }
    let broken = request(keep_ask(&tree), &bytes[..100], 9_000);
    block_on(shelf.serve(&owner(), broken.clone())).unwrap();
    let said = broken.said.borrow();
    let (frame, _) = split_frame(&said).unwrap().unwrap();
    assert!(refusal(&ShardAnswer::read(frame).unwrap().said).is_some());
}

#[test]
fn rot_is_owned_up_to_and_goes() {
    let (bytes, tree) = shard(300_000);
    let name = tree.root().to_string();
    let shape = BlobShape::new(300_000).unwrap();
    for at in [HEADER_BYTES + shape.size(), file_bytes(shape) - 1] {
        let disk = Memory::default();
        keep(&open(&disk, QUOTA), &bytes, &tree);
        disk.damage(&name, at);
        let shelf = open(&disk, QUOTA);
        assert_eq!(proves(&shelf, &tree, 0), Some(Answer::Lost), "a rotten hash of group {at}");
        assert_eq!(proves(&shelf, &tree, 0), None, "of what is gone it says nothing");
        assert!(disk.files.borrow().is_empty());
        assert_eq!((shelf.status().lost, shelf.status().shards), (1, 0));
    }
    // A rotten byte is found by whoever reads or asks for it, and never handed out.
    let disk = Memory::default();
    keep(&open(&disk, QUOTA), &bytes, &tree);
    disk.damage(&name, HEADER_BYTES + 100_000);
    let shelf = open(&disk, QUOTA);
    let elsewhere = Ask::HandOut { root: tree.root(), range: 0..16_384 };
    assert!(matches!(ask(&shelf, elsewhere), Said::Payload { .. }));
    let there = Ask::HandOut { root: tree.root(), range: 99_000..99_001 };
    assert_eq!(refusal(&ask(&shelf, there)), Some(Refusal::NotFound));
    assert!(disk.files.borrow().is_empty());
}

#[test]
fn torn_and_rotten_files_go_at_the_next_start() {
    let (bytes, tree) = shard(300_000);
    let whole = Memory::default();
    keep(&open(&whole, QUOTA), &bytes, &tree);
    let name = tree.root().to_string();
    let file = whole.files.borrow()[&name].borrow().clone();
    let check = |bytes: Vec<u8>, name: &str| {
        let disk = Memory::default();
        disk.files.borrow_mut().insert(name.to_owned(), Rc::new(RefCell::new(bytes)));
        let shelf = open(&disk, QUOTA);
        (kept(&shelf).len(), disk.files.borrow().len())
    };
    assert_eq!(check(file.clone(), &name), (1, 1));
    for cut in [0, 1, 127, 128, 129, file.len() - 1] {
        assert_eq!(check(file[..cut].to_vec(), &name), (0, 0), "cut at {cut}");
    }
    for at in 0..113 {
        let mut rotten = file.clone();
        rotten[at] ^= 1;
        assert_eq!(check(rotten, &name), (0, 0), "rotten at {at}");
    }
    assert_eq!(check(file, "another"), (0, 0));
}

#[test]
fn leases_end_are_renewed_by_their_owner_alone_and_can_be_given_up_by_it() {
    let disk = Memory::default();
    let shelf = open(&disk, QUOTA);
    let (bytes, tree) = shard(100_000);
    keep(&shelf, &bytes, &tree);
    // Without the bytes: the stream ends behind the request.
    assert!(lease(ask(&shelf, keep_ask(&tree)), &tree).is_ok());
    let stranger = Keypair::from_secret([3; 32]).public();
    let theirs = ask_as(&shelf, &stranger, keep_ask(&tree), &[]).0;
    assert_eq!(refusal(&theirs), Some(Refusal::Forbidden));
    ask_as(&shelf, &stranger, Ask::Drop { root: tree.root() }, &[]);
    assert_eq!(kept(&shelf), [tree.root()]);
    for until in [NOW, UnixSeconds(0), NOW.plus(91 * 86_400), UnixSeconds(u64::MAX)] {
        let ask_for = Ask::Keep { root: BlobRoot([5; 32]), bytes: 9, lease_until: until, segment: SEGMENT };
        assert_eq!(refusal(&ask(&shelf, ask_for)), Some(Refusal::Expired));
    }
    drop(shelf);
    let late = block_on(Shelf::open(disk.clone(), disk.found(), tab(), QUOTA, || NOW.plus(LEASE_SECONDS)));
    assert!(kept(&late).is_empty() && disk.files.borrow().is_empty());

    let shelf = open(&disk, QUOTA);
    keep(&shelf, &bytes, &tree);
    assert_eq!(ask(&shelf, Ask::Drop { root: tree.root() }), Said::Done);
    assert!(disk.files.borrow().is_empty());
}

#[test]
fn a_visitor_who_changes_their_mind_has_it_all_back() {
    let disk = Memory::default();
    let shelf = open(&disk, QUOTA);
    for size in [100, 50_000, 300_000] {
        let (bytes, tree) = shard(size);
        keep(&shelf, &bytes, &tree);
    }
    assert_eq!(disk.files.borrow().len(), 3);
    block_on(shelf.clear());
    assert!(disk.files.borrow().is_empty());
    let (bytes, tree) = shard(100);
    assert_eq!(refusal(&keep(&shelf, &bytes, &tree)), Some(Refusal::Withdrawn));
    let room = block_on(shelf.room());
    assert_eq!((room.bytes, room.kept.len()), (0, 0), "which says that the tab is going");
}

#[test]
fn garbage_never_panics() {
    let shelf = open(&Memory::default(), QUOTA);
    for length in 0..400_usize {
        let garbage: Vec<u8> =
            (0..length).map(|at| u8::try_from((at * length * 7 + 3) % 256).unwrap()).collect();
        let wire = Wire::default();
        wire.coming.borrow_mut().push_back(garbage.clone());
        let _ = block_on(shelf.serve(&owner(), wire));
        assert!(Header::read(&garbage).is_none());
    }
}
